// The agents of the Unity project learn in the game, on the stub of the engine: NAME AGENTS SEED STEPS. No trainer is
// connected, so that ML-Agents asks the Heuristic of each.
using System;
using System.Collections.Generic;
using System.Globalization;
using MlAgentsBridge;
using OpenMined;
using Unity.MLAgents;
using Unity.MLAgents.Actuators;
using Unity.MLAgents.Policies;
using UnityEngine;

static class EngineProgram
{
    static readonly float[] s_None = new float[0];
    static readonly Dictionary<Agent, double> s_Sums = new Dictionary<Agent, double>();
    static double s_Sum;
    static int s_Episodes;

    static int Main(string[] words)
    {
        string name = words[0];
        int agents = int.Parse(words[1]);
        long steps = long.Parse(words[3]);
        Academy.Exchange = Decide;
        TrainerSettings settings = Game.Settings(name);
        settings.MaxSteps = steps;
        UnityEngine.Random.InitState(int.Parse(words[2]));
        InGameLearning learning = null;
        for (int i = 0; i < agents; i++)
        {
            var target = new GameObject("agent " + i);
            target.SetActive(false);
            var behavior = target.AddComponent<BehaviorParameters>();
            behavior.BehaviorName = name;
            behavior.BrainParameters.VectorObservationSize = name == "CubeMover" ? 1 : 4;
            behavior.BrainParameters.ActionSpec = ActionSpec.MakeDiscrete(2);
            if (i == 0)
            {
                learning = new InGameLearning(behavior.BrainParameters, settings, agents, ulong.Parse(words[2]));
            }
            LearnInGame.Attach(target, learning);
            var agent = name == "CubeMover"
                ? (Agent)target.AddComponent<CubeMoverAgent>() : target.AddComponent<PoleBalancerAgent>();
            agent.MaxStep = name == "CubeMover" ? 0 : 200;
            target.AddComponent<DecisionRequester>().DecisionPeriod = 1;
            target.SetActive(true);
        }
        PpoTrainer trainer = learning.Trainer;
        while (!trainer.IsFinished)
        {
            Academy.Instance.EnvironmentStep();
        }
        Answer("steps", trainer.Step);
        Answer("episodes", trainer.Episodes);
        Answer("updates", trainer.Updates);
        Answer("mean_reward", trainer.RewardSum / trainer.Episodes);
        trainer.Training = false;
        trainer.Deterministic = true;
        s_Sums.Clear();
        s_Sum = s_Episodes = 0;
        for (int i = 0; i < 3000; i++)
        {
            Academy.Instance.EnvironmentStep();
        }
        Answer("greedy", s_Sum / s_Episodes);
        learning.Dispose();
        return 0;
    }

    static void Answer(string name, object value)
    {
        Console.WriteLine(name + " " + Convert.ToString(value, CultureInfo.InvariantCulture));
    }

    static bool Decide(IList<Report> reports)
    {
        foreach (Report report in reports)
        {
            double sum; // of an episode that was seen from its beginning on
            bool known = s_Sums.TryGetValue(report.Agent, out sum);
            sum += report.Reward;
            if (report.Done)
            {
                s_Sum += known ? sum : 0.0;
                s_Episodes += known ? 1 : 0;
                s_Sums[report.Agent] = 0.0;
                continue;
            }
            if (known)
            {
                s_Sums[report.Agent] = sum;
            }
            var discrete = new int[1];
            report.Agent.Heuristic(new ActionBuffers(s_None, discrete));
            report.Agent.Receive(s_None, discrete);
        }
        return false;
    }
}
