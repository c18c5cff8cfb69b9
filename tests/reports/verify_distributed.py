"""Is a training on several processes faster, and does it learn the same? Writes distributed.json and distributed.md.

python tests/reports/verify_distributed.py [--seeds 1 2 ... 10] [--delays 1 10 50] [--report-folder FOLDER]

`make verify-distributed` runs it; give it a quiet machine with two cores at least. Players that sleep 5 ms a step stand
for Unity players, whose frames keep other cores busy. Delays are those of a line between two network namespaces
(tests/distributed/relay.py), which needs root; without it that part is left out and said so.
"""

import argparse
import contextlib
import itertools
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from trainers.benchmarks import machine, waiting_player
from trainers.run_folder import write_text_whole

SOLVED = 95.0
NOISE = 0.01  # the least p that passes; four are looked at
COMPARED = 84_000  # agent steps that every training takes; the mean of the curve up to there
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
    "max_steps": 300_000,
}
MEETING = 85_000  # bytes that each rank tells of 6,000 steps: episodes and statistics
FEW, PARAMETERS, WITH_MOMENTS = "16", "35,717", "107,151"  # numbers: a few, gradients and weights of 3DBall's networks
NUMBERS = (FEW, PARAMETERS, WITH_MOMENTS, "268,549", "1,000,000")
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
    """Agent-steps a second from the second summary, before which there may be no update, to the last one."""
    return (lines[-1]["step"] - lines[1]["step"]) / (lines[-1]["seconds"] - lines[1]["seconds"])


def workers(count: int) -> list[str]:
    return [] if count == 1 else ["--workers", str(count)]


def speeds(folder: Path, rounds: int) -> dict[str, Any]:
    """Agent-steps a second with 1 and 2 ranks in turn, where players are slow and where the update is."""
    waiting = ["--env", str(Path(waiting_player.__file__)), "--set=behaviors.3DBall.max_steps=60000"]
    found: dict[str, Any] = {}
    for name, arguments, keys, last in (
        ("players that wait 5 ms", waiting, {}, ["--env-args", "--wait-ms", "5"]),
        ("256x3, batch 2048, in process", ["--env", "3DBall", "--in-process"], WIDE, []),
    ):
        each: dict[str, list[float]] = {"1": [], "2": []}
        for _ in range(rounds):
            for count, figures in each.items():
                run = [*arguments, f"--run-id=speed-{count}", "--force", *workers(int(count)), *last]
                figures.append(speed(learn(run, folder, keys)))
        found[name] = each
        say(f"{name}: {each}")
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
            area = statistics.fmean(line["reward"] for line in lines if line["step"] <= COMPARED)
            found[name].append(
                {
                    "seed": seed,
                    "steps_to_95": lines[-1]["step"] if solved else None,
                    "area": area,
                    "speed": speed(lines),
                    "curve": lines,
                }
            )
            say(f"{name}, seed {seed}: 95 at {found[name][-1]['steps_to_95']}, {speed(lines):,.0f} agent-steps/s")
    return found


@contextlib.contextmanager
def hosts_with(delay: float | None) -> Iterator[tuple[list[list[str]], dict[str, str]]]:
    """How a command begins on each of two hosts with `delay` ms between them, and its environment variables.

    Without a delay, both are this machine.
    """
    variables = os.environ | {"OMP_NUM_THREADS": "1"}
    if delay is None:
        yield [[], []], variables | {"GLOO_SOCKET_IFNAME": "lo"}
        return
    names = [f"vd{os.getpid()}{which}" for which in "ab"]
    command = [sys.executable, str(RELAY), f"--delay-ms={delay}", *names]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as relay:
        assert relay.stdout is not None and relay.stdout.readline() == "ready\n"
        try:
            yield [["ip", "netns", "exec", name] for name in names], variables | {"GLOO_SOCKET_IFNAME": "line"}
        finally:
            relay.communicate(timeout=60)


