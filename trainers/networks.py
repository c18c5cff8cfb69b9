"""Actor and critic for vector observations, with ML-Agents' layout and initialisation."""

import math
from collections.abc import Sequence

import torch
from mlagents_envs.base_env import BehaviorSpec
from torch import Tensor, nn

from trainers.config import NetworkSettings

# Standard deviations of ML-Agents' initialisation: gain of a linear layer, scaled down for the heads so that a fresh policy is near neutral.
_MEAN_HEAD_SCALE = 0.2
_DISCRETE_HEAD_SCALE = 0.1


class Normalizer(nn.Module):
    """Running mean and variance of one observation [size]; output clamp((x - mean) / sqrt(variance_sum / steps), -5, 5)."""

    mean: Tensor
    variance_sum: Tensor
    steps: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance_sum", torch.ones(size))
        self.register_buffer("steps", torch.tensor(1.0, dtype=torch.float64))

    def forward(self, observations: Tensor) -> Tensor:
        deviation = torch.sqrt(self.variance_sum / self.steps).to(observations.dtype)
        return ((observations - self.mean) / deviation).clamp(-5.0, 5.0)

    @torch.no_grad()
    def update(self, observations: Tensor) -> None:
        """Takes in `observations` [steps, size]: Welford's update (Technometrics 4, 1962) for a batch, as ML-Agents computes it."""
        steps = self.steps + len(observations)
        to_old_mean = observations - self.mean
        mean = self.mean + (to_old_mean / steps).sum(0)
        self.variance_sum += ((observations - mean) * to_old_mean).sum(0)
        self.mean.copy_(mean)
        self.steps.copy_(steps)


def _linear(inputs: int, outputs: int, scale: float = 1.0) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.normal_(0.0, scale / math.sqrt(inputs))  # Kaiming normal, gain 1, fan-in
        layer.bias.zero_()
    return layer


class Body(nn.Module):
    """All vector observations, each flattened and normalised on its own, then `num_layers` of linear and swish: [agents, hidden]."""

    normalizers: nn.ModuleList
    body: nn.ModuleList

    def __init__(self, sizes: Sequence[int], settings: NetworkSettings) -> None:
        super().__init__()
        if settings.normalize:
            self.normalizers = nn.ModuleList(Normalizer(size) for size in sizes)
        self._normalize = settings.normalize
        widths = [sum(sizes)] + [settings.hidden_units] * settings.num_layers
        self.body = nn.ModuleList(_linear(inputs, outputs) for inputs, outputs in zip(widths, widths[1:], strict=False))

    def encode(self, observations: Sequence[Tensor]) -> Tensor:
        flat = [observation.flatten(1) for observation in observations]
        if self._normalize:
            flat = [normalizer(values) for normalizer, values in zip(self.normalizers, flat, strict=True)]
        hidden = flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)
        for layer in self.body:
            hidden = nn.functional.silu(layer(hidden))
        return hidden

    def update_normalizers(self, observations: Sequence[Tensor]) -> None:
        """Takes in observations [steps, *shape]."""
        if self._normalize:
            for normalizer, values in zip(self.normalizers, observations, strict=True):
                normalizer.update(values.flatten(1))


class Actor(Body):
    """Observations to the parameters of the action distribution."""

    def __init__(self, sizes: Sequence[int], spec: BehaviorSpec, settings: NetworkSettings) -> None:
        super().__init__(sizes, settings)
        action = spec.action_spec
        if action.continuous_size > 0:
            self.continuous = _linear(settings.hidden_units, action.continuous_size, _MEAN_HEAD_SCALE)
            self.log_sigma = nn.Parameter(torch.zeros(action.continuous_size))
        if action.discrete_size > 0:
            self.discrete = nn.ModuleList(
                _linear(settings.hidden_units, int(size), _DISCRETE_HEAD_SCALE) for size in action.discrete_branches
            )
        self.has_continuous = action.continuous_size > 0
        self.has_discrete = action.discrete_size > 0

    def heads(self, encoding: Tensor) -> tuple[Tensor | None, list[Tensor]]:
        """Mean of the continuous actions [agents, size] (None without any) and the logits [agents, branch_size] of each branch."""
        mean = self.continuous(encoding) if self.has_continuous else None
        return mean, [head(encoding) for head in self.discrete] if self.has_discrete else []


class Critic(Body):
    """Observations to one value a reward signal; without layers of its own when it shares the actor's."""

    def __init__(self, sizes: Sequence[int], signals: Sequence[str], settings: NetworkSettings, *, shared: bool) -> None:
        if shared:
            nn.Module.__init__(self)
        else:
            super().__init__(sizes, settings)
        self.values = nn.ModuleDict({signal: nn.Linear(settings.hidden_units, 1) for signal in signals})
        for head in self.values.values():
            nn.init.xavier_uniform_(head.weight)
            nn.init.zeros_(head.bias)

    def heads(self, encoding: Tensor) -> Tensor:
        """Values [signals, agents]."""
        return torch.stack([head(encoding).squeeze(1) for head in self.values.values()])


class ActorCritic(nn.Module):
    """Both networks of a behavior. `shared_critic` lets the critic use the actor's layers."""

    def __init__(
        self, spec: BehaviorSpec, settings: NetworkSettings, signals: Sequence[str], *, shared_critic: bool = False
    ) -> None:
        super().__init__()
        sizes = [math.prod(observation.shape) for observation in spec.observation_specs]
        self.actor = Actor(sizes, spec, settings)
        self.critic = Critic(sizes, signals, settings, shared=shared_critic)
        self.shared_critic = shared_critic

    def forward(self, observations: Sequence[Tensor]) -> tuple[Tensor | None, list[Tensor], Tensor]:
        """Mean of the continuous actions, logits of each branch, values [signals, agents]."""
        encoding = self.actor.encode(observations)
        mean, logits = self.actor.heads(encoding)
        critic_encoding = encoding if self.shared_critic else self.critic.encode(observations)
        return mean, logits, self.critic.heads(critic_encoding)

    def values(self, observations: Sequence[Tensor]) -> Tensor:
        """Values [signals, agents]."""
        return self.critic.heads((self.actor if self.shared_critic else self.critic).encode(observations))

    def update_normalizers(self, observations: Sequence[Tensor]) -> None:
        """Takes in observations [steps, *shape] for the actor and, where it has its own, the critic."""
        self.actor.update_normalizers(observations)
        if not self.shared_critic:
            self.critic.update_normalizers(observations)
