using System;

namespace OpenMined
{
    /// <summary>
    /// What is kept of each step of experience, one array for each kind of number, [rows, size] each.
    /// </summary>
    sealed class StepColumns : IDisposable
    {
        public readonly int Rows;
        public readonly PinnedArray<float> Observations;
        public readonly PinnedArray<float> Continuous;
        public readonly PinnedArray<long> Discrete;
        public readonly PinnedArray<float> LogProbs;
        public readonly PinnedArray<byte> Allowed;
        public readonly PinnedArray<float> Rewards;

        readonly NetworkShape m_Shape;

        public StepColumns(NetworkShape shape, int rows)
        {
            m_Shape = shape;
            Rows = rows;
            Observations = new PinnedArray<float>((long)rows * shape.Inputs);
            Continuous = new PinnedArray<float>((long)rows * shape.Continuous);
            Discrete = new PinnedArray<long>((long)rows * shape.Branches.Length);
            LogProbs = new PinnedArray<float>((long)rows * shape.Columns);
            Allowed = new PinnedArray<byte>((long)rows * shape.Logits);
            Rewards = new PinnedArray<float>(rows);
        }

        /// <summary>Notes what the agent in a row of `network` saw and did; the reward comes later.</summary>
        public void Store(int row, ActorCritic network, int from)
        {
            Copy(network.Observations, from, Observations.Values, row, 1, m_Shape.Inputs);
            Copy(network.Continuous, from, Continuous.Values, row, 1, m_Shape.Continuous);
            Copy(network.Discrete, from, Discrete.Values, row, 1, m_Shape.Branches.Length);
            Copy(network.LogProbs, from, LogProbs.Values, row, 1, m_Shape.Columns);
            Copy(network.Allowed, from, Allowed.Values, row, 1, m_Shape.Logits);
        }

        /// <summary>Copies rows of other columns here.</summary>
        public void CopyRows(StepColumns other, int from, int to, int count)
        {
            Copy(other.Observations.Values, from, Observations.Values, to, count, m_Shape.Inputs);
            Copy(other.Continuous.Values, from, Continuous.Values, to, count, m_Shape.Continuous);
            Copy(other.Discrete.Values, from, Discrete.Values, to, count, m_Shape.Branches.Length);
            Copy(other.LogProbs.Values, from, LogProbs.Values, to, count, m_Shape.Columns);
            Copy(other.Allowed.Values, from, Allowed.Values, to, count, m_Shape.Logits);
            Copy(other.Rewards.Values, from, Rewards.Values, to, count, 1);
        }

        static void Copy<T>(T[] source, int from, T[] target, int to, int count, int size)
        {
            Array.Copy(source, from * size, target, to * size, count * size);
        }

        public void Dispose()
        {
            Observations.Dispose();
            Continuous.Dispose();
            Discrete.Dispose();
            LogProbs.Dispose();
            Allowed.Dispose();
            Rewards.Dispose();
        }
    }
}
