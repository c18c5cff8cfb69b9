"""How often a player is started again."""

import pytest

from trainers.config import EnvironmentSettings
from trainers.restarts import RestartLimits


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def limits(**settings: int) -> tuple[RestartLimits, Clock]:
    clock = Clock()
    return RestartLimits(EnvironmentSettings.model_validate(settings), clock), clock


def test_once_a_minute_by_default() -> None:
    of, clock = limits()
    assert of.exhausted(0) is None
    clock.now = 59.0
    assert of.exhausted(0) == "it has had 1 restart within 60 s; --restarts-rate-limit-n allows more"
    assert of.exhausted(1) is None, "each player by itself"
    clock.now = 61.0
    assert of.exhausted(0) is None


def test_ten_in_its_life_by_default() -> None:
    of, clock = limits()
    for _ in range(10):
        assert of.exhausted(0) is None
        clock.now += 61
    assert of.exhausted(0) == "it has had its 10 restarts; --max-lifetime-restarts allows more"


def test_several_within_the_period() -> None:
    of, clock = limits(restarts_rate_limit_n=2, restarts_rate_limit_period_s=10, max_lifetime_restarts=100)
    found = []
    for clock.now in (0.0, 4.0, 8.0, 10.5, 12.0, 14.5):
        found.append(of.exhausted(0) is None)
    assert found == [True, True, False, True, False, True]


@pytest.mark.parametrize("unlimited", [True, False])
def test_minus_one_is_no_limit_and_none_is_none(unlimited: bool) -> None:
    number = -1 if unlimited else 0
    of, _ = limits(restarts_rate_limit_n=number, max_lifetime_restarts=number)
    assert all((of.exhausted(0) is None) == unlimited for _ in range(100))
