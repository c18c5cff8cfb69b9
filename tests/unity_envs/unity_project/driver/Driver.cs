// Plays the trainer and the engine for scripts that were compiled against the stub: a program that reads commands, one
// a line, and lets the scene act. Its own command line is the player's. All scripts are in assemblies beside it.
//
// Before the first step:
//   areas N                     what the trainer asks for as num_areas
//   agent TYPE BEHAVIOR OBSERVATIONS CONTINUOUS BRANCHES PERIOD MAXSTEP [FIELD=VALUE ...]
//                               one more agent, built in the right order; BRANCHES is "-", or sizes with commas.
//                               (A bootstrap makes its own.)
//   begin                       runs the methods marked RuntimeInitializeOnLoadMethod; then the first message is due
// At every message, that is whenever a trainer would be asked:
//   act WHO NUMBERS             an action: continuous numbers, then discrete ones. WHO is the number of an agent, "*"
//                               for all, or "each", with the numbers of one agent after the other
//   step                        goes on to the next message
//   reset                       as the trainer's reset
//   suggest                     tells what the Heuristic of each agent would do
// At any time:
//   random NUMBERS              what UnityEngine.Random draws next, as numbers of 0..1
//   parameter NAME VALUE        an environment parameter
//   set WHO MEMBER VALUE        a field or property of an agent ("World.Position", "transform.rotation",
//                               "[Rigidbody].mass" of another component); WHO as above, or the name of a type for a
//                               static one
//   get WHO MEMBER
//   call TYPE METHOD            a static method without parameters
//   objects                     the objects of the scene
//
// Numbers are decimals, or x and the bits of a double in hexadecimal; answers have the bits.
//
// Every answer is lines up to "end". A message: "decision ID REWARD OBSERVATIONS", "terminal ID REWARD INTERRUPTED
// OBSERVATIONS", after "complaint TEXT" for what was logged as a warning or an error. After "failure TEXT" the program
// ends with exit code 1, after "exit CODE" (Application.Quit) with that one.
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Text;
using Unity.MLAgents;
using Unity.MLAgents.Actuators;
using Unity.MLAgents.Policies;
using UnityEngine;

static class Driver
{
    /// <summary>Steps in which nobody asks for a decision, until that is an error; the longest period is 20.</summary>
    const int k_Patience = 100;
    const BindingFlags k_Static = BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic;

    static readonly List<Agent> s_Agents = new List<Agent>();
    static readonly StringBuilder s_Answer = new StringBuilder();
    static bool s_Begun, s_Asked, s_Reset;

    static int Main()
    {
        try
        {
            Members.Assemblies = Directory.GetFiles(AppDomain.CurrentDomain.BaseDirectory, "*.dll")
                .Select(Assembly.LoadFrom).ToArray();
            Academy.Exchange = Exchange;
            Obey();
            for (int idle = 0; ; idle++)
            {
                s_Asked = false;
                Academy.Instance.EnvironmentStep();
                if (Application.ExitCode.HasValue)
                {
                    return Leave();
                }
                if (s_Asked)
                {
                    idle = 0;
                }
                else if (idle > k_Patience)
                {
                    throw new InvalidOperationException(
                        "no agent asked for a decision in " + k_Patience + " steps: is there a DecisionRequester?");
                }
            }
        }
        catch (EndOfStreamException)
        {
            return 0;
        }
        catch (Exception error)
        {
            error = error is TargetInvocationException ? error.InnerException : error;
            Answer("failure " + error.ToString().Replace("\n", " "));
            End();
            return 1;
        }
    }

    static int Leave()
    {
        Complain();
        Answer("exit " + Application.ExitCode);
        End();
        return Application.ExitCode.Value;
    }

    static bool Exchange(IList<Report> reports)
    {
        s_Asked = true;
        Complain();
        foreach (Report report in reports)
        {
            s_Answer.Append(report.Done ? "terminal " : "decision ").Append(report.Agent.Id).Append(' ');
            s_Answer.Append(Members.Format(report.Reward));
            if (report.Done)
            {
                s_Answer.Append(report.Interrupted ? " 1" : " 0");
            }
            foreach (float number in report.Observation)
            {
                s_Answer.Append(' ').Append(Members.Format(number));
            }
            s_Answer.Append('\n');
        }
        End();
        s_Reset = false;
        Obey();
        return s_Reset;
    }

    /// <summary>Reads and does commands until one lets time go on.</summary>
    static void Obey()
    {
        while (true)
        {
            string line = Console.In.ReadLine() ?? throw new EndOfStreamException();
            string[] words = line.Split(new[] { ' ' }, StringSplitOptions.RemoveEmptyEntries);
            string[] rest = words.Skip(1).ToArray();
            switch (words[0])
            {
                case "areas":
                    Academy.GivenAreas = int.Parse(rest[0]);
                    break;
                case "agent":
                    AddAgent(rest);
                    break;
                case "begin":
                    Begin();
                    return;
                case "act":
                    Share(rest, 1, (who, values) => Act((Agent)who, values));
                    break;
                case "step":
                    return;
                case "reset":
                    s_Reset = true;
                    return;
                case "suggest":
                    s_Agents.ForEach(Suggest);
                    End();
                    break;
                case "random":
                    rest.Select(Members.Double).ToList().ForEach(UnityEngine.Random.Given.Enqueue);
                    break;
                case "parameter":
                    Academy.Instance.EnvironmentParameters.Set(rest[0], Members.Single(rest[1]));
                    break;
                case "set":
                    Share(rest, 2, (who, values) => Members.Set(who, rest[1], values));
                    break;
                case "get":
                    Each(rest[0], who => Answer("value " + Members.Format(Members.Get(who, rest[1]))));
                    End();
                    break;
                case "call":
                    Members.FindType(rest[0]).GetMethod(rest[1], k_Static).Invoke(null, null);
                    Complain();
                    End();
                    break;
                case "objects":
                    foreach (GameObject each in GameObject.All)
                    {
                        string parts = string.Join(",", each.Components.Select(part => part.GetType().Name));
                        Answer("object " + string.Join("|", each.name, each.activeSelf, parts));
                    }
                    End();
                    break;
                default:
                    throw new ArgumentException("unknown command: " + line);
            }
        }
    }

