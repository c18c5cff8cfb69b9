"""PoleBalancer in C# against PoleBalancer in Python: the same state after a step, to 1e-12."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from mlagents_envs.base_env import ActionTuple

from bridge.player import EnvironmentParameters
from unity_envs.worlds import pole_balancer
from unity_envs.worlds.pole_balancer import ANGLE_LIMIT, CART_ARM, POLE_ARM, POSITION_LIMIT, PoleBalancer

VARIANTS = [None, "force"]
MEMBERS = ["CartX", "CartVelocity", "PoleX", "PoleY", "Angle", "PoleVelocityX", "PoleVelocityY", "Spin"]


def arguments(variant: str | None, agents: int) -> list[str]:
    command = ["-batchmode", "-nographics", "--env-name", "PoleBalancer", "--agents", str(agents)]
    return [*command, "--variant", variant] if variant else command


def on_the_hinge(cart: np.ndarray, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre of a pole of that angle on a cart at that place."""
    return cart - POLE_ARM * np.sin(angle), CART_ARM + POLE_ARM * np.cos(angle)


def random_states(random: np.random.Generator, agents: int) -> np.ndarray:
    """States [agents, 8] of cart and pole, the pole near its hinge; a part beyond the limits or about to be."""
    cart, cart_velocity = random.uniform(-2.45, 2.45, agents), random.uniform(-3, 3, agents)
    angle = random.uniform(-1.05, 1.05, agents) * ANGLE_LIMIT
    x, y = on_the_hinge(cart, angle)
    gap, rest = random.normal(0, 1e-3, (2, agents)), random.normal(0, 1.5, (3, agents))
    return np.stack([cart, cart_velocity, x + gap[0], y + gap[1], angle, *rest], axis=1)


def set_states(player, states: np.ndarray) -> None:
    for name, values in zip(MEMBERS, states.T, strict=True):
        player.set(f"World.{name}", values)


