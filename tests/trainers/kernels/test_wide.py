"""Networks with wide layers, whose weights are worked on in another order: the same losses and gradients."""

from collections.abc import Callable
from typing import Any

import pytest
import torch


@pytest.mark.parametrize("hidden", [512, 517])
def test_wide_layers_give_the_same_losses_and_gradients(
    twins: Callable[..., Any], instruction_set: str, hidden: int
) -> None:
    pair = twins(hidden=hidden, layers=2, continuous=3)
    batch = pair.batch(150)
    order = torch.randperm(150, generator=torch.Generator().manual_seed(2)).repeat(2)  # 3 chunks, twice
    expected = pair.update_reference(batch, order, 150)
    found = pair.update_fused(batch, order, 150)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert max(pair.gradient_differences().values()) < 2e-5, pair.gradient_differences()
