using System;

namespace OpenMined
{
    /// <summary>
    /// Trains the agents of one behavior in the game, by the PPO of trainers/behavior_trainer.py and with its results.
    /// </summary>
    /// <remarks>
    /// In each step call `End` for agents whose episode is over and `Request` for those that want to act, then `Act`
    /// once, then read the actions. Agents are numbers from 0 on. With `Threaded` updates go on in another thread, in
    /// the time that `BeginFrame` grants them. All other calls come from one thread.
    /// </remarks>
    public sealed class PpoTrainer : IDisposable
    {
        const int k_RowsOfPiece = 256;

        public readonly NetworkShape Shape;
        public readonly TrainerSettings Settings;
        public readonly int Agents;
        public readonly RandomNumbers Random;

        /// <summary>False: agents act, and nothing is learnt from it.</summary>
        public bool Training = true;
        /// <summary>Agents do what seems best instead of drawing from the policy.</summary>
        public bool Deterministic;
        /// <summary>Steps of the training so far; counted as trajectories are cut.</summary>
        public long Step;

        readonly ActorCritic m_Acting;
        readonly Learner m_Learner;
        readonly UpdateThread m_Thread;
        readonly StepColumns m_Open; // the trajectory of each agent, from row agent * TimeHorizon on
        readonly int[] m_Lengths, m_RowAgents, m_AgentRows;
        readonly bool[] m_Pending, m_Asks;
        readonly double[] m_Sums;
        Experience m_Experience, m_LearntFrom;
        int m_Requests;
        bool m_Acted, m_CutAtHorizon, m_Disposed;

        /// <summary>
        /// For `agents` agents that see vectors of these sizes, have so many continuous actions and discrete branches
        /// of these sizes. Weights are drawn by `seed`. Throws ArgumentException for what cannot be, OpenMinedException
        /// without the native library.
        /// </summary>
        public PpoTrainer(
            int[] observationSizes, int continuous, int[] branches, TrainerSettings settings, int agents, ulong seed)
        {
            settings.Check();
            if (agents < 1)
            {
                throw new ArgumentException("agents: expected 1 or more, got " + agents);
            }
            bool shared = settings.Hyperparameters.SharedCritic;
            Shape = new NetworkShape(observationSizes, continuous, branches, settings.NetworkSettings, shared);
            Settings = settings;
            Agents = agents;
            Random = new RandomNumbers(seed);
            Deterministic = settings.NetworkSettings.Deterministic;
            int open = agents * settings.TimeHorizon, capacity = settings.Hyperparameters.BufferSize + open;
            m_Acting = new ActorCritic(Shape, agents, false);
            // All that is cut at once goes through the critic at once; in pieces where others wait for the processor.
            int room = settings.Threaded ? Math.Min(k_RowsOfPiece, open + agents) : open + agents;
            m_Learner = new Learner(Shape, settings, capacity, room);
            m_Open = new StepColumns(Shape, open);
            m_Experience = new Experience(Shape, capacity);
            m_Lengths = new int[agents];
            m_RowAgents = new int[agents];
            m_AgentRows = new int[agents];
            m_Pending = new bool[agents];
            m_Asks = new bool[agents];
            m_Sums = new double[agents];
            m_Learner.Network.Initialize(Random);
            m_Acting.CopyFrom(m_Learner.Network);
            if (settings.Threaded)
            {
                m_LearntFrom = new Experience(Shape, capacity);
                m_Thread = new UpdateThread(m_Learner);
                m_Thread.Grant(double.PositiveInfinity);
            }
        }

        /// <summary>Updates that are over.</summary>
        public int Updates { get; private set; }
        public long Episodes { get; private set; }
        /// <summary>Sum of the rewards of all episodes that ended.</summary>
        public double RewardSum { get; private set; }
        /// <summary>
        /// Steps nothing was learnt from, because an update took longer than the next buffer needed to fill.
        /// </summary>
        public long DroppedSteps { get; private set; }
        /// <summary>Mean over minibatches of the last update.</summary>
        public double PolicyLoss { get { return m_Learner.PolicyLoss; } }
        public double ValueLoss { get { return m_Learner.ValueLoss; } }
        /// <summary>Of the policy, at the last `Act`.</summary>
        public float Entropy { get { return m_Acting.Entropy; } }
        /// <summary>Whether there have been more than MaxSteps.</summary>
        public bool IsFinished { get { return Step > Settings.MaxSteps; } }
        /// <summary>Whether an update is going on in the other thread.</summary>
        public bool IsUpdating { get { return m_Thread != null && m_Thread.IsBusy; } }
        /// <summary>Time that updates have taken in the other thread.</summary>
        public double UpdateMilliseconds { get { return m_Thread == null ? 0.0 : m_Thread.SpentMilliseconds; } }

