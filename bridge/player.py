"""The player's side: turns a world written in Python into a program that ML-Agents trainers can train.

A world is a class with the methods of `World`, most easily made from `AgentWorld`; `run_player(make_world, port)`
connects it to the trainer that listens on that port. A program needs no more than this:

    sys.exit(run_program(MyWorld))
"""

import contextlib
import math
import os
import random
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from mlagents_envs.base_env import ActionSpec, ActionTuple, BehaviorSpec

from bridge import API_VERSION, __version__
from bridge.agent_world import GOES_ON, INTERRUPTED, TERMINATED, AgentWorld, vector_observation
from bridge.codec import Steps, StepsEncoder, decode_actions, encode_brain_parameters
from bridge.exceptions import UnityCommunicationException, UnityException
from bridge.messages import (
    COMMAND_QUIT,
    COMMAND_RESET,
    EXCHANGE_METHOD,
    STATUS_OK,
    UnityMessageProto,
    capabilities,
    is_compatible,
)
from bridge.side_channels import EnvironmentParametersChannel, IncomingMessage, SideChannel, SideChannelManager

__all__ = [
    "GOES_ON",
    "INTERRUPTED",
    "TERMINATED",
    "ActionSpec",
    "ActionTuple",
    "AgentWorld",
    "EnvironmentParameters",
    "MakeWorld",
    "World",
    "player_side_channels",
    "port_from_arguments",
    "run_player",
    "run_program",
    "vector_observation",
]

_CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),  # a proxy set for the web must not get loopback traffic
)


