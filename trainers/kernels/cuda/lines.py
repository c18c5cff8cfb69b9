"""Operators on CUDA that work along a dimension: reductions, running sums, softmax and the losses over rows."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from trainers.kernels.cuda.elementwise import Elementwise, dense_like
from trainers.kernels.cuda.launch import TYPES, Implementations, Launcher, Lines, lines_of, without
from trainers.kernels.operators.schemas import ROWS

REDUCTIONS = ("sum", "mean", "prod", "min", "max", "var", "std", "norm")
CUMSUM, CUMPROD, RECURRENCE = range(3)
LOSSES = ("cross_entropy", "nll_loss", "categorical_cross_entropy")
_SHARED = 1 << 16  # numbers from which on a line is shared by several blocks


class AlongLines:
    """The operators, as functions of tensors."""

    def __init__(self, launch: Launcher, elementwise: Elementwise) -> None:
        self._launch = launch
        self._elementwise = elementwise

    # ---- reductions ----

    def reduce(self, name: str, x: Tensor, dim: int | None, keepdim: bool, number: float = 0.0) -> Tensor:
        kind = x.dtype
        dense = (x if kind.is_floating_point else x.long()).contiguous()
        lines = lines_of(dense, dim)
        splits = 1
        if lines.inner == 1 and lines.size > _SHARED and lines.outer < 64:
            splits = min(256, -(-lines.size // (_SHARED // 4)))
        result = dense.new_empty(without(x, dim, keepdim))
        workspace = dense.new_empty(lines.outer * splits * 3 if splits > 1 else 0)
        which = (REDUCTIONS.index(name), TYPES[dense.dtype])
        pointers = (dense.data_ptr(), workspace.data_ptr(), result.data_ptr())
        self._launch("reduce", result, *which, *lines, splits, number, *pointers)
        return result.to(kind) if name in ("min", "max") else result

    def reduction(self, name: str) -> Callable[..., Tensor]:
        def value(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
            return self.reduce(name, x, dim, keepdim)

        return value

    def deviation(self, name: str) -> Callable[..., Tensor]:
        def value(x: Tensor, dim: int | None = None, keepdim: bool = False, correction: int = 1) -> Tensor:
            return self.reduce(name, x, dim, keepdim, correction)

        return value

    def norm(self, x: Tensor, p: float = 2.0, dim: int | None = None, keepdim: bool = False) -> Tensor:
        return self.reduce("norm", x, dim, keepdim, p)

    def trace(self, x: Tensor) -> Tensor:
        return self.reduce("sum", x.diagonal(), None, False)

    def reduction_gradient(
        self, g: Tensor, x: Tensor, y: Tensor, operator: str, dim: int | None, number: float
    ) -> Tensor:
        """`g` and `y` without the dimension `dim`, but for cumsum and cumprod."""
        x = x.contiguous()
        lines = lines_of(x, dim)
        if operator == "cumsum":
            return self._scan(CUMSUM, g.contiguous(), lines, backwards=True)
        if operator == "cumprod":
            # What follows is worth r[k] = g[k] + x[k + 1] * r[k + 1]; what comes before is a factor of all of it.
            x_lines = x.view(lines)
            following = torch.cat([x_lines[:, 1:], torch.zeros_like(x_lines[:, :1])], 1)
            worth = self._scan(RECURRENCE, g.contiguous(), lines, backwards=True, factors=following)
            return self._times(worth, self._scan(CUMPROD, x, lines, exclusive=True))
        if operator == "prod":
            before = self._scan(CUMPROD, x, lines, exclusive=True)
            after = self._scan(CUMPROD, x, lines, exclusive=True, backwards=True)
            spread = g.reshape(lines.outer, 1, lines.inner).expand(lines).reshape(x.shape)
            return self._times(self._times(before, after), spread)
        g, y, result = g.contiguous(), y.contiguous(), dense_like(x)
        which = (REDUCTIONS.index(operator), TYPES[x.dtype])
        pointers = (g.data_ptr(), x.data_ptr(), y.data_ptr(), result.data_ptr())
        self._launch("reduce_gradient", x, *which, *lines, number, *pointers)
        return result

    def _times(self, x: Tensor, other: Tensor) -> Tensor:
        return self._elementwise.binary("mul")(x, other)

    # ---- running sums and products ----

    def cumulate(self, kind: int) -> Callable[..., Tensor]:
        def value(x: Tensor, dim: int) -> Tensor:
            dense = (x if x.dtype.is_floating_point else x.long()).contiguous()
            return self._scan(kind, dense, lines_of(dense, dim))

        return value

    def _scan(
        self,
        kind: int,
        x: Tensor,
        lines: Lines,
        *,
        backwards: bool = False,
        exclusive: bool = False,
        factors: Tensor | None = None,
    ) -> Tensor:
        result = dense_like(x)
        pointers = (x.data_ptr(), None if factors is None else factors.data_ptr(), result.data_ptr())
        self._launch("scan", x, kind, TYPES[x.dtype], *lines, backwards, exclusive, *pointers)
        return result

    # ---- softmax ----

    def softmax(self, logarithm: bool) -> Callable[..., Tensor]:
        def value(x: Tensor, dim: int) -> Tensor:
            x = x.contiguous()
            y = dense_like(x)
            self._launch("softmax", x, TYPES[x.dtype], logarithm, *lines_of(x, dim), x.data_ptr(), y.data_ptr())
            return y

        return value

    def softmax_gradient(self, g: Tensor, y: Tensor, dim: int, logarithm: bool) -> Tensor:
        g, y = g.contiguous(), y.contiguous()
        result = dense_like(y)
        pointers = (g.data_ptr(), y.data_ptr(), result.data_ptr())
        self._launch("softmax_gradient", y, TYPES[y.dtype], logarithm, *lines_of(y, dim), *pointers)
        return result

    # ---- losses ----

    def mse_loss(self, x: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
        row = ROWS.binary["squared_difference"].number
        squared = self._elementwise.run(2, row, dense_like(x), x, target)
        return squared if reduction == "none" else self.reduce(reduction, squared, None, False)

    def row_loss(self, operator: str) -> Callable[..., Tensor]:
        def value(x: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
            x, target = x.contiguous(), target.contiguous()
            classes = _classes(operator, x, target)
            losses = x.new_empty(x.shape[:-1])
            which = (LOSSES.index(operator), TYPES[x.dtype], classes, losses.numel(), x.shape[-1])
            self._launch("row_loss", x, *which, x.data_ptr(), target.data_ptr(), losses.data_ptr())
            return losses if reduction == "none" else self.reduce(reduction, losses, None, False)

        return value

    def row_loss_gradient(self, g: Tensor, x: Tensor, target: Tensor, operator: str) -> Tensor:
        g, x, target = g.contiguous(), x.contiguous(), target.contiguous()
        result = dense_like(x)
        which = (LOSSES.index(operator), TYPES[x.dtype], _classes(operator, x, target), g.numel(), x.shape[-1])
        pointers = (g.data_ptr(), x.data_ptr(), target.data_ptr(), result.data_ptr())
        self._launch("row_loss_gradient", x, *which, *pointers)
        return result

    def row_loss_target_gradient(self, g: Tensor, x: Tensor, target: Tensor, operator: str) -> Tensor:
        g, x = g.contiguous(), x.contiguous()
        result = dense_like(x)
        which = (LOSSES.index(operator), TYPES[x.dtype], g.numel(), x.shape[-1])
        self._launch("row_loss_target_gradient", x, *which, g.data_ptr(), x.data_ptr(), result.data_ptr())
        return result

    def implementations(self) -> Implementations:
        return {
            **{name: self.reduction(name) for name in ("sum", "mean", "prod", "min", "max")},
            **{name: self.deviation(name) for name in ("var", "std")},
            "norm": self.norm,
            "trace": self.trace,
            "cumsum": self.cumulate(CUMSUM),
            "cumprod": self.cumulate(CUMPROD),
            "reduction_gradient": self.reduction_gradient,
            "softmax": self.softmax(False),
            "log_softmax": self.softmax(True),
            "softmax_gradient": self.softmax_gradient,
            "mse_loss": self.mse_loss,
            **{name: self.row_loss(name) for name in LOSSES},
            "row_loss_gradient": self.row_loss_gradient,
            "row_loss_target_gradient": self.row_loss_target_gradient,
        }


def _classes(operator: str, x: Tensor, target: Tensor) -> bool:
    """Whether the target names a class for each row; IndexError if one of them is none."""
    if target.dtype != torch.int64 or target.dim() != x.dim() - 1:
        return False
    check_range(operator, "target", target, x.shape[-1])
    return True


def check_range(operator: str, argument: str, index: Tensor, size: int) -> None:
    """Raises IndexError for an index that is not 0 ... size - 1.

    That waits for the device, so it is left out while a CUDA graph is recorded; the kernels pass over such places.
    """
    if index.numel() == 0 or (index.is_cuda and torch.cuda.is_current_stream_capturing()):
        return
    least, most = (int(one) for one in torch.stack(torch.aminmax(index)).tolist())
    if least < 0 or most >= size:
        wrong = least if least < 0 else most
        raise IndexError(f"openmined::{operator}: {argument}: expected 0 to {size - 1}, got {wrong}")


def reciprocal_of_kept(rate: float, rescale: bool) -> float:
    """What dropout gives the numbers that stay."""
    return 1.0 / (1.0 - rate) if rescale and rate < 1 and not math.isnan(rate) else 1.0
