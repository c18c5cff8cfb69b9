"""AgentWorld: Unity's timing for worlds in plain numpy. The built-in worlds test it further, in tests/unity_envs."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
from mlagents_envs.base_env import ActionTuple

from bridge import agent_world_loops, compiled
from bridge.exceptions import UnityEnvironmentException
from bridge.player import INTERRUPTED, TERMINATED, ActionSpec, AgentWorld, EnvironmentParameters, vector_observation

KIND = np.dtype([("age", np.int64), ("limit", np.int64), ("sum", np.float64)])


class Ageing(AgentWorld):
    """Agent i ends in every `limits[i]`-th tick of its episode; it adds 1 to its reward in each tick."""

    def __init__(self, limits: list[int], period: int = 3, seed: int = 1) -> None:
        super().__init__(
            "Ageing",
            seed,
            1,
            EnvironmentParameters(),
            agents=len(limits),
            observation_specs=[vector_observation(2)],
            action_spec=ActionSpec(1, (4,)),
            agent_type=KIND,
            decision_period=period,
        )
        self.agents["limit"] = limits

    def begin(self, agents):
        self.agents["age"][agents] = 0
        self.agents["sum"][agents] = 0.0

    def tick(self):
        self.agents["age"] += 1
        self.agents["sum"] += self.continuous[:, 0] + 100 * self.discrete[:, 0]
        self.rewards += 1
        late = self.agents["age"] >= self.agents["limit"]
        self.ended[late] = np.where(np.arange(len(late)) % 2, INTERRUPTED, TERMINATED)[late]

    def observe(self, agents, observations):
        observations[0][:, 0] = self.agents["age"][agents]
        observations[0][:, 1] = self.agents["sum"][agents]


def begin(world: Ageing):
    """Decisions at the very start of all episodes: one tick later than a reset, whose own tick goes back to 0 here."""
    world.reset()
    world.begin(np.arange(len(world.agents)))
    state = world.state()
    for name in ("rewards", "sent_rewards", "observation_0", "step_counts"):
        state[name][...] = 0
    return world.load_state(state)[world.behavior]


def step(world: Ageing, decisions, continuous: float = 0.0, discrete: int = 0):
    """One message: (decisions, terminals)."""
    count = len(decisions)
    actions = ActionTuple(np.full((count, 1), continuous, np.float32), np.full((count, 1), discrete, np.int32))
    return world.step({world.behavior: actions} if count else {})[world.behavior]


def rows(steps) -> list[tuple]:
    """(agent, age, sum, reward) of each."""
    return [
        (int(agent), *map(float, observation), float(reward))
        for agent, observation, reward in zip(steps.agent_id, steps.obs[0], steps.reward, strict=True)
    ]


def test_all_decide_every_period_and_hold_their_actions_in_between():
    world = Ageing([100, 100])
    decisions, terminals = world.reset()["Ageing?team=0"]
    # As in Unity, the tick in which a reset arrives goes on, with zero actions.
    assert rows(decisions) == [(0, 1, 0, 1), (1, 1, 0, 1)] and not len(terminals)
    decisions, terminals = begin(world)
    assert rows(decisions) == [(0, 0, 0, 0), (1, 0, 0, 0)] and not len(terminals)
    decisions, _ = step(world, decisions, 0.5, 1)
    assert rows(decisions) == [(0, 3, 301.5, 3), (1, 3, 301.5, 3)]
    decisions, _ = step(world, decisions, 0.0, 0)
    assert rows(decisions) == [(0, 6, 301.5, 3), (1, 6, 301.5, 3)]


def test_an_end_between_decisions_is_sent_alone_and_zero_actions_follow():
    world = Ageing([100, 4])
    decisions, _ = begin(world)
    decisions, _ = step(world, decisions, 1.0)
    decisions, terminals = step(world, decisions, 1.0)
    assert not len(decisions)
    assert rows(terminals) == [(1, 4, 4, 1)] and terminals.interrupted.tolist() == [True]
    decisions, terminals = step(world, decisions)
    # Agent 1 lived two ticks of its new episode, with zero actions; agent 0 went on with its own.
    assert rows(decisions) == [(0, 6, 6, 3), (1, 2, 0, 2)] and not len(terminals)


def test_an_end_in_the_last_tick_is_sent_with_the_decisions():
    world = Ageing([3, 100])
    decisions, _ = begin(world)
    decisions, terminals = step(world, decisions, 1.0)
    assert rows(terminals) == [(0, 3, 3, 3)] and terminals.interrupted.tolist() == [False]
    assert rows(decisions) == [(0, 0, 0, 0), (1, 3, 3, 3)]


def test_a_second_end_before_the_next_decision_is_not_sent_and_its_reward_leaks_as_in_unity():
    world = Ageing([1, 100], period=4)
    decisions, _ = begin(world)
    decisions, terminals = step(world, decisions)
    assert rows(terminals) == [(0, 1, 0, 1)] and not len(decisions)
    decisions, terminals = step(world, decisions)
    assert not len(terminals) and rows(decisions) == [(0, 0, 0, 3), (1, 4, 0, 4)]


def test_several_ends_in_one_tick_keep_the_order_of_their_numbers():
    world = Ageing([2, 2, 5, 2])
    decisions, _ = begin(world)
    _, terminals = step(world, decisions)
    assert terminals.agent_id.tolist() == [0, 1, 3] and terminals.interrupted.tolist() == [False, True, True]


def test_a_reset_sends_no_terminals_and_one_tick_of_zero_actions_passes():
    world = Ageing([4, 100])
    decisions, _ = begin(world)
    decisions, _ = step(world, decisions, 1.0, 3)
    decisions, terminals = step(world, decisions, 1.0, 3)
    assert world.state()["clock"][0] == 4 and terminals.agent_id.tolist() == [0] and not len(decisions)
    decisions, terminals = world.reset()[world.behavior]
    assert world.state()["clock"][0] == 0 and world.step_counts.tolist() == [0, 0] and not len(terminals)
    # Agent 1 had earned 1 in tick 4, not sent yet, which Unity keeps.
    assert rows(decisions) == [(0, 1, 0, 1), (1, 1, 0, 2)]


def test_an_episode_that_ends_in_the_tick_of_a_reset_sends_its_terminal_with_the_first_decisions():
    world = Ageing([1, 100])
    decisions, terminals = world.reset()[world.behavior]
    assert rows(terminals) == [(0, 1, 0, 1)] and rows(decisions) == [(0, 0, 0, 0), (1, 1, 0, 1)]
    assert world.step_counts.tolist() == [0, 0]


def test_ticks_of_an_episode_are_counted_for_time_limits():
    world = Ageing([4, 100])
    decisions, _ = world.reset()[world.behavior]  # whose tick does not count, but ages
    step(world, decisions)
    assert world.step_counts.tolist() == [0, 3]


@pytest.mark.parametrize("messages", [0, 1, 2, 3])
def test_a_loaded_state_goes_on_the_same(messages):
    world, copy = Ageing([4, 5, 9]), Ageing([1, 1, 1])
    decisions, terminals = world.reset()[world.behavior]
    copy.reset()
    for _ in range(messages):
        decisions, terminals = step(world, decisions, 1.0)
    copied = copy.load_state(world.state())[copy.behavior]
    assert [rows(part) for part in copied] == [rows(decisions), rows(terminals)]
    for _ in range(20):
        decisions, terminals = step(world, decisions, 1.0)
        copied = step(copy, copied[0], 1.0)
        assert [rows(part) for part in copied] == [rows(decisions), rows(terminals)]


def test_random_numbers_do_not_depend_on_how_many_are_drawn_at_once():
    world, other = Ageing([1], seed=7), Ageing([1], seed=7)
    at_once = world.uniform(-2.0, 3.0, 1000)
    one_by_one = np.concatenate([other.uniform(-2.0, 3.0, count) for count in (1, 0, 2, 997)])
    np.testing.assert_array_equal(at_once, one_by_one)
    assert at_once.min() >= -2.0 and at_once.max() < 3.0 and at_once.mean() == pytest.approx(0.5, abs=0.15)
    # The first number of SplitMix64 from the seed 1234567, as published with its reference code.
    known = Ageing([1], seed=1234567)
    assert known.uniform(0.0, 1.0, 1)[0] == (6457827717110365317 >> 11) * 2.0**-53


def test_wrong_use_is_refused_by_name():
    world = Ageing([1, 2])
    with pytest.raises(RuntimeError, match=r"Ageing: call reset\(\) first"):
        world.step({})
    world.reset()
    with pytest.raises(ValueError, match=r"no actions for behavior Ageing\?team=0"):
        world.step({})
    wrong = ActionTuple(np.zeros((2, 1), np.float32), np.zeros((2, 2), np.int32))
    with pytest.raises(ValueError, match=r"discrete actions must be \(2, 1\), got \(2, 2\)"):
        world.step({world.behavior: wrong})
    with pytest.raises(ValueError, match="the saved Ageing world has 2 agents, this one has 1"):
        Ageing([1]).load_state(world.state())
    with pytest.raises(ValueError, match="Ageing needs 1 agent and 1 area or more, got 0 agents"):
        Ageing([])
    world._parameters.set("wind", float("nan"))
    with pytest.raises(UnityEnvironmentException, match="Ageing: environment parameter wind must be finite, got nan"):
        world.parameter("wind", 0.0)


def test_without_numba_the_same_loops_run_as_python(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    try:
        importlib.reload(compiled)
        plain = importlib.reload(agent_world_loops)
        assert type(plain.end_episodes).__name__ == "function"
        test_an_end_between_decisions_is_sent_alone_and_zero_actions_follow()
        test_a_second_end_before_the_next_decision_is_not_sent_and_its_reward_leaks_as_in_unity()
    finally:
        monkeypatch.undo()
        importlib.reload(compiled)
        importlib.reload(agent_world_loops)
