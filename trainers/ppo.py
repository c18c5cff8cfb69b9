"""Proximal policy optimisation (Schulman et al. 2017) as ML-Agents computes it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from trainers.actor_critics import Network
from trainers.config import Hyperparameters
from trainers.distributed import Replica
from trainers.distributions import Actions
from trainers.general_networks import Inputs
from trainers.kernels.fused import AdamState, Experience, FusedActorCritic
from trainers.kernels.philox import Philox
from trainers.losses import Target, losses_and_gradients

_BETA_1, _BETA_2, _ADAM_EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Schedules:
    """The values that change while training goes on, at the moment of an update."""

    learning_rate: float
    epsilon: float
    beta: float


class Batch(NamedTuple):
    """Experience as an update needs it; first dimension: steps."""

    inputs: Tensor | Inputs  # [steps, inputs], observations as the networks take them
    target: Target
    lengths: Tensor | None = None  # int64 [sequences]: with a memory the steps are sequences, one after the other

    @property
    def count(self) -> int:
        """How many steps there are, or sequences."""
        return len(self.inputs) if self.lengths is None else len(self.lengths)

    def take(self, index: Tensor) -> "Batch":
        """The steps, or sequences, named by `index`, in its order."""
        if self.lengths is None:
            return self.rows(index)
        lengths = self.lengths[index]
        begin = (self.lengths.cumsum(0) - self.lengths)[index]
        shift = begin - (lengths.cumsum(0) - lengths)
        rows = torch.arange(int(lengths.sum()), device=index.device) + shift.repeat_interleave(lengths)
        return self.rows(rows)._replace(lengths=lengths)

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
    """Adam (Kingma and Ba 2015, algorithm 1; betas 0.9 and 0.999, epsilon 1e-8) over all parameters of a network.

    They are laid side by side in one tensor, so that a step costs as much as one for a single layer. torch.optim.Adam
    is the same arithmetic, but its first use imports torch's compiler, which takes longer than an update.
    """

    def __init__(self, network: nn.Module) -> None:
        parameters = list(network.parameters())
        self._values = torch.cat([parameter.detach().flatten() for parameter in parameters])
        self._gradient = torch.zeros_like(self._values)
        self._moment = torch.zeros_like(self._values)  # running mean of the gradient
        self._square = torch.zeros_like(self._values)  # and of its square
        self._steps = 0
        start = 0
        for parameter in parameters:
            end = start + parameter.numel()
            parameter.data = self._values[start:end].view(parameter.shape)
            parameter.grad = self._gradient[start:end].view(parameter.shape)
            start = end

    @torch.no_grad()
    def step(self, learning_rate: float, max_grad_norm: float | None = None) -> None:
        """Moves the parameters against their gradients, which are scaled down to a norm of `max_grad_norm` before."""
        if max_grad_norm is not None:
            norm = self._gradient.norm()
            self._gradient *= (max_grad_norm / norm.clamp_min(1e-12)).clamp_max(1.0)
        self._steps += 1
        self._moment.lerp_(self._gradient, 1.0 - _BETA_1)
        self._square.mul_(_BETA_2).addcmul_(self._gradient, self._gradient, value=1.0 - _BETA_2)
        deviation = self._square.sqrt().mul_(1.0 / math.sqrt(1.0 - _BETA_2**self._steps)).add_(_ADAM_EPSILON)
        self._values.addcdiv_(self._moment, deviation, value=-learning_rate / (1.0 - _BETA_1**self._steps))

    @property
    def values(self) -> Tensor:
        """All parameters side by side."""
        return self._values

    def adam_state(self) -> AdamState:
        """The same tensors for the kernels, which change them in place."""
        return AdamState(self._gradient, self._moment, self._square, self._steps)

    def count(self, steps: int) -> None:
        """Notes steps that the kernels have taken."""
        self._steps += steps

    def state_dict(self) -> dict[str, Tensor | int]:
        """Adam's moments, in the order of the network's parameters, and its step count."""
        return {"step": self._steps, "exp_avg": self._moment, "exp_avg_sq": self._square}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up what `state_dict` gave."""
        self._steps = state["step"]
        self._moment.copy_(state["exp_avg"])
        self._square.copy_(state["exp_avg_sq"])


