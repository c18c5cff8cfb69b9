using System;

namespace OpenMined
{
    /// <summary>
    /// Trajectories that were cut, one after the other, until there are enough of them for an update. Those that were
    /// cut at the same moment are a group: a normaliser takes them in together, as the trainer in Python does.
    /// </summary>
    sealed class Experience : IDisposable
    {
        public readonly StepColumns Steps;
        /// <summary>Steps of each trajectory.</summary>
        public readonly PinnedArray<long> Lengths;
        /// <summary>[trajectories, inputs]: what each agent saw after its last step.</summary>
        public readonly float[] NextObservations;
        /// <summary>Whether an episode ended there for good, so that nothing is worth anything after it.</summary>
        public readonly bool[] Terminated;
        /// <summary>The trajectory that each group ends before.</summary>
        public readonly int[] GroupEnds;

        readonly int m_Inputs;

        public Experience(NetworkShape shape, int capacity)
        {
            m_Inputs = shape.Inputs;
            Steps = new StepColumns(shape, capacity);
            Lengths = new PinnedArray<long>(capacity);
            NextObservations = new float[capacity * shape.Inputs];
            Terminated = new bool[capacity];
            GroupEnds = new int[capacity];
        }

        public int Size { get; private set; }
        public int Trajectories { get; private set; }
        public int Groups { get; private set; }

        public bool HasRoomFor(int steps)
        {
            return Size + steps <= Steps.Rows;
        }

        /// <summary>Adds the steps of one trajectory, rows of `from`, to the group at hand.</summary>
        public void Append(StepColumns from, int row, int length, float[] next, int nextRow, bool terminated)
        {
            Steps.CopyRows(from, row, Size, length);
            Lengths.Values[Trajectories] = length;
            Array.Copy(next, nextRow * m_Inputs, NextObservations, Trajectories * m_Inputs, m_Inputs);
            Terminated[Trajectories] = terminated;
            Size += length;
            Trajectories++;
        }

        /// <summary>What comes from now on is another group.</summary>
        public void EndGroup()
        {
            if (Trajectories > (Groups == 0 ? 0 : GroupEnds[Groups - 1]))
            {
                GroupEnds[Groups++] = Trajectories;
            }
        }

        public void Clear()
        {
            Size = Trajectories = Groups = 0;
        }

        public void Dispose()
        {
            Steps.Dispose();
            Lengths.Dispose();
        }
    }
}
