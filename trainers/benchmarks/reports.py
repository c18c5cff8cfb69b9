"""What is done with measured figures: the report as JSON and as a table, and its check against an earlier one.

A report is what `mlbridge bench --json` writes: machine, versions, commit, date, load, and one object a row
(`rows.Row.to_json`) with its suite.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainers.benchmarks.machine import in_words
from trainers.benchmarks.official import STORED_NOTE
from trainers.benchmarks.rows import STORED_MARK, markdown_table
from trainers.errors import UsageError

Report = dict[str, Any]


def read(path: Path, flag: str) -> Report:
    """A report from its file. Raises UsageError, naming the flag, if it is none."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{flag} {path}: cannot be read ({error.strerror}); `mlbridge bench --json` writes it"
        ) from error
    except ValueError as error:
        raise UsageError(f"{flag} {path}: this is no JSON ({error}); `mlbridge bench --json` writes it") from error
    if not isinstance(report, dict) or not isinstance(report.get("rows"), list):
        raise UsageError(f"{flag} {path}: this is no report; `mlbridge bench --json` writes one")
    return report


def in_markdown(report: Report) -> str:
    """The table with what has to be said about it."""
    rows = report["rows"]
    notes = ["Medians with the least and the greatest value; ratio: how many times better ours is, whatever the unit."]
    if any(row.get("goal") for row in rows):
        notes.append("Goal: the least ratio that is aimed at on two cores with AVX-512.")
    if report["peer_versions"] is not None:
        versions = ", ".join(f"{name} {version}" for name, version in report["peer_versions"].items())
        notes.append(f"Peer: mlagents-learn, measured in turn with ours on this machine ({versions}).")
    if any(row["peer_source"] == "stored" for row in rows):
        notes.append(f"{STORED_MARK} {STORED_NOTE}".replace("*", "\\*", 1))
    notes += [f"Not measured: {suite}: {reason}" for suite, reason in report.get("not_measured", {}).items()]
    if report.get("load"):
        before, after = report["load"]
        notes.append(f"Load average of the machine: {before:.1f} before, {after:.1f} after, the bench's own included.")
    notes.append(in_words(report))
    return "\n".join([markdown_table(rows), *(f"{note}\n" for note in notes)])


def regressions(
    new: Sequence[dict[str, Any]], old: Sequence[dict[str, Any]], tolerance: float
) -> tuple[list[str], int]:
    """A sentence for each row whose ratio is by more than the share `tolerance` below that of the row of this name.

    Compared are rows whose peer was measured both times; second: how many those were.
    """
    before = {row["name"]: row for row in old if row["peer_source"] == "measured"}
    worse, compared = [], 0
    for row in new:
        then = before.get(row["name"])
        if then is None or row["peer_source"] != "measured":
            continue
        compared += 1
        least = then["ratio"] * (1.0 - tolerance)
        if row["ratio"] < least:
            worse.append(f"{row['name']}: ratio {row['ratio']:.2f}, was {then['ratio']:.2f}, least {least:.2f}")
    return worse, compared
