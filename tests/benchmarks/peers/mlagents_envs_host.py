"""The official mlagents_envs with a canned player: counts exchanges when it is told to. Runs in that package's Python.

    python mlagents_envs_host.py AGENTS PORT BEHAVIOR ACTIONS COMMAND ...

COMMAND starts the player. Prints `ready` and the implementation of protobuf; the rest is as in
`trainers/benchmarks/bridge_host.py`, mode `environment`.
"""

import itertools
import os
import subprocess
import sys
import time

import numpy as np
from google.protobuf.internal import api_implementation
from mlagents_envs.base_env import ActionTuple
from mlagents_envs.environment import UnityEnvironment

WARM_SECONDS = 0.05
DIFFERENT = 4


def main() -> None:
    agents, port, behavior, size = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    generator = np.random.default_rng(2)
    actions = itertools.cycle(
        ActionTuple(generator.uniform(-1, 1, (agents, size)).astype(np.float32), np.zeros((agents, 0), np.int32))
        for _ in range(DIFFERENT)
    )
    quiet = dict(os.environ, GRPC_VERBOSITY="ERROR")
    player = subprocess.Popen(sys.argv[5:], stdin=subprocess.DEVNULL, env=quiet)
    environment = None
    try:
        environment = UnityEnvironment(None, base_port=port, timeout_wait=60)

        def step() -> None:
            environment.get_steps(behavior)
            environment.set_actions(behavior, next(actions))
            environment.step()

        environment.reset()
        print("ready", api_implementation.Type(), flush=True)
        for line in sys.stdin:
            print("measured", exchanges_per_second(step, float(line)), flush=True)
    finally:
        if environment is not None:
            environment.close()
        player.kill()
        player.wait()


def exchanges_per_second(step, seconds: float) -> float:
    until = time.perf_counter() + WARM_SECONDS
    while time.perf_counter() < until:
        step()
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        step()
        count += 1
    return count / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
