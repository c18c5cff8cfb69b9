"""Whole trainings of 3DBall with ML-Agents' own configuration, of one player: ours against mlagents-learn.

Both run as programs with the same flags, the same player and the same seeds, in turn, and are timed from outside by the
lines that they print. The official trainer knows no worlds in its own process: ours in process stands beside it over
gRPC.
"""

from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from trainers.benchmarks import Context
from trainers.benchmarks.official import (
    NO_OFFICIAL,
    STORED_SECONDS_TO_95,
    STORED_STEPS_PER_SECOND,
    STORED_STEPS_TO_95,
    against_official,
    environment,
)
from trainers.benchmarks.rows import Row, alternate
from trainers.benchmarks.trainer_process import TrainerRun, our_program, train_3dball
from trainers.errors import UsageError

SOLVED = 95.0  # mean reward of one summary; 100 is the most that an episode can give
_OURS, _OFFICIAL, _IN_PROCESS = "ours", "official", "ours in process"
_MANY_AGENTS = 100
_SPEED_LIMIT = 900  # seconds a run
_LEARNING_LIMIT = 1800


def run(context: Context) -> list[Row]:
    """All comparisons of whole trainings."""
    from trainers.benchmarks import players, rivals

    return [*learn(context), *rivals.run(context), *players.run(context)]


def learn(context: Context) -> list[Row]:
    """Speed beside mlagents-learn, and with `context.full` also the time and steps to mean reward 95."""
    context.say(f"training: speed over {context.steps:,} agent steps")
    rows = _speed(alternate(context.rounds, _sides(context, context.steps), context.say))
    context.say(f"training: speed over {context.steps:,} agent steps, {_MANY_AGENTS} agents")
    rows.append(_many_agents(alternate(context.rounds, _sides(context, context.steps, _MANY_AGENTS), context.say)))
    context.say(f"training: in process, once mean reward {SOLVED:.0f} is reached")
    rows.append(_in_process_once_solved(context))
    if context.full:
        context.say(f"training: until mean reward {SOLVED:.0f}")
        rows += _learning(alternate(context.rounds, _sides(context, None), context.say))
    return rows


def write_configuration(path: Path, max_steps: int | None) -> Path:
    """ML-Agents' configuration of 3DBall as a file, with another `max_steps` if one is given; returns `path`."""
    text = (resources.files("trainers") / "configs" / "3DBall.yaml").read_text(encoding="utf-8")
    if max_steps is not None:
        configuration = yaml.safe_load(text)
        configuration["behaviors"]["3DBall"]["max_steps"] = max_steps
        text = yaml.safe_dump(configuration, sort_keys=False)
    path.write_text(text, encoding="utf-8")
    return path


def solved(run: TrainerRun) -> bool:
    """Whether a summary of the run has the mean reward 95."""
    return run.reached(SOLVED) is not None


def _sides(context: Context, max_steps: int | None, agents: int | None = None) -> dict[str, Any]:
    """What is measured in turn: trainings of `max_steps`, or with None until mean reward 95.

    With `agents` over gRPC only.
    """
    name = "3DBall.yaml" if max_steps is None else f"3DBall-{max_steps}.yaml"
    configuration = write_configuration(context.folder / name, max_steps)

    def train(program: tuple[str, ...], seed: int, **options: Any) -> TrainerRun:
        if max_steps is None:
            options |= {"until": solved, "limit": _LEARNING_LIMIT}
        else:
            options |= {"limit": _SPEED_LIMIT}
        run = train_3dball(program, configuration, context.folder, seed=seed, agents=agents, **options)
        if max_steps is None and not solved(run):
            raise UsageError(f"{program[0]} trained to the end with seed {seed} and did not reach {SOLVED:.0f}")
        return run

    sides: dict[str, Any] = {_OURS: partial(train, our_program())}
    if context.official is not None:
        sides[_OFFICIAL] = partial(train, context.official.program, environment=environment())
    if agents is None:
        sides[_IN_PROCESS] = partial(train, our_program(), in_process=True)
    return sides


def _many_agents(runs: dict[str, list[TrainerRun]]) -> Row:
    steady = {side: [run.steps_per_second() for run in of_side] for side, of_side in runs.items()}
    name = f"train 3DBall over gRPC, {_MANY_AGENTS} agents"
    return against_official(name, "agent-steps/s", steady[_OURS], steady.get(_OFFICIAL), beside=_beside(runs))


def _beside(runs: dict[str, list[TrainerRun]]) -> str:
    return "mlagents-learn" if _OFFICIAL in runs else NO_OFFICIAL


def _speed(runs: dict[str, list[TrainerRun]]) -> list[Row]:
    unit = "agent-steps/s"
    steady = {side: [run.steps_per_second() for run in of_side] for side, of_side in runs.items()}
    overall = {side: [run.steps_per_second_overall() for run in of_side] for side, of_side in runs.items()}
    return [
        against_official(
            "train 3DBall over gRPC, 12 agents", unit, steady[_OURS], steady.get(_OFFICIAL), STORED_STEPS_PER_SECOND
        ),
        against_official(
            "train 3DBall over gRPC, 12 agents, start and export included",
            unit,
            overall[_OURS],
            overall.get(_OFFICIAL),
        ),
        against_official(
            "train 3DBall in process, 12 agents (peer over gRPC)",
            unit,
            steady[_IN_PROCESS],
            steady.get(_OFFICIAL),
            STORED_STEPS_PER_SECOND,
        ),
    ]


def _in_process_once_solved(context: Context) -> Row:
    """Whole trainings as they come, from mean reward 95 on: early episodes are short, which costs messages."""
    configuration = write_configuration(context.folder / "3DBall-whole.yaml", None)

    def speed(seed: int) -> float:
        run = train_3dball(
            our_program(), configuration, context.folder, seed=seed, limit=_LEARNING_LIMIT, in_process=True
        )
        start, last = run.reached(SOLVED), run.summaries[-1]
        if start is None or start.step == last.step:
            raise UsageError(f"3DBall in process with seed {seed} did not reach {SOLVED:.0f} in time to be measured")
        return (last.step - start.step) / (last.seconds - start.seconds)

    speeds = alternate(context.rounds, {_IN_PROCESS: speed}, context.say)[_IN_PROCESS]
    name = f"train 3DBall in process, 12 agents, from mean reward {SOLVED:.0f} on"
    return against_official(name, "agent-steps/s", speeds, None)


def _learning(runs: dict[str, list[TrainerRun]]) -> list[Row]:
    ends = {side: [run.reached(SOLVED) for run in of_side] for side, of_side in runs.items()}
    seconds = {side: [end.seconds for end in of_side if end is not None] for side, of_side in ends.items()}
    steps = {side: [float(end.step) for end in of_side if end is not None] for side, of_side in ends.items()}
    return [
        against_official(
            "3DBall over gRPC, shell prompt to mean reward 95",
            "s",
            seconds[_OURS],
            seconds.get(_OFFICIAL),
            STORED_SECONDS_TO_95,
            less_is_better=True,
        ),
        against_official(
            "3DBall over gRPC, steps to mean reward 95",
            "agent steps",
            steps[_OURS],
            steps.get(_OFFICIAL),
            STORED_STEPS_TO_95,
            less_is_better=True,
        ),
        against_official(
            "3DBall in process, shell prompt to mean reward 95 (peer over gRPC)",
            "s",
            seconds[_IN_PROCESS],
            seconds.get(_OFFICIAL),
            STORED_SECONDS_TO_95,
            less_is_better=True,
        ),
    ]
