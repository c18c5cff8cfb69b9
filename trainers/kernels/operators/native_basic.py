"""What the library's operators are made of on this side: one row of the elementwise table, one reduction."""

from collections.abc import Sequence
from ctypes import c_int64, c_void_p

import torch
from torch import Tensor

from trainers.kernels.operators.binding import BINARY, REDUCTIONS, TYPES, UNARY, call
from trainers.kernels.operators.schemas import ROWS, Row

_UNARY_ROWS, _BINARY_ROWS = tuple(ROWS.unary.values()), tuple(ROWS.binary.values())
_WORTH_THREADS = 32768  # elements


def threads_for(x: Tensor) -> int:
    return torch.get_num_threads() if x.numel() > _WORTH_THREADS else 1


def run_row(
    operator: str, table: int, row: Row, form: int, inputs: Sequence[Tensor], out: Tensor, a: float = 0, b: float = 0
) -> None:
    """One row of the elementwise table into `out`, whose shape the inputs broadcast to."""
    first = inputs[0]
    threads = threads_for(out)
    shape = out.shape
    if out.is_contiguous() and all(one.shape == shape and one.is_contiguous() for one in inputs):
        pointers = [one.data_ptr() for one in inputs] + [0] * (3 - len(inputs))
        call(
            operator,
            "om_elementwise_dense",
            table,
            row.number,
            form,
            TYPES[first.dtype],
            out.numel(),
            *pointers,
            out.data_ptr(),
            a,
            b,
            threads,
        )
        return
    tensors = [one if one.shape == shape else one.expand(shape) for one in inputs]
    dims = len(shape)
    strides = [stride for one in (*tensors, out) for stride in one.stride()]
    call(
        operator,
        "om_elementwise",
        table,
        row.number,
        form,
        TYPES[first.dtype],
        dims,
        (c_int64 * max(dims, 1))(*shape),
        (c_int64 * max(len(strides), 1))(*strides),
        (c_void_p * len(tensors))(*(one.data_ptr() for one in tensors)),
        out.data_ptr(),
        a,
        b,
        threads,
    )


def result_like(*inputs: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    shape = inputs[0].shape
    if any(one.shape != shape for one in inputs):
        shape = torch.broadcast_shapes(*(one.shape for one in inputs))  # type: ignore[no-untyped-call]
    return torch.empty(shape, dtype=dtype or inputs[0].dtype)


def beside(x: Tensor, other: Tensor) -> Tensor:
    """`other` as it is before x is written: a copy where the two share some memory but not element by element."""
    if other.untyped_storage().data_ptr() != x.untyped_storage().data_ptr():
        return other
    same = other.data_ptr() == x.data_ptr() and other.stride() == x.stride() and other.shape == x.shape
    return other if same else other.clone()


def unary_gradient(g: Tensor, x: Tensor, y: Tensor, row: int, a: float = 0.0, b: float = 0.0) -> Tensor:
    out = result_like(g)
    run_row("unary_gradient", UNARY, _UNARY_ROWS[row], 1, (g, x, y), out, a, b)
    return out


def binary_gradient(g: Tensor, x: Tensor, other: Tensor, row: int, of: int) -> Tensor:
    out = result_like(g)
    run_row("binary_gradient", BINARY, _BINARY_ROWS[row], 1 + of, (g, x, other), out)
    return out


def extents(x: Tensor, dim: int | None) -> tuple[int, int, int]:
    """outer, size, inner of a dense tensor that is worked on along `dim`, or as one row."""
    if dim is None or x.dim() == 0:
        return 1, x.numel(), 1
    dim %= x.dim()
    return x.shape[:dim].numel(), x.shape[dim], x.shape[dim + 1 :].numel()


def reduce(operator: str, x: Tensor, dim: int | None, keepdim: bool, number: float = 0.0) -> Tensor:
    x = x.contiguous()
    shape = list(x.shape)
    if operator not in ("cumsum", "cumprod"):
        if dim is None:
            shape = [1] * x.dim() if keepdim else []
        elif shape:
            shape[dim] = 1
            if not keepdim:
                del shape[dim]
    out = torch.empty(shape, dtype=x.dtype)
    kind = REDUCTIONS[operator]
    sizes = extents(x, dim)
    call(operator, "om_reduce", kind, TYPES[x.dtype], *sizes, number, x.data_ptr(), out.data_ptr(), threads_for(x))
    return out
