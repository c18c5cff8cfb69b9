"""The bridge alone, with a canned player: its share of what bare grpcio does with the same bytes, and mlagents_envs.

Each side is a process of its own, with a player of its own; they take turns in short slices, and who has no turn does
nothing. The canned player (`canned_player.py`) costs the same on every side, as does the payload; no episode ends.
"""

import contextlib
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from bridge.ports import find_free_port
from trainers.benchmarks import Context
from trainers.benchmarks.canned_player import ACTIONS, BEHAVIOR
from trainers.benchmarks.official import environment
from trainers.benchmarks.programs import MLAGENTS_ENVS, Missing, environment_of, peer_program
from trainers.benchmarks.rows import Row, alternate
from trainers.errors import UsageError

AGENTS = (1, 12, 100, 1000)
COMPARED_AGENTS = (12, 100, 1000)
SLICES = 5  # measurements a round
_LIMIT = 120.0  # seconds that a side may take to start, or to answer
_LEAVE_SECONDS = 10.0
_FIRST_PORT = 6405
_CORES = 2  # one for each end of the wire
_IN_C = ("cpp", "upb")


def run(context: Context) -> list[Row]:
    """Exchanges/s beside bare grpcio, agent-steps/s beside mlagents_envs."""
    official: tuple[str, str] | None = None
    missing = ""
    try:
        official = _official(context)
    except Missing as reason:
        missing = str(reason)
    rows: list[Row] = []
    for agents in AGENTS:
        rows += _rows(context, agents, official, missing)
    return rows


def _official(context: Context) -> tuple[str, str]:
    """The Python of mlagents_envs 1.1.0 and its versions in words."""
    if context.official is not None:
        python, versions = context.official.python, context.official.versions
    else:
        python, versions = environment_of(MLAGENTS_ENVS, context.say, install=context.install)
    peer_program("mlagents_envs_host.py")
    told = ", ".join(f"{name} {versions[name]}" for name in ("Python", "grpcio", "protobuf"))
    return python, f"mlagents_envs 1.1.0, {told}"


def _rows(context: Context, agents: int, official: tuple[str, str] | None, missing: str) -> list[Row]:
    name, beside = f"share of grpc floor, {agents} agents", "bare grpcio server, same payloads"
    compared = f"bridge vs mlagents_envs, {agents} agents"
    with contextlib.ExitStack() as closing:
        sides = {
            f"{mode}, {agents} agents": closing.enter_context(host(mode, agents, context.seconds))
            for mode in ("floor", "fleet", "environment")
        }
        protobuf = ""
        if official is not None and agents in COMPARED_AGENTS:
            of_official = closing.enter_context(_official_host(official[0], agents, context.seconds))
            sides[f"mlagents_envs, {agents} agents"] = of_official
            protobuf = of_official.greeting.removeprefix("ready").strip()
        measured = alternate(context.rounds * SLICES, sides, context.say)
    floor, fleet, through_environment, *of_peer = measured.values()
    rows = [
        Row(name, "exchanges/s", fleet, floor, "measured", _CORES, beside=beside),
        Row(
            f"{name}, get_steps and set_actions",
            "exchanges/s",
            through_environment,
            floor,
            "measured",
            _CORES,
            beside=beside,
        ),
    ]
    if agents in COMPARED_AGENTS:
        ours, peer = (
            [agents * value for values in side for value in values] for side in ([through_environment], of_peer)
        )
        source: Literal["measured"] | None = "measured" if peer else None
        kind = "in C++" if protobuf in _IN_C else f"in pure {protobuf}"
        beside = missing if official is None else f"{official[1]} {kind}"
        rows.append(Row(compared, "agent-steps/s", ours, peer, source, _CORES, beside=beside))
    return rows


class Host:
    """A program that measures when it is asked to: called with the number of the turn, it returns exchanges/s.

    It and its players do nothing in between, so that several can take turns. Raises UsageError when it fails.
    """

    def __init__(self, command: Sequence[str], seconds: float, variables: Mapping[str, str] | None = None) -> None:
        self.name, self._seconds = " ".join(command[1:4]), seconds
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables and dict(variables)
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self.greeting = self._next_line()
        except BaseException:
            self.close()
            raise

    def __call__(self, _: int) -> float:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{self._seconds}\n")
            self._process.stdin.flush()
        except OSError as error:
            raise UsageError(f"{self.name} ended before it was to measure") from error
        return float(self._next_line().removeprefix("measured"))

    def close(self) -> None:
        """Ends it; a player whose trainer is gone ends by itself."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout:
            for line in self._process.stdout:
                self._lines.put(line.strip())
        self._lines.put("")

    def _next_line(self) -> str:
        """The next line that is meant for this; libraries print lines of their own."""
        deadline = time.monotonic() + _LIMIT + self._seconds
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise UsageError(f"{self.name} said nothing for {_LIMIT:.0f} s") from None
            if not line:
                raise UsageError(f"{self.name} ended with exit code {self._process.wait()}: see what it printed above")
            if line.startswith(("ready", "measured")):
                return line


@contextlib.contextmanager
def host(mode: str, agents: int, seconds: float, *, players: int = 1) -> Iterator[Host]:
    """Our side of the wire in a process of its own (`bridge_host.py`) with so many players of `agents` each."""
    command = [sys.executable, "-m", "trainers.benchmarks.bridge_host", mode, str(agents), str(players)]
    with contextlib.closing(Host(command, seconds)) as started:
        yield started


@contextlib.contextmanager
def _official_host(python: str, agents: int, seconds: float) -> Iterator[Host]:
    port = find_free_port(_FIRST_PORT)
    player = [sys.executable, "-m", "trainers.benchmarks.canned_player", str(port), str(agents)]
    command = [python, peer_program("mlagents_envs_host.py"), str(agents), str(port), BEHAVIOR, str(ACTIONS), *player]
    with contextlib.closing(Host(command, seconds, environment())) as started:
        yield started
