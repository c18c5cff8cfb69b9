// A stand-in for com.unity.ml-agents' Academy, Agent and DecisionRequester: when what is called, what is reported, and
// what a reward, an end and a reset do, as its documentation and behaviour have it. In place of a network there is
// Academy.Exchange.
using System;
using System.Collections.Generic;
using Unity.MLAgents.Actuators;
using Unity.MLAgents.Policies;
using Unity.MLAgents.Sensors;
using UnityEngine;

namespace Unity.MLAgents
{
    /// <summary>What one agent tells the trainer.</summary>
    public sealed class Report
    {
        public Agent Agent;
        public bool Done, Interrupted;
        public float Reward;
        public float[] Observation;
    }

    public sealed class Academy
    {
        static readonly Lazy<Academy> s_Lazy = new Lazy<Academy>(() => new Academy());

        /// <summary>Stands for the trainer: takes reports, gives actions by Agent.Receive; true for a reset.</summary>
        public static Func<IList<Report>, bool> Exchange = reports => false;

        readonly List<Agent> m_Agents = new List<Agent>();
        readonly List<Report> m_Reports = new List<Report>();
        bool m_HadFirstReset;

        public static Academy Instance { get { return s_Lazy.Value; } }
#if UNITY_6000_0_OR_NEWER
        public int NumAreas { get { return GivenAreas; } }
#endif
        /// <summary>Stands for the trainer's first message.</summary>
        public static int GivenAreas = 1;
        public bool IsCommunicatorOn { get { return true; } }
        public int StepCount { get; private set; }
        public int TotalStepCount { get; private set; }
        public EnvironmentParameters EnvironmentParameters { get; private set; }
        public event Action<int> AgentPreStep;
        public event Action OnEnvironmentReset;

        internal IList<Agent> Agents { get { return m_Agents; } }
        internal void Send(Report report) { m_Reports.Add(report); }

        Academy() { EnvironmentParameters = new EnvironmentParameters(); }

        /// <summary>Once in every fixed update, before the physics.</summary>
        public void EnvironmentStep()
        {
            if (!m_HadFirstReset)
            {
                ResetAll();
            }
            AgentPreStep?.Invoke(StepCount);
            StepCount += 1;
            TotalStepCount += 1;
            m_Agents.ForEach(agent => agent.CountStep());
            m_Agents.ForEach(agent => agent.SendInfo());
            if (m_Reports.Count > 0)
            {
                var reports = m_Reports.ToArray();
                m_Reports.Clear();
                if (Exchange(reports))
                {
                    ResetAll();
                }
            }
            m_Agents.ForEach(agent => agent.Act());
        }

        /// <summary>New episodes for all, of which no agent reports an end.</summary>
        void ResetAll()
        {
            StepCount = 0;
            OnEnvironmentReset?.Invoke();
            m_Agents.ForEach(agent => agent.Begin());
            m_HadFirstReset = true;
        }
    }

    public sealed class EnvironmentParameters
    {
        readonly Dictionary<string, float> m_Values = new Dictionary<string, float>();

        /// <summary>Stands for the trainer's message.</summary>
        public void Set(string key, float value) { m_Values[key] = value; }

        public float GetWithDefault(string key, float otherwise)
        {
            float value;
            return m_Values.TryGetValue(key, out value) ? value : otherwise;
        }
    }

    [RequireComponent(typeof(BehaviorParameters))]
    public class Agent : MonoBehaviour
    {
        public int MaxStep;

        static int s_Count;

        BehaviorParameters m_Behavior;
        ActionSpec m_Actions;
        VectorSensor m_Sensor;
        float m_Reward, m_EpisodeReward;
        bool m_Initialized, m_Reported, m_RequestsDecision, m_RequestsAction;
        ActionBuffers m_Stored;

        public int Id { get; private set; }
        public int StepCount { get; internal set; }
        public int CompletedEpisodes { get; private set; }

        // As they were when the agent was activated. Changes made later have no effect.
        public string Behavior { get { return m_Behavior.FullyQualifiedBehaviorName; } }
        public ActionSpec Actions { get { return m_Actions; } }
        public IList<SensorSpec> Sensors { get; private set; }

