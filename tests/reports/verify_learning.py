"""Does 3DBall learn, and how soon? Trains it with seeds 1, 2 and 3 over gRPC.

Writes learning.json and learning.md:

    python tests/reports/verify_learning.py [--seeds 1 2 3] [--report-folder FOLDER] [--peer-python PATH]

`make verify-learning` runs it. A seed passes if one summary has the mean reward 95 at a step within the limit, and the
exported model, played deterministically by onnxruntime alone, has it over its episodes as well. The configuration is
ML-Agents' own: its max_steps stays 500,000, which the linear schedules depend on; the run is ended at 95 or past the
limit. With a Python of the official trainer (see `mlbridge bench --help`) that one is run in turn with ours, with the
same seeds; without it a stored figure of another machine stands beside. The exit code is 1 if a check fails.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from trainers.benchmarks import machine
from trainers.benchmarks.official import (
    STORED_NOTE,
    STORED_SECONDS_TO_95,
    STORED_STEPS_TO_95,
    Official,
    environment,
    find_official,
)
from trainers.benchmarks.trainer_process import TrainerRun, our_program, train_3dball
from trainers.benchmarks.training import SOLVED, solved, write_configuration
from trainers.errors import UsageError
from trainers.run_folder import write_text_whole

STEP_LIMIT = 200_000
EPISODES = 100
SOONER = 3.0  # times, than the official trainer; checked only where that one was measured
TRAINING_LIMIT = 1800  # seconds
EVALUATION_LIMIT = 600


def main() -> int:
    parser = argparse.ArgumentParser(description="Check that 3DBall learns, and write a report.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="default: %(default)s")
    parser.add_argument("--report-folder", type=Path, default=Path(__file__).parent, help="default: this file's folder")
    parser.add_argument("--peer-python", help="Python with mlagents 1.1.0 (default: MLBRIDGE_PEER_PYTHON)")
    arguments = parser.parse_args()
    if not arguments.report_folder.is_dir():
        parser.error(f"--report-folder {arguments.report_folder}: there is no such folder; create it first")
    try:
        official = find_official(arguments.peer_python)
        facts = machine.describe()
        # A player that has just lost its trainer may still be writing its log there.
        with tempfile.TemporaryDirectory(prefix="verify-learning-", ignore_cleanup_errors=True) as folder:
            seeds = [verify_seed(seed, Path(folder), official) for seed in arguments.seeds]
    except UsageError as error:
        print(f"verify-learning: error: {error}", file=sys.stderr)
        return 1
    report = {**facts, "peer_versions": None if official is None else official.versions, **summarise(seeds, official)}
    text = to_markdown(report)
    write_text_whole(arguments.report_folder / "learning.json", json.dumps(report, indent=2) + "\n")
    write_text_whole(arguments.report_folder / "learning.md", text)
    print(text, end="")
    return 0 if all(check["passed"] for check in report["checks"]) else 1


def verify_seed(seed: int, folder: Path, official: Official | None) -> dict[str, Any]:
    """Trains and plays with ours, then trains with the official trainer; the figures of both."""
    configuration = write_configuration(folder / "3DBall.yaml", None)
    say(f"seed {seed}: ours")
    results = folder / f"ours-{seed}"
    # Ended by its own flag, so that it saves and exports as any run does.
    ours = train_3dball(
        (*our_program(), f"--stop-at-reward={SOLVED}"),
        configuration,
        results,
        seed=seed,
        limit=TRAINING_LIMIT,
        until=past_limit,
    )
    figures = {"seed": seed, **figures_of(ours), "evaluation": None, "peer": None}
    models = list(results.glob("*/3DBall.onnx"))
    if models:
        say(f"seed {seed}: {EPISODES} episodes with the exported model")
        figures["evaluation"] = play(models[0], "3DBall", folder / f"evaluation-{seed}.json", seed, EPISODES)
    if official is not None:
        say(f"seed {seed}: official")
        run = train_3dball(
            official.program,
            configuration,
            folder / f"official-{seed}",
            seed=seed,
            limit=TRAINING_LIMIT,
            until=lambda run: solved(run) or past_limit(run),
            environment=environment(),
        )
        figures["peer"] = figures_of(run)
    return figures


def past_limit(run: TrainerRun) -> bool:
    return bool(run.summaries) and run.summaries[-1].step > STEP_LIMIT


def figures_of(run: TrainerRun) -> dict[str, Any]:
    """Of one training; seconds count from its start at the shell prompt, None: the mean reward was never reached."""
    reached = run.reached(SOLVED)
    return {
        "untrained_mean_reward": run.summaries[0].mean_reward,
        "untrained_until_step": run.summaries[0].step,
        "steps_to_95": None if reached is None else reached.step,
        "seconds_to_95": None if reached is None else reached.seconds,
        "seconds_of_the_run": run.seconds,
        "agent_steps_per_second": run.steps_per_second(),
        "summaries": [
            {"step": line.step, "mean_reward": line.mean_reward, "seconds": line.seconds} for line in run.summaries
        ],
    }


def play(model: Path, name: str, report: Path, seed: int, episodes: int) -> dict[str, Any]:
    """Plays an exported model of the environment `name` in a process of its own."""
    command = [our_program()[0], "evaluate", str(model), f"--env={name}", "--deterministic", f"--episodes={episodes}"]
    command += [f"--seed={seed}", f"--json={report}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=EVALUATION_LIMIT, check=False)
    if done.returncode != 0:
        raise UsageError(f"mlbridge evaluate failed: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}")
    numbers = json.loads(report.read_text(encoding="utf-8"))
    return {name: numbers[name] for name in ("episodes", "mean_reward", "std_reward", "min_reward", "max_reward")}


def summarise(seeds: list[dict[str, Any]], official: Official | None) -> dict[str, Any]:
    """The figures of all seeds beside the peer's, and the checks."""
    checks = []
    for one in seeds:
        step = one["steps_to_95"]
        mean = None if one["evaluation"] is None else one["evaluation"]["mean_reward"]
        checks.append(
            {
                "name": f"seed {one['seed']}: mean reward {SOLVED:.0f} within {STEP_LIMIT:,} agent steps",
                "passed": step is not None and step <= STEP_LIMIT,
            }
        )
        checks.append(
            {
                "name": f"seed {one['seed']}: exported model has mean reward {SOLVED:.0f} over {EPISODES} episodes",
                "passed": mean is not None and mean >= SOLVED,
            }
        )
    ours = [one["seconds_to_95"] for one in seeds]
    peer: list[float | None] = list(STORED_SECONDS_TO_95)
    if official is not None:
        peer = [one["peer"]["seconds_to_95"] for one in seeds]
    solved_by_both = [value for value in ours if value is not None], [value for value in peer if value is not None]
    ratio = None
    if all(solved_by_both):
        ratio = statistics.median(solved_by_both[1]) / statistics.median(solved_by_both[0])
    if official is not None:
        name = f"at least {SOONER:.0f} times sooner than the official trainer, from the shell prompt, by the medians"
        checks.append({"name": name, "passed": ratio is not None and ratio >= SOONER})
    return {
        "seeds": seeds,
        "peer_source": "stored" if official is None else "measured",
        "peer_seconds_to_95": peer,
        "times_sooner": ratio,
        "checks": checks,
    }


