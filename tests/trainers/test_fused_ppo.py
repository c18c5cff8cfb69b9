"""Which PPO a behavior gets, and that both learn alike."""

import pytest
import torch
from mlagents_envs.base_env import ActionSpec, BehaviorSpec, DimensionProperty, ObservationSpec, ObservationType

from trainers.config import Hyperparameters, NetworkSettings
from trainers.errors import UsageError
from trainers.fused_ppo import fuse
from trainers.kernels import status
from trainers.kernels.cuda.library import _load
from trainers.networks import ActorCritic
from trainers.ppo import Optimizer


def make_network() -> ActorCritic:
    observation = ObservationSpec((3,), (DimensionProperty.NONE,), ObservationType.DEFAULT, "numbers")
    spec = BehaviorSpec([observation], ActionSpec(2, (3,)))
    return ActorCritic(spec, NetworkSettings(hidden_units=8, normalize=True), ["extrinsic"])


def test_the_kernels_are_used_where_they_can_be_had() -> None:
    network = make_network()
    fused = fuse(network, Optimizer(network), device=torch.device("cpu"), backend="auto", threads=1)
    assert (fused is not None) == status().native


def test_torch_can_be_asked_for() -> None:
    network = make_network()
    assert fuse(network, Optimizer(network), device=torch.device("cpu"), backend="torch", threads=1) is None


@pytest.mark.parametrize(
    "device, reason",
    [("meta", "the fused PPO runs on cpu and cuda, and .* is meta"), ("cuda", "no CUDA kernels: torch sees no GPU")],
)
def test_another_device_runs_in_torch_unless_the_kernels_are_insisted_on(
    device: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    _load.cache_clear()
    network = make_network()
    optimizer = Optimizer(network)
    assert fuse(network, optimizer, device=torch.device(device), backend="auto", threads=1) is None
    with pytest.raises(UsageError, match=f"torch_settings.backend: openmined: {reason}"):
        fuse(network, optimizer, device=torch.device(device), backend="openmined", threads=1)
    _load.cache_clear()


@pytest.mark.parametrize("name, value", [("joint_ratio", True), ("max_grad_norm", 0.5), ("target_kl", 0.1)])
def test_what_the_kernels_do_not_have_runs_on_torch(name: str, value: object) -> None:
    network, device = make_network(), torch.device("cpu")
    asked = Hyperparameters.model_validate({name: value})
    options = {"device": device, "threads": 1, "hyperparameters": asked}
    assert fuse(network, Optimizer(network), backend="auto", **options) is None
    with pytest.raises(UsageError, match=f"backend: openmined: PPO runs on torch: the kernels have no {name}"):
        fuse(network, Optimizer(network), backend="openmined", **options)
