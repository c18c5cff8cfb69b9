"""The policy of a behavior: observations of all waiting agents in, their actions out."""

from typing import Any

import numpy as np
import torch
from mlagents_envs.base_env import ActionTuple, BehaviorSpec, DecisionSteps
from numpy.typing import NDArray

from trainers.distributions import entropy, for_environment, masked_log_probs, sample
from trainers.kernels.fused import FusedActorCritic
from trainers.kernels.philox import Philox
from trainers.networks import ActorCritic


class Policy:
    """Acts with an ActorCritic.

    Random numbers come from a generator of its own, so that a run can be repeated and resumed.
    """

    def __init__(
        self,
        spec: BehaviorSpec,
        network: ActorCritic,
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
        return columns

    def act(self, decisions: DecisionSteps) -> tuple[ActionTuple, dict[str, NDArray[Any]]]:
        """Actions for the player, and the columns to store [agents, size]; the next call may write over both."""
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
            return ActionTuple(acted.continuous_for_player, acted.discrete_for_player), columns
        return self._act_in_torch(decisions.obs, allowed, columns), columns

    @torch.inference_mode()
    def _act_in_torch(
        self,
        observations: list[NDArray[np.float32]],
        allowed: NDArray[np.bool_] | None,
        columns: dict[str, NDArray[Any]],
    ) -> ActionTuple:
        mean, log_sigma, branches = self._distribution(observations, allowed)
        actions, log_probs = sample(mean, log_sigma, branches, self._generator, deterministic=self._deterministic)
        columns["continuous"] = actions.continuous.cpu().numpy()
        columns["discrete"] = actions.discrete.cpu().numpy()
        columns["log_probs"] = log_probs.cpu().numpy()
        for_player = ActionTuple(
            for_environment(actions.continuous).cpu().numpy(), columns["discrete"].astype(np.int32)
        )
        self._acted = (log_sigma, branches)
        return for_player

    def entropy(self) -> float:
        """Mean entropy of the distribution that `act` drew from last; the players need not wait for it."""
        if self._fused is not None:
            return self._entropy
        with torch.inference_mode():
            return float(entropy(*self._acted))

    def _distribution(
        self, observations: list[NDArray[np.float32]], allowed: NDArray[np.bool_] | None
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, list[torch.Tensor]]:
        """Mean and log sigma of the continuous actions (None without any), log-probabilities of each branch."""
        actor = self.network.actor
        inputs = actor.prepare([torch.from_numpy(observation).to(self._device) for observation in observations])
        mean, logits = actor.heads(actor.encode(inputs))
        mask = None if allowed is None else torch.from_numpy(allowed).to(self._device)
        return mean, actor.log_sigma if mean is not None else None, masked_log_probs(logits, mask)

    def values(self, observations: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        """The critic's values [steps, signals] of observations [steps, *shape]."""
        if self._fused is not None:
            return self._fused.values(observations)
        with torch.inference_mode():
            tensors = [torch.from_numpy(observation).to(self._device) for observation in observations]
            return self.network.values(tensors).cpu().numpy()

    @torch.inference_mode()
    def deterministic_actions(
        self, observations: list[NDArray[np.float32]], allowed: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.float32] | None, NDArray[np.int64] | None]:
        """What a player gets of the most probable actions.

        Continuous [agents, size], discrete [agents, branches]; None where there are none.
        """
        mean, log_sigma, branches = self._distribution(
            observations, None if allowed is None else allowed.astype(np.bool_)
        )
        actions, _ = sample(mean, log_sigma, branches, self._generator, deterministic=True)
        continuous = for_environment(actions.continuous).cpu().numpy() if mean is not None else None
        return continuous, actions.discrete.cpu().numpy() if branches else None