class EnvironmentParameters:
    """Numbers that the trainer sets by name. A value may be a sampler: then each read draws anew."""

    def __init__(self) -> None:
        self._readers: dict[str, Callable[[], float]] = {}
        self._generators: dict[str, random.Random] = {}

    def get_with_default(self, key: str, default: float) -> float:
        """The value of `key`, or `default` when the trainer did not set it."""
        reader = self._readers.get(key)
        return default if reader is None else reader()

    def set(self, key: str, value: float) -> None:
        self._readers[key] = lambda: value
        self._generators.pop(key, None)

    def set_sampler(self, key: str, draw: Callable[[], float], generator: random.Random) -> None:
        """`draw` takes its random numbers from `generator`."""
        self._readers[key] = draw
        self._generators[key] = generator

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """Where the samplers are, to go on from: int64 [625] and float64 [1] of each."""
        state = {}
        for key, generator in self._generators.items():
            _, words, waiting = generator.getstate()
            state[f"{key}:words"] = np.array(words, np.int64)
            state[f"{key}:waiting"] = np.array([math.nan if waiting is None else waiting])
        return state

    def load_state(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """For the samplers that are set and were set then."""
        for key, generator in self._generators.items():
            if f"{key}:words" in state:
                waiting = float(state[f"{key}:waiting"][0])
                words = tuple(state[f"{key}:words"].tolist())
                generator.setstate((3, words, None if math.isnan(waiting) else waiting))

    def keys(self) -> list[str]:
        return list(self._readers)


class World(Protocol):
    """What `run_player` needs of a world. Names of behaviors are fully qualified ("3DBall?team=0")."""

    behavior_specs: Mapping[str, BehaviorSpec]

    def reset(self) -> Steps:
        """Starts everything anew and returns the first decisions; sends no terminals of what went on before."""

    def step(self, actions: Mapping[str, ActionTuple]) -> Steps:
        """Applies the actions and simulates until at least one agent has something to report.

        Row i of `actions[name]` belongs to row i of the previous decisions of that behavior; a behavior without
        decisions has no entry. The arrays returned may be buffers that the next call overwrites. A message may hold
        terminals only.
        """

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """Everything needed to go on bit for bit, random state included. Only in-process training asks for it."""

    def load_state(self, state: Mapping[str, np.ndarray[Any, Any]]) -> Steps:
        """Takes up `state` and returns the steps that were outstanding then."""


MakeWorld = Callable[[int, int, EnvironmentParameters], World]
"""(seed, num_areas, parameters) to a world; `num_areas` multiplies the agents."""


class _IncomingParameters(SideChannel):
    """The environment parameter channel, from the player's end."""

    def __init__(self, parameters: EnvironmentParameters) -> None:
        super().__init__(EnvironmentParametersChannel().channel_id)
        self._parameters = parameters

    def on_message_received(self, msg: IncomingMessage) -> None:
        key, kind = msg.read_string(), msg.read_int32()
        if kind == EnvironmentParametersChannel.EnvironmentDataTypes.FLOAT:
            self._parameters.set(key, msg.read_float32())
            return
        if kind != EnvironmentParametersChannel.EnvironmentDataTypes.SAMPLER:
            raise UnityCommunicationException(f"environment parameter '{key}' has the unknown type {kind}")
        generator, sampler = random.Random(msg.read_int32()), msg.read_int32()
        kinds = EnvironmentParametersChannel.SamplerTypes
        if sampler == kinds.UNIFORM:
            low, high = msg.read_float32(), msg.read_float32()
            self._parameters.set_sampler(key, lambda: generator.uniform(low, high), generator)
        elif sampler == kinds.GAUSSIAN:
            mean, deviation = msg.read_float32(), msg.read_float32()
            self._parameters.set_sampler(key, lambda: generator.gauss(mean, deviation), generator)
        elif sampler == kinds.MULTIRANGEUNIFORM:
            edges = msg.read_float32_list()
            ranges = list(zip(edges[::2], edges[1::2], strict=False))
            widths = [high - low for low, high in ranges]
            if len(edges) % 2 or not (sum(widths) > 0 and min(widths) >= 0 and math.isfinite(sum(widths))):
                raise UnityCommunicationException(f"environment parameter '{key}' has the impossible ranges {edges}")
            self._parameters.set_sampler(
                key, lambda: generator.uniform(*generator.choices(ranges, widths)[0]), generator
            )
        else:
            raise UnityCommunicationException(f"environment parameter '{key}' has the unknown sampler {sampler}")


class _Ignored(SideChannel):
    """A channel whose messages mean nothing without a game engine."""

    def on_message_received(self, msg: IncomingMessage) -> None:
        pass


def player_side_channels(
    parameters: EnvironmentParameters, side_channels: Sequence[SideChannel] = ()
) -> SideChannelManager:
    """The channels of a player: environment parameters into `parameters`, the engine's ignored, and the world's own."""
    engine = _Ignored(uuid.UUID("e951342c-4f7e-11ea-b238-784f4387d1f7"))
    analytics = _Ignored(uuid.UUID("b664a4a9-d86f-5a5f-95cb-e8353a7e8356"))
    return SideChannelManager([_IncomingParameters(parameters), engine, analytics, *side_channels])


def port_from_arguments(arguments: Sequence[str]) -> int | None:
    """The value of the last `--mlagents-port`, None without one. Raises ValueError when it is no number."""
    port = None
    for index, argument in enumerate(arguments):
        if argument == "--mlagents-port":
            if index + 1 == len(arguments):
                raise ValueError("--mlagents-port needs a number")
            port = int(arguments[index + 1])
        elif argument.startswith("--mlagents-port="):
            port = int(argument.split("=", 1)[1])
    return port


def run_program(make_world: MakeWorld, arguments: Sequence[str] | None = None) -> int:
    """A whole program: connects a world to the trainer that started it, and returns the program's exit code.

    `arguments`, by default those of the command line, name the port; other flags of Unity players are not looked at.
    What a user can mend is said in a line on standard error.
    """
    name = os.path.basename(sys.argv[0])
    try:
        port = port_from_arguments(sys.argv[1:] if arguments is None else arguments)
        if port is None:
            print(f"{name}: a trainer starts this program: mlbridge learn CONFIG.yaml --env {name}", file=sys.stderr)
            return 2
        return run_player(make_world, port)
    except (UnityException, ValueError) as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return 1


class _TrainerGone(Exception):
    """The trainer said goodbye or is not there any more."""


def run_player(
    make_world: MakeWorld,
    port: int,
    *,
    side_channels: Sequence[SideChannel] = (),
    connect_timeout: float = 60.0,
    package_version: str = __version__,
) -> int:
    """Connects to the trainer on `port` of this machine, plays until it says stop, and returns the program's exit code.

    0: the trainer closed or went away. Raises UnityCommunicationException when no trainer answers within
    `connect_timeout` seconds, or one of another protocol version.
    """
    with grpc.insecure_channel(f"localhost:{port}", options=_CHANNEL_OPTIONS) as channel:
        call = channel.unary_unary(EXCHANGE_METHOD)  # bytes in, bytes out
        with contextlib.suppress(_TrainerGone):
            _play(call, make_world, port, list(side_channels), connect_timeout, package_version)
    return 0


def _play(
    call: Any,
    make_world: MakeWorld,
    port: int,
    side_channels: list[SideChannel],
    connect_timeout: float,
    package_version: str,
) -> None:
    message = UnityMessageProto()
    hello = message.unity_output.rl_initialization_output
    hello.name = "AcademySingleton"
    hello.communication_version = API_VERSION
    hello.package_version = package_version
    hello.capabilities.CopyFrom(capabilities())
    try:
        answer = _parse(_exchange(call, _encode(message), wait_for_ready=True, timeout=connect_timeout))
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
            raise UnityCommunicationException(
                f"no trainer answered on port {port} within {connect_timeout:g} s; start one first"
            ) from error
        raise
    start = answer.unity_input.rl_initialization_input
    if not is_compatible(start.communication_version):
        raise UnityCommunicationException(
            f"the trainer speaks version {start.communication_version or 'unknown'} of the ML-Agents communication "
            f"API, this player {API_VERSION}"
        )
    parameters = EnvironmentParameters()
    channels = player_side_channels(parameters, side_channels)
    world = make_world(start.seed, max(start.num_areas, 1), parameters)
    # Only here, so that `import bridge.player` stays light.
    from bridge.fast_player_codec import PlayerCodec

    fast_codec = PlayerCodec.load(world.behavior_specs)
    counts: dict[str, int] = {}  # of agents that wait for an action, by behavior
    encoders: dict[str, StepsEncoder] = {}  # of the behaviors that the trainer knows

    data, started = _encode(UnityMessageProto()), False
    while True:
        data = _exchange(call, data)
        decoded = fast_codec.decode_actions(data, counts) if fast_codec is not None and started else None
        if decoded is not None:
            actions, side_channel = decoded
            channels.process_side_channel_message(side_channel)
            steps = world.step(actions)
        else:
            rl_input = _parse(data).unity_input.rl_input
            channels.process_side_channel_message(rl_input.side_channel)
            if rl_input.command == COMMAND_QUIT:
                return
            if not started or rl_input.command == COMMAND_RESET:
                started = True
                steps = world.reset()
            else:
                steps = world.step(decode_actions(rl_input.agent_actions, world.behavior_specs, counts))
        counts = {name: len(decisions) for name, (decisions, _) in steps.items()}
        side_channel = channels.generate_side_channel_messages()
        encoded = None
        if fast_codec is not None and steps.keys() <= encoders.keys():
            encoded = fast_codec.encode_steps(steps, side_channel)
        if encoded is None:
            message = UnityMessageProto()
            _fill(message.unity_output, world.behavior_specs, steps, encoders, side_channel)
            encoded = _encode(message)
        data = encoded


def _fill(
    output: Any,
    specs: Mapping[str, BehaviorSpec],
    steps: Steps,
    encoders: dict[str, StepsEncoder],
    side_channel: bytes,
) -> None:
    """Writes a step into a UnityOutputProto."""
    for name, (decisions, terminals) in steps.items():
        if len(decisions) + len(terminals) == 0:
            continue
        if name not in encoders:
            encoders[name] = StepsEncoder(specs[name])
            encode_brain_parameters(output.rl_initialization_output.brain_parameters.add(), name, specs[name])
        encoders[name].encode(output.rl_output.agentInfos[name].value, decisions, terminals)
    output.rl_output.side_channel = side_channel


def _encode(message: Any) -> bytes:
    message.header.status = STATUS_OK
    encoded: bytes = message.SerializeToString()
    return encoded


def _exchange(call: Any, data: bytes, *, wait_for_ready: bool = False, timeout: float | None = None) -> bytes:
    # No deadline after the first call: a trainer may think for minutes while it holds the answer.
    try:
        answer: bytes = call(data, wait_for_ready=wait_for_ready, timeout=timeout)
    except grpc.RpcError as error:
        if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
            raise _TrainerGone from error
        raise
    return answer


def _parse(data: bytes) -> Any:
    try:
        answer = UnityMessageProto.FromString(data)
    except DecodeError as error:
        raise UnityCommunicationException(
            f"the trainer sent {len(data)} bytes that are no protocol message: {error}"
        ) from error
    if answer.header.status != STATUS_OK:
        raise _TrainerGone
    return answer
