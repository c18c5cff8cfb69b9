"""Weights go from the game to Python and back."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mlagents_envs.base_env import ActionTuple

from bridge.onnx_policy import OnnxPolicy
from bridge.player import EnvironmentParameters
from trainers.checkpoint import load_state
from trainers.commands import main
from trainers.config import load_config
from trainers.errors import UsageError
from trainers.weights_file import read_weights, write_weights
from unity_envs.worlds.cube_mover import CubeMover

STEPS = 16_000


@pytest.fixture(scope="module")
def from_the_game(play, tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """A file that the game wrote, and what it said of the training."""
    path = tmp_path_factory.mktemp("weights") / "CubeMover.safetensors"
    return path, play("save", "CubeMover", 1, STEPS, path)


@pytest.fixture(scope="module")
def from_python(tmp_path_factory) -> Path:
    """A file of a training by `mlbridge learn`."""
    results = tmp_path_factory.mktemp("results")
    command = [sys.executable, "-m", "trainers.commands", "learn", "CubeMover", "--env", "CubeMover", "--in-process"]
    command += ["--run-id", "game", "--results-dir", str(results), "--seed", "1"]
    command += ["--set", f"behaviors.CubeMover.max_steps={STEPS}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    run, path = results / "game", results / "CubeMover.safetensors"
    settings = load_config(run / "configuration.yaml", {}).settings_for("CubeMover")
    write_weights(path, "CubeMover", load_state(run / "CubeMover/checkpoint.pt"), settings)
    return path


def greedy(model: Path) -> float:
    """Mean sum of rewards in episodes of CubeMover, always with the most probable action."""
    world, policy = CubeMover(1, 1, EnvironmentParameters(), agents=4), OnnxPolicy(model)
    steps, sums = world.reset()[world.behavior], []
    for _ in range(50):
        decisions, terminals = steps
        sums += list(terminals.reward + np.float32(-0.06))  # six steps before the goal
        actions = policy.act(decisions.obs, None, True, decisions.agent_id)
        steps = world.step({world.behavior: ActionTuple(discrete=actions.discrete)})[world.behavior]
    return float(np.mean(sums))


def test_what_the_game_learnt_is_a_model_for_unity(from_the_game, tmp_path):
    path, answers = from_the_game
    assert main(["export", str(path), "--output", str(tmp_path / "CubeMover.onnx")]) == 0
    assert float(answers["greedy"]) == pytest.approx(0.94, abs=1e-6)
    assert greedy(tmp_path / "CubeMover.onnx") == pytest.approx(0.94, abs=1e-6)


def test_what_the_game_learnt_is_played_by_evaluate(from_the_game, tmp_path):
    path, _ = from_the_game
    numbers = tmp_path / "numbers.json"
    command = ["evaluate", str(path), "--env", "CubeMover", "--in-process", "--episodes", "20", "--json", str(numbers)]
    assert main(command) == 0
    assert json.loads(numbers.read_text())["min_reward"] > 0.925  # 0.93 in the first episode, which begins a step late


def test_python_reads_all_that_the_game_wrote(from_the_game):
    behavior, state, settings = read_weights(from_the_game[0])
    assert behavior == "CubeMover" and state["step"] == int(from_the_game[1]["steps"])
    assert (settings.network_settings.hidden_units, settings.network_settings.normalize) == (32, True)
    assert state["optimizer"]["step"] == 4 * 8 * 7  # epochs, minibatches, updates
    assert state["network"]["actor.normalizers.0.steps"].dtype == torch.float64
    assert state["optimizer"]["exp_avg"].keys() == {
        name for name in state["network"] if not name.startswith("actor.normalizers.")
    }
    assert state["behavior_spec"]["discrete_branches"] == [2]


def test_writing_what_was_read_changes_nothing(from_the_game, tmp_path):
    _, state, settings = read_weights(from_the_game[0])
    write_weights(tmp_path / "again.safetensors", "CubeMover", state, settings)
    again = read_weights(tmp_path / "again.safetensors")
    assert again.state["step"] == state["step"]
    assert all(torch.equal(again.state["network"][name], tensor) for name, tensor in state["network"].items())
    for moment in ("exp_avg", "exp_avg_sq"):
        ours, theirs = again.state["optimizer"][moment], state["optimizer"][moment]
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_game_goes_on_with_what_python_learnt(play, from_python):
    answers = play("continue", "CubeMover", from_python, 5000, "on")
    assert STEPS <= int(answers["step"]) < STEPS + 100
    assert float(answers["greedy_before"]) == pytest.approx(0.94, abs=1e-6)
    assert int(answers["updates"]) >= 2
    assert float(answers["greedy"]) == pytest.approx(0.94, abs=1e-6)


def test_the_game_takes_only_weights_or_goes_on(play, from_the_game):
    path, told = from_the_game
    assert play("continue", "CubeMover", path, 0, "anew")["step"] == "0"
    assert play("continue", "CubeMover", path, 0, "on")["step"] == told["steps"]


def damaged(path: Path, which: str) -> bytes:
    content = path.read_bytes()
    length = struct.unpack("<q", content[:8])[0]
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    if which == "short":
        return content[: 8 + length + 20]
    if which == "text":
        return b"these are no weights\n"
    if which == "format":
        header["__metadata__"]["format"] = "others"
    elif which == "missing":
        del header["actor.body.0.weight"]
    elif which == "steps":
        del header["__metadata__"]["adam_steps"]
    text = json.dumps(header).encode()
    return struct.pack("<q", len(text)) + text + data


@pytest.mark.parametrize(
    ("which", "words"),
    [
        ("short", "is cut short; write the file anew"),
        ("text", "damaged or no safetensors file; write the file anew"),
        ("format", "are not of format 'mlagents-bridge weights' version 1"),
        ("missing", "are of another network (actor.body.0.weight is missing)"),
        ("steps", "do not say their adam_steps"),
    ],
)
def test_the_game_refuses_a_file_that_it_cannot_use(games, program, from_the_game, tmp_path, which, words):
    path = tmp_path / "other.safetensors"
    path.write_bytes(damaged(from_the_game[0], which))
    with pytest.raises(RuntimeError) as error:
        games.play(program, "continue", "CubeMover", path, 0, "on")
    assert "OpenMined.OpenMinedException: the weights" in str(error.value) and words in str(error.value)


def test_the_game_refuses_weights_of_another_agent(games, program, from_the_game):
    with pytest.raises(RuntimeError, match=r"another network \(actor.body.0.weight has the shape \[32, 1\], expected"):
        games.play(program, "continue", "PoleBalancer", from_the_game[0], 0, "on")


@pytest.mark.parametrize(
    ("which", "words"),
    [
        ("text", "is damaged or no safetensors file"),
        ("format", "is not of the format 'mlagents-bridge weights' version 1"),
        ("steps", "does not say what its weights are of"),
    ],
)
def test_python_refuses_a_file_that_it_cannot_use(from_the_game, tmp_path, which, words):
    path = tmp_path / "other.safetensors"
    path.write_bytes(damaged(from_the_game[0], which))
    with pytest.raises(UsageError, match=words):
        read_weights(path)


def test_python_says_that_there_is_no_file(tmp_path):
    with pytest.raises(UsageError, match="there is no "):
        read_weights(tmp_path / "none.safetensors")


def test_networks_that_the_game_does_not_have_are_refused(from_the_game, tmp_path):
    _, state, settings = read_weights(from_the_game[0])
    curious = type(settings).model_validate({"reward_signals": {"extrinsic": {}, "curiosity": {}}})
    with pytest.raises(UsageError, match="reward signal extrinsic alone, and 'CubeMover' has extrinsic, curiosity"):
        write_weights(tmp_path / "curious.safetensors", "CubeMover", state, curious)
    remembering = type(settings).model_validate({"network_settings": {"memory": {}}})
    with pytest.raises(UsageError, match="without a memory"):
        write_weights(tmp_path / "memory.safetensors", "CubeMover", state, remembering)
