using System.Globalization;
using Unity.MLAgents;
using Unity.MLAgents.Actuators;
using Unity.MLAgents.Sensors;
using UnityEngine;

namespace MlAgentsBridge
{
    /// <summary>
    /// The agent of 3DBall, on its platform: turns it, and reports the ball that the engine moves. In a tick it turns,
    /// tests the ball as the physics of the tick before left it, and is rewarded; the engine simulates afterwards.
    /// </summary>
    public sealed class Ball3DAgent : Agent
    {
        // All are set before the object is activated.
        public Rigidbody Ball;
        /// <summary>Actions are one of 4 numbers.</summary>
        public bool Discrete;
        /// <summary>8 numbers, 5 without the velocity, or 0 where a camera sees instead.</summary>
        public int VectorObservationSize = Ball3DRules.ObservationSize;
        /// <summary>Reads the parameter "gravity" for everybody, at each decision. One agent of a scene does.</summary>
        public bool ReadsGravity;

        float[] m_Observation;

        public override void Initialize()
        {
            m_Observation = new float[VectorObservationSize];
        }

        public override void OnEpisodeBegin()
        {
            transform.rotation = Quaternion.identity;
            transform.Rotate(Vector3.right, Random.Range(-Ball3DRules.ResetTilt, Ball3DRules.ResetTilt));
            transform.Rotate(Vector3.forward, Random.Range(-Ball3DRules.ResetTilt, Ball3DRules.ResetTilt));
            EngineNames.SetVelocity(Ball, Vector3.zero); // but not the spin, as in ML-Agents' own scene
            float x = Random.Range(-Ball3DRules.ResetSide, Ball3DRules.ResetSide);
            float z = Random.Range(-Ball3DRules.ResetSide, Ball3DRules.ResetSide);
            Ball.transform.position = transform.position + new Vector3(x, Ball3DRules.ResetHeight, z);
            // Set independently of each other, so a scaled ball keeps its mass.
            Ball.mass = Parameter("mass", Ball3DRules.DefaultMass);
            float scale = Parameter("scale", Ball3DRules.DefaultScale);
            Ball.transform.localScale = new Vector3(scale, scale, scale);
        }

        public override void CollectObservations(VectorSensor sensor)
        {
            if (VectorObservationSize == 0)
            {
                return; // and sensor is null
            }
            Quaternion rotation = transform.rotation;
            Vector3 position = Ball.transform.position - transform.position;
            Vector3 velocity = EngineNames.GetVelocity(Ball);
            Ball3DRules.Observe(
                rotation.z, rotation.x, position.x, position.y, position.z, velocity.x, velocity.y, velocity.z,
                m_Observation);
            sensor.AddObservation(m_Observation);
        }

        public override void OnActionReceived(ActionBuffers actions)
        {
            if (ReadsGravity && (Academy.Instance.StepCount - 1) % Ball3DRules.DecisionPeriod == 0)
            {
                Physics.gravity = new Vector3(0f, -Parameter("gravity", Ball3DRules.DefaultGravity, false), 0f);
            }
            float aboutZ, aboutX;
            if (Discrete)
            {
                aboutZ = Ball3DRules.DegreesAboutZ(actions.DiscreteActions[0]);
                aboutX = Ball3DRules.DegreesAboutX(actions.DiscreteActions[0]);
            }
            else
            {
                aboutZ = Ball3DRules.Degrees(actions.ContinuousActions[0]);
                aboutX = Ball3DRules.Degrees(actions.ContinuousActions[1]);
            }
            // About its own axes, one after the other: the second guard sees the first turn.
            if (Ball3DRules.MayTurn(transform.rotation.z, aboutZ))
            {
                transform.Rotate(Vector3.forward, aboutZ);
            }
            if (Ball3DRules.MayTurn(transform.rotation.x, aboutX))
            {
                transform.Rotate(Vector3.right, aboutX);
            }
            Vector3 position = Ball.transform.position - transform.position;
            if (Ball3DRules.HasFailed(position.x, position.y, position.z))
            {
                SetReward(Ball3DRules.FailureReward);
                EndEpisode();
            }
            else
            {
                SetReward(Ball3DRules.TickReward); // assigned, so a whole decision is worth 0.1
            }
        }

        public override void Heuristic(in ActionBuffers actionsOut)
        {
            Vector3 position = Ball.transform.position - transform.position;
            Vector3 velocity = EngineNames.GetVelocity(Ball);
            float aboutZ = Ball3DRules.Suggest(transform.rotation.z, position.x, velocity.x);
            float aboutX = Ball3DRules.Suggest(transform.rotation.x, -position.z, -velocity.z);
            if (Discrete)
            {
                ActionSegment<int> discrete = actionsOut.DiscreteActions;
                discrete[0] = Ball3DRules.Suggest(aboutZ, aboutX);
            }
            else
            {
                ActionSegment<float> continuous = actionsOut.ContinuousActions;
                continuous[0] = aboutZ;
                continuous[1] = aboutX;
            }
        }

        /// <summary>The environment parameter of this name. One that the engine cannot take stops the player.</summary>
        static float Parameter(string name, float value, bool positive = true)
        {
            float given = Academy.Instance.EnvironmentParameters.GetWithDefault(name, value);
            if (!float.IsNaN(given) && !float.IsInfinity(given) && (given > 0f || !positive))
            {
                return given;
            }
            PlayerError.Stop(
                "3DBall: environment parameter " + name + " must be finite" + (positive ? " and above 0" : "")
                + ", got " + given.ToString(CultureInfo.InvariantCulture));
            return value;
        }
    }
}
