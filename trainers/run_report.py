"""What a run says of itself: how far it is, how it ended, where its time went."""

import json
from collections.abc import Mapping

from trainers.behavior_trainer import BehaviorTrainer
from trainers.checkpoint import RunFolder, write_text_whole
from trainers.console import BehaviorProgress, Console, Progress
from trainers.report import Report, hyperparameters_markdown
from trainers.timers import Timers


def open_report(
    trainer: BehaviorTrainer, folder: RunFolder, timers: Timers, *, resumed: bool, writes: bool = True
) -> None:
    """Gives a trainer its report. Without `writes` another process has the files."""
    trainer.report = Report(
        folder.behavior(trainer.name),
        trainer.name,
        resume_step=trainer.step if resumed else 0,
        timers=timers,
        scalars=folder.scalars(trainer.name),
        writes=writes,
    )
    trainer.report.text("Hyperparameters/text_summary", hyperparameters_markdown(trainer.settings.model_dump()))


def progress(trainers: Mapping[str, BehaviorTrainer], timers: Timers, steps_at_start: int, players: int) -> Progress:
    """How far all behaviors are."""
    seconds = timers.seconds
    done = sum(trainer.step for trainer in trainers.values()) - steps_at_start
    return Progress(
        {name: _progress_of(trainer) for name, trainer in trainers.items()},
        agent_steps_per_second=done / seconds,
        seconds=seconds,
        players=players,
        phase_shares=timers.shares(),
    )


def _progress_of(trainer: BehaviorTrainer) -> BehaviorProgress:
    summary = trainer.last_summary
    return BehaviorProgress(
        trainer.step,
        trainer.settings.max_steps,
        None if summary is None else summary.mean_reward,
        None if summary is None else summary.std_reward,
    )


def last_line(trainer: BehaviorTrainer, folder: RunFolder) -> str:
    """What the console says of a behavior in the end."""
    name = trainer.name
    if trainer.training:
        return f"Exported {folder.model(name)}"
    if not trainer.episodes:
        return f"{name}. No episode was completed. Not Training."
    mean = trainer.reward_sum / trainer.episodes
    return f"{name}. Episodes: {trainer.episodes}. Mean Reward: {mean:.3f}. Not Training."


def write_timers(folder: RunFolder, timers: Timers, console: Console) -> None:
    """timers.json, and trace.json of a run with --profile."""
    try:
        write_text_whole(folder.timers, json.dumps(timers.to_dict(), indent=2))
        if timers.traced:
            write_text_whole(folder.trace, json.dumps(timers.trace()))
    except OSError as error:  # on a full disk there is more to say than this
        console.warning(f"The times were not written: {error.strerror or error} ({error.filename or folder.run_logs}).")
        return
    if timers.traced:
        console.info(f"Where each step's time went: {folder.trace}, for ui.perfetto.dev or speedscope")
