using System;
using System.Linq;

namespace OpenMined
{
    /// <summary>
    /// Actor and critic of one behavior on the native library: acts for up to `room` agents in one call, judges and
    /// learns. All arrays are made once, and no call makes garbage.
    /// </summary>
    /// <remarks>
    /// What goes in and comes out is in public arrays, rows first: [agents, inputs], [agents, branches] and so on. Not
    /// for two threads at once. Throws OpenMinedException where the library refuses, ObjectDisposedException
    /// afterwards.
    /// </remarks>
    public sealed class ActorCritic : IDisposable
    {
        const double k_MeanHeadScale = 0.2;
        const double k_DiscreteHeadScale = 0.1;

        public readonly NetworkShape Shape;
        public readonly int Room;

        internal readonly PinnedArray<float> Parameters;
        internal readonly PinnedArray<float> Moment;
        internal readonly PinnedArray<float> Square;
        internal readonly Normalizer Normalizer;
        internal long AdamSteps;

        readonly NetworkHandle m_Handle;
        readonly PinnedArray<float> m_Gradient;
        readonly PinnedArray<float> m_Observations, m_Continuous, m_ContinuousForPlayer;
        readonly PinnedArray<float> m_LogProbs, m_Values, m_Entropy;
        readonly PinnedArray<byte> m_Allowed;
        readonly PinnedArray<long> m_Discrete;
        readonly PinnedArray<int> m_DiscreteForPlayer;
        readonly PinnedArray<IntPtr> m_Pointers; // of the observations, the means and the scales
        ActArguments m_Arguments;
        PpoSettings m_Settings;

        /// <summary>
        /// `room`: agents that `Act` and `Judge` take at most. Parameters are 0 until `Initialize` or
        /// `WeightsFile.Load`; Adam's state is kept only if it `learns`.
        /// </summary>
        public ActorCritic(NetworkShape shape, int room, bool learns)
        {
            Kernels.Require();
            if (room < 1)
            {
                throw new ArgumentException("room: expected 1 agent or more, got " + room);
            }
            Shape = shape;
            Room = room;
            Parameters = new PinnedArray<float>(shape.ParameterCount);
            Moment = new PinnedArray<float>(learns ? shape.ParameterCount : 0);
            Square = new PinnedArray<float>(learns ? shape.ParameterCount : 0);
            m_Gradient = new PinnedArray<float>(learns ? shape.ParameterCount : 0);
            Normalizer = shape.Normalize ? new Normalizer(shape.Inputs) : null;
            m_Observations = new PinnedArray<float>((long)room * shape.Inputs);
            m_Allowed = new PinnedArray<byte>((long)room * shape.Logits);
            m_Continuous = new PinnedArray<float>((long)room * shape.Continuous);
            m_ContinuousForPlayer = new PinnedArray<float>((long)room * shape.Continuous);
            m_Discrete = new PinnedArray<long>((long)room * shape.Branches.Length);
            m_DiscreteForPlayer = new PinnedArray<int>((long)room * shape.Branches.Length);
            m_LogProbs = new PinnedArray<float>((long)room * shape.Columns);
            m_Values = new PinnedArray<float>(room);
            m_Entropy = new PinnedArray<float>(1);
            m_Pointers = new PinnedArray<IntPtr>(3);
            m_Handle = Create(shape);
            PointAtArrays();
        }

        /// <summary>[room, inputs]: the observations of each agent side by side, not normalised.</summary>
        public float[] Observations { get { return m_Observations.Values; } }
        /// <summary>[room, actions of all branches], 0: forbidden. Looked at if `Act` is told so.</summary>
        public byte[] Allowed { get { return m_Allowed.Values; } }
        /// <summary>[agents, continuous], as sampled.</summary>
        public float[] Continuous { get { return m_Continuous.Values; } }
        /// <summary>[agents, continuous], from -1 to 1.</summary>
        public float[] ContinuousForPlayer { get { return m_ContinuousForPlayer.Values; } }
        /// <summary>[agents, branches]</summary>
        public long[] Discrete { get { return m_Discrete.Values; } }
        /// <summary>[agents, branches]</summary>
        public int[] DiscreteForPlayer { get { return m_DiscreteForPlayer.Values; } }
        /// <summary>[agents, continuous + branches]</summary>
        public float[] LogProbs { get { return m_LogProbs.Values; } }
        /// <summary>[agents], written by `Judge`.</summary>
        public float[] Values { get { return m_Values.Values; } }
        /// <summary>Of the distribution that `Act` drew from last, mean over the agents.</summary>
        public float Entropy { get { return m_Entropy.Values[0]; } }

