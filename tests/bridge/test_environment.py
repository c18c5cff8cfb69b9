"""`UnityEnvironment` keeps to ML-Agents' protocol, whatever the player at the other end does."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from mlagents_envs.base_env import ActionSpec, ActionTuple, BaseEnv

import bridge
from bridge import UnityEnvironment, ports
from bridge.exceptions import (
    InvalidObservationError,
    PortInUseError,
    UnityActionException,
    UnityCommunicationException,
    UnityCommunicatorStoppedException,
    UnityEnvironmentException,
    UnityTimeOutException,
    UnityWorkerInUseException,
)
from bridge.messages import COMMAND_RESET, COMMAND_STEP, UnityMessageProto
from bridge.side_channels import EngineConfigurationChannel, EnvironmentParametersChannel

pytestmark = pytest.mark.timeout(60)

REPOSITORY = str(Path(bridge.__file__).parents[1])
ECHO = "Echo?team=0"
ZEROS = {"obs": [[0, 0]]}


def echo(*ids: int, **fields) -> list[dict]:
    """Agents of the behavior Echo, whose actions are two continuous numbers."""
    return [{"obs": [[0, 0]], "id": identifier, **fields} for identifier in ids]


def actions_in(message: UnityMessageProto) -> dict[str, list[list[float]]]:
    """By behavior, the continuous actions of each agent."""
    sent = message.unity_input.rl_input.agent_actions
    return {name: [list(action.continuous_actions) for action in sent[name].value] for name in sent}


class TestHandshake:
    def test_its_messages(self, unity_environment, free_port: int, play) -> None:
        engine = EngineConfigurationChannel()
        engine.set_configuration_parameters(time_scale=20.0)
        second_request_answered = threading.Event()

        def player(player):
            first = player.introduce()
            second = player.exchange()
            second_request_answered.set()
            return first, second, player.observe(*echo(3), brain=True)

        played = play(free_port, player)
        environment = unity_environment(base_port=free_port, seed=123, num_areas=4, side_channels=[engine])
        assert isinstance(environment, BaseEnv)
        assert environment.academy_capabilities.hybridActions
        assert not second_request_answered.wait(0.1), "the answer to the second request has to wait for the reset"
        assert len(environment.behavior_specs) == 0
        environment.reset()
        environment.send_step()
        first, second, third = played.result(10)

        assert first.header.status == second.header.status == third.header.status == 200
        start = first.unity_input.rl_initialization_input
        assert (start.seed, start.num_areas) == (123, 4)
        assert (start.communication_version, start.package_version) == ("1.5.0", bridge.__version__)
        capable = {field.name for field, value in start.capabilities.ListFields() if value}
        assert capable == {
            "baseRLCapabilities",
            "concatenatedPngObservations",
            "compressedChannelMapping",
            "hybridActions",
            "variableLengthObservation",
            "multiAgentGroups",
        }
        assert not first.unity_input.HasField("rl_input")

        reset = second.unity_input.rl_input
        assert reset.command == COMMAND_RESET
        assert reset.side_channel[:16] == engine.channel_id.bytes_le
        assert not reset.agent_actions
        assert not second.unity_input.HasField("rl_initialization_input")

        assert third.unity_input.rl_input.command == COMMAND_STEP
        assert third.unity_input.rl_input.side_channel == b""

    def test_both_sides_of_our_own(self, unity_environment, program) -> None:
        player = program(
            """
            class World(toy_worlds.EchoWorld):
                def reset(self):
                    steps = super().reset()
                    steps[toy_worlds.ECHO][0].obs[0][:] = self.seed, self.num_areas
                    return steps

            sys.exit(run_player(World, port))
            """
        )
        environment = unity_environment(player, seed=-5, num_areas=3)
        environment.reset()
        assert environment.get_steps(ECHO)[0].obs[0].tolist() == [[-5, 3], [-5, 3]]

    @pytest.mark.parametrize("version", ["2.0.0", "0.15.0", "", "nonsense"])
    def test_another_version_of_the_protocol_is_refused(
        self, unity_environment, free_port: int, play, version: str
    ) -> None:
        played = play(free_port, lambda player: player.introduce(version))
        with pytest.raises(UnityEnvironmentException) as error:
            unity_environment(base_port=free_port)
        text = str(error.value)
        assert f"the player speaks version {version or 'unknown'} " in text
        assert "this side 1.5.0" in text
        assert "3.0.0" in text, "the player's package"
        assert played.result(10).header.status == 400

    @pytest.mark.parametrize("version", ["1.0.0", "1.9.9"])
    def test_another_minor_version_is_not(self, unity_environment, free_port: int, play, version: str) -> None:
        def player(player):
            player.introduce(version)
            player.exchange()

        play(free_port, player)
        unity_environment(base_port=free_port)

    @pytest.mark.parametrize("seed", [-(2**31) - 1, 2**31])
    def test_a_seed_that_the_protocol_cannot_carry_is_refused(
        self, unity_environment, free_port: int, seed: int
    ) -> None:
        with pytest.raises(UnityEnvironmentException, match=f"seed is {seed}"):
            unity_environment(base_port=free_port, seed=seed)

    def test_in_another_thread_than_the_main_one(self, program) -> None:
        player = str(program("sys.exit(run_player(toy_worlds.EchoWorld, port))"))
        outcome = []

        def run() -> None:
            with UnityEnvironment(player, timeout_wait=20) as environment:
                environment.step()
                outcome.append(list(environment.behavior_specs))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join(30)
        assert outcome == [[ECHO]]


@pytest.fixture
def conversation(unity_environment, free_port: int, play) -> Callable[..., tuple]:
    """`conversation(script)` connects a player that then runs `script(player)`; returns environment and future."""

    def start(script: Callable, capable: dict[str, bool] | None = None, **arguments):
        def player(player):
            player.introduce(**(capable or {}))
            player.exchange()
            return script(player)

        played = play(free_port, player)
        return unity_environment(base_port=free_port, **arguments), played

    return start


class TestStepping:
    def test_the_first_step_is_a_reset(self, unity_environment, free_port: int, play) -> None:
        def player(player):
            return player.connect(), player.observe(*echo(1), brain=True)

        played = play(free_port, player)
        environment = unity_environment(base_port=free_port)
        environment.step()
        environment.send_step()
        commands = [answer.unity_input.rl_input.command for answer in played.result(10)]
        assert commands == [COMMAND_RESET, COMMAND_STEP]

    def test_actions_go_out_in_the_order_of_the_decisions_and_unset_ones_as_zeros(self, conversation) -> None:
        environment, played = conversation(
            lambda player: [
                player.observe(*echo(5), *echo(6, done=True), *echo(2), brain=True),
                player.observe(*echo(2, 5)),
                player.observe(*echo(5, 2)),
                player.observe(*echo(5, 2)),
            ]
        )
        environment.reset()
        decisions, terminals = environment.get_steps(ECHO)
        assert (decisions.agent_id.tolist(), terminals.agent_id.tolist()) == ([5, 2], [6])
        environment.set_actions(ECHO, ActionTuple(np.array([[0.5, 1.0], [0.25, -1.0]], np.float32)))
        environment.step()
        environment.step()
        environment.set_action_for_agent(ECHO, 2, ActionTuple(np.array([[4.0, 8.0]], np.float32)))
        environment.step()
        environment.send_reset()
        answers = played.result(10)
        assert [actions_in(answer) for answer in answers] == [
            {ECHO: [[0.5, 1.0], [0.25, -1.0]]},
            {ECHO: [[0, 0], [0, 0]]},
            {ECHO: [[0, 0], [4.0, 8.0]]},
            {},
        ]
        assert [answer.unity_input.rl_input.command for answer in answers] == [COMMAND_STEP] * 3 + [COMMAND_RESET]
        (action, _) = answers[0].unity_input.rl_input.agent_actions[ECHO].value
        assert not action.vector_actions_deprecated

    def test_a_player_without_hybrid_actions_gets_the_deprecated_field(self, conversation) -> None:
        environment, played = conversation(
            lambda player: player.observe(*echo(1), brain=True), capable={"hybridActions": False}
        )
        environment.reset()
        environment.set_actions(ECHO, ActionTuple(np.array([[0.5, 1.0]], np.float32)))
        environment.send_step()
        (action,) = played.result(10).unity_input.rl_input.agent_actions[ECHO].value
        assert list(action.vector_actions_deprecated) == list(action.continuous_actions) == [0.5, 1.0]

    def test_a_behavior_without_decisions_gets_no_actions_and_empty_steps(self, conversation) -> None:
        other = "Other?team=1"
        environment, played = conversation(
            lambda player: [
                player.observe(*echo(1), brain=True),
                player.observe(*echo(7), brain=True, name=other),
                player.observe(*echo(1, done=True)),
                player.observe(*echo(1)),
            ]
        )
        environment.reset()
        assert list(environment.behavior_specs) == [ECHO]
        environment.step()
        assert list(environment.behavior_specs) == [ECHO, other]
        decisions, terminals = environment.get_steps(ECHO)
        assert (len(decisions), len(terminals), decisions.obs[0].shape) == (0, 0, (0, 2))
        environment.set_actions(ECHO, ActionTuple(np.zeros((0, 2), np.float32)))
        environment.step()
        assert len(environment.get_steps(ECHO)[1]) == 1
        environment.step()
        environment.send_step()
        assert [set(actions_in(answer)) for answer in played.result(10)] == [{ECHO}, {other}, set(), {ECHO}]

    def test_actions_set_are_the_environments_own(self, conversation) -> None:
        environment, played = conversation(lambda player: player.observe(*echo(1, 2), brain=True))
        environment.reset()
        mine = np.ones((2, 2), np.float32)
        environment.set_actions(ECHO, ActionTuple(mine))
        environment.set_action_for_agent(ECHO, 2, ActionTuple(np.array([[3.0, 3.0]], np.float32)))
        assert mine.tolist() == [[1, 1], [1, 1]]
        environment.send_step()
        assert actions_in(played.result(10)) == {ECHO: [[1, 1], [3, 3]]}

    def test_parameters_of_a_behavior_may_come_before_its_first_agent(self, conversation) -> None:
        environment, _ = conversation(lambda player: [player.observe(brain=True), player.observe(*echo(1))])
        environment.reset()
        assert not environment.behavior_specs
        environment.step()
        assert environment.behavior_specs[ECHO].action_spec == ActionSpec.create_continuous(2)

    def test_messages_of_more_than_4_mib(self, unity_environment, program) -> None:
        size = 600_000
        player = program(
            f"""
            class World(toy_worlds.EchoWorld):
                def __init__(self, *arguments):
                    super().__init__(*arguments)
                    self.spec = toy_worlds.BehaviorSpec(
                        [toy_worlds.vector_spec("large", {size})], toy_worlds.ActionSpec.create_continuous({size})
                    )
                    self.behavior_specs = {{toy_worlds.ECHO: self.spec}}
                def reset(self):
                    self.steps = 0
                    return self.report(np.zeros((2, {size})))

            import numpy as np
            sys.exit(run_player(World, port))
            """
        )
        environment = unity_environment(player)
        environment.reset()
        sent = np.arange(2 * size, dtype=np.float32).reshape(2, size)
        environment.set_actions(ECHO, ActionTuple(sent))
        environment.step()
        np.testing.assert_array_equal(environment.get_steps(ECHO)[0].obs[0], sent)


class TestMistakesOfTheCaller:
    @pytest.fixture
    def environment(self, conversation):
        environment, _ = conversation(lambda player: player.observe(*echo(4, 5), brain=True))
        environment.reset()
        return environment

    def test_an_unknown_behavior(self, environment) -> None:
        for call in (
            lambda: environment.get_steps("Nobody"),
            lambda: environment.set_actions("Nobody", ActionTuple(np.zeros((2, 2)))),
            lambda: environment.set_action_for_agent("Nobody", 4, ActionTuple(np.zeros((1, 2)))),
        ):
            with pytest.raises(UnityActionException, match=r"no behavior 'Nobody' .* it has: 'Echo\?team=0'"):
                call()

    @pytest.mark.parametrize(
        "action",
        [ActionTuple(np.zeros((1, 2))), ActionTuple(np.zeros((2, 3))), ActionTuple(np.zeros((2, 2)), np.zeros((2, 1)))],
    )
    def test_actions_of_the_wrong_shape(self, environment, action: ActionTuple) -> None:
        with pytest.raises(UnityActionException, match=r"Echo\?team=0"):
            environment.set_actions(ECHO, action)

    def test_an_agent_that_does_not_wait(self, environment) -> None:
        with pytest.raises(UnityActionException, match="agent 9 of behavior"):
            environment.set_action_for_agent(ECHO, 9, ActionTuple(np.zeros((1, 2))))

    def test_an_environment_that_is_closed(self, environment) -> None:
        environment.close()
        environment.close()
        for call in (environment.reset, environment.step):
            with pytest.raises(UnityEnvironmentException, match="closed"):
                call()

    def test_a_worker_of_the_editor(self, unity_environment) -> None:
        with pytest.raises(UnityEnvironmentException, match="worker_id is 1"):
            unity_environment(worker_id=1)

    def test_a_file_that_is_not_there(self, unity_environment, tmp_path: Path) -> None:
        with pytest.raises(UnityEnvironmentException, match="nowhere"):
            unity_environment(tmp_path / "nowhere")

    @pytest.mark.parametrize("worker_id", [0, 2])
    def test_a_port_in_use(self, unity_environment, environment, program, worker_id: int) -> None:
        first, player = environment, program("sys.exit(1)")
        with pytest.raises(PortInUseError, match=f"port {first.port} is in use .*--base-port") as error:
            unity_environment(player, base_port=first.port - worker_id, worker_id=worker_id)
        assert isinstance(error.value, UnityWorkerInUseException)

    def test_without_a_base_port_the_next_free_one_is_taken(self, unity_environment, toy_player) -> None:
        one, two = unity_environment(toy_player), unity_environment(toy_player)
        assert 5005 <= one.port < two.port
        one.reset()
        two.reset()


class TestMistakesOfThePlayer:
    def test_a_nan_names_the_behavior_the_observation_and_the_agent(self, conversation) -> None:
        environment, played = conversation(
            lambda player: [
                player.observe(*echo(1), {"id": 2, "obs": [[0, float("nan")]]}, brain=True),
                player.observe(*echo(1, 2)),
            ]
        )
        with pytest.raises(
            InvalidObservationError, match=r"observation 0 .* agent 2 of behavior 'Echo\?team=0' is NaN"
        ):
            environment.reset()
        environment.step()  # nothing is known of what the agents wait for, so it has to reset
        assert len(environment.get_steps(ECHO)[0]) == 2
        environment.send_step()
        answers = played.result(10)
        assert [answer.unity_input.rl_input.command for answer in answers] == [COMMAND_RESET, COMMAND_STEP]

    def test_agents_of_a_behavior_that_was_never_described(self, conversation) -> None:
        environment, _ = conversation(lambda player: player.observe(*echo(1)))
        with pytest.raises(UnityCommunicationException, match=r"'Echo\?team=0' before its brain parameters"):
            environment.reset()

    def test_bytes_that_are_no_message(self, unity_environment, free_port: int, play) -> None:
        play(free_port, lambda player: player._call(b"\xff\xff", timeout=10, wait_for_ready=True))
        with pytest.raises(UnityCommunicationException, match="2 bytes that are no protocol message"):
            unity_environment(base_port=free_port)

    @pytest.mark.parametrize("moment", ["handshake 1", "handshake 2", "stepping"])
    def test_a_player_that_says_goodbye_gets_its_answer_at_once(
        self, unity_environment, free_port: int, play, moment: str
    ) -> None:
        def player(player):
            if moment != "handshake 1":
                player.introduce()
            if moment == "stepping":
                player.exchange()
            return player.exchange(status=400)

        played = play(free_port, player)
        with pytest.raises(UnityCommunicatorStoppedException, match="status 400"):
            unity_environment(base_port=free_port).reset()
        assert played.result(5).header.status == 400

    def test_after_its_goodbye_there_is_nothing_to_step(self, conversation) -> None:
        environment, _ = conversation(lambda player: player.exchange(status=400))
        with pytest.raises(UnityCommunicatorStoppedException):
            environment.reset()
        with pytest.raises(UnityEnvironmentException, match="ended the communication"):
            environment.step()

    def test_a_silent_player(self, conversation) -> None:
        release = threading.Event()
        environment, played = conversation(
            lambda player: [player.observe(*echo(1), brain=True), release.wait(10), player.observe(*echo(1))]
        )
        environment.reset()
        environment._timeout = 0.3
        started = time.monotonic()
        with pytest.raises(UnityTimeOutException) as error:
            environment.step()
        assert 0.3 <= time.monotonic() - started < 1.5
        text = str(error.value)
        causes = [
            "sent nothing within 0.3 s",
            "no agent ever requests a decision",
            "wrong executable",
            "--timeout-wait",
        ]
        assert sorted(text.index(cause) for cause in causes) == [text.index(cause) for cause in causes]
        with pytest.raises(UnityEnvironmentException, match="still busy"):
            environment.reset()
        with pytest.raises(UnityTimeOutException):
            environment.receive_steps()
        release.set()
        environment._timeout = 10
        environment.receive_steps()  # one may wait on
        assert environment.get_steps(ECHO)[0].agent_id.tolist() == [1]
        environment.send_step()
        played.result(10)

    def test_a_player_that_stops_between_the_messages_of_the_handshake(
        self, unity_environment, free_port, play
    ) -> None:
        play(free_port, lambda player: player.introduce())
        with pytest.raises(UnityTimeOutException, match=r"connected but did not go on within 0\.3 s"):
            unity_environment(base_port=free_port, timeout_wait=0.3)


class TestEditor:
    def test_it_is_listened_for_on_port_5004(self, unity_environment, play, caplog: pytest.LogCaptureFixture) -> None:
        if not ports.port_is_free(5004):
            pytest.skip("port 5004 is in use here")
        play(5004, lambda player: player.connect())
        with caplog.at_level(logging.INFO):
            environment = unity_environment()
        assert environment.port == 5004
        text = "Listening on port 5004. Start training by pressing the Play button in the Unity Editor."
        assert text in [record.getMessage() for record in caplog.records]

    @pytest.mark.parametrize(
        "host",
        [
            "127.0.0.1",
            pytest.param(
                "[::1]", marks=pytest.mark.skipif(not ports.ipv6_loopback_exists(), reason="this machine has no ::1")
            ),
        ],
    )
    def test_it_may_dial_late_over_either_address_and_come_again(
        self, unity_environment, free_port: int, play, host: str
    ) -> None:
        def editor(player):
            time.sleep(0.3)
            player.connect()
            player.observe(*echo(1), brain=True)
            return player.exchange(status=400)

        for _ in range(2):  # Play, Stop, a new trainer, Play again
            played = play(free_port, editor, host)
            environment = unity_environment(base_port=free_port, timeout_wait=0.2, wait_for_editor=True)
            environment._timeout = 10
            environment.reset()
            with pytest.raises(UnityCommunicatorStoppedException):
                environment.step()
            environment.close()
            assert played.result(10).header.status == 400

    def test_it_is_not_waited_for_longer_than_asked(self, unity_environment, free_port: int) -> None:
        started = time.monotonic()
        with pytest.raises(
            UnityTimeOutException, match=rf"no Unity Editor connected to port {free_port} within 0\.3 s"
        ):
            unity_environment(base_port=free_port, timeout_wait=0.3)
        assert time.monotonic() - started < 1.5
        assert ports.port_is_free(free_port)

    def test_close_tells_it_to_leave(self, conversation) -> None:
        environment, played = conversation(lambda player: player.observe(*echo(1), brain=True))
        environment.reset()
        started = time.monotonic()
        environment.close()
        assert time.monotonic() - started < 0.5
        answer = played.result(10)
        assert answer.header.status == 400
        assert not answer.HasField("unity_input")
        assert ports.port_is_free(environment.port)

    def test_one_that_vanishes_is_noticed(self, unity_environment, free_port: int, play) -> None:
        def editor(player):
            player.connect()
            player.begin()
            time.sleep(0.1)
            player.close()

        play(free_port, editor)
        environment = unity_environment(base_port=free_port)
        environment.reset()
        time.sleep(0.3)
        started = time.monotonic()
        with pytest.raises(UnityEnvironmentException, match="closed its connection"):
            environment.step()
        assert time.monotonic() - started < 0.5


# What a player does before it dies, and where the trainer is then.
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
    def test_close_is_quick_and_the_player_exits_with_0(self, unity_environment, toy_player, process_lives) -> None:
        environment = unity_environment(toy_player)
        environment.step()
        process = environment._player
        started = time.monotonic()
        environment.close()
        elapsed = time.monotonic() - started
        assert process.exit.returncode == 0
        assert not process_lives(process.pid)
        assert elapsed < 1.0

    def test_close_before_the_first_reset(self, unity_environment, toy_player) -> None:
        environment = unity_environment(toy_player)
        process = environment._player
        environment.close()
        assert process.exit.returncode == 0

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


def test_2000_steps_leave_nothing_behind(unity_environment, program, wait_for) -> None:
    player = program("sys.exit(run_player(toy_worlds.EchoWorld, port))")

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


# ---- trainers that end in all sorts of ways: programs of their own ----


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """`trainer(code)` runs a program with `UnityEnvironment`; it is ended in the end."""
    programs = []

    def start(code: str) -> subprocess.Popen:
        head = f"import os, sys; sys.path.insert(0, {REPOSITORY!r}); from bridge import UnityEnvironment\n"
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
