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
    "bridge": "the bridge alone beside bare grpcio and mlagents_envs, with a canned player",
    "training": "whole trainings of 3DBall: learn, rivals and players; --full: the time to mean reward 95",
    "worlds": "the built-in worlds alone, without trainer or wire: agent-steps/s",
    "kernels": "the kernels beside torch and NumPy: a minibatch of PPO, acting, advantages",
    "startup": "from the shell prompt to --help, first agents, first summary; imports; numba's cache empty and filled",
    "growth": "what agents, players, sizes of networks and observations cost; memory; loops of Python over agents",
}
# Parts of `training`, which can be asked for alone.
PARTS = {
    "learn": "over gRPC beside mlagents-learn",
    "rivals": "in process beside Stable-Baselines3, a plain torch loop and a jitted JAX program",
    "players": "4 players beside 1",
}
# A file bridge.py here would hide the package `bridge` from programs that are started by their path in this folder.
_ELSEWHERE = {"bridge": ("bridge_alone", "run"), "learn": ("training", "learn")}


@dataclass(frozen=True)
class Context:
    """What a suite needs to know.

    Attributes:
        official: the official trainer, None where there is none: stored figures then stand in for it.
        rounds: how often everything is measured, alternated with its peer.
        steps: agent steps of a training that measures speed.
        full: measure what takes minutes a round as well.
        folder: for files; it is gone when the command ends.
        seconds: how long one of the measurements of exchanges takes.
        install: make the environments of peers that are not there.
    """

    official: "Official | None"
    rounds: int
    steps: int
    full: bool
    folder: Path
    seconds: float = 0.5
    install: bool = True

    def say(self, text: str) -> None:
        """Progress, on standard error."""
        print(text, file=sys.stderr, flush=True)


def suite(name: str) -> "Callable[[Context], list[Row]]":
    """The function that measures the suite `name`. Raises UsageError, naming the known suites, if there is none."""
    known = SUITES | PARTS
    if name not in known:
        raise UsageError(
            f"--only {name}: there is no such suite{did_you_mean(name, known)} (suites: {', '.join(known)})"
        )
    module, function = _ELSEWHERE.get(name, (name, "run"))
    run: Callable[[Context], list[Row]] = getattr(importlib.import_module(f"trainers.benchmarks.{module}"), function)
    return run
