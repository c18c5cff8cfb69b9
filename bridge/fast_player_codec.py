"""The player's side of `fast_codec.py`."""

import math
from collections.abc import Mapping

import numpy as np
from mlagents_envs.base_env import ActionTuple, BehaviorSpec, DecisionSteps, TerminalSteps
from numpy.typing import NDArray

from bridge import wire_reading, wire_writing
from bridge.codec import Steps, StepsEncoder
from bridge.fast_codec import FLOAT, INTEGER, SAMPLE, Behavior, Block, Codec, copy_into, in_message
from bridge.messages import COMMAND_STEP, STATUS_OK, UnityMessageProto
from bridge.wire import Bytes, Integers


class PlayerCodec(Codec):
    """The player's end of a connection."""

    def __init__(self, specs: Mapping[str, BehaviorSpec]) -> None:
        super().__init__(specs)
        self._templates: dict[str, tuple[Bytes, Integers]] = {}
        self._blocks: dict[tuple[str, bool], Block] = {}  # used again while the number of agents stays

    def encode_steps(self, steps: Steps, side_channel: bytes) -> bytes | None:
        """The message with what the agents report."""
        entries: list[bytes] = []
        for name, (decisions, terminals) in steps.items():
            if len(decisions) + len(terminals) == 0:
                continue
            behavior = self._behavior(name.encode())
            ended = b"" if behavior is None else self._encode_agents(behavior, terminals)
            deciding = b"" if behavior is None else self._encode_agents(behavior, decisions)
            if behavior is None or ended is None or deciding is None:
                return None
            entries += behavior.entry(b"\x12", [ended, deciding])
        return in_message(b"\x12", entries, b"\x1a", side_channel)

    def _encode_agents(self, behavior: Behavior, steps: DecisionSteps | TerminalSteps) -> bytes | None:
        agents = len(steps)
        if agents == 0:
            return b""
        done = isinstance(steps, TerminalSteps)
        flags = 1 if done else behavior.mask_size
        block = self._blocks.get((behavior.name, done))
        if block is None or block.agents != agents:
            block = self._blocks[behavior.name, done] = Block(behavior, agents, flags)
        if not (block.fill(steps) and _fill_flags(block.flags, steps, behavior.branches)):
            return None
        if behavior.name not in self._templates:
            self._templates[behavior.name] = _templates(behavior.spec)
        templates, spans = self._templates[behavior.name]
        room = wire_writing.agents_room(agents, behavior.floats, flags, len(templates))
        if not self._reserve(room):
            return None
        first = wire_writing.write_agents(
            self._out, room, block.words, behavior.sizes, agents, flags, done, templates, spans
        )
        return None if first < 0 else self._out[first:room].tobytes()

    def decode_actions(self, data: bytes, counts: Mapping[str, int]) -> tuple[dict[str, ActionTuple], bytes] | None:
        """The actions for `counts[name]` waiting agents of each behavior, and the bytes of the side channels.

        None also if it is not the command to step.
        """
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
            if agents * (4 * continuous + discrete) > end - start:  # before room is made for what cannot be there
                return None
            block = np.empty(agents * (continuous + discrete), np.uint32)
            if not wire_reading.read_actions(raw, start, end, block, agents, continuous, discrete):
                return None
            actions[behavior.name] = ActionTuple(
                np.ndarray((agents, continuous), FLOAT, block),
                np.ndarray((agents, discrete), INTEGER, block, 4 * agents * continuous),
            )
        if len(actions) != sum(count > 0 for count in counts.values()):
            return None
        return {name: actions[name] for name in counts if name in actions}, data[side_start:side_end]

    def _try_out(self) -> None:
        agent, none = np.zeros(1, np.float32), np.zeros(1, np.int32)
        steps = DecisionSteps([], agent, none, None, none, agent)
        self.encode_steps({"": (steps, TerminalSteps.empty(SAMPLE[""]))}, b"")
        message = UnityMessageProto(header={"status": STATUS_OK})
        message.unity_input.rl_input.agent_actions[""].value.add(continuous_actions=[0.0])
        self.decode_actions(message.SerializeToString(), {"": 1})


def _fill_flags(flags: NDArray[np.bool_], steps: DecisionSteps | TerminalSteps, branches: list[slice]) -> bool:
    if isinstance(steps, TerminalSteps):
        return copy_into(flags[:, 0], steps.interrupted)
    if steps.action_mask is None:
        flags[...] = False
        return True
    return len(steps.action_mask) == len(branches) and all(
        copy_into(flags[:, branch], mask) for branch, mask in zip(branches, steps.action_mask, strict=True)
    )


def _templates(spec: BehaviorSpec) -> tuple[Bytes, Integers]:
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
    return np.array(templates, np.uint8), np.array(spans, np.int64).reshape(-1, 3)
