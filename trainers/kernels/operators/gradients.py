"""How each operator is differentiated: `GRADIENTS`, name to (what to keep, the formula), as register_autograd has them.

Formulas are made of our own operators. Those whose schema is in GRADIENT_SCHEMAS raise when differentiated once more.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from trainers.kernels.operators.reference import Number
from trainers.kernels.operators.schemas import BINARY, GRADIENT_SCHEMAS, ROWS, Row

Setup = Callable[[Any, tuple[Any, ...], Any], None]
Formula = Callable[..., Any]

ours: Any = torch.ops.openmined


def reduce_to(g: Tensor, shape: Sequence[int]) -> Tensor:
    """Sums over what broadcasting `shape` has added."""
    if tuple(g.shape) == tuple(shape):
        return g
    extra = g.dim() - len(shape)
    if extra > 0:
        g = ours.sum(g.reshape(-1, *g.shape[extra:]), 0, False)
    for dim, size in enumerate(shape):
        if size == 1 and g.shape[dim] != 1:
            g = ours.sum(g, dim, True)
    return g


# ---- elementwise ----


def _unary(row: Row) -> tuple[Setup, Formula]:
    needs_x, needs_y = row.gradient_needs("x"), row.gradient_needs("y")

    def setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*([inputs[0]] if needs_x else []), *([output] if needs_y else []))
        ctx.bounds = inputs[1:]

    def backward(ctx: Any, g: Tensor) -> Any:
        kept = list(ctx.saved_tensors)
        x = kept.pop(0) if needs_x else g
        y = kept.pop(0) if needs_y else g
        numbers = clamp_bounds(*ctx.bounds) if row.name == "clamp" else (0.0, 0.0)
        result = ours.unary_gradient(g, x, y, row.number, *numbers)
        return (result, *[None] * len(ctx.bounds)) if ctx.bounds else result

    return setup, backward


def clamp_bounds(low: float | None, high: float | None) -> tuple[float, float]:
    """Bounds as numbers, where there is none an infinite one."""
    return float("-inf") if low is None else low, float("inf") if high is None else high


def _binary(row: Row) -> tuple[Setup, Formula]:
    needs_x = [row.gradient_needs("x", of) or row.gradient_needs("y", of) for of in (0, 1)]
    needs_z = [row.gradient_needs("z", of) or row.gradient_needs("y", of) for of in (0, 1)]

    def setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, other = inputs
        scalar = not isinstance(other, Tensor)
        wanted = (ctx.needs_input_grad[0], not scalar and ctx.needs_input_grad[1])
        keep_x = any(need and want for need, want in zip(needs_x, wanted, strict=True))
        keep_z = any(need and want for need, want in zip(needs_z, wanted, strict=True)) and not scalar
        ctx.save_for_backward(x if keep_x else None, other if keep_z else None)
        ctx.scalar = other if scalar else None
        ctx.shapes = (x.shape, None if scalar else other.shape)

    def one(ctx: Any, g: Tensor, of: int) -> Tensor:
        x, other = ctx.saved_tensors
        if row.gradients[of] == "g":
            result = g
        elif row.gradients[of] == "-g":
            result = ours.neg(g)
        else:
            if other is None:
                other = g if ctx.scalar is None else torch.full((), ctx.scalar, dtype=g.dtype, device=g.device)
            result = ours.binary_gradient(g, g if x is None else x, other, row.number, of)
        return reduce_to(result, ctx.shapes[of])

    def backward(ctx: Any, g: Tensor) -> Any:
        first = one(ctx, g, 0) if ctx.needs_input_grad[0] else None
        return first, one(ctx, g, 1) if ctx.shapes[1] is not None and ctx.needs_input_grad[1] else None

    return setup, backward


# ---- reductions ----


def _keep_reduction(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x = inputs[0]
    ctx.save_for_backward(x, output)
    ctx.rest = inputs[1:]


def _keep_shape(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.shape, ctx.rest = inputs[0].shape, inputs[1:]


def _spread(ctx: Any, g: Tensor) -> Tensor:
    dim, keepdim = ctx.rest
    if dim is not None and not keepdim and len(ctx.shape):
        g = g.unsqueeze(dim)
    return g.expand(ctx.shape)


def _sum(ctx: Any, g: Tensor) -> Any:
    return _spread(ctx, g), None, None


def _mean(ctx: Any, g: Tensor) -> Any:
    dim = ctx.rest[0]
    count = ctx.shape.numel() if dim is None else ctx.shape[dim] if len(ctx.shape) else 1
    return _spread(ctx, ours.div_scalar(g, float(count))), None, None


def _reduction(operator: str, number_at: int | None = None, dim_at: int = 0, keepdim_at: int = 1) -> Formula:
    """`number_at`, `dim_at`, `keepdim_at`: places of the correction or p, dim and keepdim behind x."""

    def backward(ctx: Any, g: Tensor) -> Any:
        x, y = ctx.saved_tensors
        dim = ctx.rest[dim_at]
        number = 0.0 if number_at is None else float(ctx.rest[number_at])
        if dim is None:
            g, y = g.reshape(()), y.reshape(())
        elif keepdim_at < len(ctx.rest) and ctx.rest[keepdim_at] and x.dim():
            g, y = g.squeeze(dim), y.squeeze(dim)
        return ours.reduction_gradient(g, x, y, operator, dim, number), *[None] * len(ctx.rest)

    return backward


def _trace(ctx: Any, g: Tensor) -> Tensor:
    return torch.eye(*ctx.shape, dtype=g.dtype, device=g.device) * g


def _keep_output(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(output)
    ctx.dim = inputs[1]


def _softmax(logarithm: bool) -> Formula:
    def backward(ctx: Any, g: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return ours.softmax_gradient(g, y, ctx.dim, logarithm), None

    return backward


# ---- products ----


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*(one for one in inputs if isinstance(one, Tensor)))
    ctx.rest = [one for one in inputs if not isinstance(one, Tensor)]


def _mm(ctx: Any, g: Tensor) -> Any:
    x, other = ctx.saved_tensors
    return (
        ours.mmt(g, other) if ctx.needs_input_grad[0] else None,
        ours.mm(x.t(), g) if ctx.needs_input_grad[1] else None,
    )


def _mmt(ctx: Any, g: Tensor) -> Any:
    x, other = ctx.saved_tensors
    return (
        ours.mm(g, other) if ctx.needs_input_grad[0] else None,
        ours.mm(g.t(), x) if ctx.needs_input_grad[1] else None,
    )


def _scaled(g: Tensor, factor: Number) -> Tensor:
    return g if factor == 1 else ours.mul_scalar(g, factor)


def _addmm(ctx: Any, g: Tensor) -> Any:
    x, left, right = ctx.saved_tensors
    beta, alpha = ctx.rest
    vector = right.dim() == 1
    rows, columns = (g.unsqueeze(1), right.unsqueeze(1)) if vector else (g, right)
    of_left = _scaled(ours.mmt(rows, columns), alpha) if ctx.needs_input_grad[1] else None
    of_right = _scaled(ours.mm(left.t(), rows), alpha) if ctx.needs_input_grad[2] else None
    if vector and of_right is not None:
        of_right = of_right.squeeze(1)
    of_x = reduce_to(_scaled(g, beta), x.shape) if ctx.needs_input_grad[0] else None
    return of_x, of_left, of_right, None, None


def _keep_linear(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, bias, ctx.activation = inputs
    computed_again = ctx.activation == "swish"  # its gradient is one of what went in
    keep_output = ctx.activation not in ("none", "swish")
    ctx.save_for_backward(x, weight, bias if computed_again else None, output if keep_output else None)


def _linear(ctx: Any, g: Tensor) -> Any:
    x, weight, bias, y = ctx.saved_tensors
    wanted = [*ctx.needs_input_grad, False, False][:3]  # shorter where the last arguments were left out
    results = ours.linear_gradient(g, x, weight, bias, g if y is None else y, ctx.activation, wanted)
    return *(one if want else None for one, want in zip(results, wanted, strict=True)), None


# ---- places ----


def _triu(ctx: Any, g: Tensor) -> Any:
    return ours.triu(g, *ctx.rest), None


def _keep_index(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, ctx.dim, index = inputs[:3]
    ctx.save_for_backward(index)
    ctx.shape = x.shape


def _index_select(ctx: Any, g: Tensor) -> Any:
    zeros = torch.zeros(ctx.shape, dtype=g.dtype, device=g.device)
    return ours.index_add(zeros, ctx.dim, ctx.saved_tensors[0], g.reshape(()) if not ctx.shape else g), None, None


def _index_add(ctx: Any, g: Tensor) -> Any:
    of_source = ours.index_select(g, ctx.dim, ctx.saved_tensors[0]) if ctx.needs_input_grad[3] else None
    if of_source is not None and not ctx.shape:
        of_source = of_source.reshape(())
    return g, None, None, of_source


def _keep_embedding(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    weight, index = inputs
    ctx.save_for_backward(index)
    ctx.shape = weight.shape


def _embedding(ctx: Any, g: Tensor) -> Any:
    zeros = torch.zeros(ctx.shape, dtype=g.dtype, device=g.device)
    return ours.index_add(zeros, 0, ctx.saved_tensors[0].reshape(-1), g.reshape(-1, ctx.shape[1])), None


# ---- losses ----


def _mse_loss(ctx: Any, g: Tensor) -> Any:
    x, target = ctx.saved_tensors
    if ctx.rest[0] == "mean":
        g = ours.div_scalar(g, float(x.numel()))
    row = ROWS.binary["squared_difference"].number
    g = g.expand(x.shape)
    first, second = (ours.binary_gradient(g, x, target, row, of) if ctx.needs_input_grad[of] else None for of in (0, 1))
    return first, second, None


def _row_loss(operator: str) -> Formula:
    def backward(ctx: Any, g: Tensor) -> Any:
        x, target = ctx.saved_tensors
        rows = x.shape[:-1]
        if ctx.rest[0] == "mean":
            g = ours.div_scalar(g, float(rows.numel()))
        g = g.expand(rows)
        return (
            ours.row_loss_gradient(g, x, target, operator) if ctx.needs_input_grad[0] else None,
            ours.row_loss_target_gradient(g, x, target, operator) if ctx.needs_input_grad[1] else None,
            None,
        )

    return backward


def _no_second(operator: str) -> tuple[Setup, Formula]:
    def backward(ctx: Any, *g: Tensor) -> Any:
        raise NotImplementedError(
            f"openmined::{operator}: gradients of gradients are not to be had; use torch's own operators for them"
        )

    return lambda ctx, inputs, output: None, backward


GRADIENTS: dict[str, tuple[Setup, Formula]] = {
    **{name: _unary(row) for name, row in ROWS.unary.items()},
    **{f"{name}_{form}": _binary(ROWS.binary[name]) for name in BINARY for form in ("elem", "scalar")},
    "sum": (_keep_shape, _sum),
    "mean": (_keep_shape, _mean),
    **{name: (_keep_reduction, _reduction(name)) for name in ("prod", "min", "max", "cumsum", "cumprod")},
    **{name: (_keep_reduction, _reduction(name, number_at=2)) for name in ("var", "std")},
    "norm": (_keep_reduction, _reduction("norm", number_at=0, dim_at=1, keepdim_at=2)),
    "trace": (_keep_shape, _trace),
    "softmax": (_keep_output, _softmax(False)),
    "log_softmax": (_keep_output, _softmax(True)),
    "mm": (_keep_inputs, _mm),
    "mmt": (_keep_inputs, _mmt),
    "addmm": (_keep_inputs, _addmm),
    "addmv": (_keep_inputs, _addmm),
    "linear": (_keep_linear, _linear),
    "triu": (_keep_shape, _triu),
    "index_select": (_keep_index, _index_select),
    "index_add": (_keep_index, _index_add),
    "embedding": (_keep_embedding, _embedding),
    "mse_loss": (_keep_inputs, _mse_loss),
    **{name: (_keep_inputs, _row_loss(name)) for name in ("cross_entropy", "nll_loss", "categorical_cross_entropy")},
    **{name: _no_second(name) for name in GRADIENT_SCHEMAS},
}
