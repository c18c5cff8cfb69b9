using System;
using System.Collections.Generic;
using System.Globalization;

namespace MlAgentsBridge
{
    /// <summary>
    /// What a player is told on its command line: --env-name NAME, --variant NAME, --agents N, each also as
    /// --flag=value. Everything else belongs to Unity or ML-Agents and is passed over. The last occurrence counts.
    /// </summary>
    public sealed class PlayerOptions
    {
        public readonly EnvironmentVariant Variant;
        /// <summary>Agents in one area.</summary>
        public readonly int Agents;

        PlayerOptions(EnvironmentVariant variant, int agents)
        {
            Variant = variant;
            Agents = agents;
        }

        /// <summary>Throws ArgumentException with a message for the user.</summary>
        public static PlayerOptions Parse(IList<string> arguments)
        {
            EnvironmentVariant variant = Catalog.Find(
                Value(arguments, "--env-name") ?? "", Value(arguments, "--variant") ?? "");
            string agents = Value(arguments, "--agents");
            int count = variant.Agents;
            if (agents != null
                && (!int.TryParse(agents, NumberStyles.Integer, CultureInfo.InvariantCulture, out count) || count < 1))
            {
                throw new ArgumentException("--agents must be a whole number from 1 on, got '" + agents + "'");
            }
            return new PlayerOptions(variant, count);
        }

        /// <summary>The value of a flag, null without it. Throws ArgumentException if it has no value.</summary>
        public static string Value(IList<string> arguments, string flag)
        {
            string value = null;
            for (int i = 0; i < arguments.Count; i++)
            {
                if (arguments[i] == flag)
                {
                    if (i + 1 == arguments.Count || arguments[i + 1].StartsWith("--", StringComparison.Ordinal))
                    {
                        throw new ArgumentException(flag + " needs a value");
                    }
                    value = arguments[i + 1];
                }
                else if (arguments[i].StartsWith(flag + "=", StringComparison.Ordinal))
                {
                    value = arguments[i].Substring(flag.Length + 1);
                }
            }
            return value;
        }
    }
}
