"""Players that go wrong in every way that we could think of."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bridge.environment import UnityEnvironment
from bridge.exceptions import UnityCommunicationException, UnityEnvironmentException

pytestmark = pytest.mark.timeout(600)

# The life's fault, and what the warning says of it; None: that life goes on.
LIVES = [
    ("exits@40", "exited with code 3"),
    ("exits@1", "exited with code 3"),
    ("exits@2", "exited with code 3"),
    ("exits@3", "exited with code 3"),
    ("killed@40", "was ended by signal SIGKILL"),
    ("closes mid-message@40", "exited with code 3"),
    ("garbage@40", "the player sent 100 bytes that are no protocol message"),
    ("other shape@40", "observation 0 (VectorSensor_size8) of agent 0 of behavior '3DBall?team=0' has 7 values"),
    ("same id@40", "the player sent agent 0 of behavior '3DBall?team=0' twice in one message"),
    ("not a number@40", "is NaN; look for a division by zero"),
    ("slow@10", None),
]
STEPS = 2500


@pytest.fixture(scope="module")
def broken(trainings: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[tuple[int, int]]]:
    """A training whose player has all these lives; and the trainer's open files and threads, as it went."""
    folder, samples = tmp_path_factory.mktemp("broken"), []

    def watch(trainer: int) -> None:
        with contextlib.suppress(FileNotFoundError):  # it has just ended
            samples.append((len(os.listdir(f"/proc/{trainer}/fd")), len(os.listdir(f"/proc/{trainer}/task"))))

    return trainings.train_with_faults([fault for fault, _ in LIVES], folder, steps=STEPS, watch=watch), samples


def test_a_player_that_fails_is_started_again_and_training_goes_on(broken: Any) -> None:
    training, _ = broken
    assert training.code == 0, training.output
    assert training.lives == len(LIVES)
    assert training.saved >= STEPS
    warnings = [line for line in training.output.splitlines() if "failed and is started again: " in line]
    assert len(warnings) == len(LIVES) - 1
    for warning, (fault, said) in zip(warnings, LIVES, strict=False):
        assert said in warning, fault


def test_a_player_that_fails_takes_no_more_than_its_open_trajectories_with_it(broken: Any, trainings: Any) -> None:
    training, _ = broken
    assert 0 <= training.played - training.saved <= len(LIVES) * trainings.AT_ONCE


def test_restarts_leave_no_file_and_no_thread_behind(broken: Any) -> None:
    _, samples = broken
    alive = [sample for sample in samples if sample[0] > 0]
    middle, end = alive[len(alive) // 2], alive[-2]
    assert end[0] <= middle[0] + 4 and end[1] <= middle[1] + 4, alive


@pytest.mark.parametrize("fault", ["64 MiB@40", "nobody then all@40", "other actions@40"])
def test_an_unusual_message_is_no_reason_to_stop(trainings: Any, tmp_path: Path, fault: str) -> None:
    training = trainings.train_with_faults([fault], tmp_path, steps=800)
    assert (training.code, training.lives) == (0, 1), training.output


@pytest.mark.slow
def test_a_player_that_stands_still_is_replaced_after_timeout_wait(trainings: Any, tmp_path: Path) -> None:
    training = trainings.train_with_faults(["stopped@40", "none"], tmp_path, steps=800, flags=["--timeout-wait=30"])
    assert (training.code, training.lives) == (0, 2), training.output
    assert "is started again: the player is connected but sent nothing within 30 s" in training.output


@pytest.fixture
def open_player(trainings: Any, tmp_path: Path) -> Iterator[Callable[[str], UnityEnvironment]]:
    """`open_player(fault)`: an environment whose player has this fault in its first life."""
    opened = []

    def start(fault: str) -> UnityEnvironment:
        arguments = ["--lives", str(tmp_path / "lives"), "--faults", fault]
        opened.append(UnityEnvironment(str(trainings.faulty_player(tmp_path)), additional_args=arguments))
        return opened[-1]

    yield start
    for environment in opened:
        environment.close()


@pytest.mark.parametrize("message", [1, 2, 3])
def test_a_player_that_exits_in_the_handshake_is_named_with_its_exit_code(open_player: Any, message: int) -> None:
    with pytest.raises(UnityEnvironmentException, match=r"player 0 \(.*faulty\) exited with code 3"):
        open_player(f"exits@{message}").reset()


def test_after_a_message_that_is_refused_the_player_can_be_reset(open_player: Any) -> None:
    environment = open_player("same id@5")
    environment.reset()
    with pytest.raises(UnityCommunicationException, match="twice in one message"):
        for _ in range(5):
            environment.step()
    environment.reset()
    environment.step()
    decisions, _ = environment.get_steps("3DBall?team=0")
    assert sorted(decisions.agent_id) == list(range(12))
