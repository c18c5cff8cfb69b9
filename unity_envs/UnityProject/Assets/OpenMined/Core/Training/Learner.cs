using System;

namespace OpenMined
{
    /// <summary>
    /// Makes better weights of experience, in pieces that take about as long as one minibatch, so that whoever calls
    /// can stop in between. What comes out does not depend on where.
    /// </summary>
    sealed class Learner : IDisposable
    {
        enum Stage { Idle, Judging, Order, Minibatches }

        public readonly ActorCritic Network;

        readonly TrainerSettings m_Settings;
        readonly PinnedArray<float> m_Inputs, m_Values, m_NextValues, m_Advantages, m_Returns;
        readonly PinnedArray<float> m_PolicyLosses, m_ValueLosses;
        readonly PinnedArray<double> m_Gammas;
        readonly PinnedArray<long> m_Order;
        readonly PinnedArray<uint> m_Words;
        readonly ulong[] m_Keys;

        Stage m_Stage;
        Experience m_Experience;
        RandomNumbers m_Random;
        Schedules m_Schedules;
        PpoBatch m_Batch;
        int m_Judged, m_JudgedRows, m_JudgedSteps, m_JudgedTrajectories, m_Epoch, m_Used, m_Minibatch, m_Losses;
        double m_PolicySum, m_ValueSum;

        /// <summary>`capacity`: steps of experience at most; `room`: rows that are judged in one piece.</summary>
        public Learner(NetworkShape shape, TrainerSettings settings, int capacity, int room)
        {
            m_Settings = settings;
            Network = new ActorCritic(shape, room, true);
            m_Inputs = new PinnedArray<float>((long)capacity * shape.Inputs);
            m_Values = new PinnedArray<float>(capacity);
            m_NextValues = new PinnedArray<float>(capacity);
            m_Advantages = new PinnedArray<float>(capacity);
            m_Returns = new PinnedArray<float>(capacity);
            m_Order = new PinnedArray<long>(capacity);
            m_Words = new PinnedArray<uint>(capacity);
            m_Keys = new ulong[capacity];
            m_PolicyLosses = new PinnedArray<float>(capacity / settings.Hyperparameters.BatchSize + 1);
            m_ValueLosses = new PinnedArray<float>(capacity / settings.Hyperparameters.BatchSize + 1);
            m_Gammas = new PinnedArray<double>(new[] { settings.Extrinsic.Gamma });
        }

        /// <summary>Of the last update, as Losses/Policy Loss and Losses/Value Loss have it.</summary>
        public double PolicyLoss { get; private set; }
        public double ValueLoss { get; private set; }

        /// <summary>Judges all groups of `experience` that have not been judged yet.</summary>
        public void Judge(Experience experience)
        {
            while (m_Judged < experience.Groups)
            {
                JudgeRows(experience);
            }
        }

        /// <summary>Begins an update; `random` is used for `NumEpoch` calls. `Step` does the work.</summary>
        public void Begin(Experience experience, Schedules schedules, RandomNumbers random)
        {
            m_Experience = experience;
            m_Schedules = schedules;
            m_Random = random;
            m_Epoch = m_Losses = 0;
            m_PolicySum = m_ValueSum = 0.0;
            m_Used = experience.Size / m_Settings.Hyperparameters.BatchSize * m_Settings.Hyperparameters.BatchSize;
            m_Stage = Stage.Judging;
        }

        /// <summary>
        /// The next piece of the update: at most `minibatches` of them. Returns false when the update is over.
        /// </summary>
        public bool Step(int minibatches)
        {
            switch (m_Stage)
            {
                case Stage.Judging:
                    if (m_Judged < m_Experience.Groups)
                    {
                        JudgeRows(m_Experience);
                        return true;
                    }
                    MakeBatch();
                    m_Stage = Stage.Order;
                    return true;
                case Stage.Order:
                    if (m_Epoch == m_Settings.Hyperparameters.NumEpoch)
                    {
                        End();
                        return false;
                    }
                    m_Epoch++;
                    m_Random.FillOrder(m_Experience.Size, m_Used, m_Order, 0, m_Words, m_Keys);
                    m_Minibatch = 0;
                    m_Stage = Stage.Minibatches;
                    return true;
                case Stage.Minibatches:
                    Learn(minibatches);
                    return true;
                default:
                    return false;
            }
        }

        void End()
        {
            PolicyLoss = m_Losses == 0 ? 0.0 : m_PolicySum / m_Losses;
            ValueLoss = m_Losses == 0 ? 0.0 : m_ValueSum / m_Losses;
            m_Judged = m_JudgedSteps = m_JudgedTrajectories = 0;
            m_Stage = Stage.Idle;
        }

