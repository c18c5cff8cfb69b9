"""What `make soak` breaks again and again: the trainer by SIGKILL, and its player."""

import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from soak_memory import resident
from verify_learning import say

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "faults"))
import trainings

_SERIES = 4  # side by side: most of a life is a start that waits
_LIFE = 30  # messages
_SETTLED = 10  # restarts, after which nothing may grow
_MOST_FILES, _MOST_THREADS, _MOST_MEGABYTES = 4, 4, 10.0  # a player that just leaves may be counted beside the next
_BOUND = trainings.CHECKPOINT_EVERY + trainings.AT_ONCE


def kill_trainers(kills: int, folder: Path) -> dict[str, Any]:
    """Half of the kills over gRPC, half in-process; each series is one run, killed and resumed until its end."""
    begun = time.monotonic()
    with ThreadPoolExecutor(_SERIES) as pool:
        series = [pool.submit(_series, number, kills // _SERIES, folder / f"{number}") for number in range(_SERIES)]
        rows = [each.result() for each in series]
    return {"series": rows, "seconds": time.monotonic() - begun, "bound": _BOUND}


def _series(number: int, kills: int, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    in_process = number % 2 == 1
    seen = trainings.kill_again_and_again(kills, number, folder, in_process=in_process)
    say(f"series {number}: {seen.kills} kills")
    return {
        "in_process": in_process,
        "seed": number,
        "kills": seen.kills,
        "before_a_checkpoint": seen.before_a_checkpoint,
        "steps_lost": seen.steps_lost,
        "failures": seen.failures,
        "end_code": seen.end_code,
        "end": "" if seen.end_code == 0 else seen.end[-2000:],
        "players_left": len(trainings.processes_that_name(folder)),
        **trainings.run_files(folder / "results" / "killed"),
    }


def kill_checks(figures: dict[str, Any]) -> list[tuple[str, bool]]:
    """Sentences, and whether they hold."""
    rows = figures["series"]
    return [
        ("after every kill the run went on", all(not row["failures"] and row["end_code"] == 0 for row in rows)),
        (
            f"no kill undid more than {_BOUND} agent steps: checkpoint_interval and the trajectories of one message",
            all(lost <= _BOUND for row in rows for lost in row["steps_lost"]),
        ),
        ("no summary is lost or shown twice", not any(row["lost"] or row["twice"] for row in rows)),
        ("nor in the CSV", not any(row["csv_lost"] or row["csv_twice"] for row in rows)),
        (
            f"keep_checkpoints ({trainings.KEEP}) checkpoints are left, and nothing half-written",
            all(len(row["checkpoints"]) == trainings.KEEP and not row["temporary"] for row in rows),
        ),
        ("no player outlived its trainer", not any(row["players_left"] for row in rows)),
    ]


def describe_kills(figures: dict[str, Any]) -> list[str]:
    """The phase for people."""
    lines = [
        f"## {sum(row['kills'] for row in figures['series'])} kills of the trainer",
        "",
        "SIGKILL at moments drawn at random, a quarter of them while it starts, then `--resume`; "
        f"checkpoint_interval is {trainings.CHECKPOINT_EVERY}, summary_freq {trainings.SUMMARY_EVERY}, "
        f"{figures['seconds'] / 60:.0f} minutes.",
        "",
        "| 3DBall | kills | before there was a checkpoint | kills that undid summaries | steps undone at most | end |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in figures["series"]:
        lost = row["steps_lost"]
        where = "in-process" if row["in_process"] else "over gRPC"
        end = "well" if row["end_code"] == 0 else f"exit code {row['end_code']}"
        cells = [where, row["kills"], row["before_a_checkpoint"], len(lost), max(lost, default=0), end]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def restart_players(restarts: int, folder: Path) -> dict[str, Any]:
    """One run whose player exits again and again; what the trainer holds, read in /proc, by the number of restarts."""
    log, samples = folder / "faults.log", {}

    def watch(trainer: int) -> None:
        number = len(re.findall("is started again", log.read_text(encoding="utf-8", errors="replace")))
        try:
            files, threads = len(os.listdir(f"/proc/{trainer}/fd")), len(os.listdir(f"/proc/{trainer}/task"))
            if (megabytes := resident(trainer)) > 0:
                samples[number] = files, threads, megabytes
        except OSError:  # it has just ended
            pass

    begun = time.monotonic()
    faults = [*[f"exits@{_LIFE}"] * restarts, "none"]
    # More than all these lives play, so that the last one ends the run.
    steps = restarts * _LIFE * trainings.AGENTS + 2000
    seen = trainings.train_with_faults(faults, folder, steps=steps, limit=60.0 * max(restarts, 10), watch=watch)
    # Not the last life, in which the trainer ends as well.
    first, last = min(n for n in samples if n >= min(_SETTLED, restarts)), max(n for n in samples if n < restarts)
    return {
        "restarts": restarts,
        "seconds": time.monotonic() - begun,
        "lives": seen.lives,
        "code": seen.code,
        "end": "" if seen.code == 0 else seen.output[-2000:],
        "saved": seen.saved,
        "steps": steps,
        "not_learnt_from": seen.played - seen.saved,
        "settled": {"restarts": first, **_held(samples[first])},
        "last": {"restarts": last, **_held(samples[last])},
    }


def _held(sample: tuple[int, int, float]) -> dict[str, float]:
    return dict(zip(("open_files", "threads", "megabytes"), sample, strict=True))


def restart_checks(figures: dict[str, Any]) -> list[tuple[str, bool]]:
    """Sentences, and whether they hold."""
    before, after, restarts = figures["settled"], figures["last"], figures["restarts"]
    lost = figures["not_learnt_from"] / (restarts + 1)
    return [
        (f"{restarts} times the player was started again", figures["lives"] == restarts + 1),
        ("the run went on to its end", figures["code"] == 0 and figures["saved"] >= figures["steps"]),
        (
            f"no life took more than {trainings.AT_ONCE} agent steps with it, its open trajectories, on average",
            lost <= trainings.AT_ONCE,
        ),
        ("no files stay open", after["open_files"] - before["open_files"] <= _MOST_FILES),
        ("no threads stay", after["threads"] - before["threads"] <= _MOST_THREADS),
        (
            f"memory grows by no more than {_MOST_MEGABYTES:g} MB",
            after["megabytes"] - before["megabytes"] <= _MOST_MEGABYTES,
        ),
    ]


def describe_restarts(figures: dict[str, Any]) -> list[str]:
    """The phase for people."""
    lines = [
        f"## {figures['restarts']} restarts of a player",
        "",
        f"It exits after {_LIFE} messages, each time; {figures['seconds'] / 60:.0f} minutes. "
        f"{figures['saved']:,} agent steps were learnt from; {figures['not_learnt_from']:,} more were in trajectories "
        "that a player took with it.",
        "",
        "| restarts | the trainer's open files | threads | MB |",
        "| ---: | ---: | ---: | ---: |",
    ]
    for one in (figures["settled"], figures["last"]):
        lines.append(f"| {one['restarts']} | {one['open_files']} | {one['threads']} | {one['megabytes']:.1f} |")
    return lines
