using System;

namespace MlAgentsBridge
{
    /// <summary>
    /// A cube on a row of cells, with a small and a large goal: the rules, without the engine. The specification is the
    /// text at the top of unity_envs/worlds/cube_mover.py, which is the same world in Python.
    /// </summary>
    public sealed class CubeMover
    {
        public const double StepReward = -0.01;
        public const double SmallReward = 0.1;
        public const double LargeReward = 1.0;

        /// <summary>The rules of ML-Agents' Basic scene instead of those of the task of 2018.</summary>
        public readonly bool Basic;
        public readonly int FirstCell;
        public readonly int LastCell;
        public readonly int Start;
        public readonly int SmallGoal;
        public readonly int LargeGoal;

        /// <summary>The cell of the cube.</summary>
        public int Position;

        /// <summary>What the last step was worth.</summary>
        public double Reward { get; private set; }

        /// <summary>Whether the last step reached a goal.</summary>
        public bool HasEnded { get; private set; }

        public CubeMover(bool basic)
        {
            Basic = basic;
            FirstCell = basic ? 0 : -10;
            LastCell = basic ? 20 : 10;
            Start = basic ? 10 : 0;
            SmallGoal = basic ? 7 : -3;
            LargeGoal = basic ? 17 : 7;
            Reset();
        }

        public int ObservationSize
        {
            get { return Basic ? 20 : 1; }
        }

        public void Reset()
        {
            Position = Start;
            Reward = 0.0;
            HasEnded = false;
        }

        /// <summary>Moves by one cell at most. A number that is no action moves nothing.</summary>
        public void Step(int action)
        {
            Position = Math.Min(Math.Max(Position + Move(action), FirstCell), LastCell);
            Reward = StepReward;
            HasEnded = Position == SmallGoal || Position == LargeGoal;
            if (HasEnded)
            {
                double goal = Position == SmallGoal ? SmallReward : LargeReward;
                Reward = Basic ? Reward + goal : goal;
            }
        }

        /// <summary>Writes the cell, or with the Basic rules a 1 at its index: nowhere for the last cell.</summary>
        public void Observe(float[] observation)
        {
            if (!Basic)
            {
                observation[0] = Position;
                return;
            }
            Array.Clear(observation, 0, observation.Length);
            if (Position < observation.Length)
            {
                observation[Position] = 1f;
            }
        }

        /// <summary>A good action: towards the large goal, which is on the right.</summary>
        public int Suggest()
        {
            return Basic ? 2 : 1;
        }

        int Move(int action)
        {
            int left = Basic ? 1 : 0;
            return action == left ? -1 : action == left + 1 ? 1 : 0;
        }
    }
}
