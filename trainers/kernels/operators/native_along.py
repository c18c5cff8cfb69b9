"""Reductions, softmax and losses of the library; a part of native.py."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trainers.kernels.library import raise_on
from trainers.kernels.operators.binding import BAD_INDEX, BINARY, LOSSES, REDUCTIONS, TYPES, call, try_call
from trainers.kernels.operators.checks import FLOATS, raise_index
from trainers.kernels.operators.native_basic import extents, reduce, result_like, run_row, threads_for
from trainers.kernels.operators.schemas import ROWS


def _reduction(operator: str) -> Callable[..., Any]:
    def run(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
        return reduce(operator, x, dim, keepdim) if x.dtype in FLOATS else NotImplemented

    return run


def _deviation(operator: str) -> Callable[..., Any]:
    def run(x: Tensor, dim: int | None = None, keepdim: bool = False, correction: int = 1) -> Any:
        return reduce(operator, x, dim, keepdim, float(correction))

    return run


def norm(x: Tensor, p: float = 2.0, dim: int | None = None, keepdim: bool = False) -> Tensor:
    return reduce("norm", x, dim, keepdim, p)


def reduction_gradient(g: Tensor, x: Tensor, y: Tensor, operator: str, dim: int | None, number: float) -> Tensor:
    g, x, y = g.contiguous(), x.contiguous(), y.contiguous()
    out = torch.empty(x.shape, dtype=x.dtype)
    call(
        "reduction_gradient",
        "om_reduction_gradient",
        REDUCTIONS[operator],
        TYPES[x.dtype],
        *extents(x, dim),
        number,
        g.data_ptr(),
        x.data_ptr(),
        y.data_ptr(),
        out.data_ptr(),
        threads_for(x),
    )
    return out


def _softmax(operator: str, logarithm: bool) -> Callable[..., Any]:
    def run(x: Tensor, dim: int) -> Tensor:
        x = x.contiguous()
        out = torch.empty(x.shape, dtype=x.dtype)
        sizes = extents(x, dim)
        call(operator, "om_softmax", logarithm, TYPES[x.dtype], *sizes, x.data_ptr(), out.data_ptr(), threads_for(x))
        return out

    return run


def softmax_gradient(g: Tensor, y: Tensor, dim: int, logarithm: bool) -> Tensor:
    g, y = g.contiguous(), y.contiguous()
    out = torch.empty(y.shape, dtype=y.dtype)
    pointers = g.data_ptr(), y.data_ptr(), out.data_ptr()
    sizes = extents(y, dim)
    call("softmax_gradient", "om_softmax_gradient", logarithm, TYPES[y.dtype], *sizes, *pointers, threads_for(y))
    return out


# ---- losses ----


def _target(x: Tensor, target: Tensor) -> tuple[Tensor, int | None, int | None]:
    """The target, dense, and its address as classes or as probabilities."""
    target = target.contiguous()
    classes = target.dtype == torch.int64 and target.dim() == x.dim() - 1
    return target, target.data_ptr() if classes else None, None if classes else target.data_ptr()


def row_loss(operator: str, x: Tensor, target: Tensor) -> Tensor:
    x = x.contiguous()
    target, index, shares = _target(x, target)
    out = torch.empty(x.shape[:-1], dtype=x.dtype)
    kind, threads = TYPES[x.dtype], torch.get_num_threads()
    status = try_call(
        "om_row_loss",
        LOSSES[operator],
        kind,
        out.numel(),
        x.shape[-1],
        x.data_ptr(),
        index,
        shares,
        out.data_ptr(),
        threads,
    )
    if status == BAD_INDEX:
        raise_index(operator, "target", target, x.shape[-1])
    raise_on(f"openmined::{operator}", status)
    return out


def _reduced(losses: Tensor, reduction: str) -> Tensor:
    return losses if reduction == "none" else reduce(reduction, losses, None, False)


def _loss(operator: str) -> Callable[..., Tensor]:
    def run(x: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
        return _reduced(row_loss(operator, x, target), reduction)

    return run


def mse_loss(x: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    out = result_like(x)
    run_row("mse_loss", BINARY, ROWS.binary["squared_difference"], 0, (x, target), out)
    return _reduced(out, reduction)


def _row_loss_gradient(of_target: bool) -> Callable[..., Tensor]:
    def run(g: Tensor, x: Tensor, target: Tensor, operator: str) -> Tensor:
        g, x = g.contiguous(), x.contiguous()
        target, index, shares = _target(x, target)
        out = torch.empty(x.shape, dtype=x.dtype)
        call(
            operator,
            "om_row_loss_gradient",
            LOSSES[operator],
            TYPES[x.dtype],
            x.shape[:-1].numel(),
            x.shape[-1],
            of_target,
            g.data_ptr(),
            x.data_ptr(),
            index,
            shares,
            out.data_ptr(),
            torch.get_num_threads(),
        )
        return out

    return run


ALONG: dict[str, Callable[..., Any]] = {
    **{name: _reduction(name) for name in ("sum", "mean", "prod", "min", "max", "cumsum", "cumprod")},
    **{name: _deviation(name) for name in ("var", "std")},
    "norm": norm,
    "reduction_gradient": reduction_gradient,
    "softmax": _softmax("softmax", False),
    "log_softmax": _softmax("log_softmax", True),
    "softmax_gradient": softmax_gradient,
    **{name: _loss(name) for name in LOSSES},
    "mse_loss": mse_loss,
    "row_loss_gradient": _row_loss_gradient(False),
    "row_loss_target_gradient": _row_loss_gradient(True),
}
