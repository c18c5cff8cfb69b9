"""Players that are not in lockstep: who makes a batch, and when."""

import threading
import time

import numpy as np
import pytest
from mlagents_envs.base_env import ActionTuple

from bridge.fleet import Fleet
from bridge.in_process import InProcessEnvironment

pytestmark = pytest.mark.timeout(60)


class Gated(InProcessEnvironment):
    """Answers only while its gate is open."""

    def __init__(self, world) -> None:
        super().__init__(world)
        self.gate = True
        self.tell = lambda: None

    @property
    def ready(self) -> bool:
        return self.gate

    def on_message(self, callback) -> None:
        self.tell = callback

    def open(self) -> None:
        self.gate = True
        self.tell()


@pytest.fixture
def players(toy) -> list[Gated]:
    return [Gated(toy.EchoWorld) for _ in range(4)]


def shut(players: list[Gated], *which: int) -> None:
    for number in which:
        players[number].gate = False


def answered(steps, toy) -> list[int]:
    return sorted(set(steps[toy.ECHO].decision_players.tolist()))


def test_half_of_the_players_make_a_batch_and_the_others_the_next_one(players: list[Gated], toy) -> None:
    fleet = Fleet(players, patience=30)
    assert answered(fleet.reset(), toy) == [0, 1, 2, 3]
    fleet.set_actions(toy.ECHO, ActionTuple(np.arange(16, dtype=np.float32).reshape(8, 2)))
    fleet.send_step()
    shut(players, 1, 2)
    steps = fleet.receive()
    assert answered(steps, toy) == [0, 3]
    assert steps[toy.ECHO].decisions.obs[0].tolist() == [[0, 1], [2, 3], [12, 13], [14, 15]]
    fleet.set_actions(toy.ECHO, ActionTuple(np.full((4, 2), 7, np.float32)))
    fleet.send_step()
    shut(players, 0, 3)
    for number in (1, 2):
        players[number].open()
    steps = fleet.receive()
    assert answered(steps, toy) == [1, 2]
    assert steps[toy.ECHO].decisions.obs[0].tolist() == [[4, 5], [6, 7], [8, 9], [10, 11]]
    for number in (0, 3):
        players[number].open()
    assert fleet.receive()[toy.ECHO].decisions.obs[0].tolist() == [[7, 7]] * 4


def test_nobody_waits_longer_than_the_patience(players: list[Gated], toy) -> None:
    fleet = Fleet(players, patience=0.2)
    fleet.reset()
    fleet.send_step()
    shut(players, 0, 1, 3)
    before = time.monotonic()
    assert answered(fleet.receive(), toy) == [2]
    assert time.monotonic() - before >= 0.2


def test_with_nobody_there_it_waits_for_the_first(players: list[Gated], toy) -> None:
    fleet = Fleet(players[:2], patience=30)
    fleet.reset()
    fleet.send_step()
    shut(players, 0, 1)
    timer = threading.Timer(0.1, players[1].open)
    timer.start()
    assert answered(fleet.receive(), toy) == [1]
    timer.join()


def test_a_reset_is_for_all_and_forgets_what_is_on_its_way(players: list[Gated], toy) -> None:
    fleet = Fleet(players, patience=0)
    fleet.reset()
    fleet.set_actions(toy.ECHO, ActionTuple(np.ones((8, 2), np.float32)))
    fleet.send_step()
    shut(players, 0, 1, 2)
    assert answered(fleet.receive(), toy) == [3]
    steps = fleet.reset()
    assert answered(steps, toy) == [0, 1, 2, 3]
    assert not steps[toy.ECHO].decisions.obs[0].any()


def test_in_lockstep_all_are_waited_for(players: list[Gated], toy) -> None:
    fleet = Fleet(players)
    fleet.reset()
    fleet.send_step()
    shut(players, 0, 1, 2)
    assert answered(fleet.receive(), toy) == [0, 1, 2, 3]
