"""What grows with what: exchanges with agents and players, updates with networks and observations, memory with agents.

And whether Python loops over agents: the lines that the trainer's process runs for a message of 100 agents and of
10,000 are counted, over gRPC, where that process holds no world.
"""

import contextlib
import sys
from functools import partial
from pathlib import Path
from typing import Any

from bridge.ports import find_free_port
from trainers.benchmarks import Context
from trainers.benchmarks.bridge_alone import SLICES, host
from trainers.benchmarks.machine import cores
from trainers.benchmarks.programs import answer_of
from trainers.benchmarks.rows import Row, alternate
from trainers.benchmarks.trainer_process import TrainerRun
from trainers.kernels import status
from unity_envs import executables

AGENTS = (1, 10, 100, 1000, 10_000)
PLAYERS = (1, 2, 4, 8, 16)
HIDDEN = (32, 64, 128, 256, 512)
OBSERVATIONS = (8, 64, 512)
TRAINED_AGENTS = (100, 1000, 5000, 10_000)
COUNTED_AGENTS = (100, 10_000)
_MESSAGES = 128  # of a training, about
_HORIZON = 32  # messages that an update learns from
_LIMIT = 600.0  # seconds a training
_FIRST_PORT = 6505


def run(context: Context) -> list[Row]:
    """All rows; those of the kernels only where there are kernels."""
    context.say("growth: agents and players")
    rows = [_exchange_row(context, agents) for agents in AGENTS] + _player_rows(context)
    if status().native:
        from trainers.benchmarks.kernels import size_row

        context.say("growth: networks and observations")
        sizes = [(hidden, OBSERVATIONS[0]) for hidden in HIDDEN] + [(128, seen) for seen in OBSERVATIONS[1:]]
        rows += [size_row(context, hidden, seen) for hidden, seen in sizes]
    context.say("growth: trainings in process")
    rows += _training_rows(context)
    context.say("growth: lines of Python a message")
    rows.append(_lines_row(context))
    return rows


def _exchange_row(context: Context, agents: int) -> Row:
    with contextlib.ExitStack() as closing:
        sides = {
            f"{mode}, {agents:,} agents": closing.enter_context(host(mode, agents, context.seconds))
            for mode in ("fleet", "floor")
        }
        ours, floor = alternate(context.rounds * SLICES, sides, context.say).values()
    times = [[1e6 / value for value in values] for values in (ours, floor)]
    return Row(f"an exchange, {agents:,} agents", "us", *times, "measured", 2, True, "bare grpcio, same payloads")


def _player_rows(context: Context) -> list[Row]:
    """Canned players of 12 agents each."""
    rows = []
    for players in PLAYERS:
        with contextlib.ExitStack() as closing:
            sides = {
                f"{count} canned players": closing.enter_context(host("fleet", 12, context.seconds, players=count))
                for count in dict.fromkeys((players, 1))
            }
            measured = [
                [12 * value for value in values]
                for values in alternate(context.rounds * SLICES, sides, context.say).values()
            ]
        several, one = measured[0], measured[-1]
        name, beside = f"the fleet, {players} canned players of 12 agents", "ours with 1 player"
        rows.append(Row(name, "agent-steps/s", several, one, "measured", cores(), beside=beside))
    return rows


def _training_rows(context: Context) -> list[Row]:
    sides = {f"{agents:,} agents": partial(_probe, context, "memory", agents, True) for agents in TRAINED_AGENTS}
    measured = dict(zip(TRAINED_AGENTS, alternate(context.rounds, sides, context.say).values(), strict=True))
    rows = []
    for agents, found in measured.items():
        speeds = [run.steps_per_second() for _, run in found]
        rows.append(Row(f"training in process, {agents:,} agents", "agent-steps/s", speeds, [], None, cores()))
    memory = {agents: [facts["mebibytes"] for facts, _ in found] for agents, found in measured.items()}
    if None in memory[TRAINED_AGENTS[0]]:
        context.say("growth: this system does not tell how much memory a process has held")
        return rows
    for agents, mebibytes in memory.items():
        name = f"memory of a training in process, {agents:,} agents"
        rows.append(Row(name, "MiB", mebibytes, [], None, cores(), True))
    return [*rows, memory_row(memory)]


def memory_row(memory: dict[int, list[float]]) -> Row:
    """KiB that an agent adds between the two greatest numbers of agents, beside the two next to those.

    `memory`: number of agents, ascending -> MiB, a value a round. The ratio is 1 where memory is linear in agents.
    """
    few, middle, many = list(memory)[-3:]

    def slope(low: int, high: int) -> list[float]:
        return [1024 * (more - less) / (high - low) for less, more in zip(memory[low], memory[high], strict=True)]

    name = f"memory that an agent adds, {middle:,} to {many:,} agents"
    beside = f"the same, {few:,} to {middle:,} agents: 1 is linear"
    return Row(name, "KiB", slope(middle, many), slope(few, middle), "measured", cores(), True, beside)


def _lines_row(context: Context) -> Row:
    few, many = (_probe(context, "lines", agents, False, 1)[0] for agents in COUNTED_AGENTS)
    return lines_row(few, many, COUNTED_AGENTS)


def lines_row(few: dict[str, Any], many: dict[str, Any], agents: tuple[int, int]) -> Row:
    """Lines a message with many agents, beside those with few; and which line grew most (`training_probe.py`)."""

    def a_message(found: dict[str, Any], line: str) -> float:
        return float(found["lines"].get(line, 0) / max(1, found["messages"]))

    grown = {line: a_message(many, line) - a_message(few, line) for line in many["lines"] if line != "all"}
    worst = max(grown, key=lambda line: grown[line], default="")
    name = f"lines of Python a message, {agents[1]:,} agents"
    beside = f"{agents[0]:,} agents; most grown: {worst}, {a_message(few, worst):.1f} to {a_message(many, worst):.1f}"
    return Row(name, "lines", [a_message(many, "all")], [a_message(few, "all")], "measured", 1, True, beside)


def _probe(context: Context, what: str, agents: int, in_process: bool, turn: int) -> tuple[dict[str, Any], TrainerRun]:
    """A short training of 3DBall (`training_probe.py`)."""
    path: Path = context.folder / f"growth-{agents}.yaml"
    path.write_text(_CONFIGURATION.format(buffer=_HORIZON * agents, horizon=_HORIZON, steps=_MESSAGES * agents))
    where = ["--env=3DBall", "--in-process"]
    if not in_process:
        where = [f"--env={executables.path('3DBall')}", f"--base-port={find_free_port(_FIRST_PORT)}"]
    command = [sys.executable, "-m", "trainers.benchmarks.training_probe", what, "learn", str(path), *where]
    command += [f"--run-id=growth-{what}-{agents}-{turn}", f"--results-dir={context.folder}", f"--seed={turn}"]
    return answer_of([*command, "--torch-device=cpu", "--env-args", "--agents", str(agents)], _LIMIT)


_CONFIGURATION = """\
behaviors:
  3DBall:
    trainer_type: ppo
    hyperparameters: {{batch_size: 2048, buffer_size: {buffer}, num_epoch: 1, learning_rate: 0.0003}}
    network_settings: {{normalize: true, hidden_units: 128, num_layers: 2}}
    time_horizon: {horizon}
    summary_freq: {buffer}
    max_steps: {steps}
"""
