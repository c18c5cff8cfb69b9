"""The trainer's side of the wire, alone in a process, with canned players: counts exchanges when it is told to.

    python -m trainers.benchmarks.bridge_host MODE AGENTS [PLAYERS]

MODE: `floor` is a bare grpcio server that answers bytes of the right length, without looking at what it gets; `fleet`
takes the steps of our `Fleet` and sets actions; `environment` does the same with `UnityEnvironment`'s get_steps and
set_actions. Prints `ready`; then, for each number of seconds on a line of standard input, measures that long and prints
`measured` and the exchanges/s of all players together. In between the players wait for an answer. Ends with its input.
"""

import contextlib
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures

import grpc
import numpy as np
from mlagents_envs.base_env import ActionTuple

from bridge.codec import encode_actions
from bridge.messages import COMMAND_STEP, EXCHANGE_METHOD, STATUS_OK, UnityMessageProto
from bridge.ports import find_free_port
from trainers.benchmarks.canned_player import ACTIONS, BEHAVIOR, DIFFERENT

_WARM_SECONDS = 0.05  # of each measurement
_CONNECT_SECONDS = 60.0
_FIRST_PORT = 6305
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.so_reuseport", 0),
)


def main(mode: str, agents: int, players: int = 1) -> None:
    """Measures and prints."""
    side = {"floor": _floor, "fleet": _fleet, "environment": _environment}[mode]
    ports: list[int] = []
    for _ in range(players):
        ports.append(find_free_port(ports[-1] + 1 if ports else _FIRST_PORT + os.getpid() % 1000))
    with contextlib.ExitStack() as closing:
        for port in ports:
            closing.enter_context(_player(port, agents))
        measure = closing.enter_context(side(ports, agents))
        print("ready", flush=True)
        for line in sys.stdin:
            print("measured", measure(float(line)), flush=True)


@contextlib.contextmanager
def _player(port: int, agents: int) -> Iterator[None]:
    command = [sys.executable, "-m", "trainers.benchmarks.canned_player", str(port), str(agents)]
    quiet = os.environ | {"GRPC_VERBOSITY": "ERROR"}  # or it tells that the other side went, which it is to
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=quiet)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def exchanges_per_second(step: Callable[[], None], seconds: float, per_call: int = 1) -> float:
    """Calls `step`, which makes `per_call` exchanges, for about that long after a short warm-up."""
    until = time.perf_counter() + _WARM_SECONDS
    while time.perf_counter() < until:
        step()
    calls, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        step()
        calls += 1
    return calls * per_call / elapsed


@contextlib.contextmanager
def _floor(ports: list[int], agents: int) -> Iterator[Callable[[float], float]]:
    answer = _actions_message(agents)
    going = threading.Event()
    count = 0

    def exchange(_: bytes, __: grpc.ServicerContext) -> bytes:
        nonlocal count
        if not going.is_set():
            going.wait()
        count += 1
        return answer

    def measure(seconds: float) -> float:
        going.set()
        time.sleep(_WARM_SECONDS)
        before, started = count, time.perf_counter()
        time.sleep(seconds)
        counted, elapsed = count - before, time.perf_counter() - started
        going.clear()
        return counted / elapsed

    service, method = EXCHANGE_METHOD.strip("/").split("/")
    handler = grpc.method_handlers_generic_handler(service, {method: grpc.unary_unary_rpc_method_handler(exchange)})
    with contextlib.ExitStack() as closing:
        closing.callback(going.set)
        for port in ports:
            server = grpc.server(futures.ThreadPoolExecutor(2), options=_OPTIONS)
            server.add_generic_rpc_handlers((handler,))
            server.add_insecure_port(f"127.0.0.1:{port}")
            server.start()
            closing.callback(server.stop, None)
        going.set()
        deadline = time.monotonic() + _CONNECT_SECONDS
        while count < 10 * len(ports):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no canned player connected within {_CONNECT_SECONDS:.0f} s")
            time.sleep(0.01)
        going.clear()
        yield measure


@contextlib.contextmanager
def _fleet(ports: list[int], agents: int) -> Iterator[Callable[[float], float]]:
    from bridge.environment import UnityEnvironment
    from bridge.fleet import Fleet

    actions = itertools.cycle(_actions(agents * len(ports)))
    with contextlib.closing(
        Fleet([UnityEnvironment(None, base_port=port, timeout_wait=_CONNECT_SECONDS) for port in ports])
    ) as fleet:

        def step() -> None:
            fleet.set_actions(BEHAVIOR, next(actions))
            fleet.send_step()
            fleet.receive()

        fleet.reset()
        yield lambda seconds: exchanges_per_second(step, seconds, per_call=len(ports))


@contextlib.contextmanager
def _environment(ports: list[int], agents: int) -> Iterator[Callable[[float], float]]:
    from bridge.environment import UnityEnvironment

    (port,) = ports
    actions = itertools.cycle(_actions(agents))
    with UnityEnvironment(None, base_port=port, timeout_wait=_CONNECT_SECONDS) as environment:

        def step() -> None:
            environment.get_steps(BEHAVIOR)
            environment.set_actions(BEHAVIOR, next(actions))
            environment.step()

        environment.reset()
        yield lambda seconds: exchanges_per_second(step, seconds)


def _actions(agents: int) -> list[ActionTuple]:
    generator = np.random.default_rng(2)
    return [
        ActionTuple(generator.uniform(-1, 1, (agents, ACTIONS)).astype(np.float32), np.zeros((agents, 0), np.int32))
        for _ in range(DIFFERENT)
    ]


def _actions_message(agents: int) -> bytes:
    message = UnityMessageProto()
    message.header.status = STATUS_OK
    rl_input = message.unity_input.rl_input
    rl_input.command = COMMAND_STEP
    encode_actions(rl_input, BEHAVIOR, _actions(agents)[0], deprecated_too=False)
    data: bytes = message.SerializeToString()
    return data


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
