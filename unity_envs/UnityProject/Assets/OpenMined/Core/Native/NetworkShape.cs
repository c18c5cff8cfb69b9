using System;
using System.Collections.Generic;
using System.Linq;

namespace OpenMined
{
    /// <summary>One tensor among a network's parameters: [Rows, Columns], or [Rows] if Columns is 0.</summary>
    public struct ParameterTensor
    {
        public readonly string Name;
        public readonly int Offset;
        public readonly int Rows;
        public readonly int Columns;

        public ParameterTensor(string name, int offset, int rows, int columns)
        {
            Name = name;
            Offset = offset;
            Rows = rows;
            Columns = columns;
        }

        public int Count
        {
            get { return Columns == 0 ? Rows : Rows * Columns; }
        }

        public int[] Shape
        {
            get { return Columns == 0 ? new[] { Rows } : new[] { Rows, Columns }; }
        }
    }

    /// <summary>
    /// Sizes of an actor-critic for vector observations, and where its tensors lie among its parameters: in the order
    /// of the library's header, under the names that trainers/networks.py gives them.
    /// </summary>
    public sealed class NetworkShape
    {
        /// <summary>What the critic judges: the reward of the game.</summary>
        public const string Signal = "extrinsic";

        public readonly int[] ObservationSizes;
        public readonly int Continuous;
        public readonly int[] Branches;
        public readonly int HiddenUnits;
        public readonly int NumLayers;
        public readonly bool Normalize;
        public readonly bool SharedCritic;

        /// <summary>All observations side by side.</summary>
        public readonly int Inputs;
        /// <summary>Actions of all branches.</summary>
        public readonly int Logits;
        public readonly ParameterTensor[] Tensors;
        public readonly int ParameterCount;

        /// <summary>
        /// For an agent with these vector observations, so many continuous actions and discrete branches of these
        /// sizes. Throws ArgumentException for sizes below 1, and without any actions.
        /// </summary>
        public NetworkShape(
            int[] observationSizes, int continuous, int[] branches, NetworkSettings settings, bool sharedCritic = false)
        {
            ObservationSizes = (int[])observationSizes.Clone();
            Branches = branches == null ? new int[0] : (int[])branches.Clone();
            Continuous = continuous;
            HiddenUnits = settings.HiddenUnits;
            NumLayers = settings.NumLayers;
            Normalize = settings.Normalize;
            SharedCritic = sharedCritic;
            if (ObservationSizes.Length == 0 || ObservationSizes.Min() < 1)
            {
                throw new ArgumentException("observationSizes: expected one or more sizes from 1 on");
            }
            if (continuous < 0 || Branches.Any(size => size < 1) || continuous + Branches.Length == 0)
            {
                throw new ArgumentException("expected continuous actions, or branches of sizes from 1 on, or both");
            }
            Inputs = ObservationSizes.Sum();
            Logits = Branches.Sum();

            var tensors = new List<ParameterTensor>();
            AddBody(tensors, "actor");
            if (continuous > 0)
            {
                AddLayer(tensors, "actor.continuous", continuous, HiddenUnits);
                Add(tensors, "actor.log_sigma", continuous, 0);
            }
            for (int branch = 0; branch < Branches.Length; branch++)
            {
                AddLayer(tensors, "actor.discrete." + branch, Branches[branch], HiddenUnits);
            }
            if (!sharedCritic)
            {
                AddBody(tensors, "critic");
            }
            AddLayer(tensors, "critic.values." + Signal, 1, HiddenUnits);
            Tensors = tensors.ToArray();
            ParameterCount = End(tensors);
        }

        public int Columns
        {
            get { return Continuous + Branches.Length; }
        }

        void AddBody(List<ParameterTensor> tensors, string part)
        {
            for (int layer = 0; layer < NumLayers; layer++)
            {
                AddLayer(tensors, part + ".body." + layer, HiddenUnits, layer == 0 ? Inputs : HiddenUnits);
            }
        }

        static void AddLayer(List<ParameterTensor> tensors, string name, int outputs, int inputs)
        {
            Add(tensors, name + ".weight", outputs, inputs);
            Add(tensors, name + ".bias", outputs, 0);
        }

        static void Add(List<ParameterTensor> tensors, string name, int rows, int columns)
        {
            tensors.Add(new ParameterTensor(name, End(tensors), rows, columns));
        }

        static int End(List<ParameterTensor> tensors)
        {
            return tensors.Count == 0 ? 0 : tensors[tensors.Count - 1].Offset + tensors[tensors.Count - 1].Count;
        }
    }
}
