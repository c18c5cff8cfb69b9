"""A run: collect, update, report, save, until it is done. The file to read first."""

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from mlagents_envs.base_env import BehaviorSpec

from bridge import API_VERSION
from bridge.exceptions import UnityCommunicatorStoppedException, UnityException
from bridge.fleet import Fleet, FleetSteps
from bridge.in_process import InProcessEnvironment
from bridge.side_channels import EnvironmentParametersChannel, StatsSideChannel
from trainers import torchrun
from trainers.behavior_trainer import BehaviorTrainer
from trainers.checkpoint import RunFolder, write_text_whole
from trainers.config import RunConfig
from trainers.console import Console
from trainers.distributed import Ranks
from trainers.environment_parameters import EnvironmentParameterManager
from trainers.errors import UsageError
from trainers.interrupts import Interrupts
from trainers.launch import note_attempt
from trainers.meetings import Meetings
from trainers.resume import load_behavior, restore_parameters, restored_worlds
from trainers.run_report import last_line, open_report, progress, write_timers
from trainers.saving import Saver
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
        ranks: Ranks | None = None,
        source: int = 0,
        first: Mapping[str, FleetSteps] | None = None,
        films: Callable[[Mapping[str, BehaviorTrainer]], None] | None = None,
    ) -> None:
        """`statistics` and `parameters`: the channel of each player. `profile`: note every phase of every step.
        `ranks`: this is one process of several, each with players of its own; `source`: whose checkpoints they go on
        from. `first`: what `first_steps` gave; None: the players have yet to be reset. `films`: called after each
        checkpoint.

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
        self._saver = Saver(folder, self._parameters, self._timers)
        self._interrupts = Interrupts()
        self._meetings = None if ranks is None else Meetings(ranks)
        self._writes = ranks is None or ranks.first
        self._source = source
        self._first, self._films = first, films
        self._loads = ranks is None or ranks.rank == source
        self._apart = True  # whether no other rank waits for this one to do the same as it does
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
        if self._meetings is not None and not self._finished():
            if not self._begun or not self._apart:
                raise KeyboardInterrupt
            self._meet(leaving=True)  # the others learn of it, and end as well
        self._save_all(final=True)
        self._write_timers()
        self._report_end()

    # ---- the loop ----

    def _loop(self) -> None:
        steps = self._begin()
        slots = self._process(steps)
        while not self._finished():
            with self._timers.phase("act"):
                if not self._act_quietly(steps, slots):
                    self._act(steps, slots)
            with self._timers.phase("environment"), self._timers.phase("send"):
                self._fleet.send_step()
            # The players simulate now: time for what the next action does not need.
            with self._timers.phase("process"):
                with self._timers.phase("take in"):
                    for trainer in self._trainers.values():
                        trainer.take_in()
                if self._meetings is None:
                    self._report()
            with self._timers.phase("environment"), self._timers.phase("receive"):
                steps = self._fleet.receive()
            slots = self._process(steps)
            if self._meetings is not None:
                leaving = self._interrupts.requested
                if not self._meetings.due(self._trainers, leaving=leaving):
                    continue
                self._apart = False
                with self._timers.phase("meet"):
                    self._meet(leaving=leaving)
                if self._meetings.stopping:
                    break
            if self._training and self._parameters.active and self._next_lessons():
                steps = self._fleet.reset()
                slots = self._process(steps)
            for trainer in self._trainers.values():
                if trainer.ready:
                    with self._timers.phase("update"):
                        trainer.update()
            if self._training and self._saver.due(self._trainers):
                self._save_all(final=False)
            self._apart = True

    def _act(self, steps: dict[str, FleetSteps], slots: dict[str, Any]) -> None:
        teams = len({_short(name) for name in steps}) < len(steps)
        for name, batch in steps.items():
            if len(batch.decisions):
                actions = self._trainer_of(name).act(slots[name], batch.decisions)
                # A trainer that acts for another team as well writes over what it gave for the first.
                self._fleet.set_actions(name, copy.deepcopy(actions) if teams else actions)

    def _act_quietly(self, steps: dict[str, FleetSteps], slots: dict[str, Any]) -> bool:
        """Where the only world is in this process: as many steps as nothing ends in; False if that is none."""
        environment = self._fleet.environments[0]
        if len(self._fleet.environments) > 1 or not isinstance(environment, InProcessEnvironment) or len(steps) > 1:
            return False
        ((name, batch),) = steps.items()
        decisions = batch.decisions
        return len(decisions) > 0 and self._trainer_of(name).act_quietly(environment, slots[name], decisions)

    def _meet(self, *, leaving: bool) -> None:
        """Agrees with the other ranks on everything that the rest of the loop decides by."""
        assert self._meetings is not None
        self._tell_statistics()
        self._know(self._meetings.meet(self._trainers, self._fleet.behavior_specs, leaving=leaving))
        self._report()

    def _know(self, specs: Mapping[str, BehaviorSpec]) -> None:
        """Makes the trainers of behaviors that some rank has met, with the same networks on all ranks."""
        assert self._meetings is not None
        for full_name, spec in specs.items():
            self._load_behavior(full_name, spec)
            trainer = self._trainers[_short(full_name)]
            if self._meetings.know(trainer, self._source):
                self._count_from(trainer)
                if self._begun:
                    self._open_report(trainer.name)

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
        if self._interrupts.requested if self._meetings is None else self._meetings.stopping:
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
        if self._resume and self._loads:
            restore_parameters(self._parameters, self._folder)
        if self._meetings is not None:
            state = self._meetings.ranks.from_rank(self._source, self._parameters.state())
            if not self._loads:
                self._parameters.load_state(state)
        steps = None
        if self._first is None:
            self._send_parameters()
        if self._resume and self._training and self._meetings is None:
            steps = restored_worlds(self._fleet, self._folder, self._console)
        restored = steps is not None
        if steps is None:
            steps = self._fleet.reset() if self._first is None else dict(self._first)
        if self._meetings is not None:
            specs = {name: spec for name, spec in self._fleet.behavior_specs.items() if name in steps}
            self._know(self._meetings.meet(self._trainers, specs, leaving=False))
        for full_name in self._fleet.behavior_specs if self._meetings is None else ():
            # A behavior that waits for its next decision belongs to the restored worlds as well.
            if full_name in steps or (restored and self._folder.checkpoint(_short(full_name)).is_file()):
                self._load_behavior(full_name, with_open_trajectories=restored)
        if self._writes:
            self._folder.create()
            if self._meetings is not None:
                note_attempt(self._folder)
        try:
            if self._training and self._writes:
                write_text_whole(self._folder.configuration, self._config.to_yaml())
            self._begun = True
            for name in self._trainers:
                self._open_report(name)
        except OSError as error:
            raise self._folder.cannot_be_written(error) from error
        return steps

    def _trainer_of(self, full_name: str) -> BehaviorTrainer:
        name = _short(full_name)
        if name not in self._trainers:
            self._load_behavior(full_name)
            if self._meetings is None:
                self._open_report(name)
        return self._trainers[name]

    def _load_behavior(
        self, full_name: str, spec: BehaviorSpec | None = None, *, with_open_trajectories: bool = False
    ) -> None:
        """Makes the trainer of a behavior that is new to this run, and loads what there is for it. Writes nothing.

        `spec`: where another rank's players have it, and perhaps not those here.
        """
        name = _short(full_name)
        if name in self._trainers:
            return
        settings = self._config.settings_for(name)
        trainer = BehaviorTrainer(
            name,
            self._fleet.behavior_specs[full_name] if spec is None else spec,
            settings,
            seed=self._seed,
            device=self._device,
            training=self._training,
            backend=self._config.torch_settings.backend,
            threads=self._config.torch_settings.threads or torchrun.cores(2),
            ranks=None if self._meetings is None else self._meetings.ranks,
            averaging=self._config.torch_settings.averaging,
        )
        keeper = self._saver.keeper(name, settings.keep_checkpoints)
        if self._first is None or full_name not in self._first:
            self._console.info(f"Connected new brain: {full_name}")
        others = [_short(each) for each in self._fleet.behavior_specs if _short(each) != name]
        if self._loads:
            load_behavior(
                trainer,
                keeper,
                others,
                self._console,
                resume=self._resume,
                initialize_from=self._initialize_from,
                with_open_trajectories=with_open_trajectories,
            )
        self._console.debug(f"Hyperparameters for behavior name {name}:\n{settings.model_dump()}")
        trainer.gauges = _lesson_numbers(self._parameters)
        trainer.on_episodes = functools.partial(self._parameters.episodes, name)
        self._trainers[name] = trainer
        if self._meetings is None:
            self._count_from(trainer)

    def _count_from(self, trainer: BehaviorTrainer) -> None:
        self._saver.count_from(trainer)
        self._steps_at_start += trainer.step

    def _open_report(self, name: str) -> None:
        open_report(self._trainers[name], self._folder, self._timers, resumed=self._resume, writes=self._writes)

    # ---- reporting and saving ----

    def _tell_statistics(self) -> None:
        for channel in self._statistics:
            statistics = channel.get_and_reset_stats()
            if statistics:
                for trainer in self._trainers.values():
                    if trainer.report is not None:
                        trainer.report.player_statistics(statistics)

    def _report(self) -> None:
        if self._meetings is None:
            self._tell_statistics()
        for trainer in self._trainers.values():
            summary = trainer.summary_if_due()
            if summary is not None:
                self._console.summary(summary)
        if self._console.progress_due():
            players = len(self._fleet.environments)
            self._console.progress(progress(self._trainers, self._timers, self._steps_at_start, players))

    def _save_all(self, *, final: bool, with_worlds: bool = True) -> bool:
        """Writes a checkpoint and an ONNX model of every behavior; False when there is nothing to save."""
        if not self._begun or not self._training or not self._writes:
            return False
        if not final and not any(trainer.step for trainer in self._trainers.values()):
            return False
        if not final and self._meetings is None:
            self._report()  # what is due at this step: a run that is resumed from here would never write it
        # One of several processes saves no worlds: those of the others would be missing.
        fleet = self._fleet if with_worlds and self._meetings is None else None
        saved = self._saver.save(self._trainers, fleet, final=final)
        if self._films is not None:
            self._films(self._trainers)
        return saved

    def _report_end(self) -> None:
        for trainer in self._trainers.values():
            trainer.take_in()
        if self._meetings is None:
            self._report()
        for trainer in self._trainers.values():
            self._console.info(last_line(trainer, self._folder))
            if trainer.report is not None:
                trainer.report.close()

    def _write_timers(self) -> None:
        if self._begun and self._writes:
            write_timers(self._folder, self._timers, self._console)


def _short(full_name: str) -> str:
    """The behavior's name, without the team."""
    return full_name.partition("?")[0]


def _lesson_numbers(parameters: EnvironmentParameterManager) -> dict[str, float]:
    return {f"Environment/Lesson Number/{name}": number for name, number in parameters.lessons.items()}
