using System;
using System.Runtime.InteropServices;

namespace OpenMined
{
    /// <summary>What the native library refused or cannot do; the message says what to do about it.</summary>
    public sealed class OpenMinedException : Exception
    {
        public OpenMinedException(string message, Exception reason = null) : base(message, reason) { }
    }

    /// <summary>The native library as a whole: whether it is there, and what it runs on.</summary>
    public static class Kernels
    {
        /// <summary>OM_ABI_VERSION of the header that Native.cs repeats.</summary>
        public const int Version = 1;

        static bool s_Checked;

        /// <summary>"avx512", "avx2" or "portable". Throws OpenMinedException without the library.</summary>
        public static string InstructionSet
        {
            get
            {
                Require();
                return Marshal.PtrToStringAnsi(Native.om_instruction_set());
            }
        }

        /// <summary>Throws OpenMinedException unless the library is there and is of this version.</summary>
        public static void Require()
        {
            if (s_Checked)
            {
                return;
            }
            const string remedy = "run `make unity-plugin`, which puts it into Assets/Plugins, and start the game anew";
            int version;
            try
            {
                version = Native.om_abi_version();
            }
            catch (DllNotFoundException error)
            {
                throw new OpenMinedException("the native library openmined is not there: " + remedy, error);
            }
            catch (BadImageFormatException error)
            {
                throw new OpenMinedException("the native library openmined is for another system: " + remedy, error);
            }
            catch (EntryPointNotFoundException error)
            {
                throw new OpenMinedException("another native library has the name openmined: " + remedy, error);
            }
            if (version != Version)
            {
                throw new OpenMinedException(
                    "the native library openmined has version " + version + ", these scripts are for version " +
                    Version + ": " + remedy);
            }
            s_Checked = true;
        }

        /// <summary>Throws OpenMinedException for a status that is not 0.</summary>
        internal static void Check(int status, string function)
        {
            if (status != 0)
            {
                throw new OpenMinedException(function + ": " + Marshal.PtrToStringAnsi(Native.om_error_string(status)));
            }
        }
    }
}
