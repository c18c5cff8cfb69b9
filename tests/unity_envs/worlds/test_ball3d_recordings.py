"""Whole recorded episodes played by the world, open loop: same end, same way."""

from __future__ import annotations

import numpy as np
import pytest


def play(game, episodes: list[dict], radius: float = 0.5) -> list[dict]:
    """Play recorded episodes side by side, one an agent; returns tick and reason of the end and the way to it.

    The state after k ticks of physics is tested in tick k (counted from 0), and its terminal sent in tick k + 1.
    """
    balls = np.zeros((len(episodes), 9))
    balls[:, :3] = [episode["p0"] for episode in episodes]
    game.change(agent_ball=balls, agent_platform=[episode["q0"] for episode in episodes], agent_radius=radius)
    results: list[dict] = [{"way": []} for _ in episodes]
    while any("tick" not in result for result in results):
        for row, agent in enumerate(game.terminals.agent_id):
            if "tick" not in results[agent]:
                ball = game.terminals.obs[0][row, 2:].copy()
                x, y, z = ball[:3]
                reason = "dy" if y < -2 else "dx" if abs(x) > 3 else "dz" if abs(z) > 3 else "?"
                results[agent] |= {"tick": game.tick - 1, "reason": reason, "ball": ball}
                assert game.terminals.reward[row] == -1 and not game.terminals.interrupted[row]
        decision, off = divmod(game.tick, 5)
        actions = np.zeros((len(episodes), 2))
        if off == 0:
            for agent, (episode, result) in enumerate(zip(episodes, results, strict=True)):
                if "tick" not in result:
                    if decision > 0:  # the message of tick 0 was made before the recorded start was put in
                        result["way"].append(game.decisions.obs[0][agent, 2:5].copy())
                    if decision < len(episode["actions"]):  # beyond: turns the platform once, after the last state
                        actions[agent] = episode["actions"][decision]
        assert game.tick < 2000
        game.step(actions)
    return results


def way_error(episode: dict, result: dict) -> float:
    """Largest difference in position, at all decisions up to the end."""
    recorded = np.array(episode["decision_ball"])[1:, :3]
    count = min(len(recorded), len(result["way"]))
    difference = np.abs(np.array(result["way"][:count]) - recorded[:count]).max()
    if result["tick"] == episode["terminal_tick"]:
        difference = max(difference, np.abs(result["ball"][:3] - episode["terminal_ball"][:3]).max())
    return float(difference)


def ends_equal(episodes: list[dict], results: list[dict]) -> int:
    for episode, result in zip(episodes, results, strict=True):
        assert abs(episode["terminal_tick"] - result["tick"]) <= 1
    return sum(
        (episode["terminal_tick"], episode["reason"]) == (result["tick"], result["reason"])
        for episode, result in zip(episodes, results, strict=True)
    )


def test_random_and_zero_action_episodes_end_as_recorded(new_game, golden):
    episodes = [episode for episode in golden("episodes")["episodes"] if episode["kind"] != "pd"]
    assert len(episodes) == 14
    results = play(new_game(agents=14), episodes)
    assert ends_equal(episodes, results) >= 13
    assert max(map(way_error, episodes, results)) <= 2e-3


def test_random_episodes_with_other_mass_scale_or_gravity_end_as_recorded(new_game, golden):
    data = golden("variants")
    equal, errors = 0, []
    for name, variant in data["meta"]["variants"].items():
        episodes = [episode for episode in data["episodes"] if episode["variant"] == name]
        game = new_game(agents=len(episodes))
        game.parameters.values["gravity"] = -variant["gravity"]
        results = play(game, episodes, variant["radius"])
        equal += ends_equal(episodes, results)
        errors += map(way_error, episodes, results)
    assert len(errors) == 42
    assert equal >= 41
    assert np.sum(np.array(errors) <= 5e-4) >= 40
    assert max(errors) <= 5e-3


def test_one_decision_from_a_recorded_state_arrives_where_the_recording_did(new_game, golden):
    episodes = [episode for episode in golden("episodes")["episodes"] if episode["kind"] == "pd"]
    balls = np.concatenate([np.array(episode["decision_ball"])[:-1] for episode in episodes])
    platforms = np.concatenate([np.array(episode["decision_platform"])[:-1] for episode in episodes])
    actions = np.concatenate([episode["actions"] for episode in episodes])
    arrived = np.concatenate([np.array(episode["decision_ball"])[1:] for episode in episodes])
    turned = np.concatenate([np.array(episode["decision_platform"])[1:] for episode in episodes])
    game = new_game(agents=len(balls))
    assert len(balls) == 600
    game.change(agent_ball=balls, agent_platform=platforms)
    game.step(actions)
    state = game.world.state()
    difference = np.abs(state["agent_ball"] - arrived)
    position, velocity, spin = difference[:, :3].max(1), difference[:, 3:6].max(1), difference[:, 6:].max(1)
    assert np.quantile(position, 0.99) <= 1e-5 and position.max() <= 1e-4
    assert np.quantile(velocity, 0.99) <= 2e-4 and velocity.max() <= 1e-3
    assert spin.max() <= 2e-3
    np.testing.assert_allclose(state["agent_platform"], turned, atol=5e-6)


def test_the_controller_of_the_recordings_balances_from_their_starts(new_game, golden):
    episodes = [episode for episode in golden("episodes")["episodes"] if episode["kind"] == "pd"]
    game = new_game(agents=len(episodes))
    balls = np.zeros((len(episodes), 9))
    balls[:, :3] = [episode["p0"] for episode in episodes]
    game.change(agent_ball=balls, agent_platform=[episode["q0"] for episode in episodes])
    noise = np.random.default_rng(0)
    for _ in range(300):
        game.step(np.clip(game.balance() + noise.normal(0, 0.2, (len(episodes), 2)), -1, 1))
        assert len(game.terminals) == 0
    assert game.tick == 1500


@pytest.mark.parametrize("mass", [0.5, 10.0])
def test_mass_does_not_change_the_motion(new_game, mass):
    light, heavy = new_game(), new_game()
    heavy.parameters.values["mass"] = mass
    heavy.change(random=light.world.state()["random"])
    actions = np.random.default_rng(1).uniform(-1, 1, (200, 12, 2))
    for each in actions:
        light.step(each)
        heavy.step(each)
        np.testing.assert_array_equal(light.terminals.agent_id, heavy.terminals.agent_id)
        np.testing.assert_array_equal(light.decisions.obs[0], heavy.decisions.obs[0])
