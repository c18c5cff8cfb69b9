"""Checkpoints that the official trainer wrote: our networks take them up and act as its own ONNX models do."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from bridge.player import EnvironmentParameters
from trainers.behavior_trainer import BehaviorTrainer
from trainers.checkpoint import load_initial_state, load_state
from trainers.config import RunConfig
from trainers.errors import UsageError
from unity_envs import worlds

OFFICIAL = Path(__file__).parent / "official"


def trainer(name: str, **network: Any) -> BehaviorTrainer:
    network = {"hidden_units": 8, "num_layers": 2, "normalize": name == "3DBall"} | network
    config = RunConfig.model_validate({"behaviors": {name: {"trainer_type": "ppo", "network_settings": network}}})
    world = worlds.make_world_factory(name, None, None)(1, 1, EnvironmentParameters())
    (spec,) = world.behavior_specs.values()
    settings = config.settings_for(name)
    return BehaviorTrainer(name, spec, settings, seed=1, device=torch.device("cpu"), training=True)


@pytest.mark.parametrize("name", ["3DBall", "CubeMover"])
def test_it_acts_as_the_official_model(name: str) -> None:
    ours, path = trainer(name), OFFICIAL / f"{name}.pt"
    ours.load_weights(load_initial_state(path), path)
    assert ours.step == 0
    session = onnxruntime.InferenceSession(OFFICIAL / f"{name}.onnx")
    size = session.get_inputs()[0].shape[1]
    seen = np.random.default_rng(1).normal(size=(50, size)).astype(np.float32)
    inputs = {"obs_0": seen}
    allowed = None
    if name == "CubeMover":
        allowed = np.ones((50, 2), np.bool_)
        inputs["action_masks"] = allowed.astype(np.float32)
    kind = "continuous" if name == "3DBall" else "discrete"
    (expected,) = session.run([f"deterministic_{kind}_actions"], inputs)
    found = dict(zip(("continuous", "discrete"), ours.policy.deterministic_actions([seen], allowed)[:2], strict=True))
    np.testing.assert_allclose(found[kind], expected, rtol=1e-5, atol=1e-6)


def test_values_and_adam_are_taken_up_as_well() -> None:
    ours, path = trainer("3DBall"), OFFICIAL / "3DBall.pt"
    state = load_initial_state(path)
    ours.load_weights(state, path)
    content = torch.load(path, weights_only=True)
    critic = content["Optimizer:critic"]
    seen = torch.randn(20, 8, generator=torch.Generator().manual_seed(1))
    steps = critic["network_body.processors.0.normalizer.normalization_steps"]
    mean = content["Policy"]["network_body.processors.0.normalizer.running_mean"]
    variance = content["Policy"]["network_body.processors.0.normalizer.running_variance"] / steps
    x = ((seen - mean) / variance.sqrt()).clamp(-5, 5)
    for layer in (0, 2):
        place = f"network_body._body_endoder.seq_layers.{layer}."
        x = torch.nn.functional.silu(x @ critic[place + "weight"].t() + critic[place + "bias"])
    expected = (
        x @ critic["value_heads.value_heads.extrinsic.weight"].t() + critic["value_heads.value_heads.extrinsic.bias"]
    )
    np.testing.assert_allclose(ours.policy.values([seen.numpy()]), expected, rtol=1e-4, atol=1e-5)
    optimizer, of_numbers = state["optimizer"], content["Optimizer:value_optimizer"]["state"]
    assert optimizer["step"] == 16
    assert len(optimizer["exp_avg"]) == len(of_numbers) == 13
    assert torch.equal(optimizer["exp_avg"]["actor.body.0.weight"], of_numbers[6]["exp_avg"])
    last = max(of_numbers)
    assert torch.equal(optimizer["exp_avg_sq"]["critic.values.extrinsic.bias"], of_numbers[last]["exp_avg_sq"])
    for name, values in dict(ours.policy.network.named_parameters()).items():
        assert optimizer["exp_avg"][name].numel() == values.numel()


def test_another_network_is_told() -> None:
    ours, path = trainer("3DBall", hidden_units=16), OFFICIAL / "3DBall.pt"
    with pytest.raises(UsageError, match=r"holds another network than the configuration asks for .*size mismatch"):
        ours.load_weights(load_initial_state(path), path)


def test_what_it_cannot_read_is_told(tmp_path: Path) -> None:
    content = torch.load(OFFICIAL / "3DBall.pt", weights_only=True)
    content["Policy"]["network_body.observation_encoder.processors.0.conv_layers.0.weight"] = torch.zeros(3)
    torch.save(content, tmp_path / "pictures.pt")
    with pytest.raises(UsageError, match=r"pictures.pt: it holds .*conv_layers.*; pictures, memory and attention"):
        load_initial_state(tmp_path / "pictures.pt")
    del content["Optimizer:critic"]
    torch.save(content, tmp_path / "shared.pt")
    with pytest.raises(UsageError, match="those of PPO with a critic of its own can be read so far"):
        load_initial_state(tmp_path / "shared.pt")


def test_a_run_starts_from_one_but_does_not_go_on_from_it(train: Callable[..., Any], tmp_path: Path) -> None:
    (official := tmp_path / "results" / "official" / "3DBall").mkdir(parents=True)
    shutil.copy(OFFICIAL / "3DBall.pt", official / "checkpoint.pt")
    settings = {
        "trainer_type": "ppo",
        "network_settings": {"hidden_units": 8, "num_layers": 2, "normalize": True},
        "max_steps": 100,
    }
    make_world = worlds.make_world_factory("3DBall", 12, None)
    trained = train(make_world, behaviors={"3DBall": settings}, initialize_from="official")
    assert f"Initialised '3DBall' from {official / 'checkpoint.pt'}." in trained.output
    with pytest.raises(
        UsageError, match="is a checkpoint of ML-Agents, which a training can start from, but not go on"
    ):
        load_state(official / "checkpoint.pt")
