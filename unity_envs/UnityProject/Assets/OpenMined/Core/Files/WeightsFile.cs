using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;

namespace OpenMined
{
    /// <summary>
    /// The weights of a behavior in a safetensors file, in the game and in Python the same: trainers/weights_file.py
    /// says what is in it, and reads and writes it there.
    /// </summary>
    public static class WeightsFile
    {
        public const string Format = "mlagents-bridge weights";
        public const int FormatVersion = 1;

        const string k_Moment = "optimizer.exp_avg.";
        const string k_Square = "optimizer.exp_avg_sq.";

        /// <summary>
        /// Writes networks, normaliser, Adam's state and random numbers of a trainer, after the update that may be
        /// going on. `behavior` is the name of the behavior.
        /// </summary>
        public static void Save(string path, PpoTrainer trainer, string behavior)
        {
            trainer.FinishUpdate();
            NetworkShape shape = trainer.Shape;
            ActorCritic network = trainer.Learning;
            var file = new SafeTensors();
            foreach (ParameterTensor tensor in shape.Tensors)
            {
                file.Add(tensor.Name, tensor.Shape, network.Parameters.Values, tensor.Offset);
                file.Add(k_Moment + tensor.Name, tensor.Shape, network.Moment.Values, tensor.Offset);
                file.Add(k_Square + tensor.Name, tensor.Shape, network.Square.Values, tensor.Offset);
            }
            for (int i = 0, offset = 0; i < shape.ObservationSizes.Length && shape.Normalize; i++)
            {
                string name = "actor.normalizers." + i;
                int[] size = { shape.ObservationSizes[i] };
                file.Add(name + ".mean", size, network.Normalizer.Mean.Values, offset);
                file.Add(name + ".variance_sum", size, network.Normalizer.VarianceSum.Values, offset);
                file.Add(name + ".steps", new int[0], new[] { network.Normalizer.Steps }, true);
                offset += size[0];
            }
            file.Metadata["format"] = Format;
            file.Metadata["format_version"] = Text(FormatVersion);
            file.Metadata["behavior"] = behavior;
            file.Metadata["behavior_spec"] = Specification(shape);
            file.Metadata["hidden_units"] = Text(shape.HiddenUnits);
            file.Metadata["num_layers"] = Text(shape.NumLayers);
            file.Metadata["normalize"] = shape.Normalize ? "true" : "false";
            file.Metadata["shared_critic"] = shape.SharedCritic ? "true" : "false";
            file.Metadata["step"] = Text(trainer.Step);
            file.Metadata["adam_steps"] = Text(network.AdamSteps);
            file.Metadata["generator_seed"] = Text(trainer.Random.Seed);
            file.Metadata["generator_call"] = Text(trainer.Random.Call);
            file.Write(path);
        }

        /// <summary>
        /// Takes up networks, normaliser and Adam's state of a file, for the trainer to go on from; with `goOn` its
        /// step count and random numbers as well. Throws OpenMinedException for a file that is missing, damaged or of
        /// another network; the trainer is then as it was.
        /// </summary>
        public static void Load(string path, PpoTrainer trainer, bool goOn = false)
        {
            trainer.FinishUpdate();
            SafeTensors file = Read(path);
            NetworkShape shape = trainer.Shape;
            var expected = new HashSet<string>(shape.Tensors.Select(tensor => tensor.Name));
            foreach (ParameterTensor tensor in shape.Tensors)
            {
                CheckShape(path, file, tensor.Name, tensor.Shape);
            }
            for (int i = 0; i < shape.ObservationSizes.Length && shape.Normalize; i++)
            {
                foreach (string part in new[] { "mean", "variance_sum", "steps" })
                {
                    string name = "actor.normalizers." + i + "." + part;
                    expected.Add(name);
                    CheckShape(path, file, name, part == "steps" ? new int[0] : new[] { shape.ObservationSizes[i] });
                }
            }
            string more = file.Names.FirstOrDefault(
                name => !expected.Contains(name) && !name.StartsWith("optimizer.", StringComparison.Ordinal));
            if (more != null)
            {
                throw Other(path, "it has " + more + ", which is not in this network");
            }
            var adamSteps = (long)Number(path, file, "adam_steps");
            var step = (long)Number(path, file, "step");
            ulong seed = Number(path, file, "generator_seed"), call = Number(path, file, "generator_call");

            ActorCritic network = trainer.Learning;
            bool withAdam = true;
            foreach (ParameterTensor tensor in shape.Tensors)
            {
                Copy(file, tensor.Name, network.Parameters.Values, tensor.Offset);
                withAdam &= Copy(file, k_Moment + tensor.Name, network.Moment.Values, tensor.Offset, tensor.Count);
                withAdam &= Copy(file, k_Square + tensor.Name, network.Square.Values, tensor.Offset, tensor.Count);
            }
            network.AdamSteps = withAdam ? adamSteps : 0;
            for (int i = 0, offset = 0; i < shape.ObservationSizes.Length && shape.Normalize; i++)
            {
                string name = "actor.normalizers." + i;
                int[] none;
                Copy(file, name + ".mean", network.Normalizer.Mean.Values, offset);
                Copy(file, name + ".variance_sum", network.Normalizer.VarianceSum.Values, offset);
                network.Normalizer.Steps = file.Get(name + ".steps", out none)[0];
                offset += shape.ObservationSizes[i];
            }
            if (network.Normalizer != null)
            {
                network.Normalizer.Rescale();
            }
            if (goOn)
            {
                trainer.Step = step;
                trainer.Random.Seed = seed;
                trainer.Random.Call = call;
            }
            trainer.TakeOverWeights();
        }

