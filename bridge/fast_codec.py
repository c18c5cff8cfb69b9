"""The codec for messages as they come while a player steps: bytes to arrays and back, without an object per agent.

What is rare is left to `codec.py`, whose results these are too: the methods then return None. Import this only where a
connection is made: numba takes a moment to load.
"""

import itertools
import logging
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mlagents_envs.base_env import ActionTuple, BehaviorSpec, DecisionSteps, TerminalSteps
from numpy.typing import NDArray

from bridge import wire_reading, wire_writing
from bridge.codec import Steps, StepsEncoder
from bridge.messages import COMMAND_STEP, STATUS_OK, UnityMessageProto
from bridge.wire import COMPILED, block_length

logger = logging.getLogger(__name__)

_FLOAT, _INTEGER, _FLAG = np.dtype(np.float32), np.dtype(np.int32), np.dtype(np.bool_)
_HEADER: bytes = UnityMessageProto(header={"status": STATUS_OK}).SerializeToString()
_MOST_BEHAVIORS = 64  # in a message
_MOST_BYTES = 2**31 - 1  # protobuf's limit


class _Block:
    """The arrays of decisions, or of terminals, in one piece of memory (`wire.py`)."""

    def __init__(self, behavior: "_Behavior", agents: int, flags: int) -> None:
        self.agents = agents
        self.words = np.empty(block_length(behavior.floats, agents, flags), np.uint32)
        self.observations = []
        offset = 0
        for shape, size in behavior.observations:
            self.observations.append(np.ndarray((agents, *shape), _FLOAT, self.words, offset))
            offset += 4 * agents * size
        rows, step = (agents,), 4 * agents
        self.reward = np.ndarray(rows, _FLOAT, self.words, offset)
        self.group_reward = np.ndarray(rows, _FLOAT, self.words, offset + step)
        self.agent_id = np.ndarray(rows, _INTEGER, self.words, offset + 2 * step)
        self.group_id = np.ndarray(rows, _INTEGER, self.words, offset + 3 * step)
        self.flags = np.ndarray((agents, flags), _FLAG, self.words, offset + 4 * step)

    def fill(self, steps: DecisionSteps | TerminalSteps) -> bool:
        """Copies `steps`, flags excepted; False if an array is not what the specification promises."""
        pairs = [(self.reward, steps.reward), (self.group_reward, steps.group_reward)]
        pairs += [(self.agent_id, steps.agent_id), (self.group_id, steps.group_id)]
        pairs += zip(self.observations, steps.obs, strict=False)
        return len(steps.obs) == len(self.observations) and all(_copy(own, given) for own, given in pairs)


def _copy(own: NDArray[Any], given: NDArray[Any]) -> bool:
    """False where protobuf would take the values in another way, or refuse them."""
    if given.shape != own.shape:
        return False
    if given.dtype != own.dtype:
        if given.dtype.kind not in ("iu" if own.dtype == _INTEGER else own.dtype.kind):
            return False
        with np.errstate(over="ignore"):
            own[...] = given
        return own.dtype != _INTEGER or np.array_equal(own, given)
    own[...] = given
    return True