        /// <summary>
        /// The normaliser takes a group in, then the critic judges it and what came after it, as many rows as it has
        /// room for.
        /// </summary>
        void JudgeRows(Experience experience)
        {
            int trajectories = experience.GroupEnds[m_Judged] - m_JudgedTrajectories, steps = 0;
            for (int i = 0; i < trajectories; i++)
            {
                steps += (int)experience.Lengths.Values[m_JudgedTrajectories + i];
            }
            float[] observations = experience.Steps.Observations.Values;
            int inputs = Network.Shape.Inputs, rows = steps + trajectories;
            if (m_JudgedRows == 0 && Network.Normalizer != null)
            {
                Network.Normalizer.TakeIn(observations, m_JudgedSteps, steps);
            }
            int end = Math.Min(m_JudgedRows + Network.Room, rows);
            for (int row = m_JudgedRows; row < end; row++)
            {
                float[] from = row < steps ? observations : experience.NextObservations;
                int at = row < steps ? m_JudgedSteps + row : m_JudgedTrajectories + row - steps;
                Array.Copy(from, at * inputs, Network.Observations, (row - m_JudgedRows) * inputs, inputs);
            }
            Network.Judge(end - m_JudgedRows);
            for (int row = m_JudgedRows; row < end; row++)
            {
                float value = Network.Values[row - m_JudgedRows];
                if (row < steps)
                {
                    m_Values.Values[m_JudgedSteps + row] = value;
                    continue;
                }
                int trajectory = m_JudgedTrajectories + row - steps;
                m_NextValues.Values[trajectory] = experience.Terminated[trajectory] ? 0f : value;
            }
            m_JudgedRows = end;
            if (end == rows)
            {
                m_Judged++;
                m_JudgedRows = 0;
                m_JudgedSteps += steps;
                m_JudgedTrajectories += trajectories;
            }
        }

        void MakeBatch()
        {
            StepColumns columns = m_Experience.Steps;
            NetworkShape shape = Network.Shape;
            int size = m_Experience.Size;
            float strength = (float)m_Settings.Extrinsic.Strength;
            for (int i = 0; i < size; i++)
            {
                columns.Rewards.Values[i] *= strength;
            }
            int status = Native.om_gae(
                size, m_Experience.Trajectories, 1, columns.Rewards.Address, m_Values.Address,
                m_Experience.Lengths.Address, m_NextValues.Address, m_Gammas.Address, m_Settings.Hyperparameters.Lambd,
                m_Advantages.Address, m_Returns.Address);
            Kernels.Check(status, "om_gae");
            NormalizeAdvantages(m_Advantages.Values, size);
            if (Network.Normalizer != null)
            {
                Network.Normalizer.Apply(columns.Observations.Values, m_Inputs.Values, size);
            }
            m_Batch.Steps = size;
            m_Batch.Inputs = Network.Normalizer != null ? m_Inputs.Address : columns.Observations.Address;
            m_Batch.Continuous = columns.Continuous.Address;
            m_Batch.Discrete = columns.Discrete.Address;
            m_Batch.LogProbs = columns.LogProbs.Address;
            m_Batch.Allowed = shape.Logits > 0 ? columns.Allowed.Address : IntPtr.Zero;
            m_Batch.Advantages = m_Advantages.Address;
            m_Batch.Returns = m_Returns.Address;
            m_Batch.Values = m_Values.Address;
        }

        /// <summary>Mean 0 and standard deviation 1.</summary>
        static void NormalizeAdvantages(float[] advantages, int size)
        {
            double sum = 0.0, squares = 0.0;
            for (int i = 0; i < size; i++)
            {
                sum += advantages[i];
            }
            float mean = (float)(sum / size);
            for (int i = 0; i < size; i++)
            {
                double difference = advantages[i] - sum / size;
                squares += difference * difference;
            }
            float deviation = (float)((float)Math.Sqrt(squares / size) + 1e-10f);
            for (int i = 0; i < size; i++)
            {
                advantages[i] = (float)((float)(advantages[i] - mean) / deviation);
            }
        }

        void Learn(int minibatches)
        {
            int batchSize = m_Settings.Hyperparameters.BatchSize, all = m_Used / batchSize;
            int count = Math.Min(minibatches, all - m_Minibatch);
            if (count > 0)
            {
                IntPtr order = IntPtr.Add(m_Order.Address, m_Minibatch * batchSize * sizeof(long));
                Network.Learn(
                    ref m_Batch, m_Schedules, m_Settings.Hyperparameters.ValueClipping, batchSize, count, order,
                    m_PolicyLosses.Address, m_ValueLosses.Address);
                for (int i = 0; i < count; i++)
                {
                    m_PolicySum += Math.Abs(m_PolicyLosses.Values[i]);
                    m_ValueSum += m_ValueLosses.Values[i];
                }
                m_Losses += count;
                m_Minibatch += count;
            }
            if (m_Minibatch == all)
            {
                m_Stage = Stage.Order;
            }
        }

        public void Dispose()
        {
            var arrays = new IDisposable[]
            {
                Network, m_Inputs, m_Values, m_NextValues, m_Advantages, m_Returns, m_PolicyLosses, m_ValueLosses,
                m_Gammas, m_Order, m_Words,
            };
            foreach (IDisposable array in arrays)
            {
                array.Dispose();
            }
        }
    }
}