def get_states(player) -> np.ndarray:
    return np.stack([player.get(f"World.{name}") for name in MEMBERS], axis=1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_10000_random_steps_are_those_of_the_python_world(project, new_player, variant):
    random = np.random.default_rng(2)
    agents, fallen, timed_out = 1000, 0, 0
    world = PoleBalancer(1, 1, EnvironmentParameters(), agents=agents, variant=variant)
    world.reset()
    saved = world.state()
    with new_player(project, arguments(variant, agents)) as player:
        player.begin()
        for _ in range(10):
            states, steps = random_states(random, agents), random.choice([0, 1, 50, 197, 198, 199], agents)
            actions = random.choice([0, 1, 0, 1, 0, 1, 2, -1, 2**31 - 1], (agents, 1))
            saved |= {"agent_cart": states[:, :2], "agent_pole": states[:, 2:], "step_counts": steps}
            world.load_state(saved)
            decisions, terminals = world.step({world.behavior: ActionTuple(discrete=actions.astype(np.int32))})[
                world.behavior
            ]
            fallen += (~terminals.interrupted).sum()
            timed_out += terminals.interrupted.sum()
            set_states(player, states)
            player.set("StepCount", steps + 1)  # the Academy has counted the step for which it wants an action
            draws = random.random(len(terminals))
            player.random(draws)
            message, after = player.step(actions), get_states(player)

            np.testing.assert_array_equal(message.terminal_ids, terminals.agent_id)
            np.testing.assert_array_equal(message.terminal_rewards, terminals.reward)
            np.testing.assert_array_equal(message.interrupted, terminals.interrupted)
            np.testing.assert_allclose(message.terminal_observations, terminals.obs[0], rtol=0, atol=1e-6)
            np.testing.assert_array_equal(message.ids, decisions.agent_id)
            np.testing.assert_array_equal(message.rewards, decisions.reward)
            goes_on = np.setdiff1d(np.arange(agents), terminals.agent_id)
            expected = np.concatenate([world.agents["cart"], world.agents["pole"]], axis=1)
            np.testing.assert_allclose(after[goes_on], expected[goes_on], rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(message.observations[goes_on], decisions.obs[0][goes_on], rtol=0, atol=1e-6)
            np.testing.assert_array_equal(player.get("StepCount") - 1, world.step_counts)
            # Episodes that ended began anew with the numbers drawn, in the order of the agents.
            angles = np.radians((-5 + 10 * draws).astype(np.float32).astype(np.float64))
            x, y = on_the_hinge(np.zeros(len(angles)), angles)
            begun = np.stack([0 * x, 0 * x, x, y, angles, 0 * x, 0 * x, 0 * x], axis=1)
            np.testing.assert_allclose(after[terminals.agent_id], begun, rtol=0, atol=1e-12)
    assert fallen > 500 and timed_out > 500


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_trainer_s_reset_leads_to_the_same_states(project, new_player, variant):
    draws = np.random.default_rng(4).random(5)
    world = PoleBalancer(1, 1, EnvironmentParameters(), agents=5, variant=variant)
    angles = np.radians((-5 + 10 * draws).astype(np.float32).astype(np.float64))
    world.uniform = lambda low, high, count: angles
    with new_player(project, arguments(variant, 5)) as player:
        player.begin()
        player.step(np.ones((5, 1)))
        player.random(draws)
        message, after, counts = player.reset(), get_states(player), player.get("StepCount")
    decisions, _ = world.reset()[world.behavior]
    expected = np.concatenate([world.agents["cart"], world.agents["pole"]], axis=1)
    np.testing.assert_allclose(after, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(message.rewards, decisions.reward)
    np.testing.assert_array_equal(counts - 1, world.step_counts)  # the Academy has counted the next one


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_pole_that_just_falls_and_one_that_just_does_not(project, new_player, variant):
    """The last angle from which a step still ends inside of the limit, and the next one, in Python and in C#."""
    command = pole_balancer.FORCE if variant else pole_balancer.SPEED

    def after(angle: float) -> tuple[np.ndarray, np.ndarray]:
        x, y = on_the_hinge(np.zeros(1), np.array([angle]))
        cart, pole = np.zeros(2), np.array([x[0], y[0], angle, 0.0, 0.0, 0.0])
        pole_balancer.advance(cart, pole, command, variant is not None)
        return cart, pole

    inside, outside = 0.0, 0.5
    while math.nextafter(inside, 1.0) < outside:
        middle = (inside + outside) / 2
        if pole_balancer.has_failed(*after(middle)):
            outside = middle
        else:
            inside = middle
    angles = np.array([inside, outside])
    x, y = on_the_hinge(np.zeros(2), angles)
    with new_player(project, arguments(variant, 2)) as player:
        player.begin()
        set_states(player, np.stack([0 * x, 0 * x, x, y, angles, 0 * x, 0 * x, 0 * x], axis=1))
        message = player.step([[1], [1]])
    assert list(message.terminal_ids) == [1]


def test_the_limits_are_the_same_to_the_last_digit(project, new_player):
    cases = [
        (member, sign * (math.nextafter(limit, limit + ulps) if ulps else limit), ulps > 0)
        for member, limit in (("CartX", POSITION_LIMIT), ("Angle", ANGLE_LIMIT))
        for sign in (-1, 1)
        for ulps in (-1, 0, 1)
    ]
    states = np.zeros((len(cases), 8))
    for row, (member, value, _) in zip(states, cases, strict=True):
        row[MEMBERS.index(member)] = value
    with new_player(project, arguments(None, len(cases))) as player:
        player.begin()
        set_states(player, states)
        failed = player.get("World.HasFailed")
    assert [text == "True" for text in failed] == [fails for *_, fails in cases]
    assert [pole_balancer.has_failed(state[:2], state[2:]) for state in states] == [fails for *_, fails in cases]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_recorded_episodes_come_out_of_the_c_sharp_equations(project, new_player, variant):
    """Random actions, recorded from PhysX 4.1.1: the same ends, and until then the same states."""
    recorded = json.loads((Path(__file__).parents[1] / "golden/pole.json").read_text())["episodes"]
    episodes = [e for e in recorded if e["policy"] == "random" and e["variant"] == (variant or "vel")]
    angles = np.array([episode["theta0"] for episode in episodes])
    x, y = on_the_hinge(np.zeros(len(angles)), angles)
    ends = {}
    with new_player(project, arguments(variant, len(episodes))) as player:
        player.begin()
        set_states(player, np.stack([0 * x, 0 * x, x, y, angles, 0 * x, 0 * x, 0 * x], axis=1))
        for tick in range(1, max(len(episode["actions"]) for episode in episodes) + 1):
            actions = [[int(([0, *episode["actions"]][tick:] or [0])[0] > 0)] for episode in episodes]
            message = player.step(actions)
            observations = message.observations.copy()
            observations[message.terminal_ids] = message.terminal_observations
            for agent, episode in enumerate(episodes):
                if agent not in ends:
                    cart_x, _, pole_qz, *_ = episode["states"][tick]
                    assert observations[agent, [0, 2]] == pytest.approx([cart_x, pole_qz], abs=1e-4)
            for agent in message.terminal_ids:
                ends.setdefault(agent, tick)
    assert len(episodes) >= 5
    assert [ends[agent] for agent in range(len(episodes))] == [episode["terminal_tick"] for episode in episodes]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_heuristic_balances_for_200_steps(project, new_player, variant):
    with new_player(project, arguments(variant, 20)) as player:
        player.begin()
        for _ in range(199):
            message = player.step(player.suggest())
            assert len(message.terminal_ids) == 0 and (message.rewards == 1).all()
        message = player.step(player.suggest())
    assert message.interrupted.all() and len(message.interrupted) == 20
    assert (message.terminal_rewards == 1).all() and (message.rewards == 0).all()


def test_a_number_that_is_no_action_commands_nothing(project, new_player):
    with new_player(project, arguments("force", 2)) as player:
        player.begin()
        set_states(player, np.array([[0, 0, 0, 1.1, 0, 0, 0, 0]] * 2, np.float64))
        message = player.step([[2], [-1]])
    np.testing.assert_array_equal(message.observations, 0)


def test_the_pole_on_the_screen_is_where_the_equations_say(project, new_player):
    with new_player(project, arguments(None, 1)) as player:
        player.begin()
        player.step([[1]])
        cart_x, _, pole_x, pole_y, angle, *_ = get_states(player)[0]
        cart, pole, turn = (
            player.get(f"{name}")[0] for name in ("Cart.localPosition", "Pole.localPosition", "Pole.localRotation")
        )
    np.testing.assert_allclose(cart, [cart_x, 0, 0], atol=1e-6)
    np.testing.assert_allclose(pole, [pole_x, pole_y, 0], atol=1e-6)
    np.testing.assert_allclose(turn, [0, 0, math.sin(angle / 2), math.cos(angle / 2)], atol=1e-6)
