import pytest

from trainers.schedules import BETA_MINIMUM, EPSILON_MINIMUM, LEARNING_RATE_MINIMUM, schedule_value


def test_linear_goes_from_the_initial_value_to_the_minimum_and_stays_there() -> None:
    values = [schedule_value("linear", 0.3, 0.1, step, 1000) for step in (0, 250, 500, 1000, 1100)]
    assert values == pytest.approx([0.3, 0.25, 0.2, 0.1, 0.1])


def test_constant_stays() -> None:
    assert [schedule_value("constant", 0.3, 0.1, step, 1000) for step in (0, 500, 2000)] == [0.3, 0.3, 0.3]


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown schedule 'cosine'"):
        schedule_value("cosine", 1.0, 0.0, 0, 1)  # type: ignore[arg-type]


def test_the_minima_are_those_of_ml_agents() -> None:
    assert (LEARNING_RATE_MINIMUM, EPSILON_MINIMUM, BETA_MINIMUM) == (1e-10, 0.1, 1e-5)
