"""Does `mlbridge learn` learn in as few steps as the official trainer? Both train the same players, in turn.

Writes parity.json, parity.md and parity.png:

    python tests/reports/verify_parity.py [--seeds 1 2 3] [--reuse all] [--report-folder FOLDER] [--peer-python PATH]

`make verify-parity` runs it. Both are programs with the same file of settings, the same seeds and the same player over
gRPC; the curves are what TensorBoard's own reader finds in their event files. It takes most of an hour, so each curve
is kept under build/parity/ as soon as its training is over: with `--reuse all` a report that was cut off goes on there,
with `--reuse official` only ours is trained again. The exit code is 1 if ours needs more steps in an environment.
"""

import argparse
import json
import math
import shutil
import statistics
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from verify_learning import in_figures, say

from bridge.ports import find_free_port
from trainers.benchmarks import machine, official
from trainers.benchmarks.trainer_process import our_program, watch
from trainers.commands.plot import AXIS_LABELS, COLORS, read_curve
from trainers.errors import UsageError
from trainers.report import CUMULATIVE_REWARD
from trainers.run_folder import write_text_whole, write_whole
from unity_envs import executables

OURS, OFFICIAL = "mlbridge learn", "mlagents-learn"
SHARE = 0.95  # of the best reward
TRAINING_LIMIT = 1800  # seconds
FIRST_PORT = 23005  # far from where trainers and the other reports look for theirs

Point = dict[str, Any]  # of a curve: "step", "mean_reward" and, unless it is a median, "seconds" since the start


@dataclass(frozen=True)
class Environment:
    """What is trained: ML-Agents' configuration of `name`, but for the length and the distance of summaries."""

    name: str
    player: str
    arguments: tuple[str, ...]  # of the player
    max_steps: int
    summary_freq: int

    def configuration(self) -> str:
        """The file of settings for both trainers."""
        text = (resources.files("trainers") / "configs" / f"{self.name}.yaml").read_text(encoding="utf-8")
        settings = yaml.safe_load(text)
        settings["behaviors"][self.name] |= {"max_steps": self.max_steps, "summary_freq": self.summary_freq}
        return yaml.safe_dump(settings, sort_keys=False)


# The buffer holds 12,000 steps, so there are two summaries for each update, of six whole episodes at the end.
ENVIRONMENTS = (
    Environment("3DBall", "3DBall", (), max_steps=204_000, summary_freq=6000),
    Environment("3DBallDiscrete", "3DBall", ("--variant", "discrete"), max_steps=204_000, summary_freq=6000),
)


def main() -> int:
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description="Compare learning curves with the official trainer's.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="default: %(default)s")
    parser.add_argument("--reuse", choices=["all", "official"], help="take the curves of earlier calls that are there")
    parser.add_argument(
        "--every-kept",
        action="store_true",
        help="report on every curve that the work folder keeps for these settings, whatever its seed; none is left out",
    )
    parser.add_argument("--work-folder", type=Path, default=root / "build" / "parity", help="default: build/parity")
    parser.add_argument("--report-folder", type=Path, default=Path(__file__).parent, help="default: this file's folder")
    parser.add_argument("--peer-python", help="Python with mlagents 1.1.0 (default: MLBRIDGE_PEER_PYTHON)")
    arguments = parser.parse_args()
    if not arguments.report_folder.is_dir():
        parser.error(f"--report-folder {arguments.report_folder}: there is no such folder; create it first")
    try:
        peer = official.find_official(arguments.peer_python)
        if peer is None:
            raise UsageError("there is nothing to compare with: give --peer-python, or let `make bench` install it")
        reused = {None: (), "official": (OFFICIAL,), "all": (OURS, OFFICIAL)}[arguments.reuse]
        made = machine.describe()
        environments = []
        for environment in ENVIRONMENTS:
            runs = [
                run_or_reuse(environment, trainer, seed, arguments.work_folder, peer, made, trainer in reused)
                for seed in arguments.seeds
                for trainer in (OURS, OFFICIAL)
            ]
            if arguments.every_kept:
                runs = kept_runs(environment, arguments.work_folder, peer)
            environments.append(compare(environment.name, environment.summary_freq, runs))
        report = {"share": SHARE, "environments": environments}
        draw(environments, arguments.report_folder / "parity.png")
    except UsageError as error:
        print(f"verify-parity: error: {error}", file=sys.stderr)
        return 1
    text = to_markdown(report)
    write_text_whole(arguments.report_folder / "parity.json", json.dumps(report) + "\n")
    write_text_whole(arguments.report_folder / "parity.md", text)
    print(text, end="")
    return 0 if all(one["passed"] for one in environments) else 1


