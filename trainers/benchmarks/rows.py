"""One compared figure, and tables of them."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from trainers.benchmarks.goals import GOALS

STORED_MARK = "*"
_Measured = TypeVar("_Measured")


@dataclass(frozen=True)
class Row:
    """One figure of ours beside a peer's.

    Attributes:
        name: what was measured.
        unit: of `ours` and `peer`.
        ours: one value a round.
        peer: the same of the peer; empty if there is nothing to compare with.
        peer_source: "measured": here, alternated with ours; "stored": earlier, on another machine; None: no peer.
        threads: processor cores that each side could use.
        less_is_better: for times and numbers of steps.
        beside: who the peer is, or why there is none.
    """

    name: str
    unit: str
    ours: Sequence[float]
    peer: Sequence[float]
    peer_source: Literal["measured", "stored"] | None
    threads: int
    less_is_better: bool = False
    beside: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times better ours is than the peer, by the medians; above 1 is better, whatever the unit."""
        return self._ratio(statistics.median(self.ours), statistics.median(self.peer)) if self.peer else None

    @property
    def ratio_spread(self) -> tuple[float, float] | None:
        """The least and the greatest ratio of one round; None unless both sides were measured in turn."""
        if self.peer_source != "measured":
            return None
        ratios = [self._ratio(ours, peer) for ours, peer in zip(self.ours, self.peer, strict=True)]
        return min(ratios), max(ratios)

    def to_json(self) -> dict[str, Any]:
        """Medians, with the least and the greatest value as spread and all values beside them."""
        return {
            "name": self.name,
            "ours": statistics.median(self.ours),
            "peer": statistics.median(self.peer) if self.peer else None,
            "ratio": self.ratio,
            "goal": GOALS.get(self.name),
            "unit": self.unit,
            "less_is_better": self.less_is_better,
            "threads": self.threads,
            "peer_source": self.peer_source,
            "beside": self.beside,
            "rounds": len(self.ours),
            "ours_spread": _spread(self.ours),
            "peer_spread": _spread(self.peer),
            "ratio_spread": self.ratio_spread,
            "ours_values": list(self.ours),
            "peer_values": list(self.peer),
        }

    def _ratio(self, ours: float, peer: float) -> float:
        return peer / ours if self.less_is_better else ours / peer


def alternate(
    rounds: int, sides: Mapping[str, Callable[[int], _Measured]], say: Callable[[str], None]
) -> dict[str, list[_Measured]]:
    """Measures the sides in turn, `rounds` times: {name of the side: its results}. A side is called with 1, 2, 3 ..."""
    results: dict[str, list[_Measured]] = {name: [] for name in sides}
    for turn in range(1, rounds + 1):
        for name, measure in sides.items():
            say(f"  round {turn} of {rounds}: {name}")
            results[name].append(measure(turn))
    return results


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows (`Row.to_json`) as a table, to be read in a terminal or rendered; a stored peer is marked."""
    head = ("what", "ours", "peer", "ratio", "goal", "unit", "cores", "rounds", "beside")
    cells = [head] + [
        (
            row["name"],
            _with_spread(row["ours"], row["ours_spread"]),
            "-" if row["peer"] is None else _with_spread(row["peer"], row["peer_spread"]) + _mark(row),
            _ratio_text(row),
            f"{row['goal']:g}" if row.get("goal") else "",
            row["unit"],
            str(row["threads"]),
            str(row["rounds"]),
            row.get("beside", "").replace("|", "/"),
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    sides = "<>>>><>><"  # figures to the right, words to the left
    lines = [
        "".join(f"| {text:{side}{width}} " for text, side, width in zip(line, sides, widths, strict=True)) + "|"
        for line in cells
    ]
    rule = "".join(
        f"| {'-' * (width - 1)}{':' if side == '>' else '-'} " for side, width in zip(sides, widths, strict=True)
    )
    return "\n".join([lines[0], rule + "|", *lines[1:]]) + "\n"


def figure(value: float) -> str:
    """A number with about three digits that count, all of those before the point: 8,432 / 21.3 / 4.56 / 0.0123."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _spread(values: Sequence[float]) -> tuple[float, float] | None:
    return (min(values), max(values)) if values else None


def _with_spread(median: float, spread: Sequence[float]) -> str:
    low, high = spread
    return figure(median) if low == high else f"{figure(median)} [{figure(low)} - {figure(high)}]"


def _mark(row: Mapping[str, Any]) -> str:
    return f" {STORED_MARK}" if row["peer_source"] == "stored" else ""


def _ratio_text(row: Mapping[str, Any]) -> str:
    if row["ratio"] is None:
        return "-"
    spread = row["ratio_spread"]
    several = spread is not None and row["rounds"] > 1
    return f"{row['ratio']:.2f}" + (f" [{spread[0]:.2f} - {spread[1]:.2f}]" if several else "")
