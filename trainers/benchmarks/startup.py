"""From the shell prompt to the first agents and to the first summary of 3DBall over gRPC, timed from outside.

Ours is started twice a round: first with an empty cache of compiled code (numba then compiles the player's world), then
with what that start left in the cache. The official trainer comes after both, with the same player and the same cache.
Everything else that a first start finds cold, such as the disk's cache, is warm here.
"""

import os
from collections.abc import Callable
from functools import partial

from trainers.benchmarks import Context
from trainers.benchmarks.official import STORED_SECONDS_TO_AGENTS, against_official, environment
from trainers.benchmarks.rows import Row, alternate
from trainers.benchmarks.trainer_process import TrainerRun, our_program, train_3dball
from trainers.benchmarks.training import write_configuration

_LIMIT = 300  # seconds a run
_FIRST, _SECOND, _OFFICIAL = "ours, first start", "ours, second start", "official"


def run(context: Context) -> list[Row]:
    """Seconds to the first agents and to the first summary."""
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
        row("shell prompt to first agents", agents[_SECOND], agents.get(_OFFICIAL), STORED_SECONDS_TO_AGENTS),
        row(f"shell prompt to first summary, {steps}", summary[_SECOND], summary.get(_OFFICIAL)),
        row(f"shell prompt to first agents, {compiling}", agents[_FIRST], None),
        row(f"shell prompt to first summary, {compiling}", summary[_FIRST], None),
    ]