        /// <summary>Actions for the first `agents` rows of `Observations`.</summary>
        public void Act(int agents, ulong seed, ulong call, bool deterministic = false, bool masked = false)
        {
            CheckRoom(agents);
            m_Arguments.Agents = agents;
            m_Arguments.Seed = seed;
            m_Arguments.Call = call;
            m_Arguments.Deterministic = deterministic ? 1 : 0;
            m_Arguments.Allowed = masked && Shape.Logits > 0 ? m_Allowed.Address : IntPtr.Zero;
            m_Arguments.LogProbs = m_LogProbs.Address;
            m_Arguments.Continuous = m_Continuous.Address;
            m_Arguments.ContinuousForPlayer = m_ContinuousForPlayer.Address;
            m_Arguments.Discrete = m_Discrete.Address;
            m_Arguments.DiscreteForPlayer = m_DiscreteForPlayer.Address;
            m_Arguments.Entropy = m_Entropy.Address;
            m_Arguments.Values = IntPtr.Zero;
            Run();
        }

        /// <summary>The critic's values of the first `agents` rows of `Observations`.</summary>
        public void Judge(int agents)
        {
            CheckRoom(agents);
            m_Arguments.Agents = agents;
            m_Arguments.Deterministic = 1;
            m_Arguments.Allowed = IntPtr.Zero;
            m_Arguments.LogProbs = m_Arguments.Continuous = m_Arguments.ContinuousForPlayer = IntPtr.Zero;
            m_Arguments.Discrete = m_Arguments.DiscreteForPlayer = m_Arguments.Entropy = IntPtr.Zero;
            m_Arguments.Values = m_Values.Address;
            Run();
        }

        void Run()
        {
            Kernels.Check(Native.om_act(m_Handle, ref m_Arguments), "om_act");
            GC.KeepAlive(this);
        }

        /// <summary>Adam's steps on minibatches that `order` names; losses are written for each.</summary>
        internal void Learn(
            ref PpoBatch batch, Schedules schedules, bool valueClipping, int batchSize, int minibatches, IntPtr order,
            IntPtr policyLosses, IntPtr valueLosses)
        {
            m_Settings.LearningRate = schedules.LearningRate;
            m_Settings.Epsilon = schedules.Epsilon;
            m_Settings.Beta = schedules.Beta;
            m_Settings.ValueClipping = valueClipping ? 1 : 0;
            m_Settings.Threads = 1;
            m_Settings.BatchSize = batchSize;
            m_Settings.Minibatches = minibatches;
            m_Settings.AdamSteps = AdamSteps;
            m_Settings.Parameters = Parameters.Address;
            m_Settings.Gradient = m_Gradient.Address;
            m_Settings.Moment = Moment.Address;
            m_Settings.Square = Square.Address;
            int status = Native.om_ppo_update(m_Handle, ref batch, ref m_Settings, order, policyLosses, valueLosses);
            Kernels.Check(status, "om_ppo_update");
            AdamSteps += minibatches;
            GC.KeepAlive(this);
        }

