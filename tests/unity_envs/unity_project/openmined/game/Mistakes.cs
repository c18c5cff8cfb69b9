using System;
using OpenMined;

/// <summary>What somebody may do wrong. Each answer is the kind of exception and its message, or "nothing".</summary>
static class Mistakes
{
    public static void Run(string which)
    {
        if (which == "library")
        {
            Try("require", () => Kernels.Require());
            Try("trainer", () => Make(new TrainerSettings()).Dispose());
            return;
        }
        var settings = new TrainerSettings();
        Try("no_observations", () => new PpoTrainer(new int[0], 0, new[] { 2 }, settings, 1, 1));
        Try("no_actions", () => new PpoTrainer(new[] { 1 }, 0, null, settings, 1, 1));
        Try("no_agents", () => new PpoTrainer(new[] { 1 }, 1, null, settings, 0, 1));
        Try("bad_setting", () => Make(new TrainerSettings { TimeHorizon = 0 }));
        Try("small_buffer", SmallBuffer);

        PpoTrainer trainer = Make(settings);
        var observation = new float[3];
        Try("short_observation", () => trainer.Request(0, 0f, new float[2]));
        Try("null_observation", () => trainer.End(0, 0f, null, false));
        Try("unknown_agent", () => trainer.Request(2, 0f, observation));
        Try("short_mask", () => trainer.Request(0, 0f, observation, new bool[1]));
        Try("no_action_yet", () => trainer.DiscreteAction(0, 0));
        trainer.Request(0, 0f, observation);
        Try("asked_twice", () => trainer.Request(0, 0f, observation));
        trainer.Act();
        Try("unknown_branch", () => trainer.DiscreteAction(0, 1));
        Try("unknown_dimension", () => trainer.ContinuousAction(0, 0));
        Try("who_did_not_ask", () => trainer.DiscreteAction(1, 0));
        Try("no_file", () => WeightsFile.Load("there/is/none.safetensors", trainer));
        trainer.Request(1, 0f, observation);
        Try("still_works", () => trainer.Act());
        trainer.Dispose();
        Try("disposed_twice", () => trainer.Dispose());
        Try("disposed_request", () => trainer.Request(0, 0f, observation));
        Try("disposed_act", () => trainer.Act());
        Try("disposed_save", () => WeightsFile.Save("nowhere", trainer, "Mistakes"));

        var network = new ActorCritic(
            new NetworkShape(new[] { 3 }, 0, new[] { 2 }, settings.NetworkSettings), 4, false);
        Try("too_many_agents", () => network.Act(5, 1, 1));
        network.Dispose();
        Try("disposed_network", () => network.Act(1, 1, 1));
        Try("disposed_values", () => network.Judge(1));
    }

    static PpoTrainer Make(TrainerSettings settings)
    {
        return new PpoTrainer(new[] { 1, 2 }, 0, new[] { 2 }, settings, 2, 1);
    }

    static void SmallBuffer()
    {
        var settings = new TrainerSettings();
        settings.Hyperparameters.BufferSize = 10;
        Make(settings);
    }

    static void Try(string name, Action action)
    {
        string outcome = "nothing";
        try
        {
            action();
        }
        catch (Exception error)
        {
            outcome = error.GetType().Name + ": " + error.Message.Replace("\n", " ");
        }
        Program.Answer(name, outcome);
    }
}
