"""Statistics of one behavior: gathered between two summaries, written as TensorBoard events with ML-Agents' tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from trainers.charts import Charts
from trainers.timers import Timers

CUMULATIVE_REWARD = "Environment/Cumulative Reward"
GROUP_CUMULATIVE_REWARD = "Environment/Group Cumulative Reward"
Statistics = dict[str, tuple[int, np.ndarray]]  # tag to (one of `Aggregation`, values)
EPISODE_LENGTH = "Environment/Episode Length"
HYPERPARAMETERS = "Hyperparameters/text_summary"


class Aggregation(IntEnum):
    """How the values of one tag become one number; the numbers are those of ML-Agents' stats side channel."""

    AVERAGE = 0
    MOST_RECENT = 1
    SUM = 2
    HISTOGRAM = 3  # the average, and the histogram beside it under the tag + "_hist"


@dataclass
class Summary:
    """One summary of one behavior.

    Rewards are per completed episode and None if no episode was completed since the last summary.
    """

    behavior_name: str
    step: int
    mean_reward: float | None
    std_reward: float | None
    mean_group_reward: float | None
    episodes: int
    seconds_elapsed: float
    is_training: bool


@dataclass(slots=True)
class _Statistic:
    """The values of one tag since the last summary; how they become one number is what the newest of them asks for."""

    aggregation: Aggregation
    batches: list[np.ndarray] = field(default_factory=list)

    def values(self) -> np.ndarray:
        return np.concatenate(self.batches)

    def scalar(self) -> float:
        values = self.values()
        if self.aggregation is Aggregation.SUM:
            return float(values.sum())
        return float(values[-1] if self.aggregation is Aggregation.MOST_RECENT else values.mean())


