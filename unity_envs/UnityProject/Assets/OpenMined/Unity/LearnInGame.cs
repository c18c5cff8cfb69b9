using System;
using Unity.MLAgents;
using Unity.MLAgents.Actuators;
using UnityEngine;

namespace OpenMined
{
    /// <summary>
    /// Stands for the remote trainer of the agent on the same object: decides in the agent's place and learns from what
    /// it lives through. The agent calls `See` at the end of CollectObservations and `Decide` in Heuristic, which
    /// ML-Agents asks as long as no trainer is connected and no model is set.
    /// </summary>
    public sealed class LearnInGame : MonoBehaviour
    {
        /// <summary>Shared by the agents of a behavior. Without one, the agent's own heuristic has to decide.</summary>
        public InGameLearning Learning;
        /// <summary>Actions of all branches that are allowed at the next decision; null: all.</summary>
        [NonSerialized]
        public bool[] Allowed;

        Agent m_Agent;
        float[] m_Observation;
        int m_Number, m_Episode;
        float m_Reward, m_Rewarded;
        bool m_Saw, m_Interrupted;

        /// <summary>Puts one on the object of an agent.</summary>
        public static LearnInGame Attach(GameObject target, InGameLearning learning)
        {
            var component = target.AddComponent<LearnInGame>();
            component.Learning = learning;
            return component;
        }

        /// <summary>
        /// Notes what the agent sees. ML-Agents lets it look before each decision and at the end of each episode; which
        /// of the two it was shows in what comes next, another episode or the question for a decision.
        /// </summary>
        public void See(float[] observation)
        {
            if (m_Agent == null)
            {
                m_Agent = GetComponent<Agent>();
                m_Number = Learning.Join();
                m_Observation = new float[Learning.Trainer.Shape.Inputs];
            }
            if (observation.Length != m_Observation.Length)
            {
                throw new ArgumentException(
                    "observation: VectorObservationSize is " + m_Observation.Length + ", got " + observation.Length);
            }
            if (m_Saw && m_Agent.CompletedEpisodes != m_Episode)
            {
                Learning.Trainer.End(m_Number, m_Reward - m_Rewarded, m_Observation, m_Interrupted);
                m_Rewarded = 0f;
            }
            Array.Copy(observation, m_Observation, observation.Length);
            m_Reward = m_Agent.GetCumulativeReward();
            m_Episode = m_Agent.CompletedEpisodes;
            m_Interrupted = m_Agent.MaxStep > 0 && m_Agent.StepCount >= m_Agent.MaxStep;
            m_Saw = true;
        }

        /// <summary>Writes the policy's actions.</summary>
        public void Decide(in ActionBuffers actionsOut)
        {
            if (!m_Saw)
            {
                throw new InvalidOperationException("call See in CollectObservations before Decide in Heuristic");
            }
            PpoTrainer trainer = Learning.Trainer;
            trainer.Request(m_Number, m_Reward - m_Rewarded, m_Observation, Allowed);
            trainer.Act();
            m_Rewarded = m_Reward;
            m_Saw = false;
            ActionSegment<float> continuous = actionsOut.ContinuousActions;
            for (int i = 0; i < trainer.Shape.Continuous; i++)
            {
                continuous[i] = trainer.ContinuousAction(m_Number, i);
            }
            ActionSegment<int> discrete = actionsOut.DiscreteActions;
            for (int i = 0; i < trainer.Shape.Branches.Length; i++)
            {
                discrete[i] = trainer.DiscreteAction(m_Number, i);
            }
        }
    }
}