def to_markdown(report: dict[str, Any]) -> str:
    """The report for people."""
    head = [
        "seed",
        "untrained mean reward",
        "steps to 95",
        "seconds to 95",
        "agent-steps/s",
        "mean of the exported model",
    ]
    rows = [head, ["---:"] * len(head)]
    for one in report["seeds"]:
        played = one["evaluation"]
        figures = [
            one["untrained_mean_reward"],
            one["steps_to_95"],
            one["seconds_to_95"],
            one["agent_steps_per_second"],
        ]
        figures.append(None if played is None else played["mean_reward"])
        rows.append([str(one["seed"]), *map(in_figures, figures, ["{:.2f}", "{:,}", "{:.1f}", "{:,.0f}", "{:.2f}"])])
    lines = ["# 3DBall over gRPC with ML-Agents' configuration, 12 agents", ""]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    lines += ["", "Seconds are counted from the shell prompt. Untrained: the first summary."]
    if report["times_sooner"] is not None:
        peer = ", ".join(in_figures(value, "{:.1f}") for value in report["peer_seconds_to_95"])
        sooner = f"ours {report['times_sooner']:.1f} times sooner"
        lines += ["", f"mlagents-learn reached 95 after {peer} s ({report['peer_source']}); {sooner}."]
    if report["peer_source"] == "stored":
        lines += [f"It took {STORED_STEPS_TO_95[0]:,.0f} steps. {STORED_NOTE}"]
    else:
        steps = ", ".join(in_figures(one["peer"]["steps_to_95"], "{:,}") for one in report["seeds"])
        versions = ", ".join(f"{name} {version}" for name, version in report["peer_versions"].items())
        lines += [f"It took {steps} steps; it ran in turn with ours, with the same seeds ({versions})."]
    lines += ["", *[f"- {'passed' if check['passed'] else 'FAILED'}: {check['name']}" for check in report["checks"]]]
    return "\n".join([*lines, "", machine.in_words(report), ""])


def in_figures(value: float | None, form: str) -> str:
    return "never" if value is None else form.format(value)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
