"""Visual observations: PNG images become arrays of the shape that the player announced."""

import io

import numpy as np
import pytest
from mlagents_envs.base_env import ActionSpec, BehaviorSpec, DimensionProperty, ObservationSpec, ObservationType
from PIL import Image

from bridge.codec import decode_steps
from bridge.exceptions import UnityObservationException
from bridge.messages import COMPRESSION_PNG, AgentInfoProto

NAME = "Walker?team=0"
FLAGS = DimensionProperty
CHW = (FLAGS.NONE, FLAGS.TRANSLATIONAL_EQUIVARIANCE, FLAGS.TRANSLATIONAL_EQUIVARIANCE)
HWC = CHW[::-1]
UNSPECIFIED = (FLAGS.UNSPECIFIED,) * 3


@pytest.fixture
def pixels() -> np.ndarray:
    """uint8 [4 rows, 5 columns, 9 channels], all different."""
    return (np.arange(4 * 5 * 9) * 7 % 256).astype(np.uint8).reshape(4, 5, 9)


def png(pixels: np.ndarray) -> bytes:
    """[rows, columns, channels]; each image takes three channels."""
    images = []
    for first in range(0, pixels.shape[2], 3):
        stream = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels[..., first : first + 3])).save(stream, "PNG")
        images.append(stream.getvalue())
    return b"".join(images)


def decode_image(data: bytes, shape, properties=CHW, mapping=()) -> np.ndarray:
    spec = BehaviorSpec([ObservationSpec(shape, properties, ObservationType.DEFAULT, "Camera")], ActionSpec(1, ()))
    infos = []
    for identifier in (0, 1):
        info = AgentInfoProto(id=identifier)
        info.observations.add(
            compressed_data=data, compression_type=COMPRESSION_PNG, shape=shape, compressed_channel_mapping=mapping
        )
        infos.append(info)
    decisions, _ = decode_steps(NAME, spec, infos)
    (images,) = decisions.obs
    assert images.dtype == np.float32
    assert images.shape == (2, *shape)
    np.testing.assert_array_equal(images[0], images[1])
    return images[0]


def assert_shows(seen: np.ndarray, channels_last: np.ndarray) -> None:
    np.testing.assert_allclose(seen, np.moveaxis(channels_last, -1, 0) / 255.0, atol=1e-6)


class TestImages:
    def test_three_channels(self, pixels) -> None:
        assert_shows(decode_image(png(pixels[..., :3]), (3, 4, 5)), pixels[..., :3])

    @pytest.mark.parametrize("properties", [HWC, UNSPECIFIED], ids=["HWC", "unspecified"])
    def test_channels_last(self, pixels, properties) -> None:
        seen = decode_image(png(pixels[..., :3]), (4, 5, 3), properties)
        np.testing.assert_allclose(seen, pixels[..., :3] / 255.0, atol=1e-6)

    def test_unspecified_channels_first(self, pixels) -> None:
        assert_shows(decode_image(png(pixels[..., :3]), (3, 4, 5), UNSPECIFIED), pixels[..., :3])

    def test_one_channel_is_the_mean(self, pixels) -> None:
        seen = decode_image(png(pixels[..., :3]), (1, 4, 5))
        assert_shows(seen, pixels[..., :3].mean(axis=-1, keepdims=True))

    def test_a_grey_image(self, pixels) -> None:
        stream = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels[..., 0])).save(stream, "PNG")
        assert_shows(decode_image(stream.getvalue(), (1, 4, 5)), pixels[..., :1])

    def test_six_channels_in_two_images(self, pixels) -> None:
        assert_shows(decode_image(png(pixels[..., :6]), (6, 4, 5)), pixels[..., :6])

    def test_four_channels_are_the_first_of_six(self, pixels) -> None:
        assert_shows(decode_image(png(pixels[..., :6]), (4, 4, 5)), pixels[..., :4])

    def test_a_mapping_averages_moves_and_drops(self, pixels) -> None:
        seen = decode_image(png(pixels[..., :6]), (2, 4, 5), mapping=[1, 1, 0, -1, 1, -1])
        expected = np.stack([pixels[..., 2], pixels[..., [0, 1, 4]].mean(axis=-1)], axis=-1)
        assert_shows(seen, expected)

    @pytest.mark.parametrize(
        ("shape", "mapping", "words"),
        [
            ((3, 4, 6), [], "has 3 channels of 4 x 5 pixels, the shape is"),
            ((4, 4, 5), [], "has 3 channels of 4 x 5 pixels, the shape is"),
            ((2, 4, 5), [0, 1], r"the channel mapping \[0, 1\] does not fit 3 decoded channels"),
            ((2, 4, 5), [0, 2, 2], "does not fit"),
            ((20,), [], r"a shape of three numbers, not \(20,\)"),
        ],
    )
    def test_what_does_not_fit_the_shape_is_an_error(self, pixels, shape, mapping, words: str) -> None:
        with pytest.raises(UnityObservationException, match=f"observation 0 .Camera. of agent 0 of behavior .*{words}"):
            decode_image(png(pixels[..., :3]), shape, CHW[: len(shape)], mapping)

    @pytest.mark.parametrize("damage", [lambda data: b"", lambda data: b"JPEG" + data, lambda data: data[:40]])
    def test_what_is_no_image_is_an_error(self, pixels, damage) -> None:
        with pytest.raises(UnityObservationException, match="PNG image"):
            decode_image(damage(png(pixels[..., :3])), (3, 4, 5))
