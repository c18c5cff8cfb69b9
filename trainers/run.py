"""A run: collect, update, report, save, until it is done. The file to read first."""

import copy
import functools
import json
import os
from typing import Any

import torch

from bridge import API_VERSION
from bridge.exceptions import UnityCommunicatorStoppedException, UnityException
from bridge.fleet import Fleet, FleetSteps
from bridge.in_process import InProcessEnvironment
from bridge.side_channels import EnvironmentParametersChannel, StatsSideChannel
from trainers.behavior_trainer import BehaviorTrainer
from trainers.checkpoint import CheckpointKeeper, RunFolder, load_initial_state, load_state, write_text_whole
from trainers.config import RunConfig
from trainers.console import BehaviorProgress, Console, Progress
from trainers.environment_parameters import EnvironmentParameterManager
from trainers.errors import UsageError
from trainers.interrupts import Interrupts
from trainers.report import Report, hyperparameters_markdown
from trainers.resume import initial_weights, is_new, restore_parameters, restored_worlds
from trainers.tensors import to_tensors
from trainers.timers import Timers


class Run:
    """Trains all behaviors of a fleet of players, or with `inference` only plays and reports."""

    def __init__(
        self,
        config: RunConfig,
        fleet: Fleet,
        folder: RunFolder,
        console: Console,
        *,
        seed: int,
        device: torch.device,
        statistics: list[StatsSideChannel],
        parameters: list[EnvironmentParametersChannel],
        stop_at_reward: float | None = None,
        profile: bool = False,
    ) -> None:
        """`statistics` and `parameters`: the channel of each player. `profile`: note every phase of every step.

        Raises UsageError for a curriculum that waits for a behavior without settings.
        """
        self._config = config
        self._fleet = fleet
        self._folder = folder
        self._console = console
        self._seed = seed
        self._device = device
        self._statistics = statistics
        self._parameter_channels = parameters
        self._parameters = EnvironmentParameterManager(config.environment_parameters, seed)
        if config.behaviors and config.default_settings is None:
            self._parameters.check_behaviors(list(config.behaviors))
        self._stop_at_reward = stop_at_reward
        fleet.on_restart = self._restarted
        self._training = not config.checkpoint_settings.inference
        self._resume = config.checkpoint_settings.resume
        self._initialize_from = config.checkpoint_settings.initialize_from
        self._timers = Timers(traced=profile)
        self._timers.metadata["communication_protocol_version"] = API_VERSION
        self._trainers: dict[str, BehaviorTrainer] = {}
        self._keepers: dict[str, CheckpointKeeper] = {}
        self._next_checkpoint: dict[str, int] = {}
        self._interrupts = Interrupts()
        self._begun = False
        self._steps_at_start = 0

    def __call__(self) -> None:
        """Runs to the end. Ctrl-C and a player that says goodbye end it as well; in each case all is saved first.

        Raises UnityException for a player that failed, UsageError for settings or checkpoints that do not fit it. What
        was learnt until then is saved; nothing is written when that is found out at the start.
        """
        try:
            with self._interrupts.watched(lambda: self._fleet.waiting):
                self._loop()
        except UnityCommunicatorStoppedException as stopped:
            self._console.info(f"{stopped}: finishing.")
        except KeyboardInterrupt:
            self._console.info("Interrupted: finishing.")
        except (UnityException, UsageError):
            # Without the worlds: one that failed would fail again.
            if self._save_all(final=False, with_worlds=False):
                self._console.info(f"What was learnt so far is saved in {self._folder.path}; --resume goes on from it.")
            self._write_timers()
            raise
        self._save_all(final=True)
        self._write_timers()
        self._report_end()

    # ---- the loop ----

    def _loop(self) -> None:
        steps = self._begin()
        slots = self._process(steps)
        while not self._finished():
            with self._timers.phase("act"):
                teams = len({_short(name) for name in steps}) < len(steps)
                for name, batch in steps.items():
                    if len(batch.decisions):
                        actions = self._trainer_of(name).act(slots[name], batch.decisions)
                        # A trainer that acts for another team as well writes over what it gave for the first.
                        self._fleet.set_actions(name, copy.deepcopy(actions) if teams else actions)
            with self._timers.phase("environment"), self._timers.phase("send"):
                self._fleet.send_step()
            # The players simulate now: time for what the next action does not need.
            with self._timers.phase("process"):
                with self._timers.phase("take in"):
                    for trainer in self._trainers.values():
                        trainer.take_in()
                self._report()
            with self._timers.phase("environment"), self._timers.phase("receive"):
                steps = self._fleet.receive()
            slots = self._process(steps)
            if self._training and self._parameters.active and self._next_lessons():
                steps = self._fleet.reset()
                slots = self._process(steps)
            for trainer in self._trainers.values():
                if trainer.ready:
                    with self._timers.phase("update"):
                        trainer.update()
            self._save_due()

    def _process(self, steps: dict[str, FleetSteps]) -> dict[str, Any]:
        with self._timers.phase("process"):
            slots = {}
            for name, batch in steps.items():
                trainer = self._trainer_of(name)
                players = (batch.decision_players, batch.terminal_players)
                slots[name] = trainer.process(players, batch.decisions, batch.terminals)
            return slots

    def _next_lessons(self) -> bool:
        """Begins the lessons whose time has come; returns whether the environments have to begin anew for them."""
        shares = {name: trainer.step / trainer.settings.max_steps for name, trainer in self._trainers.items()}
        change = self._parameters.update(shares)
        if change is None:
            return False
        for line in change.lines:
            self._console.info(line)
        self._send_parameters()
        for trainer in self._trainers.values():
            trainer.gauges = _lesson_numbers(self._parameters)
            if change.requires_reset:
                for player in range(len(self._fleet.environments)):
                    trainer.forget_open_trajectories(player)
        return change.requires_reset

    def _restarted(self, player: int) -> None:
        """Nothing of a player's former life goes on in its next one."""
        if player < len(self._parameter_channels):
            self._parameters.send(self._parameter_channels[player])
        for trainer in self._trainers.values():
            trainer.forget_open_trajectories(player)

    def _send_parameters(self) -> None:
        for channel in self._parameter_channels:
            self._parameters.send(channel)

    def _finished(self) -> bool:
        if self._interrupts.requested:
            return True
        if not self._trainers or not self._training:
            return False
        if all(trainer.finished for trainer in self._trainers.values()):
            return True
        return self._stop_at_reward is not None and all(
            trainer.last_summary is not None
            and trainer.last_summary.mean_reward is not None
            and trainer.last_summary.mean_reward >= self._stop_at_reward
            for trainer in self._trainers.values()
        )

    # ---- starting ----

    def _begin(self) -> dict[str, FleetSteps]:
        """The first steps. All that may be refused is loaded and checked before the run's first file is written."""
        if self._resume:
            restore_parameters(self._parameters, self._folder)
        self._send_parameters()
        steps = None
        if self._resume and self._training:
            steps = restored_worlds(self._fleet, self._folder, self._console)
        restored = steps is not None
        if steps is None:
            steps = self._fleet.reset()
        for full_name in self._fleet.behavior_specs:
            # A behavior that waits for its next decision belongs to the restored worlds as well.
            if full_name in steps or (restored and self._folder.checkpoint(_short(full_name)).is_file()):
                self._load_behavior(full_name, with_open_trajectories=restored)
        self._folder.create()
        if self._training:
            write_text_whole(self._folder.configuration, self._config.to_yaml())
        self._begun = True
        for name in self._trainers:
            self._open_report(name)
        return steps

    def _trainer_of(self, full_name: str) -> BehaviorTrainer:
        name = _short(full_name)
        if name not in self._trainers:
            self._load_behavior(full_name)
            self._open_report(name)
        return self._trainers[name]

    def _load_behavior(self, full_name: str, *, with_open_trajectories: bool = False) -> None:
        """Makes the trainer of a behavior that is new to this run, and loads what there is for it. Writes nothing."""
        name = _short(full_name)
        if name in self._trainers:
            return
        settings = self._config.settings_for(name)
        trainer = BehaviorTrainer(
            name,
            self._fleet.behavior_specs[full_name],
            settings,
            seed=self._seed,
            device=self._device,
            training=self._training,
            backend=self._config.torch_settings.backend,
            threads=self._config.torch_settings.threads or min(os.cpu_count() or 1, 2),
        )
        keeper = CheckpointKeeper(self._folder, name, settings.keep_checkpoints)
        self._console.info(f"Connected new brain: {full_name}")
        others = [_short(each) for each in self._fleet.behavior_specs if _short(each) != name]
        if self._resume and not is_new(name, others, self._folder):
            source = keeper.latest()
            trainer.load_state(load_state(source), source, with_open_trajectories=with_open_trajectories)
            self._console.info(f"Resuming '{name}' from step {trainer.step} ({source}).")
            if trainer.finished:
                self._console.warning(
                    f"'{name}' has had its max_steps ({settings.max_steps}); raise max_steps to train it further."
                )
        elif self._resume:
            self._console.warning(f"The resumed run has no checkpoint of '{name}', which therefore starts anew.")
        elif (initial := initial_weights(name, settings, self._folder, self._initialize_from)) is not None:
            trainer.load_weights(load_initial_state(initial), initial)
            self._console.info(f"Initialised '{name}' from {initial}.")
        self._console.debug(f"Hyperparameters for behavior name {name}:\n{settings.model_dump()}")
        trainer.gauges = _lesson_numbers(self._parameters)
        trainer.on_episodes = functools.partial(self._parameters.episodes, name)
        self._trainers[name] = trainer
        self._keepers[name] = keeper
        self._next_checkpoint[name] = trainer.step - trainer.step % settings.checkpoint_interval
        self._next_checkpoint[name] += settings.checkpoint_interval
        self._steps_at_start += trainer.step

    def _open_report(self, name: str) -> None:
        trainer = self._trainers[name]
        trainer.report = Report(
            self._folder.behavior(name),
            name,
            resume_step=trainer.step if self._resume else 0,
            timers=self._timers,
            scalars=self._folder.scalars(name),
        )
        trainer.report.text("Hyperparameters/text_summary", hyperparameters_markdown(trainer.settings.model_dump()))

    # ---- reporting and saving ----

    def _report(self) -> None:
        for channel in self._statistics:
            statistics = channel.get_and_reset_stats()
            if statistics:
                for trainer in self._trainers.values():
                    if trainer.report is not None:
                        trainer.report.player_statistics(statistics)
        for trainer in self._trainers.values():
            summary = trainer.summary_if_due()
            if summary is not None:
                self._console.summary(summary)
        if self._console.progress_due():
            seconds = self._timers.seconds
            done = sum(trainer.step for trainer in self._trainers.values()) - self._steps_at_start
            self._console.progress(
                Progress(
                    {name: _progress_of(trainer) for name, trainer in self._trainers.items()},
                    agent_steps_per_second=done / seconds,
                    seconds=seconds,
                    players=len(self._fleet.environments),
                    phase_shares=self._timers.shares(),
                )
            )

    def _save_due(self) -> None:
        if not self._training:
            return
        due = [name for name, trainer in self._trainers.items() if trainer.step >= self._next_checkpoint[name]]
        if not due:
            return
        # All behaviors together: their checkpoints belong to one moment of the world.
        self._save_all(final=False)
        for name in due:
            interval = self._config.settings_for(name).checkpoint_interval
            self._next_checkpoint[name] = self._trainers[name].step // interval * interval + interval

    def _save_all(self, *, final: bool, with_worlds: bool = True) -> bool:
        """Writes a checkpoint and an ONNX model of every behavior; False when there is nothing to save."""
        if not self._begun or not self._training:
            return False
        if not final and not any(trainer.step for trainer in self._trainers.values()):
            return False
        with self._timers.phase("save"):
            worlds = self._world_states() if with_worlds else None
            moment = sum(trainer.step for trainer in self._trainers.values())
            for name, trainer in self._trainers.items():
                state = trainer.state(with_open_trajectories=worlds is not None)
                state |= {"worlds": worlds, "moment": moment, "environment_parameters": self._parameters.state()}
                keeper = self._keepers[name]
                write = keeper.finish if final else keeper.save
                write(trainer.step, state, trainer.export, trainer.recent_reward)
                if (best := trainer.take_best()) is not None:
                    export = functools.partial(trainer.export_best, best)
                    keeper.save_best(best.step, best.state, export, best.reward)
        return True

    def _world_states(self) -> list[dict[str, Any]] | None:
        worlds = [
            to_tensors(environment.state())
            for environment in self._fleet.environments
            if isinstance(environment, InProcessEnvironment)
        ]
        return worlds or None

    def _report_end(self) -> None:
        for trainer in self._trainers.values():
            trainer.take_in()
        self._report()
        for name, trainer in self._trainers.items():
            if not self._training:
                if trainer.episodes:
                    mean = trainer.reward_sum / trainer.episodes
                    self._console.info(f"{name}. Episodes: {trainer.episodes}. Mean Reward: {mean:.3f}. Not Training.")
                else:
                    self._console.info(f"{name}. No episode was completed. Not Training.")
            else:
                self._console.info(f"Exported {self._folder.model(name)}")
            if trainer.report is not None:
                trainer.report.close()

    def _write_timers(self) -> None:
        if not self._begun:
            return
        write_text_whole(self._folder.timers, json.dumps(self._timers.to_dict(), indent=2))
        if self._timers.traced:
            write_text_whole(self._folder.trace, json.dumps(self._timers.trace()))
            self._console.info(f"Where each step's time went: {self._folder.trace}, for ui.perfetto.dev or speedscope")


def _short(full_name: str) -> str:
    """The behavior's name, without the team."""
    return full_name.partition("?")[0]


def _lesson_numbers(parameters: EnvironmentParameterManager) -> dict[str, float]:
    return {f"Environment/Lesson Number/{name}": number for name, number in parameters.lessons.items()}


def _progress_of(trainer: BehaviorTrainer) -> BehaviorProgress:
    summary = trainer.last_summary
    return BehaviorProgress(
        trainer.step,
        trainer.settings.max_steps,
        None if summary is None else summary.mean_reward,
        None if summary is None else summary.std_reward,
    )
