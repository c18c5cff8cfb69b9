"""`mlbridge bench`: measures speed beside the official trainer, which is asked in turn with ours."""

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers.benchmarks import SUITES, Context, suite
from trainers.errors import UsageError
from trainers.run_folder import write_text_whole

if TYPE_CHECKING:
    from trainers.benchmarks.rows import Row

DEFAULT_ROUNDS = 3
DEFAULT_STEPS = 48_000
LEAST_STEPS = 24_000  # two summaries: speed is what lies between the first and the last


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "suites:\n" + "\n".join(f"  {name:<10}  {text}" for name, text in SUITES.items())
    parser.add_argument(
        "--only", metavar="SUITE", action="append", help="measure this suite; can be repeated (default: all suites)"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every figure to this file (default: none)")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="write the table to this file (default: none)")
    parser.add_argument(
        "--peer-python",
        metavar="PATH",
        help="Python of an environment with mlagents 1.1.0, to measure it beside ours "
        "(default: environment variable MLBRIDGE_PEER_PYTHON; without it, stored figures)",
    )
    parser.add_argument(
        "--rounds", type=int, default=DEFAULT_ROUNDS, metavar="N", help="how often (default: %(default)s)"
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=DEFAULT_STEPS,
        metavar="N",
        help=f"agent steps of a training that measures speed, {LEAST_STEPS} or more (default: %(default)s)",
    )
    parser.add_argument(
        "--full", action="store_true", help="also train until mean reward 95, minutes a round (default: off)"
    )


def run(arguments: argparse.Namespace) -> int:
    names = arguments.only or list(SUITES)
    suites = [suite(name) for name in dict.fromkeys(names)]
    for flag, least in (("rounds", 1), ("steps", LEAST_STEPS)):
        if getattr(arguments, flag) < least:
            raise UsageError(f"--{flag} {getattr(arguments, flag)}: must be {least} or more")
    for flag in ("json", "markdown"):
        _check_output(f"--{flag}", getattr(arguments, flag))

    from trainers.benchmarks import machine
    from trainers.benchmarks.official import find_official

    official = find_official(arguments.peer_python)
    # A player that has just lost its trainer may still be writing its log there.
    with tempfile.TemporaryDirectory(prefix="mlbridge-bench-", ignore_cleanup_errors=True) as folder:
        context = Context(official, arguments.rounds, arguments.steps, arguments.full, Path(folder))
        facts = machine.describe()
        rows = [row for measure in suites for row in measure(context)]

    report = {**facts, "peer_versions": None if official is None else official.versions, "rows": []}
    report["rows"] = [row.to_json() for row in rows]
    text = _markdown(rows, report)
    print(text, end="")
    if arguments.json is not None:
        write_text_whole(arguments.json, json.dumps(report, indent=2) + "\n")
    if arguments.markdown is not None:
        write_text_whole(arguments.markdown, text)
    return 0


def _markdown(rows: "list[Row]", report: dict[str, Any]) -> str:
    """The table with what has to be said about it."""
    from trainers.benchmarks.machine import in_words
    from trainers.benchmarks.official import STORED_NOTE
    from trainers.benchmarks.rows import STORED_MARK, markdown_table

    notes = ["Medians with the least and the greatest value; ratio: how many times better ours is, whatever the unit."]
    if report["peer_versions"] is not None:
        versions = ", ".join(f"{name} {version}" for name, version in report["peer_versions"].items())
        notes.append(f"Peer: mlagents-learn, measured in turn with ours on this machine ({versions}).")
    if any(row.peer_source == "stored" for row in rows):
        notes.append(f"{STORED_MARK} {STORED_NOTE}".replace("*", "\\*", 1))
    notes.append(in_words(report))
    return "\n".join([markdown_table(rows), *(f"{note}\n" for note in notes)])


def _check_output(flag: str, path: Path | None) -> None:
    """Before anything is measured: a file that cannot be written would be noticed after minutes only."""
    if path is None:
        return
    if path.is_dir():
        raise UsageError(f"{flag} {path}: this is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise UsageError(f"{flag} {path}: there is no folder {path.parent}; create it first")
