"""One agent, and all agents of a behavior, through Gymnasium; what the player says is written out in the tests."""

import warnings

import numpy as np
import pytest
from mlagents_envs.base_env import ActionSpec, BehaviorSpec, DimensionProperty, TerminalSteps

from bridge.exceptions import UnityActionException, UnityEnvironmentException
from bridge.in_process import InProcessEnvironment

gymnasium = pytest.importorskip("gymnasium")
from gymnasium.utils.env_checker import check_env  # noqa: E402
from gymnasium.vector import AutoresetMode  # noqa: E402
from gymnasium.wrappers.vector import RecordEpisodeStatistics  # noqa: E402

from bridge.gymnasium_env import UnityGymnasiumEnv  # noqa: E402
from bridge.gymnasium_vector_env import UnityGymnasiumVectorEnv  # noqa: E402

AGENT = "Agent?team=0"
BOX, DISCRETE = ActionSpec.create_continuous(1), ActionSpec.create_discrete((2,))


class Script:
    """A world that says what is written: messages of (decisions, terminals), each a dict by the agents' ids.

    A decision is an observation and a reward, a terminal has besides whether it was interrupted. `heard` has the
    actions by id, `resets` their number, after which the script starts again.
    """

    def __init__(self, toy, *messages, action_spec=BOX):
        self.toy, self.messages = toy, messages
        self.spec = BehaviorSpec([toy.vector_spec("seen", 1)], action_spec)
        self.behavior_specs = {AGENT: self.spec}
        self.heard, self.resets, self.seeds = [], 0, []

    def open(self, seed):
        self.seeds.append(seed)
        return InProcessEnvironment(lambda *_: self, seed=seed)

    def reset(self):
        self.at, self.resets = 0, self.resets + 1
        return self.report()

    def step(self, actions):
        action = actions.get(AGENT)
        if action is not None:
            values = (action.continuous if action.continuous.shape[1] else action.discrete)[:, 0].tolist()
            self.heard.append(dict(zip(self.deciding, values, strict=True)))
        self.at = min(self.at + 1, len(self.messages) - 1)
        return self.report()

    def report(self):
        decisions, terminals = self.messages[self.at]
        self.deciding = list(decisions)
        steps = self.toy.decision_steps(self.spec, [[seen for seen, _ in decisions.values()]], self.deciding)
        steps.reward[:] = [reward for _, reward in decisions.values()]
        ends = self.toy.terminal_steps(self.spec, [[seen for seen, _, _ in terminals.values()]], list(terminals))
        ends.reward[:] = [reward for _, reward, _ in terminals.values()]
        ends.interrupted[:] = [interrupted for _, _, interrupted in terminals.values()]
        return {AGENT: (steps, ends)}


@pytest.fixture
def script(toy):
    return lambda *messages, **arguments: Script(toy, *messages, **arguments)


# ---- one agent ----


@pytest.mark.parametrize("interrupted", [False, True])
def test_an_interrupted_episode_is_truncated_and_others_terminate(script, interrupted):
    world = script(
        ({0: (1, 0)}, {}), ({0: (2, 0.5)}, {}), ({0: (9, 7)}, {0: (3, 0.25, interrupted)}), ({0: (10, 1)}, {})
    )
    env = UnityGymnasiumEnv(world.open)
    observation, info = env.reset()
    assert (observation, info) == (np.float32([1]), {})
    assert env.step(np.float32([0.5])) == (np.float32([2]), 0.5, False, False, {})
    assert env.step(np.float32([0.75])) == (np.float32([3]), 0.25, not interrupted, interrupted, {})
    assert world.heard == [{0: 0.5}, {0: 0.75}]
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
        env.step(np.float32([0]))
    # The decision that came with the end is the next episode's first. Its reward is nobody's.
    assert env.reset()[0] == 9
    assert env.step(np.float32([1]))[:2] == (np.float32([10]), 1)
    assert (world.resets, world.heard[-1]) == (1, {0: 1})
    assert env.reset()[0] == 1, "in the middle of an episode everything starts anew"
    assert world.resets == 2


