"""Attention over entities: who is there counts, in whatever order; test_general_networks holds it to ML-Agents' own."""

import math

import pytest
import torch
from torch import Tensor

from trainers.attention import Attention


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(1)


def attention(own_size: int = 4) -> Attention:
    """Of two observations, whose entities have three and two numbers; weights large enough that all of it matters."""
    made = Attention({"1": 3, "2": 2}, own_size)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0.0, 0.3)
    return made


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_neither_the_order_nor_the_padding_matters() -> None:
    made, own = attention(), torch.randn(6, 4)
    first, second = torch.randn(6, 5, 3), torch.randn(6, 2, 2)
    expected = made({"1": first, "2": second}, own)
    assert expected.shape == (6, 128)
    assert_close(made({"1": first[:, [3, 0, 4, 2, 1]], "2": second.flip(1)}, own), expected)
    padded = torch.zeros(6, 9, 3)
    padded[:, [0, 2, 3, 6, 8]] = first
    assert_close(made({"1": padded, "2": second}, own), expected)


def test_every_entity_and_the_agent_itself_matter() -> None:
    made, own = attention(), torch.randn(1, 4)
    first, second = torch.randn(1, 5, 3), torch.randn(1, 2, 2)
    expected = made({"1": first, "2": second}, own)
    for entity in range(5):
        changed = first.clone()
        changed[0, entity] *= 1.1
        assert (made({"1": changed, "2": second}, own) - expected).abs().max() > 1e-3
    assert (made({"1": first, "2": second * 1.1}, own) - expected).abs().max() > 1e-3
    assert (made({"1": first, "2": second}, own * 1.1) - expected).abs().max() > 1e-3


@pytest.mark.parametrize(("size", "there"), [(0.11, True), (0.09, False)])
def test_an_entity_of_hardly_any_size_is_none(size: float, there: bool) -> None:
    made, own = attention(), torch.randn(1, 4)
    entities = {"1": torch.randn(1, 2, 3), "2": torch.zeros(1, 2, 2)}
    without = made(entities, own)
    entities["2"][0, 1, 0] = size
    assert bool((made(entities, own) - without).abs().max() > 1e-3) is there


def test_nobody_there_is_zeros_and_teaches_nothing() -> None:
    made = attention()
    own = torch.randn(2, 4, requires_grad=True)
    entities = {"1": torch.zeros(2, 5, 3), "2": torch.zeros(2, 2, 2)}
    entities["1"][1, 0] = 1.0  # of the other agent
    outputs = made(entities, own)
    assert not outputs[0].any() and outputs[1].any()
    outputs.square().sum().backward()
    assert own.grad is not None and not own.grad[0].any() and own.grad[1].any()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in made.parameters())


def test_agents_do_not_see_each_others_entities() -> None:
    made, own = attention(), torch.randn(3, 4)
    first, second = torch.randn(3, 5, 3), torch.randn(3, 2, 2)
    together = made({"1": first, "2": second}, own)
    for row in range(3):
        one = slice(row, row + 1)
        assert_close(made({"1": first[one], "2": second[one]}, own[one]), together[one])


def test_entities_can_be_all_that_an_agent_observes() -> None:
    made = attention(own_size=0)
    assert not hasattr(made, "own")
    assert made({"1": torch.randn(6, 5, 3), "2": torch.randn(6, 2, 2)}, None).isfinite().all()


def test_it_starts_small_and_spreads_as_ml_agents_does() -> None:
    made = Attention({"0": 40}, 60)
    for layer in (made.own, made.embeddings["0"], made.query, made.key, made.value, made.output):
        assert float(layer.weight.detach().std()) == pytest.approx(math.sqrt(0.125 / 128), rel=0.05)
        assert not layer.bias.any()
