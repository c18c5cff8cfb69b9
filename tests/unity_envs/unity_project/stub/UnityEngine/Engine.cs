// The engine's services and the components that only hold data.
using System;
using System.Collections.Generic;
using UnityEngine.Rendering;

namespace UnityEngine.Rendering
{
    public enum GraphicsDeviceType { Null = 4, OpenGLCore = 17 }
}

namespace UnityEngine
{
    public enum RuntimeInitializeLoadType { AfterSceneLoad, BeforeSceneLoad }
    public enum PrimitiveType { Sphere, Capsule, Cylinder, Cube }
    public enum LightType { Spot, Directional, Point }
    public enum CameraClearFlags { Skybox, SolidColor }
    public enum FullScreenMode { ExclusiveFullScreen, FullScreenWindow, MaximizedWindow, Windowed }

    [AttributeUsage(AttributeTargets.Method)]
    public sealed class RuntimeInitializeOnLoadMethodAttribute : Attribute
    {
        public readonly RuntimeInitializeLoadType LoadType;
        public RuntimeInitializeOnLoadMethodAttribute(RuntimeInitializeLoadType loadType) { LoadType = loadType; }
    }

    public static class Debug
    {
        /// <summary>What was logged, oldest first: "warning ...", "error ...".</summary>
        public static readonly Queue<string> Complaints = new Queue<string>();

        public static void Log(object message) { }
        public static void LogWarning(object message) { Complaints.Enqueue("warning " + message); }
        public static void LogError(object message) { Complaints.Enqueue("error " + message); }
        public static void LogException(Exception error) { Complaints.Enqueue("error " + error); }
    }

    public static class Application
    {
        static readonly bool s_Batch = Array.IndexOf(Environment.GetCommandLineArgs(), "-batchmode") >= 0;

        /// <summary>What Quit was given; the player ends after the step in which it was called.</summary>
        public static int? ExitCode;

        public static bool isEditor { get { return false; } }
        public static bool isBatchMode { get { return s_Batch; } }
        public static bool runInBackground { get; set; }
        public static int targetFrameRate { get; set; }
        public static void Quit(int exitCode = 0) { ExitCode = exitCode; }
    }

    public static class SystemInfo
    {
        static readonly bool s_None = Array.IndexOf(Environment.GetCommandLineArgs(), "-nographics") >= 0;

        public static GraphicsDeviceType graphicsDeviceType
        {
            get { return s_None ? GraphicsDeviceType.Null : GraphicsDeviceType.OpenGLCore; }
        }
    }

    public static class PlayerPrefs
    {
        static readonly Dictionary<string, string> s_Values = new Dictionary<string, string>();
        public static void SetString(string key, string value) { s_Values[key] = value; }

        public static string GetString(string key, string otherwise)
        {
            string value;
            return s_Values.TryGetValue(key, out value) ? value : otherwise;
        }
    }

    public static class Time
    {
        public static float fixedDeltaTime { get; set; }
        public static float maximumDeltaTime { get; set; }
    }

    public static class QualitySettings
    {
        public static int vSyncCount { get; set; }
    }

    public static class Physics
    {
        public static Vector3 gravity { get; set; }
        public static int defaultSolverIterations { get; set; }
        public static int defaultSolverVelocityIterations { get; set; }
        public static float bounceThreshold { get; set; }
        public static float defaultContactOffset { get; set; }
        public static float defaultMaxAngularSpeed { get; set; }
        public static float defaultMaxDepenetrationVelocity { get; set; }
        public static float sleepThreshold { get; set; }
    }

    public sealed class Rigidbody : Component
    {
        public Rigidbody()
        {
            mass = 1f;
            useGravity = true;
        }

        public float mass { get; set; }
        public bool useGravity { get; set; }
        public Vector3 angularVelocity { get; set; }
#if UNITY_6000_0_OR_NEWER
        public Vector3 linearVelocity { get; set; }
        public float linearDamping { get; set; }
        public float angularDamping { get; set; }
#else
        public Vector3 velocity { get; set; }
        public float drag { get; set; }
        public float angularDrag { get; set; }
#endif
    }

#if UNITY_6000_0_OR_NEWER
    public enum PhysicsMaterialCombine { Average, Multiply, Minimum, Maximum }

    public sealed class PhysicsMaterial : Object
    {
        public PhysicsMaterial(string name) { this.name = name; }
        public float dynamicFriction { get; set; }
        public float staticFriction { get; set; }
        public float bounciness { get; set; }
        public PhysicsMaterialCombine frictionCombine { get; set; }
        public PhysicsMaterialCombine bounceCombine { get; set; }
    }
#else
    public enum PhysicMaterialCombine { Average, Multiply, Minimum, Maximum }

    public sealed class PhysicMaterial : Object
    {
        public PhysicMaterial(string name) { this.name = name; }
        public float dynamicFriction { get; set; }
        public float staticFriction { get; set; }
        public float bounciness { get; set; }
        public PhysicMaterialCombine frictionCombine { get; set; }
        public PhysicMaterialCombine bounceCombine { get; set; }
    }
#endif

    public class Collider : Component
    {
#if UNITY_6000_0_OR_NEWER
        public PhysicsMaterial material { get; set; }
#else
        public PhysicMaterial material { get; set; }
#endif
    }

    public sealed class BoxCollider : Collider { }
    public sealed class SphereCollider : Collider { }
    public sealed class CapsuleCollider : Collider { }

    public sealed class Material : Object
    {
        public Color color { get; set; }
    }

    public class Renderer : Component
    {
        public Material material { get; set; }
        public Renderer() { material = new Material(); }
    }

    public sealed class MeshRenderer : Renderer { }

    public sealed class Light : Behaviour
    {
        public LightType type { get; set; }
    }

    public sealed class Camera : Behaviour
    {
        public CameraClearFlags clearFlags { get; set; }
        public Color backgroundColor { get; set; }
        public float fieldOfView { get; set; }
        public float nearClipPlane { get; set; }
        public float farClipPlane { get; set; }

        /// <summary>The first one with that tag that is enabled, or null.</summary>
        public static Camera main
        {
            get
            {
                GameObject found = GameObject.All.Find(
                    each => each.tag == "MainCamera" && each.GetComponent<Camera>() != null);
                return found == null ? null : found.GetComponent<Camera>();
            }
        }
    }
}
