"""Twins: the same network once for the readable PPO in torch, once for the fused one, and experience for both."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from mlagents_envs.base_env import ActionSpec, BehaviorSpec, DimensionProperty, ObservationSpec, ObservationType
from numpy.typing import NDArray

from trainers import ppo
from trainers.config import NetworkSettings
from trainers.distributions import Actions, log_prob, masked_log_probs
from trainers.kernels import instruction_sets, set_instruction_set, status
from trainers.kernels.fused import AdamState, Experience, FusedActorCritic
from trainers.losses import Target, losses_and_gradients
from trainers.networks import ActorCritic


@pytest.fixture
def native() -> None:
    """Skips the test where the library cannot be had."""
    if not status().native:
        pytest.skip(status().reason)


@pytest.fixture(params=["avx512", "avx2", "portable"])
def instruction_set(request: pytest.FixtureRequest, native: None) -> Iterator[str]:
    """Each instruction set in turn that this processor has."""
    if request.param not in instruction_sets():
        pytest.skip(f"this processor has no {request.param}")
    set_instruction_set(request.param)
    yield request.param
    set_instruction_set(None)


@dataclass(frozen=True)
class Form:
    """What a network looks like."""

    inputs: tuple[int, ...] = (8,)
    continuous: int = 2
    branches: tuple[int, ...] = ()
    signals: int = 1
    hidden: int = 32
    layers: int = 2
    shared: bool = False
    normalize: bool = False
    fresh: bool = False  # heads as a training begins with them, near neutral; otherwise larger, to show a mistake


def make_network(form: Form) -> ActorCritic:
    torch.manual_seed(3)
    observations = [
        ObservationSpec((size,), (DimensionProperty.NONE,), ObservationType.DEFAULT, f"numbers {index}")
        for index, size in enumerate(form.inputs)
    ]
    network = ActorCritic(
        BehaviorSpec(observations, ActionSpec(form.continuous, form.branches)),
        NetworkSettings(hidden_units=form.hidden, num_layers=form.layers, normalize=form.normalize),
        [f"signal {index}" for index in range(form.signals)],
        shared_critic=form.shared,
    )
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "body" not in name and not form.fresh:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return network


def fuse(network: ActorCritic, optimizer: ppo.Optimizer, sizes: tuple[int, ...], threads: int) -> FusedActorCritic:
    """The fused half of a network whose parameters the optimizer has laid side by side."""
    actor = network.actor
    normalizers = [(one.mean, one.scale) for one in actor.normalizers] if hasattr(actor, "normalizers") else None
    return FusedActorCritic(
        optimizer._values,
        observation_sizes=sizes,
        actor=list(actor.body),
        continuous=actor.continuous if actor.has_continuous else None,
        log_sigma=actor.log_sigma if actor.has_continuous else None,
        discrete=list(actor.discrete) if actor.has_discrete else [],
        critic=None if network.shared_critic else list(network.critic.body),
        values=list(network.critic.values.values()),
        normalizers=normalizers,
        threads=threads,
    )


def experience(batch: ppo.Batch) -> Experience:
    target = batch.target
    return Experience(
        batch.inputs,
        target.actions.continuous,
        target.actions.discrete,
        target.log_probs,
        target.allowed,
        target.advantages,
        target.returns,
        target.values,
    )


@dataclass
class Twins:
    """A network for the reference, and its copy for the library."""

    form: Form
    threads: int = 1
    reference: ActorCritic = field(init=False)
    fused: FusedActorCritic = field(init=False)

    def __post_init__(self) -> None:
        self.reference = make_network(self.form)
        self.copy = copy.deepcopy(self.reference)
        self.reference_optimizer, self.optimizer = ppo.Optimizer(self.reference), ppo.Optimizer(self.copy)
        self.fused = fuse(self.copy, self.optimizer, self.form.inputs, self.threads)

    def update_reference(
        self, batch: ppo.Batch, order: torch.Tensor, batch_size: int, **settings: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`trainers.ppo.update` with a given order."""
        learning_rate = settings.pop("learning_rate", 3e-4)
        settings = {"epsilon": 0.2, "beta": 5e-3, "value_clipping": False} | settings
        policy, value = [], []
        with torch.no_grad():
            for rows in order.reshape(-1, batch_size):
                minibatch = batch.rows(rows)
                heads, tape = self.reference.forward_with_tape(minibatch.inputs)
                losses = losses_and_gradients(heads, minibatch.target, **settings)
                self.reference.backward(tape, losses.gradients)
                self.reference_optimizer.step(learning_rate)
                policy.append(losses.policy)
                value.append(losses.value)
        return torch.stack(policy), torch.stack(value)

    def update_fused(
        self, batch: ppo.Batch, order: torch.Tensor, batch_size: int, **settings: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        settings = {"learning_rate": 3e-4, "epsilon": 0.2, "beta": 5e-3} | settings
        optimizer = self.optimizer
        state = AdamState(optimizer._gradient, optimizer._moment, optimizer._square, optimizer._steps)
        losses = self.fused.update(experience(batch), state, order, batch_size=batch_size, **settings)
        optimizer._steps += len(losses[0])
        return losses

    def differences(self) -> dict[str, float]:
        """Relative L2 of each parameter."""
        pairs = zip(self.reference.named_parameters(), self.copy.parameters(), strict=True)
        return {name: _distance(ours.data, theirs.data) for (name, theirs), ours in pairs}

    def gradient_differences(self) -> dict[str, float]:
        pairs = zip(self.reference.named_parameters(), self.copy.parameters(), strict=True)
        return {name: _distance(ours.grad, theirs.grad) for (name, theirs), ours in pairs}

    def batch(self, steps: int, seed: int = 1) -> ppo.Batch:
        """Experience that the reference collects: its own actions, with advantages and returns that can be learned."""
        form = self.form
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.randn(steps, sum(form.inputs), generator=generator)
        with torch.no_grad():
            heads = self.reference(inputs)
        continuous, discrete = torch.zeros(steps, form.continuous), torch.zeros(steps, 0, dtype=torch.int64)
        allowed = None
        if form.branches:
            allowed = torch.rand(steps, sum(form.branches), generator=generator) > 0.3
            allowed[:, np.cumsum((0, *form.branches[:-1]))] = True
        branches = masked_log_probs(heads.logits, allowed)
        if heads.mean is not None and heads.log_sigma is not None:
            noise = torch.randn(steps, form.continuous, generator=generator)
            continuous = (heads.mean + noise * heads.log_sigma.exp()).detach()
        if branches:
            discrete = torch.cat([torch.multinomial(one.exp(), 1, generator=generator) for one in branches], 1)
        actions = Actions(continuous, discrete)
        advantages = -(continuous - torch.tanh(inputs[:, :1])).square().sum(1)
        advantages = advantages + (discrete == (inputs[:, :1] > 0)).sum(1)
        returns = torch.stack([torch.sin(inputs[:, 0] * (signal + 1)) for signal in range(form.signals)], 1)
        old_values = heads.values.detach() + 0.1 * torch.randn(steps, form.signals, generator=generator)
        log_probs = log_prob(heads.mean, heads.log_sigma, branches, actions).detach()
        return ppo.Batch(
            inputs,
            Target(actions, log_probs, allowed, ppo.normalize_advantages(advantages), returns, old_values),
        )


def _distance(ours: Any, theirs: Any) -> float:
    return float((ours - theirs).norm() / theirs.norm().clamp_min(1e-12))


@pytest.fixture
def twins() -> Callable[..., Twins]:
    """`twins(threads=1, **form)`."""

    def make(threads: int = 1, **form: Any) -> Twins:
        return Twins(Form(**form), threads)

    return make


@pytest.fixture
def observations() -> Callable[..., list[NDArray[np.float32]]]:
    """`observations(agents, *sizes)`: made-up ones, float32 [agents, size] each."""

    def make(agents: int, *sizes: int) -> list[NDArray[np.float32]]:
        generator = np.random.default_rng(agents)
        return [generator.normal(1.0, 2.0, (agents, size)).astype(np.float32) for size in sizes]

    return make
