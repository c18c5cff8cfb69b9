"""`mlbridge bench`: measures speed beside peers, which are asked in turn with ours."""

import argparse
import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers.benchmarks import PARTS, SUITES, Context, suite
from trainers.errors import UsageError
from trainers.run_folder import write_text_whole

if TYPE_CHECKING:
    from trainers.benchmarks.rows import Row

DEFAULT_ROUNDS = 3
DEFAULT_STEPS = 48_000
DEFAULT_TOLERANCE = 0.3  # two runs on one idle machine differ by up to about a fifth
LEAST_STEPS = 24_000  # two summaries: speed is what lies between the first and the last


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    lines = [f"  {name:<10}  {text}" for name, text in SUITES.items()]
    lines += ["parts of training, for --only:"] + [f"  {name:<10}  {text}" for name, text in PARTS.items()]
    parser.epilog = "suites:\n" + "\n".join(lines)
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
        "--seconds",
        type=float,
        default=0.5,
        metavar="S",
        help="how long each of the measurements of exchanges takes, five a round (default: %(default)s)",
    )
    parser.add_argument("--plots", metavar="FOLDER", type=Path, help="draw the figures into it (default: none)")
    parser.add_argument(
        "--check",
        metavar="FILE",
        type=Path,
        help="compare the ratios with those of this earlier --json FILE; exit code 1 if one is worse (default: none)",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=DEFAULT_TOLERANCE,
        metavar="SHARE",
        help="by how much of it a ratio may be lower with --check (default: %(default)s)",
    )
    parser.add_argument(
        "--from",
        dest="source",
        metavar="FILE",
        type=Path,
        help="measure nothing; take the figures of this --json FILE, to draw or check them (default: none)",
    )
    parser.add_argument(
        "--no-install",
        action="store_true",
        help="make no environments for Stable-Baselines3, JAX and mlagents_envs; use those there (default: off)",
    )
    parser.add_argument(
        "--full", action="store_true", help="also train until mean reward 95, minutes a round (default: off)"
    )


def run(arguments: argparse.Namespace) -> int:
    names = arguments.only or list(SUITES)
    suites = {name: suite(name) for name in dict.fromkeys(names)}
    for flag, least in (("rounds", 1), ("steps", LEAST_STEPS)):
        if getattr(arguments, flag) < least:
            raise UsageError(f"--{flag} {getattr(arguments, flag)}: must be {least} or more")
    if not 0.0 < arguments.seconds < math.inf:
        raise UsageError(f"--seconds {arguments.seconds:g}: must be above 0")
    if not 0.0 <= arguments.tolerance < 1.0:
        raise UsageError(f"--tolerance {arguments.tolerance:g}: must be from 0 to less than 1")
    for flag in ("json", "markdown"):
        _check_output(f"--{flag}", getattr(arguments, flag))

    from trainers.benchmarks import reports

    committed = None if arguments.check is None else reports.read(arguments.check, "--check")
    if arguments.source is None:
        report = _measure(arguments, suites)
    else:
        report = reports.read(arguments.source, "--from")
        if arguments.only:
            report["rows"] = [row for row in report["rows"] if row.get("suite") in suites]
    text = reports.in_markdown(report)
    print(text, end="")
    if arguments.json is not None:
        write_text_whole(arguments.json, json.dumps(report, indent=2) + "\n")
    if arguments.markdown is not None:
        write_text_whole(arguments.markdown, text)
    if arguments.plots is not None:
        from trainers.benchmarks.plots import draw

        for path in draw(report, arguments.plots):
            print(f"Picture written to {path}")
    code = 0 if committed is None else _check(report, committed, arguments)
    return 1 if report.get("not_measured") else code


def _measure(arguments: argparse.Namespace, suites: "dict[str, Callable[[Context], list[Row]]]") -> dict[str, Any]:
    from trainers.benchmarks import machine
    from trainers.benchmarks.official import find_official

    official = find_official(arguments.peer_python)
    # A player that has just lost its trainer may still be writing its log there.
    with tempfile.TemporaryDirectory(prefix="mlbridge-bench-", ignore_cleanup_errors=True) as folder:
        context = Context(
            official,
            arguments.rounds,
            arguments.steps,
            arguments.full,
            Path(folder),
            arguments.seconds,
            not arguments.no_install,
        )
        facts, before = machine.describe(), machine.load()
        rows, not_measured = [], {}
        for name, measure in suites.items():
            try:
                rows += [{"suite": name, **row.to_json()} for row in measure(context)]
            except UsageError as error:  # what others took an hour to measure is not lost by it
                if len(suites) == 1:
                    raise
                not_measured[name] = str(error)
                context.say(f"{name}: {error}")
    after = machine.load()
    return {
        **facts,
        "load": None if before is None else [before, after],
        "peer_versions": None if official is None else official.versions,
        "not_measured": not_measured,
        "rows": rows,
    }


def _check(report: dict[str, Any], committed: dict[str, Any], arguments: argparse.Namespace) -> int:
    """Says which ratios are worse than those of the committed report; returns the exit code."""
    from trainers.benchmarks.reports import regressions

    worse, compared = regressions(report["rows"], committed["rows"], arguments.tolerance)
    if compared == 0:
        raise UsageError(f"--check {arguments.check}: no row of it was measured here beside a peer: nothing to compare")
    share = f"{arguments.tolerance:.0%}"
    print(f"{compared} ratios compared with {arguments.check}: {len(worse)} worse by more than {share}")
    for sentence in worse:
        print(f"  {sentence}")
    return 1 if worse else 0


def _check_output(flag: str, path: Path | None) -> None:
    """Before anything is measured: a file that cannot be written would be noticed after minutes only."""
    if path is None:
        return
    if path.is_dir():
        raise UsageError(f"{flag} {path}: this is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise UsageError(f"{flag} {path}: there is no folder {path.parent}; create it first")
