"""Fused acting beside the policy in torch: the same distribution, and samples that follow it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from trainers.distributions import Actions, entropy, for_environment, log_prob, masked_log_probs, sample
from trainers.kernels import philox

FORMS: dict[str, dict[str, Any]] = {
    "continuous": {},
    "normalised, two observations": {"inputs": (5, 3), "normalize": True},
    "shared critic": {"shared": True, "signals": 2},
    "hybrid": {"continuous": 3, "branches": (2, 17, 1), "signals": 2, "normalize": True},
    "one of everything": {"inputs": (1,), "continuous": 0, "branches": (1,), "hidden": 1, "layers": 1},
    "3 layers of 129": {"inputs": (33,), "hidden": 129, "layers": 3},
}
AGENTS = [0, 1, 3, 4, 12, 17, 129, 700]


def masks(agents: int, branches: tuple[int, ...]) -> np.ndarray | None:
    """A random half is forbidden, but never the first action of a branch."""
    if not branches:
        return None
    allowed = np.random.default_rng(7).random((agents, sum(branches))) > 0.5
    allowed[:, np.cumsum((0, *branches[:-1]))] = True
    return allowed


def heads(pair: Any, seen: list[np.ndarray], allowed: np.ndarray | None) -> Any:
    """Mean, log sigma, log-probabilities of the branches and values, by torch."""
    with torch.no_grad():
        inputs = pair.reference.actor.prepare([torch.from_numpy(one) for one in seen])
        found = pair.reference(inputs)
    mask = None if allowed is None else torch.from_numpy(allowed)
    log_sigma = None if found.log_sigma is None else found.log_sigma.detach()
    return found.mean, log_sigma, masked_log_probs(found.logits, mask), found.values


def learn_normalisation(pair: Any, seen: list[np.ndarray]) -> None:
    for network in (pair.reference, pair.copy):
        network.actor.update_normalizers([torch.from_numpy(one) for one in seen])


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("agents", AGENTS)
def test_log_probs_values_and_entropy_are_those_of_the_distribution(
    twins: Callable[..., Any], observations: Callable[..., Any], instruction_set: str, form: dict[str, Any], agents: int
) -> None:
    pair = twins(**form)
    learn_normalisation(pair, observations(50, *pair.form.inputs))
    seen, allowed = observations(agents, *pair.form.inputs), masks(agents, pair.form.branches)
    found = pair.fused.act(seen, allowed, seed=11, call=5, values=True)
    mean, log_sigma, branches, values = heads(pair, seen, allowed)
    actions = Actions(torch.from_numpy(found.continuous), torch.from_numpy(found.discrete))
    expected = log_prob(mean, log_sigma, branches, actions)
    np.testing.assert_allclose(found.log_probs, expected, rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(found.values, values, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(pair.fused.values(seen), found.values, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found.continuous_for_player, for_environment(actions.continuous))
    np.testing.assert_array_equal(found.discrete_for_player, found.discrete)
    if agents:
        assert found.entropy == pytest.approx(float(entropy(log_sigma, branches)), rel=1e-5, abs=1e-6)
    if allowed is not None:
        at = 0
        for branch, size in enumerate(pair.form.branches):
            assert allowed[np.arange(agents), at + found.discrete[:, branch]].all()
            at += size


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("agents", [1, 12, 129])
def test_deterministic_actions_are_the_mean_and_the_most_probable(
    twins: Callable[..., Any], observations: Callable[..., Any], instruction_set: str, form: dict[str, Any], agents: int
) -> None:
    pair = twins(**form)
    seen, allowed = observations(agents, *pair.form.inputs), masks(agents, pair.form.branches)
    found = pair.fused.act(seen, allowed, seed=11, call=5, deterministic=True)
    mean, log_sigma, branches, _ = heads(pair, seen, allowed)
    expected, log_probs = sample(mean, log_sigma, branches, torch.Generator(), deterministic=True)
    np.testing.assert_allclose(found.continuous, expected.continuous, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found.discrete, expected.discrete)
    np.testing.assert_allclose(found.log_probs, log_probs, rtol=1e-5, atol=1e-5)
    assert found.values is None


def test_the_samples_are_made_of_the_generators_numbers(
    twins: Callable[..., Any], observations: Callable[..., Any], instruction_set: str
) -> None:
    pair = twins(continuous=3, branches=(4, 2))
    seen = observations(200, 8)
    allowed = masks(200, (4, 2))
    found = pair.fused.act(seen, allowed, seed=2**63 + 5, call=2**33)
    mean, log_sigma, branches, _ = heads(pair, seen, allowed)
    noise = torch.from_numpy(philox.normals(2**63 + 5, 2**33, philox.NORMALS, 600).reshape(200, 3))
    torch.testing.assert_close(torch.from_numpy(found.continuous), mean + noise * log_sigma.exp())
    drawn = torch.from_numpy(philox.uniforms(2**63 + 5, 2**33, philox.CHOICES, 400).reshape(200, 2))
    chosen = [philox.choices(branch.exp(), drawn[:, index]) for index, branch in enumerate(branches)]
    np.testing.assert_array_equal(found.discrete, torch.stack(chosen, 1))


def test_actions_are_as_frequent_as_they_are_probable(twins: Callable[..., Any], native: None) -> None:
    pair = twins(continuous=1, branches=(4,))
    seen = [np.tile(np.linspace(-1, 1, 8, dtype=np.float32), (200_000, 1))]
    found = pair.fused.act(seen, seed=1, call=1)
    mean, log_sigma, branches, _ = heads(pair, [seen[0][:1]], None)
    share = np.bincount(found.discrete[:, 0], minlength=4) / 200_000
    np.testing.assert_allclose(share, branches[0].exp()[0], atol=0.005)
    sigma = math.exp(float(log_sigma[0]))
    assert found.continuous.mean() == pytest.approx(float(mean[0, 0]), abs=0.01 * sigma)
    assert found.continuous.std() == pytest.approx(sigma, rel=0.01)


def test_another_call_gives_other_actions_and_the_same_call_the_same(
    twins: Callable[..., Any], observations: Callable[..., Any], native: None
) -> None:
    pair = twins()
    seen = observations(12, 8)
    first, again, other = (pair.fused.act(seen, seed=1, call=call).continuous.copy() for call in (3, 3, 4))
    assert np.array_equal(first, again)
    assert (first != other).all()


def test_two_threads_give_the_same_bits_as_one(
    twins: Callable[..., Any], observations: Callable[..., Any], instruction_set: str
) -> None:
    seen = observations(1000, 8)
    one, two = (
        twins(threads, continuous=2, branches=(3,)).fused.act(seen, seed=1, call=1, values=True) for threads in (1, 2)
    )
    for ours, theirs in zip(one, two, strict=True):
        assert np.array_equal(ours, theirs)


def test_observations_may_have_any_strides_and_shapes(twins: Callable[..., Any], native: None) -> None:
    pair = twins(inputs=(6,))
    wide = np.random.default_rng(1).normal(size=(10, 12)).astype(np.float32)
    expected = pair.fused.act([np.ascontiguousarray(wide[:, ::2])], seed=1, call=1).continuous.copy()
    assert np.array_equal(pair.fused.act([wide[:, ::2]], seed=1, call=1).continuous, expected)
    assert np.array_equal(pair.fused.act([wide[:, ::2].reshape(10, 2, 3)], seed=1, call=1).continuous, expected)
