using System;

namespace OpenMined
{
    public enum Schedule { Linear, Constant }

    /// <summary>`hyperparameters` of the YAML, with its defaults.</summary>
    public sealed class Hyperparameters
    {
        public int BatchSize = 1024;
        public int BufferSize = 10240;
        public double LearningRate = 3e-4;
        public double Beta = 5e-3;
        public double Epsilon = 0.2;
        public double Lambd = 0.95;
        public int NumEpoch = 3;
        public bool SharedCritic;
        public Schedule LearningRateSchedule = Schedule.Linear;
        public Schedule BetaSchedule = Schedule.Linear;
        public Schedule EpsilonSchedule = Schedule.Linear;
        public bool ValueClipping;
    }

    /// <summary>`network_settings` of the YAML, as far as they are about vector observations.</summary>
    public sealed class NetworkSettings
    {
        public bool Normalize;
        public int HiddenUnits = 128;
        public int NumLayers = 2;
        public bool Deterministic;
    }

    /// <summary>`reward_signals: extrinsic` of the YAML.</summary>
    public sealed class Extrinsic
    {
        public double Gamma = 0.99;
        public double Strength = 1.0;
    }

    /// <summary>
    /// The settings of one behavior: the YAML's names in C#'s spelling (buffer_size is BufferSize), with its defaults
    /// and its meaning. What is not here, the game's trainer does not have.
    /// </summary>
    public sealed class TrainerSettings
    {
        public readonly Hyperparameters Hyperparameters = new Hyperparameters();
        public readonly NetworkSettings NetworkSettings = new NetworkSettings();
        public readonly Extrinsic Extrinsic = new Extrinsic();
        public long MaxSteps = 500000;
        public int TimeHorizon = 64;
        /// <summary>Updates happen in a thread of their own, while the agents act.</summary>
        public bool Threaded;

        /// <summary>Throws ArgumentException, which names the setting.</summary>
        public void Check()
        {
            Hyperparameters ppo = Hyperparameters;
            Require(ppo.BatchSize >= 1, "BatchSize", "1 or more", ppo.BatchSize);
            Require(ppo.BufferSize >= ppo.BatchSize, "BufferSize", "at least BatchSize", ppo.BufferSize);
            Require(IsPositive(ppo.LearningRate), "LearningRate", "a number above 0", ppo.LearningRate);
            Require(ppo.Beta >= 0.0 && !double.IsInfinity(ppo.Beta), "Beta", "a number from 0 on", ppo.Beta);
            Require(IsPositive(ppo.Epsilon), "Epsilon", "a number above 0", ppo.Epsilon);
            Require(ppo.Lambd >= 0.0 && ppo.Lambd <= 1.0, "Lambd", "a number from 0 to 1", ppo.Lambd);
            Require(ppo.NumEpoch >= 1, "NumEpoch", "1 or more", ppo.NumEpoch);
            Require(NetworkSettings.HiddenUnits >= 1, "HiddenUnits", "1 or more", NetworkSettings.HiddenUnits);
            Require(
                NetworkSettings.NumLayers >= 1 && NetworkSettings.NumLayers <= 64, "NumLayers", "1 to 64",
                NetworkSettings.NumLayers);
            Require(Extrinsic.Gamma >= 0.0 && Extrinsic.Gamma <= 1.0, "Gamma", "a number from 0 to 1", Extrinsic.Gamma);
            Require(
                Extrinsic.Strength >= 0.0 && !double.IsInfinity(Extrinsic.Strength), "Strength", "a number from 0 on",
                Extrinsic.Strength);
            Require(MaxSteps >= 1, "MaxSteps", "1 or more", MaxSteps);
            Require(TimeHorizon >= 1, "TimeHorizon", "1 or more", TimeHorizon);
        }

        static bool IsPositive(double number)
        {
            return number > 0.0 && !double.IsInfinity(number);
        }

        static void Require(bool holds, string name, string expected, object got)
        {
            if (!holds)
            {
                throw new ArgumentException("TrainerSettings." + name + ": expected " + expected + ", got " + got);
            }
        }
    }

    /// <summary>
    /// Learning rate, epsilon and beta at one step of a training, as trainers/schedules.py computes them.
    /// </summary>
    public struct Schedules
    {
        public readonly double LearningRate;
        public readonly double Epsilon;
        public readonly double Beta;

        public Schedules(TrainerSettings settings, long step)
        {
            Hyperparameters ppo = settings.Hyperparameters;
            double remaining = 1.0 - (double)Math.Min(step, settings.MaxSteps) / settings.MaxSteps;
            LearningRate = Value(ppo.LearningRateSchedule, ppo.LearningRate, 1e-10, remaining);
            Epsilon = Value(ppo.EpsilonSchedule, ppo.Epsilon, 0.1, remaining);
            Beta = Value(ppo.BetaSchedule, ppo.Beta, 1e-5, remaining);
        }

        static double Value(Schedule kind, double initial, double minimum, double remaining)
        {
            return kind == Schedule.Constant ? initial : (initial - minimum) * remaining + minimum;
        }
    }
}
