"""What an operator is given, looked at before anything runs: exceptions name operator, argument, expected and got.

`CHECKS` maps an operator to a function of its arguments that raises TypeError, ValueError or IndexError. It reads no
element of a tensor, so it holds for tensors without data too.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from trainers.kernels.operators.schemas import BINARY, GRADIENT_SCHEMAS, IN_PLACE, ROWS, SCHEMAS

FLOATS = (torch.float32, torch.float64)
WHOLE = (torch.int32, torch.int64)
ALL = FLOATS + WHOLE
# Elementwise operators without a row for whole numbers that torch gives fractions for: we do too, out of place.
STAY_WHOLE = ("ceil", "floor", "round", "trunc", "frac", "relu", "clamp")
PROMOTED = tuple(name for name in ROWS.unary if name not in ROWS.integer_unary and name not in STAY_WHOLE)

Number = int | float


def fail(operator: str, argument: str, expected: str, got: object, kind: type[Exception] = ValueError) -> None:
    raise kind(f"openmined::{operator}: {argument}: expected {expected}, got {got}")


def check_type(operator: str, argument: str, x: Tensor, allowed: Sequence[torch.dtype]) -> None:
    if x.dtype not in allowed:
        fail(operator, argument, " or ".join(map(_name, allowed)), _name(x.dtype), TypeError)
    if x.layout != torch.strided:
        fail(operator, argument, "a dense tensor", f"layout {x.layout}", TypeError)


def check_like(operator: str, argument: str, value: Tensor, x: Tensor) -> None:
    """The same type and device."""
    if value.dtype != x.dtype:
        fail(operator, argument, f"{_name(x.dtype)} like the first tensor", _name(value.dtype), TypeError)
    check_device(operator, argument, value, x)


def check_device(operator: str, argument: str, value: Tensor, x: Tensor) -> None:
    if value.device != x.device:
        fail(operator, argument, f"a tensor on {x.device} like the first tensor", f"one on {value.device}")


def check_dimensions(operator: str, argument: str, value: Tensor, count: int) -> None:
    if value.dim() != count:
        fail(operator, argument, f"{count} dimension{'s' if count != 1 else ''}", str(value.dim()))


def check_shape(operator: str, argument: str, value: Tensor, shape: Sequence[int]) -> None:
    if tuple(value.shape) != tuple(shape):
        fail(operator, argument, f"shape {list(shape)}", list(value.shape))


def check_dim(operator: str, x: Tensor, dim: int) -> None:
    count = max(x.dim(), 1)
    if not -count <= dim < count:
        fail(operator, "dim", f"{-count} to {count - 1}", dim, IndexError)


def check_index(operator: str, index: Tensor, x: Tensor, argument: str = "index") -> None:
    if index.dtype != torch.int64:
        fail(operator, argument, "int64", _name(index.dtype), TypeError)
    check_device(operator, argument, index, x)


def raise_index(operator: str, argument: str, index: Tensor, size: int) -> None:
    """IndexError that names the first entry of `index` outside of 0 ... size - 1."""
    wrong = index[(index < 0) | (index >= size)].reshape(-1)[0].item()
    fail(operator, argument, f"0 to {size - 1}" if size else "no index for an empty dimension", wrong, IndexError)


def check_scalar(operator: str, argument: str, x: Tensor, value: Any) -> None:
    """A number that fits x's type."""
    if x.dtype in WHOLE and (isinstance(value, bool) or not isinstance(value, int | torch.SymInt)):
        fail(operator, argument, f"a whole number for {_name(x.dtype)}", value, TypeError)
    if isinstance(value, complex):
        fail(operator, argument, "a real number", value, TypeError)


def broadcast_shape(operator: str, x: Tensor, other: Tensor, argument: str = "other") -> torch.Size:
    if x.shape == other.shape:
        return x.shape
    try:
        return torch.Size(torch.broadcast_shapes(x.shape, other.shape))  # type: ignore[no-untyped-call]
    except RuntimeError:
        fail(operator, argument, f"a shape that broadcasts with {list(x.shape)}", list(other.shape))
        raise


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# ---- operator by operator ----


