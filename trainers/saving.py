"""When a run saves, and what: checkpoints and models of all its behaviors, which belong to one moment."""

import functools
import logging
from collections.abc import Mapping
from typing import Any

from bridge.fleet import Fleet
from bridge.in_process import InProcessEnvironment
from trainers.behavior_trainer import BehaviorTrainer
from trainers.checkpoint import CheckpointKeeper, RunFolder
from trainers.environment_parameters import EnvironmentParameterManager
from trainers.errors import UsageError
from trainers.tensors import to_tensors
from trainers.timers import Timers

logger = logging.getLogger(__name__)


class Saver:
    """Writes the checkpoints of the behaviors that it is told of with `add`."""

    def __init__(self, folder: RunFolder, parameters: EnvironmentParameterManager, timers: Timers) -> None:
        self._folder = folder
        self._parameters = parameters
        self._timers = timers
        self._keepers: dict[str, CheckpointKeeper] = {}
        self._next: dict[str, int] = {}

    def keeper(self, name: str, keep: int) -> CheckpointKeeper:
        """That of a behavior, whose newest `keep` checkpoints stay."""
        if name not in self._keepers:
            self._keepers[name] = CheckpointKeeper(self._folder, name, keep)
        return self._keepers[name]

    def count_from(self, trainer: BehaviorTrainer) -> None:
        """The next checkpoint is due when the trainer's step has passed the next multiple of its interval."""
        interval = trainer.settings.checkpoint_interval
        self._next[trainer.name] = trainer.step // interval * interval + interval

    def due(self, trainers: Mapping[str, BehaviorTrainer]) -> bool:
        """Whether any behavior is due; each that is counts as saved from now on."""
        due = [
            trainer for trainer in trainers.values() if trainer.step >= self._next.get(trainer.name, trainer.step + 1)
        ]
        for trainer in due:
            self.count_from(trainer)
        return bool(due)

    def save(self, trainers: Mapping[str, BehaviorTrainer], fleet: Fleet | None, *, final: bool) -> bool:
        """Writes a checkpoint and an ONNX model of every behavior; False where that is not possible, as on a full disk.

        With `fleet` its worlds belong to them, and what agents are living through there. Raises UsageError where the
        `final` ones cannot be written.
        """
        try:
            self._save(trainers, fleet, final=final)
        except OSError as error:
            reason = f"{error.strerror or error} ({error.filename or self._folder.path})"
            if final:
                raise UsageError(
                    f"the end of the run was not saved: {reason}; make room there, then go on from the last checkpoint "
                    "with --resume"
                ) from error
            logger.warning("The checkpoint was not written: %s. Training goes on; the one before is whole.", reason)
            return False
        return True

    def _save(self, trainers: Mapping[str, BehaviorTrainer], fleet: Fleet | None, *, final: bool) -> None:
        with self._timers.phase("save"):
            worlds = None if fleet is None else _world_states(fleet)
            moment = sum(trainer.step for trainer in trainers.values())
            for name, trainer in trainers.items():
                state = trainer.state(with_open_trajectories=worlds is not None)
                state |= {"worlds": worlds, "moment": moment, "environment_parameters": self._parameters.state()}
                keeper = self._keepers[name]
                write = keeper.finish if final else keeper.save
                write(trainer.step, state, trainer.export, trainer.recent_reward)
                if (best := trainer.take_best()) is not None:
                    export = functools.partial(trainer.export_best, best)
                    keeper.save_best(best.step, best.state, export, best.reward)


def _world_states(fleet: Fleet) -> list[dict[str, Any]] | None:
    worlds = [
        to_tensors(environment.state())
        for environment in fleet.environments
        if isinstance(environment, InProcessEnvironment)
    ]
    return worlds or None
