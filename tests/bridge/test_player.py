"""A world in Python as a program: what it says to a trainer, and when and how it leaves."""

import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from mlagents_envs.base_env import ActionTuple

import bridge
from bridge.codec import encode_actions
from bridge.exceptions import UnityCommunicationException
from bridge.messages import COMMAND_QUIT, COMMAND_RESET, UnityMessageProto
from bridge.player import EnvironmentParameters, port_from_arguments, run_player
from bridge.server import PlayerServer

pytestmark = pytest.mark.timeout(60)


class Trainer:
    """The trainer's end of the wire, driven by the test message by message."""

    def __init__(self, port: int) -> None:
        self.server = PlayerServer(port)

    def receive(self) -> UnityMessageProto:
        return UnityMessageProto.FromString(self.server.receive(20))

    def answer(self, message: UnityMessageProto, status: int = 200) -> None:
        message.header.status = status
        self.server.send(message.SerializeToString())

    def welcome(self, version: str = "1.5.0", num_areas: int = 1) -> UnityMessageProto:
        """Answers message 1 of the handshake and returns it."""
        first = self.receive()
        answer = UnityMessageProto()
        start = answer.unity_input.rl_initialization_input
        start.seed, start.num_areas, start.communication_version = 7, num_areas, version
        self.answer(answer)
        return first

    def command(self, number: int = 0, actions: dict[str, ActionTuple] | None = None) -> None:
        message = UnityMessageProto()
        message.unity_input.rl_input.command = number
        for name, action in (actions or {}).items():
            encode_actions(message.unity_input.rl_input, name, action, deprecated_too=False)
        self.answer(message)


@pytest.fixture
def trainer(free_port: int) -> Iterator[Trainer]:
    trainer = Trainer(free_port)
    yield trainer
    trainer.server.close()


@pytest.fixture
def playing(compiled: None, free_port: int, toy) -> Iterator[Callable[..., Future]]:
    """`playing(make_world)` runs a player in a thread; the future has its exit code."""
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(1)
    yield lambda make_world=toy.ToyWorld, **arguments: pool.submit(run_player, make_world, free_port, **arguments)
    pool.shutdown(wait=False)


