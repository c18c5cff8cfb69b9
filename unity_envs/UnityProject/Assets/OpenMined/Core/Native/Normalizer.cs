using System;

namespace OpenMined
{
    /// <summary>
    /// Running mean and variance of all observations side by side, with the arithmetic of trainers/networks.py: inputs
    /// are clamp((x - mean) / standard deviation, -5, 5).
    /// </summary>
    sealed class Normalizer : IDisposable
    {
        public readonly PinnedArray<float> Mean;
        public readonly PinnedArray<float> VarianceSum;
        /// <summary>1 / standard deviation.</summary>
        public readonly PinnedArray<float> Scale;
        /// <summary>Steps seen, plus the 1 that it begins with.</summary>
        public double Steps = 1.0;

        readonly int m_Size;

        public Normalizer(int size)
        {
            m_Size = size;
            Mean = new PinnedArray<float>(size);
            VarianceSum = new PinnedArray<float>(size);
            Scale = new PinnedArray<float>(size);
            for (int k = 0; k < size; k++)
            {
                VarianceSum.Values[k] = Scale.Values[k] = 1f;
            }
        }

        /// <summary>Takes in `count` rows of observations, the first of which is `row`.</summary>
        public void TakeIn(float[] observations, int row, int count)
        {
            Steps += count;
            int first = row * m_Size;
            for (int k = 0; k < m_Size; k++)
            {
                double oldMean = Mean.Values[k];
                double shift = 0.0;
                for (int i = 0; i < count; i++)
                {
                    shift += observations[first + i * m_Size + k] - oldMean;
                }
                float newMean = (float)(oldMean + shift / Steps);
                double spread = 0.0;
                for (int i = 0; i < count; i++)
                {
                    float observation = observations[first + i * m_Size + k];
                    // The first difference is one of float32 there, so it is rounded here, too.
                    spread += (float)(observation - newMean) * (observation - oldMean);
                }
                Mean.Values[k] = newMean;
                VarianceSum.Values[k] = (float)(VarianceSum.Values[k] + spread);
            }
            Rescale();
        }

        /// <summary>To be called when what the scale is made of was changed.</summary>
        public void Rescale()
        {
            for (int k = 0; k < m_Size; k++)
            {
                Scale.Values[k] = (float)Math.Sqrt(Steps / VarianceSum.Values[k]);
            }
        }

        /// <summary>The inputs of the networks, of `count` rows.</summary>
        public void Apply(float[] observations, float[] inputs, int count)
        {
            for (int i = 0, at = 0; i < count; i++)
            {
                for (int k = 0; k < m_Size; k++, at++)
                {
                    float difference = (float)(observations[at] - Mean.Values[k]);
                    float value = (float)(difference * Scale.Values[k]);
                    inputs[at] = value < -5f ? -5f : value > 5f ? 5f : value;
                }
            }
        }

        public void CopyFrom(Normalizer other)
        {
            Array.Copy(other.Mean.Values, Mean.Values, m_Size);
            Array.Copy(other.VarianceSum.Values, VarianceSum.Values, m_Size);
            Array.Copy(other.Scale.Values, Scale.Values, m_Size);
            Steps = other.Steps;
        }

        public void Dispose()
        {
            Mean.Dispose();
            VarianceSum.Dispose();
            Scale.Dispose();
        }
    }
}
