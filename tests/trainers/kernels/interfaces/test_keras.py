"""trainers.kernels.keras: Keras's own classes on our operators. Oracle: Keras. Skipped where Keras is not installed."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
if keras.backend.backend() != "torch":
    pytest.skip("Keras is on another backend", allow_module_level=True)

from trainers.kernels import keras as ours  # noqa: E402

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
Y = np.array([0, 1, 1, 0])
OPERATORS = ("openmined::linear", "openmined::softmax", "openmined::nll_loss", "openmined::adam_")


def xor_model() -> Any:
    keras.utils.set_random_seed(1)
    model = ours.Sequential(
        [
            keras.Input((2,)),
            ours.Dense(16, activation="tanh"),
            ours.Dropout(0.05),
            ours.Dense(2),
            ours.Activation("softmax"),
        ]
    )
    model.compile(optimizer=ours.Adam(0.05), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_fit_evaluate_and_predict_run_on_our_operators(counted: Any) -> None:
    model = xor_model()
    with counted() as calls:
        model.fit(X, Y, verbose=0)
    for name in (*OPERATORS, "openmined::linear_gradient", "openmined::dropout_mask"):
        assert calls[name] >= 1, name
    assert not {"aten::mm", "aten::addmm", "aten::tanh", "aten::_softmax", "aten::_foreach_mul_"} & set(calls)
    for use, needed in ((model.evaluate, OPERATORS[:3]), (model.predict, OPERATORS[:2])):
        with counted() as calls:
            use(*(X, Y)[: len(needed) - 1], verbose=0)
        assert all(calls[name] >= 1 for name in needed)
        assert "openmined::adam_" not in calls


def test_it_learns_exclusive_or_and_survives_json_and_file(tmp_path: Path) -> None:
    model = xor_model()
    model.fit(X, Y, epochs=80, verbose=0)
    loss, accuracy = model.evaluate(X, Y, verbose=0)
    assert accuracy == 1.0 and loss < 0.1
    predicted = model.predict(X, verbose=0)
    twin = ours.model_from_json(model.to_json())
    twin.set_weights(model.get_weights())
    assert type(twin) is ours.Sequential and type(twin.layers[0]) is ours.Dense
    np.testing.assert_array_equal(twin.predict(X, verbose=0), predicted)
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = ours.load_model(path)
    assert type(loaded.optimizer) is ours.Adam and loaded.loss is ours.sparse_categorical_crossentropy
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), predicted)
    loaded.fit(X, Y, verbose=0)


def two_layers(kind: Any, activation: str) -> Any:
    return keras.Sequential([keras.Input((2,)), kind.Dense(8, activation=activation), kind.Dense(2, use_bias=False)])


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh", "silu", "linear", "softmax", "elu"])
def test_layers_with_the_same_weights_give_what_keras_gives(activation: str) -> None:
    first, second = two_layers(ours, activation), two_layers(keras.layers, activation)
    second.set_weights(first.get_weights())
    x = np.linspace(-2, 2, 12, dtype=np.float32).reshape(6, 2)
    np.testing.assert_allclose(first.predict(x, verbose=0), second.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {}),
        ("SGD", {"momentum": 0.9}),
        ("SGD", {"momentum": 0.9, "nesterov": True}),
        ("RMSprop", {}),
        ("RMSprop", {"momentum": 0.5, "centered": True}),
        ("Adam", {}),
    ],
)
def test_training_is_keras_training(name: str, options: dict[str, Any]) -> None:
    trained, first = [], None
    for kind, optimizer, loss in (
        (ours, getattr(ours, name), ours.MeanSquaredError()),
        (keras.layers, getattr(keras.optimizers, name), "mean_squared_error"),
    ):
        model = two_layers(kind, "tanh")
        first = first or model.get_weights()
        model.set_weights(first)
        rate = keras.optimizers.schedules.ExponentialDecay(0.03, 5, 0.8)
        model.compile(optimizer=optimizer(rate, **options), loss=loss)
        model.fit(X, np.eye(2)[Y], epochs=15, verbose=0, shuffle=False)
        trained.append(model.get_weights())
    for mine, theirs in zip(*trained, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "target", "options"),
    [
        ("mean_squared_error", np.eye(3)[[0, 2]], {}),
        ("categorical_crossentropy", np.eye(3)[[0, 2]], {}),
        ("categorical_crossentropy", np.eye(3)[[0, 2]], {"from_logits": True, "label_smoothing": 0.1}),
        ("sparse_categorical_crossentropy", np.array([[0], [2]]), {}),
        ("sparse_categorical_crossentropy", np.array([0, 2]), {"from_logits": True}),
    ],
)
def test_losses_and_their_gradients_are_keras(name: str, target: Any, options: dict[str, Any]) -> None:
    given, results = torch.tensor([[0.2, 0.5, 0.1], [0.9, 1e-9, 0.3]]), []
    for kind in (ours, keras.losses):
        x = given.clone().requires_grad_()
        loss = getattr(kind, name)(target, x, **options)
        results.append([loss, *torch.autograd.grad(loss.sum(), x)])
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)
    classes = {"mean_squared_error": "MeanSquaredError", "categorical_crossentropy": "CategoricalCrossentropy"}
    kind = classes.get(name, "SparseCategoricalCrossentropy")
    mine, theirs = getattr(ours, kind)(**options), getattr(keras.losses, kind)(**options)
    assert float(mine(target, given)) == pytest.approx(float(theirs(target, given)), rel=1e-5)


def test_dropout_and_log_do_what_they_say() -> None:
    x = torch.ones(100, 100)
    dropout = ours.Dropout(0.25, seed=3)
    first = dropout(x, training=True)
    assert first.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert (first == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert not torch.equal(dropout(x, training=True), first)
    assert torch.equal(ours.Dropout(0.25, seed=3)(x, training=True), first)
    assert torch.equal(dropout(x, training=False), x)
    torch.testing.assert_close(ours.Log()(x * 2), torch.log(x * 2))


def test_what_is_not_supported_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="Adam: amsgrad: expected False, got True"):
        ours.Adam(amsgrad=True)
    with pytest.raises(ValueError, match="sparse_categorical_crossentropy: ignore_class: expected None, got 1"):
        ours.sparse_categorical_crossentropy(Y, np.ones((4, 2), np.float32), ignore_class=1)
    with pytest.raises(ValueError, match=r"y_true: expected shape \[4, 2\] like y_pred, got \[4\]"):
        ours.categorical_crossentropy(Y, np.ones((4, 2), np.float32))
    with pytest.raises(AttributeError, match="has no attribute 'Conv2D'"):
        _ = ours.Conv2D


def run_python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        cwd=Path(__file__).parents[4],
        capture_output=True,
        text=True,
        timeout=100,
    )
    return done.stdout + done.stderr


def test_without_keras_the_extra_is_named() -> None:
    hidden = "import sys; sys.modules['keras'] = None\nfrom trainers.kernels import keras\nkeras.Dense"
    said = run_python(hidden)
    assert 'ImportError: trainers.kernels.keras needs Keras: pip install "mlagents-bridge[keras]"' in said


def test_on_another_backend_the_remedy_is_named() -> None:
    code = (
        "import sys, types; other = types.ModuleType('keras'); sys.modules['keras'] = other\n"
        "other.backend = types.SimpleNamespace(backend=lambda: 'jax')\n"
        "from trainers.kernels import keras\nkeras.Dense"
    )
    said = run_python(code)
    assert "needs Keras on its torch backend, got jax: set the environment variable KERAS_BACKEND=torch before" in said