@pytest.fixture
def start(program, free_port: int) -> Iterator[Callable[..., subprocess.Popen]]:
    """`start(text)` starts a player program that dials `free_port`."""
    started = []

    def run(text: str = "sys.exit(run_player(toy_worlds.ToyWorld, port))", port: int = free_port) -> subprocess.Popen:
        command = [str(program(text)), "--mlagents-port", str(port)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


class TestConversation:
    def test_its_messages(self, trainer: Trainer, playing, toy) -> None:
        played = playing()
        first = trainer.welcome(num_areas=2)
        assert first.header.status == 200
        hello = first.unity_output.rl_initialization_output
        assert (hello.name, hello.communication_version) == ("AcademySingleton", "1.5.0")
        assert re.fullmatch(r"\d+\.\d+\.\d+", hello.package_version)
        assert hello.package_version == bridge.__version__
        capabilities = {field.name: value for field, value in hello.capabilities.ListFields()}
        assert set(capabilities.values()) == {True} and len(capabilities) == 6
        assert not hello.brain_parameters
        assert not first.unity_output.HasField("rl_output")

        second = trainer.receive()
        assert second.header.status == 200
        assert not second.HasField("unity_output")
        trainer.command(COMMAND_RESET)

        third = trainer.receive().unity_output
        assert [brain.brain_name for brain in third.rl_initialization_output.brain_parameters] == [
            toy.WALKER,
            toy.JUMPER,
        ]
        (walker, _) = third.rl_initialization_output.brain_parameters
        assert walker.action_spec.num_continuous_actions == 2
        assert walker.action_spec.num_discrete_actions == 2
        assert list(walker.action_spec.discrete_branch_sizes) == [3, 2]
        walkers = third.rl_output.agentInfos[toy.WALKER].value
        assert [info.id for info in walkers] == [0, 1, 2, 3], "two an area"
        names = [(each.name, list(each.shape), list(each.dimension_properties)) for each in walkers[0].observations]
        assert names == [("position", [2], [1]), ("action", [2, 2], [1, 1])]
        (jumper,) = third.rl_output.agentInfos[toy.JUMPER].value
        assert list(jumper.action_mask) == [False, False, False, True]

        trainer.command(
            0,
            {
                toy.WALKER: toy.ActionSpec(2, (3, 2)).empty_action(4),
                toy.JUMPER: toy.ActionSpec(0, (4,)).empty_action(1),
            },
        )
        fourth = trainer.receive().unity_output
        assert not fourth.rl_initialization_output.brain_parameters, "once for each behavior"
        assert list(fourth.rl_output.agentInfos) == [toy.WALKER]

        trainer.answer(UnityMessageProto(), status=400)
        assert played.result(10) == 0

    def test_a_reset_in_the_middle_begins_anew_and_ignores_actions(self, trainer: Trainer, playing, toy) -> None:
        playing(toy.EchoWorld)
        trainer.welcome()
        for _ in range(2):
            trainer.receive()
            trainer.command(COMMAND_RESET)
        trainer.receive()
        for _ in range(3):
            trainer.command(0, {toy.ECHO: ActionTuple(np.ones((2, 2), np.float32))})
            infos = trainer.receive().unity_output.rl_output.agentInfos[toy.ECHO].value
        assert [info.reward for info in infos] == [3, 3]
        trainer.command(COMMAND_RESET, {toy.ECHO: ActionTuple(np.ones((1, 2), np.float32))})
        infos = trainer.receive().unity_output.rl_output.agentInfos[toy.ECHO].value
        assert [info.reward for info in infos] == [0, 0]
        assert [info.done for info in infos] == [False, False]

    def test_the_first_command_is_a_reset_whatever_it_says(self, trainer: Trainer, playing, toy) -> None:
        playing(toy.EchoWorld)
        trainer.welcome()
        trainer.receive()
        trainer.command(0)
        assert len(trainer.receive().unity_output.rl_output.agentInfos[toy.ECHO].value) == 2

    def test_no_number_of_areas_means_one(self, trainer: Trainer, playing, toy) -> None:
        playing()
        trainer.welcome(num_areas=0)
        trainer.receive()
        trainer.command(COMMAND_RESET)
        assert len(trainer.receive().unity_output.rl_output.agentInfos[toy.WALKER].value) == 2


class TestMistakesOfTheTrainer:
    @pytest.mark.parametrize(
        ("actions", "words"),
        [
            ({}, "sent 0 actions for 2 waiting agents"),
            ({"Echo?team=0": np.zeros((1, 2))}, "sent 1 actions for 2 waiting agents"),
            ({"Echo?team=0": np.zeros((2, 3))}, "sent 6 continuous and 0 discrete values for 2 agents"),
        ],
    )
    def test_the_wrong_number_of_actions(self, trainer: Trainer, playing, toy, actions: dict, words: str) -> None:
        played = playing(toy.EchoWorld)
        trainer.welcome()
        trainer.receive()
        trainer.command(COMMAND_RESET)
        trainer.receive()
        trainer.command(0, {name: ActionTuple(values) for name, values in actions.items()})
        with pytest.raises(UnityCommunicationException, match=words):
            played.result(10)

    def test_another_version_of_the_protocol(self, trainer: Trainer, playing) -> None:
        played = playing()
        trainer.welcome("2.0.0")
        with pytest.raises(UnityCommunicationException, match=r"the trainer speaks version 2\.0\.0"):
            played.result(10)

    def test_bytes_that_are_no_message(self, trainer: Trainer, playing) -> None:
        played = playing()
        trainer.welcome()
        trainer.receive()
        trainer.server.send(b"\xff" * 9)
        with pytest.raises(UnityCommunicationException, match="the trainer sent 9 bytes that are no protocol message"):
            played.result(10)


class TestLeaving:
    def stepping(self, trainer: Trainer, toy) -> None:
        trainer.welcome()
        trainer.receive()
        trainer.command(COMMAND_RESET)
        trainer.receive()

    @pytest.mark.parametrize("moment", ["handshake 1", "handshake 2", "stepping"])
    def test_when_the_trainer_says_so(self, trainer: Trainer, playing, toy, moment: str) -> None:
        played = playing()
        if moment == "stepping":
            self.stepping(trainer, toy)
        else:
            if moment == "handshake 2":
                trainer.welcome()
            trainer.receive()
        trainer.answer(UnityMessageProto(), status=400)
        assert played.result(10) == 0

    def test_when_the_command_is_to_quit(self, trainer: Trainer, playing, toy) -> None:
        played = playing()
        self.stepping(trainer, toy)
        trainer.command(COMMAND_QUIT)
        assert played.result(10) == 0

    @pytest.mark.parametrize("moment", ["while it waits", "while it simulates"])
    @pytest.mark.slow
    def test_when_the_trainer_is_killed(self, start, free_port: int, moment: str) -> None:
        trainer = subprocess.Popen(
            [sys.executable, "-c", TRAINER, str(Path(bridge.__file__).parents[1]), str(free_port), moment],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            pause = "0.5" if moment == "while it simulates" else "0"
            player = start(
                f"""
                class World(toy_worlds.EchoWorld):
                    def step(self, actions):
                        time.sleep({pause})
                        return super().step(actions)
                sys.exit(run_player(World, port))
                """
            )
            assert trainer.stdout.readline() == "now\n"
        finally:
            trainer.kill()
            trainer.wait()
            trainer.stdout.close()
        assert player.wait(5) == 0
        assert player.stderr.read() == ""

    def test_when_the_port_belongs_to_another_player(self, trainer: Trainer, playing, start) -> None:
        playing()
        trainer.receive()
        assert start().wait(10) == 0

    @pytest.mark.slow
    def test_with_an_error_when_nobody_listens(self, start, free_port: int) -> None:
        player = start("sys.exit(run_player(toy_worlds.EchoWorld, port, connect_timeout=0.5))")
        assert player.wait(10) == 1
        last = player.stderr.read().splitlines()[-1]
        assert f"no trainer answered on port {free_port} within 0.5 s" in last

    @pytest.mark.slow
    def test_not_while_the_trainer_may_still_come(self, playing, free_port: int) -> None:
        played = playing()
        time.sleep(0.3)
        trainer = Trainer(free_port)
        try:
            trainer.welcome()
            trainer.receive()
            trainer.answer(UnityMessageProto(), status=400)
            assert played.result(10) == 0
        finally:
            trainer.server.close()

    def test_with_an_error_when_its_world_has_one(self, trainer: Trainer, start) -> None:
        player = start(
            """
            class World(toy_worlds.EchoWorld):
                def reset(self):
                    raise ValueError("the world is flat")
            sys.exit(run_player(World, port))
            """
        )
        trainer.welcome()
        trainer.receive()
        trainer.command(COMMAND_RESET)
        assert player.wait(10) == 1
        log = player.stderr.read()
        assert "Traceback" in log and "in reset" in log
        assert log.splitlines()[-1] == "ValueError: the world is flat"


TRAINER = """
import sys, time
sys.path.insert(0, sys.argv[1])
sys.modules["numba"] = None  # which would only take time to start
from bridge.environment import UnityEnvironment
environment = UnityEnvironment(base_port=int(sys.argv[2]), timeout_wait=20)
environment.reset()
if sys.argv[3] == "while it simulates":
    environment.send_step()
print("now", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("arguments", "port"),
    [
        ([], None),
        (["-nographics", "-logFile", "x.log"], None),
        (["--mlagents-port", "5005"], 5005),
        (["-batchmode", "--mlagents-port=5005", "--mlagents-port", "5006", "--more"], 5006),
    ],
)
def test_the_last_port_on_the_command_line_counts(arguments: list[str], port: int | None) -> None:
    assert port_from_arguments(arguments) == port


@pytest.mark.parametrize("arguments", [["--mlagents-port"], ["--mlagents-port", "x"], ["--mlagents-port="]])
def test_a_port_that_is_no_number(arguments: list[str]) -> None:
    with pytest.raises(ValueError, match=r"mlagents-port|invalid literal"):
        port_from_arguments(arguments)


def test_environment_parameters() -> None:
    parameters = EnvironmentParameters()
    assert parameters.get_with_default("mass", 2.0) == 2.0
    parameters.set("mass", 3.0)
    draws = iter([1.0, 4.0])
    parameters.set_sampler("scale", lambda: next(draws), random.Random(1))
    assert parameters.get_with_default("mass", 2.0) == 3.0
    assert [parameters.get_with_default("scale", 0.0) for _ in range(2)] == [1.0, 4.0]
    assert parameters.keys() == ["mass", "scale"]
