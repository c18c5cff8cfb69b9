"""The codec for messages as they come while a player steps: bytes to arrays and back, without an object per agent.

What is rare is left to `codec.py`, whose results these are too: the methods then return None. Import this only where a
connection is made: numba takes a moment to load. This is the trainer's side; `fast_player_codec.py` is the player's.
"""

import itertools
import logging
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from mlagents_envs.base_env import ActionSpec, ActionTuple, BehaviorSpec, DecisionSteps, TerminalSteps
from numpy.typing import NDArray

from bridge import wire_reading, wire_writing
from bridge.codec import Steps
from bridge.messages import STATUS_OK, UnityMessageProto
from bridge.wire import COMPILED, Bytes, block_length

logger = logging.getLogger(__name__)

FLOAT, INTEGER, FLAG = np.dtype(np.float32), np.dtype(np.int32), np.dtype(np.bool_)
_HEADER: bytes = UnityMessageProto(header={"status": STATUS_OK}).SerializeToString()
_MOST_BEHAVIORS = 64  # in a message
_MOST_BYTES = 2**31 - 1  # protobuf's limit
SAMPLE = {"": BehaviorSpec([], ActionSpec(1, ()))}


class Block:
    """The arrays of decisions, or of terminals, in one piece of memory (`wire.py`)."""

    def __init__(self, behavior: "Behavior", agents: int, flags: int) -> None:
        self.agents = agents
        self.words = np.empty(block_length(behavior.floats, agents, flags), np.uint32)
        self.observations = []
        offset = 0
        for shape, size in behavior.observations:
            self.observations.append(np.ndarray((agents, *shape), FLOAT, self.words, offset))
            offset += 4 * agents * size
        rows, step = (agents,), 4 * agents
        self.reward = np.ndarray(rows, FLOAT, self.words, offset)
        self.group_reward = np.ndarray(rows, FLOAT, self.words, offset + step)
        self.agent_id = np.ndarray(rows, INTEGER, self.words, offset + 2 * step)
        self.group_id = np.ndarray(rows, INTEGER, self.words, offset + 3 * step)
        self.flags = np.ndarray((agents, flags), FLAG, self.words, offset + 4 * step)

    def fill(self, steps: DecisionSteps | TerminalSteps) -> bool:
        """Copies `steps`, flags excepted; False if an array is not what the specification promises."""
        pairs = [(self.reward, steps.reward), (self.group_reward, steps.group_reward)]
        pairs += [(self.agent_id, steps.agent_id), (self.group_id, steps.group_id)]
        pairs += zip(self.observations, steps.obs, strict=False)
        return len(steps.obs) == len(self.observations) and all(copy_into(own, given) for own, given in pairs)


def copy_into(own: NDArray[Any], given: NDArray[Any]) -> bool:
    """False where protobuf would take the values in another way, or refuse them."""
    if given.shape != own.shape:
        return False
    if given.dtype != own.dtype:
        if given.dtype.kind not in ("iu" if own.dtype == INTEGER else own.dtype.kind):
            return False
        with np.errstate(over="ignore"):
            own[...] = given
        return own.dtype != INTEGER or np.array_equal(own, given)
    own[...] = given
    return True


class Behavior:
    """What messages about one behavior have in common."""

    def __init__(self, name: str, spec: BehaviorSpec) -> None:
        self.name, self.spec = name, spec
        self.observations = [(each.shape, math.prod(each.shape)) for each in spec.observation_specs]
        self.sizes = np.array([size for _, size in self.observations], np.int64)
        self.floats = int(self.sizes.sum())
        self.continuous, self.discrete = spec.action_spec.continuous_size, spec.action_spec.discrete_size
        ends = np.cumsum([0, *spec.action_spec.discrete_branches]).tolist()
        self.branches = [slice(start, end) for start, end in itertools.pairwise(ends)]
        self.mask_size: int = ends[-1]
        self.no_decisions, self.no_terminals = Block(self, 0, self.mask_size), Block(self, 0, 1)
        key = name.encode()
        self._key = b"\x0a" + wire_writing.number(len(key)) + key + b"\x12"

    def entry(self, tag: bytes, parts: Sequence[bytes]) -> list[bytes]:
        """The behavior's entry in a message; `parts`: its agents or actions."""
        length = sum(len(part) for part in parts)
        head = self._key + wire_writing.number(length)
        return [tag, wire_writing.number(len(head) + length), head, *parts]


