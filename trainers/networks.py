"""Actor and critic for vector observations, with ML-Agents' layout and initialisation."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from mlagents_envs.base_env import ActionSpec, BehaviorSpec
from torch import Tensor, nn

from trainers.config import NetworkSettings
from trainers.losses import Heads
from trainers.rollout_loops import take_in

# Standard deviations of ML-Agents' initialisation: gain of a linear layer, scaled down for the heads so that a fresh
# policy is near neutral.
_MEAN_HEAD_SCALE = 0.2
_DISCRETE_HEAD_SCALE = 0.1


class Normalizer(nn.Module):
    """Running mean and variance of one observation [size].

    Output: clamp((x - mean) / sqrt(variance_sum / steps), -5, 5).
    """

    mean: Tensor
    variance_sum: Tensor
    steps: Tensor
    scale: Tensor  # 1 / standard deviation: every step needs it, only an update changes it

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance_sum", torch.ones(size))
        self.register_buffer("steps", torch.tensor(1.0, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(size), persistent=False)
        self.register_load_state_dict_post_hook(lambda *_: self.rescale())

    def forward(self, observations: Tensor) -> Tensor:
        return ((observations - self.mean) * self.scale).clamp(-5.0, 5.0)

    @torch.no_grad()
    def update(self, observations: Tensor) -> None:
        """Takes in `observations` [steps, size].

        Welford's update (Technometrics 4, 1962) for a batch, as ML-Agents computes it.
        """
        self.steps += len(observations)
        if observations.device.type == "cpu":
            self._take_in(observations)
            return
        to_old_mean = observations - self.mean
        self.mean += (to_old_mean / self.steps).sum(0)
        self.variance_sum += ((observations - self.mean) * to_old_mean).sum(0)
        self.rescale()

    def rescale(self) -> None:
        """Makes `scale` fit the other statistics."""
        if self.scale.device.type == "cpu":
            self._take_in(self.mean.new_empty(0, len(self.mean)))  # nothing new: the same rounding as in an update
        else:
            self.scale.copy_(torch.sqrt(self.steps / self.variance_sum))

    def _take_in(self, observations: Tensor) -> None:
        arrays = (observations, self.mean, self.variance_sum, self.scale)
        take_in(*(array.numpy() for array in arrays), float(self.steps))


def linear(inputs: int, outputs: int, scale: float = 1.0) -> nn.Linear:
    """A layer as ML-Agents initialises it: Kaiming normal weights times `scale`, no bias."""
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.normal_(0.0, scale / math.sqrt(inputs))  # Kaiming normal, gain 1, fan-in
        layer.bias.zero_()
    return layer


class Body(nn.Module):
    """`num_layers` of linear and swish: [agents, inputs] to [agents, hidden]."""

    def __init__(self, inputs: int, settings: NetworkSettings) -> None:
        super().__init__()
        widths = [inputs] + [settings.hidden_units] * settings.num_layers
        self.body = nn.ModuleList(linear(size, width) for size, width in itertools.pairwise(widths))

    def encode(self, inputs: Tensor) -> Tensor:
        """[agents, hidden]"""
        for layer in self.body:
            inputs = nn.functional.silu(nn.functional.linear(inputs, layer.weight, layer.bias))
        return inputs

    def encode_with_tape(self, inputs: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """The same, with what `backpropagate` needs: each layer's inputs and what came before its swish."""
        tape = []
        for layer in self.body:
            before_swish = torch.addmm(layer.bias, inputs, layer.weight.t())
            tape.append((inputs, before_swish))
            inputs = nn.functional.silu(before_swish)
        return inputs, tape

    def backpropagate(self, tape: list[tuple[Tensor, Tensor]], gradient: Tensor) -> None:
        """Writes the gradients of all layers, given that of the encoding [agents, hidden]."""
        for index in range(len(tape) - 1, -1, -1):
            inputs, before_swish = tape[index]
            gradient = torch.ops.aten.silu_backward(gradient, before_swish)
            layer = self.body[index]
            _write_gradient(layer, inputs, gradient)
            if index > 0:
                gradient = gradient @ layer.weight


