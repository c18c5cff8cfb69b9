"""Pictures as arrays uint8 `[height, width, 3]`: side by side with captions, and written to files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.exceptions import UnityException
from unity_envs.scenes import BACKGROUND

Picture = NDArray[np.uint8]

MOST_GIF_RATE = 50  # pictures a second: browsers slow down what is faster
TEXT = (0.25, 0.30, 0.38)  # the color of captions
GIF_COLORS, GIF_EXACT = 80, 12  # in the palette, and how many of them are the most frequent ones as they are


class PictureError(UnityException):
    """A picture cannot be made. The message is one line that names the culprit and the remedy."""


def check_format(path: Path, width: int, height: int, frames_per_second: float) -> None:
    """Raises PictureError if `write_pictures` cannot write such pictures to a file of that name."""
    ending = path.suffix.lower()
    if ending not in _WRITERS:
        raise PictureError(f"{path}: the name of a picture must end in one of {', '.join(_WRITERS)}")
    if ending == ".gif" and frames_per_second > MOST_GIF_RATE:
        raise PictureError(f"{path}: a GIF shows at most {MOST_GIF_RATE} frames per second; use that or an .mp4")
    if ending == ".mp4":
        if width % 2 or height % 2:
            raise PictureError(f"{path}: the sides of an MP4 must be even, not {width}x{height}")
        _ffmpeg()


def write_pictures(path: Path, frames: Iterable[Picture], frames_per_second: float) -> None:
    """Write `frames`, at least one and all of one size, in the format that the ending of `path` names.

    .png: the last of them. .gif: repeats for ever; all frames are held in memory. .mp4: H.264, one frame at a time,
    with the extra `video`. Raises PictureError for another ending, a size or rate that the format does not have, or
    without the extra; OSError if the file cannot be written.
    """
    frames = iter(frames)
    first = next(frames)
    height, width = first.shape[:2]
    check_format(path, width, height, frames_per_second)
    _WRITERS[path.suffix.lower()](path, first, frames, frames_per_second)


def beside(pictures: Sequence[Picture], captions: Sequence[str], size: tuple[int, int], columns: int) -> Picture:
    """`pictures` in rows of `columns`, under their captions, in one picture of `size` (width, height).

    They are as large as `pane_size` says for the same arguments.
    """
    width, height = size
    strip = _strip_height(len(pictures), bool(captions), size, columns)
    whole = np.empty((height, width, 3), np.uint8)
    whole[:] = _bytes(BACKGROUND)
    pane_width, pane_height = pane_size(len(pictures), bool(captions), size, columns)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        left, top = column * pane_width, row * (strip + pane_height)
        if captions:
            whole[top : top + strip, left : left + pane_width] = _caption(captions[index], pane_width, strip)
        whole[top + strip : top + strip + pane_height, left : left + pane_width] = picture
    return whole


def pane_size(count: int, captioned: bool, size: tuple[int, int], columns: int) -> tuple[int, int]:
    """Width and height of each of `count` pictures beside each other in a picture of `size` (width, height)."""
    rows = math.ceil(count / columns)
    strip = _strip_height(count, captioned, size, columns)
    return size[0] // columns, size[1] // rows - strip


def _strip_height(count: int, captioned: bool, size: tuple[int, int], columns: int) -> int:
    if not captioned:
        return 0
    return round(min(max(size[0] / columns / 15, 16), size[1] / math.ceil(count / columns) / 4, 44))


def _caption(text: str, width: int, height: int) -> Picture:
    """`text` in the middle, smaller if it would not fit."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (width, height), _bytes(BACKGROUND))
    draw = ImageDraw.Draw(image)
    size = 0.62 * height
    while size > 6 and draw.textlength(text, ImageFont.load_default(size)) > 0.94 * width:
        size *= 0.9
    draw.text((width / 2, 0.58 * height), text, _bytes(TEXT), ImageFont.load_default(size), anchor="mm")
    return np.asarray(image)


def _bytes(color: tuple[float, float, float]) -> tuple[int, int, int]:
    red, green, blue = (int(255 * value + 0.5) for value in color)
    return red, green, blue


