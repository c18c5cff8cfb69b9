"""All agents of all behaviors through PettingZoo: its own checkers, then turns, late agents, ends and mistakes."""

import warnings

import numpy as np
import pytest
from mlagents_envs.base_env import ActionSpec, BehaviorSpec, TerminalSteps

from bridge.exceptions import UnityActionException, UnityEnvironmentException
from bridge.in_process import InProcessEnvironment

pytest.importorskip("pettingzoo")
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, seed_test
from pettingzoo.utils.conversions import parallel_to_aec

from bridge.pettingzoo_env import UnityAECEnv, UnityParallelEnv

WHITE, BLACK = "White?team=0", "Black?team=1"
W, B = f"{WHITE}?agent_id=0", f"{BLACK}?agent_id=0"
JUMPER = "Jumper?team=1?agent_id="
WALKERS = ["Walker?team=0?agent_id=0", "Walker?team=0?agent_id=1"]


def turns(toy):
    """A game of two behaviors that take turns for 9 moves; each sees what the other did, and the last is told both."""

    class Turns:
        def __init__(self, seed, num_areas, parameters):
            self.spec = BehaviorSpec([toy.vector_spec("seen", 2)], ActionSpec.create_discrete((3,)))
            self.behavior_specs = {WHITE: self.spec, BLACK: self.spec}
            self.start, self.heard = float(seed % 97), []

        def reset(self):
            self.moves, self.last = 0, self.start
            return self.report()

        def step(self, actions):
            (name,) = actions
            assert name == (WHITE, BLACK)[self.moves % 2]
            self.last = int(actions[name].discrete[0, 0])
            self.heard.append(self.last)
            self.moves += 1
            return self.report()

        def report(self):
            asked = (WHITE, BLACK)[self.moves % 2]
            seen = [[[self.last, self.moves]]]
            nobody = toy.decision_steps(self.spec, [[]], [])
            decides = toy.decision_steps(self.spec, seen, [0], rewards=self.moves)
            if self.moves % 9 or self.moves == 0:
                return {asked: (decides, TerminalSteps.empty(self.spec))}
            ends = toy.terminal_steps(self.spec, seen, [0], rewards=1)
            return {WHITE: (nobody, ends), BLACK: (decides, ends)}

    return Turns


def opener(make_world, **arguments):
    return lambda seed: InProcessEnvironment(make_world, seed=seed, **arguments)


