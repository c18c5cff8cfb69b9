"""The generator: known answers, and the same bits from Python and from the library."""

import ctypes

import numpy as np
import pytest
import torch

from trainers.kernels import philox
from trainers.kernels.library import require_library

# Known answers for Philox4x32-10: counter, key, words.
KNOWN = [
    (
        (0x00000000, 0x00000000, 0x00000000, 0x00000000),
        (0x00000000, 0x00000000),
        (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    ),
    (
        (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
SEEDS = [(0, 0), (1, 2), (2**64 - 1, 2**64 - 1), (12_345_678_901_234, 2**32)]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_known_answers_in_python(counter: tuple[int, ...], key: tuple[int, int], expected: tuple[int, ...]) -> None:
    assert philox.block(np.array([counter], np.uint32), key)[0].tolist() == list(expected)


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
@pytest.mark.usefixtures("native")
def test_known_answers_in_the_library(
    counter: tuple[int, ...], key: tuple[int, int], expected: tuple[int, ...]
) -> None:
    found = (ctypes.c_uint32 * 4)()
    arrays = [(ctypes.c_uint32 * 4)(*counter), (ctypes.c_uint32 * 2)(*key), found]
    assert require_library("test").om_philox(*map(ctypes.addressof, arrays)) == 0
    assert tuple(found) == expected


@pytest.mark.parametrize(("seed", "call"), SEEDS)
@pytest.mark.parametrize("count", [0, 1, 3, 4, 10_001])
@pytest.mark.usefixtures("native")
def test_python_and_library_draw_the_same_bits(seed: int, call: int, count: int) -> None:
    library = require_library("test")
    for name, dtype in (("words", np.uint32), ("uniforms", np.float32), ("normals", np.float32)):
        found = np.zeros(count, dtype)
        assert getattr(library, f"om_random_{name}")(seed, call, 2, count, found.ctypes.data) == 0
        expected = getattr(philox, name)(seed, call, 2, count)
        assert found.tobytes() == expected.tobytes(), name


def test_normals_are_normal_and_uniforms_uniform() -> None:
    normals = philox.normals(1, 2, 3, 400_000)
    assert normals.mean() == pytest.approx(0.0, abs=0.006)
    assert normals.std() == pytest.approx(1.0, abs=0.006)
    assert (np.abs(normals) < 1.0).mean() == pytest.approx(0.6827, abs=0.003)
    assert (np.abs(normals) > 3.0).mean() == pytest.approx(0.0027, abs=0.0005)
    assert np.corrcoef(normals[::2], normals[1::2])[0, 1] == pytest.approx(0.0, abs=0.01)
    uniforms = philox.uniforms(1, 2, 3, 400_000)
    assert 0.0 < uniforms.min() < 1e-4 < 1 - 1e-4 < uniforms.max() < 1.0
    np.testing.assert_allclose(np.histogram(uniforms, 10, (0, 1))[0] / 400_000, 0.1, atol=0.003)


def test_normals_are_those_of_the_formula() -> None:
    drawn = philox.uniforms(5, 6, 7, 10_000).astype(np.float64).reshape(-1, 2)
    radius, angle = np.sqrt(-2 * np.log(drawn[:, 0])), 2 * np.pi * drawn[:, 1]
    expected = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).ravel()
    np.testing.assert_allclose(philox.normals(5, 6, 7, 10_000), expected, rtol=0, atol=2e-6)


def test_streams_calls_and_seeds_differ() -> None:
    drawn = {philox.words(*name, 4).tobytes() for name in ((1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2))}
    assert len(drawn) == 4


def test_orders_are_shuffles_and_every_call_another() -> None:
    generator = philox.Philox(3)
    first, second = generator.order(1000), generator.order(1000)
    assert sorted(first.tolist()) == list(range(1000))
    assert not torch.equal(first, second)
    assert (first - torch.arange(1000)).abs().float().mean() > 250  # far from where they were
    resumed = philox.Philox(0)
    resumed.load_state_dict({"seed": 3, "call": 1})
    assert torch.equal(resumed.order(1000), second)
    assert generator.state_dict() == {"seed": 3, "call": 2}


def test_choices_invert_the_distribution() -> None:
    probabilities = torch.tensor([[0.25, 0.0, 0.75]]).repeat(5, 1)
    drawn = torch.tensor([0.0001, 0.2499, 0.25, 0.9999, 1.0])
    assert philox.choices(probabilities, drawn).tolist() == [0, 0, 2, 2, 2]
    never = torch.tensor([[0.5, 0.4999, 0.0]])  # rounding left the sum below 1
    assert philox.choices(never, torch.tensor([0.99995])).tolist() == [1]
