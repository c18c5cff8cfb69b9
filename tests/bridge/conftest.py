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
from types import ModuleType, SimpleNamespace

import pytest

import bridge
from bridge.environment import UnityEnvironment
from bridge.ports import find_free_port

HERE = Path(__file__).parent
REPOSITORY = Path(bridge.__file__).parents[1]
LIMIT = 20  # seconds that anything may take


def load(name: str) -> ModuleType:
    """A module of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    """The module toy_worlds.py."""
    return load("toy_worlds")


RawPlayer = load("raw_player").RawPlayer


@pytest.fixture(scope="session")
def plain_codec() -> SimpleNamespace:
    """What plain_codec.py loads."""
    return load("plain_codec").load()


@pytest.fixture(params=["compiled", "plain"])
def wire_codec(request) -> SimpleNamespace:
    """`TrainerCodec` and `PlayerCodec`, as they are here and without numba."""
    if request.param == "plain":
        return request.getfixturevalue("plain_codec")
    from bridge import fast_codec, fast_player_codec

    return SimpleNamespace(TrainerCodec=fast_codec.TrainerCodec, PlayerCodec=fast_player_codec.PlayerCodec)


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


@pytest.fixture(scope="session")
def compiled() -> None:
    """The codec is compiled, which takes a while the first time, before anything is timed."""
    from bridge.fast_codec import TrainerCodec
    from bridge.fast_player_codec import PlayerCodec

    TrainerCodec.load({})
    PlayerCodec.load({})


@pytest.fixture
def unity_environment(compiled: None) -> Iterator[Callable[..., UnityEnvironment]]:
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
def conversation(unity_environment, free_port: int, play) -> Callable[..., tuple]:
    """`conversation(script)` connects a player that then runs `script(player)`; returns environment and future."""

    def start(script: Callable, capable: dict[str, bool] | None = None, **arguments):
        def player(player):
            player.introduce(**(capable or {}))
            player.exchange()
            return script(player)

        played = play(free_port, player)
        return unity_environment(base_port=free_port, **arguments), played

    return start


@pytest.fixture
def program(compiled: None, tmp_path: Path) -> Callable[..., Path]:
    """`program(text, numba)` writes an executable Python file.

    Without `numba` it starts in half the time, and its messages go through protobuf. In it `port` is the number after
    --mlagents-port; where it says `run_player` or `RawPlayer`, it knows `toy_worlds` and all of `bridge.player`, or the
    raw player.
    """
    if sys.platform == "win32":
        pytest.skip("the players are scripts with a first line that says what runs them")
    numbers = itertools.count()

    def write(text: str, numba: bool = False) -> Path:
        path = tmp_path / f"player{next(numbers)}"
        lines = [f"#!{sys.executable}", "import os, sys, time", f"sys.path[:0] = {[str(REPOSITORY), str(HERE)]!r}"]
        lines.append("port = int(sys.argv[sys.argv.index('--mlagents-port') + 1])")
        if not numba:
            lines.append("sys.modules['numba'] = None  # as if it were not installed")
        if "run_player" in text:
            lines += ["import toy_worlds", "from bridge.player import *"]
        if "RawPlayer" in text:
            lines.append("from raw_player import RawPlayer")
        path.write_text("\n".join([*lines, textwrap.dedent(text)]), newline="")
        path.chmod(0o755)
        return path

    return write


@pytest.fixture
def toy_player(program) -> Path:
    """A player program of the ToyWorld, without numba."""
    return program("sys.exit(run_player(toy_worlds.ToyWorld, port))")


@pytest.fixture
def compiled_toy_player(program) -> Path:
    """The same with numba."""
    return program("sys.exit(run_player(toy_worlds.ToyWorld, port))", numba=True)


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