        internal ActorCritic Learning { get { return m_Learner.Network; } }

        bool IsLearning { get { return Training && !IsFinished; } }

        // ---- one step ----

        /// <summary>
        /// The episode of an agent is over: what its last action was worth and what it saw at the end, [inputs].
        /// `interrupted`: by a limit of time, so that things would have gone on.
        /// </summary>
        public void End(int agent, float reward, float[] observation, bool interrupted)
        {
            CheckAgent(agent, observation);
            if (!m_Pending[agent] || !FinishStep(agent, reward))
            {
                return;
            }
            if (m_CutAtHorizon)
            {
                m_Experience.EndGroup();
            }
            m_CutAtHorizon = false;
            Cut(agent, observation, !interrupted);
            Episodes++;
            RewardSum += m_Sums[agent];
            m_Sums[agent] = 0.0;
        }

        /// <summary>
        /// An agent wants to act: what its last action was worth (not looked at if it has not acted in this episode),
        /// what it sees, [inputs], and which actions of all branches are allowed, all if it is null.
        /// </summary>
        public void Request(int agent, float reward, float[] observation, bool[] allowed = null)
        {
            CheckAgent(agent, observation);
            if (allowed != null && allowed.Length != Shape.Logits)
            {
                throw new ArgumentException("allowed: expected " + Shape.Logits + " actions, got " + allowed.Length);
            }
            if (m_Acted)
            {
                m_Requests = 0;
                m_Acted = false;
                Array.Clear(m_Asks, 0, Agents);
            }
            if (m_Asks[agent])
            {
                throw new InvalidOperationException("agent " + agent + " asked twice; call Act in between");
            }
            if (m_Pending[agent] && FinishStep(agent, reward) && m_Lengths[agent] >= Settings.TimeHorizon)
            {
                if (!m_CutAtHorizon)
                {
                    m_Experience.EndGroup();
                }
                m_CutAtHorizon = true;
                Cut(agent, observation, false);
            }
            int row = m_Requests++;
            m_RowAgents[row] = agent;
            m_AgentRows[agent] = row;
            m_Asks[agent] = true;
            Array.Copy(observation, 0, m_Acting.Observations, row * Shape.Inputs, Shape.Inputs);
            for (int i = 0, at = row * Shape.Logits; i < Shape.Logits; i++)
            {
                m_Acting.Allowed[at + i] = allowed == null || allowed[i] ? (byte)1 : (byte)0;
            }
        }

        /// <summary>Decides for all who asked, after an update if it is time for one.</summary>
        public void Act()
        {
            CheckDisposed();
            if (m_Requests == 0 || m_Acted)
            {
                return;
            }
            m_Experience.EndGroup();
            TakeDone();
            if (IsLearning && m_Experience.Size > Settings.Hyperparameters.BufferSize && !IsUpdating)
            {
                BeginUpdate();
            }
            m_Acting.Act(m_Requests, Random.Seed, Deterministic ? 0 : Random.NextCall(), Deterministic, true);
            m_Acted = true;
            for (int row = 0; row < m_Requests && IsLearning; row++)
            {
                int agent = m_RowAgents[row];
                m_Open.Store(agent * Settings.TimeHorizon + m_Lengths[agent], m_Acting, row);
                m_Pending[agent] = true;
            }
            if (m_Thread == null && m_Experience.Groups > 0)
            {
                m_Learner.Judge(m_Experience);
                m_Acting.CopyNormalizerFrom(m_Learner.Network);
            }
        }

        /// <summary>What `Act` decided for an agent in a branch.</summary>
        public int DiscreteAction(int agent, int branch)
        {
            int count = Shape.Branches.Length;
            return m_Acting.DiscreteForPlayer[RowOf(agent, branch, count) * count + branch];
        }

        /// <summary>What `Act` decided for an agent, from -1 to 1.</summary>
        public float ContinuousAction(int agent, int dimension)
        {
            int count = Shape.Continuous;
            return m_Acting.ContinuousForPlayer[RowOf(agent, dimension, count) * count + dimension];
        }

