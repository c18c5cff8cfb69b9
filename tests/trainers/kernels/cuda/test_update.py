"""The PPO update on CUDA beside the readable one: the same losses, gradients and weights."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

FORMS: dict[str, dict[str, Any]] = {
    "continuous": {},
    "continuous, shared critic": {"shared": True},
    "branches": {"continuous": 0, "branches": (3, 2, 5), "signals": 2},
    "hybrid": {"continuous": 3, "branches": (2, 3), "signals": 3},
    "hybrid, shared critic": {"continuous": 1, "branches": (3,), "signals": 2, "shared": True},
    "one of everything": {"inputs": (1,), "continuous": 1, "branches": (1,), "hidden": 1, "layers": 1},
    "3 layers of 17": {"inputs": (3,), "hidden": 17, "layers": 3},
    "1 layer of 129": {"inputs": (17,), "hidden": 129, "layers": 1, "continuous": 17},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("batch_size", [1, 17, 64, 300])
def test_one_minibatch_gives_the_same_losses_and_gradients(
    pairs: Callable[..., Any], form: dict[str, Any], batch_size: int
) -> None:
    pair = pairs(**form)
    batch = pair.twins.batch(400)
    with torch.no_grad():  # some ratios far enough from 1 to be clipped
        batch.target.log_probs.add_(torch.linspace(-0.5, 0.5, len(batch.target.log_probs)).unsqueeze(1))
    order = torch.randperm(400, generator=torch.Generator().manual_seed(2))[:batch_size]
    expected = pair.twins.update_reference(batch, order, batch_size, beta=0.05)
    found = pair.update(batch, order, batch_size, beta=0.05)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert max(pair.differences("grad").values()) < 2e-5, pair.differences("grad")
    assert max(pair.differences().values()) < 1e-4, pair.differences()  # Adam's first step has the gradient's sign only


@pytest.mark.parametrize("form", ["continuous", "hybrid, shared critic"])
def test_value_clipping(pairs: Callable[..., Any], form: str) -> None:
    pair = pairs(**FORMS[form])
    batch, order = pair.twins.batch(200), torch.arange(150)
    expected = pair.twins.update_reference(batch, order, 150, value_clipping=True, epsilon=0.05)
    found = pair.update(batch, order, 150, value_clipping=True, epsilon=0.05)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert max(pair.differences("grad").values()) < 2e-5, pair.differences("grad")


@pytest.mark.parametrize(
    "form",
    [
        pytest.param({}, id="continuous"),
        pytest.param({"continuous": 0, "branches": (3, 2), "layers": 3}, id="branches, 3 layers"),
    ],
)
def test_the_weights_still_agree_after_2000_minibatches(pairs: Callable[..., Any], form: dict[str, Any]) -> None:
    """As the kernels on the CPU are held against the reference.

    A step that reaches the clipping range in one and not in the other switches a whole gradient; with other networks or
    another order of additions than here that may happen, and then nobody's weights agree.
    """
    pair = pairs(fresh=True, **form)
    steps, batch_size = 5376, 32
    for buffer in range(4):
        batch = pair.twins.batch(steps, seed=buffer)
        generator = torch.Generator().manual_seed(buffer)
        order = torch.cat([torch.randperm(steps, generator=generator) for _ in range(3)])
        expected = pair.twins.update_reference(batch, order, batch_size)
        found = pair.update(batch, order, batch_size)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    assert pair.optimizer._steps == 2016
    assert max(pair.differences().values()) < 1e-5, pair.differences()


def test_without_clipping_any_start_stays_together(pairs: Callable[..., Any]) -> None:
    pair = pairs(continuous=2, branches=(3,), signals=2)
    batch = pair.twins.batch(3200)
    order = torch.cat([torch.randperm(3200, generator=torch.Generator().manual_seed(seed)) for seed in range(5)])
    pair.twins.update_reference(batch, order, 64, epsilon=1e9)
    pair.update(batch, order, 64, epsilon=1e9)
    assert max(pair.differences().values()) < 5e-6, pair.differences()


def test_many_minibatches_in_one_call_are_as_many_calls(pairs: Callable[..., Any]) -> None:
    together, apart = pairs(), pairs()
    batch, order = together.twins.batch(300), torch.arange(300)
    together.update(batch, order, 100)
    for rows in order.reshape(3, 100):
        apart.update(batch, rows, 100)
    assert torch.equal(together.optimizer._values, apart.optimizer._values)
    assert torch.equal(together.optimizer._moment, apart.optimizer._moment)


def test_an_empty_order_changes_nothing(pairs: Callable[..., Any]) -> None:
    pair = pairs()
    before = pair.optimizer._values.clone()
    policy, value = pair.update(pair.twins.batch(10), torch.zeros(0, dtype=torch.int64), 5)
    assert len(policy) == len(value) == 0
    assert torch.equal(pair.optimizer._values, before)


def test_the_modules_see_the_new_weights(pairs: Callable[..., Any]) -> None:
    pair = pairs()
    before = pair.network.actor.body[0].weight.clone()
    pair.update(pair.twins.batch(64), torch.arange(64), 64)
    assert not torch.equal(pair.network.actor.body[0].weight, before)


def test_wrong_tensors_are_told_by_name(pairs: Callable[..., Any]) -> None:
    pair = pairs()
    batch = pair.twins.batch(64)
    with pytest.raises(ValueError, match=r"ppo_update: order: expected whole minibatches of 60, got 64 entries"):
        pair.update(batch, torch.arange(64), 60)
    with pytest.raises(TypeError, match=r"ppo_update: order: expected int64, got int32"):
        pair.update(batch, torch.arange(64, dtype=torch.int32), 64)
    wrong = batch._replace(inputs=batch.inputs[:, :-1].contiguous())
    with pytest.raises(ValueError, match=r"ppo_update: inputs: expected shape \[64, 8\], got \[64, 7\]"):
        pair.update(wrong, torch.arange(64), 64)
    wrong = batch._replace(inputs=batch.inputs.double())
    with pytest.raises(TypeError, match=r"ppo_update: inputs: expected float32, got float64"):
        pair.update(wrong, torch.arange(64), 64)
