"""Elementwise operators of the library; a part of native.py."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trainers.kernels.operators.binding import BINARY, INTEGER_BINARY, INTEGER_UNARY, RELATION, UNARY
from trainers.kernels.operators.checks import FLOATS
from trainers.kernels.operators.gradients import clamp_bounds
from trainers.kernels.operators.native_basic import beside, binary_gradient, result_like, run_row, unary_gradient
from trainers.kernels.operators.reference import Number
from trainers.kernels.operators.schemas import BINARY as BINARY_NAMES
from trainers.kernels.operators.schemas import ROWS


def _unary(name: str, in_place: bool) -> Callable[..., Any]:
    row, whole = ROWS.unary[name], ROWS.integer_unary.get(name)
    operator = name + "_" * in_place

    def run(x: Tensor, *bounds: float | None) -> Tensor | None:
        a, b = clamp_bounds(*(*bounds, None, None)[:2]) if name == "clamp" else (0.0, 0.0)
        out = x if in_place else result_like(x)
        if x.dtype in FLOATS:
            run_row(operator, UNARY, row, 0, (x,), out, a, b)
        elif whole is not None:
            run_row(operator, INTEGER_UNARY, whole, 0, (x,), out)
        return None if in_place else out

    return run


def as_tensor(value: Tensor | Number, x: Tensor) -> Tensor:
    return value if isinstance(value, Tensor) else torch.full((), value, dtype=x.dtype)


def _binary(operator: str, name: str, in_place: bool) -> Callable[..., Any]:
    row, whole = ROWS.binary[name], ROWS.integer_binary.get(name)

    def run(x: Tensor, other: Tensor | Number) -> Tensor | None:
        z = as_tensor(other, x)
        out = x if in_place else result_like(x, z)
        if in_place:
            z = beside(x, z)
        if x.dtype in FLOATS:
            run_row(operator, BINARY, row, 0, (x, z), out)
        elif whole is not None:
            if name == "remainder" and isinstance(other, Tensor) and bool((other == 0).any()):
                raise ZeroDivisionError(f"openmined::{operator}: other: expected divisors other than 0, got a 0")
            run_row(operator, INTEGER_BINARY, whole, 0, (x, z), out)
        return None if in_place else out

    return run


def _relation(name: str, in_place: bool) -> Callable[..., Any]:
    def run(x: Tensor, other: Tensor) -> Tensor | None:
        out = result_like(x, other, dtype=torch.bool)
        run_row(name, RELATION, ROWS.relation[name], 0, (x, other), out)
        if not in_place:
            return out
        x.copy_(out)
        return None

    return run


def equal(x: Tensor, other: Tensor) -> bool:
    if x.shape != other.shape:
        return False
    out = result_like(x, dtype=torch.bool)
    run_row("equal", RELATION, ROWS.relation["eq"], 0, (x, other), out)
    return bool(out.all())


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    **{name + "_" * place: _unary(name, bool(place)) for name in ROWS.unary for place in (0, 1)},
    **{
        f"{name}_{form}" + "_" * place: _binary(f"{name}_{form}" + "_" * place, name, bool(place))
        for name in BINARY_NAMES
        for form in ("elem", "scalar")
        for place in (0, 1)
    },
    **{name + "_" * place: _relation(name, bool(place)) for name in ROWS.relation for place in (0, 1)},
    "equal": equal,
    "unary_gradient": unary_gradient,
    "binary_gradient": binary_gradient,
}
