"""Products of matrices of the library, or of torch's BLAS where that is faster; a part of native.py."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trainers.kernels.library import status
from trainers.kernels.operators.binding import ACTIVATIONS, call
from trainers.kernels.operators.native_basic import reduce, unary_gradient
from trainers.kernels.operators.schemas import ROWS

THIN, WORTH = 16, 1 << 20  # columns; multiplications


def ours_wins(x: Tensor, rows: int, inner: int, columns: int, fused: bool) -> bool:
    """Whether the library's tiles beat torch's BLAS, measured on AVX2 (batches 1 to 2048, layers 8 to 512 wide).

    With an activation they do at every size, by 1.0 to 2.9 times with one thread as with two: the result is worked on
    while it is in the nearest cache. A bare product is MKL's, by 1.0 to 3 times, but for results of a few columns,
    where ours are 2.7 to 12 times faster. Compiled for SSE2 alone ours never win.
    """
    if x.dtype != torch.float32 or status().instruction_set == "portable":
        return False
    return fused or (columns <= THIN and rows * inner * columns >= WORTH)


def product(operator: str, left: Tensor, right: Tensor, bias: Tensor | None = None, activation: str = "none") -> Tensor:
    """activation(left [n, k] times right [k, m] + bias [m]) in float32, whatever the strides."""
    out = torch.empty((left.shape[0], right.shape[1]), dtype=left.dtype)
    call(
        operator,
        "om_product",
        left.shape[0],
        left.shape[1],
        right.shape[1],
        left.data_ptr(),
        *left.stride(),
        right.data_ptr(),
        *right.stride(),
        None if bias is None else bias.data_ptr(),
        ACTIVATIONS[activation],
        out.data_ptr(),
        torch.get_num_threads(),
    )
    return out


def multiply(operator: str, left: Tensor, right: Tensor) -> Tensor:
    if ours_wins(left, left.shape[0], left.shape[1], right.shape[1], False):
        return product(operator, left, right)
    return torch.mm(left, right)


def mm(x: Tensor, other: Tensor) -> Tensor:
    return multiply("mm", x, other)


def mmt(x: Tensor, other: Tensor) -> Tensor:
    return multiply("mmt", x, other.t())


def addmm(x: Tensor, left: Tensor, right: Tensor, beta: float = 1.0, alpha: float = 1.0) -> Tensor:
    if not ours_wins(left, left.shape[0], left.shape[1], right.shape[1], False):
        return torch.addmm(x, left, right, beta=beta, alpha=alpha)
    y = product("addmm", left, right)
    if alpha != 1:
        torch.ops.openmined.mul_scalar_(y, alpha)
    if beta != 0:  # at 0 torch does not look at x, which may hold NaN
        torch.ops.openmined.add_elem_(y, x if beta == 1 else torch.ops.openmined.mul_scalar(x, beta))
    return y


def addmv(x: Tensor, matrix: Tensor, vector: Tensor, beta: float = 1.0, alpha: float = 1.0) -> Tensor:
    return addmm(x.unsqueeze(-1), matrix, vector.unsqueeze(1), beta, alpha).squeeze(1)


def _in_place(function: Callable[..., Tensor]) -> Callable[..., None]:
    def run(x: Tensor, *arguments: Any) -> None:
        x.copy_(function(x, *arguments))

    return run


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str = "none") -> Tensor:
    rows = x.reshape(-1, x.shape[-1]) if x.dim() != 2 else x
    if ours_wins(x, rows.shape[0], rows.shape[1], weight.shape[0], activation != "none"):
        y = product("linear", rows, weight.t(), None if bias is None else bias.contiguous(), activation)
    else:
        y = torch.mm(rows, weight.t()) if bias is None else torch.addmm(bias, rows, weight.t())
        if activation != "none":
            getattr(torch.ops.openmined, activation + "_")(y)
    return y if x.dim() == 2 else y.reshape(*x.shape[:-1], weight.shape[0])


def linear_gradient(
    g: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, y: Tensor, activation: str, wanted: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    if activation != "none":
        before = linear(x, weight, bias) if activation == "swish" else y
        g = unary_gradient(g, before, y, ROWS.unary[activation].number)
    rows, inputs = g.reshape(-1, weight.shape[0]), x.reshape(-1, weight.shape[1])
    return (
        multiply("linear_gradient", rows, weight).reshape(x.shape) if wanted[0] else g.new_empty(0),
        multiply("linear_gradient", rows.t(), inputs) if wanted[1] else g.new_empty(0),
        reduce("sum", rows, 0, False) if wanted[2] else g.new_empty(0),
    )


PRODUCTS: dict[str, Callable[..., Any]] = {
    "mm": mm,
    "mmt": mmt,
    "addmm": addmm,
    "addmv": addmv,
    "addmm_": _in_place(addmm),
    "addmv_": _in_place(addmv),
    "linear": linear,
    "linear_gradient": linear_gradient,
}
