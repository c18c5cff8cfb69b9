using System;
using Unity.MLAgents;
using Unity.MLAgents.Actuators;
using Unity.MLAgents.Policies;

namespace OpenMined
{
    /// <summary>
    /// What all agents of one behavior learn together in the game. Make one before the agents are activated, give it to
    /// the `LearnInGame` of each, and dispose of it when the scene ends.
    /// </summary>
    public sealed class InGameLearning : IDisposable
    {
        public readonly PpoTrainer Trainer;
        /// <summary>What updates may take of each step of the Academy, in a thread of their own.</summary>
        public double MillisecondsOfStep = 2.0;

        int m_Agents;

        /// <summary>
        /// For up to `agents` agents with these BrainParameters. With `settings.Threaded` updates go on beside the
        /// game; without it the game stands still for them. Throws OpenMinedException or ArgumentException, which say
        /// what to do.
        /// </summary>
        public InGameLearning(BrainParameters brain, TrainerSettings settings, int agents, ulong seed)
        {
            if (brain.NumStackedVectorObservations != 1)
            {
                throw new ArgumentException(
                    "NumStackedVectorObservations: expected 1, got " + brain.NumStackedVectorObservations +
                    "; the agent may keep older observations itself");
            }
            var sizes = new[] { brain.VectorObservationSize };
            ActionSpec actions = brain.ActionSpec;
            Trainer = new PpoTrainer(
                sizes, actions.NumContinuousActions, actions.BranchSizes, settings, agents, seed);
            Academy.Instance.AgentPreStep += BeginStep;
        }

        public void Dispose()
        {
            Academy.Instance.AgentPreStep -= BeginStep;
            Trainer.Dispose();
        }

        /// <summary>The number of one more agent.</summary>
        internal int Join()
        {
            if (m_Agents == Trainer.Agents)
            {
                throw new InvalidOperationException(
                    "this learning was made for " + Trainer.Agents + " agents; make it for more");
            }
            return m_Agents++;
        }

        void BeginStep(int step)
        {
            Trainer.BeginFrame(MillisecondsOfStep);
        }
    }
}
