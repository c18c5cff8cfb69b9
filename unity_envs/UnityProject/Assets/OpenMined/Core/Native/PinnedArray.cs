using System;
using System.Runtime.InteropServices;

namespace OpenMined
{
    /// <summary>
    /// An array that stays where it is, for the library to read and write. Made once and used for long: what is pinned
    /// is in the way of the garbage collector.
    /// </summary>
    sealed class PinnedArray<T> : IDisposable where T : struct
    {
        public readonly T[] Values;

        GCHandle m_Pin;
        IntPtr m_Address;

        public PinnedArray(long length)
        {
            // One more than asked for: even an array of nothing has an address then.
            Values = new T[length + 1];
            Length = length;
            m_Pin = GCHandle.Alloc(Values, GCHandleType.Pinned);
            m_Address = m_Pin.AddrOfPinnedObject();
        }

        public PinnedArray(T[] values) : this(values.Length)
        {
            Array.Copy(values, Values, values.Length);
        }

        ~PinnedArray()
        {
            Free();
        }

        public long Length { get; private set; }

        /// <summary>Throws ObjectDisposedException afterwards.</summary>
        public IntPtr Address
        {
            get
            {
                if (m_Address == IntPtr.Zero)
                {
                    throw new ObjectDisposedException("PinnedArray", "this was disposed of; make a new one");
                }
                return m_Address;
            }
        }

        public void Dispose()
        {
            Free();
            GC.SuppressFinalize(this);
        }

        void Free()
        {
            if (m_Address != IntPtr.Zero)
            {
                m_Address = IntPtr.Zero;
                m_Pin.Free();
            }
        }
    }
}
