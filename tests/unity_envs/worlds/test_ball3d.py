"""The 3DBall world from outside: what is sent when, with numbers a person can check."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from mlagents_envs.base_env import ActionTuple

from bridge.exceptions import UnityEnvironmentException
from unity_envs.worlds import make_world_factory

FLAT = [0.0, 0.0, 0.0, 1.0]
FALL = 9.81 * 0.02 * 0.02  # m that the first tick of a free fall takes


def flying(x: float, speed: float) -> list[float]:
    """A ball high above the platform, on its way out along x."""
    return [x, 20.0, 0.0, speed, 0.0, 0.0, 0.0, 0.0, 0.0]


def snapshot(game) -> list[np.ndarray]:
    """All arrays of the latest message, copied."""
    steps = (game.decisions, game.terminals)
    arrays = [array for step in steps for array in (step.obs[0], step.reward, step.agent_id, step.group_id)]
    return [array.copy() for array in [*arrays, game.terminals.interrupted]]


def assert_same(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_behavior_is_that_of_ml_agents(new_game):
    (name, spec), *rest = new_game().world.behavior_specs.items()
    assert name == "3DBall?team=0" and not rest
    assert [(each.shape, each.name) for each in spec.observation_specs] == [((8,), "VectorSensor_size8")]
    assert spec.action_spec.continuous_size == 2 and spec.action_spec.discrete_size == 0


def test_the_first_message_has_a_fresh_decision_of_all_12_agents(new_game):
    game = new_game()
    game.begin_anew()
    decisions = game.decisions
    assert list(decisions.agent_id) == list(range(12)) and len(game.terminals) == 0
    assert decisions.obs[0].shape == (12, 8) and decisions.obs[0].dtype == np.float32
    assert decisions.reward.dtype == np.float32 and not decisions.reward.any()
    tilt, position, velocity = np.split(decisions.obs[0], [2, 5], axis=1)
    assert np.abs(tilt).max() <= math.sin(math.radians(5.0)) and len(np.unique(tilt)) == 24
    assert (position[:, 1] == 4).all() and np.abs(position[:, [0, 2]]).max() <= 1.5
    assert not velocity.any()


def test_num_areas_multiplies_the_agents(new_game):
    assert list(new_game(agents=3, num_areas=4).decisions.agent_id) == list(range(12))


def test_a_whole_decision_is_worth_one_tenth_not_five(new_game):
    game = new_game()
    game.begin_anew()
    for decision in range(1, 4):
        game.step()
        np.testing.assert_array_equal(game.decisions.reward, np.float32(0.1))
        fallen = 4 - FALL * sum(range(1, 5 * decision + 1))
        np.testing.assert_allclose(game.decisions.obs[0][:, 3], fallen, atol=1e-5)


def test_an_action_turns_the_platform_ten_degrees_in_a_decision(new_game):
    game = new_game(agents=3)
    game.change(agent_platform=FLAT)
    game.step(np.array([[1.0, 0.0], [0.0, -0.5], [7.0, -math.inf]]))  # the last is cut to (1, -1)
    tilt = game.decisions.obs[0][:, :2]
    assert tilt[0] == pytest.approx([math.sin(math.radians(5.0)), 0.0], abs=1e-6)
    assert tilt[1] == pytest.approx([0.0, -math.sin(math.radians(2.5))], abs=1e-6)
    game.change(agent_platform=FLAT)
    cut = tilt[2].copy()
    game.step(np.array([[0.0, 0.0], [0.0, 0.0], [1.0, -1.0]]))
    np.testing.assert_array_equal(game.decisions.obs[0][2, :2], cut)


@pytest.mark.parametrize("tick", [20, 21, 22, 23])
def test_a_failure_between_decisions_is_sent_alone_in_the_next_tick(new_game, tick):
    game = new_game()
    for _ in range(4):
        game.step()
    balls = game.world.state()["agent_ball"]
    balls[5] = flying(3.1 - (tick - 20) * 0.12, 6.0)  # 0.12 m a tick, past 3 m after tick - 20 of them
    game.change(agent_ball=balls)
    game.step()
    assert game.tick == tick + 1
    assert len(game.decisions) == 0
    assert list(game.terminals.agent_id) == [5]
    assert list(game.terminals.reward) == [-1.0]  # the 0.1 of the ticks before it is replaced
    assert list(game.terminals.interrupted) == [False]
    assert game.terminals.obs[0][0, 2] == pytest.approx(3.1)  # before the reset
    game.step()
    assert game.tick == 25 and len(game.terminals) == 0
    # The episode began in tick `tick`. Its zero-action ticks were tick + 1 to 24: 0.1 each, assigned and so 0.1 in all.
    np.testing.assert_array_equal(game.decisions.reward, np.float32(0.1))
    falls = 25 - tick
    assert game.decisions.obs[0][5, 3] == pytest.approx(4 - FALL * sum(range(1, falls + 1)), abs=1e-6)


def test_a_failure_in_the_tick_before_a_decision_is_sent_together_with_it(new_game):
    game = new_game()
    for _ in range(4):
        game.step()
    balls = game.world.state()["agent_ball"]
    balls[5] = flying(3.1 - 4 * 0.12, 6.0)  # past 3 m after 4 ticks
    game.change(agent_ball=balls)
    game.step()
    assert game.tick == 25 and len(game.decisions) == 12
    assert list(game.terminals.agent_id) == [5] and list(game.terminals.reward) == [-1.0]
    # No tick of the new episode was rewarded yet, but the physics of tick 24 already moved its ball.
    expected = np.full(12, 0.1, np.float32)
    expected[5] = 0.0
    np.testing.assert_array_equal(game.decisions.reward, expected)
    assert game.decisions.obs[0][5, 3] == pytest.approx(4 - FALL, abs=1e-6)


def test_a_new_episode_executes_zero_actions_until_its_first_decision(new_game):
    game = new_game(agents=1)
    game.change(agent_ball=flying(3.1, 0.0))
    game.step(1.0)
    assert game.tick == 1
    fresh = game.world.state()["agent_platform"].copy()
    game.step()
    np.testing.assert_allclose(game.world.state()["agent_platform"], fresh, atol=1e-12)


def test_other_agents_go_on_with_their_action_while_a_terminal_is_sent(new_game):
    alone, disturbed = new_game(agents=2), new_game(agents=2)
    alone.change(agent_ball=[flying(0.0, 0.0), flying(0.0, 0.0)], agent_platform=FLAT)
    disturbed.change(agent_ball=[flying(0.0, 0.0), flying(3.1, 0.0)], agent_platform=FLAT)
    alone.step(0.7)
    disturbed.step(0.7)
    assert len(disturbed.decisions) == 0
    disturbed.step()
    np.testing.assert_array_equal(alone.decisions.obs[0][0], disturbed.decisions.obs[0][0])


def test_a_second_end_before_the_next_decision_sends_no_second_terminal(new_game):
    game = new_game(agents=2)
    game.change(agent_ball=[flying(0.0, 0.0), flying(3.1, 0.0)])
    game.step()
    assert game.tick == 1 and list(game.terminals.agent_id) == [1]
    game.change(agent_ball=[flying(0.0, 0.0), flying(3.1, 0.0)])
    game.step()
    assert game.tick == 5 and len(game.terminals) == 0 and len(game.decisions) == 2
    assert game.decisions.obs[0][1, 3] < 4  # it was reset again


def test_a_time_out_between_decisions_is_an_interrupted_terminal_with_its_reward(new_game):
    game = new_game(agents=2)
    game.change(step_counts=np.array([0, 4998]))
    game.step()
    assert game.tick == 2 and len(game.decisions) == 0
    assert list(game.terminals.agent_id) == [1] and list(game.terminals.interrupted) == [True]
    assert game.terminals.reward[0] == np.float32(0.1)


def test_a_good_controller_gets_exactly_100_in_1000_decisions(new_game):
    game = new_game()
    total = np.zeros(12)
    for _ in range(999):
        game.step(game.balance())
        assert len(game.terminals) == 0
        total += game.decisions.reward
    game.step(game.balance())
    assert game.tick == 5000
    assert list(game.terminals.agent_id) == list(range(12)) and game.terminals.interrupted.all()
    np.testing.assert_allclose(total + game.terminals.reward, 100.0, atol=1e-4)
    assert len(game.decisions) == 12 and not game.decisions.reward.any()
    assert (np.abs(game.terminals.obs[0][:, 2:5] - [0, 3, 0]) < 0.5).all()  # the states before the reset


def test_reset_in_the_middle_starts_anew_without_terminals(new_game):
    game = new_game()
    before = game.decisions.obs[0].copy()
    game.step(1.0)
    game.change(agent_ball=flying(3.1, 0.0))
    game.step(1.0)
    assert len(game.terminals) == 12
    game.reset()
    assert game.tick == 0 and len(game.terminals) == 0
    assert list(game.decisions.agent_id) == list(range(12))
    # As in Unity, the tick in which the reset arrives goes on: its reward, and a first tick of free fall.
    np.testing.assert_array_equal(game.decisions.reward, np.float32(0.1))
    np.testing.assert_allclose(game.decisions.obs[0][:, 3], 4 - FALL, atol=1e-6)
    np.testing.assert_allclose(game.decisions.obs[0][:, 5:], [[0, -9.81 * 0.02, 0]] * 12, atol=1e-6)
    assert (game.decisions.obs[0] != before).any()  # other random starts
    game.step()
    np.testing.assert_array_equal(game.decisions.reward, np.float32(0.1))


def test_the_tick_after_a_reset_does_not_count_for_the_time_limit(new_game):
    game = new_game(agents=1)
    for _ in range(999):
        game.step(game.balance())
    assert game.world.step_counts.tolist() == [4995] and game.tick == 4995
    game.step(game.balance())
    assert game.tick == 5000 and game.terminals.interrupted.tolist() == [True]


def test_spin_survives_an_episode_s_end_as_in_unity(new_game):
    game = new_game(agents=1)
    ball = flying(3.1, 0.0)
    ball[6:] = [1.0, 2.0, -3.0]
    game.change(agent_ball=ball)
    game.step()
    np.testing.assert_allclose(game.world.state()["agent_ball"][0, 6:], np.array([1.0, 2.0, -3.0]) * (1 - 0.0002))


def test_a_random_policy_earns_about_one(new_game):
    game = new_game(agents=100)
    random = np.random.default_rng(0)
    total, episodes = 0.0, 0
    while episodes < 1000:
        game.step(random.uniform(-1, 1, (100, 2)))
        total += game.decisions.reward.sum() + game.terminals.reward.sum()
        episodes += len(game.terminals)
    assert 0.9 < total / episodes < 1.3


def test_the_seed_decides_the_episodes(new_game):
    first, same, other = new_game(seed=-7), new_game(seed=-7), new_game(seed=-6)
    different = False
    actions = np.random.default_rng(0).uniform(-1, 1, (300, 12, 2))
    for each in actions:
        first.step(each)
        same.step(each)
        other.step(each)
        assert_same(snapshot(first), snapshot(same))
        different |= snapshot(first)[0].shape != snapshot(other)[0].shape
    assert different


@pytest.mark.parametrize("messages", [0, 1, 100, 101, 102, 103])
def test_a_loaded_state_goes_on_bit_for_bit(new_game, messages):
    actions = np.random.default_rng(0).uniform(-1, 1, (messages + 200, 12, 2))
    game = new_game(seed=3)
    for each in actions[:messages]:
        game.step(each)
    file = io.BytesIO()
    np.savez(file, **game.world.state())
    file.seek(0)
    loaded = dict(np.load(file))
    assert {str(array.dtype) for array in loaded.values()} <= {"float64", "float32", "int64", "int32", "bool"}

    copy = new_game(seed=99)
    copy.take(copy.world.load_state(loaded))
    assert_same(snapshot(game), snapshot(copy))
    ends = 0
    for each in actions[messages:]:
        game.step(each)
        copy.step(each)
        assert_same(snapshot(game), snapshot(copy))
        ends += len(game.terminals)
    assert ends > 10


def test_a_state_is_a_copy_and_needs_as_many_agents(new_game):
    game = new_game()
    state = game.world.state()
    before = state["agent_ball"].copy()
    game.step(1.0)
    np.testing.assert_array_equal(state["agent_ball"], before)
    with pytest.raises(ValueError, match="12 agents, this one has 5"):
        new_game(agents=5).world.load_state(state)


def test_mass_and_scale_are_read_as_each_episode_begins(new_game):
    game = new_game()
    assert game.parameters.reads == {"mass": 12, "scale": 12, "gravity": 1}
    scales = iter([2.0, 3.0])
    game.parameters.values["scale"] = lambda: next(scales)
    balls = game.world.state()["agent_ball"]
    balls[[4, 7]] = flying(3.1, 0.0)
    game.change(agent_ball=balls)
    game.step()
    radius = game.world.state()["agent_radius"]
    assert (radius[4], radius[7]) == (1.0, 1.5) and (np.delete(radius, [4, 7]) == 0.5).all()
    assert game.parameters.reads == {"mass": 14, "scale": 14, "gravity": 2}


def test_a_larger_ball_rests_higher(new_game):
    game = new_game(agents=2)
    game.parameters.values["scale"] = 2.0
    game.step()
    game.change(agent_ball=[[0, 3.0] + [0] * 7, [0, 3.5] + [0] * 7], agent_platform=FLAT, agent_radius=[0.5, 1.0])
    game.step()
    assert list(game.decisions.obs[0][:, 3]) == pytest.approx([3.0, 3.5], abs=1e-6)
    game.reset()  # now both are large, and begin at the same height
    assert list(game.world.state()["agent_radius"]) == [1.0, 1.0]
    np.testing.assert_allclose(game.decisions.obs[0][:, 3], 4 - FALL, atol=1e-6)


def test_gravity_holds_for_all_agents_from_the_next_step(new_game):
    game = new_game()
    game.begin_anew()
    game.parameters.values["gravity"] = 20.0
    game.step()
    np.testing.assert_allclose(game.decisions.obs[0][:, 3], 4 - 20 * 0.0004 * 15, atol=1e-6)
    game.parameters.values["gravity"] = 0.0
    game.step()
    np.testing.assert_allclose(game.decisions.obs[0][:, 6], -2.0, atol=1e-6)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("scale", 0.0, "scale must be above 0, got 0.0"),
        ("scale", -1.0, "scale must be above 0, got -1.0"),
        ("scale", math.nan, "scale must be finite, got nan"),
        ("gravity", math.inf, "gravity must be finite, got inf"),
    ],
)
def test_an_impossible_parameter_is_refused_by_name(new_game, key, value, words):
    game = new_game()
    game.parameters.values[key] = value
    with pytest.raises(UnityEnvironmentException, match=f"3DBall: environment parameter {words}"):
        game.step()
        game.reset()


def test_an_action_that_is_not_a_number_counts_as_zero_and_disturbs_nobody(new_game):
    broken, clean = new_game(), new_game()
    actions = np.random.default_rng(0).uniform(-1, 1, (50, 12, 2))
    actions[:, 3] = 0.0
    for each in actions:
        clean.step(each)
        each[3] = math.nan
        broken.step(each)
        assert_same(snapshot(broken), snapshot(clean))
    assert np.isfinite(broken.world.state()["agent_ball"]).all()


def test_actions_may_have_any_memory_layout_and_type(new_game):
    usual, strange = new_game(), new_game()
    actions = np.random.default_rng(0).uniform(-1, 1, (12, 2)).astype(np.float32)
    usual.step(actions)
    other = ActionTuple()
    other._continuous = np.asfortranarray(actions.astype(np.float64))
    other._continuous.setflags(write=False)
    strange.take(strange.world.step({strange.behavior: other}))
    assert_same(snapshot(usual), snapshot(strange))


def test_wrong_use_is_refused(new_game):
    game = new_game()
    with pytest.raises(ValueError, match=r"no actions for behavior 3DBall\?team=0"):
        game.world.step({})
    with pytest.raises(ValueError, match=r"must be \(12, 2\), got \(3, 2\)"):
        game.world.step({game.behavior: ActionTuple(np.zeros((3, 2), np.float32))})
    with pytest.raises(ValueError, match="1 agents and 0 areas"):
        new_game(agents=1, num_areas=0)
    fresh = make_world_factory("3DBall")(1, 1, game.parameters)
    for use in (fresh.state, lambda: fresh.step({})):
        with pytest.raises(RuntimeError, match="reset"):
            use()
