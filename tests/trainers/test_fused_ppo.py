"""Which PPO a behavior gets, and that both learn alike."""

import pytest
import torch
from mlagents_envs.base_env import ActionSpec, BehaviorSpec, DimensionProperty, ObservationSpec, ObservationType

from trainers.config import NetworkSettings
from trainers.errors import UsageError
from trainers.fused_ppo import fuse
from trainers.kernels import status
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


def test_another_device_runs_in_torch_unless_the_kernels_are_insisted_on() -> None:
    network = make_network()
    optimizer, device = Optimizer(network), torch.device("meta")
    assert fuse(network, optimizer, device=device, backend="auto", threads=1) is None
    with pytest.raises(UsageError, match=r"backend: openmined: the fused PPO runs on cpu, and .* is meta"):
        fuse(network, optimizer, device=device, backend="openmined", threads=1)
