"""Is a training on several processes faster, and does it learn the same? Writes distributed.json and distributed.md.

python tests/reports/verify_distributed.py [--seeds 1 2 3 4 5] [--delays 1 10 50] [--report-folder FOLDER]

`make verify-distributed` runs it; give it a quiet machine with two cores at least. Players that sleep 5 ms a step stand
for Unity players, whose frames keep other cores busy. Delays are those of a line between two network namespaces
(tests/distributed/relay.py), which needs root; without it that part is left out and said so.
"""

import argparse
import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as processes

from trainers.benchmarks import machine, waiting_player
from trainers.run_folder import write_text_whole

SOLVED = 95.0
LIMIT = 1800  # seconds of one training
RELAY = Path(__file__).parents[1] / "distributed" / "relay.py"
TAG = "Environment/Cumulative Reward"
SUMMARY = re.compile(r"Step: (\d+)\. Time Elapsed: ([\d.]+) s\. Mean Reward: ([-\d.]+)\.")
WIDE = {
    "network_settings.hidden_units": 256,
    "network_settings.num_layers": 3,
    "hyperparameters.batch_size": 2048,
    "hyperparameters.buffer_size": 20480,
    "summary_freq": 20480,
    "max_steps": 200_000,
}
# Beside the averages of an update: a meeting, the normalisers, the shares.
OTHER_ROUNDS = 3
BUFFER, BATCH, EPOCHS = 12_000, 64, 3  # of the configuration 3DBall


def learn(arguments: Sequence[str], folder: Path, keys: dict[str, Any] | None = None) -> list[dict[str, float]]:
    """The summaries of one training in `folder`."""
    command = [sys.executable, "-m", "trainers.commands", "learn", "3DBall", "--results-dir", str(folder)]
    command += [f"--set=behaviors.3DBall.{key}={value}" for key, value in (keys or {}).items()]
    variables = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--set=torch_settings.threads=1", *arguments],
        env=variables,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"verify-distributed: {' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return summaries(done.stdout)


def summaries(output: str) -> list[dict[str, float]]:
    return [
        {"step": int(step), "seconds": float(seconds), "reward": float(reward)}
        for step, seconds, reward in SUMMARY.findall(output)
    ]


def speed(lines: list[dict[str, float]]) -> float:
    """Agent-steps a second from the first summary to the last one."""
    return (lines[-1]["step"] - lines[0]["step"]) / (lines[-1]["seconds"] - lines[0]["seconds"])


def workers(count: int) -> list[str]:
    return [] if count == 1 else ["--workers", str(count)]


def speeds(folder: Path) -> dict[str, Any]:
    """Agent-steps a second with 1 and 2 ranks, where players are slow and where the update is."""
    waiting = ["--env", str(Path(waiting_player.__file__)), "--set=behaviors.3DBall.max_steps=60000"]
    found: dict[str, Any] = {}
    for name, arguments, keys in (
        ("players that wait 5 ms", waiting, {}),
        ("256x3, batch 2048, in process", ["--env", "3DBall", "--in-process"], WIDE),
    ):
        last = ["--env-args", "--wait-ms", "5"] if name.startswith("players") else []
        found[name] = {
            str(count): speed(
                learn([*arguments, f"--run-id=speed-{count}", "--force", *workers(count), *last], folder, keys)
            )
            for count in (1, 2)
        }
        say(f"{name}: {found[name]}")
    return found


