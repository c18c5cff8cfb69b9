"""The Gym and PettingZoo wrappers of mlagents_envs 1.1.0 under `bridge.compat`, over worlds in this process."""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bridge import compat
from bridge.in_process import InProcessEnvironment
from bridge.side_channels import EngineConfigurationChannel
from unity_envs import executables

gymnasium = pytest.importorskip("gymnasium")
pytest.importorskip("pettingzoo")

WALKERS = ["Walker?team=0?agent_id=0", "Walker?team=0?agent_id=1"]
JUMPER = "Jumper?team=1?agent_id=100"


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    compat.install()
    yield
    compat.uninstall()


@pytest.fixture
def world() -> Callable[..., InProcessEnvironment]:
    """`world(name, *arguments)`: a built-in world, seeded with 1."""

    def make(name: str, *arguments: str) -> InProcessEnvironment:
        return InProcessEnvironment(executables.make_world(name, list(arguments)), seed=1)

    return make


@pytest.fixture
def wrap() -> Callable[..., gymnasium.Env]:
    """UnityToGymWrapper."""
    return importlib.import_module("mlagents_envs.envs.unity_gym_env").UnityToGymWrapper


def test_an_episode_in_the_manner_of_old_gym(world, wrap) -> None:
    env = wrap(world("PoleBalancer"), action_space_seed=3)
    assert isinstance(env, gymnasium.Env)
    observation = env.reset()
    assert env.observation_space.contains(observation)
    rewards, done, steps = [], False, 0
    while not done:
        observation, reward, done, info = env.step(env.action_space.sample())
        rewards.append(reward)
        steps += 1
    # One for every step that the pole stands, none for the one in which it falls.
    assert sum(rewards) == steps - 1
    assert env.game_over
    assert type(info["step"]).__name__ == "TerminalSteps"
    with pytest.raises(Exception, match=r"call reset\(\)"):
        env.step(env.action_space.sample())
    env.reset()
    env.step(env.action_space.sample())
    env.close()


def test_sampled_actions_repeat_with_the_seed(world, wrap) -> None:
    samples = [wrap(world("PoleBalancer"), action_space_seed=9).action_space.sample() for _ in range(2)]
    assert samples[0] == samples[1]


def test_continuous_actions_are_a_box(world, wrap) -> None:
    env = wrap(world("3DBall", "--agents", "1"), flatten_branched=True)  # without effect
    assert env.action_space == gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    assert env.reset().shape == (8,)
    _, reward, done, _ = env.step([0.0, 0.0])
    assert (float(reward), done) == (pytest.approx(0.1), False)


@pytest.mark.parametrize(("uint8", "kind", "most"), [(True, np.uint8, 255), (False, np.float32, 1)])
def test_pictures(world, wrap, uint8: bool, kind: type, most: int) -> None:
    env = wrap(world("3DBall", "--variant", "visual", "--agents", "1"), uint8_visual=uint8, allow_multiple_obs=True)
    (picture,) = env.reset()
    assert env.observation_space[0] == gymnasium.spaces.Box(0, most, (3, 84, 84), kind)
    assert env.observation_space[0].contains(picture)
    assert most / 4 < picture.max() <= most
    assert env.render() is env.visual_obs
    np.testing.assert_array_equal(env.render(), picture)


def test_more_than_one_agent_or_behavior_is_refused(world, wrap, toy) -> None:
    with pytest.raises(gymnasium.error.Error, match="one agent, this environment has 12"):
        wrap(world("3DBall"))
    with pytest.raises(gymnasium.error.Error, match=r"has 2: Walker\?team=0, Jumper\?team=1"):
        wrap(InProcessEnvironment(toy.ToyWorld))


def test_combinations_of_branches_are_numbered() -> None:
    flattener = importlib.import_module("mlagents_envs.envs.unity_gym_env").ActionFlattener([2, 2, 3])
    assert flattener.action_space.n == 12
    assert [flattener.lookup_action(number) for number in (0, 1, 11)] == [[0, 0, 0], [0, 0, 1], [1, 1, 2]]


# ---- PettingZoo ----


@pytest.fixture
def parallel(toy):
    module = importlib.import_module("mlagents_envs.envs.unity_parallel_env")
    environment = InProcessEnvironment(toy.ToyWorld, seed=1, side_channels=[EngineConfigurationChannel()])
    return module.UnityParallelEnv(environment, seed=4)


