"""Players are started, watched and stopped, and none is left behind, however the trainer ends. Really run on Linux."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge.exceptions import UnityEnvironmentException
from bridge.launcher import Player, PlayerExit, player_command

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the players are shell scripts"),
    pytest.mark.timeout(60),
]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks processes up in /proc")

LINGER = "sleep 60 & wait"  # a shell script whose work is done by a child


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes an executable script: `script("exit 3")`."""
    numbers = itertools.count()

    def write(body: str, first_line: str = "#!/bin/sh", mode: int = 0o755) -> Path:
        path = tmp_path / f"player{next(numbers)}"
        path.write_text(f"{first_line}\n{body}\n", newline="")
        path.chmod(mode)
        return path

    return write


@pytest.fixture
def start(script: Callable[..., Path]) -> Iterator[Callable[..., Player]]:
    """A function that starts a player that is the given shell script; all are stopped in the end."""
    players = []

    def start_player(body: str, **arguments) -> Player:
        player = Player.start(script(body), port=5005, **arguments)
        players.append(player)
        return player

    yield start_player
    for player in players:
        player.stop(0)


def end_of(player: Player, seconds: float = 10) -> PlayerExit:
    ended = threading.Event()
    player.on_exit(lambda _: ended.set())
    assert ended.wait(seconds), "the player did not end"
    assert player.exit is not None
    return player.exit


