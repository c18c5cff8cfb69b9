"""3DBall in C# against the rules of 3DBall in Python. The ball does not move here: its states are inputs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mlagents_envs.base_env import ActionTuple

from bridge.player import EnvironmentParameters
from unity_envs.worlds import ball3d_physics as physics
from unity_envs.worlds.ball3d import Ball3D

PERIOD = "[DecisionRequester].DecisionPeriod"  # 1 shows each tick in a message
VELOCITY = "Ball.linearVelocity"
DRAWS = 4  # of an episode's beginning: tilt about x, about z, ball's x, z


def arguments(variant: str | None, agents: int) -> list[str]:
    command = ["-batchmode", "-nographics", "--env-name", "3DBall", "--agents", str(agents)]
    return [*command, "--variant", variant] if variant else command


def next_to(value: float, ulps: int) -> float:
    """The single-precision number so many steps away from `value`, outwards for a positive one."""
    outwards = np.float32(math.copysign(np.inf, value))
    result = np.float32(value)
    for _ in range(abs(ulps)):
        result = np.nextafter(result, outwards if ulps > 0 else np.float32(0))
    return float(result)


def random_states(random: np.random.Generator, agents: int) -> tuple[np.ndarray, np.ndarray]:
    """`platforms` [agents, 4] and `balls` [agents, 6], single precision: tilts past the guard, some failures."""
    x, y, z = random.uniform(-0.28, 0.28, agents), random.normal(0, 0.05, agents), random.uniform(-0.28, 0.28, agents)
    platforms = np.stack([x, y, z, np.sqrt(1 - x * x - y * y - z * z)], axis=1).astype(np.float32)
    side = random.uniform(-3.1, 3.1, (2, agents))
    balls = np.stack([side[0], random.uniform(-2.2, 5, agents), side[1], *random.normal(0, 3, (3, agents))], axis=1)
    return platforms, balls.astype(np.float32)


def place(player, platforms: np.ndarray, balls: np.ndarray) -> None:
    player.set("transform.position", [0.0, 0.0, 0.0])
    player.set("transform.rotation", platforms)
    player.set("Ball.transform.position", balls[:, :3])
    player.set(VELOCITY, balls[:, 3:])


def turned(platforms: np.ndarray, actions: np.ndarray, ticks: int = 1) -> np.ndarray:
    """The Python world's `platforms` [agents, 4] after so many ticks of continuous `actions` [agents, 2]."""
    result, turn = platforms.astype(np.float64), np.zeros(4)
    for platform, action in zip(result, actions.astype(np.float64), strict=True):
        physics.set_turn(turn, action[0], action[1])
        for _ in range(ticks):
            physics.rotate_platform(platform, turn)
    return result


def observed(platforms: np.ndarray, balls: np.ndarray, size: int = 8) -> np.ndarray:
    agents = np.zeros(len(platforms), physics.AGENT)
    agents["platform"], agents["ball"][:, :6] = platforms, balls
    observations = np.zeros((len(agents), size), np.float32)
    physics.observe(agents, np.arange(len(agents)), observations)
    return observations


