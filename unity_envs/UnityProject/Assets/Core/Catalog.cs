using System;
using System.Collections.Generic;

namespace MlAgentsBridge
{
    /// <summary>What one variant of an environment declares to ML-Agents.</summary>
    public sealed class EnvironmentVariant
    {
        public string Environment;
        /// <summary>Empty for the one that is meant when no variant is named.</summary>
        public string Variant = "";
        /// <summary>Without the team, which is 0.</summary>
        public string Behavior;
        /// <summary>0 for an agent that sees pictures only.</summary>
        public int VectorObservationSize;
        /// <summary>Height and width of a camera's picture in pixels, 0 for none.</summary>
        public int PictureSize;
        public int ContinuousActions;
        public int[] Branches = new int[0];
        /// <summary>Agents in an area, unless said otherwise.</summary>
        public int Agents = 1;
        public int DecisionPeriod = 1;
        /// <summary>Academy steps in an episode, 0 for no limit.</summary>
        public int MaxStep;
    }

    /// <summary>The environments and their variants. A new one is a row here and a case in SceneBuilder.</summary>
    public static class Catalog
    {
        public static readonly IList<EnvironmentVariant> All = new[]
        {
            new EnvironmentVariant
            {
                Environment = "CubeMover", Behavior = "CubeMover", VectorObservationSize = 1, Branches = new[] { 2 },
            },
            new EnvironmentVariant
            {
                Environment = "CubeMover", Variant = "basic", Behavior = "Basic", VectorObservationSize = 20,
                Branches = new[] { 3 },
            },
            Pole(""),
            Pole("force"),
            Ball("", "3DBall"),
            Ball("discrete", "3DBallDiscrete"),
            Ball("hard", "3DBallHard"),
            Ball("visual", "Visual3DBall"),
        };

        /// <summary>The variant of these names. Throws ArgumentException, which lists what there is.</summary>
        public static EnvironmentVariant Find(string environment, string variant)
        {
            var environments = new List<string>();
            var variants = new List<string>();
            foreach (EnvironmentVariant each in All)
            {
                if (each.Environment == environment && each.Variant == variant)
                {
                    return each;
                }
                if (!environments.Contains(each.Environment))
                {
                    environments.Add(each.Environment);
                }
                if (each.Environment == environment && each.Variant != "")
                {
                    variants.Add(each.Variant);
                }
            }
            if (environment == "")
            {
                throw new ArgumentException("name an environment: --env-name " + string.Join(" or ", environments));
            }
            if (!environments.Contains(environment))
            {
                throw new ArgumentException(
                    "unknown environment '" + environment + "': known are " + string.Join(", ", environments));
            }
            throw new ArgumentException(
                "unknown variant '" + variant + "' of " + environment + ": known are " + string.Join(", ", variants));
        }

        static EnvironmentVariant Pole(string variant)
        {
            return new EnvironmentVariant
            {
                Environment = "PoleBalancer", Variant = variant, Behavior = "PoleBalancer",
                VectorObservationSize = PoleBalancer.ObservationSize, Branches = new[] { 2 },
                MaxStep = PoleBalancer.MaxStep,
            };
        }

        static EnvironmentVariant Ball(string variant, string behavior)
        {
            bool discrete = variant == "discrete", visual = variant == "visual";
            return new EnvironmentVariant
            {
                Environment = "3DBall", Variant = variant, Behavior = behavior,
                VectorObservationSize = visual ? 0
                    : variant == "hard" ? Ball3DRules.ObservationSizeWithoutVelocity : Ball3DRules.ObservationSize,
                PictureSize = visual ? 84 : 0,
                ContinuousActions = discrete ? 0 : 2, Branches = discrete ? new[] { 4 } : new int[0],
                Agents = 12, DecisionPeriod = Ball3DRules.DecisionPeriod, MaxStep = Ball3DRules.MaxStep,
            };
        }
    }
}
