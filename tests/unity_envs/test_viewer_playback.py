"""What happened in a world, as poses: played here, in between steps, and read from recordings."""

import json
from pathlib import Path

import numpy as np
import pytest
from mlagents_envs.base_env import ActionTuple

from unity_envs.playback import Playback, read_recording, record_play
from unity_envs.replay import replay

GOLDEN = Path(__file__).parent / "golden"


def always(number):
    """A player that always takes that discrete action."""
    return lambda decisions: ActionTuple(discrete=np.full((len(decisions), 1), number, np.int32))


def tilting(decisions):
    """Continuous actions that differ between agents."""
    return ActionTuple(continuous=np.linspace(-1, 1, 2 * len(decisions), dtype=np.float32).reshape(-1, 2))


# ---- played here ----


@pytest.mark.parametrize(("variant", "right", "first"), [(None, 1, [-1, 0]), ("basic", 2, [0])])
def test_a_cube_that_goes_right_arrives_at_the_large_goal_and_starts_again(new_game, variant, right, first):
    played = record_play(new_game(1, name="CubeMover", variant=variant).world, always(right), 10 * 0.02)
    assert played.step == 0.02
    # The tick that passes after a reset moves the cube to the left; in `basic` it stays.
    assert played.poses[:, 0, 0].tolist() == [*first, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3][:11]
    assert played.ends[:, 0, 0].tolist() == [*first[1:], 1, 2, 3, 4, 5, 6, 7, 1, 2, 3][:10]


def test_a_cube_hops_in_the_first_half_of_a_step_and_rests_in_the_second(new_game):
    played = record_play(new_game(1, name="CubeMover").world, always(1), 9 * 0.02)
    assert [round(float(played.at(0.02 * steps)[0, 0]), 3) for steps in (1, 1.25, 1.5, 1.9, 2)] == [0, 0.5, 1, 1, 1]
    assert played.at(0.02 * 7.7)[0, 0] == 7  # on the goal, which no state of the world shows
    assert played.at(0.02 * 8)[0, 0] == pytest.approx(0, abs=1e-9)
    assert played.at(99.0)[0, 0] == 1  # the last one


def test_a_playback_of_3dball_has_the_states_at_the_decisions(new_game):
    played = record_play(new_game(3, seed=4).world, tilting, 3.0)
    assert (played.behavior, played.step) == ("3DBall", pytest.approx(0.1))
    assert played.poses.shape == (31, 3, 8)
    game = new_game(3, seed=4)
    game.reset()  # as the playback does
    ended = []
    for number in range(31):
        assert (played.poses[number, :, :4] == game.world.agents["platform"]).all()
        assert (played.poses[number, :, 4:7] == game.world.agents["ball"][:, :3]).all()
        over = []
        game.step(tilting(game.decisions).continuous)
        over += game.terminals.agent_id.tolist()
        while not len(game.decisions):
            game.step()
            over += game.terminals.agent_id.tolist()
        ended.append(over)
    assert sum(map(len, ended)) > 2
    for number, over in enumerate(ended[:-1]):
        for agent in range(3):  # who failed stays as it was until the new episode is shown
            row = number if agent in over else number + 1
            assert (played.ends[number, agent] == played.poses[row, agent]).all()


def test_a_pole_is_where_the_world_has_it(new_game):
    world = new_game(2, name="PoleBalancer").world
    played = record_play(world, always(1), 0.1)
    assert played.poses.shape == (6, 2, 4)
    expected = np.concatenate([world.agents["cart"][:, :1], world.agents["pole"][:, :3]], axis=1)
    assert (played.poses[-1] == expected).all()
    assert played.poses[-1, 0, 0] > 0.15


def test_between_two_steps_a_playback_is_in_between():
    poses = np.array([[[0.0] * 8], [[1.0] * 8], [[3.0] * 8]])
    played = Playback("3DBall", 0.1, poses, poses[1:])
    times = (0, 0.05, 0.1, 0.175, 0.2, 7)
    assert [float(played.at(time)[0, 0]) for time in times] == pytest.approx([0, 0.5, 1, 2.5, 3, 3])


# ---- recordings ----


def load(name):
    return json.loads((GOLDEN / name).read_text())


