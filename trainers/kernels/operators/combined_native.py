"""The library's functions for several tensors, include/openmined_combined.h; a part of combined.py.

NotImplemented as a result asks for the way by single operators: for a type, layout or size that these do not take, or
for something that is wrong, which the checks there put into words.
"""

import functools
from collections.abc import Sequence
from ctypes import CDLL, c_double, c_int32, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor

from trainers.kernels.library import library, raise_on
from trainers.kernels.operators.binding import ACTIVATIONS, TYPES
from trainers.kernels.operators.native_basic import threads_for

# Multiplications of a forward pass above which torch's BLAS, layer by layer, is quicker than the library's own tiles.
# Measured by trainers/kernels/accelerate_measure.py.
MOST_WORK = 4_000_000

_FIELDS = 7  # of a layer
_PLAIN = (Tensor, torch.nn.Parameter)
_STEP = [c_int32, c_int64, c_void_p]
_ARGUMENTS: dict[str, list[Any]] = {
    "om_mlp": [c_int64, c_int64, c_void_p, c_int64, c_void_p],
    "om_mlp_gradient": [c_int64, c_int64, c_void_p, c_int64, c_void_p, c_void_p, c_void_p],
    "om_sgd_all": [*_STEP, *[c_double] * 4, c_int32, c_int32, c_int64],
    "om_rmsprop_all": [*_STEP, *[c_double] * 5, c_int64],
    "om_adam_all": [*_STEP, c_int64, *[c_double] * 5, c_int64],
}


@functools.cache
def _functions() -> CDLL | None:
    opened = library()
    if opened is not None:
        for name, arguments in _ARGUMENTS.items():
            getattr(opened, name).argtypes = arguments
            getattr(opened, name).restype = c_int32
    return opened


def plain(x: Tensor) -> bool:
    """Whether the kernels can read a tensor as it is: float32, dense, on the CPU and nothing but a tensor."""
    return x.dtype is torch.float32 and x.is_cpu and x.is_contiguous() and type(x) in _PLAIN


def _layers(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], activations: Sequence[str]
) -> list[int] | None:
    """What describes the layers to the library, but for the outputs and gradients; None if it does not take them."""
    if not weights or len(weights) != len(biases) or len(weights) != len(activations) or x.dim() < 1:
        return None
    inputs = width = x.size(-1)
    work = 0
    fields: list[int] = []
    for weight, bias, activation in zip(weights, biases, activations, strict=True):
        shape = weight.shape
        if len(shape) != 2 or shape[1] != width or not plain(weight) or activation not in ACTIVATIONS:
            return None
        work += shape[0] * width
        width = shape[0]
        if bias is None:
            pointer = 0
        elif bias.shape == (width,) and plain(bias):
            pointer = bias.data_ptr()
        else:
            return None
        fields += (width, ACTIVATIONS[activation], weight.data_ptr(), pointer, 0, 0, 0)
    return fields if inputs and x.numel() // inputs * work <= MOST_WORK else None


def _array(values: Sequence[int]) -> Any:
    return (c_int64 * len(values))(*values)


def forward(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], activations: Sequence[str]
) -> tuple[list[Tensor], list[int]] | None:
    """What each layer gives, and what `backward` wants to know; None if the library does not take it."""
    functions = _functions()
    if functions is None or not plain(x) or (fields := _layers(x, weights, biases, activations)) is None:
        return None
    inputs, shape, outputs = x.size(-1), x.shape[:-1], []
    for at in range(0, len(fields), _FIELDS):
        output = torch.empty((*shape, fields[at]))
        fields[at + 4] = output.data_ptr()
        outputs.append(output)
    status = functions.om_mlp(x.numel() // inputs, inputs, x.data_ptr(), len(weights), _array(fields))
    if status:
        raise_on("openmined::mlp", status)
    return outputs, fields


def backward(
    g: Tensor,
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    fields: list[int],
    wanted: Sequence[bool],
) -> list[Tensor | None] | None:
    """Gradients of x, weights and biases, None where not wanted; None if a weight has moved since `forward`."""
    functions, count, inputs = _functions(), len(weights), x.size(-1)
    if functions is None or any(
        weight.data_ptr() != fields[at] for at, weight in zip(range(2, len(fields), _FIELDS), weights, strict=True)
    ):
        return None
    g = g.contiguous()
    results: list[Tensor | None] = [torch.empty_like(x) if wanted[0] else None]
    for index, (one, want) in enumerate(zip((*weights, *biases), wanted[1:], strict=True)):
        result = torch.empty_like(one) if want and one is not None else None
        fields[index % count * _FIELDS + 5 + index // count] = 0 if result is None else result.data_ptr()
        results.append(result)
    of_x = results[0]
    status = functions.om_mlp_gradient(
        x.numel() // inputs,
        inputs,
        x.data_ptr(),
        count,
        _array(fields),
        g.data_ptr(),
        0 if of_x is None else of_x.data_ptr(),
    )
    if status:
        raise_on("openmined::mlp_gradient", status)
    return results


def mlp_layers(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], activations: Sequence[str]
) -> Any:
    """The operator's kernel."""
    found = forward(x, weights, biases, activations)
    return NotImplemented if found is None else found[0]


def mlp_gradient(
    g: Tensor,
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    outputs: Sequence[Tensor],
    activations: Sequence[str],
    wanted: Sequence[bool],
) -> Any:
    """The operator's kernel."""
    fits = plain(x) and g.dtype is x.dtype and g.is_cpu and g.shape == outputs[-1].shape and all(map(plain, outputs))
    if not fits or (fields := _layers(x, weights, biases, activations)) is None:
        return NotImplemented
    for at, output in zip(range(4, len(fields), _FIELDS), outputs, strict=True):
        fields[at] = output.data_ptr()
    found = backward(g, x, weights, biases, fields, wanted)
    return NotImplemented if found is None else [x.new_empty(0) if one is None else one for one in found]


def step(name: str, lists: Sequence[Sequence[Tensor]], settings: Sequence[Any]) -> Any:
    """One step for all: `lists` are params, grads and what the optimizer keeps (1 or 2 lists, empty for None).

    `settings` are all that the library's function takes behind the tensors, but for the threads.
    """
    functions, params = _functions(), lists[0]
    if functions is None or not params or params[0].dtype not in TYPES:
        return NotImplemented
    kind, most, fields = params[0].dtype, params[0], []
    kept = [one for one in lists[2:] if one]
    for index, param in enumerate(params):
        shape = param.shape
        fields += [param.numel(), param.data_ptr()]
        for given in (lists[1], *kept):
            one = given[index]
            if one.dtype is not kind or not one.is_cpu or one.shape != shape or not one.is_contiguous():
                return NotImplemented
            fields.append(one.data_ptr())
        if param.dtype is not kind or not param.is_cpu or not param.is_contiguous():
            return NotImplemented
        fields += [0] * (2 - len(kept))
        if param.numel() > most.numel():
            most = param
    function = getattr(functions, f"om_{name}")
    status = function(TYPES[kind], len(params), _array(fields), *settings, threads_for(most))
    if status:
        raise_on(f"openmined::{name}_", status)
    return None
