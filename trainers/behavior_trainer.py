"""One behavior's life in a run: what its agents go through, when its networks learn, what is reported and saved."""

import copy
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlagents_envs.base_env import (
    ActionTuple,
    BehaviorSpec,
    DecisionSteps,
    TerminalSteps,
)
from numpy.typing import NDArray

from bridge.in_process import InProcessEnvironment
from trainers import ppo
from trainers.config import TrainerSettings
from trainers.distributed import Averaging, Ranks
from trainers.errors import UsageError
from trainers.experience import ExperienceBuffer
from trainers.fused_ppo import Backend
from trainers.learner import Learner
from trainers.meetings import Shared
from trainers.quiet_steps import can_be_quiet, take_quiet_steps
from trainers.report import Report, Summary
from trainers.rollout import CutTrajectories, Episodes, OpenTrajectories, more_rows
from trainers.schedules import BETA_MINIMUM, EPSILON_MINIMUM, LEARNING_RATE_MINIMUM, schedule_value
from trainers.specifications import refuse_unsupported
from trainers.tensors import to_arrays, to_tensors


@dataclass(frozen=True)
class Best:
    """The networks as they were at the summary with the highest mean reward."""

    step: int
    reward: float
    state: dict[str, Any]


class BehaviorTrainer:
    """Learns one behavior. For each batch of steps the loop calls `process`, `update` if `ready`, `act`, `take_in`."""

    def __init__(
        self,
        name: str,
        spec: BehaviorSpec,
        settings: TrainerSettings,
        *,
        seed: int,
        device: torch.device,
        training: bool,
        backend: Backend = "auto",
        threads: int = 1,
        ranks: Ranks | None = None,
        averaging: Averaging = "auto",
    ) -> None:
        """`ranks`: this is one process of several, each with a trainer of this behavior (meetings.py)."""
        if ranks is not None and settings.threaded:
            raise UsageError(
                f"behaviors.{name}.threaded: true is for one process; set it to false, or train without --workers and "
                "torchrun"
            )
        curious = [signal for kind, signal in settings.reward_signals.items() if kind != "extrinsic"]
        for each in (settings, *curious):
            refuse_unsupported(name, spec, each.network_settings)
        self.name = name
        self.settings = settings
        self.step = 0
        self.training = training
        self._learner = Learner(
            name,
            spec,
            settings,
            seed=seed,
            device=device,
            backend=backend,
            threads=threads,
            ranks=ranks,
            averaging=averaging,
        )
        self.policy = self._learner.policy
        self._memory_size = self.policy.network.memory_size
        signals, columns = self._learner.signals, self.policy.columns()
        self._open = OpenTrajectories(spec, settings.time_horizon, columns, self._memory_size)
        capacity = settings.hyperparameters.buffer_size + settings.time_horizon
        self._experience = ExperienceBuffer(
            spec, capacity if training else 0, len(signals), columns, keeps_next=bool(self._learner.curious)
        )
        # With `threaded`, the one that an update learns from while the other is filled.
        self._learnt_from = ExperienceBuffer(spec, 0, len(signals), columns, keeps_next=bool(self._learner.curious))
        self._updating: Future[dict[str, float]] | None = None
        self._noted: list[CutTrajectories] = []
        self._signal_rewards = np.zeros((0, len(signals)))  # [slots, signals]: of the episodes that agents are in
        self._entropy_due = False
        self._entropies: list[float] = []  # since the last summary
        self._next_summary = settings.summary_freq
        self._rewards_since_update: list[NDArray[np.float64]] = []
        self._best_reward = -math.inf
        self._best: Best | None = None
        self.shared = None if ranks is None else Shared(ranks, settings.hyperparameters.buffer_size)
        self.episodes = 0
        self.reward_sum = 0.0
        self.report: Report | None = None
        self.on_episodes: Callable[[Sequence[float]], None] | None = None  # told of each sum of rewards
        self.gauges: dict[str, float] = {}  # by TensorBoard tag: in every summary as they are then
        self.last_summary: Summary | None = None

    # ---- one step ----

    def process(
        self, players: Sequence[NDArray[np.int64]], decisions: DecisionSteps, terminals: TerminalSteps
    ) -> NDArray[np.int64]:
        """Takes in a batch of steps and returns the slots of the decisions, for `act`.

        `players`: whose each decision is, and whose each terminal.
        """
        decision_players, terminal_players = players
        if len(terminals):
            cut, episodes = self._open.close_terminals(terminal_players, terminals)
            if episodes is not None and self.shared is None:
                self.count_episodes(episodes)
            elif episodes is not None:
                self.shared.untold.episodes.append(episodes)
            self._note(cut)
        slots, cut = self._open.continue_decisions(decision_players, decisions)
        self._note(cut)
        return slots

    def act(self, slots: NDArray[np.int64], decisions: DecisionSteps) -> ActionTuple:
        """Actions for the agents of `decisions`, noted in their trajectories."""
        acted = self.policy.act(decisions, self._open.memories(slots) if self._memory_size else None)
        self._open.store(slots, decisions.obs, acted.columns)
        if acted.memories is not None:
            self._open.remember(slots, acted.memories)
        self._entropy_due = True
        return acted.actions

    def act_quietly(
        self, environment: InProcessEnvironment, slots: NDArray[np.int64], decisions: DecisionSteps
    ) -> bool:
        """Instead of `act`: acts and steps for as long as nothing ends. False: nothing was done, `act` then."""
        if self._noted or not can_be_quiet(environment, self.policy, decisions):
            return False
        entropies = take_quiet_steps(environment, self.policy, self._open, slots, decisions)
        self._entropies += entropies[:-1]
        self._entropy_due = bool(entropies)  # that of the last one
        return bool(entropies)

    def count_episodes(self, episodes: Episodes) -> None:
        """Takes episodes that ended into all figures."""
        self.episodes += len(episodes.rewards)
        self.reward_sum += float(episodes.rewards.sum())
        self._rewards_since_update.append(episodes.rewards)
        if self.on_episodes is not None:
            self.on_episodes(episodes.rewards.tolist())
        if self.report is not None:
            grouped = episodes.group_rewards if np.any(episodes.group_rewards) else None
            self.report.episodes(episodes.rewards, episodes.lengths, grouped)
            if (extrinsic := self.settings.reward_signals.get("extrinsic")) is not None:
                rewards = episodes.rewards + episodes.group_rewards
                self.report.add_array("Policy/Extrinsic Reward", extrinsic.strength * rewards)

    def _note(self, cut: CutTrajectories | None) -> None:
        if cut is not None:
            if self.shared is None:
                self.step += cut.steps
            else:
                self.shared.untold.steps += cut.steps
            if self.training:
                self._noted.append(cut)

    def take_in(self) -> None:
        """Makes experience of the trajectories that `process` has cut.

        The loop does this while the players simulate, so that nobody waits for it; the normalisers therefore learn of a
        trajectory one action later.
        """
        self._end_update(wait=False)
        for cut in self._noted:
            self._take_in(cut)
        self._noted.clear()
        if self._entropy_due:
            self._entropies.append(self.policy.entropy())
            self._entropy_due = False

    def _take_in(self, cut: CutTrajectories) -> None:
        rewards, values, next_values = self._learner.evaluate(cut)
        self._experience.append(cut, rewards, values, next_values)
        if self.report is not None:
            for column, signal in enumerate(self._learner.signals):
                self.report.add_array(f"Policy/{signal.capitalize()} Value Estimate", values[:, column])
        if self._learner.curious:
            self._count_signal_rewards(cut, rewards)

    def _count_signal_rewards(self, cut: CutTrajectories, rewards: NDArray[np.float32]) -> None:
        """Adds up the rewards [steps, signals] of each episode, and reports those of episodes that ended."""
        missing = int(cut.slots.max()) + 1 - len(self._signal_rewards)
        if missing > 0:
            self._signal_rewards = more_rows(self._signal_rewards, missing)
        self._signal_rewards[cut.slots] += np.add.reduceat(rewards, np.cumsum(cut.lengths) - cut.lengths)
        ended = cut.slots[cut.ended]
        for column, signal in enumerate(self._learner.signals):
            if signal in self._learner.curious and self.report is not None and len(ended):
                self.report.add_array(f"Policy/{signal.capitalize()} Reward", self._signal_rewards[ended, column])
        self._signal_rewards[ended] = 0.0

    # ---- the update ----

    @property
    def schedules(self) -> ppo.Schedules:
        """Learning rate, epsilon and beta at the current step."""
        settings, maximum = self.settings.hyperparameters, self.settings.max_steps
        return ppo.Schedules(
            schedule_value(
                settings.learning_rate_schedule, settings.learning_rate, LEARNING_RATE_MINIMUM, self.step, maximum
            ),
            schedule_value(settings.epsilon_schedule, settings.epsilon, EPSILON_MINIMUM, self.step, maximum),
            schedule_value(settings.beta_schedule, settings.beta, BETA_MINIMUM, self.step, maximum),
        )

    @property
    def ready(self) -> bool:
        """Whether there is experience enough for an update."""
        gathered = self.gathered if self.shared is None else self.shared.gathered
        return self.training and not self.finished and gathered > self.settings.hyperparameters.buffer_size

    @property
    def gathered(self) -> int:
        """Steps for the next update."""
        return self._experience.size + sum(cut.steps for cut in self._noted)

    @property
    def finished(self) -> bool:
        """Whether this behavior has had more than its `max_steps`, which is when ML-Agents stops."""
        return self.training and self.step > self.settings.max_steps

    def update(self) -> None:
        """One PPO update from all experience gathered; the experience is used up.

        With `threaded` it goes on while the agents do, and a later call of `take_in` ends it.
        """
        self.take_in()
        self._end_update(wait=True)
        schedules, experience = self.schedules, self._experience
        if self.settings.threaded:
            self._experience, self._learnt_from = self._learnt_from, experience
        diagnosed = self.report is not None
        self._updating = self._learner.begin_update(experience, schedules, diagnosed=diagnosed)
        self._experience.clear()
        if self.shared is not None:
            self.shared.gather_anew()
        self._rewards_since_update.clear()
        self._log("Policy/Learning Rate", schedules.learning_rate)
        self._log("Policy/Epsilon", schedules.epsilon)
        self._log("Policy/Beta", schedules.beta)
        self._end_update(wait=not self.settings.threaded)

    def _end_update(self, *, wait: bool) -> None:
        if self._updating is not None and (wait or self._updating.done()):
            for tag, value in self._updating.result().items():
                self._log(tag, value)
            self._learner.end_update()
            self._updating = None

    # ---- with others ----

    def networks(self) -> dict[str, Any]:
        """What all ranks have in common, for `load_networks` on the others."""
        return {
            **self._learner.weights(),
            "step": self.step,
            "best_reward": self._best_reward,
            "call": self._learner.generator.call,
        }

    def load_networks(self, state: dict[str, Any]) -> None:
        """Takes up what `networks` gave on another rank; random numbers stay this one's own."""
        self.load_weights(state, Path("another rank"))
        self._start_at(state)
        self._learner.generator.call = state["call"]

    def _start_at(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self._best_reward = state.get("best_reward", -math.inf)
        self._next_summary = self.step - self.step % self.settings.summary_freq + self.settings.summary_freq

    # ---- reporting ----

    def summary_if_due(self) -> Summary | None:
        """Writes a summary when the step count has passed the next multiple of `summary_freq`."""
        if self.step < self._next_summary or self.report is None:
            return None
        frequency = self.settings.summary_freq
        at = self.step - self.step % frequency
        self._next_summary = at + frequency
        self.log_entropies()
        if self.shared is not None:
            self.shared.put_into(self.report)
        for tag, value in self.gauges.items():
            self.report.add(tag, value)
        self.last_summary = self.report.write(at, self.training)
        reward = self.last_summary.mean_reward
        if self.training and reward is not None and reward > self._best_reward:
            self._best_reward = reward
            # Kept here until the next checkpoint: early on every summary is the best one so far.
            self._end_update(wait=True)  # nothing may change while it is copied
            self._best = Best(self.step, reward, copy.deepcopy(self._learner.weights()))
        return self.last_summary

    @property
    def recent_reward(self) -> float | None:
        """Mean reward of the episodes since the last update, None without any."""
        if not self._rewards_since_update:
            return None
        return float(np.concatenate(self._rewards_since_update).mean())

    def log_entropies(self) -> None:
        """Those since the last time, into the report."""
        if self.report is not None:
            self.report.add_array("Policy/Entropy", self._entropies)
            self._entropies.clear()

    def _log(self, tag: str, value: float) -> None:
        if self.report is not None:
            self.report.add(tag, value)

    # ---- saving ----

    def take_best(self) -> Best | None:
        """The networks of the best summary, None if it was taken before."""
        best, self._best = self._best, None
        return best

    def export_best(self, best: Best, path: Path) -> None:
        """Writes its policy as an ONNX model for Unity."""
        self._learner.export_weights(best.state, path)

    def export(self, path: Path) -> None:
        """Writes the policy as an ONNX model for Unity and checks it against this one."""
        self._learner.export(path)

    def forget_open_trajectories(self, player: int) -> None:
        """Drops what the agents of a player were living through."""
        slots = self._open.forget_player(player)
        self._signal_rewards[slots[slots < len(self._signal_rewards)]] = 0.0

    def state(self, *, with_open_trajectories: bool) -> dict[str, Any]:
        """Everything to go on from, once an update is over.

        Open trajectories only make sense beside the state of the world they happen in.
        """
        self._end_update(wait=True)
        return {
            **self._learner.weights(),
            "step": self.step,
            "best_reward": self._best_reward,
            "generator": self._learner.generator.state_dict(),
            "experience": to_tensors(self._experience.state()),
            "noted": to_tensors([vars(cut) for cut in self._noted]),
            "open_trajectories": to_tensors(self._open.state()) if with_open_trajectories else None,
            "open_episodes": self._open.open,
            "signal_rewards": to_tensors(self._signal_rewards),
            "rewards_since_update": to_tensors(list(self._rewards_since_update)),
        }

    def load_weights(self, state: dict[str, Any], source: Path) -> None:
        """Takes up the networks and the optimisers of a state, and starts from step 0 with them.

        Raises UsageError when it was saved for other observations, actions or networks.
        """
        self._learner.load_weights(state, source)

    def load_state(self, state: dict[str, Any], source: Path, *, with_open_trajectories: bool) -> None:
        """Takes up everything, to go on from where it was saved. Raises UsageError like `load_weights`.

        `with_open_trajectories`: agents go on with what they were living through, as in a world that was restored.
        """
        self.load_weights(state, source)
        self._start_at(state)
        self._learner.generator.load_state_dict(state["generator"])
        if self.training:
            self._experience.load_state(to_arrays(state["experience"]))
            self._noted = [CutTrajectories(**cut) for cut in to_arrays(state["noted"])]
            if with_open_trajectories and state["open_trajectories"] is not None:
                self._open.load_state(to_arrays(state["open_trajectories"]))
                self._signal_rewards = to_arrays(state["signal_rewards"])
        self._rewards_since_update = to_arrays(state["rewards_since_update"])
