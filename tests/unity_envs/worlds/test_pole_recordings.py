"""PoleBalancer, stepped as by a trainer, against recordings of PhysX 4.1.1 (see golden/README.md)."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from unity_envs.worlds import pole_balancer

# Columns of a recorded state.
CART_X, CART_VX, QZ, QW, COM_VX, SPIN, COM_X, COM_Y, COM_VY = range(9)


@pytest.fixture(scope="module")
def recorded() -> list[dict]:
    text = (Path(__file__).parents[1] / "golden" / "pole.json").read_text(encoding="utf-8")
    return json.loads(text)["episodes"]


def start(new_game, episodes: list[dict]):
    """A game in which each agent begins as one of `episodes`, which are of one variant."""
    (variant,) = {episode["variant"] for episode in episodes}
    game = new_game(agents=len(episodes), name="PoleBalancer", variant="force" if variant == "force" else None)
    angles = np.array([episode["theta0"] for episode in episodes])
    poles = np.zeros((len(episodes), 6))
    poles[:, 0], poles[:, 1], poles[:, 2] = -0.95 * np.sin(angles), 0.15 + 0.95 * np.cos(angles), angles
    game.change(agent_cart=0.0, agent_pole=poles)
    return game


def play(new_game, episodes: list[dict]) -> list[dict]:
    """Play the recorded actions open loop; returns tick and reason of the end, and observations [ticks, 4]."""
    game = start(new_game, episodes)
    results: list[dict] = [{"way": []} for _ in episodes]
    for tick in range(1, 201):
        actions = [episode["actions"][tick - 1] > 0 if tick <= len(episode["actions"]) else 2 for episode in episodes]
        game.step(np.array(actions, np.int32)[:, None])
        for row, agent in enumerate(game.terminals.agent_id):
            if "tick" not in results[agent]:
                observation, capped = game.terminals.obs[0][row].tolist(), game.terminals.interrupted[row]
                reason = "cap" if capped else "x" if abs(observation[0]) > 2.4 else "angle"
                results[agent]["way"].append(observation)
                results[agent] |= {"tick": tick, "reason": reason}
        for result, observation in zip(results, game.decisions.obs[0].tolist(), strict=True):
            if "tick" not in result:
                result["way"].append(observation)
    return results


def differences(episode: dict, result: dict) -> np.ndarray:
    """Of cart x, cart velocity, sine of half the angle and spin, [ticks, 4], up to the first of the two ends."""
    states = np.array(episode["states"])[1:, [CART_X, CART_VX, QZ, SPIN]]
    count = min(len(states), len(result["way"]))
    return np.abs(np.array(result["way"][:count]) - states[:count])


@pytest.mark.parametrize("variant", ["vel", "force"])
def test_random_episodes_go_and_end_as_recorded(new_game, recorded, variant):
    episodes = [each for each in recorded if (each["variant"], each["policy"]) == (variant, "random")]
    assert len(episodes) == 8
    for episode, result in zip(episodes, play(new_game, episodes), strict=True):
        assert (result["tick"], result["reason"]) == (episode["terminal_tick"], episode["reason"])
        cart, cart_velocity, half_angle, spin = differences(episode, result).max(0)
        assert cart <= 1e-5 and half_angle <= 1e-5  # 1e-4 would do; measured: 6e-7 and 1e-6
        assert cart_velocity <= 1e-4 and spin <= 1e-4


@pytest.mark.parametrize("variant", ["vel", "force"])
def test_controlled_episodes_go_as_recorded_while_small_differences_stay_small(new_game, recorded, variant):
    episodes = [each for each in recorded if (each["variant"], each["policy"]) == (variant, "controller")]
    assert len(episodes) == 3
    for episode, result in zip(episodes, play(new_game, episodes), strict=True):
        assert differences(episode, result)[:20, 2].max() <= 1e-5


@pytest.mark.parametrize("variant", ["vel", "force"])
def test_the_controller_of_the_recordings_keeps_the_pole_up(new_game, recorded, variant):
    episodes = [each for each in recorded if (each["variant"], each["policy"]) == (variant, "controller")]
    game = start(new_game, episodes)
    for tick in range(200):
        assert len(game.terminals) == 0, tick
        x, vx = game.world.agents["cart"].T
        com_x, _, angle, com_vx, _, spin = game.world.agents["pole"].T
        if variant == "force":
            right = 0.1 * x + 0.2 * vx - angle - 0.3 * spin > 0
        else:
            right = 0.02 * x + (com_x - x) / 0.95 + 0.05 * com_vx > 0
        game.step(right.astype(np.int32)[:, None])
    assert game.terminals.interrupted.tolist() == [True] * 3
    assert game.terminals.reward.tolist() == [1.0] * 3


def test_each_recorded_tick_follows_from_the_one_before(recorded):
    """No differences add up, so all 22 episodes count to their ends."""
    largest = np.zeros(9)
    for episode in recorded:
        for before, command, after in zip(episode["states"], episode["actions"], episode["states"][1:], strict=False):
            cart = np.array([before[CART_X], before[CART_VX]])
            angle = 2 * math.atan2(before[QZ], before[QW])
            centre, velocity = [before[COM_X], before[COM_Y]], [before[COM_VX], before[COM_VY]]
            pole = np.array([*centre, angle, *velocity, before[SPIN]])
            pole_balancer.advance(cart, pole, float(command), episode["variant"] == "force")
            com_x, com_y, angle, com_vx, com_vy, spin = pole
            ours = [*cart, math.sin(angle / 2), math.cos(angle / 2), com_vx, spin, com_x, com_y, com_vy]
            largest = np.maximum(largest, np.abs(np.array(ours) - after))
    assert largest[[CART_X, COM_X, COM_Y, QZ, QW]].max() <= 1e-5
    # A start of 6 digits leaves a gap of up to 1e-6 m in the hinge, which a tick closes with 1e-6 / 0.02 m/s.
    assert largest[[CART_VX, COM_VX, COM_VY, SPIN]].max() <= 5e-4


def test_a_textbook_cart_and_pole_would_be_noticed(recorded):
    """The usual closed form, with the mass, inertia and length of ours, and without damping."""
    largest = 0.0
    for episode in recorded:
        if (episode["variant"], episode["policy"]) != ("force", "random"):
            continue
        lean, spin = -episode["theta0"], 0.0  # towards +x
        for force, state in zip(episode["actions"][:15], episode["states"][1:], strict=False):
            sine, cosine = math.sin(lean), math.cos(lean)
            push = (force + 0.1 * 0.95 * spin**2 * sine) / 0.6
            inertia = 0.0323074 + 0.1 * 0.95**2 - (0.1 * 0.95 * cosine) ** 2 / 0.6
            spin += 0.02 * 0.1 * 0.95 * (9.81 * sine - cosine * push) / inertia
            lean += 0.02 * spin
            largest = max(largest, abs(math.sin(-lean / 2) - state[QZ]))
    assert largest > 1e-4  # ours: 5e-7
