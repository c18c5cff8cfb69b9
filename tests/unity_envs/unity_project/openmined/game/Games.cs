using System;
using MlAgentsBridge;
using OpenMined;

/// <summary>The rules of an environment of the Unity project with one agent, played without the engine.</summary>
abstract class Game
{
    public readonly float[] Observation;
    public double Reward;
    public bool HasEnded, IsInterrupted;

    protected Game(int size) { Observation = new float[size]; }

    public abstract int Branch { get; }
    public abstract void Reset();
    public abstract void Step(int action);

    public static Game Make(string name, int seed)
    {
        switch (name)
        {
            case "CubeMover": return new CubeMoverGame();
            case "PoleBalancer": return new PoleBalancerGame(seed);
            default: throw new ArgumentException("unknown game " + name);
        }
    }

    /// <summary>What trainers/configs/NAME.yaml says.</summary>
    public static TrainerSettings Settings(string name)
    {
        var settings = new TrainerSettings();
        settings.Hyperparameters.BufferSize = 2048;
        settings.Hyperparameters.LearningRate = 0.001;
        settings.NetworkSettings.Normalize = true;
        if (name == "CubeMover")
        {
            settings.Hyperparameters.BatchSize = 256;
            settings.Hyperparameters.Beta = 0.02;
            settings.Hyperparameters.NumEpoch = 4;
            settings.NetworkSettings.HiddenUnits = 32;
            settings.NetworkSettings.NumLayers = 1;
            settings.MaxSteps = 40000;
            settings.TimeHorizon = 64;
        }
        else
        {
            settings.Hyperparameters.BatchSize = 128;
            settings.Hyperparameters.Beta = 0.001;
            settings.Hyperparameters.NumEpoch = 6;
            settings.NetworkSettings.HiddenUnits = 64;
            settings.NetworkSettings.NumLayers = 2;
            settings.MaxSteps = 100000;
            settings.TimeHorizon = 200;
        }
        return settings;
    }
}

sealed class CubeMoverGame : Game
{
    readonly CubeMover m_World = new CubeMover(false);

    public CubeMoverGame() : base(1) { }

    public override int Branch { get { return 2; } }

    public override void Reset()
    {
        m_World.Reset();
        m_World.Observe(Observation);
    }

    public override void Step(int action)
    {
        m_World.Step(action);
        m_World.Observe(Observation);
        Reward = m_World.Reward;
        HasEnded = m_World.HasEnded;
    }
}

sealed class PoleBalancerGame : Game
{
    readonly PoleBalancer m_World = new PoleBalancer(false);
    readonly Random m_Random;
    int m_Steps;

    public PoleBalancerGame(int seed) : base(PoleBalancer.ObservationSize) { m_Random = new Random(seed); }

    public override int Branch { get { return 2; } }

    public override void Reset()
    {
        m_World.Reset((2.0 * m_Random.NextDouble() - 1.0) * PoleBalancer.ResetDegrees);
        m_Steps = 0;
        m_World.Observe(Observation);
    }

    public override void Step(int action)
    {
        m_World.Step(action);
        m_Steps++;
        m_World.Observe(Observation);
        Reward = m_World.Reward;
        IsInterrupted = !m_World.HasFailed && m_Steps == PoleBalancer.MaxStep;
        HasEnded = m_World.HasFailed || IsInterrupted;
    }
}

/// <summary>Games of one kind and the trainer of their agents.</summary>
sealed class Play : IDisposable
{
    public readonly PpoTrainer Trainer;
    readonly Game[] m_Games;
    readonly float[] m_Rewards;

    public Play(string name, TrainerSettings settings, int seed, int agents = 1)
    {
        m_Games = new Game[agents];
        m_Rewards = new float[agents];
        for (int i = 0; i < agents; i++)
        {
            m_Games[i] = Game.Make(name, seed + i);
            m_Games[i].Reset();
        }
        var branches = new[] { m_Games[0].Branch };
        Trainer = new PpoTrainer(
            new[] { m_Games[0].Observation.Length }, 0, branches, settings, agents, (ulong)seed);
    }

    public void Step()
    {
        for (int i = 0; i < m_Games.Length; i++)
        {
            Trainer.Request(i, m_Rewards[i], m_Games[i].Observation);
        }
        Trainer.Act();
        for (int i = 0; i < m_Games.Length; i++)
        {
            Game game = m_Games[i];
            game.Step(Trainer.DiscreteAction(i, 0));
            m_Rewards[i] = (float)game.Reward;
            if (game.HasEnded)
            {
                Trainer.End(i, m_Rewards[i], game.Observation, game.IsInterrupted);
                game.Reset();
            }
        }
    }

    /// <summary>Mean sum of rewards of whole episodes, of the policy's best actions.</summary>
    public double Greedy(int episodes)
    {
        Trainer.Training = false;
        Trainer.Deterministic = true;
        Trainer.ForgetOpenTrajectories();
        Game game = m_Games[0];
        double sum = 0.0;
        for (int episode = 0; episode < episodes; episode++)
        {
            game.Reset();
            for (int step = 0; step < 1000; step++) // who stands still would stand still for ever
            {
                Trainer.Request(0, 0f, game.Observation);
                Trainer.Act();
                game.Step(Trainer.DiscreteAction(0, 0));
                sum += game.Reward;
                if (game.HasEnded)
                {
                    break;
                }
            }
        }
        return sum / episodes;
    }

    public void Dispose() { Trainer.Dispose(); }
}