class _Behavior:
    """What messages about one behavior have in common."""

    def __init__(self, name: str, spec: BehaviorSpec) -> None:
        self.name = name
        self.observations = [(each.shape, math.prod(each.shape)) for each in spec.observation_specs]
        self.sizes = np.array([size for _, size in self.observations], np.int64)
        self.floats = int(self.sizes.sum())
        self.continuous, self.discrete = spec.action_spec.continuous_size, spec.action_spec.discrete_size
        ends = np.cumsum([0, *spec.action_spec.discrete_branches]).tolist()
        self.branches = [slice(start, end) for start, end in itertools.pairwise(ends)]
        self.mask_size: int = ends[-1]
        key = name.encode()
        self._key = b"\x0a" + wire_writing.number(len(key)) + key + b"\x12"

    def entry(self, tag: bytes, parts: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
        """The behavior's entry in a message; `parts`: its agents or actions."""
        length = sum(len(part) for part in parts)
        head = self._key + wire_writing.number(length)
        return [tag, wire_writing.number(len(head) + length), head, *parts]


class _Codec:
    def __init__(self, specs: Mapping[str, BehaviorSpec]) -> None:
        self._specs = specs
        self._behaviors: dict[bytes, _Behavior] = {}  # by encoded name
        self._table = np.zeros((_MOST_BEHAVIORS + 1, 6), np.int64)
        self._out = np.empty(0, np.uint8)

    def _behavior(self, key: bytes) -> _Behavior | None:
        known = self._behaviors.get(key)
        if known is None:
            try:
                name = key.decode()
            except UnicodeDecodeError:
                return None
            if name not in self._specs:
                return None
            known = self._behaviors[key] = _Behavior(name, self._specs[name])
        return known

    def _room(self, size: int) -> bool:
        """Makes `_out` long enough, within what a message may have."""
        if size > _MOST_BYTES:
            return False
        if len(self._out) < size:
            self._out = np.empty(size + size // 4, np.uint8)
        return True


class TrainerCodec(_Codec):
    """The trainer's end of a connection. `specs` may grow."""

    def decode_steps(self, data: bytes) -> tuple[Steps, bytes] | None:
        """The steps of a player's message, and the bytes of its side channels."""
        if not data:
            return None
        raw = np.frombuffer(data, np.uint8)
        found = wire_reading.scan(raw, self._table, 2, 2, 3, 0, True)
        if found < 0:
            return None
        (side_start, side_end, *_), *rows = self._table[: found + 1].tolist()
        steps: Steps = {}
        seen = set()
        for key_start, key_end, start, end, agents, done in rows:
            key = data[key_start:key_end]
            behavior = self._behavior(key)
            if behavior is None or key in seen:
                return None
            seen.add(key)
            if agents == 0:
                continue
            decisions = _Block(behavior, agents - done, behavior.mask_size)
            terminals = _Block(behavior, done, 1)
            mixed = 0 < done < agents
            for block, flags, is_done in ((decisions, behavior.mask_size, False), (terminals, 1, True)):
                if block.agents and not wire_reading.read_agents(
                    raw, start, end, block.words, behavior.sizes, block.agents, flags, is_done, mixed
                ):
                    return None
            masks = [decisions.flags[:, branch] for branch in behavior.branches] if behavior.branches else None
            steps[behavior.name] = (
                DecisionSteps(
                    decisions.observations,
                    decisions.reward,
                    decisions.agent_id,
                    masks,
                    decisions.group_id,
                    decisions.group_reward,
                ),
                TerminalSteps(
                    terminals.observations,
                    terminals.reward,
                    terminals.flags[:, 0],
                    terminals.agent_id,
                    terminals.group_id,
                    terminals.group_reward,
                ),
            )
        return steps, data[side_start:side_end]

    def encode_actions(self, actions: Mapping[str, ActionTuple], side_channel: bytes) -> bytes | None:
        """The message that makes a player step; the rows of the actions are those of the decisions."""
        parts: list[bytes | memoryview] = []
        for name, action in actions.items():
            behavior = self._behavior(name.encode())
            if behavior is None:
                return None
            agents, continuous = action.continuous.shape
            discrete = action.discrete.shape[1]
            room = wire_writing.actions_room(agents, continuous, discrete)
            if not self._room(room):
                return None
            block = np.empty(agents * (continuous + discrete), np.uint32)
            np.ndarray((agents, continuous), _FLOAT, block)[...] = action.continuous
            np.ndarray((agents, discrete), _INTEGER, block, 4 * agents * continuous)[...] = action.discrete
            first = wire_writing.write_actions(self._out, room, block, agents, continuous, discrete)
            if first < 0:
                return None
            parts += behavior.entry(b"\x0a", [self._out[first:room].tobytes()])
        return _message(b"\x1a", parts, b"\x2a", side_channel)


class PlayerCodec(_Codec):
    """The player's end of a connection."""

    def __init__(self, specs: Mapping[str, BehaviorSpec]) -> None:
        super().__init__(specs)
        self._templates: dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]] = {}
        self._blocks: dict[tuple[str, bool], _Block] = {}

    def encode_steps(self, steps: Steps, side_channel: bytes) -> bytes | None:
        """The message with what the agents report."""
        parts: list[bytes | memoryview] = []
        for name, (decisions, terminals) in steps.items():
            if len(decisions) + len(terminals) == 0:
                continue
            behavior = self._behavior(name.encode())
            if behavior is None:
                return None
            parts_of_it = []
            for each in (terminals, decisions):
                if len(each) == 0:
                    continue
                encoded = self._encode_agents(behavior, each)
                if encoded is None:
                    return None
                parts_of_it.append(encoded)
            parts += behavior.entry(b"\x12", parts_of_it)
        return _message(b"\x12", parts, b"\x1a", side_channel)

    def _encode_agents(self, behavior: _Behavior, steps: DecisionSteps | TerminalSteps) -> bytes | None:
        done = isinstance(steps, TerminalSteps)
        agents, flags = len(steps), 1 if done else behavior.mask_size
        block = self._blocks.get((behavior.name, done))
        if block is None or block.agents != agents:
            block = self._blocks[behavior.name, done] = _Block(behavior, agents, flags)
        if not block.fill(steps):
            return None
        if isinstance(steps, TerminalSteps):
            if not _copy(block.flags[:, 0], steps.interrupted):
                return None
        elif steps.action_mask is None:
            block.flags[...] = False
        elif len(steps.action_mask) != len(behavior.branches) or not all(
            _copy(block.flags[:, branch], mask)
            for branch, mask in zip(behavior.branches, steps.action_mask, strict=True)
        ):
            return None
        if behavior.name not in self._templates:
            self._templates[behavior.name] = _templates(self._specs[behavior.name])
        templates, spans = self._templates[behavior.name]
        room = wire_writing.agents_room(agents, behavior.floats, flags, len(templates))
        if not self._room(room):
            return None
        first = wire_writing.write_agents(
            self._out, room, block.words, behavior.sizes, agents, flags, done, templates, spans
        )
        return None if first < 0 else self._out[first:room].tobytes()

    def decode_actions(self, data: bytes, counts: Mapping[str, int]) -> tuple[dict[str, ActionTuple], bytes] | None:
        """The actions for `counts[name]` waiting agents of each behavior, and the bytes of the side channels."""
        if not data:
            return None
        raw = np.frombuffer(data, np.uint8)
        found = wire_reading.scan(raw, self._table, 3, 1, 5, 4, False)
        if found < 0 or self._table[0, 2] != COMMAND_STEP:
            return None
        (side_start, side_end, *_), *rows = self._table[: found + 1].tolist()
        actions = {}
        for key_start, key_end, start, end, agents, _ in rows:
            behavior = self._behavior(data[key_start:key_end])
            if behavior is None or agents == 0 or counts.get(behavior.name) != agents or behavior.name in actions:
                return None
            continuous, discrete = behavior.continuous, behavior.discrete
            block = np.empty(agents * (continuous + discrete), np.uint32)
            if not wire_reading.read_actions(raw, start, end, block, agents, continuous, discrete):
                return None
            actions[behavior.name] = ActionTuple(
                np.ndarray((agents, continuous), _FLOAT, block),
                np.ndarray((agents, discrete), _INTEGER, block, 4 * agents * continuous),
            )
        if len(actions) != sum(count > 0 for count in counts.values()):
            return None
        return actions, data[side_start:side_end]