def _unary(operator: str, x: Tensor, *bounds: float | None) -> None:
    base = operator.removesuffix("_")
    whole = base in ROWS.integer_unary or (base in PROMOTED and base == operator)
    check_type(operator, "x", x, ALL if whole else FLOATS)


def _elementwise(operator: str, x: Tensor, other: Any) -> None:
    base = operator.removesuffix("_").rsplit("_", 1)[0]
    whole = base in ROWS.integer_binary or base in ROWS.relation or not operator.endswith("_")
    check_type(operator, "x", x, ALL if whole else FLOATS)
    if isinstance(other, Tensor):
        check_like(operator, "other", other, x)
        broadcast_shape(operator, x, other)
        return
    if type(other) is float and x.dtype in FLOATS:
        return
    if x.dtype in WHOLE and base in ROWS.integer_binary:
        check_scalar(operator, "other", x, other)
        if base == "remainder" and other == 0:
            fail(operator, "other", "a divisor other than 0", 0, ZeroDivisionError)
        if base == "pow" and other < 0:
            fail(operator, "other", f"an exponent from 0 on for {_name(x.dtype)}", other)
    if isinstance(other, complex):
        fail(operator, "other", "a real number", other, TypeError)


def _equal(operator: str, x: Tensor, other: Tensor) -> None:
    check_type(operator, "x", x, ALL)
    check_like(operator, "other", other, x)


def _reduction(operator: str, x: Tensor, dim: int | None = None, *rest: Any) -> None:
    whole = operator in ("sum", "prod", "min", "max", "cumsum", "cumprod")
    check_type(operator, "x", x, ALL if whole else FLOATS)
    if dim is not None:
        check_dim(operator, x, dim)
    if operator in ("min", "max"):
        size = x.numel() if dim is None else x.shape[dim] if x.dim() else 1
        if size == 0:
            fail(operator, "x", "at least one element", f"shape {list(x.shape)}")


def _norm(operator: str, x: Tensor, p: float = 2.0, dim: int | None = None, keepdim: bool = False) -> None:
    _reduction(operator, x, dim)
    if not p >= 0:
        fail(operator, "p", "a number from 0 on", p)
    size = x.numel() if dim is None else x.shape[dim] if x.dim() else 1
    if math.isinf(p) and size == 0:
        fail(operator, "x", "at least one element", f"shape {list(x.shape)}")


def _softmax(operator: str, x: Tensor, dim: int) -> None:
    check_type(operator, "x", x, FLOATS)
    check_dim(operator, x, dim)


def _matrix(operator: str, argument: str, x: Tensor, like: Tensor, dimensions: int = 2) -> None:
    check_type(operator, argument, x, FLOATS)
    check_like(operator, argument, x, like)
    check_dimensions(operator, argument, x, dimensions)


def _trace(operator: str, x: Tensor) -> None:
    check_type(operator, "x", x, ALL)
    check_dimensions(operator, "x", x, 2)


def _mm(operator: str, x: Tensor, other: Tensor) -> None:
    _matrix(operator, "x", x, x)
    _matrix(operator, "other", other, x)
    inner = 1 if operator == "mmt" else 0
    if other.shape[inner] != x.shape[1]:
        fail(operator, "other", f"{x.shape[1]} {'columns' if inner else 'rows'}, x's columns", other.shape[inner])


def _addmm(operator: str, x: Tensor, left: Tensor, right: Tensor, beta: float = 1, alpha: float = 1) -> None:
    vector = operator.startswith("addmv")
    names = ("matrix", "vector") if vector else ("left", "right")
    check_type(operator, "x", x, FLOATS)
    _matrix(operator, names[0], left, x)
    _matrix(operator, names[1], right, x, 1 if vector else 2)
    if right.shape[0] != left.shape[1]:
        fail(operator, names[1], f"{left.shape[1]} rows, {names[0]}'s columns", right.shape[0])
    shape = (left.shape[0], *right.shape[1:])
    if operator.endswith("_"):
        check_shape(operator, "x", x, shape)
    elif broadcast_shape(operator, torch.empty(shape, device="meta"), x, "x") != torch.Size(shape):
        fail(operator, "x", f"a shape that broadcasts to {list(shape)}", list(x.shape))


