"""Agents that train in a game without Python, to the end; and what a frame and a million steps cost."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_cube_mover_learns_to_go_right(play, seed):
    answers = play("train", "CubeMover", seed)
    assert float(answers["greedy"]) >= 0.90  # the best is 0.94, to the left it is 0.08
    assert 40_000 < int(answers["steps"]) < 40_100


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_pole_balancer_learns_to_stay_up(play, seed):
    assert float(play("train", "PoleBalancer", seed)["greedy"]) >= 195  # of 200


def test_it_learns_beside_the_game_as_well(play):
    """At full speed: the game is faster than the updates, so that some steps go to none."""
    answers = play("train", "CubeMover", 1, 0, "threaded")
    assert float(answers["greedy"]) >= 0.90 and int(answers["updates"]) >= 3


def test_a_seed_is_a_training(play):
    """The same seed gives the same, in this thread; another one gives something else."""
    first, second, other = (play("train", "PoleBalancer", seed, 6000) for seed in (7, 7, 8))
    assert (first["steps"], first["greedy"]) == (second["steps"], second["greedy"])
    assert (first["steps"], first["greedy"]) != (other["steps"], other["greedy"])


@pytest.mark.slow
def test_a_million_steps_leave_no_garbage(play):
    answers = play("flat", 1_000_000)
    assert int(answers["updates"]) > 400
    assert int(answers["collections"]) == 0
    assert abs(int(answers["bytes"])) < 100_000  # less than one byte for ten steps
    assert int(answers["resident_kilobytes"]) < 8_000


def test_updates_keep_to_what_a_frame_grants(play):
    """12 agents at 60 frames a second with 2 ms for the update: processor time, since others use this machine, too."""
    answers = play("frames", "PoleBalancer", 12, 6, 2, 60)
    assert int(answers["frames_updating"]) > 50
    assert int(answers["collections"]) == 0
    assert float(answers["game_processor_0.99"]) < 2.0
    assert float(answers["update_processor_0.9"]) < 2.5