def wait_for(condition: Callable[[], object], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def processes_marked(marker: str) -> list[str]:
    """The living processes in whose environment `marker` is, which children inherit."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and marker.encode() in (process / "environ").read_bytes():
                found.append(f"{process.name} {(process / 'cmdline').read_bytes()!r}")
        except OSError:  # ended meanwhile, or another user's
            continue
    return found


class TestCommand:
    def test_flags_come_in_ml_agents_order(self, tmp_path: Path) -> None:
        command = player_command(
            tmp_path / "3DBall.x86_64",
            port=5007,
            worker_id=2,
            no_graphics=True,
            no_graphics_monitor=False,
            log_folder=str(tmp_path / "run_logs"),
            additional_args=["--agents", "3"],
        )
        log = str(tmp_path / "run_logs" / "Player-2.log")
        flags = ["-nographics", "-batchmode", "--mlagents-port", "5007", "-logFile", log, "--agents", "3"]
        assert command == [str(tmp_path / "3DBall.x86_64"), *flags]

    @pytest.mark.parametrize("flag", ["-logFile", "-logfile", "-LOGFILE"])
    def test_the_users_own_log_file_wins(self, flag: str) -> None:
        command = self.command(log_folder="logs", additional_args=[flag, "mine.log"])
        assert command[1:] == ["--mlagents-port", "5005", flag, "mine.log"]

    def test_without_a_log_folder_there_is_no_log_file(self) -> None:
        assert self.command()[1:] == ["--mlagents-port", "5005"]

    def test_relative_paths_become_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        command = self.command(log_folder="logs")
        assert command[0] == str(tmp_path / "player") and command[-1] == str(tmp_path / "logs" / "Player-0.log")

    def test_a_python_program_is_run_by_this_python(self) -> None:
        assert self.command(executable="game.py")[:2] == [sys.executable, os.path.abspath("game.py")]

    def test_the_monitor_shows_worker_0_only(self) -> None:
        assert "-nographics" not in self.command(no_graphics_monitor=True)
        assert "-nographics" in self.command(no_graphics_monitor=True, worker_id=1)
        assert "-nographics" in self.command(no_graphics_monitor=True, no_graphics=True)

    @staticmethod
    def command(executable="player", **arguments) -> list[str]:
        defaults = {"port": 5005, "worker_id": 0, "no_graphics": False, "no_graphics_monitor": False}
        defaults |= {"log_folder": None, "additional_args": ()}
        return player_command(Path(executable), **(defaults | arguments))


class TestStart:
    def test_a_player_gets_its_arguments_and_its_output_goes_to_a_file(self, start, tmp_path: Path) -> None:
        logs = tmp_path / "deep" / "run_logs"
        player = start('echo "$@"; echo oops >&2', worker_id=1, log_folder=str(logs), additional_args=["a b", "c"])
        assert end_of(player).returncode == 0
        expected = f"--mlagents-port 5005 -logFile {logs}/Player-1.log a b c\noops\n"
        assert (logs / "Player-1-output.log").read_text() == expected

    def test_it_has_nothing_to_read_and_python_leaves_no_signal_ignored(self, start, tmp_path: Path) -> None:
        player = start("cat; echo end of input; grep SigIgn /proc/self/status", log_folder=str(tmp_path))
        tail = end_of(player).log_tail
        assert tail.startswith("end of input")
        if sys.platform == "linux":
            ignored = int(tail.split()[-1], 16)  # bit n - 1 for signal n
            assert not ignored & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1)

    def test_a_file_without_permission_says_how_to_grant_it(self, script) -> None:
        path = script("exit 0", mode=0o644)
        self.assert_refused(path, f"it is not executable; run: chmod +x {path}")

    def test_a_file_that_is_no_program_is_refused(self, script) -> None:
        self.assert_refused(script("exit 0", first_line="no first line of a script"), "no program for this machine")

    def test_a_missing_interpreter_is_named(self, script) -> None:
        path = script("", first_line="#!/usr/bin/no-such-python3 -u")
        self.assert_refused(path, "names the interpreter '/usr/bin/no-such-python3', which does not exist")

    def test_windows_line_ends_are_recognised(self, script) -> None:
        self.assert_refused(script("exit 0\r", first_line="#!/bin/sh\r"), "Windows line ends")

    def test_a_missing_file_and_a_folder_are_refused(self, tmp_path: Path) -> None:
        self.assert_refused(tmp_path / "none", "there is no such file")
        self.assert_refused(tmp_path, "it is a folder")

    def test_a_log_folder_that_is_a_file_is_refused(self, script, tmp_path: Path) -> None:
        (tmp_path / "logs").write_text("")
        with pytest.raises(UnityEnvironmentException, match=r"logs/Player-0-output.log cannot be written"):
            Player.start(script("exit 0"), port=5005, log_folder=str(tmp_path / "logs"))

    @staticmethod
    def assert_refused(path: Path, reason: str) -> None:
        with pytest.raises(UnityEnvironmentException) as caught:
            Player.start(path, port=5005)
        message = str(caught.value)
        assert message.startswith(f"{path} cannot be started: ") and reason in message
        assert "\n" not in message


class TestExit:
    def test_a_running_player_has_no_exit(self, start) -> None:
        player = start(LINGER)
        assert player.exit is None and player.exit_description() is None

    def test_an_exit_code_is_told_at_once(self, start) -> None:
        player = start("sleep 0.3; exit 3")
        told: list[PlayerExit] = []
        player.on_exit(told.append)
        began = time.monotonic()
        assert wait_for(lambda: told) and time.monotonic() - began < 1
        assert told == [PlayerExit(3, None, "")]

    def test_a_callback_that_comes_late_is_called_as_well(self, start) -> None:
        player = start("exit 3")
        end_of(player)
        told: list[PlayerExit] = []
        player.on_exit(told.append)
        assert told == [PlayerExit(3, None, "")]
        assert player.exit_description() == f"player 0 ({player.executable}) exited with code 3"

    def test_a_signal_is_named(self, start) -> None:
        player = start("kill -SEGV $$", worker_id=4)
        assert end_of(player) == PlayerExit(-signal.SIGSEGV, "SIGSEGV", "")
        assert player.exit_description() == f"player 4 ({player.executable}) was ended by signal SIGSEGV"

    def test_the_last_20_lines_that_it_printed_are_told(self, start, tmp_path: Path) -> None:
        player = start("seq 1 50; exit 1", log_folder=str(tmp_path))
        assert end_of(player).log_tail.split() == [str(number) for number in range(31, 51)]
        first, *rest = (player.exit_description() or "").splitlines()
        assert first.endswith(f"exited with code 1; the last lines of {tmp_path / 'Player-0-output.log'}:")
        assert len(rest) == 20

    def test_its_own_log_comes_before_what_it_printed(self, start, tmp_path: Path) -> None:
        player = start('echo printed; echo logged > "$4"; exit 1', log_folder=str(tmp_path))
        assert end_of(player).log_tail == "logged"
        assert f"the last lines of {tmp_path / 'Player-0.log'}:\nlogged" in (player.exit_description() or "")

    def test_the_users_log_file_is_read(self, start, tmp_path: Path) -> None:
        log = tmp_path / "mine.log"
        player = start('echo printed; echo logged > "$4"; exit 1', additional_args=["-logfile", str(log)])
        assert end_of(player).log_tail == "logged"

    def test_the_log_of_an_earlier_run_is_not_taken_for_its_own(self, start, tmp_path: Path) -> None:
        (tmp_path / "Player-0.log").write_text("from an earlier run")
        assert end_of(start("echo printed; exit 1", log_folder=str(tmp_path))).log_tail == "printed"

    def test_a_long_log_that_is_not_text_is_no_trouble(self, start) -> None:
        tail = end_of(start(r"seq 1 40000; printf '\377\n'; exit 1")).log_tail
        assert tail.splitlines() == [*map(str, range(39982, 40001)), "\N{REPLACEMENT CHARACTER}"]

    def test_without_a_folder_what_it_printed_is_told_and_nothing_stays(
        self, start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "temporary").mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
        player = start("echo printed; exit 1")
        assert end_of(player).log_tail == "printed"
        assert "the last lines that it printed:\nprinted" in (player.exit_description() or "")
        assert list((tmp_path / "temporary").iterdir()) == []

    def test_an_empty_output_file_is_removed(self, start, tmp_path: Path) -> None:
        end_of(start("exit 0", log_folder=str(tmp_path / "logs")))
        assert list((tmp_path / "logs").iterdir()) == []

    @linux_only
    def test_what_it_left_running_is_killed(self, start, monkeypatch: pytest.MonkeyPatch) -> None:
        marker = uuid.uuid4().hex
        monkeypatch.setenv("PLAYER_MARKER", marker)
        end_of(start("sleep 60 & exit 0"))
        assert wait_for(lambda: not processes_marked(marker), 2), processes_marked(marker)


class TestStop:
    def test_a_player_may_leave_by_itself(self, start) -> None:
        player = start("sleep 0.2; exit 7")
        player.stop(10)
        assert player.exit == PlayerExit(7, None, "")

    def test_one_that_stays_is_asked_to_leave(self, start, tmp_path: Path) -> None:
        player = start(f"trap 'echo asked; exit 5' TERM; touch {tmp_path}/ready; {LINGER}")
        assert wait_for((tmp_path / "ready").exists)
        player.stop(0.1)
        assert player.exit is not None and (player.exit.returncode, player.exit.log_tail) == (5, "asked")

    @linux_only
    @pytest.mark.slow
    def test_one_that_ignores_this_is_killed_with_its_children(
        self, start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        marker = uuid.uuid4().hex
        monkeypatch.setenv("PLAYER_MARKER", marker)
        # `timeout` puts itself into a process group of its own, beside that of the script
        player = start(f"trap '' TERM; touch {tmp_path}/ready; timeout 60 sh -c 'sleep 60; sleep 60'; sleep 60")
        assert wait_for((tmp_path / "ready").exists)
        began = time.monotonic()
        player.stop(0.1)
        assert 2 < time.monotonic() - began < 5
        assert player.exit is not None and player.exit.signal_name == "SIGKILL"
        assert wait_for(lambda: not processes_marked(marker), 2), processes_marked(marker)

    def test_stopping_again_does_nothing(self, start) -> None:
        player = start(LINGER)
        player.stop(0)
        first = player.exit
        player.stop(0)
        assert player.exit is first is not None


@linux_only
class TestNoOrphans:
    """A trainer is run in a process of its own and ended; nothing that it started may be there 2 seconds later."""

    KINDS = (
        "exec sleep 60",  # one process, as a build is
        LINGER,
        "trap '' TERM INT HUP; timeout 60 sh -c 'sleep 60; sleep 60'; sleep 60",
    )
    TRAINER = """
import os, signal, sys, time
from pathlib import Path
from bridge.launcher import Player
print("imported", flush=True)
player = Player.start(Path(sys.argv[1]), port=5005)
print(player.pid, flush=True)
"""

    @pytest.fixture
    def train(self, script) -> Iterator[Callable[..., tuple[subprocess.Popen, str]]]:
        """A function that starts a trainer whose player is the given shell script; returns just before that starts."""
        trainers: list[subprocess.Popen] = []

        def start_trainer(player: str, then: str = "time.sleep(60)") -> tuple[subprocess.Popen, str]:
            marker = uuid.uuid4().hex
            trainer = subprocess.Popen(
                [sys.executable, "-c", self.TRAINER + then, script(player)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PLAYER_MARKER": marker},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            trainers.append(trainer)
            assert trainer.stdout is not None and trainer.stdout.readline() == "imported\n"
            return trainer, marker

        yield start_trainer
        for trainer in trainers:
            trainer.kill()
            trainer.wait(5)
            assert trainer.stdout is not None
            trainer.stdout.close()

    @pytest.mark.parametrize("milliseconds", [0, 5, 10, 20, 30, 50, 70, 100, 150, 250])
    def test_a_trainer_killed_while_it_starts_a_player(self, train, milliseconds: int) -> None:
        trainer, marker = train(LINGER)
        time.sleep(milliseconds / 1000)
        trainer.kill()
        trainer.wait(5)
        assert wait_for(lambda: not processes_marked(marker), 2), processes_marked(marker)

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_trainer_killed_while_its_player_runs(self, train, kind: str) -> None:
        trainer, marker = train(kind)
        trainer.stdout.readline()
        time.sleep(0.1)  # for the script to have started its children
        trainer.kill()
        trainer.wait(5)
        assert wait_for(lambda: not processes_marked(marker), 2), processes_marked(marker)

    @pytest.mark.parametrize(
        "end", ["os.kill(os.getpid(), signal.SIGTERM)", "os._exit(1)", "sys.exit(0)", "raise RuntimeError"]
    )
    def test_a_trainer_that_ends_in_another_way(self, train, end: str) -> None:
        trainer, marker = train(LINGER, f"time.sleep(0.1); {end}")
        trainer.wait(10)
        assert wait_for(lambda: not processes_marked(marker), 2), processes_marked(marker)

    def test_a_single_process_dies_even_without_the_watcher(self, train) -> None:
        trainer, marker = train("exec sleep 60")
        trainer.stdout.readline()
        (watcher,) = [line for line in processes_marked(marker) if "parent_death.py" in line]
        os.kill(int(watcher.split()[0]), signal.SIGKILL)
        trainer.kill()
        trainer.wait(5)
        assert wait_for(lambda: not processes_marked(marker), 2), processes_marked(marker)

    def test_forks_of_the_trainer_do_not_keep_its_player_alive(self, train) -> None:
        forked = "if os.fork() == 0: os.setsid(); time.sleep(60)\nelse: os.kill(os.getpid(), signal.SIGKILL)"
        trainer, marker = train(LINGER, f"sys.stdout.flush()\n{forked}")
        trainer.wait(10)
        assert wait_for(lambda: len(processes_marked(marker)) == 1, 2), processes_marked(marker)
        (fork,) = processes_marked(marker)
        os.kill(int(fork.split()[0]), signal.SIGKILL)

    def test_forks_of_the_trainer_do_not_stop_its_player(self, train) -> None:
        check = "if os.fork() == 0: sys.exit()\nos.wait(); time.sleep(0.2); print('exit', player.exit, flush=True)"
        trainer, marker = train(LINGER, check)
        assert trainer.stdout.readlines()[-1] == "exit None\n"
        assert wait_for(lambda: not processes_marked(marker), 2), processes_marked(marker)

    def test_ctrl_c_reaches_the_trainer_but_not_its_player(self, train, tmp_path: Path) -> None:
        then = (
            "try: print('waiting', flush=True); time.sleep(60)\n"
            "except KeyboardInterrupt: time.sleep(0.2); print('exit', player.exit, flush=True)"
        )
        trainer, marker = train(f"trap 'touch {tmp_path}/interrupted' INT; {LINGER}", then)
        while trainer.stdout.readline() != "waiting\n":
            pass
        os.killpg(trainer.pid, signal.SIGINT)
        assert trainer.wait(10) == 0
        assert trainer.stdout.read() == "exit None\n"
        assert not (tmp_path / "interrupted").exists()
        assert wait_for(lambda: not processes_marked(marker), 2), processes_marked(marker)

    def test_a_player_that_ended_leaves_no_watcher(self, train) -> None:
        trainer, marker = train("exit 0")
        trainer.stdout.readline()
        assert wait_for(lambda: len(processes_marked(marker)) == 1, 2), processes_marked(marker)