def test_an_agent_is_stepped_until_it_decides_or_ends(script):
    world = script(
        ({0: (1, 0)}, {}),
        ({}, {}),
        ({}, {}),
        ({0: (2, 0.5)}, {}),
        ({}, {0: (3, 1, False)}),
        ({}, {}),
        ({0: (4, 0)}, {}),
    )
    env = UnityGymnasiumEnv(world.open)
    env.reset()
    assert env.step(np.float32([1]))[:2] == (np.float32([2]), 0.5)
    assert env.step(np.float32([1]))[2]
    assert env.reset()[0] == 4
    assert world.heard == [{0: 1}, {0: 1}]


def test_an_agent_that_never_decides_again_is_told(script, monkeypatch):
    monkeypatch.setattr("bridge.gymnasium_env.MOST_SILENT_STEPS", 20)
    env = UnityGymnasiumEnv(script(({0: (1, 0)}, {}), ({}, {})).open)
    env.reset()
    with pytest.raises(UnityEnvironmentException, match=r"Agent\?team=0.*last 20 messages"):
        env.step(np.float32([0]))


def test_a_seed_opens_the_environment_anew(script):
    world = script(({0: (1, 0)}, {}))
    env = UnityGymnasiumEnv(world.open, seed=3)
    env.reset()
    env.reset(seed=3)
    env.reset(seed=4)
    env.reset()
    assert world.seeds == [3, 3, 4]
    assert UnityGymnasiumEnv(world.open).reset(seed=5) and world.seeds[-1] == 5


def test_an_environment_handed_over_open_warns_of_a_seed_once(script):
    env = UnityGymnasiumEnv(script(({0: (1, 0)}, {})).open(0))
    with pytest.warns(UserWarning, match="seed does not reach"):
        env.reset(seed=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env.reset(seed=4)
        env.reset()


def test_masks_say_what_may_be_chosen(toy):
    env = UnityGymnasiumEnv(lambda seed: InProcessEnvironment(toy.ToyWorld, seed=seed), "Jumper")
    _, info = env.reset(seed=1)
    assert info["action_mask"].dtype == np.int8
    np.testing.assert_array_equal(info["action_mask"], [1, 1, 1, 0])
    np.testing.assert_array_equal(env.action_masks(), [True, True, True, False])
    assert {env.action_space.sample(info["action_mask"]) for _ in range(50)} == {0, 1, 2}
    # Interrupted in message 4, and there again with a new id.
    outcomes = [env.step(0) for _ in range(2)]
    assert [outcome[3] for outcome in outcomes] == [False, True]
    assert env.reset()[0].shape == (1,) and not env.step(1)[3]


def test_gymnasiums_checker_passes(toy):
    env = UnityGymnasiumEnv(lambda seed: InProcessEnvironment(toy.ToyWorld, seed=seed), "Jumper")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "(?s).*(infinity|gymnasium.make)")  # what all environments like this are told
        check_env(env)


@pytest.mark.parametrize(
    ("open_it", "name", "message"),
    [
        ("ToyWorld", None, r"which behavior\?.*'Walker\?team=0', 'Jumper\?team=1'"),
        ("ToyWorld", "Runner", r"no behavior 'Runner'.*'Walker\?team=0', 'Jumper\?team=1'"),
        ("ToyWorld", "Walker", r"'Walker\?team=0' has several agents, 0, 1, .*UnityGymnasiumVectorEnv"),
        ("EchoWorld", None, "several agents"),
    ],
)
def test_a_wrong_behavior_is_told_with_those_there_are(toy, open_it, name, message):
    with pytest.raises(UnityEnvironmentException, match=message):
        UnityGymnasiumEnv(lambda seed: InProcessEnvironment(getattr(toy, open_it), seed=seed), name)


