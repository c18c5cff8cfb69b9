"""Does a long run keep its memory, its files and its steps, and does it survive being broken again and again?

Writes soak.json and soak.md:

    python tests/reports/verify_soak.py [--phases memory kills restarts] [--minutes 60] [--report-folder FOLDER]

`make soak` runs it. Phases that are not run keep their figures of the last time, each with its own machine and date.
Linux only. The exit code is 1 if a check fails.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import soak_breaks
import soak_memory
from verify_learning import say

from trainers.benchmarks import machine
from trainers.errors import UsageError
from trainers.run_folder import write_text_whole


def main() -> int:
    parser = argparse.ArgumentParser(description="Run for long, break often, and write a report.")
    parser.add_argument("--phases", nargs="+", choices=list(PHASES), default=list(PHASES), help="default: all")
    parser.add_argument("--minutes", type=float, default=60, help="of the memory phase (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=200, help="of the trainer (default: %(default)s)")
    parser.add_argument("--restarts", type=int, default=100, help="of a player (default: %(default)s)")
    parser.add_argument("--report-folder", type=Path, default=Path(__file__).parent, help="default: this file's folder")
    arguments = parser.parse_args()
    if not arguments.report_folder.is_dir():
        parser.error(f"--report-folder {arguments.report_folder}: there is no such folder; create it first")
    stored = arguments.report_folder / "soak.json"
    report: dict[str, Any] = json.loads(stored.read_text(encoding="utf-8")) if stored.is_file() else {}
    for phase in arguments.phases:
        say(f"phase: {phase}")
        facts = machine.describe()
        try:
            with tempfile.TemporaryDirectory(prefix=f"soak-{phase}-", ignore_cleanup_errors=True) as folder:
                run, judge, _ = PHASES[phase]
                figures = run(arguments, Path(folder))
        except UsageError as error:
            print(f"soak: error: {phase}: {error}", file=sys.stderr)
            return 1
        checks = [{"name": name, "passed": passed} for name, passed in judge(figures)]
        report[phase] = {**facts, "figures": figures, "checks": checks}
        # After each phase, so that an hour is not lost with the next one.
        write_text_whole(stored, json.dumps(report, indent=2) + "\n")
        write_text_whole(arguments.report_folder / "soak.md", to_markdown(report))
    print(to_markdown(report), end="")
    return 0 if all(check["passed"] for phase in report.values() for check in phase["checks"]) else 1


def to_markdown(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = ["# Soak: long runs, and runs that are broken again and again", ""]
    lines += ["Written by `make soak`; each phase says where and when it ran."]
    for name, (_, _, describe) in PHASES.items():
        if name not in report:
            continue
        phase = report[name]
        lines += ["", *describe(phase["figures"]), ""]
        lines += [f"- {'passed' if check['passed'] else 'FAILED'}: {check['name']}" for check in phase["checks"]]
        lines += ["", machine.in_words(phase)]
    return "\n".join([*lines, ""])


def describe_memory(figures: dict[str, Any]) -> list[str]:
    steps = figures["steps"]
    lines = [
        f"## {figures['minutes']:g} minutes of 3DBall over gRPC with {figures['players']} players",
        "",
        f"{steps['last']:,} agent steps, {steps['summaries']:,} summaries. Resident memory, read in /proc "
        f"{figures['samples']:,} times; the slope is that of the straight line through the samples after "
        f"{figures['settled_after_seconds'] / 60:g} minutes.",
        "",
        "| process | MB an hour | MB then | MB at the end | MB at most |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, one in figures["processes"].items():
        numbers = one["mb_when_settled"], one["mb_at_end"], one["mb_at_most"]
        lines.append(f"| {name} | {one['mb_per_hour']:+.2f} | " + " | ".join(f"{each:.1f}" for each in numbers) + " |")
    files, threads, kept = figures["open_files"], figures["threads"], figures["kept_bytes"]
    return [
        *lines,
        "",
        f"The trainer's open files {files[0]} then and {files[1]} at the end, its threads {threads[0]} and "
        f"{threads[1]}. Files of the run beside charts and logs: {figures['most_files']} at most, {kept[0] / 1e6:.2f} "
        f"MB then and {kept[1] / 1e6:.2f} MB at the end; {figures['checkpoints_left']} checkpoints left.",
    ]


# By name: what runs a phase, what judges its figures, and what puts them in words.
Phase = tuple[
    Callable[[argparse.Namespace, Path], dict[str, Any]],
    Callable[[dict[str, Any]], list[tuple[str, bool]]],
    Callable[[dict[str, Any]], list[str]],
]
PHASES: dict[str, Phase] = {
    "memory": (
        lambda arguments, folder: soak_memory.watch_memory(arguments.minutes, folder),
        soak_memory.checks,
        describe_memory,
    ),
    "kills": (
        lambda arguments, folder: soak_breaks.kill_trainers(arguments.kills, folder),
        soak_breaks.kill_checks,
        soak_breaks.describe_kills,
    ),
    "restarts": (
        lambda arguments, folder: soak_breaks.restart_players(arguments.restarts, folder),
        soak_breaks.restart_checks,
        soak_breaks.describe_restarts,
    ),
}


if __name__ == "__main__":
    sys.exit(main())
