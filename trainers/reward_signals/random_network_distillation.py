"""RND: the reward is how badly one network foretells what another says of an observation (Burda et al. 2018).

The other one keeps its random weights, so the error falls wherever agents come often.
"""

from collections.abc import Mapping
from typing import Any

import torch
from mlagents_envs.base_env import BehaviorSpec
from torch import Tensor, nn

from trainers import config_reward_signals as config
from trainers.general_networks import ObservationBody
from trainers.ppo import Optimizer
from trainers.reward_signals.transitions import Transitions


class RandomNetworkDistillation:
    """With `normalize`, running normalisers that take in the vectors of every call, `rewards` and `update` alike, after
    they were used, as those of ML-Agents do."""

    def __init__(self, spec: BehaviorSpec, settings: config.RandomNetworkDistillation, device: torch.device) -> None:
        network, specs = settings.network_settings, spec.observation_specs
        self._target = ObservationBody(specs, network, normalize=network.normalize)  # its normalisers serve both
        self._prediction = ObservationBody(specs, network, normalize=False)
        self._both = nn.ModuleDict({"target": self._target, "prediction": self._prediction}).to(device)
        self._optimizer = Optimizer(self._prediction)
        self._learning_rate = settings.learning_rate

    @torch.no_grad()
    def rewards(self, transitions: Transitions) -> Tensor:
        """[steps]: squared distance of the prediction."""
        return self._errors(transitions)

    @torch.enable_grad()
    def update(self, transitions: Transitions) -> dict[str, float]:
        """One step of Adam on a minibatch; the loss before it."""
        loss = self._errors(transitions).mean()
        self._prediction.zero_grad(set_to_none=False)
        loss.backward()
        self._optimizer.step(self._learning_rate)
        return {"Losses/RND Loss": loss.item()}

    def _errors(self, transitions: Transitions) -> Tensor:
        prepared = self._target.prepare(transitions.observations)
        with torch.no_grad():
            target = self._target.encode(prepared)
        errors = (self._prediction.encode(prepared) - target).square().sum(1)
        self._target.update_normalizers(transitions.observations)
        return errors

    def state_dict(self) -> dict[str, Any]:
        return {"network": dict(self._both.state_dict()), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._both.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
