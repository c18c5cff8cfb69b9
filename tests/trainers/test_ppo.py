"""The losses on numbers worked out by hand, and an update beside the same written out plainly."""

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
from trainers.networks import ActorCritic


def close(found: torch.Tensor, expected: float) -> None:
    assert found.item() == pytest.approx(expected, rel=1e-5)


# ---- the losses ----


def test_the_policy_loss_clips_the_ratio_of_each_dimension_on_its_own() -> None:
    # ratios 1.5, 0.5 and 1.1, 1.0; epsilon 0.2; advantages 2 and -1
    # step 1: min(3, 1.2 * 2) = 2.4;  min(1, 0.8 * 2) = 1.0
    # step 2: min(-1.1, -1.1) = -1.1;  min(-1, -1) = -1
    old = torch.tensor([[-1.0, -2.0], [-0.5, -3.0]])
    new = old + torch.tensor([[1.5, 0.5], [1.1, 1.0]]).log()
    loss = ppo.policy_loss(new, old, torch.tensor([2.0, -1.0]), 0.2)
    close(loss, -(2.4 + 1.0 - 1.1 - 1.0) / 4)


def test_a_bad_action_that_became_likelier_is_not_clipped() -> None:
    # ratio 1.5, advantage -1: min(-1.5, -1.2) = -1.5; ratio 0.5: min(-0.5, -0.8) = -0.8
    old = torch.zeros(2, 1)
    new = torch.tensor([[1.5], [0.5]]).log()
    close(ppo.policy_loss(new, old, torch.tensor([-1.0, -1.0]), 0.2), (1.5 + 0.8) / 2)


VALUES, OLD_VALUES, RETURNS = torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 0.9]]), torch.tensor([[4.0, 2.0]])


def test_the_value_loss_is_the_plain_squared_error() -> None:
    close(ppo.value_loss(VALUES, OLD_VALUES, RETURNS, 0.2, clipping=False), (1 + 1) / 2)


def test_the_clipped_value_loss_takes_the_worse_of_both() -> None:
    # step 1: the value moved by 2, clipped to 1.2: (4 - 1.2)^2 = 7.84 is worse than 1; step 2 moved by 0.1: 1
    close(ppo.value_loss(VALUES, OLD_VALUES, RETURNS, 0.2, clipping=True), (7.84 + 1) / 2)


def test_the_value_loss_is_the_mean_over_reward_signals() -> None:
    values, returns = torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.tensor([[1.0, 3.0], [2.0, 4.0]])
    close(ppo.value_loss(values, values, returns, 0.2, clipping=False), ((1 + 9) / 2 + (4 + 16) / 2) / 2)


