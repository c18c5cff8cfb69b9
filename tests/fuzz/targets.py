"""What any bytes are put through, at both ends of the wire: the fast codec refuses them, or reads what protobuf reads.

`check(data)` raises AssertionError where the two differ, and lets through whatever else is no error of the bridge.
With NUMBA_DISABLE_JIT=1 the codec is Python, and its arrays tell of every index outside of them; with
NUMBA_BOUNDSCHECK=1 it is machine code that does.
"""

import importlib.util
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from mlagents_envs.base_env import ActionSpec, BehaviorSpec, DimensionProperty, ObservationSpec, ObservationType

import bridge.environment
from bridge import codec, wire_reading
from bridge.exceptions import UnityException
from bridge.fast_player_codec import PlayerCodec
from bridge.messages import COMMAND_STEP, STATUS_OK, UnityMessageProto
from bridge.player import EnvironmentParameters, player_side_channels
from bridge.side_channels import RawBytesChannel, StatsSideChannel

NONE = DimensionProperty.NONE
PLACES = (NONE, DimensionProperty.TRANSLATIONAL_EQUIVARIANCE, DimensionProperty.TRANSLATIONAL_EQUIVARIANCE)
SPECS = {
    "A": BehaviorSpec([ObservationSpec((2,), (NONE,), ObservationType.DEFAULT, "x")], ActionSpec(1, (2, 3))),
    "P": BehaviorSpec(
        [
            ObservationSpec((3, 2, 2), PLACES, ObservationType.DEFAULT, "camera"),
            ObservationSpec((2, 2), (NONE, NONE), ObservationType.GOAL_SIGNAL, "y"),
        ],
        ActionSpec(2, ()),
    ),
    "": BehaviorSpec([], ActionSpec(0, (4,))),
}
COUNTS = {"A": 2, "P": 1, "": 0}
CHANNEL = uuid.UUID(int=7)


def introduction() -> bytes:
    """The message with which a player announces the behaviors."""
    message = UnityMessageProto(header={"status": STATUS_OK})
    output = message.unity_output
    for name, spec in SPECS.items():
        brain = output.rl_initialization_output.brain_parameters.add()
        codec.encode_brain_parameters(brain, name, spec)
        agent = output.rl_output.agentInfos[name].value.add()
        agent.CopyFrom(codec.StepsEncoder(spec).template)
        for observation in agent.observations:
            observation.float_data.data.extend([0.0] * int(np.prod(observation.shape)))
    encoded: bytes = message.SerializeToString()
    return encoded


class _Wire:
    """In place of the server: a player that says what it is told to."""

    port = 5004

    def __init__(self) -> None:
        hello = UnityMessageProto(header={"status": STATUS_OK})
        hello.unity_output.rl_initialization_output.communication_version = "1.5.0"
        hello.unity_output.rl_initialization_output.capabilities.hybridActions = True
        empty = UnityMessageProto(header={"status": STATUS_OK})
        self.messages = [hello.SerializeToString(), empty.SerializeToString()]

    def receive(self, timeout: float | None, describe_silence: Callable[[], str] | None = None) -> bytes:
        return self.messages.pop(0)

    def send(self, answer: bytes) -> None: ...

    def player_gone(self, reason: str) -> None: ...

    def stop_player(self) -> None: ...

    def close(self) -> None: ...


class Trainer:
    """The trainer's end: an environment whose player sends one message after the other."""

    def __init__(self, *, fast: bool) -> None:
        self._fast = fast
        self._begin()

    def _begin(self) -> None:
        self._statistics, self._raw = StatsSideChannel(), RawBytesChannel(CHANNEL)
        kept = bridge.environment.PlayerServer, bridge.environment._load_fast_codec
        wires: list[_Wire] = []

        def make(port: int, *others: Any) -> Any:
            wires.append(_Wire())
            return wires[-1]

        bridge.environment.PlayerServer = make  # type: ignore[assignment,misc]
        if not self._fast:
            bridge.environment._load_fast_codec = lambda specs: None
        try:
            channels = [self._statistics, self._raw]
            self._environment = bridge.environment.UnityEnvironment(base_port=5004, side_channels=channels)
        finally:
            bridge.environment.PlayerServer, bridge.environment._load_fast_codec = kept
        (self._wire,) = wires
        self._wire.messages.append(introduction())
        self._environment.reset()

    def read(self, data: bytes) -> list[Any]:
        """The steps to the last bit and what the side channels heard, or the error."""
        self._wire.messages.append(data)
        self._environment.send_reset()
        seen: list[Any] = []
        try:
            steps = self._environment.receive_steps()
        except UnityException as error:
            seen = [type(error), str(error)]
        else:
            for name, both in steps.items():
                seen.append(name)
                for each in both:
                    seen += [(array.dtype, array.shape, array.tobytes()) for array in arrays_of(each)]
        seen += [repr(self._statistics.get_and_reset_stats()), self._raw.get_and_clear_received_messages()]
        if _announces(data):  # behaviors are not forgotten: the next message has to find the same ones
            self._environment.close()
            self._begin()
        return seen


