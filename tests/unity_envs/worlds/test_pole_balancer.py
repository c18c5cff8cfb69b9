"""The PoleBalancer world from outside. Its equations are held against recordings in test_pole_recordings.py."""

from __future__ import annotations

import math

import numpy as np
import pytest

LEFT, RIGHT = 0, 1
DEGREE = math.pi / 180


@pytest.fixture
def new_pole(new_game):
    return lambda agents=1, variant=None, seed=1: new_game(agents, seed, name="PoleBalancer", variant=variant)


def place(game, theta: float, x: float = 0.0) -> None:
    """Poles at rest on their hinges, at the angle theta."""
    pole = [x - 0.95 * math.sin(theta), 0.15 + 0.95 * math.cos(theta), theta, 0, 0, 0]
    game.change(agent_cart=[x, 0.0], agent_pole=pole)


def balance(observations: np.ndarray) -> np.ndarray:
    """Actions [agents, 1] that keep the cart below the pole and in the middle, by where the pole's centre moves."""
    x, velocity, half_sine, spin = observations.T
    lean = np.sin(2 * np.arcsin(half_sine))
    return (0.02 * x - lean + 0.05 * (velocity - 0.95 * spin) > 0).astype(np.int32)[:, None]


@pytest.mark.parametrize("variant", [None, "force"])
def test_the_behavior_sees_four_numbers_and_takes_one_of_two_actions(new_pole, variant):
    game = new_pole(variant=variant)
    assert game.behavior == "PoleBalancer?team=0"
    (spec,) = game.world.behavior_specs[game.behavior].observation_specs
    assert (spec.shape, spec.name) == ((4,), "VectorSensor_size4")
    assert game.actions.discrete_branches == (2,) and game.actions.continuous_size == 0


def test_an_episode_begins_at_rest_tilted_by_up_to_5_degrees(new_pole):
    game = new_pole(agents=1000)
    game.begin_anew()
    x, velocity, half_sine, spin = game.decisions.obs[0].T
    assert not x.any() and not velocity.any() and not spin.any()
    degrees = 2 * np.arcsin(half_sine) / DEGREE
    assert degrees.min() == pytest.approx(-5, abs=0.05) and degrees.max() == pytest.approx(5, abs=0.05)
    assert abs(degrees.mean()) < 0.3


def test_the_cart_moves_at_2_m_s_and_a_force_of_10_n_moves_it_as_its_mass_lets_it(new_pole):
    game = new_pole(agents=2)
    place(game, 0.0)
    game.step([[LEFT], [RIGHT]])
    # 0.04 m, less what the pole takes of it while it is dragged along.
    assert game.decisions.obs[0][:, 0] == pytest.approx([-0.038, 0.038], abs=0.001)
    assert (game.decisions.obs[0][:, 2] * [-1, 1] > 0).all()  # the pole stays behind: right makes it lean to the left
    game = new_pole(agents=2, variant="force")
    place(game, 0.0)
    game.step([[LEFT], [RIGHT]])
    speed = game.decisions.obs[0][1, 1]
    # Between that of a cart alone, 10 N * 0.02 s / 0.5 kg, and that of both masses as one.
    assert 10 * 0.02 / 0.6 < speed < 10 * 0.02 / 0.5
    assert game.decisions.obs[0][0, 1] == -speed


def test_a_number_that_is_no_action_commands_0(new_pole):
    game = new_pole(agents=3)
    place(game, 0.0)
    game.step([[2], [-1], [2**31 - 1]])
    np.testing.assert_array_equal(game.decisions.obs[0], np.zeros((3, 4)))


def test_a_step_within_limits_is_worth_1_and_the_failing_one_0(new_pole):
    game = new_pole(agents=2)
    place(game, 2 * DEGREE)
    steps = 0
    while not len(game.terminals):
        assert steps == 0 or (game.decisions.reward == 1).all()
        game.step(RIGHT)  # away from under the pole
        steps += 1
        assert steps < 30
    assert game.terminals.reward.tolist() == [0, 0] and not game.terminals.interrupted.any()
    assert 2 * math.asin(game.terminals.obs[0][0, 2]) > 15 * DEGREE
    assert abs(2 * math.asin(game.decisions.obs[0][0, 2])) <= 5 * DEGREE  # the next episode, in the same message
    assert (game.decisions.reward == 0).all()


@pytest.mark.parametrize(("x", "action", "fails"), [(2.39, RIGHT, True), (2.3, RIGHT, False), (-2.39, LEFT, True)])
def test_the_track_ends_at_2_4_m(new_pole, x, action, fails):
    game = new_pole()
    place(game, 0.0, x)
    game.step(action)
    assert len(game.terminals) == fails
    if fails:
        assert game.terminals.reward[0] == 0 and not game.terminals.interrupted[0]


def test_200_steps_are_the_end_with_all_rewards(new_pole):
    game = new_pole(agents=20)
    game.begin_anew()
    total = np.zeros(20)
    for _ in range(199):
        game.step(balance(game.decisions.obs[0]))
        assert len(game.terminals) == 0
        total += game.decisions.reward
    game.step(balance(game.decisions.obs[0]))
    assert list(game.terminals.agent_id) == list(range(20)) and game.terminals.interrupted.all()
    assert (total + game.terminals.reward == 200).all()


def test_a_fall_in_the_200th_step_is_a_fall(new_pole):
    game = new_pole()
    place(game, 14.99 * DEGREE)
    game.change(step_counts=199)
    game.step(RIGHT)
    assert not game.terminals.interrupted[0] and game.terminals.reward[0] == 0


def test_after_a_reset_one_tick_to_the_left_passes_that_does_not_count_for_the_200(new_pole):
    game = new_pole(agents=20)
    assert (game.decisions.obs[0][:, 1] < -1.8).all() and (game.decisions.reward == 1).all()
    for _ in range(199):
        game.step(balance(game.decisions.obs[0]))
        assert len(game.terminals) == 0
    game.step(balance(game.decisions.obs[0]))
    assert len(game.terminals) == 20 and game.terminals.interrupted.all()


def test_a_random_policy_falls_after_about_30_steps(new_pole):
    game = new_pole(agents=500)
    random = np.random.default_rng(0)
    total, episodes = 0.0, 0
    while episodes < 2000:
        game.step(random.integers(0, 2, (500, 1)))
        total += float(game.decisions.reward.sum() + game.terminals.reward.sum())
        episodes += len(game.terminals)
    assert 20 < total / episodes < 45


def test_the_seed_decides_the_episodes(new_pole):
    first, same, other = (new_pole(agents=3, seed=seed).decisions.obs[0] for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, same)
    assert (first[:, 2] != other[:, 2]).all()


def test_a_loaded_state_goes_on_bit_for_bit(new_pole):
    game, copy = new_pole(agents=6), new_pole(agents=6, seed=9)
    random = np.random.default_rng(0)
    ends = 0
    for step in range(200):
        if step == 50:
            copy.take(copy.world.load_state(game.world.state()))
        actions = random.integers(0, 2, (6, 1))
        game.step(actions)
        if step >= 50:
            copy.step(actions)
            np.testing.assert_array_equal(game.decisions.obs[0], copy.decisions.obs[0])
            np.testing.assert_array_equal(game.terminals.obs[0], copy.terminals.obs[0])
            ends += len(game.terminals)
    assert ends > 10
