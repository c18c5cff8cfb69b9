"""What a person sees while a run works: a live dashboard on a terminal, plain lines everywhere else.

The lines are ML-Agents' own, since people read them with scripts:

    [INFO] 3DBall. Step: 12000. Time Elapsed: 6.587 s. Mean Reward: 1.237. Std of Reward: 0.792. Training.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from trainers.report import Summary

if TYPE_CHECKING:
    from rich.console import Group

REFRESH_SECONDS = 0.25
SPEED_WINDOW_SECONDS = 30.0  # long enough to hold collecting and updating, short enough to follow a change
DASHBOARD_COLUMNS = 110  # at most; a wider line is hard to read across


@dataclass(slots=True)
class BehaviorProgress:
    """How far one behavior is: `step` and `max_steps` in agent decisions; the rewards are those of its last summary."""

    step: int
    max_steps: int
    mean_reward: float | None = None
    std_reward: float | None = None


@dataclass(slots=True)
class Progress:
    """How far a run is. `agent_steps_per_second` is the mean over `seconds`, the time since the run was started."""

    behaviors: Mapping[str, BehaviorProgress]
    agent_steps_per_second: float
    seconds: float
    players: int = 1
    phase_shares: Mapping[str, float] = field(default_factory=dict)  # 0 to 1, as Timers.shares() gives them


def make_console(*, debug: bool = False, stream: TextIO | None = None) -> Console:
    """The console for `stream` (default: standard output), with a dashboard if it is a terminal.

    A terminal that cannot move its cursor, or whose encoding has no letters to draw lines, gets plain lines.
    """
    stream = sys.stdout if stream is None else stream
    draws_lines = (stream.encoding or "").lower().startswith("utf")
    if stream.isatty() and draws_lines and os.environ.get("TERM") != "dumb":
        return DashboardConsole(debug=debug, stream=stream)
    return Console(debug=debug, stream=stream)


class Console:
    """Plain lines. With `debug`, each line starts with the time and debug messages are shown."""

    def __init__(self, *, debug: bool, stream: TextIO) -> None:
        self._debug = debug
        self._stream = stream

    def info(self, text: str) -> None:
        self._message("INFO", text)

    def warning(self, text: str) -> None:
        self._message("WARNING", text)

    def debug(self, text: str) -> None:
        if self._debug:
            self._message("DEBUG", text)

    def summary(self, summary: Summary) -> None:
        """ML-Agents' summary line."""
        self.info(summary_line(summary))

    def progress_due(self) -> bool:
        """True if the next `progress` would be shown: whoever finds a Progress costly to gather asks first."""
        return False

    def progress(self, progress: Progress) -> None:
        """Show how far the run is.

        Cheap enough to be called after every step; lines that nobody can redraw do not show it.
        """

    def close(self) -> None:
        """Give the terminal back as it was. Messages may follow."""

    def _message(self, level: str, text: str) -> None:
        timestamp = time.strftime("%Y-%m-%d %H:%M:%S ") if self._debug else ""
        self._write(level, self._encodable(f"{timestamp}[{level}] {text}"))

    def _write(self, level: str, line: str) -> None:
        try:
            print(line, file=self._stream, flush=True)
        except BrokenPipeError:
            # Who read this has gone, as "| head" does: no reason to give up a training.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def _encodable(self, text: str) -> str:
        """`text` with escapes for what the stream's encoding lacks, such as letters that no Windows code page has."""
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        return text.encode(encoding, "backslashreplace").decode(encoding)


class RankConsole(Console):
    """Of one process beside the first, which says everything else: warnings only, and whose they are."""

    def __init__(self, rank: int) -> None:
        super().__init__(debug=False, stream=sys.stderr)
        self._rank = rank

    def info(self, text: str) -> None:
        pass

    def warning(self, text: str) -> None:
        super().warning(f"rank {self._rank}: {text}")