        /// <summary>Draws weights as ML-Agents does: see trainers/networks.py. Adam begins anew.</summary>
        public void Initialize(RandomNumbers random)
        {
            foreach (ParameterTensor tensor in Shape.Tensors)
            {
                if (tensor.Columns == 0)
                {
                    Array.Clear(Parameters.Values, tensor.Offset, tensor.Count);
                }
                else if (tensor.Name.StartsWith("critic.values.", StringComparison.Ordinal))
                {
                    double limit = Math.Sqrt(6.0 / (tensor.Rows + tensor.Columns));
                    random.FillUniforms(Parameters, tensor.Offset, tensor.Count, limit);
                }
                else
                {
                    bool isMean = tensor.Name.StartsWith("actor.continuous.", StringComparison.Ordinal);
                    bool isDiscrete = tensor.Name.StartsWith("actor.discrete.", StringComparison.Ordinal);
                    double scale = isMean ? k_MeanHeadScale : isDiscrete ? k_DiscreteHeadScale : 1.0;
                    random.FillNormals(Parameters, tensor.Offset, tensor.Count, scale / Math.Sqrt(tensor.Columns));
                }
            }
            AdamSteps = 0;
            Array.Clear(Moment.Values, 0, (int)Moment.Length);
            Array.Clear(Square.Values, 0, (int)Square.Length);
        }

        /// <summary>Takes over parameters and normaliser of a network of the same shape.</summary>
        public void CopyFrom(ActorCritic other)
        {
            Array.Copy(other.Parameters.Values, Parameters.Values, Shape.ParameterCount);
            CopyNormalizerFrom(other);
        }

        internal void CopyNormalizerFrom(ActorCritic other)
        {
            if (Normalizer != null)
            {
                Normalizer.CopyFrom(other.Normalizer);
            }
        }

        public void Dispose()
        {
            m_Handle.Dispose();
            var arrays = new IDisposable[]
            {
                Parameters, Moment, Square, m_Gradient, m_Observations, m_Continuous, m_ContinuousForPlayer, m_LogProbs,
                m_Values, m_Entropy, m_Allowed, m_Discrete, m_DiscreteForPlayer, m_Pointers, Normalizer,
            };
            foreach (IDisposable array in arrays)
            {
                if (array != null)
                {
                    array.Dispose();
                }
            }
        }

        void CheckRoom(int agents)
        {
            if (m_Handle.IsClosed)
            {
                throw new ObjectDisposedException("ActorCritic", "this network was disposed of; make a new one");
            }
            if (agents < 0 || agents > Room)
            {
                throw new ArgumentException("agents: there is room for " + Room + ", got " + agents);
            }
        }

        /// <summary>For the library all observations are one: side by side they are the same inputs.</summary>
        static NetworkHandle Create(NetworkShape shape)
        {
            using (var sizes = new PinnedArray<long>(new long[] { shape.Inputs }))
            using (var widths = new PinnedArray<long>(Repeat(shape.HiddenUnits, shape.NumLayers)))
            using (var branches = new PinnedArray<long>(shape.Branches.Select(size => (long)size).ToArray()))
            using (var offsets = new PinnedArray<long>(shape.Tensors.Select(tensor => (long)tensor.Offset).ToArray()))
            {
                var description = new NetworkDescription
                {
                    ObservationCount = 1,
                    ObservationSizes = sizes.Address,
                    LayerCount = shape.NumLayers,
                    LayerWidths = widths.Address,
                    Continuous = shape.Continuous,
                    BranchCount = shape.Branches.Length,
                    BranchSizes = branches.Address,
                    Signals = 1,
                    SharedCritic = shape.SharedCritic ? 1 : 0,
                    ParameterCount = shape.ParameterCount,
                    OffsetCount = offsets.Length,
                    Offsets = offsets.Address,
                };
                IntPtr network;
                Kernels.Check(Native.om_network_create(ref description, out network), "om_network_create");
                return new NetworkHandle(network);
            }
        }

        static long[] Repeat(long number, int count)
        {
            return Enumerable.Repeat(number, count).ToArray();
        }

        void PointAtArrays()
        {
            m_Pointers.Values[0] = m_Observations.Address;
            m_Arguments.Observations = m_Pointers.Address;
            if (Normalizer != null)
            {
                m_Pointers.Values[1] = Normalizer.Mean.Address;
                m_Pointers.Values[2] = Normalizer.Scale.Address;
                m_Arguments.Means = IntPtr.Add(m_Pointers.Address, IntPtr.Size);
                m_Arguments.Scales = IntPtr.Add(m_Pointers.Address, 2 * IntPtr.Size);
            }
            m_Arguments.Parameters = Parameters.Address;
            m_Arguments.Threads = 1;
        }
    }
}
