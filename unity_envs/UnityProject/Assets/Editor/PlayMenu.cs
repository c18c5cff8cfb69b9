using UnityEditor;
using UnityEditor.SceneManagement;
using UnityEngine;

namespace MlAgentsBridge
{
    /// <summary>The menu "Environments": each entry plays one variant in the Editor, in an empty scene.</summary>
    public static class PlayMenu
    {
        [MenuItem("Environments/CubeMover")]
        static void CubeMover()
        {
            Play("--env-name=CubeMover");
        }

        [MenuItem("Environments/CubeMover, basic")]
        static void CubeMoverBasic()
        {
            Play("--env-name=CubeMover --variant=basic");
        }

        [MenuItem("Environments/PoleBalancer")]
        static void PoleBalancer()
        {
            Play("--env-name=PoleBalancer");
        }

        [MenuItem("Environments/PoleBalancer, force")]
        static void PoleBalancerForce()
        {
            Play("--env-name=PoleBalancer --variant=force");
        }

        [MenuItem("Environments/3DBall")]
        static void Ball()
        {
            Play("--env-name=3DBall");
        }

        [MenuItem("Environments/3DBall, discrete")]
        static void BallDiscrete()
        {
            Play("--env-name=3DBall --variant=discrete");
        }

        [MenuItem("Environments/3DBall, hard")]
        static void BallHard()
        {
            Play("--env-name=3DBall --variant=hard");
        }

        [MenuItem("Environments/3DBall, visual")]
        static void BallVisual()
        {
            Play("--env-name=3DBall --variant=visual");
        }

        [MenuItem("Environments/scene of your own scripts")]
        static void Own()
        {
            Play("--env-name=" + Bootstrap.OwnScene);
        }

        static void Play(string arguments)
        {
            if (EditorApplication.isPlaying || !EditorSceneManager.SaveCurrentModifiedScenesIfUserWantsTo())
            {
                return;
            }
            PlayerPrefs.SetString(Bootstrap.EditorChoice, arguments);
            EditorSceneManager.NewScene(NewSceneSetup.EmptyScene, NewSceneMode.Single);
            EditorApplication.EnterPlaymode();
        }
    }
}
