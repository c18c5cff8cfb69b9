"""Indexing, filling, random numbers and steps of optimizers of the library; a part of native.py."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trainers.kernels.library import raise_on
from trainers.kernels.operators.binding import BAD_INDEX, BAD_NUMBER, TYPES, call, try_call
from trainers.kernels.operators.checks import fail, raise_index
from trainers.kernels.operators.native_basic import beside, extents, threads_for


def _pointer(x: Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()


def _index(operator: str, function: str, x: Tensor, dim: int, index: Tensor, other: Tensor) -> None:
    """`other`: the result or the source, dense."""
    outer, size, inner = extents(x, dim)
    index = index.contiguous()
    count = index.numel()
    first, last = (x, other)
    kind = TYPES[x.dtype]
    status = try_call(function, kind, outer, size, inner, count, first.data_ptr(), index.data_ptr(), last.data_ptr())
    if status == BAD_INDEX:
        raise_index(operator, "index", index, size)
    raise_on(f"openmined::{operator}", status)


def index_select(x: Tensor, dim: int, index: Tensor) -> Tensor:
    shape = list(x.shape)
    if shape:
        shape[dim] = index.numel()
    elif index.numel() != 1:
        shape = [index.numel()]  # refused below unless every index is 0
    out = torch.empty(shape, dtype=x.dtype)
    _index("index_select", "om_index_select", x.contiguous(), dim, index, out)
    return out


def index_add(x: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    out = x.clone(memory_format=torch.contiguous_format)
    _index("index_add", "om_index_add", out, dim, index, source.contiguous())
    return out


def index_add_(x: Tensor, dim: int, index: Tensor, source: Tensor) -> None:
    if x.is_contiguous():
        _index("index_add_", "om_index_add", x, dim, index, beside(x, source).contiguous())
    else:
        x.copy_(index_add(x, dim, index, source))


def embedding(weight: Tensor, index: Tensor) -> Tensor:
    out = torch.empty((*index.shape, weight.shape[1]), dtype=weight.dtype)
    _index("embedding", "om_index_select", weight.contiguous(), 0, index, out)
    return out


def _triu(x: Tensor, diagonal: int, out: Tensor) -> None:
    rows, columns = x.shape[-2:]
    batches = x.shape[:-2].numel()
    call("triu", "om_triu", TYPES[x.dtype], batches, rows, columns, diagonal, x.data_ptr(), out.data_ptr())


def triu(x: Tensor, diagonal: int = 0) -> Tensor:
    out = torch.empty(x.shape, dtype=x.dtype)
    _triu(x.contiguous(), diagonal, out)
    return out


def triu_(x: Tensor, diagonal: int = 0) -> None:
    if x.is_contiguous():
        _triu(x, diagonal, x)
    else:
        x.copy_(triu(x, diagonal))


def trace(x: Tensor) -> Tensor:
    out = torch.empty((), dtype=x.dtype if x.dtype.is_floating_point else torch.int64)
    call("trace", "om_trace", TYPES[x.dtype], min(x.shape), sum(x.stride()), x.data_ptr(), out.data_ptr())
    return out


def fill_(x: Tensor, value: Any) -> Any:
    if not x.is_contiguous():
        return NotImplemented
    whole = int(value) if not x.dtype.is_floating_point else 0
    call("fill_", "om_fill", TYPES[x.dtype], x.numel(), float(value), whole, x.data_ptr())
    return None


def zero_(x: Tensor) -> Any:
    return fill_(x, 0)


# ---- random numbers ----


def sample(probabilities: Tensor, dim: int, seed: int, call_number: int) -> Tensor:
    shape = list(probabilities.shape)
    if shape:
        del shape[dim]
    out = torch.empty(shape, dtype=torch.int64)
    given = probabilities.contiguous()
    status = try_call(
        "om_sample", TYPES[given.dtype], *extents(given, dim), seed, call_number, given.data_ptr(), out.data_ptr()
    )
    if status == BAD_NUMBER:
        fail("sample", "probabilities", "numbers from 0 on with a positive, finite sum", "others")
    raise_on("openmined::sample", status)
    return out


def dropout_mask(x: Tensor, rate: float, seed: int, call_number: int, rescale: bool = True) -> Tensor:
    out = torch.empty(x.shape, dtype=x.dtype)
    kept = 1.0 / (1.0 - rate) if rescale and rate < 1 else 1.0
    kind = TYPES[x.dtype]
    call("dropout_mask", "om_dropout_mask", kind, x.numel(), rate, kept, seed, call_number, out.data_ptr())
    return out


def uniform_(x: Tensor, low: float, high: float, seed: int, call_number: int) -> Any:
    if not x.is_contiguous():
        return NotImplemented
    call("uniform_", "om_uniform", TYPES[x.dtype], x.numel(), low, high, seed, call_number, x.data_ptr())
    return None


def random_(x: Tensor, low: int, high: int, seed: int, call_number: int) -> Any:
    if not x.is_contiguous():
        return NotImplemented
    call("random_", "om_whole_numbers", TYPES[x.dtype], x.numel(), low, high, seed, call_number, x.data_ptr())
    return None


# ---- optimizers ----


def _dense(*tensors: Tensor | None) -> bool:
    return all(one is None or one.is_contiguous() for one in tensors)


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
) -> Any:
    if not _dense(param, momentum_buffer):
        return NotImplemented
    grad = grad.contiguous()
    tensors = param.data_ptr(), grad.data_ptr(), _pointer(momentum_buffer)
    numbers = lr, momentum, dampening, weight_decay
    kind, count = TYPES[param.dtype], param.numel()
    call("sgd_", "om_sgd", kind, count, *tensors, *numbers, nesterov, first, threads_for(param))
    return None


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
) -> Any:
    if not _dense(param, square_avg, momentum_buffer):
        return NotImplemented
    grad = grad.contiguous()
    tensors = param.data_ptr(), grad.data_ptr(), square_avg.data_ptr(), _pointer(momentum_buffer)
    numbers = lr, alpha, eps, weight_decay, momentum
    call("rmsprop_", "om_rmsprop", TYPES[param.dtype], param.numel(), *tensors, *numbers, threads_for(param))
    return None


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
) -> Any:
    if not _dense(param, exp_avg, exp_avg_sq):
        return NotImplemented
    grad = grad.contiguous()
    tensors = param.data_ptr(), grad.data_ptr(), exp_avg.data_ptr(), exp_avg_sq.data_ptr()
    numbers = lr, beta1, beta2, eps, weight_decay
    call("adam_", "om_adam", TYPES[param.dtype], param.numel(), *tensors, step, *numbers, threads_for(param))
    return None


PLACES: dict[str, Callable[..., Any]] = {
    "index_select": index_select,
    "index_add": index_add,
    "index_add_": index_add_,
    "embedding": embedding,
    "triu": triu,
    "triu_": triu_,
    "trace": trace,
    "fill_": fill_,
    "zero_": zero_,
    "sample": sample,
    "dropout_mask": dropout_mask,
    "uniform_": uniform_,
    "random_": random_,
    "sgd_": sgd_,
    "rmsprop_": rmsprop_,
    "adam_": adam_,
}
