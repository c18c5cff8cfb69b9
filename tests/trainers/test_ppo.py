"""An update beside the same written out plainly, step by step."""

import copy
import math
from typing import Any

import pytest
import torch
from mlagents_envs.base_env import ActionSpec, BehaviorSpec, DimensionProperty, ObservationSpec, ObservationType
from torch.distributions import Categorical, Normal

from trainers import ppo
from trainers.config import Hyperparameters, NetworkSettings
from trainers.distributions import Actions
from trainers.kernels.philox import Philox
from trainers.losses import Target
from trainers.networks import ActorCritic


def test_advantages_are_normalised_over_the_whole_buffer() -> None:
    found = ppo.normalize_advantages(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    torch.testing.assert_close(found, torch.tensor([-1.5, -0.5, 0.5, 1.5]) / math.sqrt(1.25))
    assert ppo.normalize_advantages(torch.full((3,), 7.0)).tolist() == [0, 0, 0]


def make_network(
    continuous: int,
    branches: tuple[int, ...] = (),
    signals: tuple[str, ...] = ("extrinsic",),
    **more: Any,
) -> ActorCritic:
    torch.manual_seed(3)
    observation = ObservationSpec((3,), (DimensionProperty.NONE,), ObservationType.DEFAULT, "numbers")
    spec = BehaviorSpec([observation], ActionSpec(continuous, branches))
    return ActorCritic(spec, NetworkSettings(hidden_units=8, num_layers=2), list(signals), **more)


def random_batch(steps: int, continuous: int, branches: tuple[int, ...] = (), signals: int = 1) -> ppo.Batch:
    """Made-up experience; the first action of each branch with more than two is forbidden at random."""
    generator = torch.Generator().manual_seed(5)

    def normals(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    allowed = None
    chosen = torch.zeros(steps, 0, dtype=torch.int64)
    if branches:
        allowed = torch.ones(steps, sum(branches), dtype=torch.bool)
        for index, size in enumerate(branches):
            if size > 2:
                allowed[:, sum(branches[:index])] = normals(steps) > 0
        columns = [torch.randint(1 if size > 2 else 0, size, (steps,), generator=generator) for size in branches]
        chosen = torch.stack(columns, 1)
    return ppo.Batch(
        normals(steps, 3),
        Target(
            Actions(normals(steps, continuous), chosen),
            log_probs=normals(steps, continuous + len(branches)) - 1.5,
            allowed=allowed,
            advantages=ppo.normalize_advantages(normals(steps)),
            returns=normals(steps, signals),
            values=normals(steps, signals),
        ),
    )


def settings(**values: Any) -> Hyperparameters:
    return Hyperparameters.model_validate({"batch_size": 10, "buffer_size": 100, **values})


SCHEDULES = ppo.Schedules(learning_rate=1e-2, epsilon=0.2, beta=0.05)


def update(
    network: ActorCritic,
    batch: ppo.Batch,
    hyperparameters: Hyperparameters,
    schedules: ppo.Schedules = SCHEDULES,
    seed: int = 1,
) -> tuple[dict[str, float], ppo.Optimizer]:
    optimizer = ppo.Optimizer(network)
    generator = Philox(seed)
    return ppo.update(network, optimizer, batch, hyperparameters, schedules, generator), optimizer


def written_out_loss(
    network: ActorCritic, batch: ppo.Batch, branches: tuple[int, ...], schedules: ppo.Schedules, clipping: bool
) -> tuple[torch.Tensor, float, float]:
    """Total, policy and value loss of ML-Agents: one step, dimension, branch and signal after the other."""
    mean, log_sigma, logits, values = network(batch.inputs)
    target = batch.target
    surrogates, entropies, errors = [], [], [[] for _ in target.returns[0]]
    for step in range(len(batch.inputs)):
        log_probs, entropy = [], torch.zeros(())
        if mean is not None and log_sigma is not None:
            normal = Normal(mean[step], log_sigma.exp())
            log_probs += list(normal.log_prob(target.actions.continuous[step]))
            entropy = entropy + normal.entropy().mean()
        start = 0
        for branch, size in enumerate(branches):
            assert target.allowed is not None
            allowed = target.allowed[step, start : start + size].float()
            start += size
            categorical = Categorical(logits=logits[branch][step] * allowed - 1e8 * (1 - allowed))
            log_probs.append(categorical.log_prob(target.actions.discrete[step, branch]))
            entropy = entropy + categorical.entropy()
        entropies.append(entropy)
        advantage = target.advantages[step]
        for column, log_prob in enumerate(log_probs):
            ratio = (log_prob - target.log_probs[step, column]).exp()
            clipped = ratio.clamp(1 - schedules.epsilon, 1 + schedules.epsilon)
            surrogates.append(torch.min(ratio * advantage, clipped * advantage))
        for signal, of_signal in enumerate(errors):
            value, old, wanted = values[step, signal], target.values[step, signal], target.returns[step, signal]
            error = (wanted - value) ** 2
            if clipping:
                moved = old + (value - old).clamp(-schedules.epsilon, schedules.epsilon)
                error = torch.max(error, (wanted - moved) ** 2)
            of_signal.append(error)
    policy = -torch.stack(surrogates).mean()
    value = torch.stack([torch.stack(of_signal).mean() for of_signal in errors]).mean()
    total = policy + 0.5 * value - schedules.beta * torch.stack(entropies).mean()
    return total, abs(policy.item()), value.item()


@pytest.mark.parametrize(
    ("continuous", "branches", "signals", "shared", "clipping"),
    [
        (2, (), ("extrinsic",), False, False),
        (2, (), ("extrinsic",), True, True),
        (0, (3,), ("extrinsic",), False, False),
        (0, (4, 2), ("extrinsic",), True, False),
        (2, (3, 2), ("extrinsic", "other"), False, True),
        (1, (3,), ("extrinsic", "other"), True, False),
    ],
)
def test_an_update_is_adam_on_the_loss_of_ml_agents(
    continuous: int, branches: tuple[int, ...], signals: tuple[str, ...], shared: bool, clipping: bool
) -> None:
    network = make_network(continuous, branches, signals=signals, shared_critic=shared)
    batch = random_batch(20, continuous, branches, len(signals))
    expected = copy.deepcopy(network)
    adam = torch.optim.Adam(expected.parameters(), lr=SCHEDULES.learning_rate)
    losses = []
    for _ in range(3):
        total, *shown = written_out_loss(expected, batch, branches, SCHEDULES, clipping)
        losses.append(shown)
        adam.zero_grad()
        total.backward()
        adam.step()

    found, _ = update(network, batch, settings(batch_size=20, num_epoch=3, value_clipping=clipping))
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, expected.state_dict()[name], rtol=1e-3, atol=2e-5, msg=name)
    assert found == {
        "Losses/Policy Loss": pytest.approx(sum(policy for policy, _ in losses) / 3, rel=1e-4),
        "Losses/Value Loss": pytest.approx(sum(value for _, value in losses) / 3, rel=1e-4),
    }


@pytest.mark.parametrize(("steps", "minibatches"), [(10, 1), (39, 3), (40, 4), (9, 0)])
def test_minibatches_are_full_and_the_rest_is_left_out(
    steps: int, minibatches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    step = ppo.Optimizer.step
    monkeypatch.setattr(ppo.Optimizer, "step", lambda *given: taken.append(step(*given)))
    network = make_network(2)
    before = copy.deepcopy(network.state_dict())
    losses, _ = update(network, random_batch(steps, 2), settings(num_epoch=2))
    assert len(taken) == 2 * minibatches
    assert bool(losses) == bool(minibatches)
    if not minibatches:
        assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_step_is_used_once_an_epoch() -> None:
    # With one minibatch an epoch, the order cannot matter, but for rounding: a step used twice would.
    weights = []
    for seed in (1, 2):
        network = make_network(2)
        update(network, random_batch(40, 2), settings(batch_size=40, num_epoch=2), seed=seed)
        weights.append(network.actor.body[0].weight.detach())
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-3, atol=2e-5)


def test_the_generator_decides_on_the_order_anew_for_each_epoch() -> None:
    def trained(seed: int, epochs: int) -> torch.Tensor:
        network = make_network(2)
        update(network, random_batch(40, 2), settings(num_epoch=epochs), seed=seed)
        return network.actor.body[0].weight.detach()

    assert torch.equal(trained(1, 2), trained(1, 2))
    assert not torch.equal(trained(1, 2), trained(2, 2))


def test_the_schedules_of_the_moment_are_used() -> None:
    batch = random_batch(20, 2)
    network = make_network(2)
    before = copy.deepcopy(network.state_dict())
    update(network, batch, settings(), ppo.Schedules(learning_rate=0.0, epsilon=0.2, beta=0.1))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())

    def log_sigma(beta: float) -> float:
        network = make_network(2)
        update(network, batch, settings(), ppo.Schedules(learning_rate=1e-3, epsilon=0.2, beta=beta))
        return network.actor.log_sigma.sum().item()

    assert log_sigma(100.0) > log_sigma(0.0)  # beta rewards entropy


