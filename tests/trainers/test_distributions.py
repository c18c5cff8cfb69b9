"""The action distribution beside torch.distributions, and what masks forbid."""

import math

import pytest
import torch
from torch.distributions import Categorical, Normal

from trainers.distributions import Actions, entropy, for_environment, log_prob, masked_log_probs, sample
from trainers.kernels.philox import Philox

AGENTS = 5


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def normals(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator)


NO_DISCRETE = torch.zeros(AGENTS, 0, dtype=torch.int64)
NO_CONTINUOUS = torch.zeros(AGENTS, 0)


def test_continuous_log_probabilities_stay_apart_for_each_dimension(generator: torch.Generator) -> None:
    mean, log_sigma, actions = normals(generator, AGENTS, 3), normals(generator, 3), normals(generator, AGENTS, 3)
    expected = Normal(mean, log_sigma.exp()).log_prob(actions)
    torch.testing.assert_close(log_prob(mean, log_sigma, [], Actions(actions, NO_DISCRETE)), expected)


def test_discrete_log_probabilities_stay_apart_for_each_branch(generator: torch.Generator) -> None:
    logits = [normals(generator, AGENTS, 3), normals(generator, AGENTS, 2)]
    chosen = torch.tensor([[0, 1], [1, 0], [2, 1], [2, 0], [0, 0]])
    expected = torch.stack(
        [Categorical(logits=logits[0]).log_prob(chosen[:, 0]), Categorical(logits=logits[1]).log_prob(chosen[:, 1])], 1
    )
    torch.testing.assert_close(
        log_prob(None, None, masked_log_probs(logits, None), Actions(NO_CONTINUOUS, chosen)), expected
    )


def test_hybrid_log_probabilities_are_continuous_ones_first(generator: torch.Generator) -> None:
    mean, log_sigma, logits = normals(generator, AGENTS, 2), normals(generator, 2), [normals(generator, AGENTS, 4)]
    actions = Actions(normals(generator, AGENTS, 2), torch.tensor([[0], [3], [1], [2], [3]]))
    joined = log_prob(mean, log_sigma, masked_log_probs(logits, None), actions)
    assert joined.shape == (AGENTS, 3)
    torch.testing.assert_close(joined[:, :2], Normal(mean, log_sigma.exp()).log_prob(actions.continuous))
    torch.testing.assert_close(joined[:, 2], Categorical(logits=logits[0]).log_prob(actions.discrete[:, 0]))


@pytest.mark.parametrize("deterministic", [False, True])
def test_samples_come_with_their_log_probabilities(generator: torch.Generator, deterministic: bool) -> None:
    mean, log_sigma = normals(generator, AGENTS, 2), normals(generator, 2)
    branches = masked_log_probs([normals(generator, AGENTS, 4), normals(generator, AGENTS, 2)], None)
    actions, log_probs = sample(mean, log_sigma, branches, Philox(1), deterministic=deterministic)
    torch.testing.assert_close(log_probs, log_prob(mean, log_sigma, branches, actions))


def test_entropy_is_the_mean_over_dimensions_plus_the_sum_over_branches(generator: torch.Generator) -> None:
    log_sigma = torch.tensor([0.0, 1.0])
    continuous = Normal(torch.zeros(2), log_sigma.exp()).entropy().mean()
    torch.testing.assert_close(entropy(log_sigma, []), continuous)
    logits = [normals(generator, AGENTS, 3), normals(generator, AGENTS, 5)]
    discrete = sum(Categorical(logits=branch).entropy() for branch in logits).mean()
    torch.testing.assert_close(entropy(None, masked_log_probs(logits, None)), discrete)
    torch.testing.assert_close(entropy(log_sigma, masked_log_probs(logits, None)), continuous + discrete)


def test_a_fresh_gaussian_has_the_entropy_that_ml_agents_shows() -> None:
    assert round(entropy(torch.zeros(2), []).item(), 3) == 1.419  # 0.5 * log(2 * pi * e)


def test_forbidden_actions_are_never_drawn(generator: torch.Generator) -> None:
    draws = 20_000
    logits = [torch.tensor([[50.0, 0.0, 1.0]]).repeat(draws, 1), torch.zeros(draws, 2)]
    allowed = torch.tensor([[False, True, True, True, False]]).repeat(draws, 1)
    branches = masked_log_probs(logits, allowed)
    for deterministic in (False, True):
        actions, _ = sample(None, None, branches, Philox(1), deterministic=deterministic)
        assert not (actions.discrete[:, 0] == 0).any()
        assert (actions.discrete[:, 1] == 0).all()
    actions, log_probs = sample(None, None, branches, Philox(1), deterministic=False)
    share = (actions.discrete[:, 0] == 2).float().mean().item()
    assert share == pytest.approx(math.e / (1 + math.e), abs=0.02)
    torch.testing.assert_close(log_probs[:, 1], torch.zeros(draws))


def test_masks_make_no_gradient_and_no_entropy_of_what_is_forbidden() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    branches = masked_log_probs([logits], torch.tensor([[True, True, False]]))
    found = entropy(None, branches)
    torch.testing.assert_close(found, Categorical(logits=logits[:, :2]).entropy().mean())
    (found + branches[0][0, 0]).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, 2] == 0


def test_an_agent_that_may_do_nothing_still_gets_a_valid_action(generator: torch.Generator) -> None:
    branches = masked_log_probs([torch.zeros(1000, 3)], torch.zeros(1000, 3, dtype=torch.bool))
    actions, log_probs = sample(None, None, branches, Philox(1), deterministic=False)
    assert set(actions.discrete[:, 0].tolist()) == {0, 1, 2}
    assert torch.isfinite(log_probs).all()


def test_continuous_samples_have_the_mean_and_deviation_asked_for(generator: torch.Generator) -> None:
    mean, log_sigma = torch.tensor([[1.0, -2.0]]).repeat(50_000, 1), torch.tensor([0.0, math.log(0.5)])
    actions, _ = sample(mean, log_sigma, [], Philox(1), deterministic=False)
    torch.testing.assert_close(actions.continuous.mean(0), torch.tensor([1.0, -2.0]), atol=0.02, rtol=0)
    torch.testing.assert_close(actions.continuous.std(0), torch.tensor([1.0, 0.5]), atol=0.02, rtol=0)
    actions, _ = sample(mean, log_sigma, [], Philox(1), deterministic=True)
    assert torch.equal(actions.continuous, mean)


def test_samples_repeat_with_the_generator() -> None:
    mean, branches = torch.zeros(4, 2), masked_log_probs([torch.zeros(4, 9)], None)
    first, second, other = (
        sample(mean, torch.zeros(2), branches, Philox(seed), deterministic=False)[0] for seed in (1, 1, 2)
    )
    assert torch.equal(first.continuous, second.continuous)
    assert torch.equal(first.discrete, second.discrete)
    assert not torch.equal(first.continuous, other.continuous)


def test_players_get_a_third_of_what_lies_within_three() -> None:
    samples = torch.tensor([[-10.0, -3.0, -1.5, 0.0, 0.3, 3.0, 4.0]])
    torch.testing.assert_close(for_environment(samples), torch.tensor([[-1, -1, -0.5, 0, 0.1, 1, 1]]))
