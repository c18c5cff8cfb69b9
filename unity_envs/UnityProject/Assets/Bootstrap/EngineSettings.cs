using UnityEngine;

namespace MlAgentsBridge
{
    /// <summary>
    /// What the environments need of the engine, set in code, so that it does not depend on project settings that an
    /// Editor wrote. Mostly Unity's defaults, said aloud.
    /// </summary>
    public static class EngineSettings
    {
        public const float Tick = 0.02f;

        public static void Apply()
        {
            Time.fixedDeltaTime = Tick;
            Time.maximumDeltaTime = 1f / 3f;
            Physics.gravity = new Vector3(0f, -Ball3DRules.DefaultGravity, 0f);
            Physics.defaultSolverIterations = 6;
            Physics.defaultSolverVelocityIterations = 1;
            Physics.bounceThreshold = 2f;
            Physics.defaultContactOffset = 0.01f;
            Physics.defaultMaxAngularSpeed = 7f;
            Physics.defaultMaxDepenetrationVelocity = 10f;
            Physics.sleepThreshold = 0f; // a ball at rest must notice that the platform under it was turned
            Application.runInBackground = true;
            Application.targetFrameRate = -1; // as fast as it goes; the trainer may set another
            QualitySettings.vSyncCount = 0;
        }
    }
}
