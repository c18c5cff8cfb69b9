"""The CubeMover world from outside: the original task to the number."""

from __future__ import annotations

import numpy as np
import pytest

LEFT, RIGHT = 0, 1
STAY, BASIC_LEFT, BASIC_RIGHT = 0, 1, 2


@pytest.fixture
def new_cube(new_game):
    """Agents at the start of an episode: at cell 0, in `basic` at 10."""

    def new(agents: int = 1, variant: str | None = None):
        game = new_game(agents, name="CubeMover", variant=variant)
        game.begin_anew()
        return game

    return new


def play(game, action: int) -> tuple[float, int]:
    """The return and the number of steps of one episode of a single agent that always does the same."""
    total, steps = 0.0, 0
    while True:
        game.step(action)
        steps += 1
        if len(game.terminals):
            return total + game.terminals.reward[0], steps
        total += game.decisions.reward[0]


def test_the_behavior_sees_one_number_and_takes_one_of_two_actions(new_cube):
    game = new_cube()
    assert game.behavior == "CubeMover?team=0"
    (spec,) = game.world.behavior_specs[game.behavior].observation_specs
    assert (spec.shape, spec.name) == ((1,), "VectorSensor_size1")
    assert game.actions.discrete_branches == (2,) and game.actions.continuous_size == 0
    assert game.decisions.obs[0].tolist() == [[0.0]]


@pytest.mark.parametrize(
    ("variant", "action", "value", "steps"),
    [
        (None, RIGHT, 0.94, 7),
        (None, LEFT, 0.08, 3),
        ("basic", BASIC_RIGHT, 0.93, 7),
        ("basic", BASIC_LEFT, 0.07, 3),
    ],
)
def test_going_one_way_returns_what_the_original_does(new_cube, variant, action, value, steps):
    game = new_cube(variant=variant)
    for _ in range(2):  # every episode is the same
        assert play(game, action) == (pytest.approx(value, abs=1e-6), steps)


def test_a_random_policy_returns_0_17(new_cube):
    game = new_cube(agents=1000)
    random = np.random.default_rng(1)
    total, episodes, steps = 0.0, 0, 0
    while episodes < 50_000:
        game.step(random.integers(0, 2, (1000, 1)))
        steps += 1000
        total += float(game.decisions.reward.sum() + game.terminals.reward.sum())
        episodes += len(game.terminals)
    # One standard error: 0.44 / sqrt(50,000) = 0.002. Absorbed at the large goal 3 times in 10, after 21 steps.
    assert total / episodes == pytest.approx(0.17, abs=0.01)
    assert steps / episodes == pytest.approx(21, rel=0.03)


def test_a_goal_s_reward_replaces_that_of_the_step_and_arrives_with_the_next_decision(new_cube):
    game = new_cube()
    for position in (-1, -2):
        game.step(LEFT)
        assert game.decisions.obs[0].tolist() == [[position]]
        assert game.decisions.reward[0] == np.float32(-0.01) and len(game.terminals) == 0
    game.step(LEFT)
    assert game.terminals.obs[0].tolist() == [[-3.0]] and game.terminals.reward[0] == np.float32(0.1)
    assert not game.terminals.interrupted[0]
    assert game.decisions.obs[0].tolist() == [[0.0]] and game.decisions.reward[0] == 0


def test_the_cells_end_at_10_and_minus_10(new_cube):
    game = new_cube(agents=2)
    game.change(agent_position=[-10, 10])
    game.step([[LEFT], [RIGHT]])
    assert game.decisions.obs[0].ravel().tolist() == [-10, 10]
    game.step([[RIGHT], [LEFT]])
    assert game.decisions.obs[0].ravel().tolist() == [-9, 9]


@pytest.mark.parametrize("action", [-1, 2, 2**31 - 1, -(2**31)])
def test_a_number_that_is_no_action_moves_nothing(new_cube, action):
    game = new_cube()
    game.step(action)
    assert game.decisions.obs[0].tolist() == [[0.0]] and game.decisions.reward[0] == np.float32(-0.01)


def test_there_is_no_time_limit(new_cube):
    game = new_cube()
    for step in range(6000):
        game.step(RIGHT if step % 2 else LEFT)
        assert len(game.terminals) == 0


def test_basic_is_ml_agents_scene(new_cube):
    game = new_cube(agents=4, variant="basic")
    assert game.behavior == "Basic?team=0"
    assert game.decisions.obs[0].shape == (4, 20) and game.actions.discrete_branches == (3,)
    game.step([[STAY], [BASIC_LEFT], [BASIC_RIGHT], [3]])
    assert game.decisions.obs[0].argmax(axis=1).tolist() == [10, 9, 11, 10]
    assert (game.decisions.obs[0].sum(axis=1) == 1).all()
    game.change(agent_position=[19, 0, 20, 20])
    game.step([[BASIC_RIGHT], [BASIC_LEFT], [BASIC_RIGHT], [BASIC_LEFT]])
    assert game.decisions.obs[0][0].sum() == 0  # cell 20 has no place in the observation
    assert game.decisions.obs[0][1].argmax() == 0 and game.decisions.obs[0][2].sum() == 0
    assert game.decisions.obs[0][3].argmax() == 19


def test_areas_multiply_agents_and_ids_count_on(new_game):
    assert list(new_game(2, num_areas=3, name="CubeMover").decisions.agent_id) == list(range(6))


def test_a_loaded_state_goes_on_the_same(new_cube):
    game, copy = new_cube(agents=5), new_cube(agents=5)
    random = np.random.default_rng(0)
    for step in range(60):
        if step == 30:
            copy.take(copy.world.load_state(game.world.state()))
        actions = random.integers(0, 2, (5, 1))
        game.step(actions)
        copy.step(actions if step >= 30 else 0)
        if step >= 30:
            np.testing.assert_array_equal(game.decisions.obs[0], copy.decisions.obs[0])
            np.testing.assert_array_equal(game.terminals.agent_id, copy.terminals.agent_id)


@pytest.mark.parametrize(("variant", "cell"), [(None, -1.0), ("basic", 10)])
def test_reset_sends_no_terminals_and_lets_a_tick_of_zero_actions_pass(new_cube, variant, cell):
    game = new_cube(variant=variant)
    game.step(1)
    game.reset()
    assert game.world.agents["position"].tolist() == [cell]
    assert len(game.terminals) == 0 and game.decisions.reward[0] == np.float32(-0.01)
