using System;
using System.Diagnostics;
using System.Threading;

namespace OpenMined
{
    /// <summary>
    /// Lets a learner work in a thread of its own, for so many milliseconds of each frame: the game's thread grants
    /// them with `Grant`, and never waits unless it calls `Wait`.
    /// </summary>
    sealed class UpdateThread : IDisposable
    {
        const double k_Margin = 2.0; // a piece may take twice as long as those before it

        readonly Learner m_Learner;
        readonly object m_Gate = new object();
        readonly Thread m_Thread;

        bool m_Working, m_Done, m_Stopping, m_Granted, m_Hurry;
        double m_Budget;
        double m_Piece; // milliseconds that a piece of the work takes, of late
        long m_Spent;
        Exception m_Error;

        public UpdateThread(Learner learner)
        {
            m_Learner = learner;
            m_Thread = new Thread(Work)
            {
                IsBackground = true, Name = "OpenMined", Priority = ThreadPriority.BelowNormal,
            };
            m_Thread.Start();
        }

        /// <summary>Whether there is an update that `TakeDone` has not told of.</summary>
        public bool IsBusy { get; private set; }

        /// <summary>All the time that updates have taken so far.</summary>
        public double SpentMilliseconds
        {
            get { return Interlocked.Read(ref m_Spent) * 1000.0 / Stopwatch.Frequency; }
        }

        public void Begin(Experience experience, Schedules schedules, RandomNumbers random)
        {
            m_Learner.Begin(experience, schedules, random);
            IsBusy = true;
            lock (m_Gate)
            {
                m_Working = true;
                Monitor.PulseAll(m_Gate);
            }
        }

        /// <summary>So many milliseconds may be spent from now on, what was granted before is forgotten.</summary>
        public void Grant(double milliseconds)
        {
            lock (m_Gate)
            {
                m_Budget = milliseconds;
                m_Granted = milliseconds > 0.0;
                Monitor.PulseAll(m_Gate);
            }
        }

        /// <summary>Returns true once after each update. Throws what went wrong in one.</summary>
        public bool TakeDone()
        {
            if (!IsBusy)
            {
                return false;
            }
            lock (m_Gate)
            {
                if (!m_Done)
                {
                    return false;
                }
                m_Done = false;
                IsBusy = false;
            }
            if (m_Error != null)
            {
                Exception error = m_Error;
                m_Error = null;
                throw new OpenMinedException("the update failed: " + error.Message, error);
            }
            return true;
        }

        /// <summary>Waits for the end of the update, if there is one.</summary>
        public void Wait()
        {
            lock (m_Gate)
            {
                m_Hurry = true;
                Monitor.PulseAll(m_Gate);
                while (m_Working)
                {
                    Monitor.Wait(m_Gate);
                }
                m_Hurry = false;
            }
        }

        public void Dispose()
        {
            lock (m_Gate)
            {
                m_Stopping = true;
                Monitor.PulseAll(m_Gate);
            }
            m_Thread.Join();
        }

        void Work()
        {
            while (true)
            {
                double budget;
                lock (m_Gate)
                {
                    while (!m_Stopping && !(m_Working && (m_Granted || m_Hurry)))
                    {
                        Monitor.Wait(m_Gate);
                    }
                    if (m_Stopping)
                    {
                        return;
                    }
                    budget = m_Hurry ? double.PositiveInfinity : m_Budget;
                    m_Granted = double.IsInfinity(m_Budget);
                }
                bool more;
                try
                {
                    more = WorkFor(budget);
                }
                catch (Exception error) // whatever it is, it belongs to who asked for the update
                {
                    m_Error = error;
                    more = false;
                }
                if (!more)
                {
                    lock (m_Gate)
                    {
                        m_Working = false;
                        m_Done = true;
                        Monitor.PulseAll(m_Gate);
                    }
                }
            }
        }

        /// <summary>One piece at least, and no other one that would not end in time.</summary>
        bool WorkFor(double budget)
        {
            long begin = Stopwatch.GetTimestamp(), before = begin;
            bool more = true;
            double spent = 0.0;
            do
            {
                more = m_Learner.Step(1);
                long now = Stopwatch.GetTimestamp();
                double piece = (now - before) * 1000.0 / Stopwatch.Frequency;
                m_Piece = 0.8 * m_Piece + 0.2 * piece;
                spent = (now - begin) * 1000.0 / Stopwatch.Frequency;
                before = now;
            }
            while (more && !m_Stopping && spent + k_Margin * m_Piece < budget);
            Interlocked.Add(ref m_Spent, before - begin);
            return more;
        }
    }
}
