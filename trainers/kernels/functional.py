"""torch.nn.functional on our operators: functions with its names and its results.

Arguments that change what is computed and that the operators do not have are refused by name, never ignored.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from trainers.kernels.operators import combined  # registers torch.ops.openmined

__all__ = [
    "cat",
    "cross_entropy",
    "dropout",
    "embedding",
    "linear",
    "log",
    "log_softmax",
    "mlp",
    "mse_loss",
    "nll_loss",
    "relu",
    "sigmoid",
    "silu",
    "softmax",
    "swish",
    "tanh",
]

cat = torch.cat  # data movement is torch's own
_operators = torch.ops.openmined
_IGNORED_CLASS = -100  # what torch's `ignore_index` is by default


def refuse(operator: str, **arguments: tuple[Any, Any]) -> None:
    """Raises ValueError for the first argument, given as (value, the only value that is supported), that differs."""
    for name, (value, only) in arguments.items():
        if value is not only and (isinstance(value, Tensor) or value != only):
            raise ValueError(
                f"{operator}: {name}: expected {only!r}, got {value!r}; use torch's own {operator} for that"
            )


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., inputs], weight [outputs, inputs], bias [outputs] to [..., outputs]."""
    result: Tensor = _operators.linear.default(input, weight, bias)
    return result


def mlp(
    input: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], activations: Sequence[str]
) -> Tensor:
    """Linear layers one after the other in one call, each with an activation: none, relu, sigmoid, tanh or swish."""
    return combined.mlp(input, weights, biases, activations)


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    refuse("relu", inplace=(inplace, False))
    result: Tensor = _operators.relu.default(input)
    return result


def sigmoid(input: Tensor) -> Tensor:
    result: Tensor = _operators.sigmoid.default(input)
    return result


def tanh(input: Tensor) -> Tensor:
    result: Tensor = _operators.tanh.default(input)
    return result


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x sigmoid(x), which is also called swish."""
    refuse("silu", inplace=(inplace, False))
    result: Tensor = _operators.swish.default(input)
    return result


swish = silu


def log(input: Tensor) -> Tensor:
    result: Tensor = _operators.log.default(input)
    return result


def softmax(input: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    """Probabilities over `dim`; `dtype` is what x is converted to first."""
    result: Tensor = _operators.softmax.default(input if dtype is None else input.to(dtype), dim)
    return result


def log_softmax(input: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    """Logarithms of the probabilities over `dim`; `dtype` is what x is converted to first."""
    result: Tensor = _operators.log_softmax.default(input if dtype is None else input.to(dtype), dim)
    return result


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeros with probability p and the rest times 1 / (1 - p), as torch does, but drawn with Philox.

    The seed of each call comes from torch's own generator, so torch.manual_seed makes it repeatable.
    """
    refuse("dropout", inplace=(inplace, False))
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p: expected a probability from 0 to 1, got {p}")
    if not training or p == 0:
        return input
    result: Tensor = _operators.dropout.default(input, p)[0]
    return result


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of weight [rows, size] named by the int64 tensor input [...]: [..., size]."""
    refuse(
        "embedding",
        padding_idx=(padding_idx, None),
        max_norm=(max_norm, None),
        scale_grad_by_freq=(scale_grad_by_freq, False),
        sparse=(sparse, False),
    )
    result: Tensor = _operators.embedding.default(weight, input)
    return result


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean", *, weight: Tensor | None = None) -> Tensor:
    """Squared differences; reduction "mean" and "sum" are over all numbers."""
    refuse("mse_loss", weight=(weight, None))
    result: Tensor = _operators.mse_loss.default(input, target, reduction)
    return result


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = _IGNORED_CLASS,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Of logits [classes], [batch, classes] or [batch, classes, ...]; "mean" is over the rows.

    target: classes, int64 of that shape without its classes, or probabilities of the same shape.
    """
    refuse(
        "cross_entropy",
        weight=(weight, None),
        ignore_index=(ignore_index, _IGNORED_CLASS),
        label_smoothing=(label_smoothing, 0.0),
    )
    as_input = target.dim() == input.dim() and target.dtype != torch.int64
    result: Tensor = _operators.cross_entropy.default(
        _classes_last(input), _classes_last(target) if as_input else target, reduction
    )
    return result


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = _IGNORED_CLASS,
    reduction: str = "mean",
) -> Tensor:
    """The same for logarithms of probabilities; target: classes."""
    refuse("nll_loss", weight=(weight, None), ignore_index=(ignore_index, _IGNORED_CLASS))
    result: Tensor = _operators.nll_loss.default(_classes_last(input), target, reduction)
    return result


def _classes_last(x: Tensor) -> Tensor:
    """torch has the classes second, the operators last."""
    return x if x.dim() <= 2 else x.movedim(1, -1)
