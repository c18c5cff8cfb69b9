"""A player that simulates nothing: it sends precomputed messages and does not read the answers.

    python -m trainers.benchmarks.canned_player PORT AGENTS

What a trainer's side is measured with: everything but the wire and that side costs nothing. The agents are 3DBall's in
size: 8 observations, 2 continuous actions; no episode ends.
"""

import itertools
import sys
from typing import Any

import grpc
import numpy as np
from mlagents_envs.base_env import (
    ActionSpec,
    BehaviorSpec,
    DecisionSteps,
    DimensionProperty,
    ObservationSpec,
    ObservationType,
    TerminalSteps,
)

from bridge import API_VERSION, __version__
from bridge.codec import StepsEncoder, encode_brain_parameters
from bridge.messages import EXCHANGE_METHOD, STATUS_OK, UnityMessageProto, capabilities

BEHAVIOR = "Canned?team=0"
OBSERVATIONS, ACTIONS = 8, 2
_OBSERVATION = ObservationSpec((OBSERVATIONS,), (DimensionProperty.NONE,), ObservationType.DEFAULT, "numbers")
SPEC = BehaviorSpec([_OBSERVATION], ActionSpec(ACTIONS, ()))
DIFFERENT = 4  # messages that are sent in turn
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
)
_CONNECT_SECONDS = 60


def greetings() -> list[bytes]:
    """What a player sends before its first step: who it is, and that it is ready for a reset."""
    message = UnityMessageProto()
    hello = message.unity_output.rl_initialization_output
    hello.name = "AcademySingleton"
    hello.communication_version = API_VERSION
    hello.package_version = __version__
    hello.capabilities.CopyFrom(capabilities())
    return [_encode(message), _encode(UnityMessageProto())]


def step_messages(agents: int) -> list[bytes]:
    """A first message, which describes the behavior, and `DIFFERENT` others of one length; `agents` decide in each."""
    generator = np.random.default_rng(1)
    encoder = StepsEncoder(SPEC)
    ids, groups = np.arange(agents, dtype=np.int32), np.zeros(agents, np.int32)
    rewards = np.full(agents, 0.1, np.float32)
    messages = []
    for number in range(DIFFERENT + 1):
        message = UnityMessageProto()
        if number == 0:
            parameters = message.unity_output.rl_initialization_output.brain_parameters
            encode_brain_parameters(parameters.add(), BEHAVIOR, SPEC)
        seen = generator.normal(size=(agents, OBSERVATIONS)).astype(np.float32)
        decisions = DecisionSteps([seen], rewards, ids, None, groups, np.zeros(agents, np.float32))
        into = message.unity_output.rl_output.agentInfos[BEHAVIOR].value
        encoder.encode(into, decisions, TerminalSteps.empty(SPEC))
        messages.append(_encode(message))
    return messages


def play(port: int, agents: int) -> None:
    """Sends until the other side is gone."""
    first, *others = step_messages(agents)
    with grpc.insecure_channel(f"localhost:{port}", options=_OPTIONS) as channel:
        call = channel.unary_unary(EXCHANGE_METHOD)  # bytes in, bytes out
        hello, ready = greetings()
        call(hello, wait_for_ready=True, timeout=_CONNECT_SECONDS)
        try:
            for message in itertools.chain([ready, first], itertools.cycle(others)):
                call(message)
        except grpc.RpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                raise


def _encode(message: Any) -> bytes:
    message.header.status = STATUS_OK
    encoded: bytes = message.SerializeToString()
    return encoded


if __name__ == "__main__":
    play(int(sys.argv[1]), int(sys.argv[2]))
