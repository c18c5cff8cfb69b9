using System;
using System.Collections.Generic;
using System.Globalization;
using System.Text;

namespace OpenMined
{
    /// <summary>
    /// Reads a text in JSON: objects become Dictionary, arrays List, numbers double, and true, false and null what they
    /// are in C#. Throws FormatException.
    /// </summary>
    sealed class Json
    {
        const int k_Depth = 32;

        readonly string m_Text;
        int m_At;

        Json(string text) { m_Text = text; }

        public static object Read(string text)
        {
            var reader = new Json(text);
            object value = reader.Value(0);
            reader.Space();
            if (reader.m_At < text.Length)
            {
                throw reader.Unexpected();
            }
            return value;
        }

        /// <summary>A string with its quotation marks.</summary>
        public static string Quote(string text)
        {
            var quoted = new StringBuilder("\"");
            foreach (char sign in text)
            {
                if (sign == '"' || sign == '\\')
                {
                    quoted.Append('\\').Append(sign);
                }
                else if (sign < ' ')
                {
                    quoted.Append("\\u").Append(((int)sign).ToString("x4"));
                }
                else
                {
                    quoted.Append(sign);
                }
            }
            return quoted.Append('"').ToString();
        }

        object Value(int depth)
        {
            Space();
            if (m_At == m_Text.Length || depth > k_Depth)
            {
                throw Unexpected();
            }
            switch (m_Text[m_At])
            {
                case '{': return Object(depth);
                case '[': return Array(depth);
                case '"': return Text();
                case 't': return Word("true", true);
                case 'f': return Word("false", false);
                case 'n': return Word("null", null);
                default: return Number();
            }
        }

        Dictionary<string, object> Object(int depth)
        {
            var values = new Dictionary<string, object>();
            m_At++;
            if (Skip('}'))
            {
                return values;
            }
            do
            {
                Space();
                string key = Text();
                Expect(':');
                values[key] = Value(depth + 1);
            }
            while (Skip(','));
            Expect('}');
            return values;
        }

        List<object> Array(int depth)
        {
            var values = new List<object>();
            m_At++;
            if (Skip(']'))
            {
                return values;
            }
            do
            {
                values.Add(Value(depth + 1));
            }
            while (Skip(','));
            Expect(']');
            return values;
        }

        string Text()
        {
            Expect('"');
            var text = new StringBuilder();
            while (m_At < m_Text.Length && m_Text[m_At] != '"')
            {
                char sign = m_Text[m_At++];
                if (sign == '\\' && m_At < m_Text.Length)
                {
                    sign = Escaped();
                }
                text.Append(sign);
            }
            if (m_At == m_Text.Length)
            {
                throw Unexpected();
            }
            m_At++;
            return text.ToString();
        }

        char Escaped()
        {
            const string letters = "bfnrt", signs = "\b\f\n\r\t";
            char sign = m_Text[m_At++];
            int letter = letters.IndexOf(sign);
            if (letter >= 0)
            {
                return signs[letter];
            }
            ushort code;
            if (sign != 'u')
            {
                return sign;
            }
            if (m_At + 4 > m_Text.Length || !ushort.TryParse(
                m_Text.Substring(m_At, 4), NumberStyles.HexNumber, CultureInfo.InvariantCulture, out code))
            {
                throw Unexpected();
            }
            m_At += 4;
            return (char)code;
        }

        double Number()
        {
            int begin = m_At;
            while (m_At < m_Text.Length && "+-.0123456789eE".IndexOf(m_Text[m_At]) >= 0)
            {
                m_At++;
            }
            double number;
            string digits = m_Text.Substring(begin, m_At - begin);
            if (!double.TryParse(digits, NumberStyles.Float, CultureInfo.InvariantCulture, out number))
            {
                throw Unexpected();
            }
            return number;
        }

        object Word(string word, object value)
        {
            if (string.CompareOrdinal(m_Text, m_At, word, 0, word.Length) != 0)
            {
                throw Unexpected();
            }
            m_At += word.Length;
            return value;
        }

        void Space()
        {
            while (m_At < m_Text.Length && " \t\r\n".IndexOf(m_Text[m_At]) >= 0)
            {
                m_At++;
            }
        }

        bool Skip(char sign)
        {
            Space();
            if (m_At == m_Text.Length || m_Text[m_At] != sign)
            {
                return false;
            }
            m_At++;
            return true;
        }

        void Expect(char sign)
        {
            if (!Skip(sign))
            {
                throw Unexpected();
            }
        }

        FormatException Unexpected()
        {
            return new FormatException("no JSON from character " + m_At + " on");
        }
    }
}
