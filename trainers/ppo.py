"""Proximal policy optimisation (Schulman et al. 2017) as ML-Agents computes it."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from trainers.config import Hyperparameters
from trainers.distributions import Actions
from trainers.losses import Target, losses_and_gradients
from trainers.networks import ActorCritic


@dataclass(frozen=True)
class Schedules:
    """The values that change while training goes on, at the moment of an update."""

    learning_rate: float
    epsilon: float
    beta: float


class Batch(NamedTuple):
    """Experience as an update needs it; first dimension: steps."""

    inputs: Tensor  # [steps, inputs], observations as the networks take them
    target: Target

    def rows(self, index: Tensor | slice) -> "Batch":
        """The steps named by `index`, in its order; a slice gives views."""
        target = self.target
        return Batch(
            self.inputs[index],
            Target(
                Actions(target.actions.continuous[index], target.actions.discrete[index]),
                target.log_probs[index],
                None if target.allowed is None else target.allowed[index],
                target.advantages[index],
                target.returns[index],
                target.values[index],
            ),
        )


class Optimizer:
    """One Adam over all parameters of a network, which it lays side by side in one tensor.

    One step over all of them costs as much as one for a single layer.
    """

    def __init__(self, network: ActorCritic, learning_rate: float) -> None:
        parameters = list(network.parameters())
        flat = torch.cat([parameter.detach().flatten() for parameter in parameters])
        self._flat = torch.nn.Parameter(flat)
        self._flat.grad = torch.zeros_like(flat)
        start = 0
        for parameter in parameters:
            end = start + parameter.numel()
            parameter.data = self._flat.data[start:end].view(parameter.shape)
            parameter.grad = self._flat.grad[start:end].view(parameter.shape)
            start = end
        self._adam = torch.optim.Adam([self._flat], lr=learning_rate, fused=True)

    def set_learning_rate(self, learning_rate: float) -> None:
        """For the steps to come."""
        self._adam.param_groups[0]["lr"] = learning_rate

    def step(self) -> None:
        """Moves the parameters against their gradients."""
        self._adam.step()

    def state_dict(self) -> dict[str, Tensor]:
        """Adam's moments, in the order of the network's parameters, and its step count; empty before the first step."""
        state = self._adam.state[self._flat]
        return dict(state)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes up what `state_dict` gave."""
        self._adam.state[self._flat] = {name: value.clone().to(self._flat.device) for name, value in state.items()}


def normalize_advantages(advantages: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over the whole buffer [steps]."""
    return (advantages - advantages.mean()) / (advantages.std(unbiased=False) + 1e-10)


@torch.no_grad()
def update(
    network: ActorCritic,
    optimizer: Optimizer,
    batch: Batch,
    settings: Hyperparameters,
    schedules: Schedules,
    generator: torch.Generator,
) -> dict[str, float]:
    """`num_epoch` passes over the batch in shuffled minibatches of exactly `batch_size`.

    Steps that do not fill a minibatch are left out. Changes network and optimizer.

    Returns the mean losses by TensorBoard tag.
    """
    optimizer.set_learning_rate(schedules.learning_rate)
    steps, size = len(batch.inputs), settings.batch_size
    used = steps // size * size
    policy_losses: list[Tensor] = []
    value_losses: list[Tensor] = []
    for _ in range(settings.num_epoch):
        order = torch.randperm(steps, generator=generator, device=generator.device).to(batch.inputs.device)
        shuffled = batch.rows(order[:used])
        for start in range(0, used, size):
            minibatch = shuffled.rows(slice(start, start + size))
            heads, tape = network.forward_with_tape(minibatch.inputs)
            losses = losses_and_gradients(
                heads,
                minibatch.target,
                epsilon=schedules.epsilon,
                beta=schedules.beta,
                value_clipping=settings.value_clipping,
            )
            network.backward(tape, losses.gradients)
            optimizer.step()
            policy_losses.append(losses.policy)
            value_losses.append(losses.value)
    if not policy_losses:
        return {}
    return {
        "Losses/Policy Loss": float(torch.stack(policy_losses).abs().mean()),  # without signs, as ML-Agents shows it
        "Losses/Value Loss": float(torch.stack(value_losses).mean()),
    }