def run_or_reuse(
    environment: Environment,
    trainer: str,
    seed: int,
    work: Path,
    peer: official.Official,
    made: dict[str, Any],
    reuse: bool,
) -> dict[str, Any]:
    """One whole training and its curve, or with `reuse` what is kept of one that was made with the same settings."""
    name = f"{environment.name}-{trainer.replace(' ', '-')}-{seed}"
    kept = work / f"{name}.json"
    same = {"trainer": trainer, "seed": seed, "player": [environment.player, *environment.arguments]}
    same |= {"configuration": environment.configuration(), "peer": peer.versions if trainer == OFFICIAL else None}
    if reuse and kept.is_file():
        run = json.loads(kept.read_text(encoding="utf-8"))
        if {key: run[key] for key in same} == same:
            say(f"{name}: reused")
            return run
    say(f"{name}: training")
    results = work / name
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    write_text_whole(results / "configuration.yaml", same["configuration"])
    command = [*(our_program() if trainer == OURS else peer.program), str(results / "configuration.yaml")]
    command += [f"--env={executables.path(environment.player)}", f"--base-port={find_free_port(FIRST_PORT)}"]
    command += [f"--results-dir={results}", "--run-id=run", f"--seed={seed}", "--torch-device=cpu", "--no-graphics"]
    command += ["--env-args", *environment.arguments] if environment.arguments else []
    done = watch(command, limit=TRAINING_LIMIT, environment=official.environment() if trainer == OFFICIAL else None)
    if done.exit_code != 0:
        raise UsageError(f"{name}: {trainer} ended with exit code {done.exit_code}: {done.lines[-3:]}")
    steps, rewards = read_curve(results / "run")[environment.name]
    seconds = {line.step: round(line.seconds, 2) for line in done.summaries}
    curve = [
        {"step": step, "mean_reward": reward, "seconds": seconds[step]}
        for step, reward in zip(steps.tolist(), rewards.tolist(), strict=True)
    ]
    run = {**same, "made": made, "seconds": round(done.seconds, 2), "curve": curve}
    write_text_whole(kept, json.dumps(run) + "\n")
    return run


def kept_runs(environment: Environment, work: Path, peer: official.Official) -> list[dict[str, Any]]:
    """All that `run_or_reuse` has kept of an environment with its present settings, by seed."""
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in work.glob(f"{environment.name}-*.json")]
    same = {"player": [environment.player, *environment.arguments], "configuration": environment.configuration()}
    fitting = [run for run in runs if same.items() <= run.items() and run["peer"] in (None, peer.versions)]
    return sorted(fitting, key=lambda run: (run["seed"], run["trainer"]))