        static SafeTensors Read(string path)
        {
            SafeTensors file;
            try
            {
                file = SafeTensors.Read(path);
            }
            catch (Exception error) when (error is IOException || error is UnauthorizedAccessException)
            {
                throw new OpenMinedException("the weights " + path + " cannot be read: " + error.Message, error);
            }
            catch (FormatException error)
            {
                throw new OpenMinedException(
                    "the weights " + path + " cannot be used, " + error.Message + "; write the file anew", error);
            }
            string format, version;
            file.Metadata.TryGetValue("format", out format);
            file.Metadata.TryGetValue("format_version", out version);
            if (format != Format || version != Text(FormatVersion))
            {
                throw new OpenMinedException(
                    "the weights " + path + " are not of format '" + Format + "' version " + FormatVersion +
                    "; write them with `mlbridge export RUN --output FILE.safetensors`");
            }
            return file;
        }

        static void CheckShape(string path, SafeTensors file, string name, int[] expected)
        {
            int[] shape;
            if (file.Get(name, out shape) == null)
            {
                throw Other(path, name + " is missing");
            }
            if (!shape.SequenceEqual(expected))
            {
                throw Other(
                    path, name + " has the shape [" + string.Join(", ", shape) + "], expected [" +
                    string.Join(", ", expected) + "]");
            }
        }

        static OpenMinedException Other(string path, string difference)
        {
            return new OpenMinedException(
                "the weights " + path + " are of another network (" + difference +
                "); use the agent and the settings that they were trained with");
        }

        static ulong Number(string path, SafeTensors file, string name)
        {
            string text;
            ulong number;
            if (!file.Metadata.TryGetValue(name, out text) ||
                !ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number))
            {
                throw new OpenMinedException("the weights " + path + " do not say their " + name + "; write them anew");
            }
            return number;
        }

        /// <summary>Returns false, with zeros written, if there is no such tensor of `count` numbers.</summary>
        static bool Copy(SafeTensors file, string name, float[] to, int offset, int count = -1)
        {
            int[] shape;
            double[] values = file.Get(name, out shape);
            if (count >= 0 && (values == null || values.Length != count))
            {
                Array.Clear(to, offset, count);
                return false;
            }
            for (int i = 0; i < values.Length; i++)
            {
                to[offset + i] = (float)values[i];
            }
            return true;
        }

        /// <summary>As specification_to_dict of trainers/specifications.py writes it.</summary>
        static string Specification(NetworkShape shape)
        {
            IEnumerable<string> observations = shape.ObservationSizes.Select(
                size => "{\"name\":\"VectorSensor_size" + size + "\",\"shape\":[" + size +
                    "],\"dimension_properties\":[1],\"observation_type\":0}");
            return "{\"observations\":[" + string.Join(",", observations) + "],\"continuous_size\":" +
                shape.Continuous + ",\"discrete_branches\":[" + string.Join(",", shape.Branches) + "]}";
        }

        static string Text(object number)
        {
            return Convert.ToString(number, CultureInfo.InvariantCulture);
        }
    }
}
