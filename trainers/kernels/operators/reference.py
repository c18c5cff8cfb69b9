"""Every operator in plain torch: what the kernels are tested against, and what runs where there is no library.

`REFERENCES` maps the operator's name to its function. Arguments are those of the schema, already checked.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.kernels import philox
from trainers.kernels.operators.schemas import BINARY, IN_PLACE, ROWS

MASKS, UNIFORMS, WHOLE_NUMBERS = 3, 4, 5  # streams of random numbers, beside those of philox.py

Number = int | float


def swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def clamp(x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    return x.clone() if min is None and max is None else torch.clamp(x, min, max)


# The names that torch does not have, or has for something else.
_UNARY: dict[str, Callable[..., Tensor]] = {"swish": swish, "clamp": clamp, "softplus": F.softplus}
_BINARY: dict[str, Callable[..., Tensor]] = {}


def minimum(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    return torch.amin(x, () if dim is None else dim, keepdim)


def maximum(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    return torch.amax(x, () if dim is None else dim, keepdim)


def total(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    return torch.sum(x, None if dim is None else (dim,), keepdim)


def mean(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    return torch.mean(x, None if dim is None else (dim,), keepdim)


def prod(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    if dim is not None:
        return torch.prod(x, dim, keepdim)
    result = torch.prod(x)
    return result.reshape([1] * x.dim()) if keepdim else result


def var(x: Tensor, dim: int | None = None, keepdim: bool = False, correction: int = 1) -> Tensor:
    return torch.var(x, dim=dim, correction=correction, keepdim=keepdim)


def std(x: Tensor, dim: int | None = None, keepdim: bool = False, correction: int = 1) -> Tensor:
    return torch.std(x, dim=dim, correction=correction, keepdim=keepdim)


def norm(x: Tensor, p: float = 2.0, dim: int | None = None, keepdim: bool = False) -> Tensor:
    result: Tensor = torch.linalg.vector_norm(x, p, dim, keepdim)
    return result


def mmt(x: Tensor, other: Tensor) -> Tensor:
    return torch.mm(x, other.t())


def addmm(x: Tensor, left: Tensor, right: Tensor, beta: float = 1.0, alpha: float = 1.0) -> Tensor:
    return torch.addmm(x, left, right, beta=beta, alpha=alpha)


def addmv(x: Tensor, matrix: Tensor, vector: Tensor, beta: float = 1.0, alpha: float = 1.0) -> Tensor:
    return torch.addmv(x, matrix, vector, beta=beta, alpha=alpha)


def activate(x: Tensor, activation: str) -> Tensor:
    return x if activation == "none" else swish(x) if activation == "swish" else getattr(torch, activation)(x)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str = "none") -> Tensor:
    return activate(F.linear(x, weight, bias), activation)


def index_add(x: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    return torch.index_add(x, dim, index, source)


def embedding(weight: Tensor, index: Tensor) -> Tensor:
    return weight.index_select(0, index.reshape(-1)).reshape(*index.shape, weight.shape[1])


# ---- random numbers ----


def sample(probabilities: Tensor, dim: int, seed: int, call: int) -> Tensor:
    """The first whose cumulative probability exceeds a uniform number; sums in float64, so that all machines agree."""
    rows = torch.movedim(probabilities, dim, -1) if probabilities.dim() else probabilities.reshape(1)
    drawn = uniforms(seed, call, philox.CHOICES, rows[..., 0].numel()).to(rows.device)
    flat = rows.double().reshape(-1, rows.shape[-1])
    sums = flat.cumsum(1)
    reached = (drawn.double() * sums[:, -1]).unsqueeze(1) < sums
    found = (reached & (flat > 0)).to(torch.uint8)
    possible = (flat > 0).to(torch.uint8)
    last = flat.shape[1] - 1 - possible.flip(1).argmax(1)
    chosen = torch.where(found.any(1), found.argmax(1), last)
    return chosen.reshape(rows.shape[:-1]) if probabilities.dim() else chosen.reshape(())


def uniforms(seed: int, call: int, stream: int, count: int) -> Tensor:
    """float32 [count] in (0, 1)."""
    return torch.from_numpy(philox.uniforms(seed, call, stream, count))


def dropout_mask(x: Tensor, rate: float, seed: int, call: int, rescale: bool = True) -> Tensor:
    kept = 1.0 / (1.0 - rate) if rescale and rate < 1 else 1.0
    drawn = uniforms(seed, call, MASKS, x.numel()).to(x.device).reshape(x.shape)
    return (drawn.double() >= rate).to(x.dtype) * kept


def uniform(x: Tensor, low: float, high: float, seed: int, call: int) -> Tensor:
    drawn = uniforms(seed, call, UNIFORMS, x.numel()).to(x.device).reshape(x.shape)
    return (low + drawn.double() * (high - low)).to(x.dtype)


def random(x: Tensor, low: int, high: int, seed: int, call: int) -> Tensor:
    words = torch.from_numpy(philox.words(seed, call, WHOLE_NUMBERS, x.numel()).astype("int64")).to(x.device)
    return (low + ((words * (high - low)) >> 32)).reshape(x.shape).to(x.dtype)


# ---- losses ----


def row_loss(operator: str, x: Tensor, target: Tensor) -> Tensor:
    """[...] of x [..., classes] for `cross_entropy`, `nll_loss`, `categorical_cross_entropy`."""
    if operator == "categorical_cross_entropy":
        products: Tensor = torch.special.xlogy(target, x)
        return -products.sum(-1)
    log_probabilities = torch.log_softmax(x, -1) if operator == "cross_entropy" else x
    if target.dtype == torch.int64 and target.dim() == x.dim() - 1:
        return -log_probabilities.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    return -(log_probabilities * target).sum(-1)


def reduced(losses: Tensor, reduction: str) -> Tensor:
    return losses if reduction == "none" else losses.sum() if reduction == "sum" else losses.mean()


def mse_loss(x: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    return reduced((x - target) ** 2, reduction)


def _loss(operator: str) -> Callable[..., Tensor]:
    def loss(x: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
        return reduced(row_loss(operator, x, target), reduction)

    return loss


# ---- optimizers, as torch.optim ----


def sgd_(
    param: Tensor,
    grad: Tensor,
    momentum_buffer: Tensor | None,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    first: bool = False,
) -> None:
    if weight_decay:
        grad = grad.add(param, alpha=weight_decay)
    if momentum and momentum_buffer is not None:
        if first:
            momentum_buffer.copy_(grad)
        else:
            momentum_buffer.mul_(momentum).add_(grad, alpha=1 - dampening)
        grad = grad.add(momentum_buffer, alpha=momentum) if nesterov else momentum_buffer
    param.add_(grad, alpha=-lr)


def rmsprop_(
    param: Tensor,
    grad: Tensor,
    square_avg: Tensor,
    momentum_buffer: Tensor | None,
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
) -> None:
    if weight_decay:
        grad = grad.add(param, alpha=weight_decay)
    square_avg.mul_(alpha).addcmul_(grad, grad, value=1 - alpha)
    change = grad / square_avg.sqrt().add_(eps)
    if momentum and momentum_buffer is not None:
        change = momentum_buffer.mul_(momentum).add_(change)
    param.add_(change, alpha=-lr)


def adam_(
    param: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    step: int,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> None:
    if weight_decay:
        grad = grad.add(param, alpha=weight_decay)
    exp_avg.lerp_(grad, 1 - beta1)
    exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    divisor = (exp_avg_sq.sqrt() / math.sqrt(1 - beta2**step)).add_(eps)
    param.addcdiv_(exp_avg, divisor, value=-lr / (1 - beta1**step))


def fill_(x: Tensor, value: Number) -> None:
    x.fill_(value)


def zero_(x: Tensor) -> None:
    x.zero_()


def _in_place(function: Callable[..., Tensor]) -> Callable[..., None]:
    def in_place(x: Tensor, *arguments: Any) -> None:
        x.copy_(function(x, *arguments))

    return in_place


REFERENCES: dict[str, Callable[..., Any]] = {
    **{name: _UNARY.get(name) or getattr(torch, name) for name in ROWS.unary},
    **{f"{name}_elem": _BINARY.get(name) or getattr(torch, name) for name in BINARY},
    **{f"{name}_scalar": _BINARY.get(name) or getattr(torch, name) for name in BINARY},
    **{name: getattr(torch, name) for name in ROWS.relation},
    "equal": torch.equal,
    "sum": total,
    "mean": mean,
    "prod": prod,
    "min": minimum,
    "max": maximum,
    "var": var,
    "std": std,
    "norm": norm,
    **{name: getattr(torch, name) for name in ("trace", "cumsum", "cumprod", "softmax", "log_softmax", "mm", "triu")},
    "mmt": mmt,
    "addmm": addmm,
    "addmv": addmv,
    "linear": linear,
    "index_select": torch.index_select,
    "index_add": index_add,
    "embedding": embedding,
    "sample": sample,
    "dropout_mask": dropout_mask,
    "mse_loss": mse_loss,
    **{name: _loss(name) for name in ("cross_entropy", "nll_loss", "categorical_cross_entropy")},
    "fill_": fill_,
    "zero_": zero_,
    "uniform_": _in_place(uniform),
    "random_": _in_place(random),
    "sgd_": sgd_,
    "rmsprop_": rmsprop_,
    "adam_": adam_,
}
REFERENCES |= {f"{name}_": _in_place(REFERENCES[name]) for name in IN_PLACE}
