"""What keys of curricula and samplers change in a run, seen by the world that reads the parameter."""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def sizes(train: Callable[..., Any], toy_world: Any) -> Callable[..., list[float]]:
    """`sizes(parameter, settings)`: what a run's world reads of `size`, message after message."""

    def run(parameter: Any, behaviors: dict[str, int] | None = None, **options: Any) -> list[float]:
        found: list[float] = []

        def make_world(seed: int, num_areas: int, parameters: Any) -> Any:
            def read(_message: int) -> None:
                found.append(parameters.get_with_default("size", -1.0))

            return toy_world(
                seed, num_areas, parameters, at_message=read, behaviors={f"{name}?team=0": 0 for name in each}
            )

        each = behaviors or {"Toy": 200}
        network = {"hidden_units": 4, "num_layers": 1}
        settings = {name: {"max_steps": most, "network_settings": network} for name, most in each.items()}
        train(make_world, behaviors=settings, environment_parameters={"size": parameter}, **options)
        return found

    return run


def two_lessons(**criteria: Any) -> dict[str, Any]:
    lessons = [{"name": "one", "value": 1, "completion_criteria": criteria}, {"name": "two", "value": 2}]
    return {"curriculum": lessons}


@pytest.mark.parametrize(("behavior", "messages"), [("Long", 100), ("Short", 25)])
def test_a_lesson_waits_for_its_own_behavior(sizes: Callable[..., list[float]], behavior: str, messages: int) -> None:
    """Half of Short's 200 steps is over after 25 messages of four agents, half of Long's 800 steps after 100."""
    lessons = two_lessons(behavior=behavior, measure="progress", threshold=0.5)
    found = sizes(lessons, {"Long": 800, "Short": 200})
    assert found == sorted(found)
    assert found.count(1.0) == pytest.approx(messages, abs=3)


@pytest.mark.parametrize(("threshold", "last"), [(0.0, 2.0), (0.9, 2.0), (3.1, 1.0)])
def test_a_lesson_ends_above_its_threshold(sizes: Callable[..., list[float]], threshold: float, last: float) -> None:
    """`measure: reward` of episodes that bring 0 to 3: none brings more."""
    lessons = two_lessons(behavior="Toy", measure="reward", threshold=threshold, signal_smoothing=False)
    assert sizes(lessons)[-1] == last


def test_the_console_tells_a_lesson_by_its_name(train: Callable[..., Any], toy_world: Any) -> None:
    lessons = two_lessons(behavior="Toy", measure="progress", threshold=0.5)
    lessons["curriculum"][1]["name"] = "the steep one"
    output = train(toy_world, {"max_steps": 100}, environment_parameters={"size": lessons}).output
    assert "[INFO] Parameter 'size' is in lesson 'the steep one' and has value '2'." in output.splitlines()


def test_a_lesson_has_its_min_lesson_length(sizes: Callable[..., list[float]]) -> None:
    """Four agents end about two episodes a message."""
    messages = {}
    for length in (1, 40):
        lessons = two_lessons(behavior="Toy", threshold=0.0, min_lesson_length=length)
        messages[length] = sizes(lessons, run_id=f"{length}").count(1.0)
    assert messages[1] <= 5
    assert messages[40] == pytest.approx(20, abs=5)


@pytest.mark.parametrize(
    ("sampler_type", "sampler_parameters", "low", "high"),
    [
        ("constant", {"value": 7.5}, 7.5, 7.5),
        ("uniform", {"min_value": 3.0, "max_value": 4.0}, 3.0, 4.0),
        ("gaussian", {"mean": 10.0, "st_dev": 0.01}, 9.9, 10.1),
        ("multirangeuniform", {"intervals": [[20.0, 21.0]]}, 20.0, 21.0),
    ],
)
def test_a_sampler_draws_as_its_parameters_say(
    sizes: Callable[..., list[float]], sampler_type: str, sampler_parameters: dict[str, Any], low: float, high: float
) -> None:
    found = sizes({"sampler_type": sampler_type, "sampler_parameters": sampler_parameters})
    assert low <= min(found) and max(found) <= high
    assert len(set(found)) == (1 if low == high else len(found))  # drawn anew at each reading


def test_a_sampler_with_a_seed_draws_the_same_in_every_run(sizes: Callable[..., list[float]]) -> None:
    def first(run_id: str, run_seed: int, **parameters: Any) -> float:
        sampler = {"sampler_type": "uniform", "sampler_parameters": parameters}
        return sizes(sampler, run_id=run_id, seed=run_seed)[0]

    assert first("a", 1, seed=5) == first("b", 2, seed=5) != first("c", 1, seed=6)
    assert first("d", 1) != first("e", 2)