def test_advantages_are_normalised_over_the_whole_buffer() -> None:
    found = ppo.normalize_advantages(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    torch.testing.assert_close(found, torch.tensor([-1.5, -0.5, 0.5, 1.5]) / math.sqrt(1.25))
    assert ppo.normalize_advantages(torch.full((3,), 7.0)).tolist() == [0, 0, 0]


# ---- the update ----


def make_spec(size: int, continuous: int, branches: tuple[int, ...]) -> BehaviorSpec:
    observation = ObservationSpec((size,), (DimensionProperty.NONE,), ObservationType.DEFAULT, "numbers")
    return BehaviorSpec([observation], ActionSpec(continuous, branches))


def make_network(
    continuous: int, branches: tuple[int, ...] = (), size: int = 3, signals: tuple[str, ...] = ("extrinsic",)
) -> ActorCritic:
    torch.manual_seed(3)
    spec = make_spec(size, continuous, branches)
    return ActorCritic(spec, NetworkSettings(hidden_units=8, num_layers=1), list(signals))


def random_batch(
    network: ActorCritic, steps: int, continuous: int, branches: tuple[int, ...], signals: int
) -> ppo.Batch:
    """Made-up experience of `steps` steps; the first action of each branch with more than two is forbidden at random."""
    generator = torch.Generator().manual_seed(5)

    def normals(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    allowed = None
    if branches:
        allowed = torch.ones(steps, sum(branches), dtype=torch.bool)
        start = 0
        for size in branches:
            if size > 2:
                allowed[:, start] = normals(steps) > 0
            start += size
    chosen = [torch.randint(1 if size > 2 else 0, size, (steps,), generator=generator) for size in branches]
    return ppo.Batch(
        inputs=normals(steps, 3),
        actions=Actions(
            normals(steps, continuous),
            torch.stack(chosen, 1) if branches else torch.zeros(steps, 0, dtype=torch.int64),
        ),
        log_probs=normals(steps, continuous + len(branches)) - 1.5,
        allowed=allowed,
        advantages=ppo.normalize_advantages(normals(steps)),
        returns=normals(signals, steps),
        values=normals(signals, steps),
    )


def settings(**values: Any) -> Hyperparameters:
    return Hyperparameters.model_validate({"batch_size": 10, "buffer_size": 100, **values})


SCHEDULES = ppo.Schedules(learning_rate=1e-2, epsilon=0.2, beta=0.05)


def update(
    network: ActorCritic, batch: ppo.Batch, hyperparameters: Hyperparameters, schedules: ppo.Schedules = SCHEDULES
) -> tuple[dict[str, float], torch.optim.Optimizer]:
    optimizer = ppo.make_optimizer(network, 1.0)  # the schedule's learning rate replaces this one
    generator = torch.Generator().manual_seed(1)
    return ppo.update(network, optimizer, batch, hyperparameters, schedules, generator), optimizer


def written_out_loss(
    network: ActorCritic, batch: ppo.Batch, branches: tuple[int, ...], schedules: ppo.Schedules, clipping: bool
) -> tuple[torch.Tensor, float, float]:
    """The total, policy and value loss of ML-Agents, one step, one dimension, one branch and one signal after the other."""
    mean, logits, values = network(batch.inputs)
    surrogates, entropies, errors = [], [], [[] for _ in values]
    for step in range(len(batch.advantages)):
        log_probs, entropy = [], torch.zeros(())
        if mean is not None:
            normal = Normal(mean[step], network.actor.log_sigma.exp())
            log_probs += list(normal.log_prob(batch.actions.continuous[step]))
            entropy = entropy + normal.entropy().mean()
        start = 0
        for branch, size in enumerate(branches):
            assert batch.allowed is not None
            allowed = batch.allowed[step, start : start + size].float()
            start += size
            categorical = Categorical(logits=logits[branch][step] * allowed - 1e8 * (1 - allowed))
            log_probs.append(categorical.log_prob(batch.actions.discrete[step, branch]))
            entropy = entropy + categorical.entropy()
        entropies.append(entropy)
        for column, log_prob in enumerate(log_probs):
            ratio = (log_prob - batch.log_probs[step, column]).exp()
            clipped = ratio.clamp(1 - schedules.epsilon, 1 + schedules.epsilon)
            surrogates.append(torch.min(ratio * batch.advantages[step], clipped * batch.advantages[step]))
        for signal in range(len(values)):
            value, old, wanted = values[signal, step], batch.values[signal, step], batch.returns[signal, step]
            error = (wanted - value) ** 2
            if clipping:
                moved = old + (value - old).clamp(-schedules.epsilon, schedules.epsilon)
                error = torch.max(error, (wanted - moved) ** 2)
            errors[signal].append(error)
    policy = -torch.stack(surrogates).mean()
    value = torch.stack([torch.stack(of_signal).mean() for of_signal in errors]).mean()
    total = policy + 0.5 * value - schedules.beta * torch.stack(entropies).mean()
    return total, abs(policy.item()), value.item()


@pytest.mark.parametrize("clipping", [False, True])
@pytest.mark.parametrize(
    ("continuous", "branches", "signals"),
    [
        (2, (), ("extrinsic",)),
        (0, (3,), ("extrinsic",)),
        (0, (4, 2), ("extrinsic",)),
        (2, (3, 2), ("extrinsic", "other")),
    ],
    ids=["continuous", "discrete", "two branches", "hybrid with two signals"],
)
def test_an_update_is_adam_on_the_loss_of_ml_agents(
    continuous: int, branches: tuple[int, ...], signals: tuple[str, ...], clipping: bool
) -> None:
    network = make_network(continuous, branches, signals=signals)
    batch = random_batch(network, 20, continuous, branches, len(signals))
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
        torch.testing.assert_close(tensor, expected.state_dict()[name], rtol=1e-4, atol=1e-5)
    assert found == {
        "Losses/Policy Loss": pytest.approx(sum(policy for policy, _ in losses) / 3, rel=1e-4),
        "Losses/Value Loss": pytest.approx(sum(value for _, value in losses) / 3, rel=1e-4),
    }


@pytest.mark.parametrize(("steps", "minibatches"), [(10, 1), (39, 3), (40, 4), (9, 0)])
def test_minibatches_are_full_and_the_rest_is_left_out(steps: int, minibatches: int) -> None:
    network = make_network(2)
    before = copy.deepcopy(network.state_dict())
    losses, optimizer = update(network, random_batch(network, steps, 2, (), 1), settings(num_epoch=2))
    taken = {int(state["step"]) for state in optimizer.state.values()}
    assert taken == ({2 * minibatches} if minibatches else set())
    assert bool(losses) == bool(minibatches)
    if not minibatches:
        assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_each_epoch_takes_the_steps_in_another_order_that_the_generator_decides() -> None:
    def trained(seed: int, epochs: int) -> torch.Tensor:
        network = make_network(2)
        optimizer = ppo.make_optimizer(network, 1e-2)
        batch = random_batch(network, 40, 2, (), 1)
        ppo.update(
            network, optimizer, batch, settings(num_epoch=epochs), SCHEDULES, torch.Generator().manual_seed(seed)
        )
        return network.actor.body[0].weight.detach()

    assert torch.equal(trained(1, 2), trained(1, 2))
    assert not torch.equal(trained(1, 2), trained(2, 2))
    assert not torch.equal(trained(1, 1), trained(1, 2))


def test_the_schedules_of_the_moment_are_used() -> None:
    network = make_network(2)
    batch = random_batch(network, 20, 2, (), 1)
    before = copy.deepcopy(network.state_dict())
    update(network, batch, settings(), ppo.Schedules(learning_rate=0.0, epsilon=0.2, beta=0.1))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())

    def log_sigma(beta: float) -> float:
        network = make_network(2)
        update(network, batch, settings(), ppo.Schedules(learning_rate=1e-3, epsilon=0.2, beta=beta))
        return network.actor.log_sigma.sum().item()

    assert log_sigma(100.0) > log_sigma(0.0)  # beta rewards entropy


def test_a_bandit_moves_to_what_paid_and_its_critic_to_the_returns() -> None:
    network = make_network(1, (2,), size=1)
    steps = 200
    generator = torch.Generator().manual_seed(1)
    actions = Actions(torch.randn(steps, 1, generator=generator), torch.randint(0, 2, (steps, 1), generator=generator))
    inputs = torch.ones(steps, 1)
    pay = actions.continuous[:, 0] + actions.discrete[:, 0].float()
    with torch.no_grad():
        mean, logits, values = network(inputs)
    assert mean is not None
    old = torch.stack(
        [
            Normal(mean[:, 0], 1.0).log_prob(actions.continuous[:, 0]),
            Categorical(logits=logits[0]).log_prob(actions.discrete[:, 0]),
        ],
        dim=1,
    )
    batch = ppo.Batch(
        inputs, actions, old, None, ppo.normalize_advantages(pay), torch.full((1, steps), 3.0), torch.zeros(1, steps)
    )
    update(network, batch, settings(num_epoch=5))
    with torch.no_grad():
        new_mean, new_logits, new_values = network(inputs[:1])
    assert new_mean.item() > mean[0].item() + 0.05
    assert new_logits[0].softmax(1)[0, 1] > logits[0].softmax(1)[0, 1] + 0.02
    assert abs(3 - new_values.item()) < abs(3 - values[0, 0].item())
