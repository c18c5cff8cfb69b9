using System;
using System.Collections.Generic;
using System.IO;
using UnityEditor;
using UnityEditor.Build;
using UnityEditor.Build.Reporting;
using UnityEditor.SceneManagement;
using UnityEngine;

namespace MlAgentsBridge
{
    /// <summary>
    /// Builds a player from the command line:
    ///
    ///   Unity -batchmode -nographics -quit -projectPath unity_envs/UnityProject -buildTarget Linux64
    ///         -executeMethod MlAgentsBridge.Build.FromCommandLine -logFile - --env-name 3DBall
    ///
    /// with, if wanted, --variant NAME, --target Linux64, Win64 or OSXUniversal (else the Editor's own target),
    /// --server for a dedicated server, and --output FOLDER (else Builds/ of the project). In place of an environment,
    /// --own NAME builds the scene that scripts of one's own make. Exit code 1 means that there is no player.
    /// </summary>
    public static class Build
    {
        const string k_Generated = "Assets/Generated";
        const string k_Scene = k_Generated + "/Empty.unity";

        public static void FromCommandLine()
        {
            try
            {
                Debug.Log("Built " + Run(Environment.GetCommandLineArgs()));
            }
            catch (Exception error)
            {
                Debug.LogError("unity-build: " + error.Message);
                if (!(error is ArgumentException) && !(error is BuildFailedException))
                {
                    Debug.LogException(error);
                }
                EditorApplication.Exit(1);
            }
        }

        /// <summary>
        /// Builds what these arguments say; returns the path of the player. Throws ArgumentException for arguments that
        /// make no sense, BuildFailedException for a build that failed.
        /// </summary>
        public static string Run(IList<string> arguments)
        {
            string own = PlayerOptions.Value(arguments, "--own");
            EnvironmentVariant variant = own == null ? PlayerOptions.Parse(arguments).Variant : null;
            BuildTarget target = Target(PlayerOptions.Value(arguments, "--target"));
            bool server = arguments.Contains("--server");
            if (server && variant != null && variant.PictureSize > 0)
            {
                throw new ArgumentException(variant.Behavior + " needs a camera, which a server build does not have");
            }
            if (!BuildPipeline.IsBuildTargetSupported(BuildTargetGroup.Standalone, target))
            {
                throw new ArgumentException(
                    "this Editor cannot build for " + target + ": add that module to it in the Unity Hub");
            }
            string name = own ?? variant.Environment;
            string whole = name + (own != null || variant.Variant == "" ? "" : "-" + variant.Variant);
            string player = Path.Combine(
                PlayerOptions.Value(arguments, "--output") ?? "Builds",
                whole + "-" + TargetName(target) + (server ? "-Server" : ""), name + Ending(target, server));
            ApplySettings(whole);
            BuildReport report = BuildPipeline.BuildPlayer(new BuildPlayerOptions
            {
                scenes = new[] { EmptyScene() },
                locationPathName = player,
                targetGroup = BuildTargetGroup.Standalone,
                target = target,
                subtarget = (int)(server ? StandaloneBuildSubtarget.Server : StandaloneBuildSubtarget.Player),
                // For this build only; the Editor's own define symbols would need a second run to take effect.
                extraScriptingDefines = Defines(variant),
            });
            if (report.summary.result != BuildResult.Succeeded)
            {
                throw new BuildFailedException(
                    "the build for " + target + " ended as " + report.summary.result + " with "
                    + report.summary.totalErrors + " errors; the lines above say more");
            }
            return player;
        }

        static BuildTarget Target(string name)
        {
            switch (name)
            {
                case null:
                    return Target(TargetName(EditorUserBuildSettings.activeBuildTarget));
                case "Linux64":
                    return BuildTarget.StandaloneLinux64;
                case "Win64":
                    return BuildTarget.StandaloneWindows64;
                case "OSXUniversal":
                    return BuildTarget.StandaloneOSX;
                default:
                    throw new ArgumentException(
                        "--target must be Linux64, Win64 or OSXUniversal, got '" + name
                        + "': only these players can talk to a trainer");
            }
        }

        static string TargetName(BuildTarget target)
        {
            switch (target)
            {
                case BuildTarget.StandaloneLinux64:
                    return "Linux64";
                case BuildTarget.StandaloneWindows64:
                    return "Win64";
                case BuildTarget.StandaloneOSX:
                    return "OSXUniversal";
                default:
                    return target.ToString();
            }
        }

        /// <summary>What ML-Agents' launcher looks for.</summary>
        static string Ending(BuildTarget target, bool server)
        {
            switch (target)
            {
                case BuildTarget.StandaloneWindows64:
                    return ".exe";
                case BuildTarget.StandaloneOSX:
                    return server ? "" : ".app";
                default:
                    return ".x86_64";
            }
        }

        /// <summary>Symbols by which Bootstrap knows what this player plays; null is a scene of one's own.</summary>
        static string[] Defines(EnvironmentVariant variant)
        {
            if (variant == null)
            {
                return new[] { "ENVIRONMENT_OWN" };
            }
            var defines = new List<string> { "ENVIRONMENT_" + variant.Environment.ToUpperInvariant() };
            if (variant.Variant != "")
            {
                defines.Add("VARIANT_" + variant.Variant.ToUpperInvariant());
            }
            return defines.ToArray();
        }

        static void ApplySettings(string productName)
        {
            PlayerSettings.companyName = "mlagents-bridge";
            PlayerSettings.productName = productName;
            PlayerSettings.runInBackground = true;
            PlayerSettings.fullScreenMode = FullScreenMode.Windowed;
            PlayerSettings.defaultScreenWidth = 1280;
            PlayerSettings.defaultScreenHeight = 720;
            PlayerSettings.resizableWindow = true;
            foreach (NamedBuildTarget target in new[] { NamedBuildTarget.Standalone, NamedBuildTarget.Server })
            {
                // Mono, since a player built with IL2CPP does not connect to a trainer; nothing stripped, since the
                // bootstrap is found by its attribute only, and the primitives' components by name.
                PlayerSettings.SetScriptingBackend(target, ScriptingImplementation.Mono2x);
                PlayerSettings.SetManagedStrippingLevel(target, ManagedStrippingLevel.Disabled);
                PlayerSettings.SetApiCompatibilityLevel(target, ApiCompatibilityLevel.NET_Standard);
            }
        }

        /// <summary>A player needs a scene; the bootstrap fills it.</summary>
        static string EmptyScene()
        {
            Directory.CreateDirectory(k_Generated);
            var scene = EditorSceneManager.NewScene(NewSceneSetup.EmptyScene, NewSceneMode.Single);
            if (!EditorSceneManager.SaveScene(scene, k_Scene))
            {
                throw new BuildFailedException("could not write " + k_Scene);
            }
            return k_Scene;
        }
    }
}
