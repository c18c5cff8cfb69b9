"""The same run twice, in this process and over gRPC, and what a run over gRPC goes on with when it is resumed."""

import functools
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trainers.checkpoint import load_state
from trainers.commands import main

SETTINGS = """
behaviors:
  3DBall:
    trainer_type: ppo
    hyperparameters: {batch_size: 32, buffer_size: 200, num_epoch: 2}
    network_settings: {hidden_units: 8, num_layers: 1, normalize: true}
    time_horizon: 20
    max_steps: 1000
    checkpoint_interval: 400
"""


@pytest.fixture
def learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Callable[..., tuple[dict[str, Any], str]]:
    """`learn(run_id, words...)`: the newest checkpoint of a run of 3DBall and what was printed."""
    monkeypatch.chdir(tmp_path)

    def run(run_id: str, *words: str) -> tuple[dict[str, Any], str]:
        (tmp_path / "run.yaml").write_text(SETTINGS)
        capsys.readouterr()
        fixed = ["--env", "3DBall", "--run-id", run_id, "--torch-device", "cpu", "--seed", "7"]
        assert main(["learn", "run.yaml", *fixed, *words]) == 0
        return load_state(tmp_path / "results" / run_id / "3DBall/checkpoint.pt"), capsys.readouterr().out

    return run


def flat(state: Any, where: str = "") -> dict[str, Any]:
    """The values by their places, tensors as bytes."""
    if isinstance(state, torch.Tensor):
        return {where: (state.dtype, tuple(state.shape), state.numpy().tobytes())}
    if isinstance(state, dict | list | tuple):
        items = state.items() if isinstance(state, dict) else enumerate(state)
        return {name: value for key, each in items for name, value in flat(each, f"{where}.{key}").items()}
    return {where: state}


@pytest.mark.parametrize("where", [(), ("--in-process",)], ids=["over gRPC", "in process"])
def test_the_same_seed_gives_the_same_bits(learn: Callable[..., Any], where: tuple[str, ...]) -> None:
    (first, _), (second, _) = (learn(run_id, *where) for run_id in ("first", "second"))
    assert first["step"] > 1000
    assert flat(first) == flat(second)


def test_over_grpc_everything_is_restored_but_open_episodes_which_are_counted(
    learn: Callable[..., Any], tmp_path: Path
) -> None:
    agents = ("--env-args", "--agents", "5")
    saved, _ = learn("run", *agents)
    for copy in ("one", "two"):
        shutil.copytree(tmp_path / "results/run", tmp_path / "results" / copy)
    again, output = learn("run", "--resume", *agents)  # it has had its steps: nothing is learnt
    kept = ("network", "optimizer", "generator", "experience", "noted", "rewards_since_update", "step", "best_reward")
    for key in kept:
        assert flat(saved[key]) == flat(again[key]), key
    episodes, steps = saved["open_episodes"]
    assert episodes == 5
    assert 0 <= steps < 5 * 20
    assert (
        f"5 episodes of '3DBall' that were open at step {saved['step']} are dropped, with {steps} steps that no update "
        "has seen: episodes start anew."
    ) in output.replace("\n", " ").replace("  ", " ")
    # And it goes on from there the same way, whenever it does.
    longer = ("--resume", "--set", "behaviors.3DBall.max_steps=1500")
    (one, _), (two, _) = (learn(copy, *longer, *agents) for copy in ("one", "two"))
    assert one["step"] > 1500
    assert flat(one) == flat(two)


def test_in_process_no_episode_is_dropped(learn: Callable[..., Any]) -> None:
    learn("run", "--in-process")
    _, output = learn("run", "--in-process", "--resume", "--set", "behaviors.3DBall.max_steps=1200")
    assert re.search(r"Resuming '3DBall' from step 1\d\d\d", output)
    assert "dropped" not in output


def test_episodes_that_another_number_of_agents_cannot_go_on_with_are_counted(
    train: Callable[..., Any], toy_world: Any
) -> None:
    settings = {"hyperparameters": {"batch_size": 16, "buffer_size": 64}, "max_steps": 100}
    folder = train(toy_world, settings).folder
    episodes, _ = load_state(folder.checkpoint("Toy"))["open_episodes"]
    assert episodes > 0
    again = train(functools.partial(toy_world, agents=7), settings | {"max_steps": 200}, resume=True)
    assert f"{episodes} episodes of 'Toy' that were open at step" in again.output
