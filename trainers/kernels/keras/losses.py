"""Keras's losses on our operators: the functions give one number for each row, the classes reduce them."""

from typing import Any

import keras
import torch
from torch import Tensor

import trainers.kernels.operators.combined  # noqa: F401  registers torch.ops.openmined

__all__ = [
    "CategoricalCrossentropy",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "categorical_crossentropy",
    "mean_squared_error",
    "sparse_categorical_crossentropy",
]

_operators = torch.ops.openmined


@keras.saving.register_keras_serializable("openmined")
def mean_squared_error(y_true: Any, y_pred: Any) -> Tensor:
    """Mean of the squared differences over the last dimension: [batch, ..., n] to [batch, ...]."""
    predicted = keras.ops.convert_to_tensor(y_pred)
    target = keras.ops.convert_to_tensor(y_true, dtype=predicted.dtype)
    result: Tensor = _operators.mean.default(_operators.mse_loss.default(predicted, target, "none"), -1, False)
    return result


@keras.saving.register_keras_serializable("openmined")
def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Tensor:
    """-sum(y_true log(y_pred)) over the classes, y_true one-hot or probabilities of y_pred's shape.

    Probabilities are divided by their sum and kept keras.config.epsilon() away from 0 and 1, as Keras does.
    """
    predicted = keras.ops.convert_to_tensor(y_pred).movedim(axis, -1)
    target = keras.ops.convert_to_tensor(y_true, dtype=predicted.dtype).movedim(axis, -1)
    if predicted.shape != target.shape:
        raise ValueError(
            f"categorical_crossentropy: y_true: expected shape {list(predicted.shape)} like y_pred, got "
            f"{list(target.shape)}; sparse_categorical_crossentropy takes classes"
        )
    if label_smoothing:
        kept = _operators.mul_scalar.default(target, 1.0 - label_smoothing)
        target = _operators.add_scalar.default(kept, label_smoothing / target.shape[-1])
    if from_logits:
        result: Tensor = _operators.cross_entropy.default(predicted, target, "none")
    else:
        result = _operators.categorical_cross_entropy.default(_probabilities(predicted), target, "none")
    return result


@keras.saving.register_keras_serializable("openmined")
def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Tensor:
    """The same for classes y_true [...] or [..., 1], y_pred [..., classes]."""
    if ignore_class is not None:
        raise ValueError(
            f"sparse_categorical_crossentropy: ignore_class: expected None, got {ignore_class}; keras.losses has that"
        )
    given = keras.ops.convert_to_tensor(y_pred)
    target = keras.ops.convert_to_tensor(y_true).to(torch.int64)
    if target.dim() == given.dim() and target.shape[axis] == 1:
        target = target.squeeze(axis)
    predicted = given.movedim(axis, -1)
    if from_logits:
        result: Tensor = _operators.cross_entropy.default(predicted, target, "none")
    else:
        result = _operators.nll_loss.default(_operators.log.default(_probabilities(predicted)), target, "none")
    return result


def _probabilities(x: Tensor) -> Any:
    tiny = keras.config.epsilon()
    shares = _operators.div_elem.default(x, _operators.sum.default(x, -1, True))
    return _operators.clamp.default(shares, tiny, 1.0 - tiny)


@keras.saving.register_keras_serializable("openmined")
class MeanSquaredError(keras.losses.MeanSquaredError):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fn = mean_squared_error


@keras.saving.register_keras_serializable("openmined")
class CategoricalCrossentropy(keras.losses.CategoricalCrossentropy):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fn = categorical_crossentropy


@keras.saving.register_keras_serializable("openmined")
class SparseCategoricalCrossentropy(keras.losses.SparseCategoricalCrossentropy):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fn = sparse_categorical_crossentropy
