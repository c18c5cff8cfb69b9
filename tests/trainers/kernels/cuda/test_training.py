"""A behavior trained on the CUDA kernels, here under the emulation, learns as on those of the CPU."""

import ctypes
import functools
from pathlib import Path

import pytest
import torch

import trainers.kernels.fused
from bridge.fleet import Fleet
from bridge.in_process import InProcessEnvironment
from trainers.behavior_trainer import BehaviorTrainer
from trainers.config import load_config
from trainers.kernels.cuda.fused import FusedActorCritic
from unity_envs import worlds

CONFIG = """
behaviors:
  PoleBalancer:
    trainer_type: ppo
    max_steps: 10000
    hyperparameters: {batch_size: 16, buffer_size: 64}
    network_settings: {normalize: true, hidden_units: 16, num_layers: 2}
torch_settings: {backend: openmined}
"""


def train(config: Path, messages: int) -> BehaviorTrainer:
    settings = load_config(config, {}).settings_for("PoleBalancer")
    fleet = Fleet([InProcessEnvironment(worlds.make_world_factory("PoleBalancer", 4, None), seed=3)])
    (steps,) = fleet.reset().items()
    name, batch = steps
    trainer = BehaviorTrainer(
        "PoleBalancer",
        fleet.behavior_specs[name],
        settings,
        seed=1,
        device=torch.device("cpu"),
        training=True,
        backend="openmined",
    )
    for _ in range(messages):
        slots = trainer.process((batch.decision_players, batch.terminal_players), batch.decisions, batch.terminals)
        fleet.set_actions(name, trainer.act(slots, batch.decisions))
        fleet.send_step()
        trainer.take_in()
        if trainer.ready:
            trainer.update()
        batch = fleet.receive()[name]
    return trainer


def test_it_learns_as_on_the_cpu(
    emulation_library: ctypes.CDLL, native: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (config := tmp_path / "config.yaml").write_text(CONFIG)
    expected, at_first = train(config, 90), train(config, 1)
    emulated = functools.partial(FusedActorCritic, library=emulation_library)
    monkeypatch.setattr(trainers.kernels.fused, "FusedActorCritic", emulated)
    found = train(config, 90)
    assert isinstance(found.policy._fused, FusedActorCritic)
    assert found.step == expected.step > 128, "no update"
    start, theirs, ours = (one.policy.network.state_dict() for one in (at_first, expected, found))
    for name in start:
        moved, apart = (float((one[name] - theirs[name]).norm()) for one in (start, ours))
        assert apart <= 0.01 * moved, (name, moved, apart)