def _announces(data: bytes) -> bool:
    try:
        output = UnityMessageProto.FromString(data).unity_output
    except DecodeError:
        return False
    return len(output.rl_initialization_output.brain_parameters) > 0


def arrays_of(steps: Any) -> Iterator[np.ndarray]:
    yield from steps.obs
    yield from (steps.reward, steps.agent_id, steps.group_id, steps.group_reward)
    yield from getattr(steps, "action_mask", None) or []
    if hasattr(steps, "interrupted"):
        yield steps.interrupted


class Player:
    """The player's end, when agents wait for actions."""

    def __init__(self) -> None:
        self._codec = PlayerCodec(SPECS)

    def read(self, data: bytes, *, fast: bool) -> list[Any]:
        """The actions to the last bit and what the side channels heard, or the error."""
        parameters = EnvironmentParameters()
        channels = player_side_channels(parameters, [])
        try:
            decoded = self._codec.decode_actions(data, COUNTS) if fast else None
            if decoded is None:
                message = UnityMessageProto.FromString(data)
                if message.header.status != STATUS_OK:
                    return ["stop"]
                rl_input = message.unity_input.rl_input
                channels.process_side_channel_message(rl_input.side_channel)
                if rl_input.command != COMMAND_STEP:
                    return [rl_input.command, _values(parameters)]
                actions = codec.decode_actions(rl_input.agent_actions, SPECS, COUNTS)
            else:
                actions, side_channel = decoded
                channels.process_side_channel_message(side_channel)
        except (UnityException, DecodeError) as error:
            return [type(error), str(error)]
        arrays = [(name, array) for name, each in actions.items() for array in (each.continuous, each.discrete)]
        return [(name, array.dtype, array.shape, array.tobytes()) for name, array in arrays] + [_values(parameters)]


def _values(parameters: EnvironmentParameters) -> str:
    return repr({name: parameters.get_with_default(name, 0.0) for name in parameters.keys()})  # noqa: SIM118


class GuardedBytes:
    """Bytes of which no position is counted from the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: Any) -> int:
        if not 0 <= index < len(self._data):
            raise AssertionError(f"byte {index} of {len(self._data)}")
        return self._data[index]


def guard() -> None:
    """Lets the arrays of the uncompiled codec tell of indices outside of them, negative ones included."""
    path = Path(__file__).parents[1] / "bridge/plain_codec.py"
    spec = importlib.util.spec_from_file_location("plain_codec", path)
    assert spec is not None and spec.loader is not None
    plain_codec = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plain_codec)

    def guarding(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(data: Any, *others: Any) -> Any:
            views = (each.view(plain_codec.Guarded) if isinstance(each, np.ndarray) else each for each in others)
            return function(GuardedBytes(data.tobytes()), *views)

        return call

    for name in ("scan", "read_agents", "read_actions"):
        setattr(wire_reading, name, guarding(getattr(wire_reading, name)))


if os.environ.get("NUMBA_DISABLE_JIT") == "1":
    guard()
_fast, _by_protobuf, _player = Trainer(fast=True), Trainer(fast=False), Player()


def check(data: bytes) -> None:
    """Both ends read `data`, each in both ways."""
    for fast, by_protobuf in (
        (_fast.read(data), _by_protobuf.read(data)),
        (_player.read(data, fast=True), _player.read(data, fast=False)),
    ):
        assert fast == by_protobuf, f"{data.hex()}: {fast} is not {by_protobuf}"
