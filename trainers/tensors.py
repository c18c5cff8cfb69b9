"""Between NumPy arrays and what a checkpoint may hold."""

from typing import Any

import numpy as np
import torch


def to_tensors(value: Any) -> Any:
    """Arrays to tensors throughout: a checkpoint holds nothing that would have to be unpickled."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(value).copy())
    if isinstance(value, dict):
        return {key: to_tensors(item) for key, item in value.items()}
    if isinstance(value, list):
        return [to_tensors(item) for item in value]
    return value


def to_arrays(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.numpy()
    if isinstance(value, dict):
        return {key: to_arrays(item) for key, item in value.items()}
    if isinstance(value, list):
        return [to_arrays(item) for item in value]
    return value
