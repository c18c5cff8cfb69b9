"""The built-in environments by their Gymnasium ids: the libraries' own checkers, and what `make` makes."""

import subprocess
import sys
import warnings

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")
from gymnasium.utils.env_checker import check_env  # noqa: E402

import unity_envs.gymnasium_ids  # noqa: E402, F401

CASES = [
    ("3DBall", {}),
    ("3DBall", {"variant": "discrete"}),
    ("3DBall", {"variant": "visual", "uint8_pictures": True}),
    ("PoleBalancer", {}),
    ("CubeMover", {}),
]


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_the_checkers_pass(name, arguments):
    env = gymnasium.make(f"mlagents_bridge/{name}-v0", **arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "(?s).*(infinity|unwrapped)")  # observations have no bounds
        check_env(env.unwrapped)
        if pytest.importorskip("stable_baselines3"):
            from stable_baselines3.common.env_checker import check_env as check_for_stable_baselines3

            check_for_stable_baselines3(env.unwrapped)
    env.close()


def test_one_agent_of_many_is_the_same_as_the_only_one():
    one = gymnasium.make("mlagents_bridge/PoleBalancer-v0")
    vector = gymnasium.make_vec("mlagents_bridge/PoleBalancer-v0", num_envs=1)
    observation, expected = one.reset(seed=3)[0], vector.reset(seed=3)[0]
    ends = 0
    for step in range(300):
        np.testing.assert_array_equal(observation, expected[0])
        observation, reward, terminated, truncated, _ = one.step(step % 2)
        expected, rewards, terminations, truncations, info = vector.step(np.array([step % 2]))
        assert (reward, terminated, truncated) == (rewards[0], terminations[0], truncations[0])
        if terminated or truncated:
            ends += 1
            np.testing.assert_array_equal(observation, info["final_obs"][0])
            observation, _ = one.reset()
    assert ends > 2


def test_a_time_limit_truncates():
    env = gymnasium.make("mlagents_bridge/PoleBalancer-v0")
    position, velocity, lean, spin = env.reset(seed=1)[0]
    for step in range(1, 201):
        to_the_right = lean + 0.07 * spin < 0.1 * position + 0.02 * velocity  # under the pole, and back to the middle
        (position, velocity, lean, spin), reward, terminated, truncated, _ = env.step(int(to_the_right))
        assert (reward, terminated, truncated) == (1, False, step == 200)


def test_agents_of_one_world_and_of_a_process_each():
    agents = gymnasium.make_vec("mlagents_bridge/3DBall-v0", num_envs=5)
    assert type(agents.unwrapped).__name__ == "UnityGymnasiumVectorEnv"
    assert agents.reset(seed=1)[0].shape == (5, 8)
    worlds = gymnasium.make_vec("mlagents_bridge/3DBall-v0", num_envs=2, vectorization_mode="sync")
    observations, _ = worlds.reset(seed=1)
    assert observations.shape == (2, 8) and not np.array_equal(observations[0], observations[1])


def test_an_id_needs_no_import_and_a_player_ends_with_its_environment():
    program = (
        "import gymnasium; import numpy as np\n"
        "env = gymnasium.make_vec('unity_envs.gymnasium_ids:mlagents_bridge/3DBall-v0', num_envs=3, in_process=False)\n"
        "print(env.reset(seed=1)[0].shape, env.step(np.zeros((3, 2)))[1].shape)\n"
        "player = env.unwrapped._world.environment._player\n"
        "print(player.exit_description())\n"
        "env.close()\n"
        "print(player.exit_description())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    shapes, before, after = done.stdout.splitlines()
    assert (shapes, before) == ("(3, 8) (3,)", "None")
    assert after.endswith("exited with code 0")


def test_an_unknown_variant_is_told():
    with pytest.raises(ValueError, match="no variant 'sideways'"):
        gymnasium.make("mlagents_bridge/3DBall-v0", variant="sideways")
