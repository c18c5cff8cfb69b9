"""Actor and critic for what the fast path of `networks` leaves out: pictures, variable-length observations, memory.

ML-Agents' layout and initialisation; torch's autograd does the gradients.
"""

import itertools
import math
from collections.abc import Sequence

import torch
from mlagents_envs.base_env import BehaviorSpec, DimensionProperty, ObservationSpec
from torch import Tensor, nn

from trainers.attention import EMBEDDING, Attention
from trainers.config_network import NetworkSettings
from trainers.encoders import VisualEncoder, channels_last
from trainers.errors import UsageError
from trainers.losses import Heads
from trainers.memory import Memory
from trainers.networks import Normalizer, PolicyHeads, ValueHeads, linear


class Inputs:
    """Rows of what the networks take."""

    def __init__(self, observations: list[Tensor], memories: Tensor | None = None) -> None:
        self.observations = observations  # [rows, *shape] each, as the player sent them but vectors normalised
        self.memories = memories  # [rows, memory_size] before each row; None without memory

    def __len__(self) -> int:
        return len(self.observations[0])

    def __getitem__(self, index: Tensor | slice) -> "Inputs":
        """The rows named by `index`, in its order; a slice gives views."""
        memories = None if self.memories is None else self.memories[index]
        return Inputs([observation[index] for observation in self.observations], memories)


class ObservationBody(nn.Module):
    """Observations of every kind to one encoding.

    Vectors as they are, pictures through an encoder each, entities through one attention; side by side through
    `num_layers` of linear and swish.
    """

    def __init__(
        self, observation_specs: Sequence[ObservationSpec], settings: NetworkSettings, *, normalize: bool
    ) -> None:
        """Raises UsageError for observations that there is no encoder for."""
        super().__init__()
        vectors, encoders, entities = {}, {}, {}
        for index, spec in enumerate(observation_specs):
            if DimensionProperty.VARIABLE_SIZE in spec.dimension_property:
                entities[str(index)] = _entity_size(index, spec)
            elif len(spec.shape) == 3:
                encoders[str(index)] = _visual_encoder(index, spec, settings)
            else:
                vectors[str(index)] = math.prod(spec.shape)
        size = sum(vectors.values()) + settings.hidden_units * len(encoders)
        if normalize:
            self.normalizers = nn.ModuleDict({key: Normalizer(size) for key, size in vectors.items()})
        if encoders:
            self.encoders = nn.ModuleDict(encoders)
        if entities:
            self.attention = Attention(entities, size)
            size += EMBEDDING
        widths = [size] + [settings.hidden_units] * settings.num_layers
        self.body = nn.ModuleList(linear(inputs, outputs) for inputs, outputs in itertools.pairwise(widths))
        self.normalizes = normalize
        self._vectors, self._entities = list(vectors), list(entities)
        self._channels_last = {key for key in encoders if channels_last(observation_specs[int(key)])}

    def prepare(self, observations: Sequence[Tensor]) -> list[Tensor]:
        """What `encode` takes: `observations` [rows, *shape] with the vectors normalised, if this network does so."""
        prepared = list(observations)
        if self.normalizes:
            for key, normalizer in self.normalizers.items():
                prepared[int(key)] = normalizer(prepared[int(key)].flatten(1))
        return prepared

    def encode(self, prepared: Sequence[Tensor]) -> Tensor:
        """[rows, hidden_units]"""
        parts = []
        for index, values in enumerate(prepared):
            key = str(index)
            if key in self._vectors:
                parts.append(values.flatten(1))
            elif key not in self._entities:
                pictures = values.movedim(3, 1) if key in self._channels_last else values
                parts.append(self.encoders[key](pictures))
        if self._entities:
            own = torch.cat(parts, dim=1) if parts else None
            parts.append(self.attention({key: prepared[int(key)] for key in self._entities}, own))
        encoding = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        for layer in self.body:
            encoding = nn.functional.silu(layer(encoding))
        return encoding

    def update_normalizers(self, observations: Sequence[Tensor]) -> None:
        """Takes in observations [steps, *shape]."""
        if self.normalizes:
            for key, normalizer in self.normalizers.items():
                normalizer.update(observations[int(key)].flatten(1))