def test_an_optimizer_goes_on_from_its_state() -> None:
    batch = random_batch(40, 2)
    straight = make_network(2)
    optimizer = ppo.Optimizer(straight)
    ppo.update(straight, optimizer, batch, settings(), SCHEDULES, Philox(1))
    resumed = make_network(2)
    other = ppo.Optimizer(resumed)
    resumed.load_state_dict(straight.state_dict())
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for network, each in ((straight, optimizer), (resumed, other)):
        ppo.update(network, each, batch, settings(), SCHEDULES, Philox(2))
    for name, tensor in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name


def test_a_bandit_moves_to_what_paid_and_its_critic_to_the_returns() -> None:
    network = make_network(1, (2,))
    steps = 200
    generator = torch.Generator().manual_seed(1)
    actions = Actions(torch.randn(steps, 1, generator=generator), torch.randint(0, 2, (steps, 1), generator=generator))
    inputs = torch.ones(steps, 3)
    pay = actions.continuous[:, 0] + actions.discrete[:, 0].float()
    with torch.no_grad():
        before = network(inputs)
        old = torch.stack(
            [
                Normal(before.mean[:, 0], 1.0).log_prob(actions.continuous[:, 0]),
                Categorical(logits=before.logits[0]).log_prob(actions.discrete[:, 0]),
            ],
            dim=1,
        )
    returns = torch.full((steps, 1), 3.0)
    target = Target(actions, old, None, ppo.normalize_advantages(pay), returns, torch.zeros(steps, 1))
    update(network, ppo.Batch(inputs, target), settings(num_epoch=5))
    with torch.no_grad():
        after = network(inputs[:1])
    assert after.mean.item() > before.mean[0].item() + 0.05
    assert after.logits[0].softmax(1)[0, 1] > before.logits[0].softmax(1)[0, 1] + 0.02
    assert abs(3 - after.values.item()) < abs(3 - before.values[0, 0].item())


