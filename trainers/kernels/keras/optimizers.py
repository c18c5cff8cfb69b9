"""Keras's SGD, RMSprop and Adam on our operators: its arithmetic, which differs from torch's in where numbers enter."""

import math
from typing import Any

import keras
import torch
from torch import Tensor

import trainers.kernels.operators.combined  # noqa: F401  registers torch.ops.openmined

__all__ = ["SGD", "Adam", "RMSprop"]

_operators = torch.ops.openmined


@keras.saving.register_keras_serializable("openmined")
class SGD(keras.optimizers.SGD):
    """velocity = momentum velocity - learning_rate gradient; the weight moves by it."""

    @torch.no_grad()
    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Any) -> None:
        rate = float(learning_rate)
        if not self.momentum:
            _operators.sgd_.default(variable.value, gradient, None, rate)
            return
        velocity = self.momentums[self._get_variable_index(variable)].value
        change = _operators.mul_scalar.default(gradient, -rate)
        _operators.sgd_.default(variable.value, change, velocity, -1.0, self.momentum, 0.0, 0.0, self.nesterov)


@keras.saving.register_keras_serializable("openmined")
class RMSprop(keras.optimizers.RMSprop):
    """Divides by sqrt(average of squares + epsilon), where torch adds epsilon to the root."""

    @torch.no_grad()
    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Any) -> None:
        place = self._get_variable_index(variable)
        squares = self._velocities[place].value
        self._average(squares, _operators.mul_elem.default(gradient, gradient))
        divisor = _operators.add_scalar.default(squares, float(self.epsilon))
        if self.centered:
            average = self._average_gradients[place].value
            self._average(average, gradient)
            _operators.sub_elem_.default(divisor, _operators.mul_elem.default(average, average))
        _operators.rsqrt_.default(divisor)
        change = _operators.mul_scalar.default(gradient, float(learning_rate))
        _operators.mul_elem_.default(change, divisor)
        if self.momentum > 0:
            velocity = self._momentums[place].value
            _operators.mul_scalar_.default(velocity, float(self.momentum))
            _operators.add_elem_.default(velocity, change)
            change = velocity
        _operators.sub_elem_.default(variable.value, change)

    def _average(self, average: Tensor, value: Tensor) -> None:
        _operators.mul_scalar_.default(average, float(self.rho))
        _operators.add_elem_.default(average, _operators.mul_scalar.default(value, 1 - float(self.rho)))


@keras.saving.register_keras_serializable("openmined")
class Adam(keras.optimizers.Adam):
    """Kingma and Ba 2015, section 2's second form, whose epsilon is torch's times sqrt(1 - beta_2^step)."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self.amsgrad:
            raise ValueError("Adam: amsgrad: expected False, got True; keras.optimizers.Adam has that")

    @torch.no_grad()
    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Any) -> None:
        place, step = self._get_variable_index(variable), int(self.iterations) + 1
        _operators.adam_.default(
            variable.value,
            gradient,
            self._momentums[place].value,
            self._velocities[place].value,
            step,
            float(learning_rate),
            float(self.beta_1),
            float(self.beta_2),
            float(self.epsilon) / math.sqrt(1 - float(self.beta_2) ** step),
        )
