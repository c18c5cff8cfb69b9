"""Everything one behavior needs to learn: its policy, its experience, its update and its report."""

import copy
import math
import zlib
from collections.abc import Callable, Sequence
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

from trainers import ppo
from trainers.config import TrainerSettings
from trainers.diagnostics import diagnose
from trainers.distributions import Actions
from trainers.errors import UsageError
from trainers.fused_ppo import Backend, fuse
from trainers.kernels.advantages import gae
from trainers.kernels.philox import Philox
from trainers.losses import Target
from trainers.networks import ActorCritic
from trainers.official_checkpoint import in_order
from trainers.policy import Policy
from trainers.report import Report, Summary
from trainers.rollout import CutTrajectories, Episodes, ExperienceBuffer, OpenTrajectories, advantages_and_returns
from trainers.schedules import BETA_MINIMUM, EPSILON_MINIMUM, LEARNING_RATE_MINIMUM, schedule_value
from trainers.specifications import describe, refuse_unsupported
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
    ) -> None:
        refuse_unsupported(name, spec, settings.network_settings.goal_conditioning_type)
        self.name = name
        self.settings = settings
        self.step = 0
        self._spec = spec
        self._device = device
        self._training = training
        self._signals = list(settings.reward_signals)
        # Each behavior has random numbers of its own: one more behavior changes no other, and no two act alike.
        streams = np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(2).tolist()
        torch.manual_seed(streams[0])  # the weights are drawn from the global generator
        self._generator = Philox(streams[1])
        network = ActorCritic(
            spec, settings.network_settings, self._signals, shared_critic=settings.hyperparameters.shared_critic
        ).to(device)
        self._optimizer = ppo.Optimizer(network)
        self._fused = fuse(
            network,
            self._optimizer,
            device=device,
            backend=backend,
            threads=threads,
            hyperparameters=settings.hyperparameters,
        )
        self.policy = Policy(
            spec,
            network,
            self._generator,
            device,
            deterministic=settings.network_settings.deterministic,
            fused=self._fused,
        )
        columns = self.policy.columns()
        self._open = OpenTrajectories(spec, settings.time_horizon, columns)
        capacity = settings.hyperparameters.buffer_size + settings.time_horizon
        self._experience = ExperienceBuffer(spec, capacity if training else 0, len(self._signals), columns)
        self._noted: list[CutTrajectories] = []
        self._entropy_due = False
        self._entropies: list[float] = []  # since the last summary
        self._next_summary = settings.summary_freq
        self._rewards_since_update: list[NDArray[np.float64]] = []
        self._best_reward = -math.inf
        self._best: Best | None = None
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
            if episodes is not None:
                self._count_episodes(episodes)
            self._note(cut)
        slots, cut = self._open.continue_decisions(decision_players, decisions)
        self._note(cut)
        return slots

    def act(self, slots: NDArray[np.int64], decisions: DecisionSteps) -> ActionTuple:
        """Actions for the agents of `decisions`, noted in their trajectories."""
        actions, columns = self.policy.act(decisions)
        self._open.store(slots, decisions.obs, columns)
        self._entropy_due = True
        return actions

    def _count_episodes(self, episodes: Episodes) -> None:
        self.episodes += len(episodes.rewards)
        self.reward_sum += float(episodes.rewards.sum())
        self._rewards_since_update.append(episodes.rewards)
        if self.on_episodes is not None:
            self.on_episodes(episodes.rewards.tolist())
        if self.report is not None:
            grouped = episodes.group_rewards if np.any(episodes.group_rewards) else None
            self.report.episodes(episodes.rewards, episodes.lengths, grouped)
            strength = self.settings.reward_signals["extrinsic"].strength
            self.report.add_array("Policy/Extrinsic Reward", strength * (episodes.rewards + episodes.group_rewards))

    def _note(self, cut: CutTrajectories | None) -> None:
        if cut is not None:
            self.step += cut.steps
            if self._training:
                self._noted.append(cut)

    def take_in(self) -> None:
        """Makes experience of the trajectories that `process` has cut.

        The loop does this while the players simulate, so that nobody waits for it; the normalisers therefore learn of a
        trajectory one action later.
        """
        for cut in self._noted:
            self._take_in(cut)
        self._noted.clear()
        if self._entropy_due:
            self._entropies.append(self.policy.entropy())
            self._entropy_due = False

    def _take_in(self, cut: CutTrajectories) -> None:
        observations = [torch.from_numpy(observation).to(self._device) for observation in cut.observations]
        self.policy.network.actor.update_normalizers(observations)
        joined = [np.concatenate(pair) for pair in zip(cut.observations, cut.next_observations, strict=True)]
        values = self.policy.values(joined)  # one pass over the steps and over what came after them
        next_values = values[cut.steps :] * ~cut.terminated[:, None]
        strengths = [self.settings.reward_signals[signal].strength for signal in self._signals]
        rewards = cut.rewards[:, None] * np.array(strengths, np.float32)
        self._experience.append(cut, rewards, values[: cut.steps], next_values)
        if self.report is not None:
            for column, signal in enumerate(self._signals):
                self.report.add_array(f"Policy/{signal.capitalize()} Value Estimate", values[: cut.steps, column])

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
        gathered = self._experience.size + sum(cut.steps for cut in self._noted)
        return self._training and not self.finished and gathered > self.settings.hyperparameters.buffer_size

    @property
    def finished(self) -> bool:
        """Whether this behavior has had more than its `max_steps`, which is when ML-Agents stops."""
        return self._training and self.step > self.settings.max_steps

    def update(self) -> None:
        """One PPO update from all experience gathered; the experience is used up."""
        self.take_in()
        schedules, batch = self.schedules, self._batch()
        figures = ppo.update(
            self.policy.network,
            self._optimizer,
            batch,
            self.settings.hyperparameters,
            schedules,
            self._generator,
            self._fused,
        )
        self._experience.clear()
        self._rewards_since_update.clear()
        if figures and self.report is not None:
            figures |= diagnose(self.policy.network, self._optimizer, batch, schedules.epsilon)
        for tag, value in figures.items():
            self._log(tag, value)
        self._log("Policy/Learning Rate", schedules.learning_rate)
        self._log("Policy/Epsilon", schedules.epsilon)
        self._log("Policy/Beta", schedules.beta)

    def _batch(self) -> ppo.Batch:
        experience = self._experience
        gammas = [self.settings.reward_signals[signal].gamma for signal in self._signals]
        steps = experience.rewards, experience.values, experience.lengths, experience.next_values
        lambd = self.settings.hyperparameters.lambd
        if self._fused is not None:
            advantages, returns = gae(*steps, gammas, lambd)
        else:
            columns = [
                advantages_and_returns(
                    steps[0][:, signal], steps[1][:, signal], steps[2], steps[3][:, signal], gamma, lambd
                )
                for signal, gamma in enumerate(gammas)
            ]
            advantages, returns = (np.stack(part, axis=1) for part in zip(*columns, strict=True))

        def tensor(array: NDArray[Any]) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)

        columns = experience.columns
        return ppo.Batch(
            self.policy.network.actor.prepare([tensor(values) for values in experience.observations]),
            Target(
                Actions(tensor(columns["continuous"]), tensor(columns["discrete"])),
                log_probs=tensor(columns["log_probs"]),
                allowed=tensor(columns["allowed"]) if "allowed" in columns else None,
                advantages=ppo.normalize_advantages(tensor(advantages.mean(axis=1))),
                returns=tensor(returns),
                values=tensor(experience.values),
            ),
        )

    # ---- reporting ----

    def summary_if_due(self) -> Summary | None:
        """Writes a summary when the step count has passed the next multiple of `summary_freq`."""
        if self.step < self._next_summary or self.report is None:
            return None
        frequency = self.settings.summary_freq
        at = self.step - self.step % frequency
        self._next_summary = at + frequency
        self.report.add_array("Policy/Entropy", self._entropies)
        self._entropies.clear()
        for tag, value in self.gauges.items():
            self.report.add(tag, value)
        self.last_summary = self.report.write(at, self._training)
        reward = self.last_summary.mean_reward
        if self._training and reward is not None and reward > self._best_reward:
            self._best_reward = reward
            # Kept here until the next checkpoint: early on every summary is the best one so far.
            self._best = Best(self.step, reward, copy.deepcopy(self._weights()))
        return self.last_summary

    @property
    def recent_reward(self) -> float | None:
        """Mean reward of the episodes since the last update, None without any."""
        if not self._rewards_since_update:
            return None
        return float(np.concatenate(self._rewards_since_update).mean())

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
        from trainers.export import export_onnx

        arrays = {name: tensor.cpu().numpy() for name, tensor in best.state["network"].items()}
        export_onnx({name: array for name, array in arrays.items() if name.startswith("actor.")}, self._spec, path)

    def export(self, path: Path) -> None:
        """Writes the policy as an ONNX model for Unity and checks it against this one."""
        # Imported here because onnx, which takes a while, need not be there when training starts.
        from trainers.export import actor_arrays, export_onnx, verify_onnx

        export_onnx(actor_arrays(self.policy.network), self._spec, path)
        verify_onnx(path, self._spec, self.policy.deterministic_actions)

    def forget_open_trajectories(self, player: int) -> None:
        """Drops what the agents of a player were living through."""
        self._open.forget_player(player)

    def state(self, *, with_open_trajectories: bool) -> dict[str, Any]:
        """Everything to go on from; open trajectories only make sense beside the state of the world they happen in."""
        return {
            **self._weights(),
            "step": self.step,
            "best_reward": self._best_reward,
            "generator": self._generator.state_dict(),
            "experience": to_tensors(self._experience.state()),
            "noted": to_tensors([vars(cut) for cut in self._noted]),
            "open_trajectories": to_tensors(self._open.state()) if with_open_trajectories else None,
            "rewards_since_update": to_tensors(list(self._rewards_since_update)),
        }

    def _weights(self) -> dict[str, Any]:
        """What another run can start from."""
        return {
            "specification": describe(self._spec),
            "network": self.policy.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }

    def load_weights(self, state: dict[str, Any], source: Path) -> None:
        """Takes up the networks and the optimiser of a state, and starts from step 0 with them.

        Raises UsageError when it was saved for other observations, actions or networks.
        """
        found, expected = state["specification"], describe(self._spec)
        if found not in (None, expected):
            raise UsageError(
                f"{source} was trained with {found}, but the environment's behavior '{self.name}' now has {expected}; "
                "train it anew with another --run-id, or with --force"
            )
        try:
            self.policy.network.load_state_dict(state["network"])
        except RuntimeError as error:
            raise UsageError(
                f"{source} holds another network than the configuration asks for "
                f"({str(error).splitlines()[-1].strip()}); use the network_settings and reward_signals it was trained "
                "with, or train anew with another --run-id or --force"
            ) from error
        optimizer = state["optimizer"]
        if isinstance(optimizer["exp_avg"], dict):
            optimizer = in_order(optimizer, dict(self.policy.network.named_parameters()))
        self._optimizer.load_state_dict(optimizer)

    def load_state(self, state: dict[str, Any], source: Path, *, with_open_trajectories: bool) -> None:
        """Takes up everything, to go on from where it was saved. Raises UsageError like `load_weights`.

        `with_open_trajectories`: agents go on with what they were living through, as in a world that was restored.
        """
        self.load_weights(state, source)
        self.step = state["step"]
        self._best_reward = state.get("best_reward", -math.inf)
        self._next_summary = self.step - self.step % self.settings.summary_freq + self.settings.summary_freq
        self._generator.load_state_dict(state["generator"])
        if self._training:
            self._experience.load_state(to_arrays(state["experience"]))
            self._noted = [CutTrajectories(**cut) for cut in to_arrays(state["noted"])]
            if with_open_trajectories and state["open_trajectories"] is not None:
                self._open.load_state(to_arrays(state["open_trajectories"]))
        self._rewards_since_update = to_arrays(state["rewards_since_update"])
