"""Keras's layers on our operators."""

from collections.abc import Callable
from typing import Any

import keras
import torch
from torch import Tensor

import trainers.kernels.operators.combined  # noqa: F401  registers torch.ops.openmined

__all__ = ["Activation", "Dense", "Dropout", "Log"]

_operators = torch.ops.openmined
_FLOATS = (torch.float32, torch.float64)

# Those that come with a linear layer in one call.
_WITH_LINEAR = {
    keras.activations.linear: "none",
    keras.activations.relu: "relu",
    keras.activations.sigmoid: "sigmoid",
    keras.activations.tanh: "tanh",
    keras.activations.silu: "swish",
}
_ALONE: dict[Callable[..., Any], Callable[[Tensor], Tensor]] = {
    keras.activations.relu: _operators.relu.default,
    keras.activations.sigmoid: _operators.sigmoid.default,
    keras.activations.tanh: _operators.tanh.default,
    keras.activations.silu: _operators.swish.default,
    keras.activations.softmax: lambda x: _operators.softmax.default(x, -1),
    keras.activations.log_softmax: lambda x: _operators.log_softmax.default(x, -1),
}


def _activate(activation: Callable[..., Any], x: Tensor) -> Any:
    ours: Callable[..., Any] = _ALONE.get(activation, activation)
    return ours(x) if x.dtype in _FLOATS else activation(x)


@keras.saving.register_keras_serializable("openmined")
class Dense(keras.layers.Dense):
    """activation(x kernel + bias) in one call, x [..., inputs], kernel [inputs, units].

    Relu, sigmoid, tanh, silu and linear are part of the call, softmax and log_softmax one of their own; every other
    activation is Keras's, and so is everything on a layer that is quantized or has LoRA.
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        kernel = keras.ops.convert_to_tensor(self.kernel)
        if self.lora_enabled or self.quantization_mode or inputs.dtype not in _FLOATS or kernel.dtype != inputs.dtype:
            return super().call(inputs, training=training)
        bias = None if self.bias is None else keras.ops.convert_to_tensor(self.bias)
        activation = keras.activations.linear if self.activation is None else self.activation
        result = _operators.linear.default(inputs, kernel.t(), bias, _WITH_LINEAR.get(activation, "none"))
        return result if activation in _WITH_LINEAR else _activate(activation, result)


@keras.saving.register_keras_serializable("openmined")
class Activation(keras.layers.Activation):
    """Ours are relu, sigmoid, tanh, silu, softmax and log_softmax; the others are Keras's."""

    def call(self, inputs: Any) -> Any:
        return _activate(self.activation, inputs)


@keras.saving.register_keras_serializable("openmined")
class Dropout(keras.layers.Dropout):
    """While training, zeros with probability `rate` and the rest times 1 / (1 - rate), drawn with Philox.

    The numbers follow from Keras's `seed` (or keras.utils.set_random_seed), but are others than Keras draws.
    """

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training or self.rate == 0 or inputs.device.type == "meta":
            return inputs
        if self.noise_shape is not None or inputs.dtype not in _FLOATS:
            return super().call(inputs, training=training)
        first, second = (int(word) & 0xFFFFFFFF for word in self.seed_generator.next())
        return _operators.mul_elem.default(inputs, _operators.dropout_mask.default(inputs, self.rate, first, second))


@keras.saving.register_keras_serializable("openmined")
class Log(keras.layers.Layer):
    """Natural logarithm."""

    def call(self, inputs: Any) -> Any:
        return _operators.log.default(inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape
