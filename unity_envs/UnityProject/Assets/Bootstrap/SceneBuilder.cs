using System;
using Unity.MLAgents.Sensors;
using UnityEngine;

namespace MlAgentsBridge
{
    /// <summary>Builds the scene of a variant with its agents, in a grid; agent 0 is at the origin.</summary>
    public static class SceneBuilder
    {
        // The colours of unity_envs/stages.py. The blue is that of the demonstration of 2018, where it was a bit
        // transparent; the material of a primitive does not show that.
        static readonly Color k_Agent = new Color(0.11f, 0.60f, 1.0f, 0.84f);
        static readonly Color k_Balanced = new Color(1.0f, 0.58f, 0.26f);
        static readonly Color k_Goal = new Color(0.30f, 0.76f, 0.48f);
        static readonly Color k_Floor = new Color(0.80f, 0.83f, 0.87f);

        public static void Build(EnvironmentVariant variant, int agents)
        {
            bool sees = variant.PictureSize > 0;
            if (sees && !Scenery.CanDraw)
            {
                PlayerError.Stop(
                    variant.Behavior + " sees pictures, and this player has no graphics: start it without -nographics");
                return;
            }
            switch (variant.Environment)
            {
                case "CubeMover":
                    var row = new AgentGrid(agents, 1, 24f, 3f);
                    for (int i = 0; i < agents; i++)
                    {
                        BuildCubeMover(variant, row.Position(i), "agent " + i);
                    }
                    Scenery.AddLight();
                    Scenery.Watch(row.Centre, 14f + row.Size);
                    break;
                case "PoleBalancer":
                    var tracks = new AgentGrid(agents, 1, 8f, 4f);
                    for (int i = 0; i < agents; i++)
                    {
                        BuildPoleBalancer(variant, tracks.Position(i), "agent " + i);
                    }
                    Scenery.AddLight();
                    Scenery.Watch(tracks.Centre + Vector3.up, 5f + tracks.Size);
                    break;
                case "3DBall":
                    // Far enough apart for a camera not to see the neighbours.
                    float spacing = sees ? 25f : 10f;
                    var platforms = new AgentGrid(agents, (int)Math.Ceiling(Math.Sqrt(agents)), spacing, spacing);
                    for (int i = 0; i < agents; i++)
                    {
                        BuildBall(variant, platforms.Position(i), "agent " + i, i == 0);
                    }
                    Scenery.AddLight();
                    Scenery.Watch(platforms.Centre, 12f + platforms.Size);
                    break;
                default:
                    throw new ArgumentException("no scene for environment " + variant.Environment);
            }
        }

        static void BuildCubeMover(EnvironmentVariant variant, Vector3 position, string name)
        {
            var rules = new CubeMover(variant.Variant == "basic");
            Transform root = Scenery.Empty(name, null, position);
            float first = rules.FirstCell - rules.Start, last = rules.LastCell - rules.Start;
            Scenery.Shape(
                PrimitiveType.Cube, "floor", root, new Vector3((first + last) / 2f, -0.6f, 0f),
                new Vector3(last - first + 1f, 0.2f, 1f), k_Floor);
            Scenery.Shape(
                PrimitiveType.Sphere, "small goal", root, new Vector3(rules.SmallGoal - rules.Start, 0f, 0f),
                0.5f * Vector3.one, k_Goal);
            Scenery.Shape(
                PrimitiveType.Sphere, "large goal", root, new Vector3(rules.LargeGoal - rules.Start, 0f, 0f),
                Vector3.one, k_Goal);
            Transform cube = Scenery.Shape(PrimitiveType.Cube, "cube", root, Vector3.zero, Vector3.one, k_Agent);
            AgentBuilder.Build<CubeMoverAgent>(root.gameObject, variant, agent =>
            {
                agent.Basic = rules.Basic;
                agent.Cube = cube;
            });
        }

        static void BuildPoleBalancer(EnvironmentVariant variant, Vector3 position, string name)
        {
            Transform root = Scenery.Empty(name, null, position);
            const float track = 2f * (float)PoleBalancer.PositionLimit;
            const float centre = (float)(PoleBalancer.CartArm + PoleBalancer.PoleArm);
            Scenery.Shape(
                PrimitiveType.Cube, "track", root, new Vector3(0f, -0.2f, 0f), new Vector3(track, 0.1f, 0.3f), k_Floor);
            Transform cart = Scenery.Shape(
                PrimitiveType.Cube, "cart", root, Vector3.zero, new Vector3(1f, 0.3f, 1f), k_Agent);
            Transform pole = Scenery.Shape(
                PrimitiveType.Capsule, "pole", root, new Vector3(0f, centre, 0f),
                new Vector3(0.1f, 1f, 0.1f), k_Balanced);
            AgentBuilder.Build<PoleBalancerAgent>(root.gameObject, variant, agent =>
            {
                agent.UsesForce = variant.Variant == "force";
                agent.Cart = cart;
                agent.Pole = pole;
            });
        }

        static void BuildBall(EnvironmentVariant variant, Vector3 position, string name, bool readsGravity)
        {
            Transform platform = Scenery.Shape(
                PrimitiveType.Cube, name, null, position, Ball3DRules.PlatformSize * Vector3.one, k_Agent);
            Transform ball = Scenery.Shape(
                PrimitiveType.Sphere, "ball of " + name, null, position + Ball3DRules.ResetHeight * Vector3.up,
                Vector3.one, k_Balanced);
            EngineNames.SetSurface(
                ball.GetComponent<Collider>(), Ball3DRules.BallFriction, Ball3DRules.BallBounciness);
            var body = ball.gameObject.AddComponent<Rigidbody>();
            body.mass = Ball3DRules.DefaultMass;
            body.useGravity = true;
            EngineNames.SetDamping(body, 0f, Ball3DRules.BallAngularDamping);
            if (variant.PictureSize > 0)
            {
                // A component of the agent's object, or of one below it, which turns with it; the camera must not turn.
                var sensor = platform.gameObject.AddComponent<CameraSensorComponent>();
                sensor.Camera = Scenery.PictureCamera("camera of " + name, position);
                sensor.Width = variant.PictureSize;
                sensor.Height = variant.PictureSize;
            }
            AgentBuilder.Build<Ball3DAgent>(platform.gameObject, variant, agent =>
            {
                agent.Ball = body;
                agent.Discrete = variant.Branches.Length > 0;
                agent.VectorObservationSize = variant.VectorObservationSize;
                agent.ReadsGravity = readsGravity;
            });
        }
    }
}
