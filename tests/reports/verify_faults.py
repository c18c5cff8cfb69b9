"""What do we survive, and what does the official trainer, with the same player and the same fault?

Writes faults.json and faults.md, whose table the README shows:

    python tests/reports/verify_faults.py [--report-folder FOLDER] [--peer-python PATH]

`make verify-faults` runs it. Linux only. The exit code is 1 if ours does not survive a fault.
"""

import argparse
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from verify_learning import say

from trainers.benchmarks import machine
from trainers.benchmarks.official import Official, environment, find_official
from trainers.errors import UsageError
from trainers.run_folder import write_text_whole

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "faults"))
import trainings

NO_FAULT = "none"
# What a player does, and the faults of its lives; a fault that it survives itself happens in the first one only.
PLAYER_FAULTS = {
    NO_FAULT: ["none"],
    "is killed (SIGKILL)": ["killed@40", "killed@40", "none"],
    "stands still (SIGSTOP)": ["stopped@40", "none"],
    "is slow: ten answers take 0.3 s": ["slow@40"],
    "exits at each step of the handshake of a restart": ["exits@40", "exits@1", "exits@2", "exits@3", "none"],
    "hangs up in the middle of a message": ["closes mid-message@40", "closes mid-message@40", "none"],
    "sends garbage": ["garbage@40", "garbage@40", "none"],
    "sends 64 MiB": ["64 MiB@40", "none"],
    "sends a message without agents": ["nobody@40", "none"],
    "sends other shapes than it announced": ["other shape@40", "other shape@40", "none"],
    "sends one agent id twice": ["same id@40", "same id@40", "none"],
    "announces other actions, and masks too many": ["other actions@40", "none"],
    "sends NaN": ["not a number@40", "not a number@40", "none"],
}
KILLS, OFFICIAL_KILLS = 10, 3
_STEPS = 1500
_LIMIT = 400.0  # seconds of one training
_TIMEOUT = 45  # of a silent player
_AT_ONCE = 4
_REASON = re.compile(r"^(?:mlbridge learn: error: |\w[\w.]*(?:Error|Exception)\b|\[ERROR\])")


def main() -> int:
    parser = argparse.ArgumentParser(description="Break trainings of both trainers, and write a report.")
    parser.add_argument("--report-folder", type=Path, default=Path(__file__).parent, help="default: this file's folder")
    parser.add_argument("--peer-python", help="Python with mlagents 1.1.0 (default: MLBRIDGE_PEER_PYTHON)")
    arguments = parser.parse_args()
    if not arguments.report_folder.is_dir():
        parser.error(f"--report-folder {arguments.report_folder}: there is no such folder; create it first")
    try:
        official = find_official(arguments.peer_python)
    except UsageError as error:
        print(f"verify-faults: error: {error}", file=sys.stderr)
        return 1
    facts = machine.describe()
    with (
        tempfile.TemporaryDirectory(prefix="verify-faults-", ignore_cleanup_errors=True) as folder,
        ThreadPoolExecutor(_AT_ONCE) as pool,
    ):
        theirs = {}
        ours = {fault: pool.submit(break_player, fault, Path(folder), None) for fault in PLAYER_FAULTS}
        killed = pool.submit(kill_ours, Path(folder))
        if official is not None:
            theirs = {fault: pool.submit(break_player, fault, Path(folder), official) for fault in PLAYER_FAULTS}
            theirs_killed = pool.submit(kill_official, Path(folder), official)
        rows = [
            {"fault": fault, "ours": ours[fault].result(), "peer": theirs[fault].result() if fault in theirs else None}
            for fault in PLAYER_FAULTS
        ]
        peer = None if official is None else theirs_killed.result()
        trainer = {"fault": "SIGKILL at random moments, then --resume", "ours": killed.result(), "peer": peer}
    report = {
        **facts,
        "peer_versions": None if official is None else official.versions,
        "steps": _STEPS,
        "checkpoint_interval": trainings.CHECKPOINT_EVERY,
        "players": rows,
        "trainer": trainer,
    }
    write_text_whole(arguments.report_folder / "faults.json", json.dumps(report, indent=2) + "\n")
    write_text_whole(arguments.report_folder / "faults.md", to_markdown(report))
    print(to_markdown(report), end="")
    return 0 if all(row["ours"]["survived"] == row["ours"]["injected"] for row in [*rows, trainer]) else 1


def break_player(fault: str, folder: Path, official: Official | None) -> dict[str, Any]:
    """One training whose player goes wrong like this."""
    faults, number = PLAYER_FAULTS[fault], list(PLAYER_FAULTS).index(fault)
    place = folder / f"{'ours' if official is None else 'official'}-{number}"
    place.mkdir()
    seen = trainings.train_with_faults(
        faults,
        place,
        steps=_STEPS,
        flags=[f"--timeout-wait={_TIMEOUT}", f"--base-port={_first_port(number, official)}"],
        program=() if official is None else official.program,
        variables=None if official is None else environment(),
        limit=_LIMIT,
    )
    say(f"{'ours' if official is None else 'official'}: {fault}: {seen.lives} lives, exit code {seen.code}")
    ended_well = seen.code == 0 and seen.saved >= _STEPS
    injected = 0 if fault == NO_FAULT else min(seen.lives, max(1, len(faults) - 1))
    lines = [line for line in seen.output.splitlines() if _REASON.search(line)]
    return {
        "injected": injected,
        "survived": injected if ended_well else injected - 1,
        "lives": seen.lives,
        "code": seen.code,
        "played": seen.played,
        "saved": seen.saved,
        "last_words": "" if ended_well else (lines or seen.output.splitlines() or [""])[-1][:300],
    }