# ---- ours, and off unless they are asked for ----


def test_a_joint_ratio_is_that_of_the_whole_action() -> None:
    network = make_network(2, (3,))
    batch = random_batch(20, 2, (3,))
    expected = copy.deepcopy(network)
    adam = torch.optim.Adam(expected.parameters(), lr=SCHEDULES.learning_rate)
    mean, log_sigma, logits, values = expected(batch.inputs)
    target = batch.target
    assert mean is not None and log_sigma is not None and target.allowed is not None
    normal, allowed = Normal(mean, log_sigma.exp()), target.allowed.float()
    categorical = Categorical(logits=logits[0] * allowed - 1e8 * (1 - allowed))
    log_prob = normal.log_prob(target.actions.continuous).sum(1) + categorical.log_prob(target.actions.discrete[:, 0])
    ratio = (log_prob - target.log_probs.sum(1)).exp()
    surrogate = torch.min(ratio * target.advantages, ratio.clamp(0.8, 1.2) * target.advantages)
    entropy = normal.entropy().mean(1) + categorical.entropy()
    (-surrogate.mean() + 0.5 * (values - target.returns).square().mean() - SCHEDULES.beta * entropy.mean()).backward()
    adam.step()
    update(network, batch, settings(batch_size=20, num_epoch=1, joint_ratio=True))
    for found, wanted in zip(network.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_a_gradient_is_scaled_down_to_its_greatest_norm() -> None:
    batch = random_batch(20, 2)
    norms = {}
    for limit in (None, 1e9, 1e-3):
        network = make_network(2)
        _, optimizer = update(network, batch, settings(batch_size=20, num_epoch=1, max_grad_norm=limit))
        norms[limit] = float(optimizer.adam_state().gradient.norm())
    assert norms[1e9] == pytest.approx(norms[None])
    assert norms[1e-3] == pytest.approx(1e-3, rel=1e-4) and norms[None] > 1e-2


def test_an_update_ends_when_the_policy_has_moved_far_enough() -> None:
    batch = random_batch(100, 2)
    network = make_network(2)
    mean, log_sigma, *_ = network(batch.inputs)
    old = Normal(mean, log_sigma.exp()).log_prob(batch.target.actions.continuous).detach()
    batch = ppo.Batch(batch.inputs, batch.target._replace(log_probs=old))
    steps = {}
    for target_kl in (None, 1e9, 1e-3, 1e-12):
        learner = copy.deepcopy(network)
        _, optimizer = update(learner, batch, settings(num_epoch=5, target_kl=target_kl))
        steps[target_kl] = int(optimizer.state_dict()["step"])
    assert steps[None] == steps[1e9] == 50
    assert 1 <= steps[1e-12] < steps[1e-3] < 50


def test_the_kl_is_that_of_two_normals() -> None:
    """Two normals of deviation 1 whose means are 0.3 apart: 0.3^2 / 2."""
    drawn = torch.randn(200_000, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    log_ratio = Normal(0.3, 1.0).log_prob(drawn) - Normal(0.0, 1.0).log_prob(drawn)
    assert ppo.approximate_kl(log_ratio) == pytest.approx(0.045, rel=0.02)
