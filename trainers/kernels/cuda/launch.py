"""How the tensor operators launch kernels: types, layouts of strided tensors, lines along a dimension."""

import ctypes
from collections.abc import Callable, Sequence
from ctypes import c_int64
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainers.kernels.cuda.library import on, raise_on, stream_of

Implementations = dict[str, Callable[..., Any]]

TYPES = {torch.float32: 0, torch.float64: 1, torch.int32: 2, torch.int64: 3}
OPERANDS, DIMENSIONS = 4, 8


class Layout(ctypes.Structure):
    _fields_ = [
        ("dimensions", c_int64),
        ("sizes", c_int64 * DIMENSIONS),
        ("strides", c_int64 * DIMENSIONS * OPERANDS),
    ]


class Launcher:
    """Calls functions of the library on the stream and the device of a tensor, and raises their errors."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def __call__(self, function: str, like: Tensor, *arguments: Any) -> None:
        with on(like.device):
            code = getattr(self._library, f"om_cuda_{function}")(*arguments, stream_of(like.device))
        if code:
            raise_on(function, self._library, code)


def layout_of(tensors: Sequence[Tensor]) -> Layout | None:
    """How tensors of one shape lie in memory, with as few dimensions as will do; None for more than kernels take."""
    sizes, strides = _collapsed(tensors[0].shape, [tensor.stride() for tensor in tensors])
    if len(sizes) > DIMENSIONS:
        return None
    layout = Layout(dimensions=len(sizes))
    layout.sizes[: len(sizes)] = sizes
    for operand, steps in enumerate(strides):
        layout.strides[operand][: len(steps)] = steps
    return layout


def _collapsed(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[list[int], list[list[int]]]:
    """Without dimensions of size 1, and with those put together that lie one after the other in every tensor."""
    sizes: list[int] = []
    found: list[list[int]] = [[] for _ in strides]
    for dimension, size in enumerate(shape):
        if size == 1:
            continue
        steps = [stride[dimension] for stride in strides]
        if sizes and all(kept[-1] == step * size for kept, step in zip(found, steps, strict=True)):
            sizes[-1] *= size
            for kept, step in zip(found, steps, strict=True):
                kept[-1] = step
        else:
            sizes.append(size)
            for kept, step in zip(found, steps, strict=True):
                kept.append(step)
    return sizes, found


def broadcast(*tensors: Tensor) -> torch.Size:
    """The shape that all of them broadcast to."""
    shape: torch.Size = torch.broadcast_shapes(*(one.shape for one in tensors))  # type: ignore[no-untyped-call]
    return shape


class Lines(NamedTuple):
    """The lines of a tensor along a dimension: `outer * inner` of them, of `size` numbers each."""

    outer: int
    size: int
    inner: int


def lines_of(x: Tensor, dim: int | None) -> Lines:
    """Along `dim`, or all numbers as one line."""
    if dim is None or x.dim() == 0:
        return Lines(1, x.numel(), 1)
    shape, dim = x.shape, dim % x.dim()
    return Lines(shape[:dim].numel(), shape[dim], shape[dim + 1 :].numel())


def without(x: Tensor, dim: int | None, keepdim: bool = False) -> list[int]:
    """x's shape when `dim`, or every dimension, is reduced."""
    shape = list(x.shape)
    if dim is None:
        return [1] * len(shape) if keepdim else []
    if shape:
        shape[dim : dim + 1 if dim != -1 else None] = [1] if keepdim else []
    return shape


def in_place(function: Callable[..., Tensor]) -> Callable[..., None]:
    """The operator's twin that puts the result into its first argument."""

    def twin(x: Tensor, *arguments: Any) -> None:
        x.copy_(function(x, *arguments))

    return twin
