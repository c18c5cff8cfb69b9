"""The arithmetic of the report on several processes."""

import importlib
from pathlib import Path

import pytest


@pytest.fixture
def script(monkeypatch):
    """The script as a module."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("verify_distributed")


def test_the_share_of_deals_that_are_as_far_apart(script):
    """Of the 6 ways to deal out 1, 2, 3, 4 to two pairs, 2 have means 2 apart, and 4 have means 1 apart or more."""
    assert script.by_chance([1, 2], [3, 4]) == pytest.approx(2 / 6)
    assert script.by_chance([1, 3], [2, 4]) == pytest.approx(4 / 6)
    assert script.by_chance([5, 5], [5, 5]) == 1.0


def test_speed_counts_from_the_second_summary(script):
    """The first interval has no update in it."""
    text = "".join(
        f"[INFO] 3DBall. Step: {1000 * n}. Time Elapsed: {seconds} s. Mean Reward: 1.000. Std of Reward: 0.0.\n"
        for n, seconds in ((1, 1.0), (2, 1.1), (3, 2.1), (4, 3.1))
    )
    assert script.speed(script.summaries(text)) == pytest.approx(1000)


def test_the_model_adds_what_messages_take(script):
    """12,000 steps in 1 s, of which 0.5 s are messages; ten times as dear they make 5.5 s."""
    costs = {"meeting": 0.1, script.FEW: 0.05, script.WITH_MOMENTS: 0.1}
    without = {"speed": 12_000, "costs": costs}
    far = {"costs": {name: 10 * seconds for name, seconds in costs.items()}}
    assert script.modelled(without, without, script.WITH_MOMENTS, 3) == pytest.approx(12_000)
    assert script.modelled(far, without, script.WITH_MOMENTS, 3) == pytest.approx(12_000 / 5.5)
