"""Of two runs with one run id the second one stops and says whose the folder is; a killed run is in nobody's way."""

import os
import re
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import trainers
from trainers.commands import main
from trainers.errors import UsageError
from trainers.run_folder import RunFolder, write_whole
from trainers.run_lock import RunLock

LIMIT = 60  # seconds that another process may take
HOLDER = """
    import sys
    from pathlib import Path
    from trainers.run_folder import RunFolder
    from trainers.run_lock import RunLock
    RunLock(RunFolder(Path(sys.argv[1]), "one")).take()
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "results", "one")


@pytest.fixture
def holder(folder: RunFolder) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), str(folder.results_dir)],
        cwd=Path(trainers.__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate(timeout=LIMIT)


def test_the_second_process_is_told_who_holds_it_where_and_since_when(
    folder: RunFolder, holder: subprocess.Popen[str]
) -> None:
    with RunLock(folder) as lock, pytest.raises(UsageError) as caught:
        lock.take()
    assert re.fullmatch(
        rf"the run 'one' is going on already: process {holder.pid} on {re.escape(socket.gethostname())}, since "
        rf"\d\d\d\d-\d\d-\d\d \d\d:\d\d:\d\d writes into {re.escape(str(folder.path))}; wait for it or end it, or "
        "choose another --run-id",
        str(caught.value),
    )


def test_a_killed_process_holds_nothing(folder: RunFolder, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait(LIMIT)
    assert (folder.run_logs / "run.lock").exists()
    folder.validate(resume=False, force=False)  # a lock file alone makes no run
    with RunLock(folder) as lock:
        lock.take()
        with RunLock(folder) as other, pytest.raises(UsageError, match=f"process {os.getpid()} on "):
            other.take()


def test_it_is_given_back_with_what_was_made_for_it(folder: RunFolder, tmp_path: Path) -> None:
    with RunLock(folder) as lock:
        lock.take(only_if_there=True)
        assert list(tmp_path.iterdir()) == []
        for _ in range(2):
            lock.take()
    assert list(tmp_path.iterdir()) == []
    with RunLock(folder) as lock:
        lock.take()
        folder.configuration.touch()
    assert [path.name for path in folder.path.iterdir()] == ["configuration.yaml"]


def test_what_a_killed_run_was_writing_is_cleared_away(folder: RunFolder) -> None:
    folder.behavior("3DBall").mkdir(parents=True)
    kept = folder.checkpoint("3DBall")
    kept.write_bytes(b"whole")

    def killed(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        os.link(temporary, temporary.with_name(".tmp-3DBall-100.pt"))  # as if nothing had been cleared up

    write_whole(kept.with_name("new.pt"), killed)
    write_whole(folder.configuration, killed)
    with RunLock(folder) as lock:
        lock.take()
    assert sorted(path.name for path in folder.behavior("3DBall").iterdir()) == ["checkpoint.pt", "new.pt"]
    assert [path.name for path in folder.path.iterdir() if path.is_file()] == ["configuration.yaml"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with RunLock(RunFolder(tmp_path / "file", "one")) as lock, pytest.raises(UsageError, match="cannot be written"):
        lock.take()


@pytest.mark.parametrize("flags", [(), ("--resume",), ("--force",)])
def test_a_second_run_of_the_same_id_is_refused_before_it_starts_anything(
    folder: RunFolder,
    holder: subprocess.Popen[str],
    flags: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder.configuration.touch()
    before = sorted(folder.path.rglob("*"))
    words = ["learn", "3DBall", "--env", "3DBall", "--run-id", "one", "--results-dir", str(folder.results_dir)]
    assert main([*words, *flags]) == 2
    assert f"the run 'one' is going on already: process {holder.pid} on" in capsys.readouterr().err
    assert sorted(folder.path.rglob("*")) == before
    # Of several processes that train together the first one writes, and has the lock.
    monkeypatch.setattr("trainers.torchrun.rank", lambda: 1)
    assert main([*words, "--in-process", "--env-args", "--agents", "0"]) == 2
    assert "going on already" not in capsys.readouterr().err


def test_learn_holds_it_to_the_end_and_no_longer(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, write: Callable[[str], Path]
) -> None:
    settings = write("behaviors: {3DBall: {trainer_type: ppo, max_steps: 100, network_settings: {hidden_units: 8}}}")
    held = []
    from trainers.run import Run

    train = Run.__call__

    def watched(run: Run) -> None:
        with RunLock(folder) as lock, pytest.raises(UsageError):
            lock.take()
        held.append(True)
        train(run)

    monkeypatch.setattr(Run, "__call__", watched)
    words = ["learn", str(settings), "--env", "3DBall", "--in-process", "--run-id", "one"]
    assert main([*words, "--results-dir", str(folder.results_dir)]) == 0
    assert held == [True]
    assert not (folder.run_logs / "run.lock").exists()
    assert folder.model("3DBall").is_file()
