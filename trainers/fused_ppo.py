"""Which PPO a behavior runs on: the fused kernels for networks they are made for, else the readable one in torch."""

import logging
from typing import Any, Literal

import torch

from trainers.actor_critics import Network
from trainers.config import Hyperparameters
from trainers.errors import UsageError
from trainers.general_networks import GeneralActorCritic
from trainers.kernels import status
from trainers.ppo import Optimizer

logger = logging.getLogger(__name__)

_NOT_FUSED = ("joint_ratio", "max_grad_norm", "target_kl")

Backend = Literal["auto", "openmined", "torch"]


def fuse(
    network: Network,
    optimizer: Optimizer,
    *,
    device: torch.device,
    backend: Backend,
    threads: int,
    hyperparameters: Hyperparameters | None = None,
) -> Any:
    """The network's fused half, a FusedActorCritic for its device; None for plain torch, also where
    `hyperparameters` ask for what the kernels do not have.

    On a GPU "auto" is torch: the CUDA kernels have never run on one, so they are for who asks for them.

    Raises UsageError if `backend` insists on the kernels and they cannot be had.
    """
    if backend == "torch":
        return None
    make: type[Any]
    asked = [name for name in _NOT_FUSED if hyperparameters is not None and getattr(hyperparameters, name)]
    if isinstance(network, GeneralActorCritic):
        native, reason = False, "PPO runs on torch: the kernels have no pictures, no memory and no variable length"
    elif asked:
        native, reason = False, f"PPO runs on torch: the kernels have no {' and no '.join(asked)}"
    elif device.type == "cpu":
        from trainers.kernels.fused import FusedActorCritic as make

        native, reason = status().native, status().reason
    elif device.type == "cuda" and backend == "openmined":
        from trainers.kernels.cuda.fused import FusedActorCritic as make
        from trainers.kernels.cuda.library import status as status_of_cuda

        native, reason = status_of_cuda()
    elif device.type == "cuda":
        native = False
        reason = (
            f"PPO runs on torch on {device}; torch_settings.backend: openmined has CUDA kernels, never run on a GPU yet"
        )
    else:
        native, reason = False, f"the fused PPO runs on cpu and cuda, and torch_settings.device is {device}"
    if not native:
        if backend == "openmined":
            raise UsageError(f"torch_settings.backend: openmined: {reason}")
        logger.warning(reason)
        return None
    actor = network.actor
    normalizers = [(one.mean, one.scale) for one in actor.normalizers] if actor.normalizes else None
    return make(
        optimizer.values,
        observation_sizes=actor.sizes,
        actor=list(actor.body),
        continuous=actor.continuous if actor.has_continuous else None,
        log_sigma=actor.sigma(),
        discrete=list(actor.discrete) if actor.has_discrete else [],
        critic=None if network.shared_critic else list(network.critic.body),
        values=list(network.critic.values.values()),
        normalizers=normalizers,
        threads=threads,
    )
