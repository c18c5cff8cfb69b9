"""Visual observations that arrive as PNG files."""

import io

import numpy as np
from numpy.typing import NDArray

from bridge.exceptions import UnityObservationException

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def decode_png_observation(
    data: bytes, shape: tuple[int, ...], channel_mapping: list[int], *, channels_first: bool
) -> NDArray[np.float32]:
    """Decodes one PNG, or several back to back (three channels each), to `shape` with values in [0, 1].

    `channel_mapping[k]` is the output channel of decoded channel k, -1 drops it; decoded channels with the same output are averaged. Without
    a mapping one output channel is the mean of the first image's channels, otherwise the first channels are kept.
    """
    from PIL import Image

    planes: list[NDArray[np.float32]] = []
    starts = []
    position = data.find(_SIGNATURE)
    while position >= 0:
        starts.append(position)
        position = data.find(_SIGNATURE, position + len(_SIGNATURE))
    if not starts:
        raise UnityObservationException("a compressed observation does not hold a PNG image")
    for start, end in zip(starts, [*starts[1:], len(data)], strict=True):
        with Image.open(io.BytesIO(data[start:end])) as image:
            pixels = np.asarray(image.convert("RGB"), dtype=np.float32) / 255.0
        planes.append(np.moveaxis(pixels, -1, 0))
    decoded = np.concatenate(planes)  # [3 * images, height, width]

    height_width = shape[1:] if channels_first else shape[:2]
    channels = shape[0] if channels_first else shape[2]
    if channel_mapping:
        if len(channel_mapping) != len(decoded) or set(channel_mapping) - {-1} != set(range(channels)):
            raise UnityObservationException(
                f"the channel mapping {channel_mapping} does not fit {len(decoded)} decoded channels and {channels} channels in the shape {shape}"
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
            f"a PNG observation has {output.shape[0]} channels of {output.shape[1]}x{output.shape[2]} pixels, its specification is {shape}"
        )
    return output if channels_first else np.moveaxis(output, 0, -1)