@pytest.fixture
def ignored_recommendations():
    """What PettingZoo's checkers recommend: other names, bounded observations of a single kind."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for words in ("format <descr", "infinity", "Observation", "Action space", "The class of", "Agents have"):
            warnings.filterwarnings("ignore", f".*{words}")
        warnings.filterwarnings("ignore", ".*was dead last turn")  # the check holds agents that are new for dead ones
        yield


@pytest.mark.usefixtures("ignored_recommendations")
def test_pettingzoos_checkers_pass(toy):
    parallel_api_test(UnityParallelEnv(opener(toy.EchoWorld)), 50)
    parallel_api_test(UnityParallelEnv(opener(toy.ToyWorld, num_areas=2)), 50)
    parallel_seed_test(lambda: UnityParallelEnv(opener(toy.ToyWorld)), 20)
    api_test(UnityAECEnv(opener(toy.EchoWorld)), 50)
    api_test(UnityAECEnv(opener(turns(toy))), 50)
    seed_test(lambda: UnityAECEnv(opener(toy.ToyWorld)), 20)
    api_test(parallel_to_aec(UnityParallelEnv(opener(toy.EchoWorld))), 20)


def test_agents_that_take_turns(toy):
    env = UnityAECEnv(opener(turns(toy)), seed=5)
    env.reset()
    assert (env.agents, env.agent_selection) == ([W], W)
    np.testing.assert_array_equal(env.last()[0], [5, 0])
    env.step(2)
    assert (env.agents, env.agent_selection, env.rewards) == ([W, B], B, {W: 0, B: 0})
    np.testing.assert_array_equal(env.last()[0], [2, 1])
    env.step(1)
    assert (env.agent_selection, env.rewards, env.last()[1]) == (W, {W: 2, B: 0}, 2)
    for move in range(2, 9):
        env.step(move % 3)
    # Both have ended, Black with the decision of its next episode, which nobody is asked for.
    assert (env.terminations, env.agent_selection) == ({W: True, B: True}, W)
    assert env.last()[1:3] == (1, True)
    with pytest.raises(ValueError, match="only action is None"):
        env.step(0)
    env.step(None)
    assert (env.agents, env.agent_selection, env.last()[1]) == ([B], B, 1)
    env.step(None)
    assert (env.agents, env.rewards, env.infos) == ([], {}, {})
    assert env._world.environment._world.heard == [2, 1, 2, 0, 1, 2, 0, 1, 2]
    with pytest.raises(UnityActionException, match="call reset"):
        env.step(None)
    env.reset()
    assert env.agents == [W]


def test_parallel_agents_live_for_an_episode_and_new_ones_join(toy):
    env = UnityParallelEnv(opener(toy.ToyWorld))
    assert env.possible_agents == [*WALKERS, f"{JUMPER}100"]
    observations, infos = env.reset(seed=1)
    assert env.agents == list(observations) == list(infos) == [*WALKERS, f"{JUMPER}100"]
    assert infos[WALKERS[0]]["behavior_name"] == "Walker?team=0" and infos[WALKERS[0]]["group_id"] == 1
    np.testing.assert_array_equal(infos[f"{JUMPER}100"]["action_mask"], [1, 1, 1, 0])
    masks = infos[WALKERS[0]]["action_mask"]
    env.action_space(WALKERS[0]).sample(masks)
    assert masks["continuous"] is None and [mask.tolist() for mask in masks["discrete"]] == [[1, 1, 1], [1, 1]]

    walk = {"continuous": np.float32([1, 2]), "discrete": np.array([2, 1])}
    actions = dict.fromkeys(WALKERS, walk) | {f"{JUMPER}100": 1}
    # The jumper is in every second message: two of them, in the second of which walker 0 ends.
    observations, rewards, terminations, truncations, infos = env.step(actions)
    assert rewards == {WALKERS[0]: 1 - 2 + 2, WALKERS[1]: 1 + 2, f"{JUMPER}100": 0}
    assert terminations == {WALKERS[0]: True, WALKERS[1]: False, f"{JUMPER}100": False}
    assert not any(truncations.values()) and infos[WALKERS[0]]["group_reward"] == 2
    assert env.agents == [WALKERS[1], f"{JUMPER}100"]
    np.testing.assert_array_equal(observations[WALKERS[1]]["action"], [[1, 2], [2, 1]])
    assert observations[f"{JUMPER}100"] == 1

    with pytest.raises(UnityActionException, match=r"wrong or missing: Walker\?team=0\?agent_id=0"):
        env.step(actions)
    actions.pop(WALKERS[0])
    *_, truncations, infos = env.step(actions)
    assert truncations == {WALKERS[1]: False, f"{JUMPER}100": True, f"{JUMPER}101": False}
    assert env.agents == [WALKERS[1], f"{JUMPER}101"] and env.possible_agents[-1] == f"{JUMPER}101"
    # Walker 0 acts on in the player, with zeros.
    np.testing.assert_array_equal(env._world.environment._world.arrays["action"][0], np.zeros((2, 2)))
    env.reset()
    assert env.agents == [*WALKERS, f"{JUMPER}100"]


def test_mistakes_are_told(toy):
    env = UnityParallelEnv(opener(toy.EchoWorld))
    env.reset()
    first, second = env.agents
    with pytest.raises(UnityActionException, match=r"wrong or missing: Echo\?team=0\?agent_id=1"):
        env.step({first: np.zeros(2)})
    with pytest.raises(UnityActionException, match=r"shape \(2,\), got \(3,\)"):
        env.step({first: np.zeros(2), second: np.zeros(3)})
    with pytest.raises(
        UnityEnvironmentException, match=r"no agent 'Ball\?agent_id=0'; the behaviors are 'Echo\?team=0'"
    ):
        env.action_space("Ball?agent_id=0")
    with pytest.raises(UnityActionException, match="call reset"):
        UnityParallelEnv(opener(toy.EchoWorld)).step({first: np.zeros(2)})
    env.close()
    with pytest.raises(UnityEnvironmentException, match="closed"):
        env.reset()


def test_agents_that_never_decide_again_are_told(toy, monkeypatch):
    monkeypatch.setattr("bridge.pettingzoo_env.MOST_SILENT_STEPS", 20)

    class Silent(toy.EchoWorld):
        def step(self, actions):
            return {}

    for make in (UnityParallelEnv, UnityAECEnv):
        env = make(opener(Silent))
        env.reset()
        with pytest.raises(UnityEnvironmentException, match=r"2 agents, Echo.*20 messages"):
            if make is UnityParallelEnv:
                env.step(dict.fromkeys(env.agents, np.zeros(2)))
            else:
                for _ in range(2):
                    env.step(np.zeros(2))


def test_a_player_ends_with_the_environment(toy_player, process_lives, wait_for):
    env = UnityParallelEnv(str(toy_player), seed=1, timeout_wait=20)
    pid = env._world.environment._player.pid
    observations, _ = env.reset(seed=1)
    assert list(observations) == [*WALKERS, f"{JUMPER}100"]
    env.step({agent: env.action_space(agent).sample() for agent in env.agents})
    env.close()
    assert wait_for(lambda: not process_lives(pid), 5)
