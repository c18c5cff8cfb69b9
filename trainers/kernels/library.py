"""The library of kernels as Python sees it: found or built, loaded, its functions described, its errors raised.

`library()` gives it, or None where there is none; `status()` says which, and why. Set-up happens at the first call.
"""

import ctypes
import functools
from collections.abc import Sequence
from ctypes import c_char_p, c_double, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainers.kernels.build import BuildError, find_or_build

ABI_VERSION = 1  # of include/openmined.h, which the structures below repeat


class NetworkDescription(ctypes.Structure):
    _fields_ = [
        ("observation_count", c_int64),
        ("observation_sizes", c_void_p),
        ("layer_count", c_int64),
        ("layer_widths", c_void_p),
        ("continuous", c_int64),
        ("branch_count", c_int64),
        ("branch_sizes", c_void_p),
        ("signals", c_int64),
        ("shared_critic", c_int64),
        ("parameter_count", c_int64),
        ("offset_count", c_int64),
        ("offsets", c_void_p),
    ]


class ActArguments(ctypes.Structure):
    _fields_ = [
        ("agents", c_int64),
        ("observations", c_void_p),
        ("means", c_void_p),
        ("scales", c_void_p),
        ("parameters", c_void_p),
        ("allowed", c_void_p),
        ("seed", c_uint64),
        ("call", c_uint64),
        ("deterministic", c_int64),
        ("threads", c_int64),
        ("continuous", c_void_p),
        ("continuous_for_player", c_void_p),
        ("discrete", c_void_p),
        ("discrete_for_player", c_void_p),
        ("log_probs", c_void_p),
        ("values", c_void_p),
        ("entropy", c_void_p),
    ]


class PPOBatch(ctypes.Structure):
    _fields_ = [
        ("steps", c_int64),
        ("inputs", c_void_p),
        ("continuous", c_void_p),
        ("discrete", c_void_p),
        ("log_probs", c_void_p),
        ("allowed", c_void_p),
        ("advantages", c_void_p),
        ("returns", c_void_p),
        ("values", c_void_p),
    ]


class PPOSettings(ctypes.Structure):
    _fields_ = [
        ("learning_rate", c_double),
        ("epsilon", c_double),
        ("beta", c_double),
        ("value_clipping", c_int64),
        ("threads", c_int64),
        ("batch_size", c_int64),
        ("minibatches", c_int64),
        ("adam_steps", c_int64),
        ("parameters", c_void_p),
        ("gradient", c_void_p),
        ("moment", c_void_p),
        ("square", c_void_p),
    ]


_RANDOM = [c_uint64, c_uint64, c_uint32, c_int64, c_void_p]
_ARGUMENTS: dict[str, list[Any]] = {
    "om_set_instruction_set": [c_char_p],
    "om_has_instruction_set": [c_char_p],
    "om_network_create": [c_void_p, c_void_p],
    "om_network_destroy": [c_void_p],
    "om_act": [c_void_p, c_void_p],
    "om_gae": [c_int64, c_int64, c_int64, *[c_void_p] * 5, c_double, c_void_p, c_void_p],
    "om_ppo_update": [c_void_p] * 6,
    "om_random_words": _RANDOM,
    "om_random_normals": _RANDOM,
    "om_random_uniforms": _RANDOM,
    "om_philox": [c_void_p] * 3,
    "om_multiply": [c_int64, c_int64, c_int64, c_void_p, c_void_p, c_void_p, c_int64],
}


@dataclass(frozen=True)
class Status:
    """What runs.

    Attributes:
        native: whether the library does; otherwise torch.
        instruction_set: "avx512", "avx2" or "portable"; "" without the library.
        reason: one line for people.
    """

    native: bool
    instruction_set: str
    reason: str


class _Unusable(Exception):
    pass


@functools.cache
def _load() -> tuple[ctypes.CDLL | None, str]:
    try:
        path = find_or_build()
        return _open(path), f"kernels from {path}"
    except (BuildError, _Unusable) as error:
        return None, f"no native kernels, PPO runs in plain torch: {error}"