def _templates(spec: BehaviorSpec) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """What stands around the numbers of each observation, for `write_agents`."""
    templates, spans = bytearray(), []
    for each, observation in zip(spec.observation_specs, StepsEncoder(spec).template.observations, strict=True):
        size = math.prod(each.shape)
        observation.float_data.data.extend([0.0] * size)
        whole: bytes = observation.SerializeToString()
        observation.ClearField("shape")
        observation.ClearField("float_data")
        after: bytes = observation.SerializeToString()  # the fields before the numbers are gone
        before = b"\x6a" + wire_writing.number(len(whole)) + whole[: len(whole) - len(after) - 4 * size]
        start = len(templates)
        templates += before + after
        spans.append((start, start + len(before), len(templates)))
    return np.frombuffer(bytes(templates), np.uint8), np.array(spans, np.int64).reshape(-1, 3)


def _message(body: bytes, entries: list[bytes | memoryview], side_channel_tag: bytes, side_channel: bytes) -> bytes:
    """A message with status 200; the tags say which."""
    if side_channel:
        entries = [*entries, side_channel_tag, wire_writing.number(len(side_channel)), side_channel]
    length = sum(len(part) for part in entries)
    head = b"\x0a" + wire_writing.number(length)
    return b"".join([_HEADER, body, wire_writing.number(len(head) + length), head, *entries])
