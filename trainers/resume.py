"""What a run goes on from: the worlds and the networks that an earlier one saved."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bridge.fleet import Fleet, FleetSteps
from bridge.in_process import InProcessEnvironment
from trainers.behavior_trainer import BehaviorTrainer
from trainers.checkpoint import CheckpointKeeper, RunFolder, load_initial_state, load_state, newest_whole
from trainers.config import TrainerSettings
from trainers.console import Console
from trainers.environment_parameters import EnvironmentParameterManager
from trainers.run_folder import is_temporary
from trainers.tensors import to_arrays

logger = logging.getLogger(__name__)


def restored_worlds(fleet: Fleet, folder: RunFolder, console: Console) -> dict[str, FleetSteps] | None:
    """Puts the worlds of `fleet` back to where they were saved, and returns the steps that were outstanding then.

    None where that cannot be done, as with players in other processes: episodes then start anew.
    """
    environments = [each for each in fleet.environments if isinstance(each, InProcessEnvironment)]
    if len(environments) < len(fleet.environments):
        return None
    saved = _saved_worlds(folder)
    if saved is None or len(saved) != len(environments):
        console.warning("The checkpoints hold no worlds to go on with: episodes start anew.")
        return None
    try:
        pairs = zip(environments, saved, strict=True)
        return fleet.join([environment.load_state(state) for environment, state in pairs])
    except (ValueError, KeyError) as error:
        console.warning(f"The saved world does not fit this one ({error}): episodes start anew.")
        return None


def _saved_worlds(folder: RunFolder) -> list[dict[str, Any]] | None:
    """The worlds' states, None unless the checkpoints of all behaviors were written at the same moment beside them."""
    states = _states(folder)
    if len({state["moment"] for state in states}) != 1 or not states[0]["worlds"]:
        return None
    worlds: list[dict[str, Any]] = to_arrays(states[0]["worlds"])
    return worlds


def _states(folder: RunFolder) -> list[dict[str, Any]]:
    """What the behaviors go on from; which that is, and why, is said where their networks are loaded."""
    names = sorted({path.parent.name for path in folder.path.glob("*/*.pt") if not is_temporary(path)})
    return [load_state(newest_whole(folder, name, lambda _: None)) for name in names]


def restore_parameters(parameters: EnvironmentParameterManager, folder: RunFolder) -> None:
    """Puts the curricula to where the newest checkpoint was. Raises UsageError for lessons that there are no more."""
    states = _states(folder)
    saved = [state for state in states if "environment_parameters" in state]
    if saved:
        parameters.load_state(max(saved, key=lambda state: state["moment"])["environment_parameters"])


def load_behavior(
    trainer: BehaviorTrainer,
    keeper: CheckpointKeeper,
    others: Iterable[str],
    console: Console,
    *,
    resume: bool,
    initialize_from: str | None,
    with_open_trajectories: bool,
) -> None:
    """Loads what there is for a behavior, and says so. `others`: the other behaviors of the run."""
    name, settings, folder = trainer.name, trainer.settings, keeper.run_folder
    if resume and not is_new(name, others, folder):
        source = keeper.latest()
        state = load_state(source)
        trainer.load_state(state, source, with_open_trajectories=with_open_trajectories)
        console.info(f"Resuming '{name}' from step {trainer.step} ({source}).")
        episodes, steps = state.get("open_episodes", (0, 0))  # not in those of an older version
        if trainer.training and episodes and not with_open_trajectories:
            console.info(
                f"{episodes} episodes of '{name}' that were open at step {trainer.step} are dropped, with {steps} "
                "steps that no update has seen: episodes start anew."
            )
        if trainer.finished:
            console.warning(
                f"'{name}' has had its max_steps ({settings.max_steps}); raise max_steps to train it further."
            )
    elif resume:
        console.warning(f"The resumed run has no checkpoint of '{name}', which therefore starts anew.")
    elif (initial := initial_weights(name, settings, folder, initialize_from)) is not None:
        trainer.load_weights(load_initial_state(initial), initial)
        console.info(f"Initialised '{name}' from {initial}.")


def is_new(name: str, others: Iterable[str], folder: RunFolder) -> bool:
    """Whether a run that is resumed meets a behavior for the first time, beside one of `others` that it has trained."""
    return not any(folder.behavior(name).glob("*.pt")) and any(folder.checkpoint(other).is_file() for other in others)


def initial_weights(
    name: str, settings: TrainerSettings, folder: RunFolder, initialize_from: str | None
) -> Path | None:
    """The checkpoint whose networks a behavior takes over, if any.

    It is `init_path`, a path or a file's name in the run `initialize_from`, or else that run's newest.
    """
    init_path = settings.init_path
    if init_path is not None and (initialize_from is None or os.path.dirname(init_path)):
        return Path(init_path)
    if initialize_from is None:
        return None
    other = RunFolder(folder.results_dir, initialize_from)
    return newest_whole(other, name, logger.warning) if init_path is None else other.behavior(name) / init_path
