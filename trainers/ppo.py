"""Proximal policy optimisation (Schulman et al. 2017) as ML-Agents computes it."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from trainers.config import Hyperparameters
from trainers.distributions import Actions, log_prob_and_entropy, masked_log_probs
from trainers.networks import ActorCritic


@dataclass(frozen=True)
class Schedules:
    """The values that change while training goes on, at the moment of an update."""

    learning_rate: float
    epsilon: float
    beta: float


class Batch(NamedTuple):
    """Experience as an update needs it; first dimension: steps."""

    observations: list[Tensor]  # [steps, *shape]
    actions: Actions
    log_probs: Tensor  # [steps, dimensions + branches], of the policy that acted
    allowed: Tensor | None  # bool [steps, sum of branches]
    advantages: Tensor  # [steps], normalised
    returns: Tensor  # [signals, steps]
    values: Tensor  # [signals, steps], of the critic that was there when the trajectory was cut

    def rows(self, index: Tensor) -> "Batch":
        """The steps named by `index`, in its order."""
        return Batch(
            [observation[index] for observation in self.observations],
            Actions(self.actions.continuous[index], self.actions.discrete[index]),
            self.log_probs[index],
            None if self.allowed is None else self.allowed[index],
            self.advantages[index],
            self.returns[:, index],
            self.values[:, index],
        )

    def piece(self, start: int, end: int) -> "Batch":
        """Steps `start` to `end`, as views."""
        return Batch(
            [observation[start:end] for observation in self.observations],
            Actions(self.actions.continuous[start:end], self.actions.discrete[start:end]),
            self.log_probs[start:end],
            None if self.allowed is None else self.allowed[start:end],
            self.advantages[start:end],
            self.returns[:, start:end],
            self.values[:, start:end],
        )


def make_optimizer(network: ActorCritic, learning_rate: float) -> torch.optim.Adam:
    """One Adam over actor and critic."""
    return torch.optim.Adam(network.parameters(), lr=learning_rate, fused=True)


def normalize_advantages(advantages: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over the whole buffer [steps]."""
    return (advantages - advantages.mean()) / (advantages.std(unbiased=False) + 1e-10)


def policy_loss(log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, epsilon: float) -> Tensor:
    """Clipped surrogate with one ratio for each action dimension and branch: log-probabilities [steps, columns], advantages [steps]."""
    advantages = advantages.unsqueeze(1)
    ratio = torch.exp(log_probs - old_log_probs)
    return -torch.minimum(ratio * advantages, ratio.clamp(1.0 - epsilon, 1.0 + epsilon) * advantages).mean()


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, epsilon: float, *, clipping: bool) -> Tensor:
    """Squared error of the values [signals, steps], mean over steps and signals.

    `clipping` takes the worse of it and the error of a value that moved by no more than `epsilon`. ML-Agents documents that, but since 1.1.0 it
    compares with the returns instead of the old values, which amounts to the plain error; so plain is the default here too.
    """
    error = (returns - values).square()
    if clipping:
        clipped = old_values + (values - old_values).clamp(-epsilon, epsilon)
        error = torch.maximum(error, (returns - clipped).square())
    return error.mean()


def update(
    network: ActorCritic,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    settings: Hyperparameters,
    schedules: Schedules,
    generator: torch.Generator,
) -> dict[str, float]:
    """`num_epoch` passes over the batch in shuffled minibatches of exactly `batch_size`; steps that do not fill one are left out.

    Changes network and optimizer. Returns the mean losses by TensorBoard tag.
    """
    for group in optimizer.param_groups:
        group["lr"] = schedules.learning_rate
    steps = len(batch.advantages)
    device = batch.advantages.device
    minibatches = steps // settings.batch_size
    policy_losses: list[Tensor] = []
    value_losses: list[Tensor] = []
    for _ in range(settings.num_epoch):
        order = torch.randperm(steps, generator=generator, device=generator.device).to(device)
        shuffled = batch.rows(order[: minibatches * settings.batch_size])
        for start in range(0, minibatches * settings.batch_size, settings.batch_size):
            part = shuffled.piece(start, start + settings.batch_size)
            mean, logits, values = network(part.observations)
            log_sigma = network.actor.log_sigma if mean is not None else None
            log_probs, entropy = log_prob_and_entropy(
                mean, log_sigma, masked_log_probs(logits, part.allowed), part.actions
            )
            loss_policy = policy_loss(log_probs, part.log_probs, part.advantages, schedules.epsilon)
            loss_value = value_loss(
                values, part.values, part.returns, schedules.epsilon, clipping=settings.value_clipping
            )
            loss = loss_policy + 0.5 * loss_value - schedules.beta * entropy.mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            policy_losses.append(loss_policy.detach())
            value_losses.append(loss_value.detach())
    if not policy_losses:
        return {}
    return {
        "Losses/Policy Loss": float(torch.stack(policy_losses).mean().abs()),
        "Losses/Value Loss": float(torch.stack(value_losses).mean()),
    }
