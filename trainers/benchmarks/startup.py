"""From the shell prompt to the help, to imports, to the first agents and the first summary of 3DBall over gRPC.

Ours is started twice a round: first with an empty cache of compiled code (numba then compiles the player's world), then
with what that start left in the cache. The official trainer comes after both, with the same player and the same cache.
Everything else that a first start finds cold, such as the disk's cache, is warm here.
"""

import os
import sys
from collections.abc import Callable
from functools import partial

from trainers.benchmarks import Context
from trainers.benchmarks.official import NO_OFFICIAL, STORED_SECONDS_TO_AGENTS, against_official, environment
from trainers.benchmarks.rows import Row, alternate
from trainers.benchmarks.trainer_process import TrainerRun, our_program, train_3dball, watch
from trainers.benchmarks.training import write_configuration
from trainers.errors import UsageError

_LIMIT = 300  # seconds a run
_FIRST, _SECOND, _OFFICIAL = "ours, first start", "ours, second start", "official"


def run(context: Context) -> list[Row]:
    """Seconds of programs that end at once, and to the first agents and to the first summary."""
    rows = _short_programs(context)
    context.say("startup: until the first summary")
    configuration = write_configuration(context.folder / "startup.yaml", None)

    def start(program: tuple[str, ...], variables: dict[str, str], turn: int) -> TrainerRun:
        cache = {"NUMBA_CACHE_DIR": str(context.folder / f"compiled-{turn}")}
        return train_3dball(
            program,
            configuration,
            context.folder,
            seed=turn,
            limit=_LIMIT,
            until=lambda run: bool(run.summaries),
            environment={**variables, **cache},
        )

    sides: dict[str, Callable[[int], TrainerRun]] = {
        _FIRST: partial(start, our_program(), dict(os.environ)),
        _SECOND: partial(start, our_program(), dict(os.environ)),
    }
    if context.official is not None:
        sides[_OFFICIAL] = partial(start, context.official.program, environment())
    runs = alternate(context.rounds, sides, context.say)
    agents = {side: [run.connected_seconds or run.seconds for run in of_side] for side, of_side in runs.items()}
    summary = {side: [run.summaries[0].seconds for run in of_side] for side, of_side in runs.items()}
    steps = f"{runs[_SECOND][0].summaries[0].step:,} agent steps"
    compiling = "numba's cache empty"

    def row(name: str, ours: list[float], measured: list[float] | None, stored: tuple[float, ...] = ()) -> Row:
        return against_official(f"3DBall over gRPC, {name}", "s", ours, measured, stored, less_is_better=True)

    return [
        *rows,
        row("shell prompt to first agents", agents[_SECOND], agents.get(_OFFICIAL), STORED_SECONDS_TO_AGENTS),
        row(f"shell prompt to first summary, {steps}", summary[_SECOND], summary.get(_OFFICIAL)),
        row(f"shell prompt to first agents, {compiling}", agents[_FIRST], None),
        row(f"shell prompt to first summary, {compiling}", summary[_FIRST], None),
    ]


def _short_programs(context: Context) -> list[Row]:
    """Programs that do nothing but start: the help, and imports."""
    context.say("startup: programs that end at once")
    of_client, of_trainer = "from {} import UnityEnvironment", "import {}"
    programs: dict[str, tuple[list[str], list[str]]] = {
        "the trainer's --help": (
            [*our_program()[:-1], "--help"],
            ["-m", "mlagents.trainers.learn", "--help"],
        ),
        "import of UnityEnvironment": (
            [sys.executable, "-c", of_client.format("bridge")],
            ["-c", of_client.format("mlagents_envs.environment")],
        ),
        "import of the trainer": (
            [sys.executable, "-c", of_trainer.format("trainers.run")],
            ["-c", of_trainer.format("mlagents.trainers.learn")],
        ),
    }
    rows = []
    for name, (ours, peer) in programs.items():
        sides = {f"{name}, ours": partial(_seconds, ours, dict(os.environ))}
        if context.official is not None:
            sides[f"{name}, official"] = partial(_seconds, [context.official.python, *peer], environment())
        measured, *of_peer = alternate(context.rounds, sides, context.say).values()
        beside = "" if of_peer else NO_OFFICIAL
        row = against_official(name, "s", measured, of_peer[0] if of_peer else None, less_is_better=True, beside=beside)
        rows.append(row)
    return rows


def _seconds(command: list[str], variables: dict[str, str], _: int) -> float:
    """Of a program that has to end with the exit code 0."""
    run = watch(command, limit=_LIMIT, environment=variables)
    if run.exit_code != 0:
        raise UsageError(f"{command[0]} ended with exit code {run.exit_code}: {' | '.join(run.lines[-3:])}")
    return run.seconds
