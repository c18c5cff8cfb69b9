// A game without an engine and without Python, which shows what the trainer in C# does: the first argument says what.
// Answers are lines "NAME VALUE".
using System;
using System.Diagnostics;
using System.Globalization;
using System.Linq;
using System.Runtime.InteropServices;
using System.Threading;
using OpenMined;

static class Program
{
    static int Main(string[] words)
    {
        Thread.CurrentThread.CurrentCulture = CultureInfo.InvariantCulture;
        switch (words[0])
        {
            case "train":
                Train(words[1], int.Parse(words[2]), words.Length > 3 ? long.Parse(words[3]) : 0, words.Length > 4);
                return 0;
            case "flat":
                Flat(long.Parse(words[1]));
                return 0;
            case "frames":
                Frames(
                    words[1], int.Parse(words[2]), double.Parse(words[3]), double.Parse(words[4]),
                    double.Parse(words[5]));
                return 0;
            case "mistakes":
                Mistakes.Run(words[1]);
                return 0;
            case "save":
                Save(words[1], int.Parse(words[2]), long.Parse(words[3]), words[4]);
                return 0;
            case "continue":
                Continue(words[1], words[2], long.Parse(words[3]), words[4] == "on");
                return 0;
            case "replay":
                Replay.Run(words[1], words[2], words[3], words[4], words.Length > 5);
                return 0;
            default:
                throw new ArgumentException("unknown: " + words[0]);
        }
    }

    public static void Answer(string name, object value)
    {
        Console.WriteLine(name + " " + Convert.ToString(value, CultureInfo.InvariantCulture));
    }

    /// <summary>
    /// train GAME SEED [STEPS [threaded]]: a training, 0 for all of it, then 100 episodes of the best actions.
    /// </summary>
    static void Train(string name, int seed, long steps, bool threaded)
    {
        TrainerSettings settings = Game.Settings(name);
        settings.Threaded = threaded;
        using (var play = new Play(name, settings, seed))
        {
            var watch = Stopwatch.StartNew();
            while (!play.Trainer.IsFinished && (steps == 0 || play.Trainer.Step < steps))
            {
                play.Step();
            }
            play.Trainer.FinishUpdate();
            Answer("seconds", watch.Elapsed.TotalSeconds);
            Answer("steps", play.Trainer.Step);
            Answer("updates", play.Trainer.Updates);
            Answer("instruction_set", Kernels.InstructionSet);
            Answer("greedy", play.Greedy(100));
        }
    }

    /// <summary>save GAME SEED STEPS FILE: a training that ends early, and its weights.</summary>
    static void Save(string name, int seed, long steps, string path)
    {
        using (var play = new Play(name, Game.Settings(name), seed))
        {
            while (play.Trainer.Step < steps)
            {
                play.Step();
            }
            WeightsFile.Save(path, play.Trainer, name);
            Answer("steps", play.Trainer.Step);
            Answer("greedy", play.Greedy(100));
        }
    }

    /// <summary>continue GAME FILE STEPS on|anew: a file's policy as it is, and after so many steps more.</summary>
    static void Continue(string name, string path, long steps, bool goOn)
    {
        TrainerSettings settings = Game.Settings(name);
        using (var play = new Play(name, settings, 9))
        {
            WeightsFile.Load(path, play.Trainer, goOn);
            Answer("step", play.Trainer.Step);
            Answer("greedy_before", play.Greedy(100));
            play.Trainer.Training = true;
            play.Trainer.Deterministic = false;
            play.Trainer.ForgetOpenTrajectories();
            long end = play.Trainer.Step + steps;
            while (play.Trainer.Step < end && !play.Trainer.IsFinished)
            {
                play.Step();
            }
            Answer("updates", play.Trainer.Updates);
            Answer("greedy", play.Greedy(100));
        }
    }

    /// <summary>flat STEPS: what so many steps with updates leave behind.</summary>
    static void Flat(long steps)
    {
        TrainerSettings settings = Game.Settings("CubeMover");
        settings.NetworkSettings.HiddenUnits = 8;
        settings.MaxSteps = long.MaxValue;
        using (var play = new Play("CubeMover", settings, 1))
        {
            for (int i = 0; i < 20000; i++)
            {
                play.Step();
            }
            long before = GC.GetTotalMemory(true), resident = Resident();
            int collections = GC.CollectionCount(0);
            for (long i = 0; i < steps; i++)
            {
                play.Step();
            }
            Answer("collections", GC.CollectionCount(0) - collections);
            Answer("bytes", GC.GetTotalMemory(false) - before);
            Answer("resident_kilobytes", Resident() - resident);
            Answer("updates", play.Trainer.Updates);
        }
    }

