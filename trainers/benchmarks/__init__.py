"""What `mlbridge bench` measures: one module a suite, each with `run(context) -> list[Row]`, asked for by name.

A row compares ours with a peer that was asked in turn with it (ours, peer, ours, peer ...) on the same machine and in
the same minutes: speeds of a shared machine vary, their ratio hardly does. To add a suite, write its module and name it
in `SUITES`.
"""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from trainers.benchmarks.official import Official
    from trainers.benchmarks.rows import Row

SUITES = {
    "training": "whole trainings of 3DBall beside mlagents-learn: agent-steps/s; --full: the time to mean reward 95",
    "worlds": "the built-in worlds alone, without trainer or wire: agent-steps/s",
    "kernels": "the kernels beside torch and NumPy: a minibatch of PPO, acting, advantages",
    "startup": "from the shell prompt to the first agents and the first summary, before and after numba has compiled",
}


@dataclass(frozen=True)
class Context:
    """What a suite needs to know.

    Attributes:
        official: the official trainer, None where there is none: stored figures then stand in for it.
        rounds: how often everything is measured, alternated with its peer.
        steps: agent steps of a training that measures speed.
        full: measure what takes minutes a round as well.
        folder: for files; it is gone when the command ends.
    """

    official: "Official | None"
    rounds: int
    steps: int
    full: bool
    folder: Path

    def say(self, text: str) -> None:
        """Progress, on standard error."""
        print(text, file=sys.stderr, flush=True)


def suite(name: str) -> "Callable[[Context], list[Row]]":
    """The function that measures the suite `name`. Raises UsageError, naming the known suites, if there is none."""
    if name not in SUITES:
        raise UsageError(
            f"--only {name}: there is no such suite{did_you_mean(name, SUITES)} (suites: {', '.join(SUITES)})"
        )
    run: Callable[[Context], list[Row]] = importlib.import_module(f"trainers.benchmarks.{name}").run
    return run
