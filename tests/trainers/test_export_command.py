"""`mlbridge export`: the models of a run's checkpoints once more, and what it says of mistakes."""

import json
import re

import pytest
import torch

from bridge.onnx_policy import OnnxPolicy
from trainers.checkpoint import load_state, save_state
from trainers.commands import main

SETTINGS = {
    "hyperparameters": {"batch_size": 16, "buffer_size": 64},
    "network_settings": {"hidden_units": 8, "num_layers": 1, "normalize": True},
    "max_steps": 300,
    "time_horizon": 8,
    "summary_freq": 50,
    "checkpoint_interval": 100,
}
MEMORY = {"network_settings": {"hidden_units": 8, "num_layers": 1, "memory": {"memory_size": 6, "sequence_length": 4}}}
TWO = {"Left?team=0": 0, "Right?team=0": 0}


@pytest.fixture
def trained(train, toy_world):
    """The folder of a run that is over."""
    return train(toy_world, SETTINGS).folder


@pytest.fixture
def two(train, toy_world):
    """The folder of a run with two behaviors."""
    behaviors = {"Left": SETTINGS, "Right": SETTINGS}
    return train(lambda *given: toy_world(*given, behaviors=TWO), behaviors=behaviors).folder


@pytest.fixture
def export(tmp_path, capsys):
    """`export(words...)` is what the command printed, in a folder that holds results/."""

    def run(*words):
        capsys.readouterr()
        assert main(["export", *map(str, words)]) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def refused(capsys):
    """`refused(words...)` is the one line in which the command says what is wrong."""

    def run(*words):
        capsys.readouterr()
        assert main(["export", *map(str, words)]) == 2
        output, error = capsys.readouterr()
        assert output == "" and error.count("\n") == 1
        return error

    return run


def change(path, **values):
    """The checkpoint at `path` with other values, or without those that are None."""
    state = {**load_state(path), **values}
    save_state(path, {key: value for key, value in state.items() if value is not None})


def test_the_latest_checkpoint_becomes_the_final_model(trained, export, monkeypatch, tmp_path):
    model = trained.model("Toy")
    expected = model.read_bytes()
    model.unlink()
    monkeypatch.chdir(tmp_path)
    output = export("run")
    assert model.read_bytes() == expected
    assert output.split() == ["Toy:", "results/run/Toy/checkpoint.pt", "exported", "to", "results/run/Toy.onnx"]


@pytest.mark.parametrize("which", ["step", "best", "file"])
def test_a_checkpoint_becomes_the_model_beside_it(trained, export, which):
    status = json.loads(trained.training_status.read_text())["Toy"]
    step = status["checkpoints"][0]["steps"]
    stem = "Toy-best" if which == "best" else f"Toy-{step}"
    model = trained.path / "Toy" / f"{stem}.onnx"
    expected = model.read_bytes()
    model.unlink()
    export(trained.path, "--checkpoint", {"step": step, "best": "best", "file": f"{stem}.pt"}[which])
    assert model.read_bytes() == expected


def test_the_output_is_a_file_or_a_folder(trained, export, tmp_path):
    expected = trained.model("Toy").read_bytes()
    export(trained.path, "--output", tmp_path / "Game.onnx")
    export("run", "--results-dir", trained.results_dir, "--output", tmp_path / "new" / "models")
    assert (tmp_path / "Game.onnx").read_bytes() == (tmp_path / "new" / "models" / "Toy.onnx").read_bytes() == expected


def test_all_behaviors_are_exported_or_one(two, export, tmp_path):
    export(two.path, "--output", tmp_path / "all")
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["Left.onnx", "Right.onnx"]
    export(two.path, "--behavior", "Right?team=0", "--output", tmp_path / "one.onnx")
    assert (tmp_path / "one.onnx").read_bytes() == two.model("Right").read_bytes() != two.model("Left").read_bytes()


def test_a_model_with_a_memory(train, toy_world, export, tmp_path):
    folder = train(toy_world, {**SETTINGS, **MEMORY}).folder
    export(folder.path, "--output", tmp_path / "Toy.onnx")
    assert OnnxPolicy(tmp_path / "Toy.onnx").memory_size == 6


def test_a_run_that_is_not_there_is_told_with_those_that_are(trained, refused, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert "there is no run 'rum'; give its --run-id or its folder (in results: run)" in refused("rum")
    assert "(in other: none)" in refused("run", "--results-dir", "other")


def test_a_behavior_that_is_not_there_is_told_with_those_that_are(trained, refused):
    error = refused(trained.path, "--behavior", "Toi")
    assert "--behavior Toi" in error and "did you mean 'Toy'? (it has Toy)" in error


def test_a_checkpoint_that_is_not_there_is_told_with_those_that_are(trained, refused):
    error = refused(trained.path, "--checkpoint", 123456)
    assert re.search(r"there is no .*Toy-123456.pt; there are .*Toy-\d+.pt.*checkpoint.pt", error)
    assert "there is no" in refused(trained.path, "--checkpoint", "other.pt")
    assert "expected a number of steps, best, latest or a .pt file" in refused(trained.path, "--checkpoint", "last")


def test_a_run_without_checkpoints_is_told(new_run, refused):
    assert "holds no checkpoint yet" in refused(new_run().path)


def test_several_behaviors_do_not_fit_one_file(two, refused, tmp_path):
    error = refused(two.path, "--output", tmp_path / "Game.onnx")
    assert "Left, Right; give a folder, or choose with --behavior NAME" in error
    assert "choose with --behavior NAME" in refused(two.path, "--checkpoint", "checkpoint.pt")


def test_a_damaged_checkpoint_is_named(trained, refused):
    path = trained.checkpoint("Toy")
    path.write_bytes(path.read_bytes()[:1000])
    assert re.search(
        r"checkpoint.pt is damaged, cut short or no checkpoint; use another one there \(Toy-", refused(trained.path)
    )


def test_an_older_checkpoint_is_told_to_be_resumed(trained, refused):
    change(trained.checkpoint("Toy"), behavior_spec=None)
    assert "does not say what its agents see and do; go on with the run once (mlbridge learn --resume)" in refused(
        trained.path
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"continuous_size": 0, "discrete_branches": [2]}, "'observations' is missing"),
        ({"observations": [], "continuous_size": "many", "discrete_branches": []}, "many"),
        (["nothing"], "indices must be integers"),
    ],
)
def test_a_damaged_specification_is_told(trained, refused, damage, message):
    change(trained.checkpoint("Toy"), behavior_spec=damage)
    error = refused(trained.path)
    assert "holds a damaged specification" in error and message in error and "use another --checkpoint" in error


def test_another_network_than_the_configuration_says_is_told(trained, refused):
    text = trained.configuration.read_text()
    trained.configuration.write_text(text.replace("hidden_units: 8", "hidden_units: 9"))
    model = trained.model("Toy").read_bytes()
    assert "holds another network than the configuration asks for" in refused(trained.path)
    assert trained.model("Toy").read_bytes() == model


def test_a_network_of_no_numbers_is_told_and_no_file_is_left(trained, refused, tmp_path):
    network = load_state(trained.checkpoint("Toy"))["network"]
    network["actor.body.0.weight"][0, 0] = torch.nan
    change(trained.checkpoint("Toy"), network=network)
    error = refused(trained.path, "--output", tmp_path / "models")
    assert "cannot be exported" in error and "actor.body.0.weight" in error and "use another --checkpoint" in error
    assert list((tmp_path / "models").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(trained, refused):
    assert "cannot be written" in refused(trained.path, "--output", trained.configuration / "models")