def _first_port(number: int, official: Official | None) -> int:
    return 6300 + 20 * number + (10 if official else 0)


def kill_ours(folder: Path) -> dict[str, Any]:
    """Our trainer, killed and resumed."""
    place = folder / "kills"
    place.mkdir()
    seen = trainings.kill_again_and_again(KILLS, 1, place, in_process=False)
    say(f"ours: {seen.kills} kills")
    return {
        "injected": seen.kills,
        "survived": seen.kills - len(seen.failures) - (seen.end_code != 0),
        "steps_lost": max(seen.steps_lost, default=0),
    }


def kill_official(folder: Path, official: Official) -> dict[str, Any]:
    """The official one, killed a while after its summaries begin, and resumed."""
    place = folder / "official-kills"
    place.mkdir()
    (place / "tiny.yaml").write_text(trainings.CONFIGURATION, encoding="utf-8")
    player = trainings.faulty_player(place)
    survived, lost, reached = 0, 0, 0
    for life in range(OFFICIAL_KILLS + 1):
        command = [*official.program, "tiny.yaml", f"--env={player}", "--run-id=killed", "--seed=1", "--no-graphics"]
        command += ["--torch-device=cpu", "--base-port=6900", *(["--resume"] if life else [])]
        command += ["--env-args", f"--lives={place / 'lives'}", "--faults", "none"]
        training = trainings.Training(command, place, place / "killed.log", environment())
        try:
            training.wait_for("Step: ", _LIMIT)
            count = 2 + life
            training.wait_for(f"Step: {reached + count * trainings.SUMMARY_EVERY}.", _LIMIT / 4)
        finally:
            training.kill()
            for process in trainings.processes_that_name(place / "lives"):
                os.kill(process, signal.SIGKILL)
        output = training.output
        resumed = re.search(r"Resuming training from step (\d+)", output)
        if life and resumed is not None:
            survived += 1
            lost = max(lost, reached - int(resumed[1]))
        reached = max([reached, *(int(step) for step in re.findall(r"3DBall\. Step: (\d+)\.", output))])
    say(f"official: {OFFICIAL_KILLS} kills")
    return {"injected": OFFICIAL_KILLS, "survived": survived, "steps_lost": lost}


def to_markdown(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = ["# Faults, and what comes of them", "", *table(report), ""]
    lines += [
        f"Each row is a training of {report['steps']:,} agent steps of 3DBall, 12 agents, time_horizon "
        f"{trainings.HORIZON}, checkpoint_interval {report['checkpoint_interval']}, restarts without limit. Steps lost "
        "are those that the player played and no trajectory holds in the end, all faults of the row together, less "
        "those of the run without a fault, which has some open when it ends; of a killed trainer they are those of its "
        "summaries that one kill undid. Survived is what trained to its end, noticed or not.",
    ]
    ends = [
        f"- {who}, a player that {row['fault']}: `{one['last_words']}`"
        for row in report["players"]
        for who, one in (("ours", row["ours"]), ("official", row["peer"]))
        if one and one["last_words"]
    ]
    if ends:
        lines += ["", "Where it was not survived:", "", *ends]
    versions = report["peer_versions"]
    if versions is not None:
        lines += ["", "Official: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + "."]
    return "\n".join([*lines, "", machine.in_words(report), ""])


def table(report: dict[str, Any]) -> list[str]:
    """The lines of the table."""
    lines = [
        "| fault | times injected | survived | steps lost at most | mlagents-learn: survived | steps lost at most |",
        "| --- | ---: | ---: | ---: | --- | ---: |",
    ]
    rows = report["players"]
    base = {who: _left(rows[0][who]) for who in ("ours", "peer")}
    for row in rows[1:]:
        ours, peer = row["ours"], row["peer"]
        cells = [f"the player {row['fault']}", ours["injected"], ours["survived"], _lost(ours, base["ours"])]
        cells += ["not measured", ""] if peer is None else [_of(peer), _lost(peer, base["peer"])]
        lines.append(_line(cells))
    trainer = report["trainer"]
    ours, peer = trainer["ours"], trainer["peer"]
    cells = [f"the trainer gets {trainer['fault']}", ours["injected"], ours["survived"], ours["steps_lost"]]
    cells += ["not measured", ""] if peer is None else [_of(peer), peer["steps_lost"]]
    return [*lines, _line(cells)]


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _of(one: dict[str, Any]) -> str:
    return f"{max(0, one['survived'])} of {one['injected']}"


def _left(one: dict[str, Any] | None) -> int:
    """Agent steps that were played and are in no trajectory."""
    return 0 if one is None else max(0, one["played"] - one["saved"])


def _lost(one: dict[str, Any], base: int) -> int:
    return max(0, _left(one) - base)


if __name__ == "__main__":
    sys.exit(main())
