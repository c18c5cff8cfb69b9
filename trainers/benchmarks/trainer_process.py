"""A trainer run as a program and watched from outside, ours and the official one alike: both print the same lines."""

import itertools
import os
import queue
import re
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bridge.ports import find_free_port
from bridge.process_tree import ProcessTree, in_spawning_thread
from trainers.errors import UsageError
from unity_envs import executables

# "[INFO] 3DBall. Step: 12000. Time Elapsed: 6.587 s. Mean Reward: 1.237. Std of Reward: 0.792. Training."
_SUMMARY = re.compile(
    r"\] (?P<behavior>.+?)\. Step: (?P<step>\d+)\. Time Elapsed: [\d.]+ s\. "
    r"(?:.*?Mean Reward: (?P<mean>-?(?:[\d.]+|nan|inf))\. |No episode was completed)"
)
_CONNECTED = re.compile(r"\] Connected new brain: ")
_FIRST_PORT = 6105  # apart from ML-Agents' own ports, where somebody may be training
_DRAIN_SECONDS = 5.0
_SHOWN_LINES = 3
_numbers = itertools.count()


@dataclass(frozen=True)
class SummaryLine:
    """A summary as it was printed, `seconds` after the program was started; `mean_reward` None: no episode was over."""

    behavior: str
    step: int
    mean_reward: float | None
    seconds: float


@dataclass
class TrainerRun:
    """What was seen of one run. Seconds are counted from the start of the program, as at the shell prompt."""

    summaries: list[SummaryLine] = field(default_factory=list)
    connected_seconds: float | None = None  # when it told of the first agents
    seconds: float = 0.0  # when it ended
    exit_code: int | None = None  # None if it was ended from here
    lines: list[str] = field(default_factory=list)

    def reached(self, mean_reward: float) -> SummaryLine | None:
        """The first summary with at least this mean reward."""
        for line in self.summaries:
            if line.mean_reward is not None and line.mean_reward >= mean_reward:
                return line
        return None

    def steps_per_second(self) -> float:
        """Agent steps a second between the first and the last summary: without start, compilation and export."""
        first, last = self.summaries[0], self.summaries[-1]
        return (last.step - first.step) / (last.seconds - first.seconds)

    def steps_per_second_overall(self) -> float:
        """Agent steps of the last summary over the whole time from the start of the program to its end."""
        return self.summaries[-1].step / self.seconds


def parse_summary(line: str, seconds: float = 0.0) -> SummaryLine | None:
    """The summary that a line of either trainer tells; None for any other line."""
    found = _SUMMARY.search(line)
    if found is None:
        return None
    mean = found["mean"]
    return SummaryLine(found["behavior"], int(found["step"]), None if mean is None else float(mean), seconds)


def our_program() -> tuple[str, ...]:
    """What stands before the arguments of `mlbridge learn`."""
    script = Path(executables.path("3DBall")).with_name("mlbridge" + sysconfig.get_config_var("EXE"))
    return (str(script), "learn")


def train_3dball(
    program: Sequence[str],
    configuration: Path,
    results: Path,
    *,
    seed: int,
    limit: float,
    until: Callable[[TrainerRun], bool] | None = None,
    in_process: bool = False,
    environment: Mapping[str, str] | None = None,
    agents: int | None = None,
    players: int = 1,
    player: Sequence[str] = (),
    flags: Sequence[str] = (),
) -> TrainerRun:
    """Trains 3DBall with `program`, ours or the official one: the same flags, the same player, 12 agents.

    `agents`: of each of the `players`. `player`: another executable and its arguments. `flags`: more of the program's.
    See `watch` for limit, until, environment and what is raised. A run that ends by itself must have the exit code 0
    and have shown two summaries.
    """
    number = next(_numbers)
    where = ["--env=3DBall", "--in-process"]
    executable, *arguments = player or (executables.path("3DBall"),)
    if not in_process:
        first = find_free_port(_FIRST_PORT + number * players % 100)
        where = [f"--env={executable}", f"--base-port={first}", f"--num-envs={players}"]
    arguments += [] if agents is None else ["--agents", str(agents)]
    command = [*program, str(configuration), *where, f"--run-id=run-{number}", f"--results-dir={results}"]
    command += [f"--seed={seed}", "--torch-device=cpu", "--no-graphics", *flags]
    command += ["--env-args", *arguments] if arguments else []
    run = watch(command, limit=limit, until=until, environment=environment)
    if run.exit_code is not None and (run.exit_code != 0 or len(run.summaries) < 2):
        raise UsageError(f"{program[0]} ended with exit code {run.exit_code}: {_last_words(run)}")
    return run


