"""Starts players, watches them, and stops them."""

import atexit
import contextlib
import itertools
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from bridge.exceptions import UnityEnvironmentException
from bridge.executable_lookup import find_executable, is_python_program, start_error
from bridge.process_tree import ProcessTree, in_spawning_thread

__all__ = ["Player", "PlayerExit", "find_executable", "player_command"]

# How long a player may take to leave when asked to, before it is killed; how long the system may take for that.
_TERMINATE_SECONDS = 2.0
_KILL_SECONDS = 10.0
# Waits are cut into slices so that Ctrl-C gets through on Windows, where a blocked lock is not interrupted.
_SLICE_SECONDS = 0.5
_TAIL_LINES = 20
_TAIL_BYTES = 65536


@dataclass(frozen=True)
class PlayerExit:
    """How a player ended.

    `returncode` is its exit code, or minus the number of the signal that ended it, whose name is `signal_name`.
    `log_tail` holds the last lines of its log, or else of what it printed ("" when there is neither).
    """

    returncode: int
    signal_name: str | None
    log_tail: str


def player_command(
    executable: Path,
    *,
    port: int,
    worker_id: int,
    no_graphics: bool,
    no_graphics_monitor: bool,
    log_folder: str | None,
    additional_args: Sequence[str],
) -> list[str]:
    """The command line of a player, in ML-Agents' order. With `no_graphics_monitor` only worker 0 shows its picture."""
    command = [*([sys.executable] if is_python_program(executable) else []), os.path.abspath(executable)]
    if no_graphics or (no_graphics_monitor and worker_id != 0):
        command += ["-nographics", "-batchmode"]
    command += ["--mlagents-port", str(port)]
    if log_folder is not None and "-logfile" not in (argument.lower() for argument in additional_args):
        command += ["-logFile", os.path.join(os.path.abspath(log_folder), f"Player-{worker_id}.log")]
    return [*command, *additional_args]


