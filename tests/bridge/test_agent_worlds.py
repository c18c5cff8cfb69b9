"""AgentWorlds: several worlds in one player, on one clock."""

import numpy as np
import pytest
from mlagents_envs.base_env import ActionTuple

from bridge.agent_worlds import AgentWorlds
from bridge.in_process import InProcessEnvironment
from bridge.player import TERMINATED, ActionSpec, AgentWorld, EnvironmentParameters, vector_observation

AGENT = np.dtype([("sum", np.float64)])


class Counter(AgentWorld):
    """Sums its actions up; ends in every `limit`-th tick. Groups of two get a group reward of 2 each tick."""

    def __init__(self, name="Counter", agents=2, period=1, limit=100, team=0, group_size=0):
        super().__init__(
            *(name, 1, 1, EnvironmentParameters()),
            agents=agents,
            observation_specs=[vector_observation(1)],
            action_spec=ActionSpec.create_continuous(1),
            agent_type=AGENT,
            decision_period=period,
            team=team,
            group_size=group_size,
        )
        self.limit = limit

    def begin(self, agents):
        self.agents["sum"][agents] = 0

    def tick(self):
        self.agents["sum"] += self.continuous[:, 0]
        self.rewards += 1
        self.group_rewards += 2
        self.ended[self.step_counts >= self.limit] = TERMINATED

    def observe(self, agents, observations):
        observations[0][:, 0] = self.agents["sum"][agents]


def act(world: AgentWorlds, steps, value: float = 1.0):
    """One message: all that were asked answer `value`."""
    return world.step(
        {
            name: ActionTuple(np.full((len(decisions), 1), value, np.float32))
            for name, (decisions, _) in steps.items()
            if len(decisions)
        }
    )


def test_worlds_report_in_the_order_of_their_ticks() -> None:
    world = AgentWorlds([Counter("Fast", period=2), Counter("Slow", period=3, limit=4)])
    steps = world.reset()
    reported = []
    for _ in range(8):
        reported.append({name[:4]: (len(decisions), len(terminals)) for name, (decisions, terminals) in steps.items()})
        steps = act(world, steps)
    assert reported == [
        {"Fast": (2, 0), "Slow": (2, 0)},  # tick 0
        {"Fast": (2, 0)},  # 2
        {"Slow": (2, 0)},  # 3
        {"Fast": (2, 0), "Slow": (0, 2)},  # 4: episodes of Slow end between its decisions
        {"Fast": (2, 0), "Slow": (2, 0)},  # 6
        {"Fast": (2, 0), "Slow": (0, 2)},  # 8: four ticks of the next one, of which two had no action
        {"Slow": (2, 0)},  # 9
        {"Fast": (2, 0)},  # 10
    ]


def test_a_world_alone_and_among_others_is_the_same() -> None:
    alone = Counter("Slow", period=3, limit=4)
    world = AgentWorlds([Counter("Fast", period=2), Counter("Slow", period=3, limit=4)])
    steps, expected = world.reset(), alone.reset()
    for _ in range(30):
        if "Slow?team=0" in steps:
            for ours, theirs in zip(steps["Slow?team=0"], expected["Slow?team=0"], strict=True):
                assert ours.agent_id.tolist() == [2 + agent for agent in theirs.agent_id]
                assert ours.obs[0].tolist() == theirs.obs[0].tolist() and ours.reward.tolist() == theirs.reward.tolist()
            expected = alone.step(
                {"Slow?team=0": ActionTuple(np.ones((len(expected["Slow?team=0"][0]), 1), np.float32))}
            )
        steps = act(world, steps)


def test_ids_of_agents_and_groups_are_those_of_one_world_only() -> None:
    teams = [Counter("Pair", 2, team=0, group_size=2, limit=1), Counter("Pair", 4, team=1, group_size=2, limit=1)]
    world = AgentWorlds([*teams, Counter("Alone", 1)])
    steps = act(world, world.reset())
    ids = {name: (decisions.agent_id.tolist(), decisions.group_id.tolist()) for name, (decisions, _) in steps.items()}
    assert ids == {
        "Pair?team=0": ([0, 1], [1, 1]),
        "Pair?team=1": ([2, 3, 4, 5], [3, 3, 4, 4]),
        "Alone?team=0": ([6], [0]),
    }
    terminals = steps["Pair?team=1"][1]
    assert terminals.agent_id.tolist() == [2, 3, 4, 5] and terminals.group_id.tolist() == [3, 3, 4, 4]


def test_a_behavior_appears_at_its_time_after_each_reset() -> None:
    world = AgentWorlds([Counter("First", period=2), Counter("Late", period=2)], begin_at=[0, 3])
    for _ in range(2):
        steps = world.reset()
        seen = []
        for _ in range(5):
            seen.append(list(steps))
            steps = act(world, steps)
        first, late = ["First?team=0"], ["Late?team=0"]
        assert seen == [first, first, late, first, late]  # ticks 0, 2, 3, 4, 5
    assert list(world.behavior_specs) == ["First?team=0", "Late?team=0"]
    environment = InProcessEnvironment(lambda *_: AgentWorlds([Counter("First"), Counter("Late")], begin_at=[0, 1]))
    environment.reset()
    assert list(environment.behavior_specs) == ["First?team=0"]
    environment.step()
    assert list(environment.behavior_specs) == ["First?team=0", "Late?team=0"]


@pytest.mark.parametrize("messages", [0, 1, 4, 9])
def test_a_loaded_state_goes_on_the_same(messages: int) -> None:
    def make() -> AgentWorlds:
        return AgentWorlds([Counter("First", period=2, limit=5), Counter("Late", period=3, limit=4)], begin_at=[0, 4])

    world, copy = make(), make()
    steps = world.reset()
    for message in range(messages):
        steps = act(world, steps, message)
    copied = copy.load_state(world.state())
    assert copy.behavior_specs.keys() == world.behavior_specs.keys()
    for message in range(20):
        assert copied.keys() == steps.keys()
        for name in steps:
            for ours, theirs in zip(copied[name], steps[name], strict=True):
                assert ours.agent_id.tolist() == theirs.agent_id.tolist()
                assert ours.obs[0].tolist() == theirs.obs[0].tolist() and ours.reward.tolist() == theirs.reward.tolist()
        steps, copied = act(world, steps, message), act(copy, copied, message)


def test_what_cannot_be_together_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a behavior of its own, got Counter\?team=0, Counter\?team=0"):
        AgentWorlds([Counter(), Counter()])
    for begin_at in ([1, 2], [0], [0, -1]):
        with pytest.raises(ValueError, match="begin_at needs a tick for each of 2 worlds, the least of them 0"):
            AgentWorlds([Counter(), Counter(team=1)], begin_at=begin_at)
    with pytest.raises(RuntimeError, match=r"call reset\(\) first"):
        AgentWorlds([Counter()]).step({})
    one, two = AgentWorlds([Counter()]), AgentWorlds([Counter(), Counter(team=1)])
    one.reset()
    with pytest.raises(ValueError, match="the saved state is of 1 worlds, here are 2"):
        two.load_state(one.state())
