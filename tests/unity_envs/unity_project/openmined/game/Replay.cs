using System;
using System.IO;
using OpenMined;

/// <summary>
/// Lets a trainer live through what a file says, so that it can be compared with another one that does. Little-endian:
/// int32 agents, inputs, continuous, branches and their sizes, hidden_units, num_layers, normalize, shared_critic,
/// value_clipping, batch_size, buffer_size, num_epoch, time_horizon, rounds. Then in each round int32 the number of
/// episodes that end, with agent, reward, interrupted and observation each; and that of the agents that ask, with
/// agent, reward, observation and one byte for each allowed action. Rewards and observations are float32.
/// </summary>
static class Replay
{
    /// <summary>From the weights of `start` to those of `end`; the actions go to `actions`, float32 or int32.</summary>
    public static void Run(string experience, string start, string end, string actions, bool threaded)
    {
        using (var from = new BinaryReader(File.OpenRead(experience)))
        using (var to = new BinaryWriter(File.Create(actions)))
        {
            int agents = from.ReadInt32();
            var sizes = new[] { from.ReadInt32() };
            int continuous = from.ReadInt32();
            var branches = new int[from.ReadInt32()];
            for (int i = 0; i < branches.Length; i++)
            {
                branches[i] = from.ReadInt32();
            }
            var settings = new TrainerSettings();
            settings.NetworkSettings.HiddenUnits = from.ReadInt32();
            settings.NetworkSettings.NumLayers = from.ReadInt32();
            settings.NetworkSettings.Normalize = from.ReadInt32() != 0;
            settings.Hyperparameters.SharedCritic = from.ReadInt32() != 0;
            settings.Hyperparameters.ValueClipping = from.ReadInt32() != 0;
            settings.Hyperparameters.BatchSize = from.ReadInt32();
            settings.Hyperparameters.BufferSize = from.ReadInt32();
            settings.Hyperparameters.NumEpoch = from.ReadInt32();
            settings.TimeHorizon = from.ReadInt32();
            settings.Threaded = threaded;
            int rounds = from.ReadInt32();
            using (var trainer = new PpoTrainer(sizes, continuous, branches, settings, agents, 0))
            {
                WeightsFile.Load(start, trainer, true);
                for (int round = 0; round < rounds; round++)
                {
                    Live(trainer, from, to);
                    trainer.FinishUpdate();
                }
                WeightsFile.Save(end, trainer, "Replayed");
                Program.Answer("updates", trainer.Updates);
            }
        }
    }

    static void Live(PpoTrainer trainer, BinaryReader from, BinaryWriter to)
    {
        for (int left = from.ReadInt32(); left > 0; left--)
        {
            int agent = from.ReadInt32();
            float reward = from.ReadSingle();
            bool interrupted = from.ReadInt32() != 0;
            trainer.End(agent, reward, Observation(trainer, from), interrupted);
        }
        int asking = from.ReadInt32();
        var who = new int[asking];
        for (int i = 0; i < asking; i++)
        {
            who[i] = from.ReadInt32();
            float reward = from.ReadSingle();
            float[] observation = Observation(trainer, from);
            var allowed = new bool[trainer.Shape.Logits];
            for (int k = 0; k < allowed.Length; k++)
            {
                allowed[k] = from.ReadByte() != 0;
            }
            trainer.Request(who[i], reward, observation, allowed);
        }
        trainer.Act();
        foreach (int agent in who)
        {
            for (int i = 0; i < trainer.Shape.Continuous; i++)
            {
                to.Write(trainer.ContinuousAction(agent, i));
            }
            for (int i = 0; i < trainer.Shape.Branches.Length; i++)
            {
                to.Write(trainer.DiscreteAction(agent, i));
            }
        }
    }

    static float[] Observation(PpoTrainer trainer, BinaryReader from)
    {
        var observation = new float[trainer.Shape.Inputs];
        for (int i = 0; i < observation.Length; i++)
        {
            observation[i] = from.ReadSingle();
        }
        return observation;
    }
}