class Player:
    """A started player: a process, and all that it starts, which ends when this process ends, however that happens.

    A player counts as ended when the started process itself has ended; what it left running is then killed. So a start
    script must stay until its build has ended, as scripts do by themselves. On Linux and macOS a process that makes
    itself the leader of a new session (a daemon) escapes.
    """

    def __init__(self, command: Sequence[str], worker_id: int, log_folder: str | None) -> None:
        self.worker_id = worker_id
        self.executable = command[1] if command[0] == sys.executable else command[0]
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._exit: PlayerExit | None = None
        self._callbacks: list[Callable[[PlayerExit], None]] = []
        self._own_log = _own_log(command)
        self._own_log_before = _stamp(self._own_log)
        self._tail_path: Path | None = None  # the file that log_tail is from, if it is kept
        self._output, self._output_path = _open_output(worker_id, log_folder)
        try:
            self._processes = ProcessTree(command, self._output)
        except OSError as error:
            self._close_output()
            raise start_error(Path(self.executable), error) from error
        self.pid = self._processes.pid
        _live_players.add(self)
        threading.Thread(target=self._watch, name=f"player-{worker_id}-watch", daemon=True).start()

    @classmethod
    def start(
        cls,
        executable: Path,
        *,
        port: int,
        worker_id: int = 0,
        no_graphics: bool = False,
        no_graphics_monitor: bool = False,
        log_folder: str | None = None,
        additional_args: Sequence[str] = (),
    ) -> "Player":
        """Starts a player that is to connect to `port`; returns when it is running.

        What it prints goes to `Player-<worker_id>-output.log` in `log_folder` (removed at its end if it is empty),
        without such a folder to a temporary file. Raises UnityEnvironmentException when it cannot be started.
        """
        command = player_command(
            executable,
            port=port,
            worker_id=worker_id,
            no_graphics=no_graphics,
            no_graphics_monitor=no_graphics_monitor,
            log_folder=log_folder,
            additional_args=additional_args,
        )
        return in_spawning_thread(lambda: cls(command, worker_id, log_folder))

    @property
    def exit(self) -> PlayerExit | None:
        """How the player ended, None while it runs."""
        return self._exit

    def on_exit(self, callback: Callable[[PlayerExit], None]) -> None:
        """Has `callback` called in another thread when the player ends, `stop` or not; at once if it has ended."""
        with self._lock:
            if self._exit is None:
                self._callbacks.append(callback)
                return
        callback(self._exit)

    def exit_description(self) -> str | None:
        """A line that says how the player ended, followed by the last lines of its log, if any; None while it runs."""
        if self._exit is None:
            return None
        returncode = self._exit.returncode
        if self._exit.signal_name is not None:
            end = f"was ended by signal {self._exit.signal_name}"
        elif returncode > 0xFFFF:  # Windows' codes for crashes are known by their hexadecimal form
            end = f"exited with code {returncode} ({returncode:#x})"
        else:
            end = f"exited with code {returncode}"
        line = f"player {self.worker_id} ({self.executable}) {end}"
        if not self._exit.log_tail:
            return line
        source = f"of {self._tail_path}" if self._tail_path else "that it printed"
        return f"{line}; the last lines {source}:\n{self._exit.log_tail}"

    def stop(self, timeout: float) -> None:
        """Waits up to `timeout` seconds for the player to leave by itself, then asks it to, then kills it.

        Ends all that the player started, too. May be called again. Raises UnityEnvironmentException when the system
        cannot end it.
        """
        if self._wait(timeout):
            return
        self._processes.terminate()
        if self._wait(_TERMINATE_SECONDS):
            return
        self._processes.kill()
        if not self._wait(_KILL_SECONDS):
            raise UnityEnvironmentException(
                f"player {self.worker_id} ({self.executable}) hangs and cannot be ended; end process {self.pid} by hand"
            )

    def _wait(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while not self._ended.wait(min(_SLICE_SECONDS, max(0.0, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                return False
        return True

    def _watch(self) -> None:
        returncode = self._processes.wait()
        log_tail = self._read_log_tail()
        self._close_output()
        signal_name = _signal_name(-returncode) if returncode < 0 else None
        with self._lock:
            self._exit = PlayerExit(returncode, signal_name, log_tail)
            callbacks, self._callbacks = self._callbacks, []
        _live_players.discard(self)
        self._ended.set()
        for callback in callbacks:
            callback(self._exit)

    def _read_log_tail(self) -> str:
        try:
            own_stamp = _stamp(self._own_log)
            # The player's own log, if it wrote any: one of an earlier run may lie there.
            if self._own_log is not None and own_stamp is not None and own_stamp != self._own_log_before:
                with self._own_log.open("rb") as log:
                    tail = _tail(log)
                if tail:
                    self._tail_path = self._own_log
                    return tail
            self._tail_path = self._output_path
            return _tail(self._output)
        except OSError as error:
            return f"(its log cannot be read: {error})"

    def _close_output(self) -> None:
        is_empty = self._output.seek(0, os.SEEK_END) == 0
        self._output.close()
        if self._output_path is not None and is_empty:
            # It may be open elsewhere on Windows; an empty file that stays is not worth an error.
            with contextlib.suppress(OSError):
                self._output_path.unlink(missing_ok=True)


_live_players: set[Player] = set()


@atexit.register
def _stop_live_players() -> None:
    players = list(_live_players)
    for player in players:  # all at once, so that they take their time together
        player._processes.terminate()
    for player in players:
        player.stop(0)


if sys.platform != "win32":
    # A fork of the trainer must not stop the trainer's players when it exits.
    os.register_at_fork(after_in_child=_live_players.clear)


def _own_log(command: Sequence[str]) -> Path | None:
    """The file after -logFile on a player's command line; "-" stands for standard output."""
    for flag, value in itertools.pairwise(command):
        if flag.lower() == "-logfile" and value != "-":
            return Path(os.path.abspath(value))
    return None


def _stamp(path: Path | None) -> tuple[int, int] | None:
    """Changes when the file is written to; None when there is no such file."""
    if path is None or not path.is_file():
        return None
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def _open_output(worker_id: int, log_folder: str | None) -> tuple[BinaryIO, Path | None]:
    if log_folder is None:
        return cast(BinaryIO, tempfile.TemporaryFile()), None
    path = Path(os.path.abspath(log_folder)) / f"Player-{worker_id}-output.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("w+b"), path
    except OSError as error:
        raise UnityEnvironmentException(f"the player's log {path} cannot be written: {error.strerror}") from error


def _tail(log: BinaryIO) -> str:
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - _TAIL_BYTES))
    lines = log.read().decode(errors="replace").rstrip().splitlines()
    return "\n".join(lines[-_TAIL_LINES:])


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no names
        return str(number)
