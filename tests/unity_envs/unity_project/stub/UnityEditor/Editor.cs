// A stand-in for the part of UnityEditor that the build script uses. A build is noted, not made.
using System;
using System.Collections.Generic;

namespace UnityEditor
{
    public enum BuildTarget
    {
        NoTarget = -2, StandaloneOSX = 2, Android = 13, StandaloneWindows64 = 19, StandaloneLinux64 = 24,
    }

    public enum BuildTargetGroup { Standalone = 1, Android = 7 }
    public enum StandaloneBuildSubtarget { Player = 2, Server = 1 }
    public enum ScriptingImplementation { Mono2x, IL2CPP }
    public enum ManagedStrippingLevel { Disabled, Low, Medium, High, Minimal }
    public enum ApiCompatibilityLevel { NET_Unity_4_8 = 3, NET_Standard = 6 }

    [Flags]
    public enum BuildOptions { None = 0 }

    [AttributeUsage(AttributeTargets.Method)]
    public sealed class MenuItem : Attribute
    {
        public readonly string Path;
        public MenuItem(string path) { Path = path; }
    }

    public struct BuildPlayerOptions
    {
        public string[] scenes;
        public string locationPathName;
        public BuildTargetGroup targetGroup;
        public BuildTarget target;
        public int subtarget;
        public BuildOptions options;
        public string[] extraScriptingDefines;
    }

    public static class BuildPipeline
    {
        public static readonly List<BuildPlayerOptions> Built = new List<BuildPlayerOptions>();
        public static Build.Reporting.BuildResult Result = Build.Reporting.BuildResult.Succeeded;
        public static BuildTarget Missing = BuildTarget.NoTarget;

        public static bool IsBuildTargetSupported(BuildTargetGroup group, BuildTarget target)
        {
            return target != Missing;
        }

        public static Build.Reporting.BuildReport BuildPlayer(BuildPlayerOptions options)
        {
            Built.Add(options);
            return new Build.Reporting.BuildReport { summary = { result = Result } };
        }
    }

    public static class EditorUserBuildSettings
    {
        public static BuildTarget activeBuildTarget { get; set; }
    }

    public static class EditorApplication
    {
        public static int? ExitCode;
        public static bool isPlaying { get; set; }
        public static void Exit(int code) { ExitCode = code; }
        public static void EnterPlaymode() { isPlaying = true; }
    }

    public static class PlayerSettings
    {
        /// <summary>What the methods were told, as "target: value".</summary>
        public static readonly List<string> Told = new List<string>();

        public static string companyName { get; set; }
        public static string productName { get; set; }
        public static bool runInBackground { get; set; }
        public static UnityEngine.FullScreenMode fullScreenMode { get; set; }
        public static int defaultScreenWidth { get; set; }
        public static int defaultScreenHeight { get; set; }
        public static bool resizableWindow { get; set; }

        public static void SetScriptingBackend(Build.NamedBuildTarget target, ScriptingImplementation value)
        {
            Told.Add(target.TargetName + ": " + value);
        }

        public static void SetManagedStrippingLevel(Build.NamedBuildTarget target, ManagedStrippingLevel value)
        {
            Told.Add(target.TargetName + ": " + value);
        }

        public static void SetApiCompatibilityLevel(Build.NamedBuildTarget target, ApiCompatibilityLevel value)
        {
            Told.Add(target.TargetName + ": " + value);
        }
    }
}

namespace UnityEditor.Build
{
    public struct NamedBuildTarget
    {
        public static readonly NamedBuildTarget Standalone = new NamedBuildTarget { TargetName = "Standalone" };
        public static readonly NamedBuildTarget Server = new NamedBuildTarget { TargetName = "Server" };
        public string TargetName { get; private set; }
    }

    public sealed class BuildFailedException : Exception
    {
        public BuildFailedException(string message) : base(message) { }
    }
}

namespace UnityEditor.Build.Reporting
{
    public enum BuildResult { Unknown, Succeeded, Failed, Cancelled }

    /// <summary>In Unity a struct that nobody but the Editor fills.</summary>
    public sealed class BuildSummary
    {
        public BuildResult result;
        public int totalErrors;
    }

    public sealed class BuildReport
    {
        public readonly BuildSummary summary = new BuildSummary();
    }
}

namespace UnityEditor.SceneManagement
{
    public enum NewSceneSetup { EmptyScene, DefaultGameObjects }
    public enum NewSceneMode { Single, Additive }
    public struct Scene { }

    public static class EditorSceneManager
    {
        public static readonly List<string> Saved = new List<string>();
        public static Scene NewScene(NewSceneSetup setup, NewSceneMode mode) { return new Scene(); }
        public static bool SaveCurrentModifiedScenesIfUserWantsTo() { return true; }

        public static bool SaveScene(Scene scene, string path)
        {
            Saved.Add(path);
            return true;
        }
    }
}
