"""Rewards that a behavior gives itself for what is new to it, as ML-Agents computes them.

Two calls are up to the trainer:

- `rewards`, once for all steps of the trajectories that were cut, before their values are turned into advantages. The
  result times the signal's strength is a column of rewards beside the extrinsic one. Such rewards do not stop where an
  episode does, so the value of what comes after a trajectory counts even if the episode has ended for good.
- `update`, once for each minibatch of each epoch of the policy's update: `num_epoch` passes in minibatches of
  `batch_size`. It gives the losses by TensorBoard tag, of which a report shows the means.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from mlagents_envs.base_env import BehaviorSpec
from torch import Tensor

from trainers import config_reward_signals as config
from trainers.reward_signals.curiosity import Curiosity
from trainers.reward_signals.random_network_distillation import RandomNetworkDistillation
from trainers.reward_signals.transitions import Transitions, next_observations_of

__all__ = ["RewardSignalModule", "Transitions", "make_signals", "next_observations_of"]


class RewardSignalModule(Protocol):
    """A signal that learns."""

    def rewards(self, transitions: Transitions) -> Tensor:
        """How new the steps are: [steps], before the signal's strength."""

    def update(self, transitions: Transitions) -> dict[str, float]:
        """One step of the optimiser on a minibatch; TensorBoard tag -> loss before it."""

    def state_dict(self) -> dict[str, Any]:
        """Everything to go on exactly."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes up what `state_dict` gave. Raises RuntimeError if it is of other networks."""


def make_signals(
    spec: BehaviorSpec, settings: Mapping[str, config.RewardSignal], device: torch.device
) -> dict[str, RewardSignalModule]:
    """Those of a behavior's `reward_signals` that learn, by name; weights are drawn from torch's global generator.

    Raises UsageError for observations that there is no encoder for.
    """
    signals: dict[str, RewardSignalModule] = {}
    for name, signal in settings.items():
        if isinstance(signal, config.Curiosity):
            signals[name] = Curiosity(spec, signal, device)
        elif isinstance(signal, config.RandomNetworkDistillation):
            signals[name] = RandomNetworkDistillation(spec, signal, device)
    return signals
