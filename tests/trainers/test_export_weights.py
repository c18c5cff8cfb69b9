"""`mlbridge export` with weights for a game, and with those that a game wrote."""

import pytest

from bridge.onnx_policy import OnnxPolicy
from trainers.commands import main
from trainers.weights_file import read_weights

SETTINGS = {
    "hyperparameters": {"batch_size": 16, "buffer_size": 64},
    "network_settings": {"hidden_units": 8, "num_layers": 1, "normalize": True},
    "max_steps": 300,
    "time_horizon": 8,
}


@pytest.fixture
def trained(train, toy_world):
    """The folder of a run that is over."""
    return train(toy_world, SETTINGS).folder


def test_a_run_becomes_weights_and_they_the_model_that_the_run_has(trained, tmp_path, capsys):
    weights, model = tmp_path / "game" / "toy.safetensors", tmp_path / "toy.onnx"
    assert main(["export", str(trained.path), "--output", str(weights)]) == 0
    behavior, state, settings = read_weights(weights)
    assert str(weights) in capsys.readouterr().out
    assert state["step"] > 300 and settings.network_settings.hidden_units == 8
    assert main(["export", str(weights), "--output", str(model)]) == 0
    assert f"{behavior}: {weights} exported to {model}" in capsys.readouterr().out
    assert model.read_bytes() == trained.model(behavior).read_bytes()
    OnnxPolicy(model)


def test_without_an_output_the_model_is_beside_the_weights(trained, tmp_path):
    weights = tmp_path / "toy.safetensors"
    assert main(["export", str(trained.path), "--output", str(weights)]) == 0
    assert main(["export", str(weights)]) == 0
    assert (tmp_path / "toy.onnx").is_file()


def test_weights_that_are_not_there_are_named(tmp_path, capsys):
    assert main(["export", str(tmp_path / "none.safetensors")]) == 2
    assert f"there is no {tmp_path / 'none.safetensors'}" in capsys.readouterr().err
