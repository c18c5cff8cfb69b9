"""Do the demos solve their tasks, and how do our kernels stand beside the plain library? Runs each as its user would.

Writes demos.json, demos.md and a picture of the learning curves of each demo:

    python tests/reports/verify_demos.py [--names cartpole_reinforce ...] [--seeds 1 2 3] [--report-folder FOLDER]

`make demos` runs it. A seed passes if its 100 episodes after learning reach the demo's bar by their mean. Beside that
stand short runs of equal length on our kernels and on plain torch or Keras, in turn: how far their episodes are the
same, and how long each took. Demos that are not in --names keep the figures that are there, with where they are from.
The exit code is 1 if a check fails.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from verify_learning import say

from trainers.benchmarks import machine
from trainers.commands.plot import draw
from trainers.errors import UsageError
from trainers.run_folder import write_text_whole

# The plain library, and flags of a run that is short enough not to end before its budget.
DEMOS = {
    "cartpole_reinforce": ("torch", "--episodes=60"),
    "cartpole_actor_critic": ("torch", "--episodes=60"),
    "mountain_car_dqn": ("keras", "--steps=16000"),
    "cube_mover_dqn": ("keras", "--steps=600"),
    "cube_mover_policy_gradient": ("torch", "--episodes=100"),
    "pole_balancer_actor_critic": ("torch", "--steps=10240"),
    "ball3d_ppo": ("torch", "--steps=12000"),
}
SMOOTHED = 20  # episodes in a point of a curve
CLOSE = 1e-3  # how far, relatively, losses may be apart to count as the same but for rounding
RUN_LIMIT = 3600  # seconds


def main() -> int:
    parser = argparse.ArgumentParser(description="Check that the demos learn, and write a report.")
    parser.add_argument("--names", nargs="+", choices=list(DEMOS), default=list(DEMOS), help="default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=3, help="of each short run, 0 for none (default: %(default)s)")
    parser.add_argument("--report-folder", type=Path, default=Path(__file__).parent, help="default: this file's folder")
    parser.add_argument("--traces", type=Path, help="keep what each run wrote here, and do not repeat what is there")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at the same time (default: %(default)s)")
    arguments = parser.parse_args()
    folder: Path = arguments.report_folder
    if not folder.is_dir():
        parser.error(f"--report-folder {folder}: there is no such folder; create it first")
    stored = folder / "demos.json"
    demos = json.loads(stored.read_text(encoding="utf-8"))["demos"] if stored.exists() else {}
    try:
        with tempfile.TemporaryDirectory(prefix="verify-demos-") as temporary:
            traces = arguments.traces or Path(temporary)
            traces.mkdir(parents=True, exist_ok=True)
            for name in arguments.names:
                facts = machine.describe()
                with ThreadPoolExecutor(arguments.jobs) as pool:
                    seeds = list(pool.map(lambda seed, name=name: learn(name, seed, traces), arguments.seeds))
                draw_curves(name, seeds, folder / f"demo_{name}.png")
                demos[name] = {
                    **facts,
                    "bar": seeds[0]["bar"],
                    "seeds": [figures(trace) for trace in seeds],
                    "beside": compare(name, traces, arguments.repeats) if arguments.repeats else None,
                }
                demos = {known: demos[known] for known in DEMOS if known in demos}
                write_text_whole(stored, json.dumps({"demos": demos}, indent=2) + "\n")
                write_text_whole(folder / "demos.md", to_markdown(demos))
    except UsageError as error:
        print(f"verify-demos: error: {error}", file=sys.stderr)
        return 1
    print(to_markdown(demos), end="")
    return 0 if all(passed(demos[name], seed) for name in arguments.names for seed in demos[name]["seeds"]) else 1


def run(name: str, file: Path, *flags: str) -> dict[str, Any]:
    """What a demo says of itself in its trace, which is only read if it is there."""
    if file.exists():
        return json.loads(file.read_text(encoding="utf-8"))
    command = [sys.executable, "-m", f"trainers.demos.{name}", *flags, f"--trace={file}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_LIMIT, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise UsageError(f"{' '.join(command[1:])} ended with exit code {done.returncode}: {last}")
    return json.loads(file.read_text(encoding="utf-8"))


def learn(name: str, seed: int, folder: Path) -> dict[str, Any]:
    """The trace of a whole run with its own budget."""
    say(f"{name}, seed {seed}: learning")
    trace = run(name, folder / f"{name}-{seed}.json", f"--seed={seed}")
    say(f"{name}, seed {seed}: {np.mean(trace['played']):.3f} after {trace['seconds']:.0f} s")
    return trace


def figures(trace: dict[str, Any]) -> dict[str, Any]:
    return {
        "seed": trace["seed"],
        "mean_return": float(np.mean(trace["played"])),
        "worst_return": min(trace["played"]),
        "episodes_played": len(trace["played"]),
        "steps": trace["steps"][-1],
        "updates": len(trace["losses"]),
        "seconds": trace["seconds"],
    }


def compare(name: str, folder: Path, repeats: int) -> dict[str, Any]:
    """Short runs from one start, in turn on ours and on the plain library: what is the same, and how long each took."""
    plain, budget = DEMOS[name]
    say(f"{name}: beside plain {plain}")

    def short(backend: str, repeat: int) -> dict[str, Any]:
        file = folder / f"{name}-short-{backend}-{repeat}.json"
        return run(name, file, budget, "--played=1", f"--backend={backend}")

    pairs = [(short("kernels", repeat), short(plain, repeat)) for repeat in range(repeats)]
    ours, theirs = pairs[0]
    return {
        "plain": plain,
        "budget": budget,
        "episodes": len(ours["steps"]),
        "same_episodes": count_same(ours["steps"], theirs["steps"], 0.0),
        "updates": len(ours["losses"]),
        "same_updates": count_same(ours["losses"], theirs["losses"], CLOSE),
        "seconds": statistics.median(pair[0]["seconds"] for pair in pairs),
        "plain_seconds": statistics.median(pair[1]["seconds"] for pair in pairs),
        "ratios": sorted(pair[1]["seconds"] / pair[0]["seconds"] for pair in pairs),
    }


def count_same(ours: list[Any], theirs: list[Any], tolerance: float) -> int:
    """How many come before the first difference; a tenth of the tolerance is allowed around zero."""
    for index, (one, other) in enumerate(zip(ours, theirs, strict=False)):
        if not np.allclose(one, other, rtol=tolerance, atol=tolerance / 10):
            return index
    return min(len(ours), len(theirs))


def draw_curves(name: str, traces: list[dict[str, Any]], picture: Path) -> None:
    """Returns of episodes while learning against steps, a curve a seed, and the bar."""
    curves = {}
    for trace in traces:
        window = min(SMOOTHED, len(trace["returns"]))
        means = np.convolve(trace["returns"], np.full(window, 1 / window), "valid")
        curves[f"seed {trace['seed']}"] = (np.array(trace["steps"][window - 1 :]), means)
    longest = max(trace["steps"][-1] for trace in traces)
    curves[f"bar: {traces[0]['bar']:g}"] = (np.array([0, longest]), np.full(2, traces[0]["bar"]))
    draw(curves, picture, title=name, y_label=f"return of an episode, mean of {SMOOTHED}")


def passed(demo: dict[str, Any], seed: dict[str, Any]) -> bool:
    return seed["mean_return"] >= demo["bar"]


def to_markdown(demos: dict[str, Any]) -> str:
    """The report for people."""
    lines = ["# The demos", "", "Each learnt on our kernels with its own budget, then played 100 episodes.", ""]
    lines += [
        "| demo | bar | seed | mean of 100 | worst | steps | updates | seconds | passed |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, demo in demos.items():
        link = f"[{name}](../../trainers/demos/{name}.py)"
        lines += [
            f"| {link} | {demo['bar']:g} | {seed['seed']} | {seed['mean_return']:.3f} | "
            f"{seed['worst_return']:.2f} | {seed['steps']:,} | {seed['updates']:,} | {seed['seconds']:.0f} | "
            f"{'yes' if passed(demo, seed) else 'NO'} |"
            for seed in demo["seeds"]
        ]
    lines += ["", "Seconds are of learning alone, two runs at a time: no measure of speed.", ""]
    lines += ["## Beside the plain library", ""]
    lines += [
        "Short runs from one start, alternated, as often as stated; seconds of the middle one, the environment's part "
        "included. Episodes count as the same until one has another length, updates until a loss is further away than "
        f"{CLOSE:g} of itself. Times faster: of each pair, the lowest to the highest.",
        "",
        "| demo | plain | budget | runs | same episodes | same updates | seconds, ours | plain | times faster |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, demo in demos.items():
        if (one := demo["beside"]) is None:
            continue
        cells = [
            name,
            one["plain"],
            f"`{one['budget']}`",
            str(len(one["ratios"])),
            f"{one['same_episodes']:,} of {one['episodes']:,}",
            f"{one['same_updates']:,} of {one['updates']:,}",
            f"{one['seconds']:.2f}",
            f"{one['plain_seconds']:.2f}",
            f"{one['ratios'][0]:.2f} to {one['ratios'][-1]:.2f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "## Learning curves", ""]
    for name, demo in demos.items():
        lines += [f"![Learning curves of {name}](demo_{name}.png)", "", machine.in_words(demo), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
