"""In-process training of 3DBall with 12 agents and ML-Agents' settings: ours against others who need no wire either.

Stable-Baselines3 and a plain torch loop play our world, stepped in their own process. The strongest peer is a PPO whose
world, rollout and update are one jitted JAX program; its world has 3DBall's sizes and simpler physics. All print a line
for each update of 12,000 steps; speed is what lies between the first and the last, so without start and compilation.
"""

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial

from trainers.benchmarks import Context
from trainers.benchmarks.machine import cores
from trainers.benchmarks.programs import (
    JAX,
    STABLE_BASELINES3,
    Missing,
    environment_of,
    on_cores,
    peer_program,
    plain_variables,
    with_checkout,
)
from trainers.benchmarks.rows import Row, alternate
from trainers.benchmarks.trainer_process import our_program, train_3dball, watch
from trainers.benchmarks.training import write_configuration
from trainers.errors import UsageError

AGENTS = 12
LONGER = 5  # times the steps for those who take a second for what others take a minute for
_LIMIT = 1200.0  # seconds a run
_OURS = "ours"

Side = Callable[[int], float]


def run(context: Context) -> list[Row]:
    """Agent-steps/s beside each of the others; a row of one that is not here says why."""
    return [*_torch_rows(context), *_jax_rows(context)]


def _torch_rows(context: Context) -> list[Row]:
    """Those who take a hundred times as long: over `context.steps`."""
    words = [str(AGENTS), str(context.steps), "1"]  # one thread: matrices this small do not gain from more
    names = {
        "train in process vs Stable-Baselines3, 12 agents": _stable_baselines3,
        "train in process vs a plain torch loop, 12 agents": _torch_loop,
    }
    sides: dict[str, Side] = {_OURS: partial(_our_speed, context, context.steps, None)}
    told: dict[str, str] = {}
    for name, find in names.items():
        try:
            command, told[name] = find(context)
        except Missing as reason:
            told[name] = str(reason)
            continue
        sides[name] = partial(_speed, [*command, *words], with_checkout())
    context.say(f"rivals: {context.steps:,} agent steps")
    measured = alternate(context.rounds, sides, context.say)
    return [
        Row(
            name,
            "agent-steps/s",
            measured[_OURS],
            measured.get(name, []),
            "measured" if name in measured else None,
            cores(),
            beside=told[name],
        )
        for name in names
    ]


def _stable_baselines3(context: Context) -> tuple[list[str], str]:
    program = peer_program("stable_baselines3_ppo.py")
    python, versions = environment_of(STABLE_BASELINES3, context.say, install=context.install)
    told = f"Stable-Baselines3 {versions['stable-baselines3']}, torch {versions['torch']}, 1 thread, same world"
    return [python, program], told


def _torch_loop(context: Context) -> tuple[list[str], str]:
    import torch

    told = f"a loop in CleanRL's shape, torch {torch.__version__}, 1 thread, same world"
    return [sys.executable, peer_program("torch_loop_ppo.py")], told


def _jax_rows(context: Context) -> list[Row]:
    """On one core each, then on all of them."""
    steps, kinds = LONGER * context.steps, {"one core each": 1, "all cores": None}
    context.say(f"rivals: {steps:,} agent steps")
    sides: dict[str, Side] = {}
    for name, count in kinds.items():
        sides[f"ours, {name}"] = partial(_our_speed, context, steps, count)
    try:
        program = peer_program("jax_ppo.py")
        python, versions = environment_of(JAX, context.say, install=context.install)
    except Missing as reason:
        told = str(reason)
    else:
        told = f"jax {versions['jax']} on the CPU, one jitted program, simpler physics"
        for name, count in kinds.items():
            command = on_cores([python, program, str(AGENTS), str(steps)], count)
            sides[f"JAX, {name}"] = partial(_speed, command, plain_variables())
    measured = alternate(context.rounds, sides, context.say)
    return [
        Row(
            f"train in process vs jitted JAX, 12 agents, {name}",
            "agent-steps/s",
            measured[f"ours, {name}"],
            measured.get(f"JAX, {name}", []),
            "measured" if f"JAX, {name}" in measured else None,
            count or cores(),
            beside=told,
        )
        for name, count in kinds.items()
    ]


def _our_speed(context: Context, steps: int, count: int | None, seed: int) -> float:
    configuration = write_configuration(context.folder / f"3DBall-{steps}.yaml", steps)
    flags, variables = [], dict(os.environ)
    if count is not None:
        flags = [f"--set=torch_settings.threads={count}"]
        variables |= {"OMP_NUM_THREADS": str(count), "NUMBA_NUM_THREADS": str(count)}
    run = train_3dball(
        on_cores(our_program(), count),
        configuration,
        context.folder,
        seed=seed,
        limit=_LIMIT,
        in_process=True,
        environment=variables,
        flags=flags,
    )
    return run.steps_per_second()


def _speed(command: Sequence[str], variables: dict[str, str], seed: int) -> float:
    run = watch([*command, str(seed)], limit=_LIMIT, environment=variables)
    if run.exit_code != 0 or len(run.summaries) < 2:
        words = " | ".join([line.strip() for line in run.lines if line.strip()][-3:])
        raise UsageError(f"{' '.join(command[-4:])} ended with exit code {run.exit_code}: {words}")
    return run.steps_per_second()
