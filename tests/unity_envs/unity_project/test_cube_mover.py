"""CubeMover in C# against CubeMover in Python: exactly equal."""

from __future__ import annotations

import numpy as np
import pytest
from mlagents_envs.base_env import ActionTuple

from bridge.player import EnvironmentParameters
from unity_envs.worlds.cube_mover import CubeMover

VARIANTS = [None, "basic"]


def arguments(variant: str | None, agents: int) -> list[str]:
    command = ["-batchmode", "-nographics", "--env-name", "CubeMover", "--agents", str(agents)]
    return [*command, "--variant", variant] if variant else command


@pytest.mark.parametrize("variant", VARIANTS)
def test_10000_random_steps_are_those_of_the_python_world(project, new_player, variant):
    random = np.random.default_rng(1)
    agents, ends = 1000, 0
    world = CubeMover(1, 1, EnvironmentParameters(), agents=agents, variant=variant)
    world.reset()
    state = world.state()
    (branch,) = world.behavior_specs[world.behavior].action_spec.discrete_branches
    with new_player(project, arguments(variant, agents)) as player:
        player.begin()
        for _ in range(10):
            state["agent_position"] = random.integers(world.cells[0], world.cells[1] + 1, agents)
            world.load_state(state)
            actions = random.integers(0, branch, (agents, 1))
            odd = random.random(agents) < 0.1
            actions[odd, 0] = random.choice([-1, -2, 2, 3, 4, 2**31 - 1, -(2**31)], odd.sum())
            player.set("World.Position", state["agent_position"])
            message = player.step(actions)
            steps = world.step({world.behavior: ActionTuple(discrete=actions.astype(np.int32))})
            decisions, terminals = steps[world.behavior]
            ends += len(terminals)
            np.testing.assert_array_equal(message.terminal_ids, terminals.agent_id)
            np.testing.assert_array_equal(message.terminal_rewards, terminals.reward)
            np.testing.assert_array_equal(message.terminal_observations, terminals.obs[0])
            np.testing.assert_array_equal(message.interrupted, terminals.interrupted)
            np.testing.assert_array_equal(message.ids, decisions.agent_id)
            np.testing.assert_array_equal(message.rewards, decisions.reward)
            np.testing.assert_array_equal(message.observations, decisions.obs[0])
            np.testing.assert_array_equal(player.get("World.Position"), world.agents["position"])
    assert ends > 500  # at both goals


@pytest.mark.parametrize(
    ("variant", "action", "steps", "total"),
    [(None, 1, 7, 0.94), (None, 0, 3, 0.08), ("basic", 2, 7, 0.93), ("basic", 1, 3, 0.07)],
)
def test_both_goals_are_worth_what_the_task_says(project, new_player, variant, action, steps, total):
    with new_player(project, arguments(variant, 1)) as player:
        player.begin()
        rewards = []
        for _ in range(steps):
            message = player.step([[action]])
            rewards += [*message.terminal_rewards] or [*message.rewards]
    assert len(message.terminal_ids) == 1 and not message.interrupted[0]
    assert sum(rewards) == pytest.approx(total, abs=1e-6)
    assert message.rewards[0] == 0 and len(message.ids) == 1  # the next episode's first decision, in the same message


@pytest.mark.parametrize(
    ("variant", "end", "action"), [(None, 10, 1), (None, -10, 0), ("basic", 20, 2), ("basic", 0, 1)]
)
def test_the_cube_stops_at_the_last_cell(project, new_player, variant, end, action):
    with new_player(project, arguments(variant, 1)) as player:
        player.begin()
        player.set("World.Position", end)
        message = player.step([[action]])
        assert player.get("World.Position") == [end]
    assert message.rewards[0] == np.float32(-0.01) and len(message.terminal_ids) == 0
    if variant == "basic":
        assert message.observations[0].sum() == (end < 20)  # no number of 20 is that of cell 20


@pytest.mark.parametrize(("variant", "best"), [(None, 0.94), ("basic", 0.93)])
def test_the_heuristic_goes_to_the_large_goal(project, new_player, variant, best):
    with new_player(project, arguments(variant, 1)) as player:
        player.begin()
        total = 0.0
        for _ in range(7):
            message = player.step(player.suggest())
            total += [*message.terminal_rewards, *message.rewards][0]
    assert total == pytest.approx(best, abs=1e-6)
    assert len(message.terminal_ids) == 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_reset_by_the_trainer_is_that_of_the_python_world(project, new_player, variant):
    """One tick of zero actions passes before the first decision: to the left, with `basic` none."""
    world = CubeMover(1, 1, EnvironmentParameters(), agents=3, variant=variant)
    decisions, _ = world.reset()[world.behavior]
    with new_player(project, arguments(variant, 3)) as player:
        player.begin()
        player.step([[1], [1], [1]])
        message = player.reset()
    assert list(message.ids) == [0, 1, 2] and len(message.terminal_ids) == 0
    np.testing.assert_array_equal(message.observations, decisions.obs[0])
    np.testing.assert_array_equal(message.rewards, decisions.reward)


def test_the_cube_on_the_screen_is_where_the_rules_say(project, new_player):
    with new_player(project, arguments("basic", 1)) as player:
        player.begin()
        player.step([[2]])
        player.step([[2]])
        assert list(player.get("Cube.localPosition")[0]) == [2, 0, 0]