class Codec:
    def __init__(self, specs: Mapping[str, BehaviorSpec]) -> None:
        self._specs = specs
        self._behaviors: dict[bytes, Behavior] = {}  # by encoded name
        self._table = np.zeros((_MOST_BEHAVIORS + 1, 6), np.int64)
        self._out = np.empty(0, np.uint8)

    @classmethod
    def load(cls, specs: Mapping[str, BehaviorSpec]) -> Self | None:
        """A codec that is ready: its functions are compiled, or found in numba's cache. None where there is no numba.

        `specs`: those of the connection; they may grow.
        """
        if not COMPILED or sys.byteorder != "little":
            logger.debug("all messages go through protobuf: numba is missing, or this machine is big-endian")
            return None
        cls(SAMPLE)._try_out()
        return cls(specs)

    def _try_out(self) -> None:
        raise NotImplementedError

    def _behavior(self, key: bytes) -> Behavior | None:
        known = self._behaviors.get(key)
        if known is None:
            try:
                name = key.decode()
            except UnicodeDecodeError:
                return None
            if name not in self._specs:
                return None
            known = self._behaviors[key] = Behavior(name, self._specs[name])
        return known

    def _reserve(self, room: int) -> bool:
        """Makes `_out` long enough, within what a message may have."""
        if room > _MOST_BYTES:
            return False
        if len(self._out) < room:
            self._out = np.empty(room + room // 4, np.uint8)
        return True


class TrainerCodec(Codec):
    """The trainer's end of a connection."""

    def decode_steps(self, data: bytes) -> tuple[Steps, bytes] | None:
        """The steps of a player's message, and the bytes of its side channels.

        The arrays are the caller's; those of one behavior's decisions, or terminals, share their memory.
        """
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
            if agents * 4 * behavior.floats > end - start:  # before room is made for what cannot be there
                return None
            mixed = 0 < done < agents
            decisions, terminals = behavior.no_decisions, behavior.no_terminals
            if done < agents:
                decisions = Block(behavior, agents - done, behavior.mask_size)
                if not _read(raw, start, end, behavior, decisions, False, mixed):
                    return None
            if done > 0:
                terminals = Block(behavior, done, 1)
                if not _read(raw, start, end, behavior, terminals, True, mixed):
                    return None
            masks = [decisions.flags[:, branch] for branch in behavior.branches] if behavior.branches else None
            steps[behavior.name] = (
                DecisionSteps(
                    [*decisions.observations],
                    decisions.reward,
                    decisions.agent_id,
                    masks,
                    decisions.group_id,
                    decisions.group_reward,
                ),
                TerminalSteps(
                    [*terminals.observations],
                    terminals.reward,
                    terminals.flags[:, 0],
                    terminals.agent_id,
                    terminals.group_id,
                    terminals.group_reward,
                ),
            )
        if len(steps) > 1:  # in the order of the specifications, as protobuf's maps have none
            steps = {name: steps[name] for name in self._specs if name in steps}
        return steps, data[side_start:side_end]

    def encode_actions(self, actions: Mapping[str, ActionTuple], side_channel: bytes) -> bytes | None:
        """The message that makes a player step; the rows of the actions are those of the decisions."""
        entries: list[bytes] = []
        for name, action in actions.items():
            behavior = self._behavior(name.encode())
            agents, continuous = action.continuous.shape
            discrete = action.discrete.shape[1]
            room = wire_writing.actions_room(agents, continuous, discrete)
            if behavior is None or not self._reserve(room):
                return None
            block = np.empty(agents * (continuous + discrete), np.uint32)
            np.ndarray((agents, continuous), FLOAT, block)[...] = action.continuous
            if discrete:
                np.ndarray((agents, discrete), INTEGER, block, 4 * agents * continuous)[...] = action.discrete
            first = wire_writing.write_actions(self._out, room, block, agents, continuous, discrete)
            if first < 0:
                return None
            entries += behavior.entry(b"\x0a", [self._out[first:room].tobytes()])
        return in_message(b"\x1a", entries, b"\x2a", side_channel)

    def _try_out(self) -> None:
        message = UnityMessageProto(header={"status": STATUS_OK})
        message.unity_output.rl_output.agentInfos[""].value.add()
        self.decode_steps(message.SerializeToString())
        self.encode_actions({"": SAMPLE[""].action_spec.empty_action(1)}, b"")


def _read(raw: Bytes, start: int, end: int, behavior: Behavior, block: Block, done: bool, mixed: bool) -> bool:
    flags = 1 if done else behavior.mask_size
    return wire_reading.read_agents(raw, start, end, block.words, behavior.sizes, block.agents, flags, done, mixed)


def in_message(body: bytes, entries: list[bytes], side_channel_tag: bytes, side_channel: bytes) -> bytes:
    """A message with status 200; the tags say which."""
    if side_channel:
        entries = [*entries, side_channel_tag, wire_writing.number(len(side_channel)), side_channel]
    length = sum(len(part) for part in entries)
    head = b"\x0a" + wire_writing.number(length)
    return b"".join([_HEADER, body, wire_writing.number(len(head) + length), head, *entries])
