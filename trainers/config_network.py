"""The `network_settings` of a behavior and of its reward signals."""

from typing import Literal

from pydantic import field_validator

from trainers.config_errors import expected
from trainers.config_sections import Positive, Section


class MemorySettings(Section):
    """Of an LSTM behind the other layers; `memory_size` holds its hidden and its cell state."""

    sequence_length: Positive = 64
    memory_size: Positive = 128

    @field_validator("memory_size")
    @classmethod
    def _has_two_halves(cls, memory_size: int) -> int:
        if memory_size % 2:
            raise expected("an even number, half for the hidden and half for the cell state")
        return memory_size


class NetworkSettings(Section):
    """`vis_encode_type` matters for pictures, `goal_conditioning_type` for goal observations only."""

    normalize: bool = False
    hidden_units: Positive = 128
    num_layers: Positive = 2
    vis_encode_type: Literal["fully_connected", "match3", "simple", "nature_cnn", "resnet"] = "simple"
    memory: MemorySettings | None = None
    goal_conditioning_type: Literal["hyper", "none"] = "hyper"
    deterministic: bool = False
