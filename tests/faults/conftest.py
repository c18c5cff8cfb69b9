"""Trainings that are broken on purpose; see trainings.py."""

import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def trainings() -> ModuleType:
    """The module trainings.py."""
    if sys.platform != "linux":
        pytest.skip("signals, limits and /proc are Linux'")
    spec = importlib.util.spec_from_file_location("trainings", HERE / "trainings.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["trainings"] = module  # where its dataclasses look for their types
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def train(trainings: ModuleType, tmp_path: Path) -> Iterator[Callable]:
    """`train(*flags, steps, before)`: a training in-process to its end; a Training. `before` runs in its process."""
    started = []

    def run(*flags: str, steps: int = 1500, before: Callable[[], None] | None = None, code: int | None = 0):
        text = trainings.CONFIGURATION.replace("1000000000", str(steps))
        (tmp_path / "tiny.yaml").write_text(text, encoding="utf-8")
        command = [*trainings.our_learn(), "tiny.yaml", "--env=3DBall", "--run-id=run", "--seed=1", "--in-process"]
        started.append(trainings.Training([*command, *flags], tmp_path, tmp_path / "run.log", before=before))
        if code is not None:
            found = started[-1].wait()
            assert found == code, started[-1].output
        return started[-1]

    yield run
    for training in started:
        training.kill()


@pytest.fixture
def checkpoints() -> Callable[[Path], Sequence[int]]:
    """Steps of the checkpoints of a run."""
    return lambda run: sorted(int(path.stem.rpartition("-")[2]) for path in run.glob("3DBall/3DBall-[0-9]*.pt"))
