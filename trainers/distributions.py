"""The action distribution: a diagonal Gaussian for continuous actions beside one categorical a branch.

Log-probabilities stay separate for each continuous dimension and each branch, `[agents, dimensions + branches]`,
because PPO here takes its ratio for each of them.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trainers.kernels import philox
from trainers.kernels.philox import Philox

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
    """Log-probabilities [agents, branch_size] of each branch.

    `allowed`: bool [agents, sum of branches], None allows everything.
    """
    if allowed is not None:
        parts = allowed.split([branch.shape[1] for branch in logits], dim=1)
        logits = [branch.masked_fill(~part, _FORBIDDEN) for branch, part in zip(logits, parts, strict=True)]
    return [branch.log_softmax(dim=1) for branch in logits]


def sample(
    mean: Tensor | None,
    log_sigma: Tensor | None,
    log_probs: Sequence[Tensor],
    generator: Philox,
    *,
    deterministic: bool,
) -> tuple[Actions, Tensor]:
    """Draws actions, or takes the mean and the most probable ones.

    With their log-probabilities [agents, dimensions + branches].
    """
    agents = len(mean) if mean is not None else len(log_probs[0])
    device = mean.device if mean is not None else log_probs[0].device
    columns: list[Tensor] = []
    call = 0 if deterministic else generator.next_call()
    if mean is None or log_sigma is None:
        continuous = torch.zeros(agents, 0, device=device)
    else:
        if deterministic:
            noise, continuous = torch.zeros_like(mean), mean
        else:
            drawn = philox.normals(generator.seed, call, philox.NORMALS, mean.numel())
            noise = torch.from_numpy(drawn).view(mean.shape).to(device)
            continuous = torch.addcmul(mean, noise, log_sigma.exp())
        columns.append(torch.addcmul(-(log_sigma + _LOG_SQRT_TWO_PI), noise, noise, value=-0.5))
    if not log_probs:
        discrete = torch.zeros(agents, 0, dtype=torch.int64, device=device)
    else:
        if deterministic:
            choices = [branch.argmax(dim=1, keepdim=True) for branch in log_probs]
        else:
            drawn = philox.uniforms(generator.seed, call, philox.CHOICES, agents * len(log_probs))
            uniforms = torch.from_numpy(drawn).view(agents, len(log_probs)).to(device)
            choices = [
                philox.choices(branch.exp(), uniforms[:, column]).unsqueeze(1)
                for column, branch in enumerate(log_probs)
            ]
        discrete = torch.cat(choices, dim=1)
        columns += [branch.gather(1, choice) for branch, choice in zip(log_probs, choices, strict=True)]
    return Actions(continuous, discrete), _join(columns)


def log_prob(mean: Tensor | None, log_sigma: Tensor | None, log_probs: Sequence[Tensor], actions: Actions) -> Tensor:
    """Log-probabilities [agents, dimensions + branches] of `actions`."""
    columns: list[Tensor] = []
    if mean is not None and log_sigma is not None:
        scaled = (actions.continuous - mean) * torch.exp(-log_sigma)
        columns.append(torch.addcmul(-(log_sigma + _LOG_SQRT_TWO_PI), scaled, scaled, value=-0.5))
    for column, branch in enumerate(log_probs):
        columns.append(branch.gather(1, actions.discrete[:, column : column + 1]))
    return _join(columns)


def entropy(log_sigma: Tensor | None, log_probs: Sequence[Tensor]) -> Tensor:
    """Mean entropy over the agents, as ML-Agents counts it: mean over continuous dimensions plus sum over branches."""
    parts: list[Tensor] = []
    if log_sigma is not None:
        parts.append(0.5 * torch.log(2.0 * math.pi * math.e * torch.exp(2.0 * log_sigma) + _EPSILON).mean())
    parts += [-(branch.exp() * branch).sum(1).mean() for branch in log_probs]
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum()


def _join(columns: list[Tensor]) -> Tensor:
    return columns[0] if len(columns) == 1 else torch.cat(columns, dim=1)