def curves(folder: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """Steps until mean reward 95, always with 24 agents: one rank, and two that average gradients or weights."""
    found: dict[str, Any] = {}
    for name, arguments in (
        ("1 rank", ["--env-args", "--agents", "24"]),
        ("2 ranks, gradients", ["--workers", "2", "--set=torch_settings.averaging=gradients"]),
        ("2 ranks, weights", ["--workers", "2", "--set=torch_settings.averaging=weights"]),
    ):
        found[name] = []
        for seed in seeds:
            common = ["--env", "3DBall", "--in-process", f"--stop-at-reward={SOLVED}", f"--seed={seed}", "--force"]
            lines = learn([*common, "--run-id=curve", *arguments], folder)
            solved = lines[-1]["reward"] >= SOLVED
            found[name].append(
                {
                    "seed": seed,
                    "steps_to_95": lines[-1]["step"] if solved else None,
                    "speed": speed(lines),
                    "curve": lines,
                }
            )
            say(f"{name}, seed {seed}: 95 at {found[name][-1]['steps_to_95']}, {speed(lines):,.0f} agent-steps/s")
    return found


def delayed(folder: Path, delay: float) -> dict[str, Any]:
    """A training to mean reward 95 on two hosts with `delay` ms between them."""
    names = [f"vd{os.getpid()}{which}" for which in "ab"]
    command = [sys.executable, str(RELAY), f"--delay-ms={delay}", *names]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as relay:
        assert relay.stdout is not None and relay.stdout.readline() == "ready\n"
        hosts = []
        for number, name in enumerate(names):
            inside = ["ip", "netns", "exec", name, sys.executable, "-m", "torch.distributed.run", "--nnodes=2"]
            inside += ["--nproc-per-node=1", "--rdzv-backend=c10d", "--rdzv-endpoint=10.77.0.1:29400", "--rdzv-id=x"]
            inside += [f"--rdzv-conf=is_host={1 - number}", f"--local-addr=10.77.0.{number + 1}"]
            inside += ["-m", "trainers.commands.learn", "3DBall", "--env=3DBall", "--in-process", "--force"]
            inside += [f"--results-dir={folder}", "--run-id=delayed", f"--stop-at-reward={SOLVED}"]
            inside += ["--set=torch_settings.averaging=weights", "--set=torch_settings.threads=1"]
            variables = os.environ | {"GLOO_SOCKET_IFNAME": "line", "OMP_NUM_THREADS": "1"}
            hosts.append(subprocess.Popen(inside, env=variables, stdout=subprocess.PIPE, text=True))
        outputs = [host.communicate(timeout=LIMIT)[0] for host in hosts]
        relay.communicate(timeout=60)
    lines = summaries(outputs[0])
    result = {"delay_ms": delay, "speed": speed(lines), "reward": lines[-1]["reward"], "step": lines[-1]["step"]}
    say(f"delay of {delay} ms: {result}")
    return result


def broken(folder: Path) -> dict[str, Any]:
    """A training to mean reward 95 of which the second rank, the first one and a player are killed."""
    command = [sys.executable, "-m", "trainers.commands", "learn", "3DBall", "--env=3DBall", "--workers=2", "--force"]
    command += [f"--results-dir={folder}", "--run-id=broken", f"--stop-at-reward={SOLVED}", "--timeout-wait=30"]
    command += ["--set=behaviors.3DBall.checkpoint_interval=12000"]
    killed, output = [], ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as training:
        assert training.stdout is not None
        for line in training.stdout:
            output += line
            at = SUMMARY.search(line)
            if at is not None and len(killed) < 3 and int(at[1]) >= 24_000 * (1 + len(killed)):
                ranks = _children(training.pid, b"trainers.commands.learn")
                victim = [ranks[-1], ranks[0], _children(ranks[-1], b"--mlagents-port")[0]][len(killed)]
                os.kill(victim, signal.SIGKILL)
                killed.append({"who": ("second rank", "first rank", "player")[len(killed)], "step": int(at[1])})
        code = training.wait(LIMIT)
    lines = summaries(output)
    steps = [
        row.split(",")[0] for row in (folder / "broken/run_logs/3DBall.csv").read_text().splitlines() if TAG in row
    ]
    result = {
        "killed": killed,
        "resumed": [int(step) for step in re.findall(r"Resuming '3DBall' from step (\d+)", output)],
        "code": code,
        "reward": lines[-1]["reward"],
        "steps_to_95": lines[-1]["step"],
        "steps_twice": len(steps) - len(set(steps)),
    }
    say(f"broken: {result}")
    return result


def _children(parent: int, word: bytes) -> list[int]:
    """The processes that `parent` started with `word` in their command, by their age."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = folder.joinpath("stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and word in folder.joinpath("cmdline").read_bytes():
                found.append((int(fields[19]), int(folder.name)))
    return [pid for _, pid in sorted(found)]


def modelled(speed_without: float, delay_ms: float, averages: int, ranks: int = 2, buffer: int = BUFFER) -> float:
    """Agent-steps a second with a delay: an update costs as before, and each of its rounds 2 (ranks - 1) delays."""
    seconds = buffer / speed_without + (OTHER_ROUNDS + averages) * 2 * (ranks - 1) * delay_ms / 1000
    return buffer / seconds


def costs() -> list[dict[str, float]]:
    """Seconds that two ranks of this machine take to add up so many numbers, the median."""
    with tempfile.TemporaryDirectory() as folder:
        processes.spawn(_add_up, args=(folder,), nprocs=2)
        found: list[dict[str, float]] = json.loads(Path(folder, "costs.json").read_text())
    return found


def _add_up(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.FileStore(f"{folder}/store", 2), rank=rank, world_size=2)
    found = []
    for count in (100, 35_717, 268_549, 1_000_000):
        numbers, seconds = torch.ones(count), []
        for _ in range(100):
            start = time.perf_counter()
            dist.all_reduce(numbers)
            seconds.append(time.perf_counter() - start)
        found.append({"numbers": count, "seconds": statistics.median(seconds)})
    if rank == 0:
        Path(folder, "costs.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def checks(report: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for (name, figures), least in zip(report["speeds"].items(), (1.8, 1.5), strict=True):
        ratio = figures["2"] / figures["1"]
        found.append({"name": f"{name}: 2 ranks {ratio:.2f} times as fast, at least {least}", "passed": ratio >= least})
    one = [run["steps_to_95"] for run in report["curves"]["1 rank"]]
    for name in ("2 ranks, gradients", "2 ranks, weights"):
        steps = [run["steps_to_95"] for run in report["curves"][name]]
        within = None not in [*one, *steps] and min(steps) <= max(one) and min(one) <= max(steps)
        found.append({"name": f"{name}: 95 within the seed noise of 1 rank", "passed": within})
    if (run := report["broken"]) is not None:
        again = run["reward"] >= SOLVED and len(run["killed"]) == 3 and run["steps_twice"] == run["code"] == 0
        found.append({"name": "95 though both ranks and a player are killed, no step twice", "passed": again})
    for run in report["delays"]:
        found.append({"name": f"95 at a delay of {run['delay_ms']} ms", "passed": run["reward"] >= SOLVED})
    return found


def to_markdown(report: dict[str, Any]) -> str:
    lines = ["# Several processes on one training", "", "## Agent-steps/s", "", "| | 1 rank | 2 ranks | times |"]
    lines += ["|---|---:|---:|---:|"]
    for name, figures in report["speeds"].items():
        one, two = figures["1"], figures["2"]
        lines.append(f"| {name} | {one:,.0f} | {two:,.0f} | {two / one:.2f} |")
    lines += [
        "",
        "## Steps to mean reward 95, 3DBall in process, 24 agents in all",
        "",
        "| | by seed | agent-steps/s, median |",
        "|---|---|---:|",
    ]
    for name, runs in report["curves"].items():
        steps = ", ".join("never" if run["steps_to_95"] is None else f"{run['steps_to_95']:,}" for run in runs)
        lines.append(f"| {name} | {steps} | {statistics.median(run['speed'] for run in runs):,.0f} |")
    lines += ["", "## Two hosts, averaging weights", ""]
    lines += [
        "| delay one way | agent-steps/s | model | model with gradients | mean reward |",
        "|---:|---:|---:|---:|---:|",
    ]
    for run in report["delays"]:
        lines.append(
            f"| {run['delay_ms']:g} ms | {run['speed']:,.0f} | {run['model']:,.0f} | {run['model_gradients']:,.0f} | "
            f"{run['reward']:.1f} |"
        )
    if not report["delays"]:
        lines.append("Not measured: network namespaces need root.")
    lines += [
        "",
        "## Adding up numbers between two ranks of this machine",
        "",
        "| numbers | microseconds |",
        "|---:|---:|",
    ]
    lines += [f"| {one['numbers']:,} | {one['seconds'] * 1e6:,.0f} |" for one in report["costs"]]
    lines += ["", *[f"- {'passed' if check['passed'] else 'FAILED'}: {check['name']}" for check in report["checks"]]]
    return "\n".join([*lines, "", machine.in_words(report), ""])


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Check what several processes bring, and write a report.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], help="default: %(default)s")
    parser.add_argument("--delays", type=float, nargs="*", default=[1, 10, 50], help="ms one way; default: %(default)s")
    parser.add_argument("--report-folder", type=Path, default=Path(__file__).parent, help="default: this file's folder")
    arguments = parser.parse_args()
    facts = machine.describe()
    with tempfile.TemporaryDirectory(prefix="verify-distributed-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        report = {**facts, "costs": costs(), "speeds": speeds(folder), "curves": curves(folder, arguments.seeds)}
        report["broken"] = broken(folder) if sys.platform == "linux" else None
        can = os.name == "posix" and os.geteuid() == 0 and os.path.exists("/dev/net/tun")
        report["delays"] = [delayed(folder, delay) for delay in [0.0, *arguments.delays]] if can else []
    for run in report["delays"]:
        without = report["delays"][0]["speed"]
        run["model"] = modelled(without, run["delay_ms"], EPOCHS)
        run["model_gradients"] = modelled(without, run["delay_ms"], EPOCHS * (BUFFER // BATCH))
    report["checks"] = checks(report)
    text = to_markdown(report)
    write_text_whole(arguments.report_folder / "distributed.json", json.dumps(report, indent=2) + "\n")
    write_text_whole(arguments.report_folder / "distributed.md", text)
    print(text, end="")
    return 0 if all(check["passed"] for check in report["checks"]) else 1


if __name__ == "__main__":
    sys.exit(main())
