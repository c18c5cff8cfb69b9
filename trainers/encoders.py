"""Encoders of pictures: ML-Agents' architectures, [agents, channels, height, width] to [agents, outputs].

fully_connected   one layer, leaky
simple            16 filters 8x8 step 4, 32 filters 4x4 step 2, one layer; leaky
nature_cnn        32 of 8x8 step 4, 64 of 4x4 step 2, 64 of 3x3, one layer; leaky (Mnih et al., Nature 518, 2015)
resnet            three stacks of 16, 32 and 32 filters, each pooled and with two residual blocks of swish; one layer,
                  rectified (the large network of Espeholt et al., IMPALA, 2018)
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from mlagents_envs.base_env import DimensionProperty, ObservationSpec
from torch import Tensor, nn

from trainers.errors import UsageError

_DENSE_GAIN = 1.41  # of ML-Agents' initialisation behind the filters
_LEAST_SIDE = {"fully_connected": 1, "simple": 20, "nature_cnn": 36, "resnet": 15}  # pixels
_FILTERS = {  # of each convolution: filters, size, step
    "fully_connected": (),
    "simple": ((16, 8, 4), (32, 4, 2)),
    "nature_cnn": ((32, 8, 4), (64, 4, 2), (64, 3, 1)),
}
_STACKS = (16, 32, 32)


def channels_last(spec: ObservationSpec) -> bool:
    """Whether the channels of this picture are its last dimension.

    They are the dimension in which a picture cannot be shifted. Players that say nothing about dimensions have them
    first, as ML-Agents 1.1.0 takes them.
    """
    return len(spec.shape) == 3 and spec.dimension_property[0] != DimensionProperty.NONE == spec.dimension_property[2]


class ResidualBlock(nn.Module):
    """x + two convolutions with swish before each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, pictures: Tensor) -> Tensor:
        inner = self.first(nn.functional.silu(pictures))
        return pictures + self.second(nn.functional.silu(inner))


class VisualEncoder(nn.Module):
    """One picture of an observation; `shape`: channels, height, width."""

    def __init__(self, kind: str, shape: Sequence[int], outputs: int) -> None:
        """Raises UsageError for pictures that are too small for the architecture."""
        super().__init__()
        if kind not in _LEAST_SIDE:
            raise UsageError(
                f"network_settings.vis_encode_type: {kind} is not supported yet; there is {', '.join(_LEAST_SIDE)}"
            )
        channels, height, width = shape
        if min(height, width) < _LEAST_SIDE[kind]:
            fitting = [name for name, side in _LEAST_SIDE.items() if side <= min(height, width)]
            raise UsageError(
                f"network_settings.vis_encode_type: {kind} needs pictures of {_LEAST_SIDE[kind]} pixels a side or "
                f"more, got {height} x {width}; for these there is {', '.join(fitting)}"
            )
        self.kind, self.outputs = kind, outputs
        self.layers = nn.ModuleList(_residual(channels) if kind == "resnet" else _convolutions(kind, channels))
        with torch.no_grad():
            flat = self._filtered(torch.zeros(1, channels, height, width)).numel()
        self.dense = nn.Linear(flat, outputs)
        nn.init.normal_(self.dense.weight, 0.0, _DENSE_GAIN / math.sqrt(flat))
        nn.init.zeros_(self.dense.bias)

    def forward(self, pictures: Tensor) -> Tensor:
        outputs = self.dense(self._filtered(pictures).flatten(1))
        return torch.relu(outputs) if self.kind == "resnet" else nn.functional.leaky_relu(outputs)

    def _filtered(self, pictures: Tensor) -> Tensor:
        if self.kind == "resnet":  # its pooling and small filters take half the time with the channels innermost
            pictures = pictures.contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            pictures = layer(pictures)
        return nn.functional.silu(pictures) if self.kind == "resnet" else pictures


def _convolutions(kind: str, channels: int) -> list[Any]:
    layers: list[Any] = []
    for filters, size, step in _FILTERS[kind]:
        layers += [nn.Conv2d(channels, filters, size, step), nn.LeakyReLU()]
        channels = filters
    return layers


def _residual(channels: int) -> list[Any]:
    layers: list[Any] = []
    for filters in _STACKS:
        layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.MaxPool2d(3, 2)]
        layers += [ResidualBlock(filters), ResidualBlock(filters)]
        channels = filters
    return layers