@pytest.mark.parametrize(
    ("action_spec", "action", "message"),
    [
        (BOX, np.zeros(2), r"continuous actions of behavior 'Agent\?team=0' have the shape \(1,\), got \(2,\)"),
        (DISCRETE, [1], r"discrete actions .* have the shape \(\), got \(1,\)"),
        (DISCRETE, 2, r"out of range: its branches have the sizes \[2\]"),
        (DISCRETE, -1, "out of range"),
        (DISCRETE, 0.5, "whole numbers, not float64"),
        (ActionSpec(1, (2,)), np.zeros(1), "a dict with 'continuous' and 'discrete'"),
    ],
)
def test_a_wrong_action_is_told(script, action_spec, action, message):
    env = UnityGymnasiumEnv(script(({0: (1, 0)}, {}), action_spec=action_spec).open)
    env.reset()
    with pytest.raises(UnityActionException, match=message):
        env.step(action)


def test_player_arguments_need_a_path(script):
    with pytest.raises(TypeError, match=r"no_graphics: .*no path"):
        UnityGymnasiumEnv(script(({0: (1, 0)}, {})).open, no_graphics=True)


def test_a_player_ends_with_the_environment(toy_player, process_lives, wait_for):
    env = UnityGymnasiumEnv(str(toy_player), "Jumper", seed=1, timeout_wait=20)
    pid = env._world.environment._player.pid
    first = env.reset(seed=1)[0]
    assert env._world.environment._player.pid == pid, "the player was just started with that seed"
    env.step(0)
    assert env.reset(seed=1)[0] == first and wait_for(lambda: not process_lives(pid), 5)
    pid = env._world.environment._player.pid
    env.close()
    env.close()
    assert wait_for(lambda: not process_lives(pid), 5)
    with pytest.raises(UnityEnvironmentException, match="closed"):
        env.reset()


# ---- all agents of a behavior ----


def test_the_first_observation_of_the_next_episode_comes_with_the_end_of_the_last(script):
    world = script(
        ({0: (1, 0), 1: (11, 0)}, {}),
        ({0: (2, 0.5), 1: (12, 9)}, {1: (99, 0.25, True)}),  # with the decision
        ({}, {0: (98, 3, False)}),  # alone
        ({0: (3, 9), 1: (13, 1)}, {}),
        ({0: (4, 2), 1: (14, 2)}, {}),
    )
    env = UnityGymnasiumVectorEnv(world.open)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert (env.num_envs, env.action_space.shape, env.observation_space.shape) == (2, (2, 1), (2, 1))
    np.testing.assert_array_equal(env.reset()[0], [[1], [11]])

    first, rewards, terminated, truncated, info = env.step(np.float32([[0.25], [0.5]]))
    np.testing.assert_array_equal(first, [[2], [12]])
    np.testing.assert_array_equal(rewards, [0.5, 0.25])
    assert (terminated.tolist(), truncated.tolist()) == ([False, False], [False, True])
    assert (info["final_obs"].tolist(), info["_final_obs"].tolist()) == ([None, 99], [False, True])

    second, rewards, terminated, truncated, info = env.step(np.float32([[1], [0.75]]))
    np.testing.assert_array_equal(second, [[3], [13]])
    np.testing.assert_array_equal(rewards, [3, 1])
    assert (terminated.tolist(), truncated.tolist()) == ([True, False], [False, False])
    assert info["final_obs"].tolist() == [98, None]
    assert env.step(np.zeros((2, 1)))[4] == {}
    np.testing.assert_array_equal(first, [[2], [12]], "what was returned is not written to again")
    assert second.flags["C_CONTIGUOUS"] and second.dtype == np.float32
    assert world.heard == [{0: 0.25, 1: 0.5}, {0: 1, 1: 0.75}, {0: 0, 1: 0}]


