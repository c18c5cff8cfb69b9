"""Pictures in files, read back by other means than they were written with; and beside each other with captions."""

import sys

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from unity_envs.pictures import PictureError, beside, check_format, pane_size, write_pictures

BACKGROUND = (241, 243, 246)


def film(count, width=64, height=48):
    """A blue square of 12 pixels that moves right by two pixels in each frame."""
    frames = np.full((count, height, width, 3), BACKGROUND, np.uint8)
    for number, frame in enumerate(frames):
        frame[18:30, 4 + 2 * number : 16 + 2 * number] = (28, 153, 255)
    return frames


def left_edge(picture) -> int:
    """First column of the square in an array [height, width, 3]."""
    return int(np.flatnonzero((np.asarray(picture).astype(int)[:, :, 0] < 130).any(axis=0))[0])


def frames_of_gif(path):
    """[(picture, milliseconds), ...]"""
    with Image.open(path) as image:
        frames = []
        for number in range(image.n_frames):
            image.seek(number)
            frames.append((np.asarray(image.convert("RGB")), image.info["duration"]))
        assert image.info["loop"] == 0  # for ever
    return frames


def test_a_png_holds_the_last_frame_to_the_bit(tmp_path):
    frames = film(5)
    write_pictures(tmp_path / "x.png", iter(frames), 10)
    with Image.open(tmp_path / "x.png") as image:
        assert image.format == "PNG"
        assert (np.asarray(image) == frames[-1]).all()


@pytest.mark.parametrize("rate", [10, 20, 30, 50])
def test_a_gif_has_every_frame_and_the_right_duration(tmp_path, rate):
    write_pictures(tmp_path / "x.gif", film(15), rate)
    frames = frames_of_gif(tmp_path / "x.gif")
    assert [left_edge(picture) for picture, _ in frames] == [4 + 2 * number for number in range(15)]
    assert sum(duration for _, duration in frames) == pytest.approx(15000 / rate, abs=5)
    assert all(abs(duration - 1000 / rate) < 10 for _, duration in frames)


def test_a_gif_keeps_background_and_large_areas_as_they_are(tmp_path):
    frames = film(3)
    frames[:, 40:, :, 1] = np.linspace(0, 255, 64).astype(np.uint8)  # many colors besides
    write_pictures(tmp_path / "x.gif", frames, 10)
    for picture, _ in frames_of_gif(tmp_path / "x.gif"):
        assert (picture[:16] == BACKGROUND).all()
        assert np.abs(picture.astype(int) - frames[0]).max(axis=2)[40:].mean() < 6


def test_what_stands_still_takes_time_in_a_gif_but_no_room(tmp_path):
    still = np.repeat(film(1), 40, axis=0)
    write_pictures(tmp_path / "once.gif", still[:1], 20)
    write_pictures(tmp_path / "still.gif", still, 20)
    assert sum(duration for _, duration in frames_of_gif(tmp_path / "still.gif")) == 2000
    assert (tmp_path / "still.gif").stat().st_size < (tmp_path / "once.gif").stat().st_size + 100


def test_an_mp4_has_size_rate_and_frames(tmp_path):
    write_pictures(tmp_path / "x.mp4", iter(film(20)), 25)
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "x.mp4"))
    meta = next(reader)
    pictures = [np.frombuffer(frame, np.uint8).reshape(48, 64, 3) for frame in reader]
    assert (meta["size"], meta["fps"], meta["codec"]) == ((64, 48), 25, "h264")
    assert [left_edge(picture) for picture in pictures] == pytest.approx([4 + 2 * n for n in range(20)], abs=1)


@pytest.mark.parametrize(
    ("name", "size", "rate", "message"),
    [
        ("x.jpg", (64, 48), 20, "x.jpg: the name of a picture must end in one of .png, .gif, .mp4"),
        ("x", (64, 48), 20, "x: the name of a picture must end in one of"),
        ("x.gif", (64, 48), 60, "x.gif: a GIF shows at most 50 frames per second; use that or an .mp4"),
        ("x.mp4", (63, 48), 20, "x.mp4: the sides of an MP4 must be even, not 63x48"),
    ],
)
def test_what_a_format_does_not_have_is_told_and_nothing_written(tmp_path, name, size, rate, message):
    with pytest.raises(PictureError, match=message):
        check_format(tmp_path / name, *size, rate)
    with pytest.raises(PictureError, match=message):
        write_pictures(tmp_path / name, film(2, *size), rate)
    assert list(tmp_path.iterdir()) == []


def test_an_mp4_without_its_extra_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(PictureError, match=r'an MP4 needs ffmpeg: pip install "mlagents-bridge\[video\]"; or write a'):
        check_format(tmp_path / "x.mp4", 64, 48, 20)


def test_the_ending_may_be_in_capitals(tmp_path):
    write_pictures(tmp_path / "X.GIF", film(2), 10)
    assert len(frames_of_gif(tmp_path / "X.GIF")) == 2


# ---- beside each other ----


@pytest.mark.parametrize(("columns", "places"), [(2, [(0, 0), (150, 0)]), (1, [(0, 0), (0, 60)])])
def test_pictures_stand_in_columns_under_their_captions(columns, places):
    size = (300, 120)
    width, height = pane_size(2, True, size, columns)
    panes = [np.full((height, width, 3), color, np.uint8) for color in ((255, 0, 0), (0, 255, 0))]
    whole = beside(panes, ["untrained", "trained"], size, columns)
    assert whole.shape == (120, 300, 3)
    strip = 120 // (2 // columns) - height
    for pane, (left, top) in zip(panes, places, strict=True):
        assert (whole[top + strip : top + strip + height, left : left + width] == pane).all()
        caption = whole[top : top + strip, left : left + width].astype(int)
        ink = np.argwhere(caption.sum(axis=2) < 450)
        assert len(ink) > 40
        assert ink[:, 1].mean() == pytest.approx(width / 2, abs=4)
        assert (caption[0] == BACKGROUND).all()


def test_a_long_caption_gets_smaller_and_stays_in_its_pane():
    width, _ = pane_size(1, True, (120, 90), 1)
    pane = np.zeros((pane_size(1, True, (120, 90), 1)[1], width, 3), np.uint8)
    whole = beside([pane], ["trained for 500,000 steps"], (120, 90), 1)
    strip = whole[: 90 - len(pane)].astype(int)
    ink = np.flatnonzero((strip.sum(axis=2) < 600).any(axis=0))
    assert 0 < ink[0] < ink[-1] < 119


def test_without_captions_pictures_fill_the_whole():
    assert pane_size(2, False, (300, 120), 2) == (150, 120)
    panes = [np.full((120, 150, 3), shade, np.uint8) for shade in (10, 200)]
    assert (beside(panes, [], (300, 120), 2) == np.concatenate(panes, axis=1)).all()
