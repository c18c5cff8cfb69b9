"""What a FusedActorCritic checks of its arguments, on the CPU as on CUDA."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

Floats = NDArray[np.float32]

_FLOAT32 = np.dtype(np.float32)


def check_heads(continuous: nn.Linear | None, log_sigma: Tensor | None) -> None:
    """Raises ValueError for a continuous head without deviations, or the other way round."""
    if (continuous is None) != (log_sigma is None):
        raise ValueError("FusedActorCritic: log_sigma: expected together with continuous, got one without the other")


def check_count(what: str, given: Sequence[Any], sizes: Sequence[int]) -> None:
    """Raises ValueError unless there is one an observation."""
    if len(given) != len(sizes):
        raise ValueError(f"{what}: expected {len(sizes)}, one an observation, got {len(given)}")


def check_observation(index: int, observation: Floats, agents: int, size: int) -> None:
    """Raises TypeError or ValueError unless it holds float32 of so many agents, `size` each in any shape."""
    if observation.dtype != _FLOAT32:
        raise TypeError(f"act: observations[{index}]: expected float32, got {observation.dtype}")
    if len(observation) != agents or observation.size != agents * size:
        raise ValueError(
            f"act: observations[{index}]: expected {agents} agents with {size} numbers each, "
            f"got shape {list(observation.shape)}"
        )


def count_minibatches(order: Tensor, batch_size: int) -> int:
    """How many an update has; ValueError unless all are whole."""
    if batch_size < 1 or order.numel() % batch_size:
        raise ValueError(f"ppo_update: order: expected whole minibatches of {batch_size}, got {order.numel()} entries")
    return order.numel() // batch_size
