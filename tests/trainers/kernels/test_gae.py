"""Advantages of ragged trajectories, beside a loop and beside the NumPy version."""

import numpy as np
import pytest
from numpy.typing import NDArray

from trainers.experience import advantages_and_returns
from trainers.kernels.advantages import gae

pytestmark = pytest.mark.usefixtures("native")

Floats = NDArray[np.float32]


def ragged(lengths: list[int], signals: int) -> tuple[Floats, Floats, NDArray[np.int64], Floats]:
    """rewards, values, lengths, next values; every third trajectory ended for good."""
    generator = np.random.default_rng(len(lengths))
    steps, count = sum(lengths), len(lengths)
    rewards, values, following = (
        generator.normal(size=(rows, signals)).astype(np.float32) for rows in (steps, steps, count)
    )
    following[::3] = 0.0
    return rewards, values, np.array(lengths, np.int64), following


def test_a_trajectory_worked_out_by_hand() -> None:
    column = np.ones((3, 1), np.float32)
    advantages, returns = gae(column, 2 * column, np.array([3]), np.array([[4.0]], np.float32), [0.5], 0.5)
    # deltas 1 + 0.5 * 2 - 2 = 0, 0 and 1 + 0.5 * 4 - 2 = 1; each step back counts a quarter
    assert advantages[:, 0].tolist() == [0.0625, 0.25, 1.0]
    assert returns[:, 0].tolist() == [2.0625, 2.25, 3.0]


@pytest.mark.parametrize("signals", [1, 3])
@pytest.mark.parametrize("lengths", [[5], [1, 1, 1], [3, 17, 1, 129, 2, 64], [1000] * 7], ids=str)
def test_ragged_trajectories_are_those_of_a_plain_loop(lengths: list[int], signals: int) -> None:
    rewards, values, counts, following = ragged(lengths, signals)
    gammas, lambd = [0.99, 0.9, 0.5][:signals], 0.95
    advantages, returns = gae(rewards, values, counts, following, gammas, lambd)
    for signal, gamma in enumerate(gammas):
        end = 0
        for trajectory, length in enumerate(lengths):
            start, end = end, end + length
            expected, next_value = 0.0, float(following[trajectory, signal])
            for step in range(end - 1, start - 1, -1):
                delta = float(rewards[step, signal]) + gamma * next_value - float(values[step, signal])
                expected = delta + gamma * lambd * expected
                next_value = float(values[step, signal])
                assert advantages[step, signal] == pytest.approx(expected, rel=1e-4, abs=1e-5)
                assert returns[step, signal] == pytest.approx(expected + next_value, rel=1e-4, abs=1e-5)


def test_the_same_bits_as_with_numpy() -> None:
    rewards, values, lengths, following = ragged([3, 17, 1, 129, 2, 64], 2)
    advantages, returns = gae(rewards, values, lengths, following, [0.99, 0.9], 0.95)
    for signal, gamma in enumerate([0.99, 0.9]):
        expected = advantages_and_returns(
            rewards[:, signal], values[:, signal], lengths, following[:, signal], gamma, 0.95
        )
        np.testing.assert_array_equal(advantages[:, signal], expected[0])
        np.testing.assert_array_equal(returns[:, signal], expected[1])


def test_no_trajectories() -> None:
    rewards, values, lengths, following = ragged([], 2)
    advantages, returns = gae(rewards, values, lengths, following, [0.99, 0.9], 0.95)
    assert advantages.shape == returns.shape == (0, 2)


def test_lengths_that_do_not_add_up_are_refused() -> None:
    rewards, values, lengths, following = ragged([3, 4], 1)
    for wrong in (lengths + 1, np.array([8, -1])):
        with pytest.raises(ValueError, match="gae: a size is below its least value, or sizes do not fit together"):
            gae(rewards, values, wrong, following, [0.99], 0.95)


def test_wrong_arrays_are_told_by_name() -> None:
    rewards, values, lengths, following = ragged([3, 4], 1)
    with pytest.raises(TypeError, match=r"gae: rewards: expected float32, got float64"):
        gae(rewards.astype(np.float64), values, lengths, following, [0.99], 0.95)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"gae: values: expected shape \[7, 1\], got \[6, 1\]"):
        gae(rewards, values[1:], lengths, following, [0.99], 0.95)
    with pytest.raises(ValueError, match=r"gae: values: expected dense rows, got strides \(8, 4\) bytes"):
        gae(rewards, np.repeat(values, 2, axis=0)[::2], lengths, following, [0.99], 0.95)
