"""Does a game in C# without any Python learn, how fast, and what does it cost a frame? Writes in_game.json and .md:

    python tests/reports/verify_in_game.py [--report-folder FOLDER] [--frame-seconds 60]

The game runs under Mono, with the environments' rules of the Unity project and its trainer under Assets/OpenMined.
CubeMover is to reach 0.90 greedily with five seeds of five, PoleBalancer 195 with three of three; beside stands the
speed of `mlbridge learn --in-process` on the same settings. The exit code is 1 if a check fails.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from trainers.benchmarks import machine
from trainers.kernels.build import find_or_build
from trainers.run_folder import write_text_whole

ROOT = Path(__file__).resolve().parents[2]
BARS = {"CubeMover": (0.90, (1, 2, 3, 4, 5)), "PoleBalancer": (195.0, (1, 2, 3))}
BUDGET, RATE, AGENTS = 2.0, 60.0, 12
PARTS = ("0.5", "0.9", "0.99", "0.999", "1")
LIMIT = 600  # seconds of one program


def main() -> int:
    parser = argparse.ArgumentParser(description="Check that a game learns without Python, and write a report.")
    parser.add_argument("--report-folder", type=Path, default=Path(__file__).parent, help="default: this file's folder")
    parser.add_argument("--frame-seconds", type=float, default=60.0, help="of the frames (default: %(default)s)")
    arguments = parser.parse_args()
    games = load_games()
    with tempfile.TemporaryDirectory(prefix="verify-in-game-") as folder:
        load = {"trainings": os.getloadavg()[0]}
        program = games.compile_game(Path(folder), find_or_build())
        trainings = [
            {"name": name, "seed": seed, "bar": bar}
            | with_processor_seconds(lambda n=name, s=seed: numbers(games.play(program, "train", n, s, limit=LIMIT)))
            for name, (bar, seeds) in BARS.items()
            for seed in seeds
        ]
        load["in_process"] = os.getloadavg()[0]
        in_process = {name: with_processor_seconds(lambda n=name: learn_in_process(n, Path(folder))) for name in BARS}
        memory = numbers(games.play(program, "flat", 1_000_000, limit=LIMIT))
        load["frames"] = os.getloadavg()[0]
        seconds = arguments.frame_seconds
        frames = games.play(program, "frames", "PoleBalancer", AGENTS, seconds, BUDGET, RATE, limit=LIMIT)
    result = {
        "machine": machine.describe(),
        "trainings": trainings,
        "in_process": in_process,
        "memory": memory,
        "load_average": load,
        "frames": numbers(frames),
    }
    failed = [f"{each['name']} seed {each['seed']}" for each in trainings if each["greedy"] < each["bar"]]
    if memory["collections"] or memory["bytes"] > 100_000:
        failed.append("memory")
    if max(result["frames"][f"{thread}_processor_0.99"] for thread in ("game", "update")) > BUDGET:
        failed.append("frames")
    result["failed"] = failed
    write_text_whole(arguments.report_folder / "in_game.json", json.dumps(result, indent=1) + "\n")
    write_text_whole(arguments.report_folder / "in_game.md", describe(result))
    print(f"Wrote {arguments.report_folder / 'in_game.md'}; failed: {', '.join(failed) or 'nothing'}")
    return int(bool(failed))


def load_games() -> ModuleType:
    """By its path, since tests are in no package."""
    path = ROOT / "tests/unity_envs/unity_project/openmined/game_without_python.py"
    spec = importlib.util.spec_from_file_location("game_without_python", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def with_processor_seconds(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `measure` gives, and what its programs took of the processor, their start included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = measure()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return result | {"processor_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def numbers(answers: dict[str, str]) -> dict[str, Any]:
    def number(text: str) -> Any:
        try:
            return float(text) if "." in text or "E" in text else int(text)
        except ValueError:
            return text

    return {name: number(text) for name, text in answers.items()}


def learn_in_process(name: str, folder: Path) -> dict[str, float]:
    """Steps and seconds of the loop of `mlbridge learn --in-process`; its start is left out."""
    command = [sys.executable, "-m", "trainers.commands", "learn", name, "--env", name, "--in-process", "--seed", "1"]
    command += ["--run-id", name, "--results-dir", str(folder), "--torch-device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    timers = json.loads((folder / name / "run_logs/timers.json").read_text())
    status = json.loads((folder / name / "run_logs/training_status.json").read_text())
    return {"steps": status[name]["final_checkpoint"]["steps"], "seconds": timers["total"]}


def describe(result: dict[str, Any]) -> str:
    facts = result["machine"]["machine"]
    lines = [
        "# Training inside the game, without Python",
        "",
        f"{facts['cpu']}, {facts['cores']} cores, {facts['system']}; {result['machine']['date'][:10]}. Other programs "
        "ran on it: its load average was "
        f"{result['load_average']['trainings']:.1f} before the trainings, "
        f"{result['load_average']['in_process']:.1f} before those in Python and "
        f"{result['load_average']['frames']:.1f} before the frames.",
        "",
        "The trainer in C# under Mono, one agent, one thread; the game is an environment's rules of the Unity project,",
        "without the engine. **Nothing of this ran inside Unity.** Greedy: mean of 100 episodes with the best actions.",
        "Processor seconds are of the whole program with its start; other programs do not change them much.",
        "",
        "| environment | seed | greedy | bar | steps | seconds | steps a second | processor seconds, all |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {each['name']} | {each['seed']} | {each['greedy']:.3f} | {each['bar']:g} | {each['steps']:,} | "
        f"{each['seconds']:.1f} | {each['steps'] / each['seconds']:,.0f} | {each['processor_seconds']:.1f} |"
        for each in result["trainings"]
    ]
    lines += ["", "`mlbridge learn --in-process` with the same settings, seed 1:", ""]
    lines += [
        "| environment | steps | seconds | steps a second | processor seconds, all |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {name} | {each['steps']:,} | {each['seconds']:.1f} | {each['steps'] / each['seconds']:,.0f} | "
        f"{each['processor_seconds']:.1f} |"
        for name, each in result["in_process"].items()
    ]
    memory, frames = result["memory"], result["frames"]
    lines += [
        "",
        f"1,000,000 steps with {memory['updates']} updates: {memory['collections']} garbage collections, "
        f"{memory['bytes']:,} bytes more on the managed heap, {memory['resident_kilobytes']:,} KiB more resident.",
        "",
        f"## Frames: {RATE:g} a second, {AGENTS} agents of PoleBalancer, 128 units, {BUDGET:g} ms for the update",
        "",
        f"{frames['frames']:,} frames, of which an update went on in {frames['frames_updating']:,}; "
        f"{frames['updates']} updates, {frames['dropped']} steps dropped, {frames['collections']} garbage collections. "
        "Milliseconds of a frame, as time on the clock "
        "(other programs included) and of the processor:",
        "",
        "| part of the frames below | 50 % | 90 % | 99 % | 99.9 % | all |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    rows = {
        "game": "game's thread, clock",
        "game_processor": "game's thread, processor",
        "update": "update's thread, clock",
        "update_processor": "update's thread, processor",
    }
    lines += [
        f"| {title} | " + " | ".join(f"{frames[f'{row}_{part}']:.2f}" for part in PARTS) + " |"
        for row, title in rows.items()
    ]
    lines += ["", f"Failed: {', '.join(result['failed']) or 'nothing'}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
