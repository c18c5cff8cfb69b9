"""Pictures of a report: ratios beside their goals, and how costs grow."""

import re
from pathlib import Path
from typing import Any

from trainers.errors import UsageError
from trainers.run_folder import write_whole

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"
# Rows of the suite `growth`: (file, title, pattern of the name whose first group is what grows, label, unit).
_CURVES = (
    ("growth_exchange", "An exchange by agents", r"an exchange, ([\d,]+) agents", "agents", "us"),
    ("growth_players", "The fleet by players", r"the fleet, (\d+) canned players.*", "players", "agent-steps/s"),
    (
        "growth_network",
        "A minibatch by units a layer",
        r"ppo_step (\d+)x2 b64, 8 observations.*",
        "units a layer",
        "us",
    ),
    (
        "growth_observations",
        "A minibatch by observations",
        r"ppo_step 128x2 b64, (\d+) observations.*",
        "numbers that an agent sees",
        "us",
    ),
    (
        "growth_training",
        "In-process training by agents",
        r"training in process, ([\d,]+) agents",
        "agents",
        "agent-steps/s",
    ),
    ("growth_memory", "Memory by agents", r"memory of a training in process, ([\d,]+) agents", "agents", "MiB"),
)


def draw(report: dict[str, Any], folder: Path) -> list[Path]:
    """Writes what the report has figures for into `folder`; returns the files.

    Raises UsageError if matplotlib is missing or the folder cannot be written to.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("--plots needs matplotlib: pip install 'mlagents-bridge[plot]'") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--plots {folder}: cannot be made ({error.strerror})") from error
    figures = {}
    suites = dict.fromkeys(row.get("suite", "ratios") for row in report["rows"])
    for suite in suites:
        rows = [row for row in report["rows"] if row.get("suite", "ratios") == suite and row["ratio"] is not None]
        if rows and suite != "growth":
            figures[f"ratios_{suite}"] = _ratios(Figure, suite, rows)
    for name, title, pattern, label, unit in _CURVES:
        points = _points(report["rows"], pattern, unit)
        if points:
            figures[name] = _curve(Figure, title, label, unit, points)
    written = []
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        try:
            write_whole(path, lambda file, figure=figure: figure.savefig(file, format="png", dpi=130))
        except OSError as error:
            raise UsageError(f"--plots {folder}: cannot write {path.name} ({error.strerror})") from error
        written.append(path)
    return written


def _points(rows: list[dict[str, Any]], pattern: str, unit: str) -> list[tuple[int, dict[str, Any]]]:
    found = [(re.fullmatch(pattern, row["name"]), row) for row in rows if row["unit"] == unit]
    return sorted(((int(match[1].replace(",", "")), row) for match, row in found if match), key=lambda pair: pair[0])


def _ratios(make_figure: Any, suite: str, rows: list[dict[str, Any]]) -> Any:
    figure = make_figure(figsize=(9, 1.2 + 0.42 * len(rows)), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    places = range(len(rows))
    colors = [GREY if row["peer_source"] == "stored" else BLUE for row in rows]
    axes.barh(places, [row["ratio"] for row in rows], color=colors, height=0.6, zorder=2)
    for place, row in zip(places, rows, strict=True):
        low, high = row["ratio_spread"] or (row["ratio"], row["ratio"])
        axes.plot([low, high], [place, place], color="black", linewidth=1, zorder=3)
        if row.get("goal"):
            axes.plot([row["goal"]] * 2, [place - 0.4, place + 0.4], color=ORANGE, linewidth=2.5, zorder=4)
    axes.set_yticks(list(places), [row["name"] for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xlabel("times better than the peer (black: spread of rounds; orange: goal; grey: stored peer)")
    axes.set_title(f"mlbridge bench: {suite}", loc="left", fontweight="bold")
    _plain_frame(axes)
    return figure


def _curve(make_figure: Any, title: str, label: str, unit: str, points: list[tuple[int, dict[str, Any]]]) -> Any:
    figure = make_figure(figsize=(7, 4.2), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    sizes = [size for size, _ in points]
    for key, color in (("ours", BLUE), ("peer", ORANGE)):
        values = [row[key] for _, row in points]
        if None in values:
            continue
        legend = key if key == "ours" else points[0][1].get("beside") or "peer"
        axes.plot(sizes, values, marker="o", color=color, label=legend)
        low, high = zip(*(row[f"{key}_spread"] for _, row in points), strict=True)
        axes.fill_between(sizes, low, high, color=color, alpha=0.15, linewidth=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(label)
    axes.set_ylabel(unit)
    axes.set_title(title, loc="left", fontweight="bold")
    axes.legend(frameon=False)
    _plain_frame(axes)
    return figure


def _plain_frame(axes: Any) -> None:
    axes.grid(color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