class Report:
    """Gathers the statistics of one behavior and writes them at each summary into `behavior_folder`.

    A tag that got no value since the last summary is not written, so losses appear only in summaries after an update.
    With `resume_step` (the step that training goes on from) events of a former run beyond that step are hidden by
    TensorBoard, so that no step is shown twice. `timers` gives the elapsed time and receives every mean and sum as a
    gauge; without it the time runs from the construction.
    """

    def __init__(
        self,
        behavior_folder: Path,
        behavior_name: str,
        *,
        resume_step: int = 0,
        timers: Timers | None = None,
        scalars: Path | None = None,
        writes: bool = True,
    ) -> None:
        """`scalars`: a CSV file for all scalars as well, a line `step,tag,value` each. Without `writes` no file is
        written: of several processes one is enough."""
        self.behavior_name = behavior_name
        self.last_summary: Summary | None = None
        self._timers = timers if timers is not None else Timers()
        self._resume_step = resume_step
        self._last = resume_step, self._timers.seconds  # step and time of the last summary
        self._statistics: dict[str, _Statistic] = {}
        self._charts = Charts(behavior_folder, resume_step, scalars) if writes else None

    def episodes(self, rewards: ArrayLike, lengths: ArrayLike, group_rewards: ArrayLike | None = None) -> None:
        """Count completed episodes.

        `rewards` [episodes] are sums over the episode, `lengths` [episodes] are decisions (the tag shows decisions - 1,
        as ML-Agents does), `group_rewards` [groups] are sums over the episode of a group that is done.
        """
        self._add(CUMULATIVE_REWARD, rewards, Aggregation.HISTOGRAM)
        self._add(EPISODE_LENGTH, np.asarray(lengths, dtype=np.float64) - 1, Aggregation.AVERAGE)
        if group_rewards is not None:
            self._add(GROUP_CUMULATIVE_REWARD, group_rewards, Aggregation.HISTOGRAM)

    def add(self, tag: str, value: float) -> None:
        """One more value of `tag`; the summary shows the mean."""
        self._add(tag, value, Aggregation.AVERAGE)

    def add_array(self, tag: str, values: ArrayLike) -> None:
        """More values of `tag`, of any shape; the summary shows the mean over all of them."""
        self._add(tag, values, Aggregation.AVERAGE)

    def player_statistics(self, statistics: Mapping[str, Sequence[tuple[float, int]]]) -> None:
        """Values that players sent over the stats side channel: tag -> list of (value, one of `Aggregation`)."""
        for tag, entries in statistics.items():
            for value, aggregation in entries:
                # mlagents_envs' StatsAggregationMethod is an Enum but no int.
                self._add(tag, value, Aggregation(getattr(aggregation, "value", aggregation)))

    def text(self, tag: str, text: str) -> None:
        """Write `text` (markdown) at once, at the step that this run started from.

        TensorBoard files texts under `<name>/text_summary`.
        """
        if self._charts is not None:
            self._charts.text(self._resume_step, tag.removesuffix("/text_summary"), text)
            self._charts.flush()

    def film(self, step: int, tag: str, gif: bytes, size: tuple[int, int]) -> None:
        """Write a GIF whose pictures have that width and height at once, among TensorBoard's images."""
        if self._charts is not None:
            self._charts.film(step, tag, gif, size)
            self._charts.flush()

    def take(self) -> Statistics:
        """What was gathered since the last call or summary, and is now another's to `put`."""
        taken = {tag: (int(one.aggregation), one.values()) for tag, one in self._statistics.items()}
        self._statistics.clear()
        return taken

    def put(self, statistics: Statistics) -> None:
        """What `take` gave, here or in another process."""
        for tag, (aggregation, values) in statistics.items():
            self._add(tag, values, Aggregation(aggregation))

    def write(self, step: int, is_training: bool) -> Summary:
        """Write what was gathered since the last call as events of `step` (agent decisions), and start anew.

        With it goes how fast the run is: agent steps a second since the last call, and the share of the run's time
        that each phase took.
        """
        seconds = self._timers.seconds
        if seconds > self._last[1]:
            self.add("Performance/Agent Steps per Second", (step - self._last[0]) / (seconds - self._last[1]))
        self._last = step, seconds
        for phase, share in self._timers.shares().items():
            self.add(f"Performance/Share of {phase.capitalize()}", share)
        for tag, statistic in self._statistics.items() if self._charts is not None else ():
            values = statistic.values()
            self._charts.scalar(step, tag, statistic.scalar())
            if statistic.aggregation is Aggregation.HISTOGRAM:
                finite = values[np.isfinite(values)]  # NaN and infinity fit no histogram; the scalar shows them
                if finite.size:
                    self._charts.histogram(step, tag + "_hist", finite)
            gauge = f"{self.behavior_name}.{tag}".replace("/", ".").replace(" ", "")
            self._timers.gauge(gauge + ".mean", float(values.mean()))
            self._timers.gauge(gauge + ".sum", float(values.sum()))
        if self._charts is not None:
            self._charts.flush()
        self.last_summary = self._summary(step, is_training)
        self._statistics.clear()
        return self.last_summary

    def close(self) -> None:
        """Write what is still on its way and close the files."""
        if self._charts is not None:
            self._charts.close()

    def _add(self, tag: str, values: ArrayLike, aggregation: Aggregation) -> None:
        # A copy, since the caller may reuse its buffer before the summary.
        array = np.array(values, dtype=np.float64).reshape(-1)
        if array.size:
            statistic = self._statistics.setdefault(tag, _Statistic(aggregation))
            statistic.aggregation = aggregation
            statistic.batches.append(array)

    def _values(self, tag: str) -> np.ndarray:
        return self._statistics[tag].values() if tag in self._statistics else np.empty(0)

    def _summary(self, step: int, is_training: bool) -> Summary:
        rewards, group_rewards = self._values(CUMULATIVE_REWARD), self._values(GROUP_CUMULATIVE_REWARD)
        return Summary(
            behavior_name=self.behavior_name,
            step=step,
            mean_reward=float(rewards.mean()) if rewards.size else None,
            std_reward=float(rewards.std()) if rewards.size else None,
            mean_group_reward=float(group_rewards.mean()) if group_rewards.size else None,
            episodes=rewards.size,
            seconds_elapsed=self._timers.seconds,
            is_training=is_training,
        )


def hyperparameters_markdown(settings: Mapping[str, Any]) -> str:
    """The settings of a behavior as a markdown table, one row a setting, nested keys joined by dots."""
    rows = [f"| {key} | {_cell(value)} |" for key, value in _flatten(settings)]
    return "\n".join(["| setting | value |", "|:---|:---|", *rows])


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            rows += _flatten(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", value))
    return rows


def _cell(value: Any) -> str:
    """A value as text that cannot break out of its table cell."""
    return str(value).replace("|", "\\|").replace("\n", " ")
