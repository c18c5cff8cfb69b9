"""PPO's losses, and their gradients with respect to what the networks put out, in closed form.

For networks of this size torch's autograd takes longer to keep its books than the arithmetic takes; the tests hold
these gradients against it.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from trainers.distributions import Actions, log_prob, masked_log_probs


class Heads(NamedTuple):
    """What the networks put out for a minibatch."""

    mean: Tensor | None  # [steps, dimensions], None without continuous actions
    log_sigma: Tensor | None  # [dimensions]
    logits: list[Tensor]  # [steps, branch_size] of each branch
    values: Tensor  # [steps, signals]


class Target(NamedTuple):
    """What the losses hold the heads against."""

    actions: Actions
    log_probs: Tensor  # [steps, dimensions + branches], of the policy that acted
    allowed: Tensor | None  # bool [steps, sum of branches]
    advantages: Tensor  # [steps], normalised
    returns: Tensor  # [steps, signals]
    values: Tensor  # [steps, signals], of the critic when the trajectory was cut


class Losses(NamedTuple):
    """The policy's and the value loss, and the gradient of policy + 0.5 value - beta entropy for each of the heads."""

    policy: Tensor
    value: Tensor
    gradients: Heads
    log_ratio: Tensor  # [steps, dimensions + branches]: how much likelier the actions are now


def losses_and_gradients(
    heads: Heads, target: Target, *, epsilon: float, beta: float, value_clipping: bool, joint_ratio: bool = False
) -> Losses:
    """All of it for one minibatch.

    policy: clipped surrogate with one ratio for each action dimension and each branch, mean over all of them;
    `joint_ratio` takes one ratio for a whole action, as in the PPO paper.
    value: squared error of the values, mean over steps and signals; `value_clipping` takes the worse of it and of the
    error of a value that moved by no more than `epsilon`. ML-Agents documents the clipping, but compares with the
    returns instead of the old values, which amounts to the plain error; so plain is the default here too.
    entropy: mean over continuous dimensions plus sum over branches, mean over steps.
    """
    branches = masked_log_probs(heads.logits, target.allowed)
    log_probs = log_prob(heads.mean, heads.log_sigma, branches, target.actions)
    advantages = target.advantages.unsqueeze(1)
    log_ratio = log_probs - target.log_probs
    ratio = torch.exp(log_ratio.sum(1, keepdim=True) if joint_ratio else log_ratio)
    surrogate = ratio * advantages
    clipped = ratio.clamp(1.0 - epsilon, 1.0 + epsilon) * advantages
    # d loss / d log-probability: the derivative of the ratio is the ratio itself; none where the clipped side is the
    # smaller one.
    weight = torch.where(surrogate <= clipped, surrogate, 0.0) * (-1.0 / ratio.numel())
    weight = weight.expand_as(log_ratio)

    mean_gradient = sigma_gradient = None
    dimensions = 0
    if heads.mean is not None and heads.log_sigma is not None:
        dimensions = heads.mean.shape[1]
        inverse_sigma = torch.exp(-heads.log_sigma)
        scaled = (target.actions.continuous - heads.mean) * inverse_sigma
        weighted = weight[:, :dimensions] * scaled
        mean_gradient = weighted * inverse_sigma
        # The entropy grows by 1 with log sigma, up to ML-Agents' 1e-7 in the logarithm, and is a mean over the
        # dimensions.
        sigma_gradient = (weighted * scaled - weight[:, :dimensions]).sum(0) - beta / dimensions

    logit_gradients = []
    for column, branch in enumerate(branches):
        probabilities = branch.exp()
        entropy = -(probabilities * branch).sum(1, keepdim=True)
        chosen = weight[:, dimensions + column].unsqueeze(1)
        gradient = probabilities * ((branch + entropy) * (beta / len(branch)) - chosen)
        logit_gradients.append(gradient.scatter_add_(1, target.actions.discrete[:, column : column + 1], chosen))

    error = heads.values - target.returns
    squared = error.square()
    if value_clipping:
        change = heads.values - target.values
        squared_moved = (target.values + change.clamp(-epsilon, epsilon) - target.returns).square()
        # Both sides are the same for a value that moved by less: rounding must not decide that it has no gradient.
        error = torch.where((squared >= squared_moved) | (change.abs() <= epsilon), error, 0.0)
        squared = torch.maximum(squared, squared_moved)
    return Losses(
        -torch.minimum(surrogate, clipped).mean(),
        squared.mean(),
        Heads(mean_gradient, sigma_gradient, logit_gradients, error * (1.0 / error.numel())),
        log_ratio,
    )
