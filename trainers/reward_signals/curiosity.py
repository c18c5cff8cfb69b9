"""Curiosity: the reward is how far a step leads from where a network expected it to (Pathak et al. 2017)."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from mlagents_envs.base_env import BehaviorSpec
from torch import Tensor, nn

from trainers import config_reward_signals as config
from trainers.distributions import Actions
from trainers.general_networks import ObservationBody
from trainers.networks import linear
from trainers.ppo import Optimizer
from trainers.reward_signals.transitions import Transitions

_HIDDEN = 256
_LOSS_SCALE = 10.0  # 1 / lambda of the paper's equation 7, where it weighs the policy's loss
_FORWARD_SHARE = 0.2  # beta of the same equation
_EPSILON = 1e-10  # ML-Agents' guard in the logarithm


class Curiosity:
    """Expects where an action leads, in an encoding that is learned by telling the action from both its sides."""

    def __init__(self, spec: BehaviorSpec, settings: config.Curiosity, device: torch.device) -> None:
        self._network = CuriosityNetwork(spec, settings).to(device)
        self._optimizer = Optimizer(self._network)
        self._learning_rate = settings.learning_rate
        self._greatest = 1.0 / settings.strength if settings.strength > 0 else math.inf
        self._has_updated = False

    @torch.no_grad()
    def rewards(self, transitions: Transitions) -> Tensor:
        """[steps], at most 1 / strength; 0 before the first update, when everything would be as new."""
        if not self._has_updated:
            return self._optimizer.values.new_zeros(len(transitions.actions.continuous))
        return self._network.surprise(*self._network.encode(transitions), transitions.actions).clamp_max(self._greatest)

    @torch.enable_grad()
    def update(self, transitions: Transitions) -> dict[str, float]:
        """One step of Adam on a minibatch; the losses before it."""
        before, after = self._network.encode(transitions)
        forward = self._network.surprise(before, after, transitions.actions).mean()
        inverse = self._network.inverse_loss(before, after, transitions.actions)
        self._network.zero_grad(set_to_none=False)
        (_LOSS_SCALE * (_FORWARD_SHARE * forward + (1.0 - _FORWARD_SHARE) * inverse)).backward()
        self._optimizer.step(self._learning_rate)
        self._has_updated = True
        return {"Losses/Curiosity Forward Loss": forward.item(), "Losses/Curiosity Inverse Loss": inverse.item()}

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": dict(self._network.state_dict()),
            "optimizer": self._optimizer.state_dict(),
            "has_updated": self._has_updated,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._has_updated = state["has_updated"]


class CuriosityNetwork(nn.Module):
    """An encoder of observations, and two models beside each other that see encodings only.

    The inverse model tells the action from the encodings before and after it, the other one the encoding after an
    action from that before it. Both train the encoder.
    """

    def __init__(self, spec: BehaviorSpec, settings: config.Curiosity) -> None:
        super().__init__()
        network, action = settings.network_settings, spec.action_spec
        self._branches = [int(size) for size in action.discrete_branches]
        actions = action.continuous_size + sum(self._branches)
        # As in ML-Agents the normalisers never learn: `normalize` keeps vectors within -5 and 5.
        self.encoder = ObservationBody(spec.observation_specs, network, normalize=network.normalize)
        self.inverse = linear(2 * network.hidden_units, _HIDDEN)
        if action.continuous_size > 0:
            self.continuous = _output(action.continuous_size)
        if self._branches:
            self.discrete = _output(sum(self._branches))
        self.next_hidden = linear(network.hidden_units + actions, _HIDDEN)
        self.next_output = _output(network.hidden_units)

    def encode(self, transitions: Transitions) -> tuple[Tensor, Tensor]:
        """Encodings before and after each step, [steps, hidden_units] each."""
        pairs = zip(transitions.observations, transitions.next_observations, strict=True)
        before, after = self.encoder.encode(self.encoder.prepare([torch.cat(pair) for pair in pairs])).chunk(2)
        return before, after

    def surprise(self, before: Tensor, after: Tensor, actions: Actions) -> Tensor:
        """[steps]: half the squared distance of the encodings `after` from the expected ones (equation 6)."""
        inputs = torch.cat([before, actions.continuous, *self._one_hot(actions)], dim=1)
        expected = self.next_output(nn.functional.silu(self.next_hidden(inputs)))
        return 0.5 * (after - expected).square().sum(1)

    def inverse_loss(self, before: Tensor, after: Tensor, actions: Actions) -> Tensor:
        """Squared error of continuous actions, cross-entropy of each branch: their sums, averaged over steps."""
        hidden = nn.functional.silu(self.inverse(torch.cat([before, after], dim=1)))
        errors = []
        if actions.continuous.shape[1]:
            errors.append((actions.continuous - self.continuous(hidden)).square().sum(1))
        if self._branches:
            logits = self.discrete(hidden).split(self._branches, dim=1)
            for branch, chosen in zip(logits, self._one_hot(actions), strict=True):
                errors.append(-((branch.softmax(dim=1) + _EPSILON).log() * chosen).sum(1))
        return torch.stack(errors).sum(0).mean()

    def _one_hot(self, actions: Actions) -> list[Tensor]:
        """[steps, branch_size] of each branch."""
        columns = zip(actions.discrete.unbind(1), self._branches, strict=True)
        return [nn.functional.one_hot(column, size).float() for column, size in columns]


def _output(size: int) -> nn.Linear:
    layer = nn.Linear(_HIDDEN, size)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