def _write_png(path: Path, first: Picture, frames: Iterable[Picture], _: float) -> None:
    from PIL import Image

    last = first
    for last in frames:  # noqa: B007
        pass
    Image.fromarray(last).save(path, format="PNG", optimize=True)


def _write_gif(path: Path, first: Picture, frames: Iterable[Picture], frames_per_second: float) -> None:
    """One palette for all frames and no dithering: what stands still takes no bytes and does not flicker."""
    from PIL import Image

    pictures = [first, *frames]
    palette = _palette(pictures)
    images = [Image.fromarray(_nearest(picture, palette)) for picture in pictures]
    for image in images:
        image.putpalette(palette.tobytes())
    # A GIF counts in hundredths of a second: each frame ends at the nearest one, so that the sum stays right.
    ends = [round(100 * (index + 1) / frames_per_second) for index in range(len(images))]
    durations = [10 * (end - start) for start, end in zip([0, *ends], ends, strict=False)]
    images[0].save(path, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, disposal=1)


def _palette(pictures: Sequence[Picture]) -> NDArray[np.uint8]:
    """Colors `[n, 3]` for all of `pictures`: large areas keep their very colors, the rest is shared out.

    A color counts little more for being frequent, else small things would get none.
    """
    from PIL import Image

    codes, counts = np.unique(np.stack([_codes(picture) for picture in _some(pictures)]), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    colors, weights = _from_codes(codes[order]), 1 + np.log2(counts[order]).astype(np.int64)
    exact, rest = colors[:GIF_EXACT], np.repeat(colors[GIF_EXACT:], weights[GIF_EXACT:], axis=0)
    if not len(rest):
        return exact
    shared = Image.fromarray(rest[None]).quantize(GIF_COLORS - GIF_EXACT, Image.Quantize.MEDIANCUT).getpalette() or []
    return np.concatenate([exact, np.array(shared, np.uint8).reshape(-1, 3)])


def _nearest(picture: Picture, palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Rows of the nearest colors in `palette` [n, 3], `[height, width]`. Pillow's own search is not exact."""
    codes, pixels = np.unique(_codes(picture), return_inverse=True)
    apart = _from_codes(codes)[:, None].astype(np.int32) - palette
    return (apart * apart).sum(axis=2).argmin(axis=1).astype(np.uint8)[pixels].reshape(picture.shape[:2])


def _codes(picture: Picture) -> NDArray[np.uint32]:
    """Each color as one number, `[height, width]`."""
    red, green, blue = picture.astype(np.uint32).transpose(2, 0, 1)
    return red << 16 | green << 8 | blue


def _from_codes(codes: NDArray[np.uint32]) -> NDArray[np.uint8]:
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1).astype(np.uint8)


def _some(pictures: Sequence[Picture]) -> Sequence[Picture]:
    """About a dozen of them, evenly spread."""
    return pictures[:: max(1, len(pictures) // 12)]


def _write_mp4(path: Path, first: Picture, frames: Iterable[Picture], frames_per_second: float) -> None:
    height, width = first.shape[:2]
    film = _ffmpeg().write_frames(
        str(path),
        (width, height),
        fps=frames_per_second,
        codec="libx264",
        macro_block_size=2,
        output_params=["-crf", "20", "-movflags", "+faststart"],
        ffmpeg_log_level="error",
    )
    film.send(None)
    try:
        film.send(np.ascontiguousarray(first))
        for frame in frames:
            film.send(np.ascontiguousarray(frame))
    finally:
        film.close()


def _ffmpeg() -> Any:
    try:
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()
    except ImportError as error:
        raise PictureError('an MP4 needs ffmpeg: pip install "mlagents-bridge[video]"; or write a .gif') from error
    except RuntimeError as error:  # the package is there without its program
        raise PictureError(f"an MP4 needs ffmpeg, which imageio-ffmpeg did not find: {error}") from error
    return imageio_ffmpeg


_WRITERS: dict[str, Callable[[Path, Picture, Iterable[Picture], float], None]] = {
    ".png": _write_png,
    ".gif": _write_gif,
    ".mp4": _write_mp4,
}