def _write_gradient(layer: nn.Linear, inputs: Tensor, gradient: Tensor) -> None:
    torch.mm(gradient.t(), inputs, out=layer.weight.grad)
    torch.sum(gradient, dim=0, out=layer.bias.grad)


class PolicyHeads(nn.Module):
    """What an actor has behind its layers: the parameters of the action distribution."""

    def add_heads(self, inputs: int, action: ActionSpec) -> None:
        """`inputs`: size of the encoding."""
        self.has_continuous, self.has_discrete = action.continuous_size > 0, action.discrete_size > 0
        if self.has_continuous:
            self.continuous = linear(inputs, action.continuous_size, _MEAN_HEAD_SCALE)
            self.log_sigma = nn.Parameter(torch.zeros(action.continuous_size))
        if self.has_discrete:
            branches = action.discrete_branches
            self.discrete = nn.ModuleList(linear(inputs, int(size), _DISCRETE_HEAD_SCALE) for size in branches)

    def heads(self, encoding: Tensor) -> tuple[Tensor | None, list[Tensor]]:
        """Mean of the continuous actions [agents, size], None without any; logits [agents, branch_size] a branch."""
        mean = None
        if self.has_continuous:
            mean = nn.functional.linear(encoding, self.continuous.weight, self.continuous.bias)
        if not self.has_discrete:
            return mean, []
        return mean, [nn.functional.linear(encoding, head.weight, head.bias) for head in self.discrete]

    def sigma(self) -> Tensor | None:
        """Log of the standard deviation of each continuous action [size], None without any."""
        return self.log_sigma if self.has_continuous else None


class ValueHeads(nn.Module):
    """What a critic has behind its layers: one value a reward signal."""

    def add_heads(self, inputs: int, signals: Sequence[str]) -> None:
        """`inputs`: size of the encoding."""
        self.values = nn.ModuleDict({signal: nn.Linear(inputs, 1) for signal in signals})
        for head in self.values.values():
            nn.init.xavier_uniform_(head.weight)
            nn.init.zeros_(head.bias)

    def heads(self, encoding: Tensor) -> Tensor:
        """Values [agents, signals]."""
        columns = [nn.functional.linear(encoding, head.weight, head.bias) for head in self.values.values()]
        return columns[0] if len(columns) == 1 else torch.cat(columns, dim=1)


class Actor(PolicyHeads, Body):
    """Observations to the parameters of the action distribution."""

    def __init__(self, sizes: Sequence[int], spec: BehaviorSpec, settings: NetworkSettings) -> None:
        super().__init__(sum(sizes), settings)
        if settings.normalize:
            self.normalizers = nn.ModuleList(Normalizer(size) for size in sizes)
        self.sizes = list(sizes)
        self.normalizes = settings.normalize
        self.add_heads(settings.hidden_units, spec.action_spec)

    def prepare(self, observations: Sequence[Tensor]) -> Tensor:
        """All observations [agents, *shape] flattened, normalised, side by side: [agents, inputs]."""
        flat = [observation.flatten(1) for observation in observations]
        if self.normalizes:
            flat = [normalizer(values) for normalizer, values in zip(self.normalizers, flat, strict=True)]
        return flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)

    def update_normalizers(self, observations: Sequence[Tensor]) -> None:
        """Takes in observations [steps, *shape]."""
        if self.normalizes:
            for normalizer, values in zip(self.normalizers, observations, strict=True):
                normalizer.update(values.flatten(1))


class Critic(ValueHeads, Body):
    """Prepared observations to one value a reward signal; without layers of its own when it shares the actor's."""

    def __init__(self, inputs: int, signals: Sequence[str], settings: NetworkSettings, *, shared: bool) -> None:
        if shared:
            nn.Module.__init__(self)
        else:
            super().__init__(inputs, settings)
        self.add_heads(settings.hidden_units, signals)


class Tape(NamedTuple):
    """What a forward pass leaves for the backward pass."""

    actor: Tensor  # encodings [agents, hidden]
    actor_layers: list[tuple[Tensor, Tensor]]
    critic: Tensor
    critic_layers: list[tuple[Tensor, Tensor]]


