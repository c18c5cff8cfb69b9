"""Players that `UnityEnvironment` starts: how they are told to leave, and how their ends are noticed."""

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from bridge.exceptions import UnityEnvironmentException, UnityTimeOutException
from bridge.side_channels import EnvironmentParametersChannel

pytestmark = pytest.mark.timeout(60)

ECHO = "Echo?team=0"

MOMENTS = {
    "before it connects": "",
    "between the messages of the handshake": "player.introduce()",
    "before the first observations": "player.connect()",
    "while it simulates": "player.connect(); player.observe({'id': 1, 'obs': [[0, 0]]}, brain=True)",
}
ENDS = {
    "sys.exit(3)": "exited with code 3",
    "sys.exit(0)": "exited with code 0",
    "os.kill(os.getpid(), 9)": "was ended by signal SIGKILL",
    "os.abort()": "was ended by signal SIGABRT",
}


class TestPlayerProcess:
    @pytest.mark.slow
    def test_close_is_quick_and_the_player_exits_with_0(
        self, unity_environment, compiled_toy_player, process_lives
    ) -> None:
        environment = unity_environment(compiled_toy_player)
        environment.step()
        process = environment._player
        started = time.monotonic()
        environment.close()
        elapsed = time.monotonic() - started
        assert process.exit.returncode == 0
        assert not process_lives(process.pid)
        assert elapsed < 2.0, "a fraction of a second where nothing else runs"

    def test_close_before_the_first_reset(self, unity_environment, toy_player) -> None:
        environment = unity_environment(toy_player)
        process = environment._player
        environment.close()
        assert process.exit.returncode == 0

    @pytest.mark.slow
    def test_one_that_is_simulating_is_told_when_it_is_done(self, unity_environment, program) -> None:
        player = program(
            """
            class World(toy_worlds.EchoWorld):
                def step(self, actions):
                    time.sleep(0.5)
                    return super().step(actions)

            sys.exit(run_player(World, port))
            """
        )
        environment = unity_environment(player)
        environment.reset()
        environment.send_step()
        process = environment._player
        environment.close()
        assert process.exit.returncode == 0

    def test_it_logs_into_the_folder(self, unity_environment, program, tmp_path: Path) -> None:
        player = program("print(*sys.argv[1:], flush=True); sys.exit(run_player(toy_worlds.EchoWorld, port))")
        environment = unity_environment(
            player, log_folder=str(tmp_path / "logs"), no_graphics=True, additional_args=["--agents", "3"]
        )
        environment.close()
        printed = (tmp_path / "logs" / "Player-0-output.log").read_text().split()
        log = str(tmp_path / "logs" / "Player-0.log")
        flags = ["-nographics", "-batchmode", "--mlagents-port", str(environment.port), "-logFile", log]
        assert printed == [*flags, "--agents", "3"]

    @pytest.mark.parametrize(
        ("moment", "end"),
        [*((moment, "sys.exit(3)") for moment in MOMENTS), *(("while it simulates", end) for end in [*ENDS][1:])],
    )
    def test_one_that_dies_is_noticed_within_a_second(
        self, unity_environment, program, tmp_path: Path, wait_for, moment: str, end: str
    ) -> None:
        stamp = tmp_path / "stamp"
        player = program(
            f"""
            player = RawPlayer(port)
            {MOMENTS[moment]}
            print("a line", flush=True)
            print("the last line", flush=True)
            time.sleep(0.1)
            open({str(stamp)!r}, "w").close()
            {end}
            """
        )
        with pytest.raises(UnityEnvironmentException) as error:
            environment = unity_environment(player)
            environment.reset()
            environment.step()
        assert time.time() - stamp.stat().st_mtime < 1.0
        text = str(error.value)
        assert text.startswith(f"player 0 ({player}) {ENDS[end]}")
        assert text.endswith("a line\nthe last line")

    def test_one_that_is_killed_while_the_trainer_computes(self, unity_environment, toy_player) -> None:
        """It is in a call then: the end of its connection may be noticed before its own."""
        environment = unity_environment(toy_player)
        environment.reset()
        os.kill(environment._player.pid, signal.SIGKILL)
        time.sleep(0.2)
        for _ in range(2):
            with pytest.raises(UnityEnvironmentException, match="was ended by signal SIGKILL"):
                environment.step()

    @pytest.mark.slow
    def test_one_that_hangs_up_but_lives_on(self, unity_environment, program) -> None:
        player = program(
            """
            player = RawPlayer(port)
            player.introduce()
            call = player.begin()
            time.sleep(0.3)
            player.close()
            time.sleep(30)
            """
        )
        environment = unity_environment(player)
        time.sleep(0.5)
        with pytest.raises(UnityEnvironmentException, match=r"closed its connection .* its process goes on running"):
            environment.reset()

    @pytest.mark.slow
    def test_one_that_never_connects(self, unity_environment, program) -> None:
        environment = None
        started = time.monotonic()
        with pytest.raises(UnityTimeOutException) as error:
            environment = unity_environment(program("time.sleep(60)"), timeout_wait=1)
        assert environment is None
        assert time.monotonic() - started < 4.0, "and is not waited for when it is ended"
        text = str(error.value)
        causes = [
            "did not connect to port",
            "not a build with ML-Agents",
            "still loading",
            "display",
            "held by process",
        ]
        assert sorted(text.index(cause) for cause in causes) == [text.index(cause) for cause in causes]

    def test_one_that_is_silent_is_ended_without_further_ado(self, unity_environment, program, process_lives) -> None:
        player = program(
            """
            RawPlayer(port).connect()
            time.sleep(60)
            """
        )
        environment = unity_environment(player)
        environment._timeout = 0.3
        with pytest.raises(UnityTimeOutException):
            environment.reset()
        pid = environment._player.pid
        started = time.monotonic()
        environment.close()
        assert time.monotonic() - started < 1.0
        assert not process_lives(pid)

    def test_its_error_is_in_the_trainers_error(self, unity_environment, program) -> None:
        player = program(
            """
            class World(toy_worlds.EchoWorld):
                def step(self, actions):
                    raise ValueError("the world is flat")

            sys.exit(run_player(World, port))
            """
        )
        environment = unity_environment(player)
        environment.reset()
        with pytest.raises(UnityEnvironmentException, match="exited with code 1") as error:
            environment.step()
        assert str(error.value).endswith("ValueError: the world is flat")

    def test_environment_parameters_arrive_with_the_reset_that_they_are_for(self, unity_environment, toy_player, toy):
        parameters = EnvironmentParametersChannel()
        environment = unity_environment(toy_player, side_channels=[parameters], seed=0)
        winds = []
        for wind in (None, 2.0, 3.0):
            if wind is not None:
                parameters.set_float_parameter("wind", wind)
            environment.reset()
            environment.step()
            winds.append(float(environment.get_steps(toy.WALKER)[0].obs[0][0, 0]))
        assert [int(wind) for wind in winds] == [0, 2, 3]


@pytest.mark.slow
def test_2000_steps_leave_nothing_behind(unity_environment, program, wait_for) -> None:
    player = program("sys.exit(run_player(toy_worlds.EchoWorld, port))", numba=True)

    def held() -> tuple[int, int]:
        folder = Path("/proc/self/fd")
        return len(list(folder.iterdir())) if folder.exists() else 0, threading.active_count()

    with contextlib.closing(unity_environment(player)):  # what is made once for all stays
        pass
    before = held()
    environment = unity_environment(player)

    def run(steps: int) -> None:
        for _ in range(steps):
            environment.step()
            for name, spec in environment.behavior_specs.items():
                decisions, _ = environment.get_steps(name)
                environment.set_actions(name, spec.action_spec.random_action(len(decisions)))

    run(100)
    early = held()
    run(1900)
    assert held() == early
    environment.close()
    assert wait_for(lambda: held() <= before, 5), (held(), before)
