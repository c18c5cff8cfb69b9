"""The losses on numbers worked out by hand, and their gradients beside torch's own."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Normal

from trainers.distributions import Actions
from trainers.losses import Heads, Losses, Target, losses_and_gradients

NO_DISCRETE = torch.zeros(2, 0, dtype=torch.int64)


def close(found: Tensor, expected: float) -> None:
    assert found.item() == pytest.approx(expected, rel=1e-5)


def target_of(**changes: Any) -> Target:
    """Two steps of one continuous action 0 whose log-probabilities, values and returns are all 0."""
    target = Target(
        Actions(torch.zeros(2, 1), NO_DISCRETE),
        log_probs=torch.zeros(2, 1),
        allowed=None,
        advantages=torch.zeros(2),
        returns=torch.zeros(2, 1),
        values=torch.zeros(2, 1),
    )
    return target._replace(**changes)


def losses(heads: Heads, target: Target, epsilon: float = 0.2, beta: float = 0.0, clipping: bool = False) -> Losses:
    return losses_and_gradients(heads, target, epsilon=epsilon, beta=beta, value_clipping=clipping)


# ---- the policy loss ----


def ratio_heads(ratios: Tensor) -> tuple[Heads, Target]:
    """Heads whose actions are `ratios` [steps, dimensions] times as probable as they were."""
    mean, log_sigma, actions = torch.zeros_like(ratios), torch.zeros(ratios.shape[1]), torch.ones_like(ratios)
    old = Normal(0.0, 1.0).log_prob(actions) - ratios.log()
    heads = Heads(mean, log_sigma, [], torch.zeros(len(ratios), 1))
    return heads, target_of(actions=Actions(actions, NO_DISCRETE), log_probs=old)


def test_the_ratio_of_each_dimension_is_clipped_on_its_own() -> None:
    # epsilon 0.2; step 1, advantage 2: min(1.5 * 2, 1.2 * 2) = 2.4 and min(0.5 * 2, 0.8 * 2) = 1
    # step 2, advantage -1: min(-1.1, -1.1) = -1.1 and -1
    heads, target = ratio_heads(torch.tensor([[1.5, 0.5], [1.1, 1.0]]))
    close(losses(heads, target._replace(advantages=torch.tensor([2.0, -1.0]))).policy, -(2.4 + 1 - 1.1 - 1) / 4)


def test_a_bad_action_that_became_likelier_is_not_clipped() -> None:
    # ratio 1.5, advantage -1: min(-1.5, -1.2) = -1.5; ratio 0.5: min(-0.5, -0.8) = -0.8
    heads, target = ratio_heads(torch.tensor([[1.5], [0.5]]))
    close(losses(heads, target._replace(advantages=torch.tensor([-1.0, -1.0]))).policy, (1.5 + 0.8) / 2)


def test_each_branch_and_each_dimension_counts_once() -> None:
    # One dimension of ratio 1.1 beside a branch of ratio 0.9, for advantage 1: the mean of both
    heads, target = ratio_heads(torch.full((2, 1), 1.1))
    logits = torch.tensor([[0.6, 0.4], [0.6, 0.4]]).log()
    heads = heads._replace(logits=[logits])
    target = target._replace(
        actions=Actions(target.actions.continuous, torch.tensor([[0], [1]])),
        log_probs=torch.cat([target.log_probs, torch.tensor([[0.6 / 0.9], [0.4 / 0.9]]).log()], dim=1),
        advantages=torch.ones(2),
    )
    close(losses(heads, target).policy, -(1.1 + 0.9) / 2)


# ---- the value loss ----


VALUES = torch.tensor([[3.0], [1.0]])
VALUE_TARGET = target_of(returns=torch.tensor([[4.0], [2.0]]), values=torch.tensor([[1.0], [0.9]]))


def value_heads(values: Tensor) -> Heads:
    return Heads(torch.zeros(2, 1), torch.zeros(1), [], values)


def test_the_value_loss_is_the_plain_squared_error() -> None:
    close(losses(value_heads(VALUES), VALUE_TARGET).value, (1 + 1) / 2)


def test_the_clipped_value_loss_takes_the_worse_of_both() -> None:
    # step 1: the value moved by 2, clipped to 1.2: (4 - 1.2)^2 = 7.84 is worse than 1; step 2 moved by 0.1: 1
    close(losses(value_heads(VALUES), VALUE_TARGET, clipping=True).value, (7.84 + 1) / 2)


def test_the_value_loss_is_the_mean_over_reward_signals() -> None:
    target = target_of(returns=torch.tensor([[1.0, 2.0], [3.0, 4.0]]), values=torch.zeros(2, 2))
    close(losses(value_heads(torch.zeros(2, 2)), target).value, ((1 + 9) / 2 + (4 + 16) / 2) / 2)


# ---- the gradients ----


def plain_loss(heads: Heads, target: Target, epsilon: float, beta: float, clipping: bool) -> Tensor:
    """policy + 0.5 value - beta entropy with torch.distributions, for autograd."""
    columns, entropies = [], []
    if heads.mean is not None and heads.log_sigma is not None:
        normal = Normal(heads.mean, heads.log_sigma.exp())
        columns.append(normal.log_prob(target.actions.continuous))
        entropies.append(normal.entropy().mean(1))
    start = 0
    for index, logits in enumerate(heads.logits):
        allowed = torch.ones_like(logits)
        if target.allowed is not None:
            allowed = target.allowed[:, start : start + logits.shape[1]].float()
        start += logits.shape[1]
        categorical = Categorical(logits=logits * allowed - 1e8 * (1 - allowed))
        columns.append(categorical.log_prob(target.actions.discrete[:, index]).unsqueeze(1))
        entropies.append(categorical.entropy())
    ratio = (torch.cat(columns, 1) - target.log_probs).exp()
    advantages = target.advantages.unsqueeze(1)
    policy = -torch.min(ratio * advantages, ratio.clamp(1 - epsilon, 1 + epsilon) * advantages).mean()
    error = (heads.values - target.returns) ** 2
    if clipping:
        moved = target.values + (heads.values - target.values).clamp(-epsilon, epsilon)
        error = torch.max(error, (moved - target.returns) ** 2)
    entropy = torch.stack(entropies).sum(0).mean()
    return policy + 0.5 * error.mean() - beta * entropy


@pytest.mark.parametrize("clipping", [False, True], ids=["plain", "clipped"])
@pytest.mark.parametrize("masked", [False, True], ids=["all allowed", "masked"])
@pytest.mark.parametrize(
    ("dimensions", "branches", "signals"), [(2, (), 1), (0, (3,), 1), (0, (4, 2), 2), (3, (3, 5), 2)]
)
def test_gradients_are_those_of_autograd(
    dimensions: int, branches: tuple[int, ...], signals: int, masked: bool, clipping: bool
) -> None:
    steps = 300
    generator = torch.Generator().manual_seed(7)

    def normals(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    allowed = None
    if masked and branches:
        allowed = normals(steps, sum(branches)) > -0.3
        allowed[:, [sum(branches[:index]) for index in range(len(branches))]] = True
        allowed[0] = False  # an agent that may do nothing
    logits = [normals(steps, size) for size in branches]
    # Actions that happened were allowed: the first of a branch always is.
    chosen = (
        torch.stack([torch.randint(0, size, (steps,), generator=generator) for size in branches], 1)
        if branches
        else torch.zeros(steps, 0, dtype=torch.int64)
    )
    if allowed is not None:
        for index, part in enumerate(allowed.split(list(branches), dim=1)):
            chosen[:, index] = torch.where(part.gather(1, chosen[:, index : index + 1])[:, 0], chosen[:, index], 0)
    heads = Heads(
        normals(steps, dimensions) if dimensions else None,
        0.3 * normals(dimensions) if dimensions else None,
        logits,
        normals(steps, signals),
    )
    target = Target(
        Actions(normals(steps, dimensions), chosen),
        log_probs=normals(steps, dimensions + len(branches)) - 1.5,
        allowed=allowed,
        advantages=normals(steps),
        returns=normals(steps, signals),
        values=normals(steps, signals),
    )
    found = losses(heads, target, epsilon=0.2, beta=0.1, clipping=clipping)

    for head in [heads.mean, heads.log_sigma, *heads.logits, heads.values]:
        if head is not None:
            head.requires_grad_(True)
    plain_loss(heads, target, 0.2, 0.1, clipping).backward()
    gradients = found.gradients
    torch.testing.assert_close(gradients.values, heads.values.grad)
    if heads.mean is not None and heads.log_sigma is not None:
        torch.testing.assert_close(gradients.mean, heads.mean.grad)
        torch.testing.assert_close(gradients.log_sigma, heads.log_sigma.grad, rtol=1e-4, atol=1e-6)
    assert len(gradients.logits) == len(branches)
    for gradient, logits_of_branch in zip(gradients.logits, heads.logits, strict=True):
        assert logits_of_branch.grad is not None
        torch.testing.assert_close(gradient[1:], logits_of_branch.grad[1:])
