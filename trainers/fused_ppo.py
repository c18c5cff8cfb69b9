"""Which PPO a behavior runs on: the fused kernels for networks they are made for, else the readable one in torch."""

import logging
from typing import TYPE_CHECKING, Literal

import torch

from trainers.errors import UsageError
from trainers.kernels import status
from trainers.networks import ActorCritic
from trainers.ppo import Optimizer

if TYPE_CHECKING:
    from trainers.kernels.fused import FusedActorCritic

logger = logging.getLogger(__name__)

Backend = Literal["auto", "openmined", "torch"]


def fuse(
    network: ActorCritic, optimizer: Optimizer, *, device: torch.device, backend: Backend, threads: int
) -> "FusedActorCritic | None":
    """The network's fused half, None for plain torch.

    Raises UsageError if `backend` insists on the kernels and they cannot be had.
    """
    if backend == "torch":
        return None
    reason = None
    if device.type != "cpu":
        reason = f"the fused PPO runs on cpu, and torch_settings.device is {device}"
    elif not status().native:
        reason = status().reason
    if reason is not None:
        if backend == "openmined":
            raise UsageError(f"torch_settings.backend: openmined: {reason}")
        logger.warning(reason)
        return None
    from trainers.kernels.fused import FusedActorCritic

    actor = network.actor
    normalizers = [(one.mean, one.scale) for one in actor.normalizers] if actor.normalizes else None
    return FusedActorCritic(
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
