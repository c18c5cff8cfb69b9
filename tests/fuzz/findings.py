"""What the fuzzer, and writing it, has found: the bytes that showed it, and what the receiver says of them now.

Where it says nothing the bytes have to be read, as protobuf reads them. `test_fuzz.py` sees to all of them.
"""

import io
from collections.abc import Callable
from typing import Any, NamedTuple

from PIL import Image

from bridge.messages import COMPRESSION_PNG, STATUS_OK, UnityMessageProto
from bridge.side_channels import (
    EnvironmentParametersChannel,
    OutgoingMessage,
    SideChannel,
    SideChannelManager,
    StatsSideChannel,
)


class Finding(NamedTuple):
    what: str
    was: str
    by_fuzzer: bool
    data: bytes
    to_player: bool
    says: str = ""


def _from_player(fill: Callable[[Any], object]) -> bytes:
    message = UnityMessageProto(header={"status": STATUS_OK})
    fill(message.unity_output)
    encoded: bytes = message.SerializeToString(deterministic=True)
    return encoded


def _announcing(change: Callable[[Any, Any], object]) -> bytes:
    """A new behavior N with one observation of two numbers; `change(brain, agent)`."""

    def fill(output: Any) -> None:
        brain = output.rl_initialization_output.brain_parameters.add(brain_name="N")
        brain.action_spec.num_continuous_actions = 1
        agent = output.rl_output.agentInfos["N"].value.add()
        observation = agent.observations.add(shape=[2], dimension_properties=[1])
        observation.float_data.data.extend([0.0, 0.0])
        change(brain, agent)

    return _from_player(fill)


def _with_images(*images: bytes) -> bytes:
    """Agents of behavior P of targets.py, who see the image and a matrix."""

    def fill(output: Any) -> None:
        for image in images:
            agent = output.rl_output.agentInfos["P"].value.add()
            agent.observations.add(shape=[3, 2, 2], compression_type=COMPRESSION_PNG, compressed_data=image)
            agent.observations.add(shape=[2, 2]).float_data.data.extend([0.0] * 4)

    return _from_player(fill)


def _png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


def _on(channel: SideChannel, payload: bytes) -> bytes:
    message = OutgoingMessage()
    message.set_raw_bytes(payload)
    channel.queue_message_to_send(message)
    return SideChannelManager([channel]).generate_side_channel_messages()


def _ranges(*edges: float) -> bytes:
    message = OutgoingMessage()
    message.write_string("mass")
    for number in (1, 7, 2):  # a sampler, its seed, of several ranges
        message.write_int32(number)
    message.write_float32_list(edges)
    answer = UnityMessageProto(header={"status": STATUS_OK})
    answer.unity_input.rl_input.side_channel = _on(EnvironmentParametersChannel(), bytes(message.buffer))
    encoded: bytes = answer.SerializeToString()
    return encoded


def _empty_but_huge(brain: Any, agent: Any) -> None:
    del agent.observations[:]
    agent.observations.add(shape=[0, 2**31 - 1, 2**31 - 1, 2**31 - 1])


# Of behavior "" of targets.py, whose only branch has 4 actions: two masks of 4, which protobuf joins to one of 8.
_TWO_MASKS = b"\x0a\x03\x08\xc8\x01\x12\x16\x0a\x14\x12\x12\x0a\x00\x12\x0e\x0a\x0c" + 2 * b"\x5a\x04\x01\0\0\0"

FINDINGS = [
    Finding(
        "an agent with two action masks, each of the right length",
        "the second one was obeyed, where protobuf joins them and the mask is of no use: a wrong answer",
        True,
        _TWO_MASKS,
        False,
    ),
    Finding(
        "a statistic with an aggregation that ML-Agents does not have",
        "ValueError",
        True,
        _from_player(
            lambda output: setattr(
                output.rl_output, "side_channel", _on(StatsSideChannel(), b"\x01\0\0\0x" + bytes(4) + b"\x09\0\0\0")
            )
        ),
        False,
        "the statistic 'x' has the unknown aggregation 9",
    ),
    Finding(
        "a PNG image with a damaged header",
        "an error that named an object in memory",
        True,
        _with_images(_png(2, 2)[:24] + b"\xff" + _png(2, 2)[25:]),
        False,
        "what should be a PNG image is none",
    ),
    Finding(
        "an observation without numbers, since one of its sizes is 0, whose other sizes are huge",
        "ValueError from numpy",
        True,
        _announcing(_empty_but_huge),
        False,
        "observation 0 of behavior 'N' is announced with the shape (0, 2147483647, 2147483647, 2147483647)",
    ),
    Finding(
        "a PNG image that claims to be much larger than the observation",
        "it was unpacked, all of it, before its size was looked at",
        False,
        _with_images(_png(3000, 3000)),
        False,
        "3000 x 3000 pixels, the shape is",
    ),
    Finding(
        "two PNG images of different sizes in one observation",
        "ValueError",
        False,
        _with_images(_png(2, 2) + _png(2, 1)),
        False,
        "PNG images of different sizes make no observation",
    ),
    Finding(
        "an observation with a negative size",
        "ValueError from numpy, or an empty observation",
        False,
        _announcing(lambda brain, agent: agent.observations[0].shape.append(-1)),
        False,
        "observation 0 of behavior 'N' is announced with the shape",
    ),
    Finding(
        "properties of other dimensions than the observation has",
        "IndexError where it was used",
        False,
        _announcing(lambda brain, agent: agent.observations[0].dimension_properties.append(1)),
        False,
        "is announced with properties of 2 dimensions, but its shape is",
    ),
    Finding(
        "an observation of a type that ML-Agents does not have",
        "ValueError",
        False,
        _announcing(lambda brain, agent: setattr(agent.observations[0], "observation_type", 7)),
        False,
        "is announced with the type 7, which ML-Agents does not have",
    ),
    Finding(
        "a negative number of actions, or more than fit into memory",
        "ValueError, or memory ran out",
        False,
        _announcing(lambda brain, agent: brain.action_spec.discrete_branch_sizes.append(2**31 - 1)),
        False,
        "behavior 'N' is announced with the actions",
    ),
    Finding(
        "an environment parameter with half a range, or none",
        "ValueError, or IndexError when the world drew the number",
        False,
        _ranges(1.0, 2.0, 3.0),
        True,
        "environment parameter 'mass' has the impossible ranges",
    ),
]
