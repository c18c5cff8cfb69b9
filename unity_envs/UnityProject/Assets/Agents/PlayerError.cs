using UnityEngine;

namespace MlAgentsBridge
{
    /// <summary>How a player gives up: a line in its log and exit code 1, so that the trainer sees it end.</summary>
    public static class PlayerError
    {
        public static void Stop(string message)
        {
            Debug.LogError(message);
            Application.Quit(1); // does nothing in the Editor, where the line in the console has to do
        }
    }
}
