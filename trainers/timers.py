"""Where the time goes: nested phases and gauges, written in ML-Agents' timers.json format.

    timers = Timers()
    with timers.phase("environment"):
        ...
        with timers.phase("wait"):
            ...
    timers.shares()        # {"environment": 0.62}

Entering and leaving a phase costs about a microsecond, so phases may stand inside of the loop over steps.
"""

from __future__ import annotations

import importlib.metadata
import math
import platform
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

TIMER_FORMAT_VERSION = "0.1.0"
_MOST_ENTRIES = 300_000  # some 25 MB as JSON

# Key in timers.json -> distribution whose version it tells.
_VERSIONED = {
    "mlagents_bridge_version": "mlagents-bridge",
    "mlagents_envs_version": "mlagents-envs",
    "pytorch_version": "torch",
    "numpy_version": "numpy",
}


class _Phase:
    """One node of the tree, and its own context manager.

    A phase entered inside of itself is a child of the same name, that is another node, so a node is never open twice
    and one start is enough.
    """

    __slots__ = ("children", "count", "name", "parent", "started", "timers", "total")

    def __init__(self, timers: Timers, name: str, parent: _Phase | None) -> None:
        self.timers = timers
        self.name = name
        self.parent = parent
        self.children: dict[str, _Phase] = {}
        self.total = 0  # nanoseconds
        self.count = 0
        self.started: int | None = None  # nanoseconds; None while the phase is not open

    def __enter__(self) -> _Phase:
        self.timers._current = self
        self.started = self.timers._clock()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.started is not None and self.parent is not None
        elapsed = self.timers._clock() - self.started
        self.total += elapsed
        if self.timers._entries is not None:
            self.timers._entries.append((self.name, self.started, elapsed))
        self.count += 1
        self.started = None
        self.timers._current = self.parent

    def total_at(self, now: int) -> int:
        """Nanoseconds spent here until `now`, the time since an unfinished entry included."""
        return self.total if self.started is None else self.total + now - self.started

    def to_dict(self, now: int) -> dict[str, Any]:
        total = self.total_at(now)
        inside = sum(child.total_at(now) for child in self.children.values())
        node: dict[str, Any] = {"total": total / 1e9, "count": self.count, "self": max(0, total - inside) / 1e9}
        if self.children:
            node["children"] = {name: child.to_dict(now) for name, child in self.children.items()}
        return node


class Timers:
    """A tree of timed phases and a table of gauges, for use from one thread.

    With `traced` each entry of each phase is kept for `trace`, up to the newest 300,000. `clock` gives nanoseconds and
    never goes back; `wall_clock` gives seconds since 1970. `metadata` is written as it is into timers.json: add what
    else should stand there, as strings.
    """

    def __init__(
        self,
        clock: Callable[[], int] = time.perf_counter_ns,
        wall_clock: Callable[[], float] = time.time,
        *,
        traced: bool = False,
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self.traced = traced
        self._entries: deque[tuple[str, int, int]] | None = deque(maxlen=_MOST_ENTRIES) if traced else None
        self._root = _Phase(self, "root", None)
        self._root.started = clock()
        self._root.count = 1
        self._current = self._root
        self._gauges: dict[str, dict[str, float]] = {}
        self.metadata: dict[str, str] = {
            "timer_format_version": TIMER_FORMAT_VERSION,
            "start_time_seconds": str(int(wall_clock())),
            "python_version": platform.python_version(),
            "command_line_arguments": " ".join(sys.argv),
        }

    @property
    def seconds(self) -> float:
        """Seconds since these timers were made."""
        return self._root.total_at(self._clock()) / 1e9

    def phase(self, name: str) -> _Phase:
        """`with timers.phase(name):` counts the time of the block under `name`, inside of the phase now open."""
        current = self._current
        phase = current.children.get(name)
        if phase is None:
            phase = current.children[name] = _Phase(self, name, current)
        return phase

    def shares(self) -> dict[str, float]:
        """Share (0 to 1) of the wall time since the start that each top-level phase took.

        What is missing to 1 was spent in no phase.
        """
        now = self._clock()
        elapsed = max(1, self._root.total_at(now))
        return {name: phase.total_at(now) / elapsed for name, phase in self._root.children.items()}

    def trace(self) -> dict[str, Any]:
        """Every entry that was kept as an event of Chrome's trace format, which profilers draw as a flame graph."""
        began = self._root.started or 0
        events = [
            {"name": name, "ph": "X", "ts": (start - began) / 1e3, "dur": elapsed / 1e3, "pid": 1, "tid": 1}
            for name, start, elapsed in self._entries or ()
        ]
        return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": self.metadata}

    def gauge(self, name: str, value: float) -> None:
        """Keep the newest value of `name`, with its least, its greatest, and how often it was set.

        NaN and infinity are left out, as JSON has neither.
        """
        if not math.isfinite(value):
            return
        gauge = self._gauges.get(name)
        if gauge is None:
            self._gauges[name] = {"value": value, "min": value, "max": value, "count": 1}
        else:
            gauge["value"] = value
            gauge["min"] = min(gauge["min"], value)
            gauge["max"] = max(gauge["max"], value)
            gauge["count"] += 1

    def to_dict(self) -> dict[str, Any]:
        """The content of timers.json: root with gauges, metadata and the tree of phases; times in seconds."""
        metadata = {**self.metadata, **_versions(), "end_time_seconds": str(int(self._wall_clock()))}
        return {"name": "root", "gauges": self._gauges, "metadata": metadata, **self._root.to_dict(self._clock())}


def _versions() -> dict[str, str]:
    versions = {}
    for key, distribution in _VERSIONED.items():
        try:
            versions[key] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:  # run from a source tree that was never installed
            versions[key] = "unknown"
    return versions