class DashboardConsole(Console):
    """A dashboard that stays at the bottom of a terminal while messages scroll by above it."""

    def __init__(self, *, debug: bool, stream: TextIO) -> None:
        super().__init__(debug=debug, stream=stream)
        import rich.console  # a tenth of a second that only a terminal is worth

        self._rich = rich.console.Console(file=stream, highlight=False, markup=False, emoji=False)
        self._live: Any = None
        self._closed = False
        self._next_refresh = 0.0
        self._speed = _Speed()

    def progress_due(self) -> bool:
        return time.monotonic() >= self._next_refresh

    def progress(self, progress: Progress) -> None:
        if time.monotonic() < self._next_refresh or self._closed:
            return
        self._speed.update(progress)
        if self._live is None:
            self._start()
        self._live.update(self._render(progress), refresh=True)
        # Counted from the end of drawing, so that a slow terminal takes a bounded share of the time.
        self._next_refresh = time.monotonic() + REFRESH_SECONDS

    def close(self) -> None:
        self._closed = True
        if self._live is not None:
            self._live.stop()
            self._live = None
            atexit.unregister(self.close)

    def _start(self) -> None:
        from rich.live import Live

        # What other libraries print is moved above the dashboard, but only where it would have come to this terminal
        # anyway. No refreshing thread: it would take the interpreter from the training.
        self._live = Live(
            console=self._rich,
            auto_refresh=False,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )
        self._live.start()
        atexit.register(self.close)  # else a program that ends by an exception leaves the cursor hidden

    def _write(self, level: str, line: str) -> None:
        # Soft wrap: the line is printed whole and the terminal breaks it, so that copying it gives one line.
        self._rich.print(line, style="yellow" if level == "WARNING" else None, soft_wrap=True)

    def _render(self, progress: Progress) -> Group:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.rule import Rule
        from rich.table import Table
        from rich.text import Text

        width = min(self._rich.width, DASHBOARD_COLUMNS)
        behaviors = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", width=width)
        behaviors.add_column("behavior", style="bold cyan", overflow="fold")
        behaviors.add_column(ratio=1)
        behaviors.add_column(justify="right", no_wrap=True, overflow="crop")
        behaviors.add_column("step", justify="right", overflow="fold")
        behaviors.add_column("mean reward", justify="right", overflow="fold")
        behaviors.add_column("time left", justify="right", overflow="fold")
        for name, behavior in progress.behaviors.items():
            done = min(1.0, behavior.step / behavior.max_steps) if behavior.max_steps > 0 else 1.0
            behaviors.add_row(
                self._encodable(name),
                ProgressBar(total=1.0, completed=done),
                f"{int(done * 100)}%",
                f"{behavior.step:,} / {behavior.max_steps:,}",
                reward_text(behavior),
                duration(self._speed.seconds_left(name, behavior)),
            )
        players = f"{progress.players} player" + ("" if progress.players == 1 else "s")
        rates = f"{self._speed.now(progress):,.0f} agent-steps/s now, {progress.agent_steps_per_second:,.0f} mean"
        lines = [Text(f"{rates}   {players}   {duration(progress.seconds)} elapsed")]
        if progress.phase_shares:
            shares = dict(progress.phase_shares)
            shares["other"] = max(0.0, 1.0 - sum(shares.values()))
            shown = [f"{self._encodable(name)} {share:.0%}" for name, share in shares.items() if share >= 0.005]
            lines.append(Text("   ".join(shown), style="dim"))
        return Group(Rule(style="dim"), behaviors, *lines)


class _Speed:
    """Steps per second of each behavior over the last seconds. It gets the progress a few times a second."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, dict[str, int]]] = deque()  # (seconds, steps)

    def update(self, progress: Progress) -> None:
        samples = self._samples
        samples.append((progress.seconds, {name: behavior.step for name, behavior in progress.behaviors.items()}))
        # The oldest sample stays just outside of the window: after a pause longer than the window there are still two.
        while len(samples) > 2 and samples[1][0] <= progress.seconds - SPEED_WINDOW_SECONDS:
            samples.popleft()

    def of(self, name: str) -> float:
        """Agent steps per second of one behavior; 0 if it is not known yet."""
        (start, first), (end, last) = self._samples[0], self._samples[-1]
        if end <= start or name not in last:
            return 0.0
        return (last[name] - first.get(name, last[name])) / (end - start)

    def now(self, progress: Progress) -> float:
        """Agent steps per second of all behaviors together; the mean since the start before there are two samples."""
        if len(self._samples) < 2:
            return progress.agent_steps_per_second
        return sum(self.of(name) for name in progress.behaviors)

    def seconds_left(self, name: str, behavior: BehaviorProgress) -> float | None:
        """Seconds until `max_steps` at the present speed; None if it is not known yet."""
        steps_left = max(0, behavior.max_steps - behavior.step)
        if steps_left == 0:
            return 0.0
        speed = self.of(name)
        return steps_left / speed if speed > 0 else None


def summary_line(summary: Summary) -> str:
    """ML-Agents' text for one summary, without the level."""
    parts = [summary.behavior_name, f"Step: {summary.step}", f"Time Elapsed: {summary.seconds_elapsed:0.3f} s"]
    if summary.mean_reward is None:
        parts.append("No episode was completed since last summary")
    else:
        parts.append(f"Mean Reward: {summary.mean_reward:0.3f}")
        if summary.mean_group_reward is not None:
            parts.append(f"Mean Group Reward: {summary.mean_group_reward:0.3f}")
        else:
            parts.append(f"Std of Reward: {summary.std_reward:0.3f}")
    parts.append("Training" if summary.is_training else "Not Training")
    return ". ".join(parts) + "."


def duration(seconds: float | None) -> str:
    """`1:02:03` for hours, minutes, seconds; `-:--:--` if it is not known."""
    if seconds is None:
        return "-:--:--"
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}"


def reward_text(behavior: BehaviorProgress) -> str:
    if behavior.mean_reward is None:
        return "-"
    spread = "" if behavior.std_reward is None else f" +- {behavior.std_reward:.2f}"
    return f"{behavior.mean_reward:.2f}{spread}"


@contextlib.contextmanager
def logs_to(console: Console, debug: bool) -> Iterator[None]:
    """What the packages log goes to the console."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say = {logging.DEBUG: console.debug, logging.INFO: console.info}.get(record.levelno, console.warning)
            say(record.getMessage())

    handler = Handler()
    loggers = [logging.getLogger(name) for name in ("bridge", "trainers", "unity_envs")]
    for one in loggers:
        one.addHandler(handler)
        one.setLevel(logging.DEBUG if debug else logging.INFO)
    try:
        yield
    finally:
        for one in loggers:
            one.removeHandler(handler)
