"""The long quiet run of `make soak`: memory and files watched from outside while four players train 3DBall over gRPC.

Linux only: what processes hold is read in /proc.
"""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from verify_learning import say

from trainers.benchmarks.trainer_process import our_program, parse_summary
from trainers.errors import UsageError

PLAYERS = 4
KEEP = 5
SUMMARY_EVERY = 12_000  # agent steps
CHECKPOINT_EVERY = 120_000
LEAST_STEPS = 1_000_000
MOST_GROWTH = 5.0  # MB an hour
SETTLED_AFTER = 5.0  # minutes, of which no slope is taken; in shorter runs a third
SAMPLE_SECONDS = 5.0
_SAID_EVERY = 12  # samples
_GRACE = 120.0  # seconds that a start or an end may take
# Grow with every summary, as they must; beside them nothing may.
_GROWING = re.compile(r"events\.out\.tfevents\.|\.csv$|\.log$")


def watch_memory(minutes: float, folder: Path) -> dict[str, Any]:
    """Trains for so long, ends the run by Ctrl-C, and returns what was seen. Raises UsageError if the run fails."""
    log = folder / "memory.log"
    command = [*our_program(), "3DBall", "--env=3DBall", f"--num-envs={PLAYERS}", "--run-id=memory", "--seed=1"]
    settings = {
        "max_steps": 1_000_000_000,  # the clock ends it
        "keep_checkpoints": KEEP,
        "checkpoint_interval": CHECKPOINT_EVERY,
        "summary_freq": SUMMARY_EVERY,
    }
    command += [f"--results-dir={folder}", "--torch-device=cpu", "--no-graphics"]
    command += [part for key, value in settings.items() for part in ("--set", f"behaviors.3DBall.{key}={value}")]
    samples: list[dict[str, Any]] = []
    run = folder / "memory"
    with log.open("wb") as output:
        trainer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            begun = _wait_for_agents(trainer, log)
            while (seconds := time.monotonic() - begun) < 60 * minutes and trainer.poll() is None:
                if len(samples) % _SAID_EVERY == 0 and samples:
                    say(f"minute {seconds / 60:.0f}: {samples[-1]['megabytes']}")
                samples.append({"seconds": round(seconds, 1), **_sample(trainer.pid, run)})
                time.sleep(SAMPLE_SECONDS)
            trainer.send_signal(signal.SIGINT)
            code = trainer.wait(_GRACE)
        finally:
            trainer.kill()
            trainer.wait()
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    if code != 0 or seconds < 60 * minutes:
        raise UsageError(f"the run ended with exit code {code} after {seconds:.0f} s: {lines[-3:]}")
    settled = 60 * min(SETTLED_AFTER, minutes / 3)
    names = list(samples[-1]["megabytes"])
    checkpoints = len(list(run.glob("3DBall/3DBall-*.pt"))) - 1  # without the best one
    return {
        "minutes": minutes,
        "players": PLAYERS,
        "samples": len(samples),
        "settled_after_seconds": settled,
        "processes": {name: growth(samples, name, settled) for name in names},
        "open_files": [each["open_files"] for each in _first_and_last(samples, settled)],
        "threads": [each["threads"] for each in _first_and_last(samples, settled)],
        "most_files": max(sample["files"] for sample in samples),
        "kept_bytes": [each["bytes"] for each in _first_and_last(samples, settled)],
        "keep_checkpoints": KEEP,
        "checkpoints_left": checkpoints,
        "steps": step_numbers(run / "3DBall", lines, SUMMARY_EVERY),
    }


def _wait_for_agents(trainer: subprocess.Popen[bytes], log: Path) -> float:
    deadline = time.monotonic() + _GRACE
    while "Connected new brain" not in (text := log.read_text(encoding="utf-8", errors="replace")):
        if trainer.poll() is not None or time.monotonic() > deadline:
            raise UsageError(f"the run did not start: {text.splitlines()[-3:]}")
        time.sleep(0.1)
    return time.monotonic()


