"""Encoders of pictures have ML-Agents' sizes, and see what is in the picture."""

import pytest
import torch

from trainers.encoders import VisualEncoder
from trainers.errors import UsageError

DENSE = 64


def convolution(channels: int, filters: int, size: int) -> int:
    return filters * (channels * size * size + 1)


@pytest.mark.parametrize(
    "kind, filters, flat",
    [
        ("fully_connected", 0, 3 * 84 * 84),
        ("simple", convolution(3, 16, 8) + convolution(16, 32, 4), 9 * 9 * 32),
        ("nature_cnn", convolution(3, 32, 8) + convolution(32, 64, 4) + convolution(64, 64, 3), 7 * 7 * 64),
        (
            "resnet",
            convolution(3, 16, 3) + 4 * convolution(16, 16, 3)
            + convolution(16, 32, 3) + 4 * convolution(32, 32, 3)
            + convolution(32, 32, 3) + 4 * convolution(32, 32, 3),
            9 * 9 * 32,
        ),
    ],
)  # fmt: skip
def test_the_sizes_are_those_of_ml_agents(kind: str, filters: int, flat: int) -> None:
    encoder = VisualEncoder(kind, (3, 84, 84), DENSE)
    assert sum(one.numel() for one in encoder.parameters()) == filters + DENSE * (flat + 1)
    assert encoder(torch.rand(5, 3, 84, 84)).shape == (5, DENSE)


@pytest.mark.parametrize("kind", ["fully_connected", "simple", "nature_cnn", "resnet"])
def test_it_can_tell_where_a_spot_is(kind: str) -> None:
    torch.manual_seed(1)
    encoder, head = VisualEncoder(kind, (1, 36, 36), 16), torch.nn.Linear(16, 2)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=4e-3)
    places = torch.randint(0, 9, (24, 2))
    pictures = torch.zeros(24, 1, 36, 36)
    for picture, (row, column) in zip(pictures, places, strict=True):
        picture[0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 1.0
    wanted, losses = places / 8.0, []
    for _ in range(60):
        loss = (head(encoder(pictures)) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.3 * float(wanted.var(0, unbiased=False).mean())


@pytest.mark.parametrize(
    "kind, side, others",
    [("simple", 19, "fully_connected, resnet"), ("nature_cnn", 35, "fully_connected, simple, resnet")],
)
def test_pictures_that_are_too_small_are_told(kind: str, side: int, others: str) -> None:
    with pytest.raises(
        UsageError, match=rf"{kind} needs pictures of {side + 1} pixels .*got {side} x 99; .* {others}$"
    ):
        VisualEncoder(kind, (3, side, 99), 8)
    VisualEncoder(kind, (3, side + 1, 99), 8)
