using OpenMined;
using Unity.MLAgents;
using Unity.MLAgents.Actuators;
using Unity.MLAgents.Sensors;
using UnityEngine;

namespace MlAgentsBridge
{
    /// <summary>
    /// The agent of PoleBalancer: hands actions to the equations in Core, and what they say to ML-Agents. The engine's
    /// physics has no part in it.
    /// </summary>
    public sealed class PoleBalancerAgent : Agent
    {
        /// <summary>Actions are a force on the cart, not its velocity. Set it before the object is activated.</summary>
        public bool UsesForce;
        /// <summary>Are moved to where the equations say; may be missing.</summary>
        public Transform Cart, Pole;

        float[] m_Observation;
        LearnInGame m_Learn; // only where the agent learns in the game

        public PoleBalancer World { get; private set; }

        public override void Initialize()
        {
            World = new PoleBalancer(UsesForce);
            m_Observation = new float[PoleBalancer.ObservationSize];
            m_Learn = GetComponent<LearnInGame>();
        }

        public override void OnEpisodeBegin()
        {
            World.Reset(Random.Range((float)-PoleBalancer.ResetDegrees, (float)PoleBalancer.ResetDegrees));
            Show();
        }

        public override void CollectObservations(VectorSensor sensor)
        {
            World.Observe(m_Observation);
            sensor.AddObservation(m_Observation);
            if (m_Learn != null)
            {
                m_Learn.See(m_Observation);
            }
        }

        public override void OnActionReceived(ActionBuffers actions)
        {
            World.Step(actions.DiscreteActions[0]);
            SetReward((float)World.Reward);
            if (World.HasFailed)
            {
                EndEpisode(); // the end after 200 steps is that of MaxStep
            }
            Show();
        }

        public override void Heuristic(in ActionBuffers actionsOut)
        {
            if (m_Learn != null)
            {
                m_Learn.Decide(actionsOut);
                return;
            }
            ActionSegment<int> discrete = actionsOut.DiscreteActions;
            discrete[0] = World.Suggest();
        }

        void Show()
        {
            if (Cart != null)
            {
                Cart.localPosition = new Vector3((float)World.CartX, 0f, 0f);
            }
            if (Pole != null)
            {
                Pole.localPosition = new Vector3((float)World.PoleX, (float)World.PoleY, 0f);
                float degrees = (float)(World.Angle / PoleBalancer.RadiansPerDegree);
                Pole.localRotation = Quaternion.AngleAxis(degrees, Vector3.forward);
            }
        }
    }
}
