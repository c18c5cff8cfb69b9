"""The figures of an update's health, on numbers that can be worked out by hand."""

import math

import pytest
import torch
from mlagents_envs.base_env import ActionSpec, BehaviorSpec, DimensionProperty, ObservationSpec, ObservationType

from trainers.config import NetworkSettings
from trainers.diagnostics import diagnose
from trainers.distributions import Actions, log_prob, masked_log_probs
from trainers.losses import Target
from trainers.networks import ActorCritic
from trainers.ppo import Batch, Optimizer

STEPS = 5000


@pytest.fixture
def made() -> tuple[ActorCritic, Optimizer, Batch]:
    """A network for 2 continuous dimensions and a branch of 3, and experience with the log-probabilities it gives."""
    torch.manual_seed(1)
    observation = ObservationSpec((4,), (DimensionProperty.NONE,), ObservationType.DEFAULT, "numbers")
    spec = BehaviorSpec([observation], ActionSpec(2, (3,)))
    network = ActorCritic(spec, NetworkSettings(hidden_units=8), ["extrinsic"])
    optimizer = Optimizer(network)
    inputs = torch.randn(STEPS, 4)
    actions = Actions(torch.randn(STEPS, 2), torch.randint(0, 3, (STEPS, 1)))
    with torch.no_grad():
        mean, logits = network.actor.heads(network.actor.encode(inputs))
        old = log_prob(mean, network.actor.sigma(), masked_log_probs(logits, None), actions)
    returns = torch.randn(STEPS, 1)
    target = Target(actions, old, None, torch.zeros(STEPS), returns, returns.clone())
    return network, optimizer, Batch(inputs, target)


def with_target(batch: Batch, **changes: torch.Tensor) -> Batch:
    return Batch(batch.inputs, batch.target._replace(**changes))


def test_a_policy_that_has_not_moved(made: tuple[ActorCritic, Optimizer, Batch]) -> None:
    figures = diagnose(*made, 0.2)
    assert figures["Policy/Approximate KL"] == pytest.approx(0.0, abs=1e-6)
    assert figures["Policy/Clip Fraction"] == 0.0
    assert figures["Losses/Explained Variance"] == 1.0
    assert figures["Losses/Gradient Norm"] == 0.0


def test_one_that_has_moved_in_one_dimension(made: tuple[ActorCritic, Optimizer, Batch]) -> None:
    network, optimizer, batch = made
    change = torch.tensor([math.log(1.5), 0.0, 0.0])  # the first dimension is half as likely again
    figures = diagnose(network, optimizer, with_target(batch, log_probs=batch.target.log_probs - change), 0.2)
    assert figures["Policy/Approximate KL"] == pytest.approx(1.5 - 1 - math.log(1.5), rel=1e-4)
    assert figures["Policy/Clip Fraction"] == pytest.approx(1 / 3)
    within = diagnose(network, optimizer, with_target(batch, log_probs=batch.target.log_probs - change), 0.6)
    assert within["Policy/Clip Fraction"] == 0.0


def test_values_explain_what_they_explain(made: tuple[ActorCritic, Optimizer, Batch]) -> None:
    network, optimizer, batch = made
    returns = batch.target.returns
    for values, expected in ((returns / 2, 0.75), (torch.ones_like(returns), 0.0), (-returns, -3.0)):
        figures = diagnose(network, optimizer, with_target(batch, values=values), 0.2)
        assert figures["Losses/Explained Variance"] == pytest.approx(expected, abs=1e-5)
    constant = with_target(batch, returns=torch.ones_like(returns))
    assert "Losses/Explained Variance" not in diagnose(network, optimizer, constant, 0.2)


def test_the_gradient_is_that_of_all_parameters(made: tuple[ActorCritic, Optimizer, Batch]) -> None:
    network, optimizer, batch = made
    for parameter in network.parameters():
        parameter.grad.fill_(2.0)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert diagnose(network, optimizer, batch, 0.2)["Losses/Gradient Norm"] == pytest.approx(2 * math.sqrt(count))
