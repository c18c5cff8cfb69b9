"""The adapter for Stable-Baselines3: what its algorithms read of a VecEnv."""

import numpy as np
import pytest

from bridge.in_process import InProcessEnvironment

pytest.importorskip("stable_baselines3")
pytest.importorskip("gymnasium")
from stable_baselines3.common.vec_env import VecMonitor

from bridge.gymnasium_vector_env import UnityGymnasiumVectorEnv
from bridge.stable_baselines3_env import UnityVecEnv


def opener(make_world):
    return lambda seed: InProcessEnvironment(make_world, seed=seed)


def test_ended_episodes_are_told_as_stable_baselines3_wants_it(toy):
    env, same = UnityVecEnv(opener(toy.ToyWorld), "Walker"), UnityGymnasiumVectorEnv(opener(toy.ToyWorld), "Walker")
    env.seed(7)
    same.action_space.seed(7)
    observations, (expected, _) = env.reset(), same.reset(seed=7)
    ends = 0
    for _ in range(12):
        np.testing.assert_array_equal(observations["position"], expected["position"])
        actions = same.action_space.sample()
        observations, rewards, dones, infos = env.step(actions)
        expected, wanted, terminated, truncated, info = same.step(actions)
        np.testing.assert_array_equal(rewards, wanted.astype(np.float32))
        np.testing.assert_array_equal(dones, terminated | truncated)
        assert rewards.dtype == np.float32
        for agent in range(2):
            assert ("terminal_observation" in infos[agent]) == dones[agent]
            if dones[agent]:
                ends += 1
                assert infos[agent]["TimeLimit.truncated"] == truncated[agent]
                final = infos[agent]["terminal_observation"]["position"]
                np.testing.assert_array_equal(final, info["final_obs"][agent]["position"])
    assert ends > 2


def test_the_monitor_counts_episodes(toy):
    env = VecMonitor(UnityVecEnv(opener(toy.ToyWorld), "Walker"))
    env.reset()
    action = {"continuous": np.zeros((2, 2)), "discrete": np.zeros((2, 2), int)}
    for _ in range(4):
        *_, infos = env.step(action)
        if "episode" in infos[0]:
            break
    # Messages 1 and 2: 1 for the decision, then the terminal's -2 with its group's 2.
    assert (infos[0]["episode"]["r"], infos[0]["episode"]["l"]) == (1, 2)
    env.close()


def test_masks_and_what_is_not_offered(toy):
    env = UnityVecEnv(opener(toy.ToyWorld), "Walker")
    env.reset()
    assert env.has_attr("action_masks")
    assert np.stack(env.env_method("action_masks")).shape == (2, 5)
    assert len(env.env_method("action_masks", indices=[1])) == 1
    assert env.env_is_wrapped(object) == [False, False]
    for call in (lambda: env.set_attr("speed", 1), lambda: env.env_method("jump")):
        with pytest.raises(NotImplementedError, match=r"share one environment.*\.env"):
            call()