        public virtual void Initialize() { }
        public virtual void OnEpisodeBegin() { }
        public virtual void CollectObservations(VectorSensor sensor) { }
        public virtual void OnActionReceived(ActionBuffers actions) { }
        public virtual void Heuristic(in ActionBuffers actionsOut) { Debug.LogWarning("no Heuristic was written"); }

        protected virtual void OnEnable()
        {
            if (m_Initialized)
            {
                return;
            }
            m_Initialized = true;
            m_Behavior = GetComponent<BehaviorParameters>();
            Id = s_Count++;
            m_Actions = m_Behavior.BrainParameters.ActionSpec;
            m_Stored = ActionBuffers.Zero(m_Actions);
            Initialize();
            int size = m_Behavior.BrainParameters.VectorObservationSize;
            if (m_Behavior.BrainParameters.NumStackedVectorObservations != 1)
            {
                throw new NotSupportedException("the stub has no stacked observations");
            }
            m_Sensor = size > 0 ? new VectorSensor(size) : null;
            var sensors = new List<SensorSpec>();
            foreach (SensorComponent component in gameObject.GetComponentsInChildren<SensorComponent>())
            {
                sensors.Add(component.Spec);
            }
            if (m_Sensor != null)
            {
                sensors.Add(new SensorSpec("VectorSensor_size" + size, new[] { size }));
            }
            sensors.Sort((a, b) => string.CompareOrdinal(a.Name, b.Name));
            Sensors = sensors;
            Academy.Instance.Agents.Add(this);
        }

        /// <summary>Replaces what was given since the agent last reported.</summary>
        public void SetReward(float reward) { AddReward(reward - m_Reward); m_Reward = reward; }

        public void AddReward(float reward)
        {
            m_Reward += reward;
            m_EpisodeReward += reward;
        }

        public float GetCumulativeReward() { return m_EpisodeReward; }

        public void RequestDecision()
        {
            m_RequestsDecision = true;
            m_RequestsAction = true;
        }

        public void RequestAction() { m_RequestsAction = true; }
        public void EndEpisode() { End(false); }
        public void EpisodeInterrupted() { End(true); }

        /// <summary>The trainer's answer.</summary>
        public void Receive(float[] continuous, int[] discrete) { m_Stored = new ActionBuffers(continuous, discrete); }

        internal void CountStep() { StepCount += 1; }

        internal void Begin()
        {
            StepCount = 0;
            m_Stored = ActionBuffers.Zero(m_Actions);
            OnEpisodeBegin();
        }

        internal void SendInfo()
        {
            if (!m_RequestsDecision)
            {
                return;
            }
            m_RequestsDecision = false;
            Academy.Instance.Send(new Report { Agent = this, Reward = m_Reward, Observation = Observe() });
            m_Reward = 0f;
            m_Reported = false;
        }

        internal void Act()
        {
            if (m_RequestsAction)
            {
                m_RequestsAction = false;
                OnActionReceived(m_Stored);
            }
            if (MaxStep > 0 && StepCount >= MaxStep)
            {
                End(true);
            }
        }

        /// <summary>A terminal goes out in the next step; a second one before a decision does not.</summary>
        void End(bool interrupted)
        {
            if (!m_Reported)
            {
                m_Reported = true;
                Academy.Instance.Send(new Report
                {
                    Agent = this, Done = true, Interrupted = interrupted, Reward = m_Reward, Observation = Observe(),
                });
                CompletedEpisodes += 1;
                m_Reward = m_EpisodeReward = 0f;
                m_RequestsAction = false;
                m_RequestsDecision = false;
            }
            Begin();
        }

        float[] Observe()
        {
            m_Sensor?.Reset();
            CollectObservations(m_Sensor);
            return m_Sensor == null ? new float[0] : m_Sensor.Take();
        }
    }

    [RequireComponent(typeof(Agent))]
    public sealed class DecisionRequester : MonoBehaviour
    {
        public int DecisionPeriod = 5;
        public bool TakeActionsBetweenDecisions = true;

        void Awake()
        {
            var agent = GetComponent<Agent>();
            Academy.Instance.AgentPreStep += step =>
            {
                if (step % DecisionPeriod == 0)
                {
                    agent.RequestDecision();
                }
                else if (TakeActionsBetweenDecisions)
                {
                    agent.RequestAction();
                }
            };
        }
    }
}
