"""The networks: names and shapes of their parameters, their first values, and the normaliser."""

import math
from collections.abc import Sequence

import pytest
import torch
from mlagents_envs.base_env import ActionSpec, BehaviorSpec, DimensionProperty, ObservationSpec, ObservationType

from trainers.config import NetworkSettings
from trainers.networks import ActorCritic, Normalizer


def spec(shapes: Sequence[tuple[int, ...]], continuous: int = 0, branches: tuple[int, ...] = ()) -> BehaviorSpec:
    observations = [
        ObservationSpec(shape, (DimensionProperty.NONE,) * len(shape), ObservationType.DEFAULT, f"number {index}")
        for index, shape in enumerate(shapes)
    ]
    return BehaviorSpec(observations, ActionSpec(continuous, branches))


def shapes_of(network: ActorCritic) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def test_names_and_shapes_of_the_parameters() -> None:
    settings = NetworkSettings(hidden_units=5, num_layers=2, normalize=True)
    network = ActorCritic(spec([(3,), (2, 2)], 2, (4, 3)), settings, ["extrinsic"])
    assert shapes_of(network) == {
        "actor.normalizers.0.mean": (3,),
        "actor.normalizers.0.variance_sum": (3,),
        "actor.normalizers.0.steps": (),
        "actor.normalizers.1.mean": (4,),
        "actor.normalizers.1.variance_sum": (4,),
        "actor.normalizers.1.steps": (),
        "actor.body.0.weight": (5, 7),
        "actor.body.0.bias": (5,),
        "actor.body.1.weight": (5, 5),
        "actor.body.1.bias": (5,),
        "actor.continuous.weight": (2, 5),
        "actor.continuous.bias": (2,),
        "actor.log_sigma": (2,),
        "actor.discrete.0.weight": (4, 5),
        "actor.discrete.0.bias": (4,),
        "actor.discrete.1.weight": (3, 5),
        "actor.discrete.1.bias": (3,),
        "critic.body.0.weight": (5, 7),
        "critic.body.0.bias": (5,),
        "critic.body.1.weight": (5, 5),
        "critic.body.1.bias": (5,),
        "critic.values.extrinsic.weight": (1, 5),
        "critic.values.extrinsic.bias": (1,),
    }


def test_a_shared_critic_has_only_its_heads() -> None:
    settings = NetworkSettings(hidden_units=5, num_layers=1)
    network = ActorCritic(spec([(3,)], 2), settings, ["extrinsic"], shared_critic=True)
    assert [name for name in shapes_of(network) if name.startswith("critic.")] == [
        "critic.values.extrinsic.weight",
        "critic.values.extrinsic.bias",
    ]
    observations = [torch.ones(4, 3)]
    before = network.values(network.prepare(observations))
    with torch.no_grad():
        network.actor.body[0].bias += 1
    assert not torch.equal(network.values(network.prepare(observations)), before)


def test_an_own_critic_does_not_depend_on_the_actor() -> None:
    network = ActorCritic(spec([(3,)], 2), NetworkSettings(hidden_units=5), ["extrinsic"])
    observations = [torch.ones(4, 3)]
    before = network.values(network.prepare(observations))
    assert before.shape == (4, 1)
    with torch.no_grad():
        network.actor.body[0].bias += 1
    assert torch.equal(network.values(network.prepare(observations)), before)


def test_the_layers_are_linear_and_swish() -> None:
    settings = NetworkSettings(hidden_units=4, num_layers=2)
    network = ActorCritic(spec([(2,), (1,)], 1), settings, ["extrinsic"])
    hidden = torch.tensor([[1.0, -2.0, 0.5]])  # the observations side by side
    for index in range(2):
        layer = network.actor.body[index]
        hidden = hidden @ layer.weight.T + layer.bias
        hidden = hidden * torch.sigmoid(hidden)
    expected = hidden @ network.actor.continuous.weight.T + network.actor.continuous.bias
    actor = network.actor
    found, logits = actor.heads(actor.encode(actor.prepare([torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5]])])))
    torch.testing.assert_close(found, expected)
    assert logits == []


