using UnityEngine;
using UnityEngine.Rendering;

namespace MlAgentsBridge
{
    /// <summary>Simple shapes, light and cameras. Without graphics only what physics and agents need of them.</summary>
    public static class Scenery
    {
        static readonly Color k_Sky = new Color(0.945f, 0.953f, 0.965f);

        public static bool CanDraw
        {
            get { return SystemInfo.graphicsDeviceType != GraphicsDeviceType.Null; }
        }

        public static Transform Empty(string name, Transform parent, Vector3 position)
        {
            var made = new GameObject(name);
            made.transform.SetParent(parent, false);
            made.transform.localPosition = position;
            return made.transform;
        }

        /// <summary>A cube, sphere or capsule with its collider, in the parent's coordinates.</summary>
        public static Transform Shape(
            PrimitiveType type, string name, Transform parent, Vector3 position, Vector3 scale, Color color)
        {
            Transform shape;
            if (CanDraw)
            {
                GameObject made = GameObject.CreatePrimitive(type);
                made.name = name;
                made.GetComponent<Renderer>().material.color = color;
                shape = made.transform;
                shape.SetParent(parent, false);
                shape.localPosition = position;
            }
            else
            {
                // Primitives bring meshes and shaders along, which a server build may have left out.
                shape = Empty(name, parent, position);
                if (type == PrimitiveType.Cube)
                {
                    shape.gameObject.AddComponent<BoxCollider>();
                }
                else if (type == PrimitiveType.Sphere)
                {
                    shape.gameObject.AddComponent<SphereCollider>();
                }
            }
            shape.localScale = scale;
            return shape;
        }

        public static void AddLight()
        {
            if (!CanDraw)
            {
                return;
            }
            var light = Empty("light", null, 20f * Vector3.up).gameObject.AddComponent<Light>();
            light.type = LightType.Directional;
            light.transform.rotation = Quaternion.Euler(50f, -30f, 0f);
        }

        /// <summary>The camera of whoever looks at the window: from above and in front, at this distance.</summary>
        public static void Watch(Vector3 centre, float distance)
        {
            if (!CanDraw || Application.isBatchMode)
            {
                return;
            }
            Camera camera = Camera.main;
            if (camera == null)
            {
                camera = Empty("camera", null, Vector3.zero).gameObject.AddComponent<Camera>();
                camera.gameObject.tag = "MainCamera";
            }
            camera.clearFlags = CameraClearFlags.SolidColor;
            camera.backgroundColor = k_Sky;
            camera.farClipPlane = 4f * distance + 100f;
            camera.transform.position = centre + distance * new Vector3(0f, 0.6f, -0.8f);
            camera.transform.LookAt(centre);
        }

        /// <summary>
        /// An agent's camera, which sees the space above a platform from where unity_envs/stages.py has it. The sensor
        /// has it render; it draws on no screen.
        /// </summary>
        public static Camera PictureCamera(string name, Vector3 platform)
        {
            Vector3 place = platform + new Vector3(0f, 18.721f, -12.313f);
            var camera = Empty(name, null, place).gameObject.AddComponent<Camera>();
            camera.enabled = false;
            camera.clearFlags = CameraClearFlags.SolidColor;
            camera.backgroundColor = k_Sky;
            camera.fieldOfView = 26f; // vertical, and the picture is square
            camera.nearClipPlane = 1f;
            camera.farClipPlane = 40f;
            camera.transform.LookAt(platform + new Vector3(0f, 1.3286f, 0.1101f));
            return camera;
        }
    }
}
