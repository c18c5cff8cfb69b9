"""Generalised advantage estimation over ragged trajectories, worked out by hand and one step after the other."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.experience import advantages_and_returns


def test_advantages_of_three_ragged_trajectories_worked_out_by_hand() -> None:
    # gamma and lambda 0.5, so each step back takes a quarter of the next advantage.
    # 1. two steps, terminated (nothing follows): rewards 1, 2, values 4, 8
    #    delta 1 = 2 - 8 = -6;  delta 0 = 1 + 0.5 * 8 - 4 = 1;  advantage 0 = 1 - 6 / 4 = -0.5
    # 2. three steps, cut at the horizon (4 follows): rewards 0, 0, 3, values 2, 2, 2
    #    delta 2 = 3 + 0.5 * 4 - 2 = 3;  deltas 1, 0 = 0.5 * 2 - 2 = -1;  advantages -1 + 3 / 4, then -1 - 0.25 / 4
    # 3. one step, interrupted (6 follows): reward 1, value 5: 1 + 0.5 * 6 - 5 = -1
    advantages, returns = advantages_and_returns(
        np.array([1, 2, 0, 0, 3, 1], np.float32),
        np.array([4, 8, 2, 2, 2, 5], np.float32),
        np.array([2, 3, 1]),
        np.array([0, 4, 6], np.float32),
        gamma=0.5,
        lambd=0.5,
    )
    assert advantages.tolist() == [-0.5, -6, -1.0625, -0.25, 3, -1]
    assert returns.tolist() == [3.5, 2, 0.9375, 1.75, 5, 4]


def test_without_lambda_only_the_next_value_counts_and_with_one_the_whole_future() -> None:
    rewards, values = np.array([1, 1, 1], np.float32), np.array([10, 20, 30], np.float32)
    arguments = rewards, values, np.array([3]), np.array([40], np.float32)
    advantages, _ = advantages_and_returns(*arguments, gamma=0.5, lambd=0.0)
    assert advantages.tolist() == [1 + 10 - 10, 1 + 15 - 20, 1 + 20 - 30]
    _, returns = advantages_and_returns(*arguments, gamma=0.5, lambd=1.0)
    assert returns.tolist() == [1 + 0.5 + 0.25 + 5, 1 + 0.5 + 10, 1 + 20]


def test_no_experience_has_no_advantages() -> None:
    nothing = np.zeros(0, np.float32)
    advantages, returns = advantages_and_returns(nothing, nothing, np.zeros(0, np.int64), nothing, 0.9, 0.9)
    assert advantages.shape == returns.shape == (0,)


def one_by_one(
    rewards: list[float], values: list[float], next_value: float, gamma: float, lambd: float
) -> tuple[list[float], list[float]]:
    """Advantages and returns of one trajectory, from its last step to its first."""
    advantages: list[float] = []
    advantage, following = 0.0, next_value
    for reward, value in zip(reversed(rewards), reversed(values), strict=True):
        advantage = reward + gamma * following - value + gamma * lambd * advantage
        advantages.insert(0, advantage)
        following = value
    return advantages, [advantage + value for advantage, value in zip(advantages, values, strict=True)]


numbers = st.floats(-100, 100, width=32)


@settings(max_examples=50, deadline=None)
@given(
    trajectories=st.lists(
        st.tuples(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=12), numbers), min_size=1, max_size=8
    ),
    gamma=st.floats(0, 1),
    lambd=st.floats(0, 1),
)
def test_many_trajectories_at_once_are_as_one_after_the_other(
    trajectories: list[tuple[list[tuple[float, float]], float]], gamma: float, lambd: float
) -> None:
    expected_advantages, expected_returns = [], []
    for steps, next_value in trajectories:
        one = one_by_one([reward for reward, _ in steps], [value for _, value in steps], next_value, gamma, lambd)
        expected_advantages += one[0]
        expected_returns += one[1]
    flat = [step for steps, _ in trajectories for step in steps]
    advantages, returns = advantages_and_returns(
        np.array([reward for reward, _ in flat], np.float32),
        np.array([value for _, value in flat], np.float32),
        np.array([len(steps) for steps, _ in trajectories]),
        np.array([next_value for _, next_value in trajectories], np.float32),
        gamma,
        lambd,
    )
    np.testing.assert_allclose(advantages, expected_advantages, rtol=1e-5, atol=5e-3)
    np.testing.assert_allclose(returns, expected_returns, rtol=1e-5, atol=5e-3)
