"""A player of 3DBall that goes wrong when it is told to, for our trainer and the official one alike.

    faulty_player.py --mlagents-port PORT --lives FOLDER --faults killed@40,garbage@40,none

Life n of the player has the n-th fault, the last one's is kept by all later lives; `@` is the number of the message,
counted from 1, the hello. FOLDER gets a file for each life, with the number of decisions that were answered.
"""

import argparse
import os
import signal
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bridge import player
from bridge.messages import UnityMessageProto
from unity_envs.worlds import make_world_factory

AGENTS = 12
BEHAVIOR = "3DBall?team=0"
LARGE = 64 * 2**20
EXCHANGE = player._exchange
_SLOW_MESSAGES, _SLOW_SECONDS = 10, 0.3


def changed(change: Callable) -> Callable:
    """A fault that changes the message, if agents wait for actions in it; else the fault comes with a later one."""

    def fault(call, data: bytes) -> bytes | None:
        message = UnityMessageProto.FromString(data)
        agents = message.unity_output.rl_output.agentInfos[BEHAVIOR].value
        if sum(not agent.done for agent in agents) < 2:
            return None
        change(message.unity_output, agents)
        return message.SerializeToString()

    return fault


def exits(call, data):
    os._exit(3)


def killed(call, data):
    os.kill(os.getpid(), signal.SIGKILL)


def stopped(call, data):
    os.kill(os.getpid(), signal.SIGSTOP)


def closes_mid_message(call, data):
    global held
    held = call.future(bytes(LARGE))  # a call that nobody holds is cancelled
    time.sleep(0.01)
    os._exit(3)


def other_shape(output, agents):
    for agent in agents:
        del agent.observations[0].float_data.data[0]
        agent.observations[0].shape[0] -= 1


def same_id(output, agents):
    waiting = [agent for agent in agents if not agent.done]
    waiting[1].id = waiting[0].id


def other_actions(output, agents):
    brain = output.rl_initialization_output.brain_parameters.add()
    brain.brain_name = BEHAVIOR
    brain.action_spec.num_continuous_actions = 5
    for agent in agents:
        agent.action_mask.extend([True] * 99)


def not_a_number(output, agents):
    agents[-1].observations[0].float_data.data[0] = float("nan")


def nobody(output, agents):
    output.rl_output.agentInfos.clear()
    output.rl_output.ClearField("agentInfos")


def one_more(call, data):
    """A message without agents, before the one with them."""
    if changed(nobody)(call, data) is None:
        return None
    EXCHANGE(call, changed(nobody)(call, data))
    return data


def large(output, agents):
    # A channel of the game's own, that no trainer knows.
    output.rl_output.side_channel += bytes(range(16)) + struct.pack("<i", LARGE) + bytes(LARGE)


FAULTS: dict[str, Callable] = {
    "exits": exits,
    "killed": killed,
    "stopped": stopped,
    "closes mid-message": closes_mid_message,
    "garbage": lambda call, data: b"\xff" * 100,
    "64 MiB": changed(large),
    "nobody": changed(nobody),
    "nobody then all": one_more,
    "other shape": changed(other_shape),
    "same id": changed(same_id),
    "other actions": changed(other_actions),
    "not a number": changed(not_a_number),
}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mlagents-port", type=int, required=True)
    parser.add_argument("--lives", type=Path, required=True)
    parser.add_argument("--faults", required=True)
    arguments, _ = parser.parse_known_args()
    faults = arguments.faults.split(",")
    arguments.lives.mkdir(exist_ok=True)
    life = len(list(arguments.lives.iterdir()))
    name, _, at = faults[min(life, len(faults) - 1)].partition("@")
    counter = os.open(arguments.lives / f"{life:03}", os.O_WRONLY | os.O_CREAT)
    sent, answered, done = 0, 0, False

    def faulty(call, data: bytes, **how) -> bytes:
        nonlocal sent, answered, done
        sent += 1
        waiting = 0
        if sent > 2:
            infos = UnityMessageProto.FromString(data).unity_output.rl_output.agentInfos
            waiting = sum(not agent.done for info in infos.values() for agent in info.value)
        if name == "slow" and int(at) <= sent < int(at) + _SLOW_MESSAGES:
            time.sleep(_SLOW_SECONDS)
        elif name in FAULTS and not done and sent >= int(at):
            bad = FAULTS[name](call, data)
            done = bad is not None
            data = bad or data
        answer = EXCHANGE(call, data, **how)
        answered += waiting
        os.pwrite(counter, str(answered).encode(), 0)
        return answer

    player._exchange = faulty
    return player.run_player(make_world_factory("3DBall", AGENTS), arguments.mlagents_port)


if __name__ == "__main__":
    sys.exit(main())
