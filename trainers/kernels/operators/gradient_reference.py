"""The gradients' own operators in plain torch. `REFERENCES` maps the operator's name to its function."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trainers.kernels.operators.schemas import ROWS


def _sign(x: Tensor) -> Tensor:
    return torch.sign(x)


# By name; of x, y, g. Torch's own formulas where the table's may differ at a corner.
_UNARY: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "abs": lambda x, y, g: g * _sign(x),
    "acos": lambda x, y, g: -g * (1 - x * x).rsqrt(),
    "asin": lambda x, y, g: g * (1 - x * x).rsqrt(),
    "atan": lambda x, y, g: g / (1 + x * x),
    "sin": lambda x, y, g: g * torch.cos(x),
    "cos": lambda x, y, g: -g * torch.sin(x),
    "tan": lambda x, y, g: g * (1 + y * y),
    "sinh": lambda x, y, g: g * torch.cosh(x),
    "cosh": lambda x, y, g: g * torch.sinh(x),
    "neg": lambda x, y, g: -g,
    "reciprocal": lambda x, y, g: -g * y * y,
    "sqrt": lambda x, y, g: g / (2 * y),
    "rsqrt": lambda x, y, g: -0.5 * g * y**3,
    "exp": lambda x, y, g: g * y,
    "log": lambda x, y, g: g / x,
    "log1p": lambda x, y, g: g / (1 + x),
    "frac": lambda x, y, g: g.clone(),
    "sigmoid": lambda x, y, g: g * (1 - y) * y,
    "tanh": lambda x, y, g: g * (1 - y * y),
    "relu": lambda x, y, g: torch.where(y <= 0, 0, g),
    "swish": lambda x, y, g: g * torch.sigmoid(x) * (1 + x * (1 - torch.sigmoid(x))),
    "softplus": lambda x, y, g: torch.where(x > 20, g, g * torch.sigmoid(x)),
    **{name: lambda x, y, g: torch.zeros_like(g) for name in ("ceil", "floor", "round", "trunc", "sign")},
}
_BINARY: dict[str, tuple[Callable[[Tensor, Tensor, Tensor], Tensor], ...]] = {
    "add": (lambda x, z, g: g.clone(), lambda x, z, g: g.clone()),
    "sub": (lambda x, z, g: g.clone(), lambda x, z, g: -g),
    "mul": (lambda x, z, g: g * z, lambda x, z, g: g * x),
    "div": (lambda x, z, g: g / z, lambda x, z, g: -g * ((x / z) / z)),
    "pow": (
        lambda x, z, g: torch.where(z == 0, 0, g * (z * x ** (z - 1))),
        lambda x, z, g: torch.where((x == 0) & (z >= 0), 0, g * (x**z * torch.log(x))),
    ),
    "remainder": (lambda x, z, g: g.clone(), lambda x, z, g: -g * torch.floor(x / z)),
    "squared_difference": (lambda x, z, g: 2 * g * (x - z), lambda x, z, g: -2 * g * (x - z)),
}
UNARY_NAMES, BINARY_NAMES = tuple(ROWS.unary), tuple(ROWS.binary)


def unary_gradient(g: Tensor, x: Tensor, y: Tensor, row: int, a: float = 0.0, b: float = 0.0) -> Tensor:
    name = UNARY_NAMES[row]
    if name == "clamp":
        return torch.where((x >= a) & (x <= b), g, 0)
    if name in _UNARY:
        return _UNARY[name](x, y, g)
    raise NotImplementedError(f"openmined::{name}: its gradient has no line in {__name__} yet")


def binary_gradient(g: Tensor, x: Tensor, other: Tensor, row: int, of: int) -> Tensor:
    name = BINARY_NAMES[row]
    if name in _BINARY:
        return _BINARY[name][of](x, other, g)
    raise NotImplementedError(f"openmined::{name}: its gradient has no line in {__name__} yet")


def reduction_gradient(g: Tensor, x: Tensor, y: Tensor, operator: str, dim: int | None, number: float) -> Tensor:
    """`g` and `y` without the dimension `dim`, but for cumsum and cumprod."""
    if x.numel() == 0:
        return torch.zeros_like(x)
    if dim is None or x.dim() == 0:
        return _rows(g.reshape(-1), x.reshape(1, -1), y.reshape(-1), operator, number).reshape(x.shape)
    x_rows = x.movedim(dim, -1)
    if operator in ("cumsum", "cumprod"):
        g, y = g.movedim(dim, -1), y.movedim(dim, -1)
    return _rows(g, x_rows, y, operator, number).movedim(-1, dim)


def _rows(g: Tensor, x: Tensor, y: Tensor, operator: str, number: float) -> Tensor:
    """Over the last dimension of x."""
    size = x.shape[-1]
    if operator == "cumsum":
        return g.reshape(x.shape).flip(-1).cumsum(-1).flip(-1)
    if operator == "cumprod":
        # [..., k, j]: the product of all up to j but k.
        others = (
            x.unsqueeze(-2).expand(*x.shape, size).masked_fill(torch.eye(size, dtype=torch.bool, device=x.device), 1)
        )
        return (others.cumprod(-1).triu() * g.reshape(x.shape).unsqueeze(-2)).sum(-1)
    g, y = g.unsqueeze(-1), y.unsqueeze(-1)
    if operator == "prod":
        ones = torch.ones_like(x[..., :1])
        before = torch.cat([ones, x[..., :-1]], -1).cumprod(-1)
        after = torch.cat([ones, x[..., 1:].flip(-1)], -1).cumprod(-1).flip(-1)
        return g * before * after
    if operator in ("min", "max"):
        chosen = (x == y).to(x.dtype)
        return g * chosen / chosen.sum(-1, keepdim=True)
    if operator in ("var", "std"):
        far = x - x.mean(-1, keepdim=True)
        if operator == "var":
            return g * far * (2.0 / max(size - number, 0.0) if size > number else math.nan)
        divisor = (y * max(size - number, 0.0)).expand_as(far)
        return torch.where(y == 0, 0, g * far / divisor)
    return _norm(g, x, y, number)


def _norm(g: Tensor, x: Tensor, y: Tensor, p: float) -> Tensor:
    if p == 0:
        return torch.zeros_like(x)
    if p == 1:
        return g * torch.sign(x)
    if math.isinf(p):
        chosen = (x.abs() == y).to(x.dtype)
        return g * torch.sign(x) * chosen / chosen.sum(-1, keepdim=True)
    share = x.abs() / y
    factor = share ** (p - 1) if p != 2 else share
    return torch.where((y == 0) | (x == 0), 0, g * torch.sign(x) * factor)


def softmax_gradient(g: Tensor, y: Tensor, dim: int, logarithm: bool) -> Tensor:
    if y.dim() == 0:
        return torch.zeros_like(y)
    if logarithm:
        return g - torch.exp(y) * g.sum(dim, keepdim=True)
    return y * (g - (g * y).sum(dim, keepdim=True))


def linear_gradient(
    g: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, y: Tensor, activation: str, wanted: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    if activation != "none":
        before = torch.nn.functional.linear(x, weight, bias) if activation == "swish" else y
        g = unary_gradient(g, before, y, UNARY_NAMES.index(activation))
    rows, inputs = g.reshape(-1, weight.shape[0]), x.reshape(-1, weight.shape[1])
    none = x.new_empty(0)
    return (
        (rows @ weight).reshape(x.shape) if wanted[0] else none,
        rows.t() @ inputs if wanted[1] else none.clone(),
        rows.sum(0) if wanted[2] else none.clone(),
    )


def row_loss_gradient(g: Tensor, x: Tensor, target: Tensor, operator: str) -> Tensor:
    g = g.unsqueeze(-1)
    if operator == "categorical_cross_entropy":
        return torch.where(target == 0, 0, -g * target / x)
    if target.dim() == x.dim() - 1:
        target = torch.zeros_like(x).scatter_(-1, target.unsqueeze(-1), 1.0)
    if operator == "nll_loss":
        return -g * target
    return g * (torch.softmax(x, -1) * target.sum(-1, keepdim=True) - target)


def row_loss_target_gradient(g: Tensor, x: Tensor, target: Tensor, operator: str) -> Tensor:
    g = g.unsqueeze(-1)
    if operator == "nll_loss":
        return -g * x
    return -g * (torch.log_softmax(x, -1) if operator == "cross_entropy" else torch.log(x))


REFERENCES: dict[str, Callable[..., Any]] = {
    "unary_gradient": unary_gradient,
    "binary_gradient": binary_gradient,
    "reduction_gradient": reduction_gradient,
    "softmax_gradient": softmax_gradient,
    "linear_gradient": linear_gradient,
    "row_loss_gradient": row_loss_gradient,
    "row_loss_target_gradient": row_loss_target_gradient,
}
