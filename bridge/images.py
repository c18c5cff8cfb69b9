"""Visual observations that arrive as PNG files."""

import io
import math
from collections.abc import Sequence

import numpy as np
from mlagents_envs.base_env import DimensionProperty
from numpy.typing import NDArray

from bridge.exceptions import UnityObservationException

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def decode_png_observation(
    data: bytes, shape: tuple[int, ...], channel_mapping: list[int], dimension_property: Sequence[DimensionProperty]
) -> NDArray[np.float32]:
    """Decodes one PNG, or several back to back (three channels each), to `shape` with values in [0, 1].

    `channel_mapping[k]` is the output channel of decoded channel k, -1 drops it; decoded channels with the same output
    are averaged. Without a mapping one output channel is the mean of the first image's channels, otherwise the first
    channels are kept. Raises UnityObservationException for what is no image, or not one of this shape.
    """
    if len(shape) != 3:
        raise UnityObservationException(f"a PNG image has a shape of three numbers, not {shape}")
    images = [_decode_png(part, shape) for part in _split(data)]
    if len({image.shape for image in images}) > 1:
        raise UnityObservationException("PNG images of different sizes make no observation")
    decoded = np.concatenate(images)  # [3 * images, height, width]
    channels_first = _channels_come_first(shape, decoded.shape[1:], dimension_property)
    channels, *height_width = shape if channels_first else (shape[2], *shape[:2])
    if channel_mapping:
        if len(channel_mapping) != len(decoded) or set(channel_mapping) - {-1} != set(range(channels)):
            raise UnityObservationException(
                f"the channel mapping {channel_mapping} does not fit {len(decoded)} decoded channels and {channels} "
                f"channels in the shape {shape}"
            )
        output = np.stack(
            [decoded[[i for i, to in enumerate(channel_mapping) if to == k]].mean(axis=0) for k in range(channels)]
        )
    elif channels == 1:
        output = decoded[:3].mean(axis=0, keepdims=True)
    else:
        output = decoded[:channels]
    if output.shape != (channels, *height_width):
        raise UnityObservationException(
            f"the PNG image has {output.shape[0]} channels of {output.shape[1]} x {output.shape[2]} pixels, the shape "
            f"is {shape}"
        )
    return output if channels_first else np.moveaxis(output, 0, -1)


def _split(data: bytes) -> list[bytes]:
    before, *images = data.split(_SIGNATURE)
    if before or not images:
        raise UnityObservationException("what should be a PNG image is none")
    return [_SIGNATURE + image for image in images]


def _decode_png(data: bytes, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Values in [0, 1], [3, height, width]."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            # Before it is unpacked: a few bytes may claim to be more pixels than there is memory.
            fits = image.width * image.height <= math.prod(shape)
            pixels = np.asarray(image.convert("RGB"), dtype=np.float32) / 255.0 if fits else None
    except UnidentifiedImageError as error:  # names an object in memory, which tells nobody anything
        raise UnityObservationException("what should be a PNG image is none") from error
    except Exception as error:  # Pillow raises many kinds for broken images
        raise UnityObservationException(f"the PNG image cannot be decoded: {error}") from error
    if pixels is None:
        raise UnityObservationException(
            f"the PNG image has {image.width} x {image.height} pixels, the shape is {shape}"
        )
    return np.moveaxis(pixels, -1, 0)


def _channels_come_first(
    shape: tuple[int, ...], image: tuple[int, ...], dimension_property: Sequence[DimensionProperty]
) -> bool:
    """Nothing on the wire says which axis holds the channels; it is the one in which an image cannot be shifted.

    They come last until ML-Agents 1.0. Players from before API 1.5 say nothing about axes at all.
    """
    if DimensionProperty.NONE in (dimension_property[0], dimension_property[2]):
        return dimension_property[0] == DimensionProperty.NONE
    return shape[:2] != image