def watch(
    command: Sequence[str],
    *,
    limit: float,
    until: Callable[[TrainerRun], bool] | None = None,
    environment: Mapping[str, str] | None = None,
) -> TrainerRun:
    """Runs a trainer until it ends, or until `until` is true after one of its lines: then it and its players are ended.

    Args:
        command: the program and its arguments.
        limit: seconds until it is ended and UsageError raised.
        until: asked after every line.
        environment: the environment variables of the program; default: those of this process.

    Raises UsageError if it cannot be started or does not end in time. Nothing that it started is left running.
    """
    events: queue.SimpleQueue[tuple[str, float, str | int]] = queue.SimpleQueue()
    run = TrainerRun()
    read, write = os.pipe()
    output = open(read, "rb")  # noqa: SIM115 - the reading thread closes it
    try:
        with open(write, "wb") as output_of_program, _environment(environment):
            started = time.monotonic()
            tree = in_spawning_thread(lambda: ProcessTree(command, output_of_program))
    except OSError as error:
        output.close()
        raise UsageError(f"{command[0]} cannot be started: {error.strerror}") from error

    def read_lines() -> None:
        with output:
            for line in output:
                events.put(("line", time.monotonic(), line.decode(errors="replace").rstrip()))
        events.put(("end of output", time.monotonic(), ""))

    def wait() -> None:
        code = tree.wait()
        events.put(("exit", time.monotonic(), code))

    waiting = threading.Thread(target=wait)
    waiting.start()
    threading.Thread(target=read_lines, daemon=True).start()
    ended_here = False
    deadline = started + limit
    open_ends = {"exit", "end of output"}
    try:
        while open_ends:
            try:
                kind, moment, value = events.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                if "exit" not in open_ends:  # somebody that it started holds the pipe: nothing more is to come
                    break
                raise UsageError(f"{command[0]} did not end within {limit:.0f} s: {_last_words(run)}") from None
            if kind == "line":
                _take_line(run, str(value), moment - started)
                if not ended_here and until is not None and until(run):
                    ended_here = True
                    tree.kill()
                continue
            open_ends.discard(kind)
            if kind == "exit":
                run.seconds = moment - started
                run.exit_code = None if ended_here else int(value)
                deadline = min(deadline, time.monotonic() + _DRAIN_SECONDS)
    finally:
        tree.kill()
        waiting.join()
    return run


def _take_line(run: TrainerRun, line: str, seconds: float) -> None:
    run.lines.append(line)
    if run.connected_seconds is None and _CONNECTED.search(line):
        run.connected_seconds = seconds
    summary = parse_summary(line, seconds)
    if summary is not None:
        run.summaries.append(summary)


def _last_words(run: TrainerRun) -> str:
    return " | ".join([line.strip() for line in run.lines if line.strip()][-_SHOWN_LINES:]) or "it said nothing"


@contextmanager
def _environment(variables: Mapping[str, str] | None) -> Iterator[None]:
    """This process's environment variables while a program is started, which inherits them."""
    before = dict(os.environ)
    # Set on some build machines; users do not have it, and without it starts after the first are faster.
    wanted = {name: value for name, value in (variables or before).items() if name != "PYTHONDONTWRITEBYTECODE"}
    try:
        _become(wanted)
        yield
    finally:
        _become(before)


def _become(variables: Mapping[str, str]) -> None:
    for name in set(os.environ) - set(variables):
        del os.environ[name]
    os.environ.update(variables)
