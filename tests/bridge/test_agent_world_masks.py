"""AgentWorld: forbidden actions and groups, in this process and over the wire."""

import inspect
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
from mlagents_envs.base_env import ActionTuple

from bridge.exceptions import UnityEnvironmentException
from bridge.in_process import InProcessEnvironment
from bridge.player import TERMINATED, ActionSpec, AgentWorld, EnvironmentParameters, vector_observation

AGENT = np.dtype([("last", np.int64)])


class NoRepeats(AgentWorld):
    """Branches of 3 and 2. An agent may not choose of the first what it chose last; the second is free."""

    def __init__(self, seed, num_areas, parameters, agents=2, group_size=0, period=1):
        super().__init__(
            *("NoRepeats", seed, num_areas, parameters),
            agents=agents,
            observation_specs=[vector_observation(1)],
            action_spec=ActionSpec.create_discrete((3, 2)),
            agent_type=AGENT,
            decision_period=period,
            group_size=group_size,
        )

    def begin(self, agents):
        self.agents["last"][agents] = 0

    def tick(self):
        self.agents["last"] = self.discrete[:, 0]
        self.group_rewards += 1
        self.rewards += 10
        self.ended[self.step_counts >= np.array([3, 4, 4, 4])[: len(self.ended)]] = TERMINATED

    def mask_actions(self, masks):
        first, _ = masks
        first[np.arange(len(first)), self.agents["last"]] = True

    def observe(self, agents, observations):
        observations[0][:, 0] = self.agents["last"][agents]


class Unmasked(NoRepeats):
    mask_actions = AgentWorld.mask_actions


class Stuck(NoRepeats):
    def mask_actions(self, masks):
        masks[1][1] = True


def choose(*chosen: int) -> ActionTuple:
    return ActionTuple(discrete=np.array([[choice, 0] for choice in chosen], np.int32))


def masks_of(decisions) -> list:
    return [mask.astype(int).tolist() for mask in decisions.action_mask]


def check_masks(environment) -> None:
    """What a trainer sees of two agents; `environment` has been reset."""
    (name,) = environment.behavior_specs
    free = [[0, 0], [0, 0]]
    assert masks_of(environment.get_steps(name)[0]) == [[[1, 0, 0], [1, 0, 0]], free]
    environment.set_actions(name, choose(1, 2))
    environment.step()
    assert masks_of(environment.get_steps(name)[0]) == [[[0, 1, 0], [0, 0, 1]], free]
    environment.set_actions(name, choose(2, 0))
    environment.step()
    environment.set_actions(name, choose(1, 1))
    environment.step()
    decisions, terminals = environment.get_steps(name)
    assert terminals.agent_id.tolist() == [0]
    assert masks_of(decisions) == [[[1, 0, 0], [0, 1, 0]], free], "agent 0 has begun anew"


def test_masks_come_with_the_decisions() -> None:
    environment = InProcessEnvironment(NoRepeats)
    environment.reset()
    check_masks(environment)


@pytest.mark.parametrize("numba", [True, False])
@pytest.mark.slow
def test_masks_come_over_the_wire(unity_environment, program, numba: bool) -> None:
    lines = ["import numpy as np", "AGENT = np.dtype([('last', np.int64)])", inspect.getsource(NoRepeats)]
    player = program("\n".join([*lines, "from bridge.player import *", "sys.exit(run_player(NoRepeats, port))"]), numba)
    environment = unity_environment(player)
    environment.reset()
    check_masks(environment)


def test_without_masks_nothing_is_sent() -> None:
    world = Unmasked(1, 1, EnvironmentParameters())
    decisions, _ = world.reset()[world.behavior]
    assert decisions.action_mask is None
    assert "masks" not in world.state() and "group_rewards" not in world.state()


def test_masks_are_part_of_the_state() -> None:
    world, copy = NoRepeats(1, 1, EnvironmentParameters()), NoRepeats(1, 1, EnvironmentParameters())
    world.reset()
    world.step({world.behavior: choose(1, 2)})
    decisions, _ = copy.load_state(world.state())[copy.behavior]
    assert masks_of(decisions)[0] == [[0, 1, 0], [0, 0, 1]]


def test_an_agent_without_a_choice_is_an_error() -> None:
    world = Stuck(1, 1, EnvironmentParameters())
    with pytest.raises(
        UnityEnvironmentException, match="all actions of branch 1 are forbidden to agent 1; leave it one"
    ):
        world.reset()


def test_groups_have_ids_and_rewards_of_their_own() -> None:
    world = NoRepeats(1, 1, EnvironmentParameters(), agents=4, group_size=2, period=2)
    decisions, _ = world.reset()[world.behavior]
    assert decisions.group_id.tolist() == [1, 1, 2, 2]
    assert decisions.group_reward.tolist() == [1] * 4 and decisions.reward.tolist() == [10] * 4
    decisions, _ = world.step({world.behavior: choose(0, 0, 0, 0)})[world.behavior]
    assert decisions.group_reward.tolist() == [2] * 4
    decisions, terminals = world.step({world.behavior: choose(0, 0, 0, 0)})[world.behavior]
    assert (len(decisions), terminals.agent_id.tolist()) == (0, [0])
    assert terminals.group_id.tolist() == [1] and terminals.group_reward.tolist() == [1]
    copy = NoRepeats(1, 1, EnvironmentParameters(), agents=4, group_size=2, period=2)
    _, again = copy.load_state(world.state())[copy.behavior]
    assert again.group_reward.tolist() == [1] and again.group_id.tolist() == [1]
    for each in (world, copy):
        decisions, terminals = each.step({})[each.behavior]
        assert terminals.agent_id.tolist() == [1, 2, 3]
        assert terminals.group_id.tolist() == [1, 2, 2] and terminals.group_reward.tolist() == [2] * 3
        assert decisions.group_reward.tolist() == [1, 0, 0, 0]


def test_groups_and_teams_are_checked_and_named() -> None:
    with pytest.raises(ValueError, match="NoRepeats: groups of 2 cannot be made of 3 agents"):
        NoRepeats(1, 1, EnvironmentParameters(), agents=3, group_size=2)
    assert NoRepeats(1, 1, EnvironmentParameters()).behavior == "NoRepeats?team=0"


def test_the_example_of_the_guide_says_what_the_wall_forbids() -> None:
    """make_your_own.md: its Catcher with the method that its text adds."""
    text = (Path(__file__).parents[2] / "unity_envs" / "make_your_own.md").read_text(encoding="utf-8")
    source = re.search(r"^```python catcher.py\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[1]
    method = re.search(r"^  ```text\n(  def mask_actions.*?)^  ```$", text, re.MULTILINE | re.DOTALL)[1]
    names: dict = {"__name__": "catcher"}
    exec(source, names)
    own: dict = {}
    exec(textwrap.dedent(method), own)
    world = type("Careful", (names["Catcher"],), own)(1, 1, EnvironmentParameters(), agents=2)
    steps = world.reset()
    left_and_right = ActionTuple(discrete=np.array([[1], [2]], np.int32))
    for _ in range(10):
        assert not steps[world.behavior][0].action_mask[0].any()
        steps = world.step({world.behavior: left_and_right})
    assert masks_of(steps[world.behavior][0]) == [[[0, 1, 0], [0, 0, 1]]]
