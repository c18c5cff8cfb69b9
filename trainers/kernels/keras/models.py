"""Keras's Sequential with our losses and optimizers behind the names that `compile` takes."""

from typing import Any

import keras

from trainers.kernels.keras import losses, optimizers

__all__ = ["Sequential", "load_model", "model_from_json"]

load_model = keras.models.load_model
model_from_json = keras.models.model_from_json

_OPTIMIZERS = {"sgd": optimizers.SGD, "rmsprop": optimizers.RMSprop, "adam": optimizers.Adam}
_LOSSES = {
    "mse": losses.mean_squared_error,
    "mean_squared_error": losses.mean_squared_error,
    "categorical_crossentropy": losses.categorical_crossentropy,
    "sparse_categorical_crossentropy": losses.sparse_categorical_crossentropy,
}


@keras.saving.register_keras_serializable("openmined")
class Sequential(keras.Sequential):
    """`compile(optimizer="adam", loss="mean_squared_error")` means ours; other names and all objects are as given."""

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, **options: Any) -> None:
        if isinstance(optimizer, str) and optimizer.lower() in _OPTIMIZERS:
            optimizer = _OPTIMIZERS[optimizer.lower()]()
        if isinstance(loss, str):
            loss = _LOSSES.get(loss, loss)
        super().compile(optimizer=optimizer, loss=loss, **options)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """What loading a file does in place of `compile`; Keras asks classes with a `compile` of their own for it."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)