    /// <summary>Lets the scene build itself and tells what its agents declare.</summary>
    static void Begin()
    {
        if (s_Begun)
        {
            throw new InvalidOperationException("begin comes once");
        }
        s_Begun = true;
        foreach (Assembly assembly in Members.Assemblies)
        {
            foreach (Type type in assembly.GetTypes())
            {
                foreach (MethodInfo method in type.GetMethods(k_Static))
                {
                    if (method.GetCustomAttributes(typeof(RuntimeInitializeOnLoadMethodAttribute), false).Length > 0)
                    {
                        method.Invoke(null, null);
                    }
                }
            }
        }
        if (Application.ExitCode.HasValue)
        {
            Environment.Exit(Leave());
        }
        foreach (GameObject each in GameObject.All)
        {
            s_Agents.AddRange(each.Components.OfType<Agent>());
        }
        s_Agents.Sort((a, b) => a.Id.CompareTo(b.Id));
        foreach (Agent agent in s_Agents)
        {
            var requester = agent.GetComponent<DecisionRequester>();
            Answer("agent " + string.Join(
                "|", agent.Id, agent.GetType().Name, agent.Behavior, agent.Actions.NumContinuousActions,
                Sizes(agent.Actions.BranchSizes), requester == null ? 0 : requester.DecisionPeriod, agent.MaxStep,
                string.Join(";", agent.Sensors.Select(each => each.Name + ":" + Sizes(each.Shape)))));
        }
    }

    static void AddAgent(IList<string> words)
    {
        var target = new GameObject("agent " + GameObject.All.Count);
        target.SetActive(false);
        var behavior = target.AddComponent<BehaviorParameters>();
        behavior.BehaviorName = words[1];
        behavior.BrainParameters.VectorObservationSize = int.Parse(words[2]);
        behavior.BrainParameters.ActionSpec = new ActionSpec(
            int.Parse(words[3]), words[4] == "-" ? null : words[4].Split(',').Select(int.Parse).ToArray());
        var agent = (Agent)target.AddComponent(Members.FindType(words[0]));
        agent.MaxStep = int.Parse(words[6]);
        foreach (string field in words.Skip(7))
        {
            string[] parts = field.Split(new[] { '=' }, 2);
            Members.Set(agent, parts[0], parts[1].Split(','));
        }
        target.AddComponent<DecisionRequester>().DecisionPeriod = int.Parse(words[5]);
        target.SetActive(true);
    }

    static void Act(Agent agent, IList<string> numbers)
    {
        int continuous = agent.Actions.NumContinuousActions, discrete = agent.Actions.NumDiscreteActions;
        if (numbers.Count != continuous + discrete)
        {
            throw new ArgumentException(
                "an action is " + continuous + " + " + discrete + " numbers here, got " + numbers.Count);
        }
        agent.Receive(
            numbers.Take(continuous).Select(Members.Single).ToArray(),
            numbers.Skip(continuous).Select(int.Parse).ToArray());
    }

    static void Suggest(Agent agent)
    {
        var continuous = new float[agent.Actions.NumContinuousActions];
        var discrete = new int[agent.Actions.NumDiscreteActions];
        agent.Heuristic(new ActionBuffers(continuous, discrete));
        Answer("suggest " + (Members.Format(continuous) + " " + Members.Format(discrete)).Trim());
    }

    static void Each(string who, Action<object> action)
    {
        int id;
        if (who == "*")
        {
            s_Agents.ForEach(action);
        }
        else if (int.TryParse(who, out id))
        {
            action(s_Agents[id]);
        }
        else
        {
            action(Members.FindType(who));
        }
    }

    /// <summary>Does something with the words from `first` on for whom words[0] names.</summary>
    static void Share(string[] words, int first, Action<object, IList<string>> action)
    {
        if (words[0] != "each")
        {
            Each(words[0], who => action(who, words.Skip(first).ToArray()));
            return;
        }
        int share = (words.Length - first) / s_Agents.Count;
        if (share * s_Agents.Count != words.Length - first)
        {
            throw new ArgumentException(
                (words.Length - first) + " values are no equal shares for " + s_Agents.Count + " agents");
        }
        for (int i = 0; i < s_Agents.Count; i++)
        {
            action(s_Agents[i], new ArraySegment<string>(words, first + i * share, share));
        }
    }

    static string Sizes(int[] sizes) { return sizes.Length == 0 ? "-" : string.Join(",", sizes); }

    static void Complain()
    {
        while (Debug.Complaints.Count > 0)
        {
            Answer("complaint " + Debug.Complaints.Dequeue().Replace("\n", " "));
        }
    }

    static void Answer(string line) { s_Answer.Append(line).Append('\n'); }

    static void End()
    {
        Answer("end");
        Console.Out.Write(s_Answer);
        Console.Out.Flush();
        s_Answer.Clear();
    }
}
