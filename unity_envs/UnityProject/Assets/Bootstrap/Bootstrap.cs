using System;
using System.Collections.Generic;
using Unity.MLAgents;
using UnityEngine;

namespace MlAgentsBridge
{
    /// <summary>
    /// Where a player begins. There are no scene files: the environment that the command line names is built here, into
    /// whatever empty scene was loaded.
    /// </summary>
    public static class Bootstrap
    {
        /// <summary>Where the Editor's menu keeps what to play; a player does not look there.</summary>
        public const string EditorChoice = "mlagents-bridge arguments";

        /// <summary>As a name of an environment: the scene is made by scripts that were added to the project.</summary>
        public const string OwnScene = "own";

        [RuntimeInitializeOnLoadMethod(RuntimeInitializeLoadType.AfterSceneLoad)]
        static void Begin()
        {
            PlayerOptions options;
            try
            {
                IList<string> arguments = Arguments();
                if (PlayerOptions.Value(arguments, "--env-name") == OwnScene)
                {
                    return;
                }
                options = PlayerOptions.Parse(arguments);
            }
            catch (ArgumentException error)
            {
                PlayerError.Stop(error.Message);
                return;
            }
            EngineSettings.Apply();
#if MLAGENTS_HAS_NUM_AREAS
            // The first use of the Academy talks to the trainer, and waits for it; afterwards this is known.
            int areas = Math.Max(Academy.Instance.NumAreas, 1);
#else
            int areas = 1; // this version of the package does not tell
#endif
            SceneBuilder.Build(options.Variant, options.Agents * areas);
        }

        /// <summary>The command line, after what build or menu chose, unless it names an environment.</summary>
        static IList<string> Arguments()
        {
            string[] given = Environment.GetCommandLineArgs();
            var arguments = new List<string>();
            if (PlayerOptions.Value(given, "--env-name") == null)
            {
                arguments.AddRange(Defaults());
            }
            arguments.AddRange(given);
            return arguments;
        }

        static string[] Defaults()
        {
            if (Application.isEditor)
            {
                return PlayerPrefs.GetString(EditorChoice, "--env-name=3DBall").Split(' ');
            }
            return new string[]
            {
#if ENVIRONMENT_OWN
                "--env-name=" + OwnScene,
#elif ENVIRONMENT_CUBEMOVER
                "--env-name=CubeMover",
#elif ENVIRONMENT_POLEBALANCER
                "--env-name=PoleBalancer",
#elif ENVIRONMENT_3DBALL
                "--env-name=3DBall",
#endif
#if VARIANT_BASIC
                "--variant=basic",
#elif VARIANT_FORCE
                "--variant=force",
#elif VARIANT_DISCRETE
                "--variant=discrete",
#elif VARIANT_HARD
                "--variant=hard",
#elif VARIANT_VISUAL
                "--variant=visual",
#endif
            };
        }
    }
}
