"""The action distribution: a diagonal Gaussian for continuous actions beside one categorical a branch.

Log-probabilities stay separate for each continuous dimension and each branch, `[agents, dimensions + branches]`, because PPO here takes
its ratio for each of them.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_EPSILON = 1e-7  # ML-Agents' guard in logarithms
_LOG_SQRT_TWO_PI = 0.5 * math.log(2.0 * math.pi)
_FORBIDDEN = -1e8


class Actions(NamedTuple):
    """Raw samples, as the losses need them: continuous float32 [agents, size], discrete int64 [agents, branches]."""

    continuous: Tensor
    discrete: Tensor


def for_environment(continuous: Tensor) -> Tensor:
    """What a player gets of a continuous sample: clamp(a, -3, 3) / 3, in [-1, 1]."""
    return continuous.clamp(-3.0, 3.0) / 3.0


def masked_log_probs(logits: Sequence[Tensor], allowed: Tensor | None) -> list[Tensor]:
    """Log-probabilities [agents, branch_size] of each branch. `allowed`: bool [agents, sum of branches], None allows everything."""
    if allowed is not None:
        parts = allowed.split([branch.shape[1] for branch in logits], dim=1)
        logits = [branch.masked_fill(~part, _FORBIDDEN) for branch, part in zip(logits, parts, strict=True)]
    return [branch.log_softmax(dim=1) for branch in logits]


def sample(
    mean: Tensor | None,
    log_sigma: Tensor | None,
    log_probs: Sequence[Tensor],
    generator: torch.Generator,
    *,
    deterministic: bool,
) -> Actions:
    """Draws actions, or takes the mean and the most probable ones."""
    agents = len(mean) if mean is not None else len(log_probs[0])
    device = mean.device if mean is not None else log_probs[0].device
    if mean is None:
        continuous = torch.zeros(agents, 0, device=device)
    elif deterministic or log_sigma is None:
        continuous = mean
    else:
        noise = torch.randn(mean.shape, generator=generator, device=generator.device).to(device)
        continuous = mean + log_sigma.exp() * noise
    if not log_probs:
        discrete = torch.zeros(agents, 0, dtype=torch.int64, device=device)
    elif deterministic:
        discrete = torch.stack([branch.argmax(dim=1) for branch in log_probs], dim=1)
    else:
        draws = [torch.multinomial(branch.exp().to(generator.device), 1, generator=generator) for branch in log_probs]
        discrete = torch.cat(draws, dim=1).to(device)
    return Actions(continuous, discrete)


def log_prob_and_entropy(
    mean: Tensor | None, log_sigma: Tensor | None, log_probs: Sequence[Tensor], actions: Actions
) -> tuple[Tensor, Tensor]:
    """Log-probabilities [agents, dimensions + branches] of `actions` and entropy [agents].

    Entropy as ML-Agents counts it: the mean over continuous dimensions plus the sum over branches.
    """
    columns: list[Tensor] = []
    entropy = torch.zeros((), device=actions.continuous.device)
    if mean is not None and log_sigma is not None:
        scaled = (actions.continuous - mean) * torch.exp(-log_sigma)
        columns.append(-0.5 * scaled * scaled - log_sigma - _LOG_SQRT_TWO_PI)
        entropy = 0.5 * torch.log(2.0 * math.pi * math.e * torch.exp(2.0 * log_sigma) + _EPSILON).mean()
    if log_probs:
        for column, branch in enumerate(log_probs):
            columns.append(branch.gather(1, actions.discrete[:, column : column + 1]))
        entropy = entropy - torch.stack([(branch.exp() * branch).sum(1) for branch in log_probs]).sum(0)
    joined = columns[0] if len(columns) == 1 else torch.cat(columns, dim=1)
    return joined, entropy.expand(len(joined))
