using System;
using UnityEngine;

namespace MlAgentsBridge
{
    /// <summary>Places in rows along x, one row behind the other along z. Place 0 is the origin.</summary>
    public sealed class AgentGrid
    {
        readonly int m_Count, m_Columns;
        readonly float m_SpacingX, m_SpacingZ;

        public AgentGrid(int count, int columns, float spacingX, float spacingZ)
        {
            m_Count = count;
            m_Columns = columns;
            m_SpacingX = spacingX;
            m_SpacingZ = spacingZ;
        }

        public Vector3 Position(int index)
        {
            return new Vector3(index % m_Columns * m_SpacingX, 0f, index / m_Columns * m_SpacingZ);
        }

        public Vector3 Centre
        {
            get { return new Vector3((m_Columns - 1) * m_SpacingX / 2f, 0f, (Rows - 1) * m_SpacingZ / 2f); }
        }

        /// <summary>The longer side, from the first to the last place.</summary>
        public float Size
        {
            get { return Math.Max((m_Columns - 1) * m_SpacingX, (Rows - 1) * m_SpacingZ); }
        }

        int Rows
        {
            get { return (m_Count + m_Columns - 1) / m_Columns; }
        }
    }
}