def test_recorded_balls_are_shown_side_by_side_and_stay_at_their_end():
    recording = load("ball3d_episodes.json")
    played = read_recording("3DBall", recording, 4)
    episodes = recording["episodes"][:4]
    assert played.step == pytest.approx(0.1)  # this file has the states of decisions only
    assert played.poses.shape == (max(len(episode["decision_ball"]) for episode in episodes), 4, 8)
    for agent, episode in enumerate(episodes):
        last = len(episode["decision_ball"]) - 1
        assert played.poses[0, agent].tolist() == [*episode["q0"], *episode["p0"], 0.5]
        assert played.poses[last, agent, 4:7].tolist() == episode["decision_ball"][last][:3]
        assert (played.poses[last:, agent] == played.poses[last, agent]).all()
    assert read_recording("3DBall", recording).poses.shape[1] == 12


def test_episodes_with_every_tick_are_shown_in_ticks_unless_another_has_decisions_only():
    recording = load("ball3d_episodes.json")
    recording["episodes"] = recording["episodes"][:2]
    again = replay("3DBall", recording)  # writes every tick
    played = read_recording("3DBall", again)
    assert played.step == 0.02
    assert len(played.poses) == max(len(episode["tick_ball"]) for episode in again["episodes"])
    mixed = again | {"episodes": [again["episodes"][0], recording["episodes"][1]]}
    by_decisions = read_recording("3DBall", mixed)
    assert by_decisions.step == pytest.approx(0.1)
    assert by_decisions.poses[3, 0].tolist() == played.poses[15, 0].tolist()


def test_a_scaled_ball_has_its_radius():
    played = read_recording("3DBall", load("ball3d_variants.json"), 42)
    assert set(played.poses[0, :, 7].tolist()) == {0.375, 0.5, 1.0, 1.5}


def test_recorded_poles_are_shown():
    recording = load("pole.json")
    played = read_recording("PoleBalancer", recording)
    first = recording["episodes"][0]
    assert played.poses.shape == (len(first["states"]), 1, 4)
    assert played.poses[0, 0, 3] == pytest.approx(first["theta0"], abs=1e-5)
    assert played.poses[-1, 0, 0] == first["states"][-1][0]
    # The pole hangs together with the cart: its centre is 0.95 m from the hinge.
    cart, x, y, _ = played.poses[:, 0].T
    assert np.hypot(x - cart, y - 0.15) == pytest.approx(np.full(len(x), 0.95), abs=5e-3)


@pytest.mark.parametrize(("variant", "start"), [(None, -2), ("basic", 8)])
def test_recorded_cubes_are_shown(variant, start):
    episode = {"start": start, "actions": [1, 1], "positions": [start, start + 1, start + 2]}
    recording = {"meta": {}, "episodes": [episode | ({"variant": variant} if variant else {})]}
    assert read_recording("CubeMover", recording).poses[:, 0, 0].tolist() == [-2, -1, 0]


@pytest.mark.parametrize(
    ("name", "recording", "message"),
    [
        ("Walker", {"episodes": [{}]}, "there is no format for recordings of Walker: known are CubeMover"),
        ("3DBall", {"meta": {}}, "episodes: is missing"),
        ("3DBall", {"episodes": []}, "episodes: must be a list with something in it"),
        ("3DBall", {"episodes": [{"q0": [0, 0, 0, 1]}]}, "episode 0, tick_ball or decision_ball: is missing"),
        ("3DBall", {"episodes": [{"tick_ball": [[1, 2]]}]}, "episode 0, tick_ball: must be rows of 9 numbers"),
        ("3DBall", {"episodes": [{"tick_ball": [[0] * 9]}]}, "episode 0, tick_platform: is missing"),
        ("PoleBalancer", {"episodes": [{"theta0": 0.0}]}, "episode 0, states: is missing"),
        ("PoleBalancer", {"episodes": [{"states": []}]}, "episode 0, states: is empty"),
        ("CubeMover", {"episodes": [{"positions": [0, "x"]}]}, "episode 0, positions: must be a list of numbers"),
        ("CubeMover", {"episodes": [{"positions": []}]}, "episode 0, positions: is empty"),
    ],
)
def test_a_recording_that_cannot_be_shown_is_told(name, recording, message):
    with pytest.raises(ValueError, match=message):
        read_recording(name, recording)
