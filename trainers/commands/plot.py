"""`mlbridge plot`: the learning curves of runs as a picture."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from trainers.curves import Curve, smooth, together
from trainers.errors import UsageError, did_you_mean
from trainers.report import CUMULATIVE_REWARD, EPISODE_LENGTH
from trainers.run_folder import write_whole

Band = tuple[np.ndarray, np.ndarray]  # lowest and highest values [points]

DEFAULT_OUTPUT = "learning_curve.png"
FORMATS = (".png", ".svg", ".pdf")
AXIS_LABELS = {
    CUMULATIVE_REWARD: "mean cumulative reward per episode",
    EPISODE_LENGTH: "mean episode length (decisions - 1)",
}
# Okabe and Ito's colours, which colour-blind readers tell apart; their yellow is left out, too pale for a line.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MOST_BANDS = 4  # the bands of more curves would cover each other


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN_FOLDER", nargs="+", type=Path, help="folder of a run, such as results/ID")
    parser.add_argument(
        "--output",
        metavar="FILE.png",
        type=Path,
        help=f"picture to write: .png, .svg or .pdf (default: {DEFAULT_OUTPUT} in the first RUN_FOLDER)",
    )
    parser.add_argument("--tag", default=CUMULATIVE_REWARD, help="TensorBoard tag to draw (default: %(default)s)")
    parser.add_argument(
        "--group",
        metavar="PREFIX",
        action="append",
        default=[],
        help="runs whose names begin with PREFIX are seeds of one curve: their median, a band from the lowest to the "
        "highest; can be repeated (default: none)",
    )
    parser.add_argument(
        "--smoothing",
        type=float,
        default=0.0,
        metavar="W",
        help="weight of what was before, 0 to 1, as TensorBoard smooths (default: %(default)g)",
    )


def run(arguments: argparse.Namespace) -> int:
    runs: list[Path] = arguments.runs
    output: Path = arguments.output or runs[0] / DEFAULT_OUTPUT
    if not 0.0 <= arguments.smoothing < 1.0:
        raise UsageError(f"--smoothing {arguments.smoothing:g}: give a number from 0 to below 1")
    curves: dict[Path, dict[str, Curve]] = {}
    spreads: dict[Path, dict[str, Curve]] = {}
    for folder in runs:
        events = _load(folder)
        curves[folder], spreads[folder] = _curves(folder, events, arguments.tag), _spreads(events, arguments.tag)
    labels = _labels(curves)
    bands: dict[str, Band] = {}
    groups, alone = _groups(labels, arguments.group)
    drawn: dict[str, Curve] = {}
    for label, members in groups.items():
        try:
            curve, *band = together([smooth(curves[folder][name], arguments.smoothing) for _, folder, name in members])
        except ValueError as error:
            raise UsageError(
                f"--group {label}: {error}: {', '.join(str(folder) for _, folder, _ in members)}"
            ) from error
        label = f"{label} ({len(members)} runs)"
        drawn[label], bands[label] = curve, (band[0], band[1])
    drawn |= {label: smooth(curves[folder][behavior], arguments.smoothing) for label, folder, behavior in alone}
    draw(
        drawn,
        output,
        spreads={label: spreads[folder][behavior] for label, folder, behavior in alone if behavior in spreads[folder]},
        bands=bands,
        title=_title(labels),
        y_label=AXIS_LABELS.get(arguments.tag, arguments.tag),
    )
    print(f"Learning curve written to {output}")
    return 0


def read_curve(run_folder: Path, tag: str = CUMULATIVE_REWARD) -> dict[str, Curve]:
    """The values of `tag` in a run: behavior name -> (steps [points], values [points]), sorted by step.

    The event files of a resumed run are one curve; where two have the same step the later file wins. A behavior without
    the tag is left out. Raises UsageError if there is no such folder, no events, or no behavior with the tag.
    """
    return _curves(run_folder, _load(run_folder), tag)


def draw(
    curves: Mapping[str, Curve],
    output: Path,
    *,
    spreads: Mapping[str, Curve] | None = None,
    bands: Mapping[str, Band] | None = None,
    title: str = "Learning curve",
    y_label: str = AXIS_LABELS[CUMULATIVE_REWARD],
) -> None:
    """Draw curves (label -> steps, values) into the file `output`.

    `spreads` (label -> steps, standard deviations) adds a band of one standard deviation around the curves it names,
    `bands` (label -> lowest, highest, at the curve's steps) one between these; with these there are no others.
    Raises UsageError if matplotlib is missing, the ending of `output` is no picture's, or it cannot be written.
    """
    if output.suffix.lower() not in FORMATS:
        raise UsageError(f"{output}: the name of a picture must end in one of {', '.join(FORMATS)}")
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import EngFormatter
    except ImportError as error:
        raise UsageError("plotting needs matplotlib: pip install 'mlagents-bridge[plot]'") from error

    # A Figure without pyplot has no window and no state that outlives it; savefig picks the Agg backend.
    figure = Figure(figsize=(9, 5.2), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    bands = bands or {}
    spreads = spreads if spreads and not bands and len(curves) <= MOST_BANDS else {}
    handles = []
    for index, (label, (steps, values)) in enumerate(curves.items()):
        color = COLORS[index % len(COLORS)]
        style = ("-", "--", ":")[index // len(COLORS) % 3]
        marker = "o" if len(steps) == 1 else None  # one point makes no line
        handles += axes.plot(steps, values, color=color, linestyle=style, linewidth=2, marker=marker, zorder=3)
        if label in spreads:
            deviation = _at_steps(spreads[label], steps)
            axes.fill_between(steps, values - deviation, values + deviation, color=color, alpha=0.15, linewidth=0)
        if label in bands:
            axes.fill_between(steps, *bands[label], color=color, alpha=0.15, linewidth=0)
    if len(curves) > 1:
        axes.legend(handles, [_plain(label) for label in curves], frameon=False, loc="best")
    axes.set_title(_plain(title), loc="left", fontsize=13, fontweight="bold", pad=12)
    axes.set_xlabel("agent steps (decisions)")
    axes.set_ylabel(_plain(y_label))
    if bands or spreads:
        text = "line: median, band: lowest to highest run" if bands else "band: ± one standard deviation"
        axes.set_title(text, loc="right", fontsize=9, color="#666666", pad=12)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlim(left=0)
    axes.grid(color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    image_format = output.suffix.lower().lstrip(".")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_whole(output, lambda path: figure.savefig(path, format=image_format, dpi=150))
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror or error}") from error


def _curves(run_folder: Path, loaded: Mapping[str, Any], tag: str) -> dict[str, Curve]:
    curves: dict[str, Curve] = {}
    known_tags: set[str] = set()
    for behavior, events in loaded.items():
        known_tags.update(events.Tags()["scalars"])
        if tag in events.Tags()["scalars"]:
            curves[behavior] = _sorted_curve((event.step, event.value) for event in events.Scalars(tag))
    if not curves:
        tags = ", ".join(sorted(known_tags)) or "none yet"
        raise UsageError(f"{run_folder} has no values of the tag '{tag}'{did_you_mean(tag, known_tags)} (tags: {tags})")
    return curves


def _spreads(loaded: Mapping[str, Any], tag: str) -> dict[str, Curve]:
    """The standard deviation behind each point, for the behaviors whose events have a histogram of the tag."""
    spreads: dict[str, Curve] = {}
    for behavior, events in loaded.items():
        if f"{tag}_hist" in events.Tags()["histograms"]:
            histograms = ((event.step, event.histogram_value) for event in events.Histograms(f"{tag}_hist"))
            spreads[behavior] = _sorted_curve((step, _standard_deviation(histogram)) for step, histogram in histograms)
    return spreads


def _load(run_folder: Path) -> dict[str, Any]:
    """Behavior name -> its events, in TensorBoard's EventAccumulator. A behavior's own folder is taken, too."""
    if not run_folder.is_dir():
        raise UsageError(f"{run_folder}: no such folder; name the folder of a run, such as results/ID")
    folders = [run_folder, *sorted(child for child in run_folder.iterdir() if child.is_dir())]
    folders = [folder for folder in folders if any(folder.glob("*tfevents*"))]
    if not folders:
        raise UsageError(
            f"{run_folder} has no TensorBoard events (no */events.out.tfevents.* in it): is it a run's folder?"
        )
    from tensorboard.backend.event_processing import event_accumulator as accumulator  # half a second

    everything = {accumulator.SCALARS: 0, accumulator.HISTOGRAMS: 0, accumulator.COMPRESSED_HISTOGRAMS: 1}
    loaded: dict[str, Any] = {}
    for folder in folders:
        events = accumulator.EventAccumulator(str(folder), size_guidance=everything)
        with _quiet_reader():
            loaded[folder.resolve().name] = events.Reload()
    return loaded


@contextmanager
def _quiet_reader() -> Iterator[None]:
    """The reader warns of every purge, which is what resuming a run means."""
    logger = logging.getLogger("tensorboard")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _sorted_curve(points: Iterable[tuple[int, float]]) -> Curve:
    by_step = dict(points)  # in the order of writing, so the later value of a step stays
    steps = np.array(sorted(by_step), dtype=np.int64)
    return steps, np.array([by_step[int(step)] for step in steps], dtype=np.float64)


def _standard_deviation(histogram: Any) -> float:
    """The exact one: the histogram keeps the sum and the sum of squares of its values."""
    mean = histogram.sum / histogram.num
    return float(np.sqrt(max(0.0, histogram.sum_squares / histogram.num - mean**2)))


def _at_steps(spread: Curve, steps: np.ndarray) -> np.ndarray:
    """The deviations [points] of the given steps; NaN, which is not drawn, where there is none."""
    by_step = dict(zip(spread[0].tolist(), spread[1].tolist(), strict=True))
    return np.array([by_step.get(step, np.nan) for step in steps.tolist()])


def _labels(curves: Mapping[Path, Mapping[str, Curve]]) -> list[tuple[str, Path, str]]:
    """(label, folder, behavior) of each curve: what tells it from the others, and no more."""
    names = [folder.resolve().name for folder in curves]
    distinct = len(set(names)) == len(names)
    behaviors = {behavior for of_run in curves.values() for behavior in of_run}
    labels = []
    for name, (folder, of_run) in zip(names, curves.items(), strict=True):
        run_label = name if distinct else str(folder)
        for behavior in of_run:
            if len(curves) == 1:
                label = behavior
            elif len(behaviors) == 1:
                label = run_label
            else:
                label = f"{run_label} / {behavior}"
            labels.append((label, folder, behavior))
    return labels


def _groups(
    labels: list[tuple[str, Path, str]], prefixes: list[str]
) -> tuple[dict[str, list[tuple[str, Path, str]]], list[tuple[str, Path, str]]]:
    """Of the labels, those that go together, by the name of their curve, and those that stay alone."""
    behaviors = {behavior for _, _, behavior in labels}
    groups: dict[str, list[tuple[str, Path, str]]] = {}
    alone, used = [], set()
    for label in labels:
        _, folder, behavior = label
        fitting = [prefix for prefix in prefixes if folder.resolve().name.startswith(prefix)]
        if fitting:
            prefix = max(fitting, key=len)
            used.add(prefix)
            name = prefix.rstrip("-_. ") or prefix
            groups.setdefault(name if len(behaviors) == 1 else f"{name} / {behavior}", []).append(label)
        else:
            alone.append(label)
    for prefix in prefixes:
        if prefix not in used:
            names = ", ".join(dict.fromkeys(folder.resolve().name for _, folder, _ in labels))
            raise UsageError(f"--group {prefix}: no run's name begins so; the runs are {names}")
    return groups, alone


def _title(labels: list[tuple[str, Path, str]]) -> str:
    behaviors = {behavior for _, _, behavior in labels}
    folders = {folder for _, folder, _ in labels}
    title = "Learning curve" if len(labels) == 1 else "Learning curves"
    if len(behaviors) == 1:
        title += f" of {behaviors.pop()}"
    return f"{title}, run {folders.pop().resolve().name}" if len(folders) == 1 else title


def _plain(text: str) -> str:
    """`text` so that matplotlib shows it as it is: a dollar starts a formula, a leading underscore hides a label."""
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