class ActorCritic(nn.Module):
    """Both networks of a behavior. `shared_critic` lets the critic use the actor's layers.

    Both see the same observations, so one set of normalisers (the actor's) serves both. What takes `lengths` of
    sequences takes them for the sake of `GeneralActorCritic`, which does the same for networks with a memory.
    """

    memory_size = 0

    def __init__(
        self, spec: BehaviorSpec, settings: NetworkSettings, signals: Sequence[str], *, shared_critic: bool = False
    ) -> None:
        super().__init__()
        sizes = [math.prod(observation.shape) for observation in spec.observation_specs]
        self.actor = Actor(sizes, spec, settings)
        self.critic = Critic(sum(sizes), signals, settings, shared=shared_critic)
        self.shared_critic = shared_critic

    def forward(self, inputs: Tensor) -> Heads:
        """From prepared observations [agents, inputs]."""
        encoding = self.actor.encode(inputs)
        mean, logits = self.actor.heads(encoding)
        critic_encoding = encoding if self.shared_critic else self.critic.encode(inputs)
        return Heads(mean, self.actor.sigma(), logits, self.critic.heads(critic_encoding))

    def prepare(self, observations: Sequence[Tensor], _memories: Tensor | None = None) -> Tensor:
        """What the networks take [agents, inputs], of observations [agents, *shape]."""
        return self.actor.prepare(observations)

    def policy_heads(self, inputs: Tensor, _lengths: Tensor | None = None) -> tuple[Tensor | None, list[Tensor]]:
        """As `Actor.heads`, from prepared observations."""
        return self.actor.heads(self.actor.encode(inputs))

    def act(self, inputs: Tensor) -> tuple[Tensor | None, list[Tensor], None]:
        """The same, and the memory afterwards: none."""
        return *self.policy_heads(inputs), None

    def sigma(self) -> Tensor | None:
        """As `Actor.sigma`."""
        return self.actor.sigma()

    def update_normalizers(self, observations: Sequence[Tensor]) -> None:
        """Takes in observations [steps, *shape]."""
        self.actor.update_normalizers(observations)

    def values(self, inputs: Tensor, _lengths: Tensor | None = None) -> Tensor:
        """Values [agents, signals]."""
        return self.critic.heads((self.actor if self.shared_critic else self.critic).encode(inputs))

    def forward_with_tape(self, inputs: Tensor, _lengths: Tensor | None = None) -> tuple[Heads, Tape]:
        """The same, with what `backward` needs. Without autograd."""
        actor, actor_tape = self.actor.encode_with_tape(inputs)
        critic, critic_tape = (actor, []) if self.shared_critic else self.critic.encode_with_tape(inputs)
        mean, logits = self.actor.heads(actor)
        heads = Heads(mean, self.actor.sigma(), logits, self.critic.heads(critic))
        return heads, Tape(actor, actor_tape, critic, critic_tape)

    def backward(self, tape: Tape, gradients: Heads) -> None:
        """Writes the gradient of every parameter, given those of the heads.

        Each parameter's `grad` must be there already.
        """
        actor, critic = self.actor, self.critic
        parts = []
        if gradients.mean is not None:
            _write_gradient(actor.continuous, tape.actor, gradients.mean)
            actor.log_sigma.grad.copy_(gradients.log_sigma)
            parts.append(gradients.mean @ actor.continuous.weight)
        for branch, gradient in enumerate(gradients.logits):
            _write_gradient(actor.discrete[branch], tape.actor, gradient)
            parts.append(gradient @ actor.discrete[branch].weight)
        value_parts = []
        for signal, head in enumerate(critic.values.values()):
            gradient = gradients.values[:, signal : signal + 1]
            _write_gradient(head, tape.critic, gradient)
            value_parts.append(gradient @ head.weight)
        if self.shared_critic:
            parts += value_parts
        else:
            critic.backpropagate(tape.critic_layers, sum(value_parts[1:], value_parts[0]))
        actor.backpropagate(tape.actor_layers, sum(parts[1:], parts[0]))
