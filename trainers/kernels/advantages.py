"""Generalised advantage estimation in one call of the library."""

import ctypes
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainers.kernels.library import array_pointer, raise_on, require_library

Floats = NDArray[np.float32]


def gae(
    rewards: Floats,
    values: Floats,
    lengths: NDArray[np.int64],
    next_values: Floats,
    gammas: Sequence[float],
    lambd: float,
) -> tuple[Floats, Floats]:
    """Generalised advantage estimation (Schulman et al. 2016, equation 16); ragged trajectories, one after the other.

    rewards, values [steps, signals]; lengths [trajectories], their sum is steps; next_values [trajectories, signals]: 0
    where nothing follows; gammas [signals]. Returns advantages and returns (advantage + value), [steps, signals] each.
    Raises TypeError or ValueError for arrays of another type or shape.
    """
    opened = require_library("gae")
    steps, signals, trajectories = len(rewards), len(gammas), len(lengths)
    advantages, returns = np.empty((2, steps, signals), np.float32)  # in one piece, which may lie in large pages
    discounts = (ctypes.c_double * max(signals, 1))(*gammas)
    code = opened.om_gae(
        steps,
        trajectories,
        signals,
        array_pointer("gae", "rewards", rewards, np.float32, (steps, signals)),
        array_pointer("gae", "values", values, np.float32, (steps, signals)),
        array_pointer("gae", "lengths", lengths, np.int64, (trajectories,)),
        array_pointer("gae", "next_values", next_values, np.float32, (trajectories, signals)),
        ctypes.addressof(discounts),
        lambd,
        advantages.ctypes.data,
        returns.ctypes.data,
    )
    raise_on("gae", code)
    return advantages, returns