ACTIVATIONS = ("none", "relu", "sigmoid", "tanh", "swish")


def _linear(operator: str, x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str = "none") -> None:
    check_type(operator, "x", x, FLOATS)
    _matrix(operator, "weight", weight, x)
    if x.dim() < 1:
        fail(operator, "x", "at least 1 dimension", 0)
    if x.shape[-1] != weight.shape[1]:
        fail(operator, "x", f"{weight.shape[1]} columns, weight's", x.shape[-1])
    if bias is not None:
        check_like(operator, "bias", bias, x)
        check_shape(operator, "bias", bias, (weight.shape[0],))
    if activation not in ACTIVATIONS:
        fail(operator, "activation", "one of " + ", ".join(ACTIVATIONS), repr(activation))


def _triu(operator: str, x: Tensor, diagonal: int = 0) -> None:
    check_type(operator, "x", x, ALL)
    if x.dim() < 2:
        fail(operator, "x", "at least 2 dimensions", x.dim())


def _index_select(operator: str, x: Tensor, dim: int, index: Tensor) -> None:
    check_type(operator, "x", x, ALL)
    check_dim(operator, x, dim)
    check_index(operator, index, x)
    if index.dim() > 1:
        fail(operator, "index", "1 dimension", index.dim())


def _index_add(operator: str, x: Tensor, dim: int, index: Tensor, source: Tensor) -> None:
    _index_select(operator, x, dim, index)
    check_like(operator, "source", source, x)
    shape = list(x.shape)
    if shape:
        shape[dim] = index.numel()
    check_shape(operator, "source", source, shape)
    if not shape and index.numel() != 1:
        fail(operator, "index", "1 element for a number", index.numel())


def _embedding(operator: str, weight: Tensor, index: Tensor) -> None:
    _matrix(operator, "weight", weight, weight)
    check_index(operator, index, weight)


def _random_numbers(operator: str, seed: int, call: int) -> None:
    for argument, value in (("seed", seed), ("call", call)):
        if not 0 <= value < 2**63:
            fail(operator, argument, "0 to 2^63 - 1", value)


def _sample(operator: str, probabilities: Tensor, dim: int, seed: int, call: int) -> None:
    check_type(operator, "probabilities", probabilities, FLOATS)
    check_dim(operator, probabilities, dim)
    if probabilities.dim() and probabilities.shape[dim] == 0:
        fail(operator, "probabilities", "at least one in the dimension", f"shape {list(probabilities.shape)}")
    _random_numbers(operator, seed, call)


def _dropout_mask(operator: str, x: Tensor, rate: float, seed: int, call: int, rescale: bool = True) -> None:
    check_type(operator, "x", x, FLOATS)
    if not 0 <= rate <= 1:
        fail(operator, "rate", "0 to 1", rate)
    _random_numbers(operator, seed, call)


def _uniform(operator: str, x: Tensor, low: float, high: float, seed: int, call: int) -> None:
    whole = operator == "random_"
    check_type(operator, "x", x, ALL if whole else FLOATS)
    if not (low < high if whole else low <= high) or high - low > 2**31 * (1 if whole else math.inf):
        fail(operator, "high", f"above low, {low}" + (", by 2^31 at most" if whole else ""), high)
    _random_numbers(operator, seed, call)


def _fill(operator: str, x: Tensor, value: Any = 0) -> None:
    check_type(operator, "x", x, ALL)
    check_scalar(operator, "value", x, value)


REDUCTIONS = ("mean", "sum", "none")


