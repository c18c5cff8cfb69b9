"""Charts on a disk that is full for a while, and under a clock that is set back."""

import csv
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainers.charts import Charts

TAG = "Environment/Cumulative Reward"


@pytest.fixture
def read() -> Callable[[Path], list[tuple[int, float]]]:
    """Steps and values that TensorBoard shows."""

    def read_scalars(folder: Path) -> list[tuple[int, float]]:
        reader = EventAccumulator(str(folder), size_guidance={"scalars": 0})
        reader.Reload()
        return [(event.step, event.value) for event in reader.Scalars(TAG)]

    return read_scalars


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


def write(charts: Charts, steps: range) -> None:
    for step in steps:
        charts.scalar(step, TAG, step / 2)
        charts.flush()


@pytest.fixture
def largest_file() -> Callable[[int], None]:
    """`largest_file(bytes)`: no file of this process may become longer, as on a full disk; -1: any length."""
    if sys.platform == "win32":
        pytest.skip("there is no limit on the size of files")
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (before[0] if size < 0 else size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # TensorBoard's own thread
@pytest.mark.parametrize("size", [0, 150, 400, 1000])
def test_what_a_full_disk_had_no_room_for_follows_when_there_is_some(
    tmp_path: Path,
    read: Callable[[Path], list[tuple[int, float]]],
    largest_file: Callable[[int], None],
    caplog: pytest.LogCaptureFixture,
    size: int,
) -> None:
    charts = Charts(tmp_path, 0, tmp_path / "all.csv")
    write(charts, range(10, 13))
    largest_file(size)
    with caplog.at_level(logging.WARNING):
        write(charts, range(13, 60))
        largest_file(-1)
        write(charts, range(60, 63))
    charts.close()
    assert "The charts cannot be written: " in caplog.text
    assert caplog.messages[-1].endswith("are written again; nothing of them is missing.")
    assert read(tmp_path) == [(step, step / 2) for step in range(10, 63)]
    assert [(int(step), float(value)) for step, _, value in rows(tmp_path / "all.csv")] == read(tmp_path)


def test_a_clock_that_is_set_back_by_an_hour_puts_nothing_in_the_wrong_order(
    tmp_path: Path, read: Callable[[Path], list[tuple[int, float]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for resumed in (0, 20, 40):  # three runs, and the second and third redo the last 5 steps
        charts = Charts(tmp_path, resumed, None)
        write(charts, range(resumed + 1, resumed + 26))
        charts.close()
        now = time.time
        monkeypatch.setattr(time, "time", lambda now=now: now() - 3600)
    assert read(tmp_path) == [(step, step / 2) for step in range(1, 66)]