def _open(path: Path) -> ctypes.CDLL:
    try:
        opened = ctypes.CDLL(str(path))
        version = opened.om_abi_version()
    except (OSError, AttributeError) as error:
        raise _Unusable(f"{path} cannot be loaded ({error})") from error
    if version != ABI_VERSION:
        raise _Unusable(f"{path} has ABI version {version}, expected {ABI_VERSION}; build it anew")
    for name, arguments in _ARGUMENTS.items():
        getattr(opened, name).argtypes = arguments
        getattr(opened, name).restype = c_int32
    opened.om_network_destroy.restype = None
    opened.om_instruction_set.restype = c_char_p
    opened.om_error_string.argtypes, opened.om_error_string.restype = [c_int32], c_char_p
    return opened


def library() -> ctypes.CDLL | None:
    """The library, None if it is not to be had."""
    return _load()[0]


def status() -> Status:
    """What runs, and why."""
    opened, reason = _load()
    if opened is None:
        return Status(False, "", reason)
    name = opened.om_instruction_set().decode()
    return Status(True, name, f"{reason}, {name}")


def require_library(operator: str) -> ctypes.CDLL:
    """The library; raises RuntimeError, naming what needs it and why it is missing."""
    opened, reason = _load()
    if opened is None:
        raise RuntimeError(f"{operator}: {reason}")
    return opened


def instruction_sets() -> list[str]:
    """Those that the library has and this processor can run, the best one first."""
    opened = require_library("instruction_sets")
    return [name for name in ("avx512", "avx2", "portable") if opened.om_has_instruction_set(name.encode())]


def set_instruction_set(name: str | None) -> None:
    """Makes the library use another instruction set, None the best one. Raises ValueError if it cannot be had."""
    code = require_library("set_instruction_set").om_set_instruction_set(None if name is None else name.encode())
    if code != 0:
        known = ", ".join(instruction_sets())
        raise ValueError(f"set_instruction_set: name: expected one of {known} on this processor, got {name!r}")


def raise_on(operator: str, code: int) -> None:
    """Raises ValueError for a status that is not 0, MemoryError for want of memory."""
    if code:
        text = require_library(operator).om_error_string(code).decode()
        raise (MemoryError if code == 7 else ValueError)(f"{operator}: {text}")


# ---- what is checked before a pointer is handed over ----


def tensor_pointer(operator: str, argument: str, value: Any, dtype: torch.dtype, shape: Sequence[int]) -> int:
    """Address of a dense tensor on the CPU with this type and shape; TypeError or ValueError says what is wrong.

    A size of -1 stands for any.
    """
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{operator}: {argument}: expected a tensor, got {type(value).__name__}")
    if value.device.type != "cpu":
        raise ValueError(f"{operator}: {argument}: expected a tensor on cpu, got one on {value.device}")
    if value.dtype != dtype:
        raise TypeError(f"{operator}: {argument}: expected {_name(dtype)}, got {_name(value.dtype)}")
    _check_shape(operator, argument, tuple(value.shape), shape)
    if not value.is_contiguous():
        raise ValueError(f"{operator}: {argument}: expected dense rows, got strides {tuple(value.stride())}")
    return value.data_ptr()


def array_pointer(operator: str, argument: str, value: Any, dtype: type, shape: Sequence[int]) -> int:
    """The same for a NumPy array."""
    check_array(operator, argument, value, dtype, shape)
    if not value.flags.c_contiguous:
        raise ValueError(f"{operator}: {argument}: expected dense rows, got strides {value.strides} bytes")
    address: int = value.ctypes.data
    return address


def check_array(operator: str, argument: str, value: Any, dtype: type, shape: Sequence[int]) -> None:
    """Whether a NumPy array has this type and shape; TypeError or ValueError says what is wrong."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{operator}: {argument}: expected an array, got {type(value).__name__}")
    if value.dtype != dtype:
        raise TypeError(f"{operator}: {argument}: expected {np.dtype(dtype)}, got {value.dtype}")
    _check_shape(operator, argument, value.shape, shape)


def _check_shape(operator: str, argument: str, got: tuple[int, ...], expected: Sequence[int]) -> None:
    if len(got) != len(expected) or any(a not in (b, -1) for a, b in zip(expected, got, strict=True)):
        sizes = ", ".join("any" if size == -1 else str(size) for size in expected)
        raise ValueError(f"{operator}: {argument}: expected shape [{sizes}], got {list(got)}")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def integers(values: Sequence[int]) -> ctypes.Array[c_int64]:
    """An int64 array of C; keep it as long as its address is in use."""
    return (c_int64 * max(len(values), 1))(*values)


def pointers(values: Sequence[int]) -> ctypes.Array[c_void_p]:
    """An array of addresses."""
    return (c_void_p * max(len(values), 1))(*values)
