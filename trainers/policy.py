"""The policy of a behavior: observations of all waiting agents in, their actions out."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from mlagents_envs.base_env import ActionTuple, BehaviorSpec, DecisionSteps
from numpy.typing import NDArray

from trainers.actor_critics import Network
from trainers.distributions import entropy, for_environment, masked_log_probs, sample
from trainers.kernels.fused import FusedActorCritic
from trainers.kernels.philox import Philox


class Acted(NamedTuple):
    """What `Policy.act` gives; the next call may write over it."""

    actions: ActionTuple  # for the player
    columns: dict[str, NDArray[Any]]  # [agents, size] each, to be stored with the step
    memories: NDArray[np.float32] | None  # [agents, memory_size] after the step; None for networks without a memory


class Policy:
    """Acts with an ActorCritic.

    Random numbers come from a generator of its own, so that a run can be repeated and resumed.
    """

    def __init__(
        self,
        spec: BehaviorSpec,
        network: Network,
        generator: Philox,
        device: torch.device,
        *,
        deterministic: bool,
        fused: FusedActorCritic | None = None,
    ) -> None:
        """`fused`: the network's kernels; without them torch acts."""
        self.network = network
        self._fused = fused
        self._spec = spec.action_spec
        self._generator = generator
        self._device = device
        self._deterministic = deterministic
        self._acted: tuple[torch.Tensor | None, list[torch.Tensor]] = (None, [])
        self._entropy = 0.0

    def columns(self) -> dict[str, tuple[int, Any]]:
        """What `act` wants stored with each step: name to (size, dtype)."""
        columns: dict[str, tuple[int, Any]] = {
            "continuous": (self._spec.continuous_size, np.float32),
            "discrete": (self._spec.discrete_size, np.int64),
            "log_probs": (self._spec.continuous_size + self._spec.discrete_size, np.float32),
        }
        if self._spec.discrete_size:
            columns["allowed"] = (sum(int(size) for size in self._spec.discrete_branches), np.bool_)
        if self.network.memory_size:
            columns["memories"] = (self.network.memory_size, np.float32)
        return columns

    def act(self, decisions: DecisionSteps, memories: NDArray[np.float32] | None = None) -> Acted:
        """Decides for the agents of `decisions`, who remember `memories` [agents, memory_size]."""
        columns: dict[str, NDArray[Any]] = {}
        allowed = None
        if decisions.action_mask is not None:
            columns["allowed"] = allowed = ~np.concatenate(decisions.action_mask, axis=1)
        if self._fused is not None:
            acted = self._fused.act(
                decisions.obs,
                allowed,
                seed=self._generator.seed,
                call=0 if self._deterministic else self._generator.next_call(),
                deterministic=self._deterministic,
            )
            self._entropy = acted.entropy
            columns["continuous"], columns["discrete"] = acted.continuous, acted.discrete
            columns["log_probs"] = acted.log_probs
            actions = ActionTuple(acted.continuous_for_player, acted.discrete_for_player)
            return Acted(actions, columns, None)
        if memories is not None:
            columns["memories"] = memories
        return self._act_in_torch(decisions.obs, allowed, columns)

    @property
    def can_repeat(self) -> bool:
        """Whether `repeated` may be called: where the kernels act on a CPU."""
        return self._fused is not None and self._device.type == "cpu"

    def repeated(self, decisions: DecisionSteps) -> tuple[Acted, Callable[[], float]]:
        """`act` for agents whose decisions come in the same arrays each time, with nothing forbidden.

        Returns the arrays of the results and a function that acts and returns the entropy, until `act` is called.
        """
        assert self._fused is not None
        generator, deterministic = self._generator, self._deterministic
        acted, again = self._fused.repeated(decisions.obs, seed=generator.seed, deterministic=deterministic)
        columns: dict[str, NDArray[Any]] = {"continuous": acted.continuous, "discrete": acted.discrete}
        columns["log_probs"] = acted.log_probs

        def act() -> float:
            self._entropy = again(0 if deterministic else generator.next_call())
            return self._entropy

        return Acted(ActionTuple(acted.continuous_for_player, acted.discrete_for_player), columns, None), act

    @torch.inference_mode()
    def _act_in_torch(
        self,
        observations: list[NDArray[np.float32]],
        allowed: NDArray[np.bool_] | None,
        columns: dict[str, NDArray[Any]],
    ) -> Acted:
        mean, branches, memories = self._distribution(observations, allowed, columns.get("memories"))
        log_sigma = self.network.sigma()
        actions, log_probs = sample(mean, log_sigma, branches, self._generator, deterministic=self._deterministic)
        columns["continuous"] = actions.continuous.cpu().numpy()
        columns["discrete"] = actions.discrete.cpu().numpy()
        columns["log_probs"] = log_probs.cpu().numpy()
        for_player = ActionTuple(
            for_environment(actions.continuous).cpu().numpy(), columns["discrete"].astype(np.int32)
        )
        self._acted = (log_sigma, branches)
        return Acted(for_player, columns, None if memories is None else memories.cpu().numpy())

    def entropy(self) -> float:
        """Mean entropy of the distribution that `act` drew from last; the players need not wait for it."""
        if self._fused is not None:
            return self._entropy
        with torch.inference_mode():
            return float(entropy(*self._acted))

    def _distribution(
        self,
        observations: list[NDArray[np.float32]],
        allowed: NDArray[np.bool_] | None,
        memories: NDArray[np.float32] | None,
    ) -> tuple[torch.Tensor | None, list[torch.Tensor], torch.Tensor | None]:
        """Mean of the continuous actions (None without any), log-probabilities of each branch, memories afterwards."""
        mean, logits, remembered = self.network.act(self._inputs(observations, memories))
        mask = None if allowed is None else torch.from_numpy(allowed).to(self._device)
        return mean, masked_log_probs(logits, mask), remembered

    def _inputs(self, observations: list[NDArray[np.float32]], memories: NDArray[np.float32] | None) -> Any:
        tensors = [torch.from_numpy(observation).to(self._device) for observation in observations]
        remembered = None if memories is None else torch.from_numpy(memories).to(self._device)
        return self.network.prepare(tensors, remembered)

    def values(
        self,
        observations: list[NDArray[np.float32]],
        memories: NDArray[np.float32] | None = None,
        lengths: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float32]:
        """The critic's values [steps, signals] of observations [steps, *shape].

        With `memories` [steps, memory_size] the steps are sequences of `lengths`, one after the other.
        """
        if self._fused is not None:
            values: NDArray[np.float32] = self._fused.values(observations)
            return values
        with torch.inference_mode():
            sequences = None if lengths is None else torch.from_numpy(lengths).to(self._device)
            return self.network.values(self._inputs(observations, memories), sequences).cpu().numpy()

    @torch.inference_mode()
    def deterministic_actions(
        self,
        observations: list[NDArray[np.float32]],
        allowed: NDArray[np.bool_] | None,
        memories: NDArray[np.float32] | None = None,
    ) -> tuple[NDArray[np.float32] | None, NDArray[np.int64] | None, NDArray[np.float32] | None]:
        """What a player gets of the most probable actions, and what the agents remember then.

        Continuous [agents, size], discrete [agents, branches]; None where there are none. Memories are the actor's
        alone, [agents, memory_size of the settings], None for networks without one.
        """
        size = 0
        if memories is not None:
            size = memories.shape[1]
            memories = np.pad(memories, ((0, 0), (0, self.network.memory_size - size)))  # nothing of the critic's
        mean, branches, remembered = self._distribution(
            observations, None if allowed is None else allowed.astype(np.bool_), memories
        )
        actions, _ = sample(mean, self.network.sigma(), branches, self._generator, deterministic=True)
        return (
            None if mean is None else for_environment(actions.continuous).cpu().numpy(),
            actions.discrete.cpu().numpy() if branches else None,
            None if remembered is None else remembered[:, :size].cpu().numpy(),
        )
