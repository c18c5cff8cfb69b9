"""The library's operators as ctypes sees them: the functions of include/openmined_operators.h with their arguments."""

import functools
from ctypes import CDLL, c_char_p, c_double, c_int32, c_int64, c_uint64, c_void_p
from typing import Any

import torch

from trainers.kernels.library import raise_on, require_library
from trainers.kernels.operators.schemas import ROWS

TYPES = {torch.float32: 0, torch.float64: 1, torch.int32: 2, torch.int64: 3}
UNARY, BINARY, RELATION, INTEGER_UNARY, INTEGER_BINARY = range(5)
REDUCTIONS = {
    name: kind
    for kind, name in enumerate(("sum", "mean", "prod", "min", "max", "var", "std", "norm", "cumsum", "cumprod"))
}
LOSSES = {name: kind for kind, name in enumerate(("cross_entropy", "nll_loss", "categorical_cross_entropy"))}
ACTIVATIONS = {name: kind for kind, name in enumerate(("none", "relu", "sigmoid", "tanh", "swish"))}
BAD_NUMBER, BAD_INDEX = 6, 4  # of om_status

_ROW = [c_int32, c_int32, c_int32, c_int32]
_ALONG = [c_int32, c_int32, c_int64, c_int64, c_int64]
_PLACES = [c_int32, *[c_int64] * 4, *[c_void_p] * 3]
_DRAWN = [c_uint64, c_uint64, c_void_p]
_STEP = [c_int32, c_int64, *[c_void_p] * 4]
_ARGUMENTS: dict[str, list[Any]] = {
    "om_elementwise": [*_ROW, c_int64, *[c_void_p] * 4, c_double, c_double, c_int64],
    "om_elementwise_dense": [*_ROW, c_int64, *[c_void_p] * 4, c_double, c_double, c_int64],
    "om_reduce": [*_ALONG, c_double, c_void_p, c_void_p, c_int64],
    "om_reduction_gradient": [*_ALONG, c_double, *[c_void_p] * 4, c_int64],
    "om_softmax": [*_ALONG, c_void_p, c_void_p, c_int64],
    "om_softmax_gradient": [*_ALONG, *[c_void_p] * 3, c_int64],
    "om_row_loss": [c_int32, c_int32, c_int64, c_int64, *[c_void_p] * 4, c_int64],
    "om_row_loss_gradient": [c_int32, c_int32, c_int64, c_int64, c_int32, *[c_void_p] * 5, c_int64],
    "om_product": [*[c_int64] * 3, *[c_void_p, c_int64, c_int64] * 2, c_void_p, c_int32, c_void_p, c_int64],
    "om_index_select": _PLACES,
    "om_index_add": _PLACES,
    "om_triu": [c_int32, *[c_int64] * 4, c_void_p, c_void_p],
    "om_trace": [c_int32, c_int64, c_int64, c_void_p, c_void_p],
    "om_fill": [c_int32, c_int64, c_double, c_int64, c_void_p],
    "om_sample": [c_int32, c_int64, c_int64, c_int64, *_DRAWN, c_void_p],
    "om_dropout_mask": [c_int32, c_int64, c_double, c_double, *_DRAWN],
    "om_uniform": [c_int32, c_int64, c_double, c_double, *_DRAWN],
    "om_whole_numbers": [c_int32, c_int64, c_int64, c_int64, *_DRAWN],
    "om_sgd": [*_STEP[:-1], *[c_double] * 4, c_int32, c_int32, c_int64],
    "om_rmsprop": [*_STEP, *[c_double] * 5, c_int64],
    "om_adam": [*_STEP, c_int64, *[c_double] * 5, c_int64],
}


@functools.cache
def _functions() -> CDLL:
    opened = require_library("operators")
    for name, arguments in _ARGUMENTS.items():
        getattr(opened, name).argtypes = arguments
        getattr(opened, name).restype = c_int32
    opened.om_operator_name.argtypes, opened.om_operator_name.restype = [c_int32, c_int32], c_char_p
    parts = (ROWS.unary, ROWS.binary, ROWS.relation, ROWS.integer_unary, ROWS.integer_binary)
    for table, rows in enumerate(parts):
        ours = [name.encode() for name in rows]
        theirs = [opened.om_operator_name(table, number) for number in range(len(ours) + 1)]
        if theirs != [*ours, None]:
            raise RuntimeError(f"operators: the library has other rows than elementwise_table.h in table {table}")
    return opened


def call(operator: str, function: str, *arguments: Any) -> None:
    """Calls a function of the library; raises what its status says, in the name of the operator."""
    status = getattr(_functions(), function)(*arguments)
    if status:
        raise_on(f"openmined::{operator}", status)


def try_call(function: str, *arguments: Any) -> int:
    """Calls a function of the library and gives its status."""
    status: int = getattr(_functions(), function)(*arguments)
    return status