def test_a_step_lasts_until_all_have_acted_and_decide_again(script):
    quick = [({0: (each, 1)}, {}) for each in range(2)]
    both = ({0: (5, 1), 1: (15, 10)}, {})
    world = script(({0: (1, 0), 1: (11, 0)}, {}), *quick, both, ({1: (16, 10)}, {}), both)
    env = UnityGymnasiumVectorEnv(world.open)
    env.reset()
    observations, rewards, *_ = env.step(np.float32([[0.25], [0.5]]))
    assert (observations.tolist(), rewards.tolist()) == ([[5], [15]], [3, 10])
    assert world.heard == [{0: 0.25, 1: 0.5}, {0: 0.25}, {0: 0.25}]
    observations, rewards, *_ = env.step(np.float32([[1], [0.75]]))
    assert (observations.tolist(), rewards.tolist()) == ([[5], [15]], [1, 20])
    assert world.heard[3:] == [{0: 1, 1: 0.75}, {1: 0.75}]


def test_an_episode_that_begins_while_others_are_waited_for_begins_with_zeros(script):
    both = ({0: (1, 0), 1: (11, 0)}, {})
    world = script(both, ({0: (2, 5)}, {0: (98, 1, False)}), ({0: (3, 5), 1: (12, 7)}, {}))
    env = UnityGymnasiumVectorEnv(world.open)
    env.reset()
    observations, rewards, terminated, *_ = env.step(np.float32([[0.25], [0.5]]))
    assert (observations.tolist(), rewards.tolist(), terminated.tolist()) == ([[3], [12]], [1, 7], [True, False])
    assert world.heard == [{0: 0.25, 1: 0.5}, {0: 0}]


def test_agents_keep_their_places_in_any_order_and_hand_them_on(script):
    world = script(
        ({7: (1, 0), 3: (2, 0)}, {}),
        ({8: (5, 0), 3: (4, 1)}, {7: (3, 2, True)}),
        ({3: (6, 1), 8: (7, 2)}, {}),
    )
    env = UnityGymnasiumVectorEnv(world.open)
    assert env.reset()[0].tolist() == [[2], [1]]
    observations, rewards, _, truncated, info = env.step(np.float32([[0.25], [0.5]]))
    assert (observations.tolist(), rewards.tolist(), truncated.tolist()) == ([[4], [5]], [1, 2], [False, True])
    assert info["final_obs"].tolist() == [None, 3]
    observations, rewards, *_ = env.step(np.float32([[0.75], [1]]))
    assert (observations.tolist(), rewards.tolist()) == ([[6], [7]], [1, 2])
    assert world.heard == [{7: 0.5, 3: 0.25}, {8: 1, 3: 0.75}]


def test_agents_that_are_late_are_waited_for_in_the_first_reset(script):
    world = script(({4: (1, 0)}, {}), ({4: (2, 5), 2: (11, 5)}, {}), ({2: (12, 1), 4: (3, 1)}, {}))
    env = UnityGymnasiumVectorEnv(world.open, num_envs=2)
    assert env.reset()[0].tolist() == [[2], [11]]
    observations, rewards, *_ = env.step(np.float32([[0.25], [0.5]]))
    assert (observations.tolist(), rewards.tolist()) == ([[3], [12]], [1, 1])
    assert world.heard == [{4: 0}, {4: 0.25, 2: 0.5}]


def test_too_many_and_too_few_agents_are_told(script, monkeypatch):
    monkeypatch.setattr("bridge.gymnasium_vector_env.MOST_SILENT_STEPS", 20)
    two = ({0: (1, 0), 1: (2, 0)}, {})
    with pytest.raises(UnityEnvironmentException, match="num_envs is 1, but 2 agents"):
        UnityGymnasiumVectorEnv(script(two).open, num_envs=1)
    with pytest.raises(UnityEnvironmentException, match=r"1 of the 3 agents .*one never seen.*20 messages"):
        UnityGymnasiumVectorEnv(script(two).open, num_envs=3).reset()
    env = UnityGymnasiumVectorEnv(script(two, ({0: (1, 0), 1: (2, 0), 5: (3, 0)}, {})).open)
    env.reset()
    with pytest.raises(UnityEnvironmentException, match=r"agent 5 .* num_envs=2 others.*pettingzoo"):
        env.step(np.zeros((2, 1)))
    env = UnityGymnasiumVectorEnv(script(two, ({0: (1, 0)}, {1: (2, 0, False)}), ({0: (1, 0)}, {})).open)
    env.reset()
    with pytest.raises(UnityEnvironmentException, match=r"1 of the 2 agents .*\(1\).*come and go"):
        env.step(np.zeros((2, 1)))
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros((2, 1)))


