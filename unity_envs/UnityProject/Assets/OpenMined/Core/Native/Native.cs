using System;
using System.Runtime.InteropServices;

namespace OpenMined
{
    // The functions and structures of trainers/kernels/include/openmined.h, whose comments say what they mean. Fields
    // have the header's order. Everything here is blittable, so that a call makes no copy and no garbage.

    [StructLayout(LayoutKind.Sequential)]
    struct NetworkDescription
    {
        public long ObservationCount;
        public IntPtr ObservationSizes;
        public long LayerCount;
        public IntPtr LayerWidths;
        public long Continuous;
        public long BranchCount;
        public IntPtr BranchSizes;
        public long Signals;
        public long SharedCritic;
        public long ParameterCount;
        public long OffsetCount;
        public IntPtr Offsets;
    }

    [StructLayout(LayoutKind.Sequential)]
    struct ActArguments
    {
        public long Agents;
        public IntPtr Observations;
        public IntPtr Means;
        public IntPtr Scales;
        public IntPtr Parameters;
        public IntPtr Allowed;
        public ulong Seed;
        public ulong Call;
        public long Deterministic;
        public long Threads;
        public IntPtr Continuous;
        public IntPtr ContinuousForPlayer;
        public IntPtr Discrete;
        public IntPtr DiscreteForPlayer;
        public IntPtr LogProbs;
        public IntPtr Values;
        public IntPtr Entropy;
    }

    [StructLayout(LayoutKind.Sequential)]
    struct PpoBatch
    {
        public long Steps;
        public IntPtr Inputs;
        public IntPtr Continuous;
        public IntPtr Discrete;
        public IntPtr LogProbs;
        public IntPtr Allowed;
        public IntPtr Advantages;
        public IntPtr Returns;
        public IntPtr Values;
    }

    [StructLayout(LayoutKind.Sequential)]
    struct PpoSettings
    {
        public double LearningRate;
        public double Epsilon;
        public double Beta;
        public long ValueClipping;
        public long Threads;
        public long BatchSize;
        public long Minibatches;
        public long AdamSteps;
        public IntPtr Parameters;
        public IntPtr Gradient;
        public IntPtr Moment;
        public IntPtr Square;
    }

    static class Native
    {
        /// <summary>libopenmined.so, openmined.dll or libopenmined.dylib.</summary>
        const string k_Library = "openmined";
        const CallingConvention k_Convention = CallingConvention.Cdecl;

        [DllImport(k_Library, CallingConvention = k_Convention)]
        internal static extern int om_abi_version();

        [DllImport(k_Library, CallingConvention = k_Convention)]
        internal static extern IntPtr om_error_string(int status);

        [DllImport(k_Library, CallingConvention = k_Convention)]
        internal static extern IntPtr om_instruction_set();

        [DllImport(k_Library, CallingConvention = k_Convention)]
        internal static extern int om_network_create(ref NetworkDescription description, out IntPtr network);

        [DllImport(k_Library, CallingConvention = k_Convention)]
        internal static extern void om_network_destroy(IntPtr network);

        [DllImport(k_Library, CallingConvention = k_Convention)]
        internal static extern int om_act(NetworkHandle network, ref ActArguments arguments);

        [DllImport(k_Library, CallingConvention = k_Convention)]
        internal static extern int om_gae(
            long steps, long trajectories, long signals, IntPtr rewards, IntPtr values, IntPtr lengths,
            IntPtr nextValues, IntPtr gammas, double lambda, IntPtr advantages, IntPtr returns);

        [DllImport(k_Library, CallingConvention = k_Convention)]
        internal static extern int om_ppo_update(
            NetworkHandle network, ref PpoBatch batch, ref PpoSettings settings, IntPtr order, IntPtr policyLosses,
            IntPtr valueLosses);

        [DllImport(k_Library, CallingConvention = k_Convention)]
        internal static extern int om_random_words(ulong seed, ulong call, uint stream, long count, IntPtr words);

        [DllImport(k_Library, CallingConvention = k_Convention)]
        internal static extern int om_random_normals(ulong seed, ulong call, uint stream, long count, IntPtr normals);

        [DllImport(k_Library, CallingConvention = k_Convention)]
        internal static extern int om_random_uniforms(ulong seed, ulong call, uint stream, long count, IntPtr uniforms);
    }

    /// <summary>A network of the library, given back when nobody uses it any more.</summary>
    sealed class NetworkHandle : SafeHandle
    {
        public NetworkHandle(IntPtr network) : base(IntPtr.Zero, true)
        {
            SetHandle(network);
        }

        public override bool IsInvalid
        {
            get { return handle == IntPtr.Zero; }
        }

        protected override bool ReleaseHandle()
        {
            Native.om_network_destroy(handle);
            return true;
        }
    }
}
