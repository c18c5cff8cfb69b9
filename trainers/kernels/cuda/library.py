"""The library of CUDA kernels as Python sees it: found or built, loaded, its functions described, its errors raised."""

import contextlib
import ctypes
import functools
from collections.abc import Sequence
from contextlib import AbstractContextManager
from ctypes import c_char_p, c_double, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

import torch

from trainers.kernels.build import BuildError
from trainers.kernels.cuda.build import find_or_build

ABI_VERSION = 1  # of openmined_cuda.h, which the structures below repeat


class ActArguments(ctypes.Structure):
    _fields_ = [
        ("agents", c_int64),
        ("continuous", c_int64),
        ("branch_count", c_int64),
        ("logits", c_int64),
        ("stride", c_int64),
        ("branch_sizes", c_void_p),
        ("outputs", c_void_p),
        ("log_sigma", c_void_p),
        ("allowed", c_void_p),
        ("seed", c_uint64),
        ("call", c_uint64),
        ("deterministic", c_int64),
        ("continuous_actions", c_void_p),
        ("continuous_for_player", c_void_p),
        ("discrete_actions", c_void_p),
        ("log_probs", c_void_p),
        ("entropies", c_void_p),
    ]


class PPOArguments(ctypes.Structure):
    _fields_ = [
        ("rows", c_int64),
        ("continuous", c_int64),
        ("branch_count", c_int64),
        ("logits", c_int64),
        ("signals", c_int64),
        ("value_clipping", c_int64),
        ("epsilon", c_double),
        ("beta", c_double),
        ("branch_sizes", c_void_p),
        ("outputs", c_void_p),
        ("log_sigma", c_void_p),
        ("order", c_void_p),
        ("continuous_actions", c_void_p),
        ("discrete_actions", c_void_p),
        ("log_probs", c_void_p),
        ("allowed", c_void_p),
        ("advantages", c_void_p),
        ("returns", c_void_p),
        ("values", c_void_p),
        ("gradients", c_void_p),
        ("losses", c_void_p),
    ]


# Arguments of each function before the stream: n an int32, i an int64, u a uint64, w a uint32, d a double, p a pointer.
ARGUMENTS = {
    "om_cuda_random_words": "uuwip",
    "om_cuda_random_normals": "uuwip",
    "om_cuda_random_uniforms": "uuwip",
    "om_cuda_normalize": "iippppi",
    "om_cuda_bias_swish": "iippp",
    "om_cuda_act": "p",
    "om_cuda_gae": "iipppppdpp",
    "om_cuda_gather_rows": "iippp",
    "om_cuda_ppo_losses": "p",
    "om_cuda_column_sums": "iipipp",
    "om_cuda_swish_backward": "iippp",
    "om_cuda_elementwise": "nnnpppppddi",
    "om_cuda_bias_activation": "niinpp",
    "om_cuda_reduce": "nniiiidppp",
    "om_cuda_reduce_gradient": "nniiidpppp",
    "om_cuda_scan": "nniiiiippp",
    "om_cuda_softmax": "niiiipp",
    "om_cuda_softmax_gradient": "niiiippp",
    "om_cuda_row_loss": "nniiippp",
    "om_cuda_row_loss_gradient": "nniiipppp",
    "om_cuda_row_loss_target_gradient": "nniippp",
    "om_cuda_index_select": "niiiippp",
    "om_cuda_index_add": "niiiippp",
    "om_cuda_triu": "niiiipp",
    "om_cuda_sample": "niiiuupp",
    "om_cuda_dropout_mask": "nidduup",
    "om_cuda_fill_uniform": "nidduup",
    "om_cuda_fill_random": "niiiuup",
    "om_cuda_sgd": "niddddiippp",
    "om_cuda_rmsprop": "nidddddpppp",
    "om_cuda_adam": "niidddddpppp",
}
_TYPES = {"n": c_int32, "i": c_int64, "u": c_uint64, "w": c_uint32, "d": c_double, "p": c_void_p}


def open_library(path: Path) -> ctypes.CDLL:
    """Loads the library and describes its functions. Raises OSError if that cannot be done."""
    try:
        opened = ctypes.CDLL(str(path))
        version = opened.om_cuda_abi_version()
        for name, arguments in ARGUMENTS.items():
            getattr(opened, name).argtypes = [*(_TYPES[letter] for letter in arguments), c_void_p]
            getattr(opened, name).restype = c_int32
    except AttributeError as error:
        raise OSError(f"{path} cannot be used ({error})") from error
    if version != ABI_VERSION:
        raise OSError(f"{path} has ABI version {version}, expected {ABI_VERSION}; build it anew")
    opened.om_cuda_error_string.argtypes, opened.om_cuda_error_string.restype = [c_int32], c_char_p
    return opened


@functools.cache
def _load() -> tuple[ctypes.CDLL | None, str]:
    if not torch.cuda.is_available():
        return None, "no CUDA kernels: torch sees no GPU"
    try:
        numbers = [torch.cuda.get_device_capability(index) for index in range(torch.cuda.device_count())]
        path = find_or_build([10 * major + minor for major, minor in numbers])
        return open_library(path), f"CUDA kernels from {path}"
    except (BuildError, OSError) as error:
        return None, f"no CUDA kernels: {error}"


def status() -> tuple[bool, str]:
    """Whether the kernels can run, and why, in one line."""
    opened, reason = _load()
    return opened is not None, reason


def require_library(operator: str) -> ctypes.CDLL:
    """The library; raises RuntimeError, naming what needs it and why it is missing."""
    opened, reason = _load()
    if opened is None:
        raise RuntimeError(f"{operator}: {reason}")
    return opened


def raise_on(operator: str, library: ctypes.CDLL, code: int) -> None:
    """Raises RuntimeError for a result that is not 0."""
    if code:
        raise RuntimeError(f"{operator}: CUDA: {library.om_cuda_error_string(code).decode()}")


def stream_of(device: torch.device) -> int | None:
    """The stream that torch launches on at the moment; the emulation on the CPU has none."""
    return int(torch.cuda.current_stream(device).cuda_stream) if device.type == "cuda" else None


def on(device: torch.device) -> AbstractContextManager[Any]:
    """Makes the device the current one, which launches need."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def tensor_pointer(
    operator: str, argument: str, value: Any, dtype: torch.dtype, shape: Sequence[int], device: torch.device
) -> int:
    """Address of a dense tensor on `device` with this type and shape; TypeError or ValueError says what is wrong.

    A size of -1 stands for any.
    """
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{operator}: {argument}: expected a tensor, got {type(value).__name__}")
    if value.device != device:
        raise ValueError(f"{operator}: {argument}: expected a tensor on {device}, got one on {value.device}")
    if value.dtype != dtype:
        expected, got = (str(one).removeprefix("torch.") for one in (dtype, value.dtype))
        raise TypeError(f"{operator}: {argument}: expected {expected}, got {got}")
    if len(value.shape) != len(shape) or any(a not in (b, -1) for a, b in zip(shape, value.shape, strict=True)):
        sizes = ", ".join("any" if size == -1 else str(size) for size in shape)
        raise ValueError(f"{operator}: {argument}: expected shape [{sizes}], got {list(value.shape)}")
    if not value.is_contiguous():
        raise ValueError(f"{operator}: {argument}: expected dense rows, got strides {tuple(value.stride())}")
    return value.data_ptr()