def normalize_advantages(advantages: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over the whole buffer [steps]."""
    return (advantages - advantages.mean()) / (advantages.std(unbiased=False) + 1e-10)


@torch.no_grad()
def update(
    network: Network,
    optimizer: Optimizer,
    batch: Batch,
    settings: Hyperparameters,
    schedules: Schedules,
    generator: Philox,
    fused: FusedActorCritic | None = None,
    sequence_length: int = 1,
    replica: Replica | None = None,
) -> dict[str, float]:
    """`num_epoch` passes over the batch in shuffled minibatches of exactly `batch_size`, with a memory of as many
    sequences as have that many steps when each has `sequence_length`.

    Steps or sequences that do not fill a minibatch are left out. Changes network and optimizer. With `target_kl` the
    update ends at the first minibatch on which the policy has moved further.
    `fused`: the network's kernels, which then do all of it in one call.
    `replica`: the network is one of several, and each minibatch is this rank's share of one.

    Returns the mean losses by TensorBoard tag, of this rank's steps.
    """
    size = max(1, settings.batch_size // sequence_length)
    minibatches = batch.count // size
    if replica is not None:
        size, minibatches = replica.share.rows, replica.share.minibatches
    if minibatches == 0:
        return {}
    device = batch.target.advantages.device
    orders = [
        generator.order(batch.count)[: minibatches * size].to(device) if size else None
        for _ in range(settings.num_epoch)
    ]
    if fused is not None:
        return _fused_update(fused, optimizer, batch, orders, size, minibatches, settings, schedules, replica)
    policy_losses: list[Tensor] = []
    value_losses: list[Tensor] = []
    for order in orders:
        for chosen in [None] * minibatches if order is None else order.split(size):
            kl = 0.0
            if chosen is not None:
                minibatch = batch.take(chosen)
                heads, tape = network.forward_with_tape(minibatch.inputs, minibatch.lengths)
                losses = losses_and_gradients(
                    heads,
                    minibatch.target,
                    epsilon=schedules.epsilon,
                    beta=schedules.beta,
                    value_clipping=settings.value_clipping,
                    joint_ratio=settings.joint_ratio,
                )
                if settings.target_kl is not None:
                    kl = approximate_kl(losses.log_ratio)
            if settings.target_kl is not None:
                kl = kl if replica is None else replica.mean(kl)
                if kl > settings.target_kl:
                    return _mean_losses(policy_losses, value_losses)
            if chosen is not None:
                network.backward(tape, losses.gradients)
                policy_losses.append(losses.policy)
                value_losses.append(losses.value)
            _step(optimizer, _learning_rate(schedules, replica), settings.max_grad_norm, replica)
        _end_epoch(optimizer, replica)
    return _mean_losses(policy_losses, value_losses)


def _fused_update(
    fused: FusedActorCritic,
    optimizer: Optimizer,
    batch: Batch,
    orders: list[Tensor | None],
    size: int,
    minibatches: int,
    settings: Hyperparameters,
    schedules: Schedules,
    replica: Replica | None,
) -> dict[str, float]:
    """All of it in one call; with a replica, in one for each minibatch or for each epoch."""
    learning_rate = _learning_rate(schedules, replica)
    step: dict[str, Any] = {}
    if replica is not None and replica.by_gradients:
        step["step"] = lambda: _step(optimizer, learning_rate, None, replica)
    target = batch.target
    policy_losses: list[Tensor] = []
    value_losses: list[Tensor] = []
    for order in orders if replica is not None else [torch.cat([one for one in orders if one is not None])]:
        if order is None:  # nothing to learn from here, but the others need this rank to average
            for _ in range(minibatches):
                _step(optimizer, learning_rate, None, replica)
        else:
            policy, value = fused.update(
                Experience(batch.inputs, *target.actions, *target[1:]),
                optimizer.adam_state(),
                order,
                batch_size=size,
                learning_rate=learning_rate,
                epsilon=schedules.epsilon,
                beta=schedules.beta,
                value_clipping=settings.value_clipping,
                **step,
            )
            policy_losses.append(policy)
            value_losses.append(value)
            if not step:
                optimizer.count(len(policy))
        _end_epoch(optimizer, replica)
    return _mean_losses(policy_losses, value_losses)


def _learning_rate(schedules: Schedules, replica: Replica | None) -> float:
    return schedules.learning_rate * (1.0 if replica is None else replica.learning_rate_factor)


def _step(optimizer: Optimizer, learning_rate: float, max_grad_norm: float | None, replica: Replica | None) -> None:
    if replica is not None and not replica.by_gradients and replica.share.rows == 0:
        optimizer.count(1)  # Adam's count has to agree on all ranks
        return
    if replica is not None and replica.by_gradients:
        replica.average_gradient(optimizer.adam_state().gradient)
    optimizer.step(learning_rate, max_grad_norm)


def _end_epoch(optimizer: Optimizer, replica: Replica | None) -> None:
    if replica is not None and not replica.by_gradients:
        adam = optimizer.adam_state()
        replica.average_weights(optimizer.values, adam.moment, adam.square)


def approximate_kl(log_ratio: Tensor) -> float:
    """How far the policy moved, from [steps, dimensions + branches]: mean of ratio - 1 - log(ratio) of whole actions.

    Schulman, Approximating KL divergence, 2020, estimator k3.
    """
    whole = log_ratio.sum(dim=1)
    return float((whole.exp() - 1 - whole).mean())


def _mean_losses(policy: Sequence[Tensor], value: Sequence[Tensor]) -> dict[str, float]:
    """Of one or several minibatches each."""
    if not policy:
        return {}
    # Without the signs of the policy losses, as ML-Agents shows them.
    means = [float(torch.cat([one.reshape(-1) for one in each]).mean()) for each in ([p.abs() for p in policy], value)]
    return {"Losses/Policy Loss": means[0], "Losses/Value Loss": means[1]}