def delayed(folder: Path, delay: float) -> dict[str, Any]:
    """A training to mean reward 95 on two hosts with `delay` ms between them."""
    with hosts_with(delay) as (inside, variables):
        hosts = []
        for number, name in enumerate(inside):
            command = [*name, sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
            command += ["--rdzv-backend=c10d", "--rdzv-endpoint=10.77.0.1:29400", "--rdzv-id=x"]
            command += [f"--rdzv-conf=is_host={1 - number}", f"--local-addr=10.77.0.{number + 1}"]
            command += ["-m", "trainers.commands.learn", "3DBall", "--env=3DBall", "--in-process", "--force"]
            command += [f"--results-dir={folder}", "--run-id=delayed", f"--stop-at-reward={SOLVED}"]
            command += ["--set=torch_settings.averaging=weights", "--set=torch_settings.threads=1"]
            hosts.append(subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True))
        outputs = [host.communicate(timeout=LIMIT)[0] for host in hosts]
    lines = summaries(outputs[0])
    result = {"delay_ms": delay, "speed": speed(lines), "reward": lines[-1]["reward"], "step": lines[-1]["step"]}
    say(f"delay of {delay} ms: {result}")
    return {**result, "costs": costs_of(delay)}


def broken(folder: Path) -> dict[str, Any]:
    """A training to mean reward 95 of which ranks and a player are killed, in updates and in a checkpoint."""
    command = [sys.executable, "-m", "trainers.commands", "learn", "3DBall", "--env=3DBall", "--workers=2", "--force"]
    command += [f"--results-dir={folder}", "--run-id=broken", f"--stop-at-reward={SOLVED}", "--timeout-wait=30"]
    command += ["--set=behaviors.3DBall.checkpoint_interval=12000"]
    plan = ["second rank in an update", "first rank in an update", "first rank in a checkpoint", "player in an update"]
    killed: list[dict[str, Any]] = []
    output, everyone = "", set()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as training:
        assert training.stdout is not None
        for line in training.stdout:
            output += line
            at = SUMMARY.search(line)
            if at is None:
                continue
            ranks = _children(training.pid, b"trainers.commands.learn")
            players = [player for rank in ranks for player in _children(rank, b"--mlagents-port")]
            everyone |= {*ranks, *players}
            if len(killed) < len(plan) and int(at[1]) >= 24_000 + 12_000 * len(killed):
                who = plan[len(killed)]
                victim = players[-1] if who.startswith("player") else ranks[who.startswith("second")]
                if who.endswith("checkpoint"):
                    while not any((folder / "broken" / "3DBall").glob(".tmp-*")):
                        time.sleep(0.0005)
                else:
                    time.sleep(0.03)  # an update follows the summary, and takes several times as long
                os.kill(victim, signal.SIGKILL)
                saved = [int(path.stem.rpartition("-")[2]) for path in folder.glob("broken/3DBall/3DBall-[0-9]*.pt")]
                killed.append({"who": who, "step": int(at[1]), "saved": max(saved)})
        code = training.wait(LIMIT)
    lines, scalars = summaries(output), (folder / "broken/run_logs/3DBall.csv").read_text()
    steps = [row.split(",")[0] for row in scalars.splitlines() if TAG in row]
    result = {
        "killed": killed,
        "resumed": [int(step) for step in re.findall(r"Resuming '3DBall' from step (\d+)", output)],
        "code": code,
        "reward": lines[-1]["reward"],
        "steps_to_95": lines[-1]["step"],
        "steps_twice": len(steps) - len(set(steps)),
        "left_behind": sum(Path(f"/proc/{pid}").exists() for pid in everyone),
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


def modelled(run: dict[str, Any], without: dict[str, Any], number: str, averages: int) -> float:
    """Agent-steps a second on a line with a delay, from those `without` one, where weights were averaged. In an
    update, messages are a meeting, the normalisers, the shares, and so many averages of `number` numbers."""

    def talking(costs: dict[str, float], number: str, averages: int) -> float:
        return costs["meeting"] + 2 * costs[FEW] + averages * costs[number]

    saved = talking(without["costs"], WITH_MOMENTS, EPOCHS)
    return BUFFER / (BUFFER / without["speed"] - saved + talking(run["costs"], number, averages))


def costs_of(delay: float | None) -> dict[str, float]:
    """Seconds that two ranks on hosts with this delay, in ms, or on one take to agree. See `add_up`."""
    with hosts_with(delay) as (inside, variables), tempfile.TemporaryDirectory() as folder:
        ranks = [
            subprocess.Popen([*inside[rank], sys.executable, __file__, "--add-up", folder, str(rank)], env=variables)
            for rank in range(2)
        ]
        if any(rank.wait(LIMIT) != 0 for rank in ranks):
            sys.exit("verify-distributed: adding up numbers failed")
        found: dict[str, float] = json.loads(Path(folder, "costs.json").read_text())
    return found


def add_up(folder: str, rank: int) -> None:
    """One of two ranks: seconds that a meeting and the addition of so many numbers take, the median, to costs.json."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.FileStore(f"{folder}/store", 2), rank=rank, world_size=2)
    found: dict[str, float] = {}

    def measure(name: str, exchange: Callable[[], Any], pause: float) -> None:
        seconds: list[float] = []
        begun = time.perf_counter()
        while len(seconds) < 5 or (time.perf_counter() - begun < 3 and len(seconds) < 200):
            time.sleep(pause)
            start = time.perf_counter()
            exchange()
            seconds.append(time.perf_counter() - start)
            goes_on = torch.tensor([time.perf_counter() - begun])
            dist.broadcast(goes_on, 0)  # both measure as often
            begun = time.perf_counter() - float(goes_on)
        found[name] = statistics.median(seconds)

    # After the time in which a buffer is gathered, the line has to be warmed up again.
    measure("meeting", lambda: dist.all_gather_object([None, None], bytes(MEETING)), 0.3)
    for count in NUMBERS:
        numbers = torch.ones(int(count.replace(",", "")))
        measure(count, partial(dist.all_reduce, numbers), 0.0)
    if rank == 0:
        Path(folder, "costs.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def by_chance(one: Sequence[float], two: Sequence[float]) -> float:
    """The p of an exact permutation test: the share of all ways to deal out the values to two groups of these sizes
    whose means are as far apart as these are, or farther.
    """
    every = [*one, *two]
    apart = abs(statistics.fmean(one) - statistics.fmean(two)) - 1e-9
    deals = list(itertools.combinations(range(len(every)), len(one)))
    total, others = sum(every), len(two)
    sums = [sum(every[place] for place in deal) for deal in deals]
    return sum(abs(part / len(one) - (total - part) / others) >= apart for part in sums) / len(deals)


def checks(report: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for (name, figures), least in zip(report["speeds"].items(), (1.8, 1.5), strict=True):
        ratio = statistics.median(figures["2"]) / statistics.median(figures["1"])
        found.append({"name": f"{name}: 2 ranks {ratio:.2f} times as fast, at least {least}", "passed": ratio >= least})
    one = report["curves"]["1 rank"]
    for name in ("2 ranks, gradients", "2 ranks, weights"):
        two = report["curves"][name]
        solved = all(run["steps_to_95"] is not None for run in [*one, *two])
        text = f"{name}: 95 on every seed, and the seed alone explains the differences from 1 rank"
        if solved:
            shares = [
                by_chance([run[key] for run in one], [run[key] for run in two]) for key in ("steps_to_95", "area")
            ]
            text += f" (p {shares[0]:.2f} for steps to 95, {shares[1]:.2f} for the mean of the curve)"
        found.append({"name": text, "passed": solved and min(shares) >= NOISE})
    if (run := report["broken"]) is not None:
        zeros = run["steps_twice"], run["code"], run["left_behind"]
        again = run["reward"] >= SOLVED and len(run["killed"]) == 4 and zeros == (0, 0, 0)
        newest = [one["saved"] for one in run["killed"] if "rank" in one["who"]] == run["resumed"]
        who = ", ".join(one["who"] for one in run["killed"])
        found.append({"name": f"95 though killed: {who}; no step twice, no process left", "passed": again})
        found.append({"name": "each time from the newest checkpoint that was whole", "passed": newest})
    for run in report["delays"]:
        found.append({"name": f"95 at a delay of {run['delay_ms']} ms", "passed": run["reward"] >= SOLVED})
    return found


def to_markdown(report: dict[str, Any]) -> str:
    lines = ["# Several processes on one training", "", "## Agent-steps/s", "", "| | 1 rank | 2 ranks | times |"]
    lines += ["|---|---:|---:|---:|"]
    for name, figures in report["speeds"].items():
        one, two = (statistics.median(each) for each in figures.values())
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
    lines += ["| delay one way | agent-steps/s | model | model with gradients | mean reward |", "|---:|" + "---:|" * 4]
    for run in report["delays"]:
        lines.append(
            f"| {run['delay_ms']:g} ms | {run['speed']:,.0f} | {run['model']:,.0f} | {run['model_gradients']:,.0f} | "
            f"{run['reward']:.1f} |"
        )
    if not report["delays"]:
        lines.append("Not measured: network namespaces need root.")
    lines += ["", "## What messages take", "", "Milliseconds of a meeting, and of adding up so many numbers:", ""]
    lines += [f"| | meeting | {' | '.join(NUMBERS)} |", "|---|---:" + "|---:" * len(NUMBERS) + "|"]
    few, many = report["costs"][FEW], report["costs"][NUMBERS[-1]]
    a_byte = (
        f"On one host another rank costs {1e3 * few:.2f} ms for each addition and {250 * (many - few):.2f} ms a MB."
    )
    hosts = {f"{run['delay_ms']:g} ms one way": run["costs"] for run in report["delays"]}
    for name, costs in {"one host": report["costs"], **hosts}.items():
        lines.append(f"| {name} | {' | '.join(f'{1e3 * costs[one]:,.2f}' for one in ('meeting', *NUMBERS))} |")
    lines += ["", a_byte]
    lines += ["", *[f"- {'passed' if check['passed'] else 'FAILED'}: {check['name']}" for check in report["checks"]]]
    return "\n".join([*lines, "", machine.in_words(report), ""])


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Check what several processes bring, and write a report.")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(1, 11)), help="default: %(default)s")
    parser.add_argument("--delays", type=float, nargs="*", default=[1, 10, 50], help="ms one way; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each speed (default: %(default)s)")
    parser.add_argument("--add-up", nargs=2, metavar=("FOLDER", "RANK"), help=argparse.SUPPRESS)
    parser.add_argument("--report-folder", type=Path, default=Path(__file__).parent, help="default: this file's folder")
    arguments = parser.parse_args()
    if arguments.add_up is not None:
        add_up(arguments.add_up[0], int(arguments.add_up[1]))
        return 0
    facts = machine.describe()
    with tempfile.TemporaryDirectory(prefix="verify-distributed-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        report = {
            **facts,
            "costs": costs_of(None),
            "speeds": speeds(folder, arguments.rounds),
            "curves": curves(folder, arguments.seeds),
        }
        report["broken"] = broken(folder) if sys.platform == "linux" else None
        can = os.name == "posix" and os.geteuid() == 0 and os.path.exists("/dev/net/tun")
        report["delays"] = [delayed(folder, delay) for delay in [0.0, *arguments.delays]] if can else []
    for run in report["delays"]:
        without = report["delays"][0]
        run["model"] = modelled(run, without, WITH_MOMENTS, EPOCHS)
        run["model_gradients"] = modelled(run, without, PARAMETERS, EPOCHS * (BUFFER // BATCH))
    report["checks"] = checks(report)
    text = to_markdown(report)
    write_text_whole(arguments.report_folder / "distributed.json", json.dumps(report, indent=2) + "\n")
    write_text_whole(arguments.report_folder / "distributed.md", text)
    print(text, end="")
    return 0 if all(check["passed"] for check in report["checks"]) else 1


if __name__ == "__main__":
    sys.exit(main())
