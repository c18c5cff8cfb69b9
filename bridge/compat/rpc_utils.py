"""Messages to arrays under the official names; `bridge.codec` does the work."""

import struct
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from mlagents_envs.base_env import BehaviorSpec, DecisionSteps, DimensionProperty, ObservationSpec, TerminalSteps
from numpy.typing import NDArray

from bridge.codec import _decode_observation, behavior_spec_from_message, check_finite, decode_steps
from bridge.exceptions import UnityObservationException
from bridge.images import decode_png_observation

PNG_HEADER = b"\x89PNG\r\n\x1a\n"
_EQUIVARIANT = DimensionProperty.TRANSLATIONAL_EQUIVARIANCE

behavior_spec_from_proto = behavior_spec_from_message


def steps_from_proto(
    agent_info_list: Collection[Any], behavior_spec: BehaviorSpec
) -> tuple[DecisionSteps, TerminalSteps]:
    """AgentInfoProtos of one behavior, as its decision steps and its terminal steps."""
    return decode_steps("unknown", behavior_spec, list(agent_info_list))


def process_pixels(
    image_bytes: bytes, expected_channels: int, mappings: Sequence[int] | None = None
) -> NDArray[np.float32]:
    """A PNG, or several back to back, as values in [0, 1], [channels, height, width]. `mappings` as on the wire."""
    if len(image_bytes) < 24:
        raise UnityObservationException(f"{len(image_bytes)} bytes are no PNG image")
    width, height = struct.unpack_from(">II", image_bytes, 16)  # of the first image
    channels = max(mappings) + 1 if mappings else expected_channels
    axes = (DimensionProperty.NONE, _EQUIVARIANT, _EQUIVARIANT)
    return decode_png_observation(image_bytes, (channels, height, width), list(mappings or ()), axes)


def _process_observation(
    obs_index: int, observation_spec: ObservationSpec, agent_info_list: Collection[Any]
) -> NDArray[np.float32]:
    agents = list(agent_info_list)
    decoded = _decode_observation("unknown", obs_index, observation_spec, agents)
    check_finite(decoded, f"observation {obs_index}", "unknown", [agent.id for agent in agents])
    return decoded


# Private there, but imported by code that decodes messages itself.
_process_maybe_compressed_observation = _process_observation
_process_rank_one_or_two_observation = _process_observation
