using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;

namespace OpenMined
{
    /// <summary>
    /// A file of tensors in the format safetensors: 8 bytes with the length of the header, the header in JSON, then all
    /// numbers. Here the tensors are of float32 ("F32") and float64 ("F64").
    /// </summary>
    sealed class SafeTensors
    {
        /// <summary>What is said of the tensors, texts by name.</summary>
        public readonly Dictionary<string, string> Metadata = new Dictionary<string, string>();

        readonly Dictionary<string, double[]> m_Values = new Dictionary<string, double[]>();
        readonly Dictionary<string, int[]> m_Shapes = new Dictionary<string, int[]>();
        readonly HashSet<string> m_Doubles = new HashSet<string>();

        public IEnumerable<string> Names
        {
            get { return m_Values.Keys; }
        }

        /// <summary>Values as double, which float32 goes through unchanged.</summary>
        public void Add(string name, int[] shape, IEnumerable<double> values, bool isDouble = false)
        {
            m_Values[name] = values.ToArray();
            m_Shapes[name] = shape;
            if (isDouble)
            {
                m_Doubles.Add(name);
            }
        }

        public void Add(string name, int[] shape, float[] values, int offset)
        {
            int count = shape.Aggregate(1, (product, size) => product * size);
            Add(name, shape, values.Skip(offset).Take(count).Select(value => (double)value));
        }

        /// <summary>Values and shape of a tensor, null if there is none of that name.</summary>
        public double[] Get(string name, out int[] shape)
        {
            double[] values;
            m_Shapes.TryGetValue(name, out shape);
            m_Values.TryGetValue(name, out values);
            return values;
        }

        /// <summary>Writes a file, whole or not at all.</summary>
        public void Write(string path)
        {
            // Those of 8 bytes first, so that all lie at multiples of their size.
            string[] names = m_Values.Keys.OrderBy(name => m_Doubles.Contains(name) ? 0 : 1).ToArray();
            var entries = new List<string>();
            if (Metadata.Count > 0)
            {
                IEnumerable<string> texts = Metadata.Select(one => Json.Quote(one.Key) + ":" + Json.Quote(one.Value));
                entries.Add("\"__metadata__\":{" + string.Join(",", texts) + "}");
            }
            long offset = 0;
            foreach (string name in names)
            {
                bool isDouble = m_Doubles.Contains(name);
                long end = offset + m_Values[name].Length * (isDouble ? 8 : 4);
                entries.Add(string.Format(
                    "{0}:{{\"dtype\":\"{1}\",\"shape\":[{2}],\"data_offsets\":[{3},{4}]}}", Json.Quote(name),
                    isDouble ? "F64" : "F32", string.Join(",", m_Shapes[name]), offset, end));
                offset = end;
            }
            string header = "{" + string.Join(",", entries) + "}";
            int length = Encoding.UTF8.GetByteCount(header);
            header += new string(' ', (8 - length % 8) % 8);

            string temporary = path + ".tmp";
            using (var writer = new BinaryWriter(File.Create(temporary)))
            {
                byte[] bytes = Encoding.UTF8.GetBytes(header);
                writer.Write((long)bytes.Length);
                writer.Write(bytes);
                foreach (string name in names)
                {
                    foreach (double value in m_Values[name])
                    {
                        if (m_Doubles.Contains(name))
                        {
                            writer.Write(value);
                        }
                        else
                        {
                            writer.Write((float)value);
                        }
                    }
                }
            }
            if (File.Exists(path))
            {
                File.Replace(temporary, path, null);
            }
            else
            {
                File.Move(temporary, path);
            }
        }

        /// <summary>
        /// Throws FormatException for a file that is none of this format, IOException without the file.
        /// </summary>
        public static SafeTensors Read(string path)
        {
            byte[] content = File.ReadAllBytes(path);
            long length = content.Length < 8 ? -1 : BitConverter.ToInt64(content, 0);
            if (length < 2 || length > content.Length - 8)
            {
                throw new FormatException("it is damaged or no safetensors file");
            }
            var file = new SafeTensors();
            try
            {
                var header = (Dictionary<string, object>)Json.Read(Encoding.UTF8.GetString(content, 8, (int)length));
                foreach (KeyValuePair<string, object> entry in header)
                {
                    var fields = (Dictionary<string, object>)entry.Value;
                    if (entry.Key == "__metadata__")
                    {
                        foreach (KeyValuePair<string, object> text in fields)
                        {
                            file.Metadata[text.Key] = (string)text.Value;
                        }
                    }
                    else
                    {
                        file.Take(entry.Key, fields, content, 8 + (int)length);
                    }
                }
            }
            catch (Exception error) when (
                error is InvalidCastException || error is KeyNotFoundException || error is OverflowException ||
                error is ArgumentException || error is NullReferenceException)
            {
                throw new FormatException("its header is damaged", error);
            }
            return file;
        }

        void Take(string name, Dictionary<string, object> fields, byte[] content, int begin)
        {
            var dtype = (string)fields["dtype"];
            if (dtype != "F32" && dtype != "F64")
            {
                return; // of another type than this library ever needs
            }
            int width = dtype == "F64" ? 8 : 4;
            int[] shape = ((List<object>)fields["shape"]).Select(size => checked((int)(double)size)).ToArray();
            long count = shape.Aggregate(1L, (product, size) => product * size);
            var offsets = (List<object>)fields["data_offsets"];
            double first = (double)offsets[0], end = (double)offsets[1];
            if (end - first != (double)count * width || first < 0 || begin + end > content.Length)
            {
                throw new FormatException("the tensor " + name + " is cut short");
            }
            var values = new double[count];
            for (int i = 0, at = begin + (int)first; i < count; i++, at += width)
            {
                values[i] = width == 8 ? BitConverter.ToDouble(content, at) : BitConverter.ToSingle(content, at);
            }
            Add(name, shape, values, width == 8);
        }
    }
}