def compare(name: str, interval: int, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The runs of both trainers, with the steps and seconds to SHARE of the best reward, and whether ours passes.

    The best reward is the highest of the two median curves. A seed's steps are those of its first summary with SHARE of
    it; ours passes if the median of its seeds is at most `interval`, the distance of summaries, above the official one.
    """
    of_trainer = {trainer: [run for run in runs if run["trainer"] == trainer] for trainer in (OURS, OFFICIAL)}
    medians = {trainer: median_curve([run["curve"] for run in own]) for trainer, own in of_trainer.items()}
    best = max(point["mean_reward"] for curve in medians.values() for point in curve)
    if best <= 0:
        raise UsageError(f"{name}: the best reward is {best:g}, of which {SHARE:.0%} is not less")
    trainers = {}
    for trainer, own in of_trainer.items():
        reached = [first_reaching(run["curve"], SHARE * best) for run in own]
        steps = [None if point is None else point["step"] for point in reached]
        seconds = [None if point is None else point["seconds"] for point in reached]
        trainers[trainer] = {
            "best_of_median_curve": max(point["mean_reward"] for point in medians[trainer]),
            "steps": steps,
            "median_steps": median(steps),
            "seconds": seconds,
            "median_seconds": median(seconds),
            "median_curve": medians[trainer],
        }
    return {
        "name": name,
        "summary_freq": interval,
        "best": best,
        "target": SHARE * best,
        "passed": no_worse(trainers[OURS]["median_steps"], trainers[OFFICIAL]["median_steps"], interval),
        "trainers": trainers,
        "runs": runs,
    }


def median_curve(curves: list[list[Point]]) -> list[Point]:
    """At each step at which every curve has a summary, the median of their mean rewards."""
    rewards = [{point["step"]: point["mean_reward"] for point in curve} for curve in curves]
    steps = sorted(set.intersection(*map(set, rewards)))
    return [{"step": step, "mean_reward": statistics.median(one[step] for one in rewards)} for step in steps]


def first_reaching(curve: list[Point], mean_reward: float) -> Point | None:
    """The first summary with at least this mean reward, nothing interpolated; None if there is none."""
    return next((point for point in curve if point["mean_reward"] >= mean_reward), None)


def median(values: list[float | None]) -> float | None:
    """The median, in which None, for never, is more than any number."""
    found = statistics.median(math.inf if value is None else value for value in values)
    return None if math.isinf(found) else found


def no_worse(ours: float | None, peer: float | None, interval: int) -> bool:
    """Whether ours is at most one interval of summaries behind; None: never."""
    return ours is not None and (peer is None or ours <= peer + interval)


def draw(environments: list[dict[str, Any]], picture: Path) -> None:
    """A panel an environment: each seed's curve thin, the median curve thick, a dotted line at SHARE of the best."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(6 * len(environments), 4.8), layout="constrained", facecolor="white")
    panels = figure.subplots(1, len(environments), squeeze=False)[0]
    for axes, environment in zip(panels, environments, strict=True):
        for color, (trainer, figures) in zip(COLORS, environment["trainers"].items(), strict=False):
            for run in environment["runs"]:
                if run["trainer"] == trainer:
                    axes.plot(*columns(run["curve"]), color=color, linewidth=0.9, alpha=0.45)
            axes.plot(*columns(figures["median_curve"]), color=color, linewidth=2.2, label=trainer, zorder=3)
        axes.axhline(
            environment["target"], color="#444444", linewidth=1, linestyle=":", label=f"{SHARE:.0%} of the best reward"
        )
        axes.set_title(environment["name"], loc="left", fontsize=13, fontweight="bold", pad=12)
        axes.set_title("thin: a seed each, thick: their median", loc="right", fontsize=9, color="#666666", pad=12)
        axes.set_xlabel("agent steps (decisions)")
        axes.set_ylabel(AXIS_LABELS[CUMULATIVE_REWARD])
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlim(left=0)
        axes.grid(color="#dddddd", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="lower right")
    write_whole(picture, lambda path: figure.savefig(path, format="png", dpi=130))


def columns(curve: list[Point]) -> tuple[list[int], list[float]]:
    return [point["step"] for point in curve], [point["mean_reward"] for point in curve]


def to_markdown(report: dict[str, Any]) -> str:
    """The report for people."""
    share = f"{report['share']:.0%}".replace("%", " %")
    lines = ["# Learning curves beside the official trainer's", ""]
    lines += [
        f"{OURS} and {OFFICIAL} in turn, over gRPC with the same player and the same settings, for each seed below. "
        "Best reward: the highest point of the two median curves, which are at each step the median of the seeds' mean "
        f"rewards. Steps to {share}: those of the first summary with {share} of the best reward, nothing interpolated. "
        "A summary of ours counts the trajectory that reaches its step, one of the official trainer those before it.",
        "",
        "Seconds are counted from the shell prompt, with whatever else the machine did: no measure of speed.",
        "",
        f"| environment | best reward | trainer | best of its median curve | steps to {share}, each seed | median "
        "| seconds, each seed | median | seconds of the whole run |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in report["environments"]:
        for trainer, figures in one["trainers"].items():
            whole = [f"{run['seconds']:.0f}" for run in one["runs"] if run["trainer"] == trainer]
            cells = [
                one["name"],
                f"{one['best']:.2f}",
                trainer,
                f"{figures['best_of_median_curve']:.2f}",
                " / ".join(in_figures(step, "{:,.0f}") for step in figures["steps"]),
                in_figures(figures["median_steps"], "{:,.0f}"),
                " / ".join(in_figures(second, "{:.0f}") for second in figures["seconds"]),
                in_figures(figures["median_seconds"], "{:.0f}"),
                " / ".join(whole),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "![Learning curves of both trainers](parity.png)", ""]
    for one in report["environments"]:
        verdict = "passed" if one["passed"] else "FAILED"
        lines.append(
            f"- {verdict}: {one['name']}, by the medians at most one summary ({one['summary_freq']:,} steps) later "
            "than the official trainer"
        )
    runs = [run for one in report["environments"] for run in one["runs"]]
    peers = [", ".join(f"{name} {version}" for name, version in run["peer"].items()) for run in runs if run["peer"]]
    lines += ["", *[f"{OFFICIAL}: {versions}." for versions in dict.fromkeys(peers)]]
    lines += [*dict.fromkeys(machine.in_words(run["made"]) for run in runs), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
