"""Random numbers: the same everywhere and with the right shares. Optimizers: step for step torch.optim's."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from trainers.kernels import philox
from trainers.kernels.operators import REFERENCES

ours = torch.ops.openmined


def test_draws_are_those_of_the_reference_to_the_bit(instruction_set: str) -> None:
    shares = torch.softmax(torch.randn(2000, 7), 1)
    assert torch.equal(ours.sample(shares, 1, 2**40 + 3, 9), REFERENCES["sample"](shares, 1, 2**40 + 3, 9))
    rows = torch.rand(4, 5, 60)  # not of sum 1
    assert torch.equal(ours.sample(rows, 1, 3, 2**33), REFERENCES["sample"](rows, 1, 3, 2**33))
    x = torch.empty(4001)
    assert torch.equal(ours.dropout_mask(x, 0.3, 5, 6), REFERENCES["dropout_mask"](x, 0.3, 5, 6))
    y = torch.empty(4001)
    ours.uniform_(x, -2.0, 3.0, 5, 6)
    REFERENCES["uniform_"](y, -2.0, 3.0, 5, 6)
    assert torch.equal(x, y)


def test_shares_are_right() -> None:
    shares = torch.tensor([0.1, 0.0, 0.6, 0.3]).expand(40000, 4)
    drawn = torch.bincount(ours.sample(shares, 1, 1, 1), minlength=4) / 40000
    torch.testing.assert_close(drawn, shares[0], atol=0.01, rtol=0)
    assert drawn[1] == 0
    mask = ours.dropout_mask(torch.empty(40000), 0.25, 1, 1)
    assert set(mask.tolist()) == {0.0, float(torch.tensor(1 / 0.75))}
    assert abs(mask.mean().item() - 1) < 0.01
    x = torch.empty(40000, dtype=torch.int64)
    ours.random_(x, -2, 3, 7, 8)
    torch.testing.assert_close(torch.bincount(x + 2) / 40000, torch.full((5,), 0.2), atol=0.01, rtol=0)


def test_a_choice_is_that_of_the_fused_policy() -> None:
    shares = torch.softmax(torch.randn(500, 4), 1)
    drawn = torch.from_numpy(philox.uniforms(7, 8, philox.CHOICES, 500))
    assert (ours.sample(shares, 1, 7, 8) == philox.choices(shares, drawn)).float().mean() > 0.998  # but for rounding


Step = Callable[[torch.Tensor, torch.Tensor, list[torch.Tensor], int], None]


def _sgd(p: torch.Tensor, g: torch.Tensor, s: list[torch.Tensor], step: int) -> None:
    ours.sgd_(p, g, s[0], 0.1, 0.9, 0.0, 0.01, True, step == 1)


def _plain_sgd(p: torch.Tensor, g: torch.Tensor, s: list[torch.Tensor], step: int) -> None:
    ours.sgd_(p, g, None, 0.1)


def _damped_sgd(p: torch.Tensor, g: torch.Tensor, s: list[torch.Tensor], step: int) -> None:
    ours.sgd_(p, g, s[0], 0.1, 0.8, 0.3, 0.0, False, step == 1)


def _rmsprop(p: torch.Tensor, g: torch.Tensor, s: list[torch.Tensor], step: int) -> None:
    ours.rmsprop_(p, g, s[0], s[1], 0.05, 0.9, 1e-7, 0.01, 0.5)


def _adam(p: torch.Tensor, g: torch.Tensor, s: list[torch.Tensor], step: int) -> None:
    ours.adam_(p, g, s[0], s[1], step, 0.05, 0.8, 0.99, 1e-7, 0.01)


OPTIMIZERS: list[tuple[Step, type[torch.optim.Optimizer], dict[str, Any]]] = [
    (_sgd, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True}),
    (_plain_sgd, torch.optim.SGD, {"lr": 0.1}),
    (_damped_sgd, torch.optim.SGD, {"lr": 0.1, "momentum": 0.8, "dampening": 0.3}),
    (_rmsprop, torch.optim.RMSprop, {"lr": 0.05, "alpha": 0.9, "eps": 1e-7, "weight_decay": 0.01, "momentum": 0.5}),
    (_adam, torch.optim.Adam, {"lr": 0.05, "betas": (0.8, 0.99), "eps": 1e-7, "weight_decay": 0.01}),
]


@pytest.mark.parametrize(("step", "kind", "settings"), OPTIMIZERS, ids=[row[0].__name__ for row in OPTIMIZERS])
def test_steps_are_those_of_torch_optim(step: Step, kind: Any, settings: dict[str, Any], instruction_set: str) -> None:
    for dtype, tolerance in ((torch.float32, 2e-5), (torch.float64, 1e-12)):
        for make in (lambda d: torch.randn(37, 5, dtype=d), lambda d: torch.randn(5, 37, dtype=d).t()):
            theirs = torch.nn.Parameter(make(dtype))
            mine, state = theirs.detach().clone(), [torch.zeros_like(theirs.detach()) for _ in range(2)]
            optimizer = kind([theirs], **settings)
            for number in range(1, 21):
                theirs.grad = make(dtype)
                step(mine, theirs.grad, state, number)
                optimizer.step()
            torch.testing.assert_close(mine, theirs.detach(), rtol=tolerance, atol=tolerance)
