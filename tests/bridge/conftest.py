"""Both ends of the wire for tests: players in threads that send what a test says, and player programs."""

import importlib.util
import itertools
import os
import random
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import grpc
import pytest

import bridge
from bridge.environment import UnityEnvironment
from bridge.messages import EXCHANGE_METHOD, UnityMessageProto, capabilities
from bridge.ports import find_free_port

HERE = Path(__file__).parent
REPOSITORY = Path(bridge.__file__).parents[1]
LIMIT = 20  # seconds that anything may take


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    """The module toy_worlds.py."""
    spec = importlib.util.spec_from_file_location("toy_worlds", HERE / "toy_worlds.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def free_port() -> int:
    # Not from the range that systems take ports for outgoing connections from.
    return find_free_port(random.randrange(10_000, 32_000))


@pytest.fixture
def wait_for() -> Callable[..., bool]:
    """`wait_for(condition, seconds)` returns whether the condition came true in time."""

    def wait(condition: Callable[[], object], seconds: float = LIMIT) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    return wait


class RawPlayer:
    """A player's end of the wire that sends what it is told, right or wrong."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        options = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            ("grpc.enable_http_proxy", 0),
            ("grpc.use_local_subchannel_pool", 1),  # else players of one process share a connection
            ("grpc.initial_reconnect_backoff_ms", 50),  # some dial before anybody listens
            ("grpc.max_reconnect_backoff_ms", 50),
        ]
        self._channel = grpc.insecure_channel(f"{host}:{port}", options=options)
        self._call = self._channel.unary_unary(EXCHANGE_METHOD)

    def begin(self, message=None, status: int = 200) -> Future:
        """Sends a message; the call's future gives the answer's bytes."""
        message = UnityMessageProto() if message is None else message
        message.header.status = status
        return self._call.future(message.SerializeToString(), timeout=LIMIT, wait_for_ready=True)

    def exchange(self, message=None, status: int = 200):
        return UnityMessageProto.FromString(self.begin(message, status).result())

    def introduce(self, version: str = "1.5.0", **capable: bool):
        """Message 1 of the handshake; returns the answer."""
        message = UnityMessageProto()
        hello = message.unity_output.rl_initialization_output
        hello.name, hello.communication_version, hello.package_version = "AcademySingleton", version, "3.0.0"
        hello.capabilities.CopyFrom(capabilities())
        for name, value in capable.items():
            setattr(hello.capabilities, name, value)
        return self.exchange(message)

    def connect(self):
        """The whole handshake; returns the answer to message 2, the first reset."""
        self.introduce()
        return self.exchange()

    def observe(self, *agents, name: str = "Echo?team=0", brain: bool = False, side_channel: bytes = b""):
        """Sends agents, dicts of the fields of an AgentInfoProto and `obs`, a list of lists; returns the answer."""
        message = UnityMessageProto()
        output = message.unity_output
        if brain:
            parameters = output.rl_initialization_output.brain_parameters.add()
            parameters.brain_name = name
            parameters.action_spec.num_continuous_actions = 2
        infos = output.rl_output.agentInfos[name].value
        for agent in agents:
            info = infos.add()
            for observation in agent.pop("obs"):
                proto = info.observations.add()
                proto.shape.append(len(observation))
                proto.float_data.data.extend(observation)
            for field, value in agent.items():
                setattr(info, field, value)
        output.rl_output.side_channel = side_channel
        return self.exchange(message)

    def close(self) -> None:
        self._channel.close()


@pytest.fixture
def raw_player() -> Iterator[Callable[..., RawPlayer]]:
    """`raw_player(port, host)` makes a RawPlayer; its connection is closed in the end."""
    players = []

    def make(port: int, host: str = "127.0.0.1") -> RawPlayer:
        players.append(RawPlayer(port, host))
        return players[-1]

    yield make
    for player in players:
        player.close()


@pytest.fixture
def play(raw_player) -> Iterator[Callable[..., Future]]:
    """`play(port, script, host)` runs `script(RawPlayer)` in a thread; the future has its result."""
    pool = ThreadPoolExecutor(8)

    def start(port: int, script: Callable[[RawPlayer], object], host: str = "127.0.0.1") -> Future:
        return pool.submit(script, raw_player(port, host))

    yield start
    pool.shutdown(wait=False, cancel_futures=True)


@pytest.fixture
def unity_environment() -> Iterator[Callable[..., UnityEnvironment]]:
    """`UnityEnvironment(...)` with a limit on waits; all are closed in the end."""
    environments = []

    def make(file_name: object = None, **arguments) -> UnityEnvironment:
        name = None if file_name is None else str(file_name)
        environments.append(UnityEnvironment(name, **({"timeout_wait": LIMIT} | arguments)))
        return environments[-1]

    yield make
    for environment in environments:
        environment.close()


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Path]:
    """`program(text)` writes an executable Python file that knows `toy_worlds` and everything of `bridge.player`.

    `port` in it is the number after --mlagents-port.
    """
    if sys.platform == "win32":
        pytest.skip("the players are scripts with a first line that says what runs them")
    numbers = itertools.count()

    def write(text: str) -> Path:
        path = tmp_path / f"player{next(numbers)}"
        head = f"""\
            #!{sys.executable}
            import os, sys, time
            sys.path[:0] = {[str(REPOSITORY), str(HERE)]!r}
            import toy_worlds
            from bridge.player import *
            port = port_from_arguments(sys.argv)
        """
        path.write_text(textwrap.dedent(head) + textwrap.dedent(text), newline="")
        path.chmod(0o755)
        return path

    return write


@pytest.fixture
def toy_player(program) -> Path:
    """A player program of the ToyWorld."""
    return program("sys.exit(run_player(toy_worlds.ToyWorld, port))")


@pytest.fixture
def process_lives() -> Callable[[int], bool]:
    """`process_lives(pid)`: whether such a process runs (a zombie does not)."""

    def lives(pid: int) -> bool:
        try:
            if sys.platform == "linux":
                return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
            os.kill(pid, 0)
        except (FileNotFoundError, ProcessLookupError):
            return False
        return True

    return lives