    static long Resident()
    {
        string line = System.IO.File.ReadLines("/proc/self/status").First(each => each.StartsWith("VmRSS"));
        return long.Parse(line.Split(new[] { ' ', '\t' }, StringSplitOptions.RemoveEmptyEntries)[1]);
    }

    /// <summary>
    /// frames GAME AGENTS SECONDS BUDGET RATE: a game at so many frames a second, one decision of each agent in each of
    /// them, while it learns. Tells in milliseconds what the trainer cost the game's thread in a frame and what the
    /// update's thread took beside it, both as time on the clock and of the processor.
    /// </summary>
    static void Frames(string name, int agents, double seconds, double budget, double rate)
    {
        TrainerSettings settings = Game.Settings(name);
        settings.Threaded = true;
        settings.NetworkSettings.HiddenUnits = 128;
        int frames = (int)(seconds * rate), updating = 0;
        var game = new double[frames];
        var processor = new double[frames];
        var update = new double[frames];
        var updateProcessor = new double[frames];
        using (var play = new Play(name, settings, 1, agents))
        {
            while (play.Trainer.Updates < 1) // compiles everything
            {
                play.Step();
            }
            play.Trainer.FinishUpdate(); // one that began when nothing was limited yet
            long dropped = play.Trainer.DroppedSteps;
            int updates = play.Trainer.Updates, collections = GC.CollectionCount(0);
            var watch = Stopwatch.StartNew();
            for (int frame = 0; frame < frames; frame++)
            {
                double spent = play.Trainer.UpdateMilliseconds, used = ProcessorMilliseconds(k_Thread);
                double all = ProcessorMilliseconds(k_Process);
                double begin = watch.Elapsed.TotalMilliseconds;
                play.Trainer.BeginFrame(budget);
                play.Step();
                game[frame] = watch.Elapsed.TotalMilliseconds - begin;
                processor[frame] = ProcessorMilliseconds(k_Thread) - used;
                updating += play.Trainer.IsUpdating ? 1 : 0;
                double rest = (frame + 1) * 1000.0 / rate - watch.Elapsed.TotalMilliseconds;
                if (rest > 0.0)
                {
                    Thread.Sleep((int)rest);
                }
                update[frame] = play.Trainer.UpdateMilliseconds - spent;
                double others = ProcessorMilliseconds(k_Process) - all - (ProcessorMilliseconds(k_Thread) - used);
                updateProcessor[frame] = update[frame] > 0.0 ? others : 0.0;
            }
            Answer("frames", frames);
            Answer("frames_updating", updating);
            Answer("updates", play.Trainer.Updates - updates);
            Answer("dropped", play.Trainer.DroppedSteps - dropped);
            Answer("collections", GC.CollectionCount(0) - collections);
            Answer("seconds", watch.Elapsed.TotalSeconds);
        }
        Distribution("game", game);
        Distribution("game_processor", processor);
        Distribution("update", update.Where(each => each > 0.0).ToArray());
        Distribution("update_processor", updateProcessor.Where(each => each > 0.0).ToArray());
    }

    [StructLayout(LayoutKind.Sequential)]
    struct TimeSpec
    {
        public IntPtr Seconds;
        public IntPtr Nanoseconds;
    }

    // Clocks of Linux.
    const int k_Process = 2;
    const int k_Thread = 3;

    [DllImport("libc")]
    static extern int clock_gettime(int clock, out TimeSpec time);

    /// <summary>What there was of the processor. Other programs do not count, as they do on the clock.</summary>
    static double ProcessorMilliseconds(int clock)
    {
        TimeSpec time;
        clock_gettime(clock, out time);
        return time.Seconds.ToInt64() * 1e3 + time.Nanoseconds.ToInt64() * 1e-6;
    }

    static void Distribution(string name, double[] values)
    {
        Array.Sort(values);
        Answer(name + "_count", values.Length);
        foreach (double part in new[] { 0.5, 0.9, 0.99, 0.999, 1.0 })
        {
            int at = (int)Math.Ceiling(part * values.Length) - 1;
            Answer(name + "_" + part, values.Length == 0 ? 0.0 : values[at]);
        }
    }
}