def test_wrong_actions_and_partial_resets_are_told(script):
    env = UnityGymnasiumVectorEnv(script(({0: (1, 0), 1: (2, 0)}, {})).open)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros((2, 1)))
    env.reset()
    with pytest.raises(UnityActionException, match=r"have the shape \(2, 1\), got \(2,\)"):
        env.step(np.zeros(2))
    with pytest.raises(ValueError, match="one by one"):
        env.reset(options={"reset_mask": np.array([True, False])})


def test_walkers_with_both_kinds_of_actions_and_masks(toy):
    env = UnityGymnasiumVectorEnv(lambda seed: InProcessEnvironment(toy.ToyWorld, seed=seed, num_areas=2), "Walker")
    assert set(env.single_observation_space) == {"position", "action"}
    assert set(env.single_action_space) == {"continuous", "discrete"}
    env.action_space.seed(1)
    observations, info = env.reset(seed=1)
    for _ in range(30):
        assert observations in env.observation_space
        assert (info["action_mask"].shape, info["action_mask"].dtype) == ((4, 5), np.int8)
        assert info["action_mask"].all() and env.action_masks().dtype == np.bool_
        actions = env.action_space.sample()
        observations, *_, info = env.step(actions)
        going_on = ~info.get("_final_obs", np.zeros(4, np.bool_))
        np.testing.assert_array_equal(observations["action"][going_on, 0], actions["continuous"][going_on])
        np.testing.assert_array_equal(observations["action"][going_on, 1], actions["discrete"][going_on])


def test_episode_statistics(script):
    messages = [
        ({0: (1, 1), 1: (2, 2)}, {}),
        ({0: (1, 1), 1: (2, 2)}, {}),
        ({0: (1, 0), 1: (2, 2)}, {0: (3, 1, False)}),
    ]
    env = RecordEpisodeStatistics(UnityGymnasiumVectorEnv(script(*messages, *messages[1:]).open))
    env.reset()
    for _ in range(4):
        *_, info = env.step(np.zeros((2, 1)))
    assert (list(env.return_queue), list(env.length_queue)) == ([2, 2], [2, 2])
    assert info["episode"]["r"].tolist() == [2, 0]


def test_the_first_messages_are_not_thrown_away(script):
    world = script(({0: (1, 0)}, {}))
    UnityGymnasiumVectorEnv(world.open, seed=1).reset(seed=1)
    assert world.resets == 1


def test_pictures_as_bytes(toy):
    class Painter:
        def __init__(self, seed, num_areas, parameters):
            flat = toy.vector_spec("camera", 3, 2, 2)
            silent = flat._replace(dimension_property=(DimensionProperty.UNSPECIFIED,) * 3)
            self.spec = BehaviorSpec([toy.vector_spec("speed", 2), silent], BOX)
            self.behavior_specs = {AGENT: self.spec}

        def reset(self):
            picture = np.linspace(0, 1, 12)
            return {AGENT: (toy.decision_steps(self.spec, [[1, 2], picture], [0]), TerminalSteps.empty(self.spec))}

    floats = UnityGymnasiumEnv(lambda seed: InProcessEnvironment(Painter))
    assert floats.observation_space["camera"] == gymnasium.spaces.Box(0, 1, (3, 2, 2), np.float32)
    levels = UnityGymnasiumEnv(lambda seed: InProcessEnvironment(Painter), uint8_pictures=True)
    observation, _ = levels.reset()
    assert observation in levels.observation_space
    np.testing.assert_array_equal(observation["camera"].ravel()[[0, 1, 11]], [0, 23, 255])
    np.testing.assert_array_equal(observation["speed"], np.float32([1, 2]))
