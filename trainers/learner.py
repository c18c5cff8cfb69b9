"""The networks of one behavior and all that changes them: experience goes in, better weights come out."""

import copy
import zlib
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlagents_envs.base_env import BehaviorSpec
from numpy.typing import NDArray

from trainers import ppo
from trainers.actor_critics import make_network
from trainers.config import TrainerSettings
from trainers.diagnostics import diagnose
from trainers.distributed import Averaging, Ranks, Replica
from trainers.distributions import Actions
from trainers.errors import UsageError
from trainers.experience import ExperienceBuffer, advantages_and_returns, sequence_lengths
from trainers.fused_ppo import Backend, fuse
from trainers.kernels.advantages import gae
from trainers.kernels.philox import Philox
from trainers.losses import Target
from trainers.official_checkpoint import in_order
from trainers.policy import Policy
from trainers.reward_signals import Transitions, make_signals, next_observations_of
from trainers.rollout import CutTrajectories, Floats, Integers
from trainers.specifications import describe, specification_to_dict


class Learner:
    """Actor, critic and the networks of reward signals, with their optimisers and their random numbers.

    With `settings.threaded` an update changes networks of its own, in a thread of its own, while the policy acts with
    those from before it.
    """

    def __init__(
        self,
        name: str,
        spec: BehaviorSpec,
        settings: TrainerSettings,
        *,
        seed: int,
        device: torch.device,
        backend: Backend,
        threads: int,
        ranks: Ranks | None = None,
        averaging: Averaging = "auto",
    ) -> None:
        """`ranks`: there is one in each of these processes, with its own experience."""
        self._name = name
        self._spec = spec
        self._settings = settings
        self._device = device
        self.signals = list(settings.reward_signals)
        # Each behavior has random numbers of its own: one more behavior changes no other, and no two act alike.
        entropy = [seed, zlib.crc32(name.encode())]
        streams = np.random.SeedSequence(entropy).generate_state(2).tolist()
        torch.manual_seed(streams[0])  # the weights are drawn from the global generator
        if ranks is not None and not ranks.first:  # the same weights, but actions of its own
            streams = np.random.SeedSequence([*entropy, ranks.rank]).generate_state(2).tolist()
        self.generator = Philox(streams[1])
        networks, hyperparameters = settings.network_settings, settings.hyperparameters
        network = make_network(spec, networks, self.signals, shared_critic=hyperparameters.shared_critic).to(device)
        acting = copy.deepcopy(network) if settings.threaded else network
        if acting is not network and acting.actor.normalizes:
            acting.actor.normalizers = network.actor.normalizers  # they learn at once, outside of updates
        self._network = network
        self._optimizer = ppo.Optimizer(network)
        self._fused = fuse(
            network, self._optimizer, device=device, backend=backend, threads=threads, hyperparameters=hyperparameters
        )
        self._acting_values, acts = self._optimizer.values, self._fused
        if acting is not network:
            optimizer = ppo.Optimizer(acting)
            self._acting_values = optimizer.values
            if self._fused is not None:
                acts = fuse(acting, optimizer, device=device, backend=backend, threads=threads)
            self._thread = ThreadPoolExecutor(1, "update")
        self.policy = Policy(spec, acting, self.generator, device, deterministic=networks.deterministic, fused=acts)
        self._sequence_length = networks.memory.sequence_length if networks.memory is not None else 1
        self.curious = make_signals(spec, settings.reward_signals, device)  # the signals that learn, by name
        self._replica = None
        if ranks is not None:
            ends_early = hyperparameters.target_kl is not None
            self._replica = Replica(ranks, network, averaging, hyperparameters.batch_size, agrees_on_kl=ends_early)
            if self._replica.by_gradients and self._fused is not None and device.type == "cuda":
                raise UsageError(
                    "torch_settings.backend: openmined: the CUDA kernels give no gradients to average; use backend: "
                    "torch, or averaging: weights"
                )

    # ---- experience ----

    def evaluate(self, cut: CutTrajectories) -> tuple[Floats, Floats, Floats]:
        """Rewards and values [steps, signals] of what agents lived through, and the value [trajectories, signals] of
        what came after. The normalisers take the observations in before."""
        network = self.policy.network
        network.update_normalizers([self._tensor(observation) for observation in cut.observations])
        # One pass over the steps and over what came after them.
        joined = [np.concatenate(pair) for pair in zip(cut.observations, cut.next_observations, strict=True)]
        memories = lengths = None
        if network.memory_size:
            memories = np.concatenate([cut.columns["memories"], cut.next_memories])
            lengths = np.concatenate([self._sequences(cut.lengths), np.ones(len(cut.lengths), np.int64)])
        values = self.policy.values(joined, memories, lengths)
        # Nothing is worth anything after the end of an episode, except what is new: that does not end with it.
        goes_on = np.array([signal in self.curious for signal in self.signals]) | ~cut.terminated[:, None]
        return self._rewards(cut), values[: cut.steps], values[cut.steps :] * goes_on

    def _rewards(self, cut: CutTrajectories) -> Floats:
        rewards = np.repeat(cut.rewards[:, None], len(self.signals), axis=1)
        if self.curious:
            transitions = self._transitions(cut)
            for column, signal in enumerate(self.signals):
                if signal in self.curious:
                    rewards[:, column] = self.curious[signal].rewards(transitions).cpu().numpy()
        strengths = [self._settings.reward_signals[signal].strength for signal in self.signals]
        return rewards * np.array(strengths, np.float32)

    def _transitions(self, experience: CutTrajectories | ExperienceBuffer) -> Transitions:
        columns = experience.columns
        return Transitions(
            [self._tensor(values) for values in experience.observations],
            [self._tensor(values) for values in next_observations_of(experience)],
            Actions(self._tensor(columns["continuous"]), self._tensor(columns["discrete"])),
        )

    def _sequences(self, lengths: Integers) -> Integers:
        return sequence_lengths(lengths, self._sequence_length)

    def _tensor(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)

    # ---- the update ----

    def begin_update(
        self, experience: ExperienceBuffer, schedules: ppo.Schedules, *, diagnosed: bool
    ) -> Future[dict[str, float]]:
        """Begins a PPO update, and makes one of each signal that learns. Gives figures by TensorBoard tag.

        Unless `settings.threaded`, it is over when this returns; otherwise `experience` must not change before it is.
        Call `end_update` then.
        """
        if self._replica is not None:
            self._replica.merge_normalizers()
        batch = self._batch(experience)
        hyperparameters = self._settings.hyperparameters
        generator = self.generator.part(hyperparameters.num_epoch)
        signals = self._update_signals(experience)

        def update() -> dict[str, float]:
            figures = ppo.update(
                self._network,
                self._optimizer,
                batch,
                hyperparameters,
                schedules,
                generator,
                self._fused,
                self._sequence_length,
                self._replica,
            )
            if figures and diagnosed:
                figures |= diagnose(self._network, self._optimizer, batch, schedules.epsilon)
            return figures | signals

        if self._settings.threaded:
            return self._thread.submit(update)
        done: Future[dict[str, float]] = Future()
        done.set_result(update())
        return done

    def end_update(self) -> None:
        """Lets the policy act with what an update has learnt."""
        if self._acting_values is not self._optimizer.values:
            self._acting_values.copy_(self._optimizer.values)

    def _batch(self, experience: ExperienceBuffer) -> ppo.Batch:
        gammas = [self._settings.reward_signals[signal].gamma for signal in self.signals]
        steps = experience.rewards, experience.values, experience.lengths, experience.next_values
        lambd = self._settings.hyperparameters.lambd
        if self._fused is not None:
            advantages, returns = gae(*steps, gammas, lambd)
        else:
            parts = [
                advantages_and_returns(
                    steps[0][:, signal], steps[1][:, signal], steps[2], steps[3][:, signal], gamma, lambd
                )
                for signal, gamma in enumerate(gammas)
            ]
            advantages, returns = (np.stack(part, axis=1) for part in zip(*parts, strict=True))
        columns = {name: self._tensor(column) for name, column in experience.columns.items()}
        network = self._network
        sequences = self._tensor(self._sequences(experience.lengths)) if network.memory_size else None
        mean_advantages = self._tensor(advantages.mean(axis=1))
        if self._replica is None:
            normalized = ppo.normalize_advantages(mean_advantages)
        else:
            count = experience.size if sequences is None else len(sequences)
            size = max(1, self._settings.hyperparameters.batch_size // self._sequence_length)
            normalized = self._replica.divide(count, size, mean_advantages)
        return ppo.Batch(
            network.prepare([self._tensor(values) for values in experience.observations], columns.get("memories")),
            Target(
                Actions(columns["continuous"], columns["discrete"]),
                log_probs=columns["log_probs"],
                allowed=columns.get("allowed"),
                advantages=normalized,
                returns=self._tensor(returns),
                values=self._tensor(experience.values),
            ),
            sequences,
        )

    def _update_signals(self, experience: ExperienceBuffer) -> dict[str, float]:
        """As many epochs and minibatches as PPO has; returns the mean losses."""
        if not self.curious:
            return {}
        size, epochs = self._settings.hyperparameters.batch_size, self._settings.hyperparameters.num_epoch
        if self._replica is not None:
            size = max(1, round(size * self._replica.share.weight))
        losses: dict[str, list[float]] = {}
        transitions = self._transitions(experience) if experience.size >= size else None
        for _ in range(epochs if transitions is not None else 0):
            order = self.generator.order(experience.size).to(self._device)
            for start in range(0, experience.size - size + 1, size):
                minibatch = transitions.rows(order[start : start + size])
                for signal in self.curious.values():
                    for tag, loss in signal.update(minibatch).items():
                        losses.setdefault(tag, []).append(loss)
        if self._replica is not None:
            for signal in self.curious.values():
                signal.load_state_dict(self._replica.average_state(signal.state_dict()))
        return {tag: float(np.mean(each)) for tag, each in losses.items()}

    # ---- saving ----

    def export(self, path: Path) -> None:
        """Writes the policy as an ONNX model for Unity and checks it against this one."""
        # Imported here because onnx, which takes a while, need not be there when training starts.
        from trainers.export import actor_arrays, export_onnx, verify_onnx

        policy = self.policy
        if self._device.type != "cpu":  # a GPU may round products to TF32; the file computes in float32
            network = copy.deepcopy(policy.network).cpu()
            policy = Policy(self._spec, network, self.generator, torch.device("cpu"), deterministic=True)
        export_onnx(actor_arrays(self._network), self._spec, path)
        verify_onnx(path, self._spec, policy.deterministic_actions)

    def export_weights(self, weights: Mapping[str, Any], path: Path) -> None:
        """Writes the policy of weights that `weights` gave at another time as an ONNX model."""
        from trainers.export import export_onnx

        arrays = {name: tensor.cpu().numpy() for name, tensor in weights["network"].items()}
        export_onnx({name: array for name, array in arrays.items() if name.startswith("actor.")}, self._spec, path)

    def weights(self) -> dict[str, Any]:
        """What another run can start from."""
        return {
            "specification": describe(self._spec),
            "behavior_spec": specification_to_dict(self._spec),
            "network": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "reward_signals": {name: signal.state_dict() for name, signal in self.curious.items()},
        }

    def load_weights(self, state: Mapping[str, Any], source: Path) -> None:
        """Takes up the networks and the optimisers of a state.

        Raises UsageError when it was saved for other observations, actions or networks.
        """
        found, expected = state["specification"], describe(self._spec)
        if found not in (None, expected):
            raise UsageError(
                f"{source} was trained with {found}, but the environment's behavior '{self._name}' now has {expected}; "
                "train it anew with another --run-id, or with --force"
            )
        saved = state.get("reward_signals", {})
        try:
            self._network.load_state_dict(state["network"])
            for name, signal in self.curious.items():
                if name in saved:
                    signal.load_state_dict(saved[name])
        except RuntimeError as error:
            raise UsageError(
                f"{source} holds another network than the configuration asks for "
                f"({str(error).splitlines()[-1].strip()}); use the network_settings and reward_signals it was trained "
                "with, or train anew with another --run-id or --force"
            ) from error
        optimizer = state["optimizer"]
        if isinstance(optimizer["exp_avg"], dict):
            optimizer = in_order(optimizer, dict(self._network.named_parameters()))
        self._optimizer.load_state_dict(optimizer)
        if self._replica is not None:
            self._replica.mark()
        self.end_update()
