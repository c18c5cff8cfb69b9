using System;
using Unity.MLAgents;
using Unity.MLAgents.Actuators;
using Unity.MLAgents.Policies;
using UnityEngine;

namespace MlAgentsBridge
{
    /// <summary>
    /// Puts an agent on an object in the one order that works: everything while the object is inactive, since an agent
    /// reads its sizes as it is activated and never again; the agent before the DecisionRequester, which otherwise
    /// brings a plain Agent along and drives that one.
    /// </summary>
    public static class AgentBuilder
    {
        /// <summary>`configure` sets the agent's own fields. `target` is active on return.</summary>
        public static T Build<T>(GameObject target, EnvironmentVariant variant, Action<T> configure) where T : Agent
        {
            target.SetActive(false);
            var behavior = target.AddComponent<BehaviorParameters>();
            behavior.BehaviorName = variant.Behavior;
            behavior.TeamId = 0;
            behavior.BrainParameters.VectorObservationSize = variant.VectorObservationSize;
            behavior.BrainParameters.NumStackedVectorObservations = 1;
            behavior.BrainParameters.ActionSpec = new ActionSpec(variant.ContinuousActions, variant.Branches);
            var agent = target.AddComponent<T>();
            agent.MaxStep = variant.MaxStep;
            configure(agent);
            var requester = target.AddComponent<DecisionRequester>();
            requester.DecisionPeriod = variant.DecisionPeriod;
            requester.TakeActionsBetweenDecisions = true;
            target.SetActive(true);
            return agent;
        }
    }
}
