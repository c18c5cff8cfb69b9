"""Disks that are full, or not to be written to, while a training goes on."""

import contextlib
import errno
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from trainers.checkpoint import CheckpointKeeper, load_state
from trainers.run_folder import RunFolder

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="limits and mounts are Linux'"),
]


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """`mounted(options)`: a file system in memory, at results/. Needs the right to mount, which root has."""
    place = tmp_path / "results"
    place.mkdir()

    def mount(options: str) -> Path:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, text=True, timeout=20
        )
        if done.returncode != 0:
            pytest.skip(f"may not mount ({done.stderr.strip()}); the same faults without mounting are tested beside")
        return place

    yield mount
    subprocess.run(["umount", "-l", str(place)], capture_output=True, timeout=20)


def test_a_full_disk_costs_no_checkpoint_and_ends_no_training(
    mounted: Callable[[str], Path], train: Callable, trainings: ModuleType, checkpoints: Callable
) -> None:
    """While it is full, training goes on with the last checkpoint as it was; when there is room, all is as ever."""
    results = mounted("size=64m")  # what waits in memory while the disk is full has to fit when it is empty again
    training = train(steps=10**9, code=None)
    assert training.wait_for("Step: 1500."), training.output
    with contextlib.suppress(OSError), (results / "ballast").open("wb") as file:
        while True:
            file.write(bytes(2**14))
    assert training.wait_for("The checkpoint was not written: No space left on device"), training.output
    assert training.wait_for("The charts cannot be written: No space left on device"), training.output
    whole = load_state(results / "run" / "3DBall" / "checkpoint.pt")
    assert whole["step"] == checkpoints(results / "run")[-1]
    (results / "ballast").unlink()
    assert training.wait_for("are written again; nothing of them is missing."), training.output
    os.kill(training.pid, signal.SIGINT)
    assert training.wait() == 0 and "Traceback" not in training.output, training.output
    assert checkpoints(results / "run")[-1] > whole["step"]
    files = trainings.run_files(results / "run")
    assert files["lost"] == files["twice"] == files["csv_lost"] == files["temporary"] == []
    assert len(files["checkpoints"]) == trainings.KEEP
    # The disk may have been full by the time of a model, when its checkpoint was there already.
    assert set(files["models"]) <= set(files["checkpoints"]) and files["checkpoints"][-1] in files["models"]


def test_a_file_that_cannot_be_written_ends_no_training(train: Callable, tmp_path: Path, trainings: ModuleType) -> None:
    """The same without the right to mount: no file may be longer than this, nor is any checkpoint shorter."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, resource.RLIM_INFINITY))

    training = train(steps=3000, before=limit, code=2)
    assert "Step: 3000." in training.output and "Traceback" not in training.output
    assert "The checkpoint was not written: File too large" in training.output
    assert "The charts cannot be written: File too large" in training.output  # they go on in another file
    assert "the end of the run was not saved: File too large" in training.output.splitlines()[-1]
    files = trainings.run_files(tmp_path / "results" / "run")
    assert files["lost"] == files["twice"] == files["temporary"] == files["checkpoints"] == []
    assert files["last"] == 3000


def test_without_room_for_a_model_there_is_the_checkpoint(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "run")
    folder.validate(resume=False, force=False)
    folder.create()
    keeper = CheckpointKeeper(folder, "3DBall", 2)

    def no_room(path: Path) -> None:
        path.write_bytes(b"begun")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    for step in (1, 2, 3):
        with pytest.raises(OSError, match="No space left"):
            keeper.save(step, {"step": step}, no_room, None)
        assert load_state(keeper.latest())["step"] == step
    keeper.save(4, {"step": 4}, lambda path: path.write_bytes(b"model"), None)
    names = sorted(path.name for path in folder.behavior("3DBall").iterdir())
    assert names == ["3DBall-3.pt", "3DBall-4.onnx", "3DBall-4.pt", "checkpoint.pt"]


def test_a_results_folder_that_is_read_only_is_said_at_once(mounted: Callable[[str], Path], train: Callable) -> None:
    mounted("ro")
    error = train(code=2).output.splitlines()[-1]
    assert error.startswith(
        "mlbridge learn: error: the run's folder results/run cannot be written: Read-only file system"
    )
    assert error.endswith("choose another --results-dir")


def test_a_results_folder_without_the_right_to_write_is_said_at_once(
    train: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As somebody else than root, whom rights do not bind."""
    results = tmp_path / "results"
    results.mkdir()
    results.chmod(stat.S_IRUSR | stat.S_IXUSR)
    if os.access(results, os.W_OK):
        pytest.skip("root writes anywhere; the mounted file system beside binds it as well")
    assert "results/run cannot be written: Permission denied" in train(code=2).output.splitlines()[-1]
    shutil.rmtree(results, ignore_errors=True)
