"""However a trainer ends, it ends at once and leaves no player behind. Trainers are programs here."""

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import bridge

pytestmark = pytest.mark.timeout(60)

REPOSITORY = str(Path(bridge.__file__).parents[1])


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """`trainer(code)` runs a program with `UnityEnvironment`; it is ended in the end."""
    programs = []

    def start(code: str) -> subprocess.Popen:
        head = f"import os, sys; sys.path.insert(0, {REPOSITORY!r}); sys.modules['numba'] = None\n"
        head += "from bridge import UnityEnvironment\n"  # without numba, which would only take time to start
        script = tmp_path / f"trainer{len(programs)}.py"
        script.write_text(head + textwrap.dedent(code))
        programs.append(
            subprocess.Popen(
                [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
            )
        )
        return programs[-1]

    yield start
    for each in programs:
        each.kill()
        each.wait()
        each.stdout.close()


class TestEndOfTheTrainer:
    @pytest.mark.slow
    def test_without_close_it_ends_at_once_and_the_player_with_0(self, trainer, program, tmp_path, wait_for) -> None:
        code = tmp_path / "code"
        player = program(
            f"""
            code = run_player(toy_worlds.EchoWorld, port)
            with open({str(code)!r}, "w") as file:
                file.write(str(code))
            """
        )
        process = trainer(
            f"""
            environment = UnityEnvironment({str(player)!r}, timeout_wait=20)
            environment.step()
            print("done", flush=True)
            """
        )
        assert process.stdout.readline() == "done\n"
        assert process.wait(3) == 0
        assert process.stdout.read() == ""
        assert wait_for(code.exists, 2)
        assert code.read_text() == "0"

    def test_a_trainer_that_fails_says_why_and_leaves_no_player(self, trainer, toy_player, wait_for, process_lives):
        process = trainer(
            f"""
            environment = UnityEnvironment({str(toy_player)!r}, timeout_wait=20)
            environment.step()
            print(environment._player.pid, flush=True)
            raise ValueError("my mistake")
            """
        )
        pid = int(process.stdout.readline())
        assert process.wait(5) == 1
        assert process.stdout.read().endswith("ValueError: my mistake\n")
        assert wait_for(lambda: not process_lives(pid), 2)

    @pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
    @pytest.mark.parametrize("moment", ["before the player connects", "between the messages", "stepping"])
    @pytest.mark.slow
    def test_a_killed_trainer_leaves_no_player(
        self, trainer, program, tmp_path: Path, wait_for, process_lives, moment: str
    ) -> None:
        begun = tmp_path / "begun"
        before = {
            "before the player connects": "time.sleep(60)",
            "between the messages": "RawPlayer(port).introduce(); time.sleep(60)",
            "stepping": "run_player(toy_worlds.EchoWorld, port); time.sleep(60)",
        }[moment]
        # It ignores what it is asked, and starts a process of its own.
        player = program(
            f"""
            import signal, subprocess
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            child = subprocess.Popen(["sleep", "60"])
            with open({str(begun)!r} + "-", "w") as file:
                file.write(f"{{os.getpid()}} {{child.pid}}")
            os.rename({str(begun)!r} + "-", {str(begun)!r})
            {before}
            """
        )
        process = trainer(
            f"""
            environment = UnityEnvironment({str(player)!r}, timeout_wait=20)
            environment.step()
            print("stepping", flush=True)
            while True:
                environment.step()
            """
        )
        assert wait_for(begun.exists)
        if moment == "stepping":
            assert process.stdout.readline() == "stepping\n"
        elif moment == "between the messages":
            time.sleep(0.5)
        pids = [int(pid) for pid in begun.read_text().split()]
        assert all(process_lives(pid) for pid in pids)
        process.kill()
        assert wait_for(lambda: not any(process_lives(pid) for pid in pids), 2), pids

    @pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
    @pytest.mark.parametrize("moment", ["connecting", "stepping"])
    @pytest.mark.slow
    def test_ctrl_c_gets_through_while_it_waits(
        self, trainer, program, wait_for, process_lives, tmp_path: Path, moment: str
    ) -> None:
        begun = tmp_path / "begun"
        before = "time.sleep(60)" if moment == "connecting" else ""
        player = program(
            f"""
            class World(toy_worlds.EchoWorld):
                def step(self, actions):
                    time.sleep(1.0)
                    return super().step(actions)

            with open({str(begun)!r} + "-", "w") as file:
                file.write(str(os.getpid()))
            os.rename({str(begun)!r} + "-", {str(begun)!r})
            {before}
            sys.exit(run_player(World, port))
            """
        )
        process = trainer(
            f"""
            try:
                environment = UnityEnvironment({str(player)!r}, timeout_wait=20)
                environment.step()
                print("stepping", flush=True)
                environment.step()
            except KeyboardInterrupt:
                print("interrupted", flush=True)
            environment.close()
            """
            if moment == "stepping"
            else f"""
            try:
                UnityEnvironment({str(player)!r}, timeout_wait=20)
            except KeyboardInterrupt:
                print("interrupted", flush=True)
            """
        )
        assert wait_for(begun.exists)
        if moment == "stepping":
            assert process.stdout.readline() == "stepping\n"
        time.sleep(0.3)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert process.wait(10) == 0
        assert time.monotonic() - started < 2.5
        assert not process_lives(int(begun.read_text()))