def test_the_first_values_are_spread_as_in_ml_agents() -> None:
    torch.manual_seed(0)
    inputs, hidden = 400, 900
    network = ActorCritic(spec([(inputs,)], 200, (200,)), NetworkSettings(hidden_units=hidden), ["extrinsic"])
    state = network.state_dict()
    for name, deviation in {
        "actor.body.0.weight": 1 / math.sqrt(inputs),
        "actor.body.1.weight": 1 / math.sqrt(hidden),
        "critic.body.0.weight": 1 / math.sqrt(inputs),
        "actor.continuous.weight": 0.2 / math.sqrt(hidden),
        "actor.discrete.0.weight": 0.1 / math.sqrt(hidden),
    }.items():
        assert state[name].std().item() == pytest.approx(deviation, rel=0.02), name
        assert abs(state[name].mean().item()) < 0.02 * deviation, name
    limit = math.sqrt(6 / (hidden + 1))  # Xavier uniform
    values = state["critic.values.extrinsic.weight"].abs()
    assert 0.9 * limit < values.max().item() <= limit
    assert values.mean().item() == pytest.approx(limit / 2, rel=0.1)
    zeros = [name for name in state if name.endswith((".bias", "log_sigma"))]
    assert len(zeros) == 8
    assert all((state[name] == 0).all() for name in zeros)


# ---- the normaliser ----


def test_a_fresh_normalizer_only_clips() -> None:
    values = torch.tensor([[-7.0, -5.0, 0.5], [5.5, 1.0, 0.0]])
    torch.testing.assert_close(Normalizer(3)(values), values.clamp(-5, 5))


def test_the_normalizer_worked_out_by_hand() -> None:
    # mean 0, variance_sum 1, steps 1; then 2 and 4: steps 3, mean 0 + (2 + 4) / 3 = 2,
    # variance_sum 1 + (2 - 2) * (2 - 0) + (4 - 2) * (4 - 0) = 9, so the deviation is sqrt(9 / 3)
    normalizer = Normalizer(1)
    normalizer.update(torch.tensor([[2.0], [4.0]]))
    assert (normalizer.steps.item(), normalizer.mean.item(), normalizer.variance_sum.item()) == (3, 2, 9)
    torch.testing.assert_close(normalizer(torch.tensor([[5.0], [99.0]])), torch.tensor([[3 / math.sqrt(3)], [5.0]]))


def test_the_normalizer_takes_batches_as_it_takes_steps_one_by_one() -> None:
    values = torch.randn(500, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor([0.1, 1, 50]) + 7
    steps, mean, variance_sum = 1, [0.0] * 3, [1.0] * 3
    for row in values.tolist():
        steps += 1
        for index, value in enumerate(row):
            old_mean = mean[index]
            mean[index] += (value - old_mean) / steps
            variance_sum[index] += (value - mean[index]) * (value - old_mean)
    normalizer = Normalizer(3)
    for part in values.split([1, 199, 300]):
        normalizer.update(part)
    assert normalizer.steps.item() == steps
    torch.testing.assert_close(normalizer.mean, torch.tensor(mean))
    torch.testing.assert_close(normalizer.variance_sum, torch.tensor(variance_sum), rtol=1e-4, atol=0)
    deviation = torch.tensor(variance_sum).div(steps).sqrt()
    torch.testing.assert_close(
        normalizer(values), ((values - torch.tensor(mean)) / deviation).clamp(-5, 5), rtol=1e-4, atol=1e-4
    )


def test_a_loaded_normalizer_works_like_the_saved_one() -> None:
    values = torch.randn(50, 2) * 3 + 1
    first, second = Normalizer(2), Normalizer(2)
    first.update(values)
    second.load_state_dict(first.state_dict())
    assert torch.equal(second(values), first(values))
    for normalizer in (first, second):
        normalizer.update(values * 2)
    assert torch.equal(second(values), first(values))


def test_each_observation_is_normalised_on_its_own_before_they_are_joined() -> None:
    settings = NetworkSettings(hidden_units=4, normalize=True)
    actor = ActorCritic(spec([(1,), (1, 2)], 1), settings, ["extrinsic"]).actor
    first, second = torch.tensor([[2.0], [4.0]]), torch.tensor([[[0.0, 1.0]], [[0.0, 3.0]]])
    actor.update_normalizers([first, second])
    inputs = actor.prepare([first, second])
    assert inputs.shape == (2, 3)
    torch.testing.assert_close(inputs[:, 0], torch.tensor([0.0, 2 / math.sqrt(3)]))
    torch.testing.assert_close(inputs[:, 1], torch.zeros(2))


def test_without_normalize_observations_go_in_as_they_are() -> None:
    actor = ActorCritic(spec([(2,)], 1), NetworkSettings(hidden_units=4), ["extrinsic"]).actor
    values = torch.tensor([[100.0, -100.0]])
    actor.update_normalizers([values])
    assert torch.equal(actor.prepare([values]), values)
