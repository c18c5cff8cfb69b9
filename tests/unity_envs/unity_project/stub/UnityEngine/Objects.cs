// Objects and components: which of their methods run, and when. Nothing is drawn and nothing is simulated.
using System;
using System.Collections.Generic;
using System.Reflection;

namespace UnityEngine
{
    [AttributeUsage(AttributeTargets.Class, AllowMultiple = true)]
    public sealed class RequireComponent : Attribute
    {
        public readonly Type Required;
        public RequireComponent(Type required) { Required = required; }
    }

    public class Object
    {
        public virtual string name { get; set; }
        public static void Destroy(Object which) { }
    }

    public class Component : Object
    {
        public GameObject gameObject { get; internal set; }
        public Transform transform { get { return gameObject.transform; } }
        public T GetComponent<T>() where T : class { return gameObject.GetComponent<T>(); }

        public override string name
        {
            get { return gameObject.name; }
            set { gameObject.name = value; }
        }
    }

    public class Behaviour : Component
    {
        public bool enabled { get; set; }
        public Behaviour() { enabled = true; }
    }

    public class MonoBehaviour : Behaviour
    {
        bool m_Awake;

        internal void Activate()
        {
            if (!m_Awake)
            {
                m_Awake = true;
                Send("Awake");
            }
            if (enabled)
            {
                Send("OnEnable");
            }
        }

        /// <summary>Calls a method of this name, as Unity does: whatever its access, the most derived one.</summary>
        void Send(string message)
        {
            const BindingFlags flags = BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic
                | BindingFlags.DeclaredOnly;
            for (Type type = GetType(); type != null; type = type.BaseType)
            {
                MethodInfo method = type.GetMethod(message, flags, null, Type.EmptyTypes, null);
                if (method != null)
                {
                    ((Action)Delegate.CreateDelegate(typeof(Action), this, method))();
                    return;
                }
            }
        }
    }

    /// <summary>Made active. Components added while it is inactive are told nothing until it becomes active.</summary>
    public sealed class GameObject : Object
    {
        readonly List<Component> m_Components = new List<Component>();

        public bool activeSelf { get; private set; }
        public string tag { get; set; }
        public Transform transform { get; private set; }
        public static readonly List<GameObject> All = new List<GameObject>();

        public GameObject(string name = "New Game Object")
        {
            activeSelf = true;
            this.name = name;
            tag = "Untagged";
            transform = AddComponent<Transform>();
            All.Add(this);
        }

        public IEnumerable<Component> Components { get { return m_Components; } }

        public T AddComponent<T>() where T : Component { return (T)AddComponent(typeof(T)); }

        public Component AddComponent(Type type)
        {
            foreach (RequireComponent needed in type.GetCustomAttributes(typeof(RequireComponent), true))
            {
                if (Find(needed.Required) == null)
                {
                    AddComponent(needed.Required);
                }
            }
            var component = (Component)Activator.CreateInstance(type, true);
            component.gameObject = this;
            m_Components.Add(component);
            if (activeSelf && component is MonoBehaviour behaviour)
            {
                behaviour.Activate();
            }
            return component;
        }

        public T GetComponent<T>() where T : class { return Find(typeof(T)) as T; }

        public T[] GetComponentsInChildren<T>() where T : class
        {
            var found = new List<T>();
            foreach (Component component in m_Components)
            {
                if (component is T wanted)
                {
                    found.Add(wanted);
                }
            }
            foreach (Transform child in transform.Children)
            {
                found.AddRange(child.gameObject.GetComponentsInChildren<T>());
            }
            return found.ToArray();
        }

        /// <summary>Of this object; its children are not told, which no script of ours needs.</summary>
        public void SetActive(bool value)
        {
            if (value == activeSelf)
            {
                return;
            }
            activeSelf = value;
            if (!value)
            {
                return;
            }
            foreach (Component component in m_Components.ToArray())
            {
                (component as MonoBehaviour)?.Activate();
            }
        }

        public static GameObject CreatePrimitive(PrimitiveType type)
        {
            var made = new GameObject(type.ToString());
            made.AddComponent<MeshRenderer>();
            if (type == PrimitiveType.Cube)
            {
                made.AddComponent<BoxCollider>();
            }
            else if (type == PrimitiveType.Sphere)
            {
                made.AddComponent<SphereCollider>();
            }
            else
            {
                made.AddComponent<CapsuleCollider>();
            }
            return made;
        }

        Component Find(Type type)
        {
            return m_Components.Find(component => type.IsInstanceOfType(component));
        }
    }

    /// <summary>A place in the world or below a parent. Scale has no effect on the children's places here.</summary>
    public sealed class Transform : Component
    {
        readonly List<Transform> m_Children = new List<Transform>();

        public Transform()
        {
            localRotation = Quaternion.identity;
            localScale = Vector3.one;
        }

        public Transform parent { get; private set; }
        public IEnumerable<Transform> Children { get { return m_Children; } }
        public Vector3 localPosition { get; set; }
        public Quaternion localRotation { get; set; }
        public Vector3 localScale { get; set; }

        public Vector3 position
        {
            get { return parent == null ? localPosition : parent.position + localPosition; }
            set { localPosition = parent == null ? value : value - parent.position; }
        }

        public Quaternion rotation
        {
            get { return localRotation; }
            set { localRotation = value; }
        }

        /// <summary>The parent must not be rotated here.</summary>
        public void SetParent(Transform parent, bool worldPositionStays)
        {
            if (this.parent != null)
            {
                this.parent.m_Children.Remove(this);
            }
            this.parent = parent;
            if (parent != null)
            {
                parent.m_Children.Add(this);
            }
        }

        /// <summary>Turns by degrees about an axis of its own.</summary>
        public void Rotate(Vector3 axis, float angle)
        {
            localRotation = (localRotation * Quaternion.AngleAxis(angle, axis)).normalized;
        }

        public void LookAt(Vector3 where) { }
    }
}
