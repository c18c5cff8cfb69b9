using System;

namespace OpenMined
{
    /// <summary>
    /// Random numbers by counting, those of trainers/kernels/philox.py: the seed and the number of the call are the
    /// whole state, and the same ones give the same numbers there and here.
    /// </summary>
    public sealed class RandomNumbers
    {
        const uint k_Orders = 2; // streams 0 and 1 are those of actions
        const uint k_Weights = 16;

        public ulong Seed;
        public ulong Call;

        public RandomNumbers(ulong seed, ulong call = 0)
        {
            Seed = seed;
            Call = call;
        }

        /// <summary>A number of a call that nothing else gets.</summary>
        public ulong NextCall()
        {
            return Call++;
        }

        /// <summary>
        /// A shuffled order of 0 to steps - 1, the first `used` of it written to `order` from `at` on. `words` and
        /// `keys` are room for `steps` numbers.
        /// </summary>
        internal void FillOrder(
            int steps, int used, PinnedArray<long> order, int at, PinnedArray<uint> words, ulong[] keys)
        {
            Kernels.Check(
                Native.om_random_words(Seed, NextCall(), k_Orders, steps, words.Address), "om_random_words");
            for (int i = 0; i < steps; i++)
            {
                keys[i] = (ulong)words.Values[i] << 32 | (uint)i;
            }
            Array.Sort(keys, 0, steps);
            for (int i = 0; i < used; i++)
            {
                order.Values[at + i] = (long)(keys[i] & 0xffffffff);
            }
        }

        /// <summary>Weights of a layer, normally distributed with this standard deviation.</summary>
        internal void FillNormals(PinnedArray<float> values, int at, int count, double deviation)
        {
            IntPtr from = IntPtr.Add(values.Address, at * sizeof(float));
            Kernels.Check(Native.om_random_normals(Seed, NextCall(), k_Weights, count, from), "om_random_normals");
            for (int i = at; i < at + count; i++)
            {
                values.Values[i] = (float)(values.Values[i] * deviation);
            }
        }

        /// <summary>Weights of a layer, equally distributed from -limit to limit.</summary>
        internal void FillUniforms(PinnedArray<float> values, int at, int count, double limit)
        {
            IntPtr from = IntPtr.Add(values.Address, at * sizeof(float));
            Kernels.Check(Native.om_random_uniforms(Seed, NextCall(), k_Weights, count, from), "om_random_uniforms");
            for (int i = at; i < at + count; i++)
            {
                values.Values[i] = (float)((2.0 * values.Values[i] - 1.0) * limit);
            }
        }
    }
}
