"""Generalised advantage estimation on a GPU."""

import ctypes
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.kernels.cuda.library import on, raise_on, require_library, stream_of, tensor_pointer


def gae(
    rewards: Tensor,
    values: Tensor,
    lengths: NDArray[np.int64],
    next_values: Tensor,
    gammas: Sequence[float],
    lambd: float,
    *,
    library: ctypes.CDLL | None = None,
) -> tuple[Tensor, Tensor]:
    """What `trainers.kernels.advantages.gae` computes, bit for bit, with tensors on one device, lengths on the host.

    rewards, values [steps, signals]; lengths [trajectories], their sum is steps; next_values [trajectories, signals]: 0
    where nothing follows; gammas [signals]. Returns advantages and returns (advantage + value), [steps, signals] each.
    Raises TypeError or ValueError for tensors of another type, shape or device.
    """
    opened = require_library("gae") if library is None else library
    device, steps, signals, trajectories = rewards.device, len(rewards), len(gammas), len(lengths)
    starts = np.zeros(trajectories + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    if starts[-1] != steps or (lengths < 0).any():
        raise ValueError(f"gae: lengths: expected a sum of {steps}, the number of rewards, and none below 0")
    begins = torch.from_numpy(starts).to(device, non_blocking=True)
    advantages, returns = torch.empty_like(rewards), torch.empty_like(rewards)
    discounts = (ctypes.c_double * max(signals, 1))(*gammas)
    with on(device):
        code = opened.om_cuda_gae(
            trajectories,
            signals,
            tensor_pointer("gae", "rewards", rewards, torch.float32, (steps, signals), device),
            tensor_pointer("gae", "values", values, torch.float32, (steps, signals), device),
            begins.data_ptr(),
            tensor_pointer("gae", "next_values", next_values, torch.float32, (trajectories, signals), device),
            ctypes.addressof(discounts),
            lambd,
            advantages.data_ptr(),
            returns.data_ptr(),
            stream_of(device),
        )
    raise_on("gae", opened, code)
    return advantages, returns
