"""Does every environment that comes with the project learn? Trains each over gRPC with its committed configuration.

Writes environments.json, environments.md and a picture of the learning curves for each environment:

    python tests/reports/verify_environments.py [--names CubeMover ...] [--seeds 1 2 3 4 5] [--report-folder FOLDER]

`make verify-environments` runs it. A seed passes if the model that the whole training leaves, played by onnxruntime
with its most probable actions, reaches the environment's bar by the mean of its episodes. The score of random actions
stands beside. The exit code is 1 if a check fails.
"""

import argparse
import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from verify_learning import in_figures, play, say

from bridge.in_process import InProcessEnvironment
from trainers.benchmarks import machine
from trainers.benchmarks.trainer_process import our_program, watch
from trainers.commands.plot import draw
from trainers.errors import UsageError
from trainers.run_folder import write_text_whole
from unity_envs import worlds

BARS = {"CubeMover": 0.90, "PoleBalancer": 195.0, "3DBall": 95.0}
HIGHEST = {"CubeMover": 0.94, "PoleBalancer": 200.0, "3DBall": 100.0}
EPISODES = 100
RANDOM_EPISODES = 1000
TRAINING_LIMIT = 1800  # seconds


def main() -> int:
    parser = argparse.ArgumentParser(description="Check that the environments learn, and write a report.")
    parser.add_argument("--names", nargs="+", choices=list(BARS), default=list(BARS), help="default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], help="default: %(default)s")
    parser.add_argument("--report-folder", type=Path, default=Path(__file__).parent, help="default: this file's folder")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at the same time (default: %(default)s)")
    arguments = parser.parse_args()
    if not arguments.report_folder.is_dir():
        parser.error(f"--report-folder {arguments.report_folder}: there is no such folder; create it first")
    facts = machine.describe()
    environments = []
    try:
        with (
            tempfile.TemporaryDirectory(prefix="verify-environments-", ignore_cleanup_errors=True) as folder,
            ThreadPoolExecutor(arguments.jobs) as pool,
        ):
            for name in arguments.names:
                trainings = [pool.submit(train, name, seed, Path(folder)) for seed in arguments.seeds]
                seeds = [training.result() for training in trainings]
                environments.append({"name": name, "bar": BARS[name], "random": random_score(name), "seeds": seeds})
                draw_curves(seeds, arguments.report_folder / f"{name}_learning_curve.png", title=name)
    except UsageError as error:
        print(f"verify-environments: error: {error}", file=sys.stderr)
        return 1
    report = {**facts, "episodes": EPISODES, "random_episodes": RANDOM_EPISODES, "environments": environments}
    text = to_markdown(report)
    write_text_whole(arguments.report_folder / "environments.json", json.dumps(report, indent=2) + "\n")
    write_text_whole(arguments.report_folder / "environments.md", text)
    print(text, end="")
    return 0 if all(passed(one, seed) for one in environments for seed in one["seeds"]) else 1


def train(name: str, seed: int, folder: Path) -> dict[str, Any]:
    """One whole training as a user starts it, then the episodes of the model that it left."""
    say(f"{name}, seed {seed}: training")
    results = folder / f"{name}-{seed}"
    command = [*our_program(), name, f"--env={name}", "--run-id=run", f"--results-dir={results}", f"--seed={seed}"]
    run = watch([*command, "--torch-device=cpu", "--no-graphics"], limit=TRAINING_LIMIT)
    if run.exit_code != 0 or not run.summaries:
        raise UsageError(f"{name}, seed {seed}: mlbridge learn ended with exit code {run.exit_code}: {run.lines[-3:]}")
    played = play(results / "run" / f"{name}.onnx", name, folder / f"{name}-{seed}.json", seed, EPISODES)
    say(f"{name}, seed {seed}: mean reward {played['mean_reward']:.3f}")
    summaries = [{"step": line.step, "mean_reward": line.mean_reward} for line in run.summaries]
    return {"seed": seed, "seconds": run.seconds, "summaries": summaries, "evaluation": played}


def draw_curves(seeds: list[dict[str, Any]], picture: Path, title: str) -> None:
    """The mean reward of each summary of ours against agent steps, one curve a seed."""
    curves = {}
    for one in seeds:
        points = [(line["step"], line["mean_reward"]) for line in one["summaries"] if line["mean_reward"] is not None]
        curves[f"seed {one['seed']}"] = tuple(np.array(column, dtype=float) for column in zip(*points, strict=True))
    draw(curves, picture, title=title)


def random_score(name: str) -> dict[str, Any]:
    """Mean and standard deviation of the return of random actions."""
    make_world = worlds.make_world_factory(name, 100)
    generator = np.random.default_rng(0)
    returns: list[float] = []
    running = np.zeros(100)
    with InProcessEnvironment(make_world, seed=0) as environment:
        environment.reset()
        ((behavior, spec),) = environment.behavior_specs.items()
        while len(returns) < RANDOM_EPISODES:
            decisions, terminals = environment.get_steps(behavior)
            running[terminals.agent_id] += terminals.reward
            returns += running[terminals.agent_id].tolist()
            running[terminals.agent_id] = 0.0
            running[decisions.agent_id] += decisions.reward
            action = spec.action_spec.empty_action(len(decisions))
            if spec.action_spec.continuous_size:
                action.continuous[...] = generator.uniform(-1, 1, action.continuous.shape)
            for branch, size in enumerate(spec.action_spec.discrete_branches):
                action.discrete[:, branch] = generator.integers(0, size, len(decisions))
            environment.set_actions(behavior, action)
            environment.step()
    return {"mean_reward": float(np.mean(returns)), "std_reward": float(np.std(returns))}


def passed(environment: dict[str, Any], seed: dict[str, Any]) -> bool:
    return seed["evaluation"]["mean_reward"] >= environment["bar"]


def to_markdown(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = ["# The environments with their committed configurations", ""]
    lines += [
        f"Whole trainings over gRPC. The model: mean of {report['episodes']} episodes with the most probable actions. "
        f"Random: mean of about {report['random_episodes']:,} episodes.",
        "",
        "| environment | bar | best | random | seed | model | worst episode | agent steps | seconds | passed |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for one in report["environments"]:
        for seed in one["seeds"]:
            played = seed["evaluation"]
            cells = [
                one["name"],
                f"{one['bar']:g}",
                f"{HIGHEST[one['name']]:g}",
                f"{one['random']['mean_reward']:.2f}",
                str(seed["seed"]),
                in_figures(played["mean_reward"], "{:.3f}"),
                in_figures(played["min_reward"], "{:.3f}"),
                f"{seed['summaries'][-1]['step']:,}",
                f"{seed['seconds']:.0f}",
                "yes" if passed(one, seed) else "NO",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "Seconds are of the whole command, two trainings at a time: no measure of speed."]
    for one in report["environments"]:
        count = sum(passed(one, seed) for seed in one["seeds"])
        lines += ["", f"{one['name']}: {count} of {len(one['seeds'])} seeds passed.", ""]
        lines += [f"![Learning curves of {one['name']}]({one['name']}_learning_curve.png)"]
    return "\n".join([*lines, "", machine.in_words(report), ""])


if __name__ == "__main__":
    sys.exit(main())
