"""Keras 3 on its torch backend, with layers, losses and optimizers that run on our operators.

    from trainers.kernels import keras as K
    model = K.Sequential([K.Dense(24, activation="relu"), K.Dropout(0.1), K.Dense(3)])
    model.compile(optimizer="adam", loss="mean_squared_error")
    model.fit(x, y)

Each class is a subclass of Keras's own of that name: same arguments, weights, JSON and .keras files. Needs the extra
`keras`. Imported before Keras itself, and with KERAS_BACKEND unset, this chooses the torch backend.
"""

import importlib
import os
import sys
from typing import Any

if "keras" not in sys.modules:
    os.environ.setdefault("KERAS_BACKEND", "torch")

_MODULES = {
    "layers": ("Activation", "Dense", "Dropout", "Log"),
    "losses": (
        "CategoricalCrossentropy",
        "MeanSquaredError",
        "SparseCategoricalCrossentropy",
        "categorical_crossentropy",
        "mean_squared_error",
        "sparse_categorical_crossentropy",
    ),
    "models": ("Sequential", "load_model", "model_from_json"),
    "optimizers": ("SGD", "Adam", "RMSprop"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "SGD",
    "Activation",
    "Adam",
    "CategoricalCrossentropy",
    "Dense",
    "Dropout",
    "Log",
    "MeanSquaredError",
    "RMSprop",
    "Sequential",
    "SparseCategoricalCrossentropy",
    "categorical_crossentropy",
    "layers",
    "load_model",
    "losses",
    "mean_squared_error",
    "model_from_json",
    "models",
    "optimizers",
    "sparse_categorical_crossentropy",
]


def require_keras() -> None:
    """Imports Keras on its torch backend; raises ImportError that names what to do if that cannot be had."""
    try:
        import keras
    except ImportError as error:
        if "keras" not in str(error):  # a backend's own trouble, in its own words
            raise
        raise ImportError('trainers.kernels.keras needs Keras: pip install "mlagents-bridge[keras]"') from error
    if (backend := keras.backend.backend()) != "torch":
        raise ImportError(
            f"trainers.kernels.keras needs Keras on its torch backend, got {backend}: set the environment variable "
            "KERAS_BACKEND=torch before Keras is imported"
        )


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        require_keras()
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(__getattr__(_MODULE_OF[name]), name)