class _Network(ObservationBody):
    """With `settings.memory`, the body's encodings go through an LSTM."""

    def __init__(self, spec: BehaviorSpec, settings: NetworkSettings, *, normalize: bool) -> None:
        super().__init__(spec.observation_specs, settings, normalize=normalize)
        self.outputs, self.memory_size = settings.hidden_units, 0
        if settings.memory is not None:
            self.memory_size = settings.memory.memory_size
            self.memory = Memory(settings.hidden_units, self.memory_size)
            self.outputs = self.memory_size // 2

    def remember(self, encoding: Tensor, memories: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """One step a row: what the heads take [rows, outputs], and the memory afterwards [rows, memory_size]."""
        return self.memory.step(encoding, memories) if self.memory_size else (encoding, None)

    def recall(self, encoding: Tensor, memories: Tensor | None, lengths: Tensor | None) -> Tensor:
        """What the heads take [rows, outputs] of sequences of rows; without lengths, each row is one."""
        if self.memory_size == 0:
            return encoding
        if lengths is None:
            return self.memory.step(encoding, memories)[0]
        return self.memory.through(encoding, memories, lengths)


class Actor(PolicyHeads, _Network):
    """Observations to the parameters of the action distribution."""

    def __init__(self, spec: BehaviorSpec, settings: NetworkSettings) -> None:
        super().__init__(spec, settings, normalize=settings.normalize)
        self.add_heads(self.outputs, spec.action_spec)


class Critic(ValueHeads, _Network):
    """Prepared observations to one value a reward signal; nothing but heads when it shares the actor's layers."""

    def __init__(
        self, spec: BehaviorSpec, signals: Sequence[str], settings: NetworkSettings, *, shared: Actor | None
    ) -> None:
        if shared is not None:
            nn.Module.__init__(self)
            self.memory_size, self.outputs = 0, shared.outputs
        else:
            super().__init__(spec, settings, normalize=False)
        self.add_heads(self.outputs, signals)


class GeneralActorCritic(nn.Module):
    """Both networks of a behavior. `shared_critic` lets the critic use the actor's layers and its memory.

    Both see the same observations, so one set of normalisers (the actor's) serves both. A row of memory is the
    actor's, then that of a critic of its own.

    With memory, rows are sequences one after the other. `lengths`, int64 [sequences], says how many rows each has, and
    each starts from the memory of its first row; without, every row is a sequence of its own.
    """

    def __init__(
        self, spec: BehaviorSpec, settings: NetworkSettings, signals: Sequence[str], *, shared_critic: bool = False
    ) -> None:
        """Raises UsageError for observations that there is no encoder for."""
        super().__init__()
        self.actor = Actor(spec, settings)
        self.critic = Critic(spec, signals, settings, shared=self.actor if shared_critic else None)
        self.shared_critic = shared_critic
        self.memory_size = self.actor.memory_size + self.critic.memory_size

    def prepare(self, observations: Sequence[Tensor], memories: Tensor | None = None) -> Inputs:
        """What everything else takes.

        observations: [rows, *shape] each, as they came from the player. memories: [rows, memory_size], before each row.
        """
        return Inputs(self.actor.prepare(observations), memories)

    def act(self, inputs: Inputs) -> tuple[Tensor | None, list[Tensor], Tensor | None]:
        """One step of every row.

        Returns the mean of the continuous actions [rows, size], None without any; logits [rows, branch_size] a branch;
        the memory afterwards [rows, memory_size], None without one.
        """
        of_actor, of_critic = self._split(inputs.memories)
        encoding, memories = self.actor.remember(self.actor.encode(inputs.observations), of_actor)
        if self.critic.memory_size > 0:
            _, of_critic = self.critic.remember(self.critic.encode(inputs.observations), of_critic)
            memories = torch.cat([memories, of_critic], dim=1)
        return *self.actor.heads(encoding), memories

    def sigma(self) -> Tensor | None:
        """Log of the standard deviation of each continuous action [size], None without any."""
        return self.actor.sigma()

    def policy_heads(self, inputs: Inputs, lengths: Tensor | None = None) -> tuple[Tensor | None, list[Tensor]]:
        """Mean [rows, size], None without continuous actions; logits [rows, branch_size] a branch."""
        return self.actor.heads(self._actor_encoding(inputs, lengths))

    def values(self, inputs: Inputs, lengths: Tensor | None = None) -> Tensor:
        """Values [rows, signals]."""
        if self.shared_critic:
            return self.critic.heads(self._actor_encoding(inputs, lengths))
        return self.critic.heads(self._critic_encoding(inputs, lengths))

    def forward_with_tape(self, inputs: Inputs, lengths: Tensor | None = None) -> tuple[Heads, Heads]:
        """What the networks put out for a minibatch, and what `backward` needs; also where autograd is off."""
        with torch.enable_grad():
            encoding = self._actor_encoding(inputs, lengths)
            mean, logits = self.actor.heads(encoding)
            critic_encoding = encoding if self.shared_critic else self._critic_encoding(inputs, lengths)
            tape = Heads(mean, self.sigma(), logits, self.critic.heads(critic_encoding))
        return Heads(*(_detached(part) for part in tape)), tape

    def backward(self, tape: Heads, gradients: Heads) -> None:
        """Writes the gradient of every parameter, given those of the heads.

        Each parameter's `grad` must be there already.
        """
        torch._foreach_zero_([parameter.grad for parameter in self.parameters()])
        outputs, given = [*tape.logits, tape.values], [*gradients.logits, gradients.values]
        if tape.mean is not None:
            outputs += [tape.mean, tape.log_sigma]
            given += [gradients.mean, gradients.log_sigma]
        torch.autograd.backward(outputs, given)

    def update_normalizers(self, observations: Sequence[Tensor]) -> None:
        """Takes in observations [steps, *shape]."""
        self.actor.update_normalizers(observations)

    def _split(self, memories: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        if self.memory_size == 0:
            return None, None
        return memories[:, : self.actor.memory_size], memories[:, self.actor.memory_size :]

    def _actor_encoding(self, inputs: Inputs, lengths: Tensor | None) -> Tensor:
        encoding = self.actor.encode(inputs.observations)
        return self.actor.recall(encoding, self._split(inputs.memories)[0], lengths)

    def _critic_encoding(self, inputs: Inputs, lengths: Tensor | None) -> Tensor:
        encoding = self.critic.encode(inputs.observations)
        return self.critic.recall(encoding, self._split(inputs.memories)[1], lengths)


def _detached(part: Tensor | list[Tensor] | None) -> Tensor | list[Tensor] | None:
    if isinstance(part, list):
        return [one.detach() for one in part]
    return None if part is None else part.detach()


def _what(index: int, spec: ObservationSpec) -> str:
    return f"observation {index} ({spec.name}) of shape {spec.shape}"


def _entity_size(index: int, spec: ObservationSpec) -> int:
    if spec.dimension_property != (DimensionProperty.VARIABLE_SIZE, DimensionProperty.NONE):
        raise UsageError(
            f"{_what(index, spec)} varies along another dimension than ML-Agents' variable-length observations "
            "[entities, size] do; take its sensor off the agent"
        )
    return spec.shape[1]


def _visual_encoder(index: int, spec: ObservationSpec, settings: NetworkSettings) -> VisualEncoder:
    shape = spec.shape
    if channels_last(spec):
        shape = (shape[2], *shape[:2])
    try:
        return VisualEncoder(settings.vis_encode_type, shape, settings.hidden_units)
    except UsageError as error:
        raise UsageError(f"{_what(index, spec)}: {error}") from error