def begun(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Platforms and balls of new episodes, from `draws` [agents, 4]."""
    half_x, half_z = np.radians(-10 + 20 * draws[:, :2]).T / 2
    platforms = np.stack(
        [np.sin(half_x) * np.cos(half_z), -np.sin(half_x) * np.sin(half_z), np.cos(half_x) * np.sin(half_z),
         np.cos(half_x) * np.cos(half_z)], axis=1)  # fmt: skip
    balls = np.zeros((len(draws), 6))
    balls[:, 0], balls[:, 1], balls[:, 2] = -1.5 + 3 * draws[:, 2], 4.0, -1.5 + 3 * draws[:, 3]
    return platforms, balls


@pytest.mark.parametrize(("variant", "rounds"), [(None, 10), ("discrete", 3), ("hard", 1)])
def test_random_ticks_follow_the_rules_of_the_python_world(project, new_player, variant, rounds):
    """10,000, 3,000 and 1,000 of them."""
    random = np.random.default_rng(4)
    agents, failures = 1000, 0
    size = 5 if variant == "hard" else 8
    numbers = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]] + [[0, 0]] * 3, np.float32)
    with new_player(project, arguments(variant, agents)) as player:
        player.begin()
        player.set(PERIOD, 1)
        for _ in range(rounds):
            platforms, balls = random_states(random, agents)
            if variant == "discrete":
                actions = random.integers(0, 7, (agents, 1))  # 4 and above are no actions
                continuous = numbers[actions[:, 0]]
            else:
                actions = random.uniform(-2, 2, (agents, 2)).astype(np.float32)
                odd = random.random((agents, 2)) < 0.1
                actions[odd] = random.choice([np.nan, np.inf, -np.inf, 1e30, -7, 0, -0.0, 1, -1], odd.sum())
                continuous = actions
            failed = np.array([physics.has_failed(np.array([*ball, 0, 0, 0], np.float64)) for ball in balls])
            failures += failed.sum()
            draws = random.random((failed.sum(), DRAWS))
            place(player, platforms, balls)
            player.set("StepCount", 1)
            player.random(draws)
            message = player.step(actions)
            rotations, positions = player.get("transform.rotation"), player.get("Ball.transform.position")

            expected = turned(platforms, continuous)
            np.testing.assert_array_equal(message.terminal_ids, np.flatnonzero(failed))
            np.testing.assert_array_equal(message.terminal_rewards, -1)
            assert not message.interrupted.any()
            terminal = observed(expected[failed], balls[failed], size)
            np.testing.assert_allclose(message.terminal_observations, terminal, rtol=0, atol=1e-6)
            expected[failed], balls[failed] = begun(draws)
            np.testing.assert_array_equal(message.ids, np.arange(agents))
            np.testing.assert_array_equal(message.rewards, np.where(failed, 0, np.float32(0.1)))
            np.testing.assert_allclose(message.observations, observed(expected, balls, size), rtol=0, atol=1e-6)
            np.testing.assert_allclose(rotations, expected, rtol=0, atol=1e-6)
            np.testing.assert_allclose(positions, balls[:, :3], rtol=0, atol=1e-6)
    assert failures > 50 * rounds


def test_the_tilt_guard_is_the_same_to_the_last_digit(project, new_player):
    components = [side * next_to(0.25, ulps) for side in (-1, 1) for ulps in (-1, 0, 1)]
    cases = [(axis, component, way) for axis in (0, 2) for component in components for way in (-1, 1)]
    platforms, balls = np.zeros((len(cases), 4), np.float32), np.zeros((len(cases), 6), np.float32)
    actions = np.zeros((len(cases), 2), np.float32)
    for platform, action, (axis, component, way) in zip(platforms, actions, cases, strict=True):
        platform[axis], platform[3] = component, math.sqrt(1 - component**2)
        action[0 if axis == 2 else 1] = way
    with new_player(project, arguments(None, len(cases))) as player:
        player.begin()
        player.set(PERIOD, 1)
        place(player, platforms, balls)
        player.step(actions)
        rotations = player.get("transform.rotation")
    np.testing.assert_allclose(rotations, turned(platforms, actions), rtol=0, atol=1e-6)
    moved = np.abs(rotations - platforms).max(axis=1) > 1e-3
    # Further out only from strictly inside; back in from anywhere.
    assert list(moved) == [way * component < 0 or abs(component) < 0.25 for _, component, way in cases]


def test_the_limits_are_the_same_to_the_last_digit(project, new_player):
    cases = [(axis, sign * next_to(3.0, ulps), ulps > 0) for axis in (0, 2) for sign in (-1, 1) for ulps in (-1, 0, 1)]
    cases += [(1, next_to(-2.0, ulps), ulps > 0) for ulps in (-1, 0, 1)]
    platforms, balls = (
        np.tile(np.array([0, 0, 0, 1], np.float32), (len(cases), 1)),
        np.zeros((len(cases), 6), np.float32),
    )
    for ball, (axis, value, _) in zip(balls, cases, strict=True):
        ball[axis] = value
    with new_player(project, arguments(None, len(cases))) as player:
        player.begin()
        player.set(PERIOD, 1)
        place(player, platforms, balls)
        message = player.step(np.zeros((len(cases), 2)))
    fails = [fails for *_, fails in cases]
    assert list(message.terminal_ids) == list(np.flatnonzero(fails))
    assert [physics.has_failed(np.array([*ball, 0, 0, 0], np.float64)) for ball in balls] == fails


def test_every_observation_and_action_is_at_its_index(project, new_player):
    with new_player(project, arguments(None, 2)) as player:
        player.begin()
        player.set(PERIOD, 1)
        rotation = np.array([0.1, 0.02, -0.2, math.sqrt(1 - 0.1**2 - 0.02**2 - 0.2**2)])
        place(player, np.tile(rotation, (2, 1)), np.tile([0.5, 3.0, -0.7, 1.1, -1.2, 1.3], (2, 1)))
        player.set("transform.position", [[0.0, 0.0, 0.0], [0.25, 0.5, 0.75]])
        message = player.step(np.zeros((2, 2)))
        expected = [[-0.2, 0.1, 0.5, 3.0, -0.7, 1.1, -1.2, 1.3], [-0.2, 0.1, 0.25, 2.5, -1.45, 1.1, -1.2, 1.3]]
        np.testing.assert_allclose(message.observations, expected, atol=1e-6)
        player.set("transform.rotation", [0.0, 0.0, 0.0, 1.0])
        tilts = player.step([[1, 0], [0, 1]]).observations[:, :2]
    np.testing.assert_allclose(tilts, np.eye(2) * math.sin(math.radians(1)), atol=1e-6)


def test_a_decision_is_five_turns_and_worth_one_tenth(project, new_player):
    random = np.random.default_rng(5)
    platforms, balls = random_states(random, 200)
    balls[:, :3] = [0.5, 3.0, 0.5]
    actions = random.uniform(-1, 1, (200, 2)).astype(np.float32)
    with new_player(project, arguments(None, 200)) as player:
        player.begin()
        place(player, platforms, balls)
        message = player.step(actions)
        rotations = player.get("transform.rotation")
    assert len(message.ids) == 200 and (message.rewards == np.float32(0.1)).all()
    np.testing.assert_allclose(rotations, turned(platforms, actions, ticks=5), rtol=0, atol=2e-6)


@pytest.mark.parametrize(("variant", "zero"), [(None, [0, 0]), ("discrete", [-1, 0])])
def test_an_end_within_a_decision_is_told_alone_and_a_new_episode_waits_with_zero_actions(
    project, new_player, variant, zero
):
    draws = np.array([[0.3, 0.6, 0.9, 0.2]])
    with new_player(project, arguments(variant, 2)) as player:
        player.begin()
        player.set("Ball.transform.position", [3.5, 3.0, 0.0], who=1)
        player.random(draws)
        message = player.step([[1]] * 2 if variant else [[1, 1]] * 2)
        assert len(message.ids) == 0 and list(message.terminal_ids) == [1]
        assert list(message.terminal_rewards) == [-1] and list(message.interrupted) == [False]
        message = player.step()
        assert list(message.ids) == [0, 1] and len(message.terminal_ids) == 0
        np.testing.assert_array_equal(message.rewards, np.float32(0.1))
    platforms, balls = begun(draws)  # in the first tick of the five, so four more pass with zero actions
    expected = observed(turned(platforms, np.array([zero], np.float32), ticks=4), balls)
    np.testing.assert_allclose(message.observations[1:], expected, rtol=0, atol=2e-6)


def test_tick_5000_is_an_interruption_with_its_reward(project, new_player):
    with new_player(project, arguments(None, 2)) as player:
        player.begin()
        player.set("StepCount", 4998, who=1)  # this message is that of tick 4998; two more act
        message = player.step(np.zeros((2, 2)))
        assert list(message.terminal_ids) == [1] and list(message.interrupted) == [True]
        assert message.terminal_rewards[0] == np.float32(0.1)


def test_the_spin_of_the_ball_survives_a_reset(project, new_player):
    with new_player(project, arguments(None, 1)) as player:
        player.begin()
        player.set("Ball.angularVelocity", [1.0, 2.0, -3.0])
        player.set("Ball.transform.position", [3.5, 3.0, 0.0])
        player.step([[0, 0]])
        assert list(player.get("Ball.angularVelocity")[0]) == [1, 2, -3]
        assert not player.get(VELOCITY).any()


def test_environment_parameters_are_read_when_the_python_world_reads_them(project, new_player):
    with new_player(project, arguments(None, 2)) as player:
        player.parameter("scale", 2.0)  # before the first episode
        player.begin()
        for name, value in (("mass", 3.0), ("scale", 0.5), ("gravity", 4.0)):
            player.parameter(name, value)
        assert list(player.get("Ball.mass")) == [1, 1]  # of the episode that goes on
        np.testing.assert_array_equal(player.get("Ball.transform.localScale"), 2)
        player.set("Ball.transform.position", [3.5, 3.0, 0.0], who=1)
        player.step(np.zeros((2, 2)))
        np.testing.assert_allclose(player.get("gravity", who="UnityEngine.Physics"), [[0, -4, 0]])
        assert list(player.get("Ball.mass")) == [1, 3]
        np.testing.assert_array_equal(player.get("Ball.transform.localScale"), [[2] * 3, [0.5] * 3])


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("scale", 0.0, "scale must be finite and above 0, got 0"),
        ("gravity", math.nan, "gravity must be finite, got NaN"),
    ],
)
def test_a_parameter_that_makes_no_sense_stops_the_player(project, new_player, name, value, text):
    with new_player(project, arguments(None, 1)) as player:
        player.begin()
        player.parameter(name, value)
        player.set("Ball.transform.position", [3.5, 3.0, 0.0])
        with pytest.raises(new_player.Ended, match=text) as ended:
            player.step([[0, 0]])
    assert ended.value.exit_code == 1


@pytest.mark.parametrize("variant", [None, "discrete", "hard"])
def test_the_heuristic_keeps_the_ball_on_the_platform(project, new_player, variant):
    """The balls of the Python world, the actions of the C# heuristic."""
    agents = 12
    world = Ball3D(1, 1, EnvironmentParameters(), agents=agents, variant=variant)
    decisions, _ = world.reset()[world.behavior]
    with new_player(project, arguments(variant, agents)) as player:
        player.begin()
        for _ in range(200):
            place(player, world.agents["platform"].copy(), world.agents["ball"][:, :6].copy())
            actions = player.suggest()
            given = ActionTuple(discrete=actions) if variant == "discrete" else ActionTuple(actions.astype(np.float32))
            decisions, terminals = world.step({world.behavior: given})[world.behavior]
            assert len(terminals) == 0
    assert len(decisions) == agents
