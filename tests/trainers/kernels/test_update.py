"""The fused update beside the readable one: the same losses, gradients and weights."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

FORMS: dict[str, dict[str, Any]] = {
    "continuous": {},
    "continuous, shared critic": {"shared": True},
    "one branch": {"continuous": 0, "branches": (4,)},
    "branches": {"continuous": 0, "branches": (3, 2, 5), "signals": 2},
    "hybrid": {"continuous": 3, "branches": (2, 3), "signals": 3},
    "hybrid, shared critic": {"continuous": 1, "branches": (3,), "signals": 2, "shared": True},
    "one of everything": {"inputs": (1,), "continuous": 1, "branches": (1,), "hidden": 1, "layers": 1},
    "3 layers of 17": {"inputs": (3,), "hidden": 17, "layers": 3},
    "1 layer of 129": {"inputs": (17,), "hidden": 129, "layers": 1, "continuous": 17},
    "inputs beyond a panel": {"inputs": (70,), "hidden": 40},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("batch_size", [1, 3, 17, 64, 129])
def test_one_minibatch_gives_the_same_losses_and_gradients(
    twins: Callable[..., Any], instruction_set: str, form: dict[str, Any], batch_size: int
) -> None:
    pair = twins(**form)
    batch = pair.batch(200)
    with torch.no_grad():  # some ratios far enough from 1 to be clipped
        batch.target.log_probs.add_(torch.linspace(-0.5, 0.5, len(batch.target.log_probs)).unsqueeze(1))
    order = torch.randperm(200, generator=torch.Generator().manual_seed(2))[:batch_size]
    expected = pair.update_reference(batch, order, batch_size, beta=0.05)
    found = pair.update_fused(batch, order, batch_size, beta=0.05)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert max(pair.gradient_differences().values()) < 2e-5, pair.gradient_differences()
    assert max(pair.differences().values()) < 1e-4, pair.differences()  # Adam's first step has the gradient's sign only


@pytest.mark.parametrize("form", ["continuous", "hybrid, shared critic"])
def test_value_clipping(twins: Callable[..., Any], instruction_set: str, form: str) -> None:
    pair = twins(**FORMS[form])
    batch, order = pair.batch(200), torch.arange(150)
    expected = pair.update_reference(batch, order, 150, value_clipping=True, epsilon=0.05)
    found = pair.update_fused(batch, order, 150, value_clipping=True, epsilon=0.05)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert max(pair.gradient_differences().values()) < 2e-5, pair.gradient_differences()


@pytest.mark.parametrize(
    "form",
    [
        pytest.param({"hidden": 128}, id="continuous"),
        pytest.param({"continuous": 1, "branches": (3, 2), "signals": 2, "shared": True, "hidden": 64}, id="hybrid"),
        pytest.param({"continuous": 0, "branches": (3, 2), "layers": 3}, id="branches, 3 layers"),
    ],
)
def test_the_weights_still_agree_after_2000_minibatches(twins: Callable[..., Any], native: None, form: Any) -> None:
    """Four buffers, each collected by the reference and used by both, 3 epochs each.

    The two stay as close as the reference stays to itself when one of its weights is moved by a millionth. They cannot
    do better: from other starts (a policy with large heads, old log-probabilities that no policy had) both differences
    grow a thousandfold within 500 steps, because steps that reach or leave the clipping range switch whole gradients.
    """
    pair = twins(fresh=True, **form)
    steps, batch_size = 5376, 32
    for buffer in range(4):
        batch = pair.batch(steps, seed=buffer)
        generator = torch.Generator().manual_seed(buffer)
        order = torch.cat([torch.randperm(steps, generator=generator) for _ in range(3)])
        expected = pair.update_reference(batch, order, batch_size)
        found = pair.update_fused(batch, order, batch_size)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    assert pair.optimizer._steps == 2016
    assert max(pair.differences().values()) < 1e-5, pair.differences()


def test_without_clipping_any_start_stays_together(twins: Callable[..., Any], native: None) -> None:
    pair = twins(hidden=128)  # with clipping, 500 steps from here differ by a hundredth
    batch = pair.batch(5120)
    order = torch.cat([torch.randperm(5120, generator=torch.Generator().manual_seed(seed)) for seed in range(6)])
    pair.update_reference(batch, order, 64, epsilon=1e9)
    pair.update_fused(batch, order, 64, epsilon=1e9)
    assert max(pair.differences().values()) < 5e-6, pair.differences()


def test_many_minibatches_in_one_call_are_as_many_calls(twins: Callable[..., Any], native: None) -> None:
    together, apart = twins(), twins()
    batch, order = together.batch(300), torch.arange(300)
    together.update_fused(batch, order, 100)
    for rows in order.reshape(3, 100):
        apart.update_fused(batch, rows, 100)
    assert torch.equal(together.optimizer._values, apart.optimizer._values)
    assert torch.equal(together.optimizer._moment, apart.optimizer._moment)


@pytest.mark.parametrize("shared", [False, True])
def test_two_threads_give_the_same_bits_as_one(twins: Callable[..., Any], instruction_set: str, shared: bool) -> None:
    results = []
    for threads in (1, 2):
        pair = twins(threads, continuous=2, branches=(3,), shared=shared, hidden=40)
        losses = pair.update_fused(pair.batch(400), torch.arange(400).repeat(5), 50)
        results.append((pair.optimizer._values, *losses))
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


def test_an_empty_order_changes_nothing(twins: Callable[..., Any], native: None) -> None:
    pair = twins()
    before = pair.optimizer._values.clone()
    policy, value = pair.update_fused(pair.batch(10), torch.zeros(0, dtype=torch.int64), 5)
    assert len(policy) == len(value) == 0
    assert torch.equal(pair.optimizer._values, before)


def test_the_modules_see_the_new_weights(twins: Callable[..., Any], native: None) -> None:
    pair = twins()
    before = pair.copy.actor.body[0].weight.clone()
    pair.update_fused(pair.batch(64), torch.arange(64), 64)
    assert not torch.equal(pair.copy.actor.body[0].weight, before)
