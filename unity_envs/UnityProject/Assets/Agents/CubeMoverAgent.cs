using OpenMined;
using Unity.MLAgents;
using Unity.MLAgents.Actuators;
using Unity.MLAgents.Sensors;
using UnityEngine;

namespace MlAgentsBridge
{
    /// <summary>The agent of CubeMover: hands actions to the rules in Core, and what they say to ML-Agents.</summary>
    public sealed class CubeMoverAgent : Agent
    {
        /// <summary>The rules of ML-Agents' Basic scene. Set it before the object is activated.</summary>
        public bool Basic;
        /// <summary>Is moved to the cell; may be missing.</summary>
        public Transform Cube;

        float[] m_Observation;
        LearnInGame m_Learn; // only where the agent learns in the game

        public CubeMover World { get; private set; }

        public override void Initialize()
        {
            World = new CubeMover(Basic);
            m_Observation = new float[World.ObservationSize];
            m_Learn = GetComponent<LearnInGame>();
        }

        public override void OnEpisodeBegin()
        {
            World.Reset();
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
            if (World.HasEnded)
            {
                EndEpisode();
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
            if (Cube != null)
            {
                Cube.localPosition = new Vector3(World.Position - World.Start, 0f, 0f);
            }
        }
    }
}