def test_all_agents_act_at_once(parallel) -> None:
    observations = parallel.reset()
    assert parallel.agents == parallel.possible_agents == sorted([*WALKERS, JUMPER])
    assert [one.shape for one in observations[WALKERS[0]]["observation"]] == [(2,), (2, 2)]
    np.testing.assert_array_equal(observations[JUMPER]["action_mask"], [[False, False, False, True]])
    assert parallel.observation_space(WALKERS[0])[1].shape == (2, 2)

    own = {WALKERS[0]: ([0.25, -0.5], [2, 1]), WALKERS[1]: ([1.0, -1.0], [0, 0]), JUMPER: 3}
    observations, rewards, dones, infos = parallel.step(own)
    # The second observation of a walker is what it was told to do, each number of it.
    np.testing.assert_array_equal(observations[WALKERS[0]]["observation"][1], [[0.25, -0.5], [2, 1]])
    np.testing.assert_array_equal(observations[WALKERS[1]]["observation"][1], [[1, -1], [0, 0]])
    assert rewards == dict.fromkeys(WALKERS, 1.0)
    assert dones == dict.fromkeys(WALKERS, False)
    assert infos[WALKERS[0]]["group_id"] == 1
    assert infos[WALKERS[0]]["behavior_name"] == "Walker?team=0"

    observations, *_ = parallel.step({})
    np.testing.assert_array_equal(observations[WALKERS[0]]["observation"][1], np.zeros((2, 2)))  # none given
    assert observations[JUMPER]["observation"][0].tolist() == [3]


def test_agents_end_and_come_anew(parallel) -> None:
    parallel.reset()
    for _ in range(4):
        _, rewards, dones, infos = parallel.step({})
    # In the fourth message the jumper 100 is interrupted and replaced, and no walker decides.
    assert dones[JUMPER]
    assert infos[JUMPER]["interrupted"]
    assert rewards[JUMPER] == 1.5
    assert parallel.agents == ["Jumper?team=1?agent_id=101"]


def test_actions_outside_the_space_are_refused(parallel) -> None:
    parallel.reset()
    with pytest.raises(gymnasium.error.Error, match="is not in its action space"):
        parallel.step({JUMPER: 4})
    parallel.close()
    parallel.close()
    with pytest.raises(gymnasium.error.Error, match="closed"):
        parallel.step({})


def test_side_channels_by_the_name_of_their_class(parallel) -> None:
    assert list(parallel.side_channel) == ["EngineConfigurationChannel"]


def test_agents_act_one_after_the_other(toy) -> None:
    environment = importlib.import_module("mlagents_envs.envs.unity_aec_env").UnityAECEnv(
        InProcessEnvironment(toy.ToyWorld, seed=1), seed=4
    )
    environment.reset()
    turns = []
    for _ in range(3):
        agent = environment.agent_selection
        observation, reward, done, _ = environment.last()
        assert (observation["action_mask"][0].any(), reward, done) == (agent == JUMPER, 0, False)
        turns.append(agent)
        environment.step(environment.action_space(agent).sample())
    assert sorted(turns) == sorted([*WALKERS, JUMPER])
    assert environment.agent_selection == WALKERS[0]  # the player stepped; the jumper is in every second message
    assert environment.last(observe=False)[:3] == (None, 1.0, False)
    assert environment.num_agents == 2


def test_the_factory_takes_environments_that_were_added(tmp_path, monkeypatch) -> None:
    from bridge import builds

    monkeypatch.setenv("MLBRIDGE_HOME", str(tmp_path))
    builds.add("ThreeBalls", Path(executables.path("3DBall")))
    envs = importlib.import_module("mlagents_envs.envs")
    environment = envs.ThreeBalls.env(seed=1, no_graphics=True, additional_args=["--agents", "2"])
    try:
        environment.reset()
        assert environment.possible_agents == ["3DBall?team=0?agent_id=0", "3DBall?team=0?agent_id=1"]
        assert set(environment.side_channel) >= {"EngineConfigurationChannel", "StatsSideChannel"}
    finally:
        environment.close()
    assert not hasattr(envs, "__wrapped__")
