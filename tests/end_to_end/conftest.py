"""`mlbridge learn` as a process, watched line by line; player programs; and what a run left."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

LIMIT = 110.0  # seconds that one process, or the wait for one of its lines, may take

TINY = """
behaviors:
  3DBall:
    trainer_type: ppo
    hyperparameters: {batch_size: 32, buffer_size: 200, num_epoch: 1, learning_rate: 0.001}
    network_settings: {normalize: true, hidden_units: 16, num_layers: 1}
    time_horizon: 20
    max_steps: 1200
    summary_freq: 300
    checkpoint_interval: 500
    keep_checkpoints: 3
"""


class Process:
    """A process whose output is gathered while it runs. It leads a group of its own, as a shell's job does."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        environment = os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.stdout = ""
        self.stderr = ""
        self._news = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=(name,), daemon=True) for name in ("stdout", "stderr")
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str) -> None:
        for line in getattr(self._process, name):
            with self._news:
                setattr(self, name, getattr(self, name) + line)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def wait_for(self, text: str, count: int = 1) -> None:
        """Waits until `text` was printed `count` times; fails the test when the process ends or the time is up."""
        deadline = time.monotonic() + LIMIT
        with self._news:
            while self.stdout.count(text) < count:
                ended = self._process.poll() is not None and not any(reader.is_alive() for reader in self._readers)
                if not ended:
                    self._news.wait(0.5)
                if ended or time.monotonic() > deadline:
                    pytest.fail(f"no {text!r} from {self._process.args}:\n{self.stdout}{self.stderr}", pytrace=False)

    def interrupt(self) -> None:
        """Ctrl-C: the signal goes to the whole group, as a terminal sends it."""
        os.killpg(self.pid, signal.SIGINT)

    def wait(self, limit: float = LIMIT) -> int:
        """The exit code, once all output is there."""
        try:
            code = self._process.wait(limit)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{self._process.args} goes on:\n{self.stdout}{self.stderr}", pytrace=False)
        for reader in self._readers:
            reader.join(limit)
        return code

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture
def start() -> Iterator[Callable[[Sequence[str], Path], Process]]:
    """`start(command, folder)` starts a process that does not survive the test."""
    processes: list[Process] = []

    def begin(command: Sequence[str], folder: Path) -> Process:
        processes.append(Process(command, folder))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()


@pytest.fixture
def start_learn(start: Callable[[Sequence[str], Path], Process], tmp_path: Path) -> Callable[..., Process]:
    """`start_learn("tiny.yaml", "--env", ...)` starts `mlbridge learn` in the test's folder, where tiny.yaml is."""
    (tmp_path / "tiny.yaml").write_text(TINY, encoding="utf-8")
    return lambda *arguments: start([sys.executable, "-m", "trainers.commands", "learn", *arguments], tmp_path)


@pytest.fixture
def learn(start_learn: Callable[..., Process]) -> Callable[..., Process]:
    """The same, to its end, which has to come with exit code `code`."""

    def run(*arguments: str, code: int = 0) -> Process:
        process = start_learn(*arguments)
        found = process.wait()
        if found != code:
            pytest.fail(f"exit code {found} instead of {code}:\n{process.stdout}{process.stderr}", pytrace=False)
        return process

    return run


@pytest.fixture
def player_script(tmp_path: Path) -> Callable[[str, str], Path]:
    """`player_script(name, source)` makes an executable Python program; `port` and `arguments` are defined in it."""
    if sys.platform == "win32":
        pytest.skip("a script becomes a program by its first line, which Windows does not read")

    def make(name: str, source: str) -> Path:
        path = tmp_path / name
        beginning = f"""#!{sys.executable}
import sys
from bridge.player import port_from_arguments
arguments = sys.argv[1:]
port = port_from_arguments(arguments)
"""
        path.write_text(beginning + textwrap.dedent(source), encoding="utf-8")
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Every file below a folder, but for logs of players, which belong to the newest attempt."""

    def read(folder: Path) -> dict[str, bytes]:
        files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("Player-")]
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    return read


@pytest.fixture
def processes_that_name() -> Callable[[Path], list[str]]:
    """Command lines of running processes that name a path, as every player names its log."""
    if sys.platform != "linux":
        pytest.skip("needs /proc")

    def find(path: Path) -> list[str]:
        found = []
        for process in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                command = (process / "cmdline").read_bytes() if process.name.isdigit() else b""
                if str(path).encode() in command:
                    found.append(command.decode().replace("\0", " "))
        return found

    return find