        // ---- with Threaded ----

        /// <summary>
        /// To be called once a frame: updates may take so many milliseconds until the next call. They take what they
        /// need as long as this is never called.
        /// </summary>
        public void BeginFrame(double milliseconds)
        {
            CheckDisposed();
            if (m_Thread != null)
            {
                TakeDone();
                m_Thread.Grant(milliseconds);
            }
        }

        /// <summary>Waits for the update that is going on.</summary>
        public void FinishUpdate()
        {
            CheckDisposed();
            if (m_Thread != null)
            {
                m_Thread.Wait();
                TakeDone();
            }
        }

        /// <summary>Forgets what agents are living through, as after the world was begun anew.</summary>
        public void ForgetOpenTrajectories()
        {
            Array.Clear(m_Pending, 0, Agents);
            Array.Clear(m_Lengths, 0, Agents);
            Array.Clear(m_Sums, 0, Agents);
        }

        /// <summary>To be called when the learning network was loaded.</summary>
        internal void TakeOverWeights()
        {
            m_Acting.CopyFrom(m_Learner.Network);
        }

        public void Dispose()
        {
            if (m_Disposed)
            {
                return;
            }
            m_Disposed = true;
            if (m_Thread != null)
            {
                m_Thread.Dispose();
                m_LearntFrom.Dispose();
            }
            m_Acting.Dispose();
            m_Learner.Dispose();
            m_Open.Dispose();
            m_Experience.Dispose();
        }

        // ---- below: one thing each ----

        void BeginUpdate()
        {
            var schedules = new Schedules(Settings, Step);
            var random = new RandomNumbers(Random.Seed, Random.Call);
            Random.Call += (ulong)Settings.Hyperparameters.NumEpoch;
            if (m_Thread != null)
            {
                Experience full = m_Experience;
                m_Experience = m_LearntFrom;
                m_LearntFrom = full;
                m_Experience.Clear();
                m_Thread.Begin(full, schedules, random);
                return;
            }
            m_Learner.Begin(m_Experience, schedules, random);
            while (m_Learner.Step(int.MaxValue))
            {
            }
            m_Experience.Clear();
            m_Acting.CopyFrom(m_Learner.Network);
            Updates++;
        }

        void TakeDone()
        {
            if (m_Thread != null && m_Thread.TakeDone())
            {
                m_Acting.CopyFrom(m_Learner.Network);
                Updates++;
            }
        }

        /// <summary>Gives the last step its reward. Returns false if nothing is learnt any more.</summary>
        bool FinishStep(int agent, float reward)
        {
            m_Pending[agent] = false;
            if (!IsLearning)
            {
                m_Lengths[agent] = 0;
                m_Sums[agent] = 0.0;
                return false;
            }
            m_Open.Rewards.Values[agent * Settings.TimeHorizon + m_Lengths[agent]] = reward;
            m_Lengths[agent]++;
            m_Sums[agent] += reward;
            return true;
        }

        void Cut(int agent, float[] next, bool terminated)
        {
            int length = m_Lengths[agent];
            m_Lengths[agent] = 0;
            Step += length;
            if (m_Experience.HasRoomFor(length))
            {
                m_Experience.Append(m_Open, agent * Settings.TimeHorizon, length, next, 0, terminated);
            }
            else
            {
                DroppedSteps += length;
            }
        }

        int RowOf(int agent, int index, int count)
        {
            if (agent < 0 || agent >= Agents || !m_Asks[agent] || !m_Acted)
            {
                throw new InvalidOperationException("agent " + agent + " has no action; call Request and Act before");
            }
            if (index < 0 || index >= count)
            {
                throw new ArgumentException("there are " + count + " such actions, asked for number " + index);
            }
            return m_AgentRows[agent];
        }

        void CheckAgent(int agent, float[] observation)
        {
            CheckDisposed();
            if (agent < 0 || agent >= Agents)
            {
                throw new ArgumentException("agent: expected 0 to " + (Agents - 1) + ", got " + agent);
            }
            if (observation == null || observation.Length != Shape.Inputs)
            {
                throw new ArgumentException(
                    "observation: expected " + Shape.Inputs + " numbers, got " +
                    (observation == null ? "none" : observation.Length.ToString()));
            }
        }

        void CheckDisposed()
        {
            if (m_Disposed)
            {
                throw new ObjectDisposedException("PpoTrainer", "this trainer was disposed of; make a new one");
            }
        }
    }
}