def _sample(trainer: int, run: Path) -> dict[str, Any]:
    """Resident memory (MB) of the trainer and each player; the trainer's open files and threads; the run's files."""
    megabytes = {"trainer": resident(trainer)}
    for number, player in enumerate(children(trainer)):
        megabytes[f"player {number}"] = resident(player)
    files = [path for path in run.rglob("*") if path.is_file() and not _GROWING.search(path.name)]
    sizes = []
    for path in files:
        with contextlib.suppress(FileNotFoundError):  # replaced or deleted just now
            sizes.append(path.stat().st_size)
    return {
        "megabytes": megabytes,
        "open_files": len(os.listdir(f"/proc/{trainer}/fd")),
        "threads": len(os.listdir(f"/proc/{trainer}/task")),
        "files": len(sizes),
        "bytes": sum(sizes),
    }


def resident(process: int) -> float:
    """MB (10^6 bytes) of memory that are a process's own or shared, as the system counts them."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def children(process: int) -> list[int]:
    """The processes that it has started itself, oldest first."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and _parent(folder) == process:
                found.append(int(folder.name))
    return sorted(found)


def _parent(folder: Path) -> int:
    return int((folder / "stat").read_text().rpartition(")")[2].split()[1])


def growth(samples: Sequence[dict[str, Any]], name: str, settled: float) -> dict[str, float]:
    """How the memory of one process grew: slope of the straight line through its samples, and where they were."""
    points = [(each["seconds"], each["megabytes"][name]) for each in samples if name in each["megabytes"]]
    seconds, megabytes = (np.array(column) for column in zip(*points, strict=True))
    late = seconds >= settled
    return {
        "mb_per_hour": float(np.polyfit(seconds[late] / 3600, megabytes[late], 1)[0]),
        "mb_when_settled": float(megabytes[late][0]),
        "mb_at_end": float(megabytes[late][-1]),
        "mb_at_most": float(megabytes.max()),
    }


def _first_and_last(samples: Sequence[dict[str, Any]], settled: float) -> tuple[dict[str, Any], dict[str, Any]]:
    return next(each for each in samples if each["seconds"] >= settled), samples[-1]


def step_numbers(behavior: Path, lines: Iterable[str], every: int) -> dict[str, Any]:
    """What TensorBoard's own reader finds, held against the summaries that were printed and against every multiple."""
    printed = [summary.step for line in lines if (summary := parse_summary(line)) is not None]
    tags = tensorboard_steps(behavior)
    shown = sorted({step for steps in tags.values() for step in steps})
    expected = list(range(every, printed[-1] + 1, every))
    return {
        "last": shown[-1],
        "summaries": len(shown),
        "lost": sorted(set(expected) - set(shown)),
        "besides": sorted(set(shown) - set(expected)),
        "twice": sorted({step for steps in tags.values() for step in steps if steps.count(step) > 1}),
        "backwards": sorted(tag for tag, steps in tags.items() if steps != sorted(steps)),
        "as_printed": shown == printed,
    }


def tensorboard_steps(behavior: Path) -> dict[str, list[int]]:
    """The step of every scalar, by tag, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(behavior), size_guidance={"scalars": 0})
    reader.Reload()
    return {tag: [event.step for event in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def checks(figures: dict[str, Any]) -> list[tuple[str, bool]]:
    """Sentences, and whether they hold."""
    steps = figures["steps"]
    clean = not (steps["lost"] or steps["besides"] or steps["twice"] or steps["backwards"]) and steps["as_printed"]
    least = LEAST_STEPS * min(1.0, figures["minutes"] / 60)
    return [
        (f"{least:,.0f} agent steps or more", steps["last"] >= least),
        (
            f"no process grows by more than {MOST_GROWTH:g} MB an hour",
            all(one["mb_per_hour"] <= MOST_GROWTH for one in figures["processes"].values()),
        ),
        (f"keep_checkpoints ({KEEP}) checkpoints are left", figures["checkpoints_left"] == KEEP),
        # Of each: .pt and .onnx, one more set while it is written; then best, newest, status, settings, temporary ones.
        ("the run's folder holds no more files than these need", figures["most_files"] <= 2 * (KEEP + 2) + 8),
        ("the files beside charts and logs do not grow", figures["kept_bytes"][1] <= 1.1 * figures["kept_bytes"][0]),
        ("every summary's step is in TensorBoard exactly once", clean),
    ]
