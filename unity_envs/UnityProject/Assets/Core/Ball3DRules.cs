using System;

namespace MlAgentsBridge
{
    /// <summary>
    /// What 3DBall decides, without the engine: turns, limits, rewards, the ranges of a reset and the order of the
    /// observation. The specification is the text at the top of unity_envs/worlds/ball3d.py. Platform and ball are the
    /// engine's; positions are those of the ball relative to the centre of the platform, in metres.
    /// </summary>
    public static class Ball3DRules
    {
        public const int ObservationSize = 8;
        public const int ObservationSizeWithoutVelocity = 5;
        public const int MaxStep = 5000;
        public const int DecisionPeriod = 5;
        public const float DegreesPerTick = 2f;
        public const float TiltLimit = 0.25f; // of a quaternion's component: 29 degrees
        public const float SideLimit = 3f;
        public const float LowLimit = -2f;
        public const float TickReward = 0.1f;
        public const float FailureReward = -1f;
        public const float PlatformSize = 5f;
        public const float BallRadius = 0.5f; // of a scale of 1
        public const float BallAngularDamping = 0.01f;
        public const float BallFriction = 0.6f;
        public const float BallBounciness = 0.1f;
        public const float ResetTilt = 10f;  // degrees, to both sides
        public const float ResetSide = 1.5f; // to both sides
        public const float ResetHeight = 4f;
        public const float DefaultMass = 1f;
        public const float DefaultScale = 1f;
        public const float DefaultGravity = 9.81f;

        /// <summary>Degrees to turn in a tick for a continuous action, cut to -1..1; 0 for no number.</summary>
        public static float Degrees(float action)
        {
            return float.IsNaN(action) ? 0f : DegreesPerTick * Math.Min(Math.Max(action, -1f), 1f);
        }

        /// <summary>Degrees to turn in a tick about z for a discrete action; see DegreesAboutX.</summary>
        public static float DegreesAboutZ(int action)
        {
            return action == 0 ? -DegreesPerTick : action == 1 ? DegreesPerTick : 0f;
        }

        /// <summary>Degrees to turn in a tick about x for a discrete action: 2 and 3, as 0 and 1 about z.</summary>
        public static float DegreesAboutX(int action)
        {
            return action == 2 ? -DegreesPerTick : action == 3 ? DegreesPerTick : 0f;
        }

        /// <summary>
        /// The tilt guard: whether a turn of these degrees is done, given the quaternion component of that axis. No
        /// turn further out once the component has passed the limit on that side.
        /// </summary>
        public static bool MayTurn(float component, float degrees)
        {
            return (component < TiltLimit && degrees > 0f) || (component > -TiltLimit && degrees < 0f);
        }

        /// <summary>Whether the ball fell or left the space above the platform.</summary>
        public static bool HasFailed(float x, float y, float z)
        {
            return y < LowLimit || Math.Abs(x) > SideLimit || Math.Abs(z) > SideLimit;
        }

        /// <summary>Writes the observation; one of 5 numbers leaves out the velocity.</summary>
        public static void Observe(
            float rotationZ, float rotationX, float x, float y, float z, float velocityX, float velocityY,
            float velocityZ, float[] observation)
        {
            observation[0] = rotationZ;
            observation[1] = rotationX;
            observation[2] = x;
            observation[3] = y;
            observation[4] = z;
            if (observation.Length > ObservationSizeWithoutVelocity)
            {
                observation[5] = velocityX;
                observation[6] = velocityY;
                observation[7] = velocityZ;
            }
        }

        /// <summary>
        /// A good continuous action about z, for the ball's position and velocity along x; about x, for those along z
        /// with their signs turned. It tilts against where the ball is and goes.
        /// </summary>
        public static float Suggest(float component, float position, float velocity)
        {
            double wanted = 0.1 * position + 0.12 * velocity; // radians
            double present = 2.0 * Math.Asin(Math.Min(Math.Max(component, -1f), 1f));
            return (float)Math.Min(Math.Max((wanted - present) * 18.0 / Math.PI, -1.0), 1.0);
        }

        /// <summary>A good discrete action: the larger one of the two continuous ones.</summary>
        public static int Suggest(float aboutZ, float aboutX)
        {
            if (Math.Abs(aboutZ) >= Math.Abs(aboutX))
            {
                return aboutZ < 0f ? 0 : 1;
            }
            return aboutX < 0f ? 2 : 3;
        }
    }
}
