"""What `UnityEnvironment` does about mistakes, its caller's and the player's; and the Unity Editor."""

import logging
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from mlagents_envs.base_env import ActionTuple

from bridge import ports
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
from bridge.messages import COMMAND_RESET, COMMAND_STEP

pytestmark = pytest.mark.timeout(60)

ECHO = "Echo?team=0"


def echo(*ids: int, **fields) -> list[dict]:
    """Agents of the behavior Echo, whose actions are two continuous numbers."""
    return [{"obs": [[0, 0]], "id": identifier, **fields} for identifier in ids]


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
        # Which ones depends on what else runs on this machine.
        assert one.port != two.port and min(one.port, two.port) >= 5005
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
