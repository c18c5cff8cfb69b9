"""A trainer that is killed at moments drawn at random, and resumed."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]
KILLS = 10  # 200 in `make soak`


@pytest.fixture(scope="module")
def killed(trainings: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """What was seen of a run that was killed, and its folder."""
    folder = tmp_path_factory.mktemp("killed")
    return trainings.kill_again_and_again(KILLS, 0, folder, in_process=False), folder


def test_a_trainer_that_is_killed_goes_on_from_its_last_checkpoint(killed: Any, trainings: ModuleType) -> None:
    seen, folder = killed
    assert seen.kills == KILLS and not seen.failures and seen.end_code == 0, seen
    assert seen.before_a_checkpoint < KILLS / 2
    assert max(seen.steps_lost, default=0) <= trainings.CHECKPOINT_EVERY + trainings.AT_ONCE
    files = trainings.run_files(folder / "results" / "killed")
    assert len(files["checkpoints"]) == len(files["models"]) == trainings.KEEP
    assert files["temporary"] == []
    assert trainings.processes_that_name(folder) == []


def test_however_often_a_trainer_is_killed_no_summary_is_lost_or_shown_twice(killed: Any, trainings: Any) -> None:
    _, folder = killed
    files = trainings.run_files(folder / "results" / "killed")
    assert files["lost"] == files["twice"] == files["csv_lost"] == []
    assert files["csv_twice"] == 0
