// The parts of com.unity.ml-agents that hold sizes, observations and actions.
using System;
using System.Collections.Generic;
using UnityEngine;

namespace Unity.MLAgents.Actuators
{
    public struct ActionSpec
    {
        readonly int m_Continuous;
        readonly int[] m_Branches;

        public ActionSpec(int numContinuousActions = 0, int[] discreteBranchSizes = null)
        {
            m_Continuous = numContinuousActions;
            m_Branches = discreteBranchSizes;
        }

        public int NumContinuousActions { get { return m_Continuous; } }
        public int NumDiscreteActions { get { return BranchSizes.Length; } }
        public int[] BranchSizes { get { return m_Branches ?? new int[0]; } }
        public static ActionSpec MakeContinuous(int count) { return new ActionSpec(count); }
        public static ActionSpec MakeDiscrete(params int[] branches) { return new ActionSpec(0, branches); }
    }

    public struct ActionSegment<T> where T : struct
    {
        readonly T[] m_Values;

        public ActionSegment(T[] values) { m_Values = values; }
        public int Length { get { return m_Values == null ? 0 : m_Values.Length; } }

        public T this[int index]
        {
            get { return m_Values[index]; }
            set { m_Values[index] = value; }
        }
    }

    public struct ActionBuffers
    {
        public ActionBuffers(float[] continuousActions, int[] discreteActions)
        {
            ContinuousActions = new ActionSegment<float>(continuousActions);
            DiscreteActions = new ActionSegment<int>(discreteActions);
        }

        public ActionSegment<float> ContinuousActions { get; private set; }
        public ActionSegment<int> DiscreteActions { get; private set; }

        internal static ActionBuffers Zero(ActionSpec spec)
        {
            return new ActionBuffers(new float[spec.NumContinuousActions], new int[spec.NumDiscreteActions]);
        }
    }
}

namespace Unity.MLAgents.Sensors
{
    /// <summary>Name and shape of what a sensor sends.</summary>
    public sealed class SensorSpec
    {
        public readonly string Name;
        public readonly int[] Shape;

        public SensorSpec(string name, int[] shape)
        {
            Name = name;
            Shape = shape;
        }
    }

    /// <summary>Takes as many numbers as were declared: leaves out, or fills up with zeros, and warns.</summary>
    public sealed class VectorSensor
    {
        readonly int m_Size;
        readonly List<float> m_Values = new List<float>();

        public VectorSensor(int observationSize) { m_Size = observationSize; }
        public void AddObservation(float observation) { m_Values.Add(observation); }
        public void AddObservation(int observation) { m_Values.Add(observation); }
        public void AddObservation(bool observation) { m_Values.Add(observation ? 1f : 0f); }
        public void AddObservation(IList<float> observation) { m_Values.AddRange(observation); }

        public void AddObservation(Vector3 observation)
        {
            m_Values.AddRange(new[] { observation.x, observation.y, observation.z });
        }

        public void AddObservation(Quaternion observation)
        {
            m_Values.AddRange(new[] { observation.x, observation.y, observation.z, observation.w });
        }

        public void AddOneHotObservation(int observation, int range)
        {
            for (int i = 0; i < range; i++)
            {
                m_Values.Add(i == observation ? 1f : 0f);
            }
        }

        internal void Reset() { m_Values.Clear(); }

        internal float[] Take()
        {
            if (m_Values.Count != m_Size)
            {
                Debug.LogWarning(m_Values.Count + " observations made, VectorObservationSize is " + m_Size);
            }
            var sent = new float[m_Size];
            m_Values.CopyTo(0, sent, 0, Math.Min(m_Size, m_Values.Count));
            return sent;
        }
    }

    public abstract class SensorComponent : MonoBehaviour
    {
        public abstract SensorSpec Spec { get; }
    }

    /// <summary>Takes no picture here.</summary>
    public sealed class CameraSensorComponent : SensorComponent
    {
        public CameraSensorComponent()
        {
            SensorName = "CameraSensor";
            Width = 84;
            Height = 84;
        }

        public Camera Camera { get; set; }
        public string SensorName { get; set; }
        public int Width { get; set; }
        public int Height { get; set; }
        public bool Grayscale { get; set; }

        public override SensorSpec Spec
        {
            get { return new SensorSpec(SensorName, new[] { Grayscale ? 1 : 3, Height, Width }); }
        }
    }
}

namespace Unity.MLAgents.Policies
{
    public enum BehaviorType { Default, HeuristicOnly, InferenceOnly }

    public sealed class BrainParameters
    {
        public int VectorObservationSize = 1;
        public int NumStackedVectorObservations = 1;
        public Actuators.ActionSpec ActionSpec { get; set; }
    }

    public sealed class BehaviorParameters : MonoBehaviour
    {
        public BehaviorParameters()
        {
            BehaviorName = "My Behavior";
            BrainParameters = new BrainParameters();
        }

        public string BehaviorName { get; set; }
        public BehaviorType BehaviorType { get; set; }
        public int TeamId { get; set; }
        public BrainParameters BrainParameters { get; private set; }
        public string FullyQualifiedBehaviorName { get { return BehaviorName + "?team=" + TeamId; } }
    }
}