def _loss(operator: str, x: Tensor, target: Tensor, reduction: str = "mean") -> None:
    check_type(operator, "x", x, FLOATS)
    check_device(operator, "target", target, x)
    if reduction not in REDUCTIONS:
        fail(operator, "reduction", "one of " + ", ".join(REDUCTIONS), repr(reduction))
    if operator != "mse_loss" and x.dim() < 1:
        fail(operator, "x", "at least 1 dimension", 0)
    classes = operator in ("cross_entropy", "nll_loss")
    if classes and target.dtype == torch.int64:
        return check_shape(operator, "target", target, x.shape[:-1])
    check_like(operator, "target", target, x)
    check_shape(operator, "target", target, x.shape)


def _row_loss_gradient(operator: str, g: Tensor, x: Tensor, target: Tensor, of: str) -> None:
    _loss(of, x, target, "none")
    check_like(operator, "g", g, x)
    check_shape(operator, "g", g, x.shape[:-1])


def _step(operator: str, param: Tensor, grad: Tensor, *rest: Any) -> None:
    names = [part.split()[1] for part in SCHEMAS[operator].partition(" ->")[0].split(", ")]
    check_type(operator, "param", param, FLOATS)
    for argument, value in zip(names[1:], (grad, *rest), strict=False):
        if isinstance(value, Tensor):
            check_like(operator, argument, value, param)
            check_shape(operator, argument, value, param.shape)
    given = dict(zip((name.partition("=")[0] for name in names), (param, grad, *rest), strict=False))
    if given.get("momentum") and given["momentum_buffer"] is None:
        fail(operator, "momentum_buffer", f"a tensor for momentum {given['momentum']}", None, TypeError)
    if given.get("step", 1) < 1:
        fail(operator, "step", "a number from 1 on", given["step"])


def check_own_memory(operator: str, x: Tensor, argument: str = "x") -> None:
    """Whether every element written has a place of its own."""
    if any(size > 1 and stride == 0 for size, stride in zip(x.shape, x.stride(), strict=True)):
        fail(operator, argument, "a place in memory for each element", f"strides {list(x.stride())}")


CHECKS: dict[str, Callable[..., None]] = {
    **dict.fromkeys(ROWS.unary, _unary),
    **{f"{name}_{form}": _elementwise for name in BINARY for form in ("elem", "scalar")},
    **dict.fromkeys(ROWS.relation, _elementwise),
    "equal": _equal,
    **dict.fromkeys(("sum", "mean", "prod", "min", "max", "var", "std", "cumsum", "cumprod"), _reduction),
    "norm": _norm,
    "trace": _trace,
    **dict.fromkeys(("softmax", "log_softmax"), _softmax),
    **dict.fromkeys(("mm", "mmt"), _mm),
    **dict.fromkeys(("addmm", "addmv"), _addmm),
    "linear": _linear,
    "triu": _triu,
    "index_select": _index_select,
    "index_add": _index_add,
    "embedding": _embedding,
    "sample": _sample,
    "dropout_mask": _dropout_mask,
    **dict.fromkeys(("mse_loss", "cross_entropy", "nll_loss", "categorical_cross_entropy"), _loss),
    **dict.fromkeys(("fill_", "zero_"), _fill),
    **dict.fromkeys(("uniform_", "random_"), _uniform),
    **dict.fromkeys(("sgd_", "rmsprop_", "adam_"), _step),
    **{name: _row_loss_gradient for name in GRADIENT_SCHEMAS if name.startswith("row_loss")},
}


def _in_place(check: Callable[..., None]) -> Callable[..., None]:
    def in_place(operator: str, x: Tensor, *arguments: Any) -> None:
        check(operator, x, *arguments)
        check_own_memory(operator, x)
        for other in arguments[:1]:
            elementwise = isinstance(other, Tensor) and check is _elementwise
            if elementwise and broadcast_shape(operator, x, other) != x.shape:
                fail(operator, "other", f"a shape that broadcasts to {list(x.shape)}", list(other.shape))

    return in_place


CHECKS |= {f"{name}_": _in_place(CHECKS[name]) for name in IN_PLACE}
