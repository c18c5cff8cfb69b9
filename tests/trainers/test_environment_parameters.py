"""Environment parameters: numbers and samplers reach the players, curricula go on when their lessons are over."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from bridge.player import EnvironmentParameters, player_side_channels
from bridge.side_channels import EnvironmentParametersChannel, SideChannelManager
from trainers.config import RunConfig
from trainers.environment_parameters import EnvironmentParameterManager
from trainers.errors import UsageError


def manager(parameters: dict[str, Any], seed: int = 5) -> EnvironmentParameterManager:
    config = RunConfig.model_validate({"environment_parameters": parameters})
    return EnvironmentParameterManager(config.environment_parameters, seed)


def received(sent: EnvironmentParameterManager) -> EnvironmentParameters:
    """What a player reads after `sent` was sent to it."""
    channel, parameters = EnvironmentParametersChannel(), EnvironmentParameters()
    sent.send(channel)
    messages = SideChannelManager([channel]).generate_side_channel_messages()
    player_side_channels(parameters).process_side_channel_message(messages)
    return parameters


def sampler(kind: str, **parameters: Any) -> dict[str, Any]:
    return {"sampler_type": kind, "sampler_parameters": parameters}


def lesson(name: str, value: Any, **criteria: Any) -> dict[str, Any]:
    behavior = {"behavior": "Toy", "signal_smoothing": False}
    return {"name": name, "value": value, "completion_criteria": behavior | criteria if criteria else None}


def test_a_number_and_each_sampler_reach_the_player() -> None:
    player = received(
        manager(
            {
                "mass": 2.5,
                "constant": sampler("constant", value=7),
                "uniform": sampler("uniform", min_value=3, max_value=4),
                "gaussian": sampler("gaussian", mean=10, st_dev=0.5),
                "ranges": sampler("multirangeuniform", intervals=[[0, 1], [5, 6]]),
            }
        )
    )
    drawn = {key: [player.get_with_default(key, -1.0) for _ in range(2000)] for key in player.keys()}  # noqa: SIM118
    assert set(drawn["mass"]) == {2.5} and set(drawn["constant"]) == {7.0}
    assert 3 <= min(drawn["uniform"]) < 3.05 and 3.95 < max(drawn["uniform"]) <= 4
    assert sum(drawn["gaussian"]) / 2000 == pytest.approx(10, abs=0.05)
    assert all(0 <= value <= 1 or 5 <= value <= 6 for value in drawn["ranges"])
    assert 900 < sum(value > 3 for value in drawn["ranges"]) < 1100


def test_samplers_without_a_seed_have_that_of_the_run_and_on() -> None:
    first = {"a": sampler("uniform"), "b": sampler("uniform"), "c": sampler("uniform", seed=5)}

    def drawn(seed: int) -> list[float]:
        player = received(manager(first, seed))
        return [player.get_with_default(key, -1.0) for key in "abc"]

    assert drawn(5) == drawn(5)
    a, b, c = drawn(5)
    assert a == c and a != b  # 5, 6 and 5
    assert drawn(6)[0] == b


def test_a_lesson_by_progress() -> None:
    parameters = manager(
        {"size": {"curriculum": [lesson("small", 1, measure="progress", threshold=0.5), lesson("big", 2)]}}
    )
    assert parameters.active
    assert parameters.update({"Toy": 0.5}) is None
    change = parameters.update({"Toy": 0.51})
    assert change is not None and not change.requires_reset
    assert change.lines == ["Parameter 'size' is in lesson 'big' and has value '2'."]
    assert parameters.lessons == {"size": 1} and not parameters.active
    assert received(parameters).get_with_default("size", -1.0) == 2.0


def test_a_lesson_by_reward_waits_for_its_length() -> None:
    parameters = manager(
        {"size": {"curriculum": [lesson("small", 1, threshold=4, min_lesson_length=3), lesson("big", 2)]}}
    )
    for rewards in ([9.0, 9.0], [-9.0]):  # too few, then a mean of 3
        parameters.episodes("Toy", rewards)
        assert parameters.update({"Toy": 0.0}) is None
    parameters.episodes("Toy", [13.0])  # of the last three: 13/3
    assert parameters.update({"Toy": 0.0}) is not None


def test_smoothing_weighs_a_quarter_of_what_was() -> None:
    smoothed = lesson("small", 1, threshold=8, signal_smoothing=True)
    parameters = manager({"size": {"curriculum": [smoothed, lesson("big", 2)]}})
    parameters.episodes("Toy", [10.0])
    assert parameters.update({"Toy": 0.0}) is None  # 7.5
    assert parameters.update({"Toy": 0.0}) is not None  # 0.25 * 7.5 + 7.5 = 9.375


def test_a_new_lesson_begins_without_old_rewards() -> None:
    lessons = [lesson("one", 1, threshold=1), lesson("two", 2, threshold=1, require_reset=True), lesson("three", 3)]
    parameters = manager({"size": {"curriculum": lessons}})
    parameters.episodes("Toy", [5.0])
    assert parameters.update({"Toy": 0.0}) is not None
    assert parameters.update({"Toy": 0.0}) is None
    parameters.episodes("Toy", [5.0])
    change = parameters.update({"Toy": 0.0})
    assert change is not None and change.requires_reset


def test_state_is_taken_up() -> None:
    lessons = {"size": {"curriculum": [lesson("one", 1, threshold=4, min_lesson_length=2), lesson("two", 2)]}}
    before, after = manager(lessons), manager(lessons)
    before.episodes("Toy", [9.0])
    after.load_state(json.loads(json.dumps(before.state())))
    after.episodes("Toy", [1.0])
    assert after.update({"Toy": 0.0}) is not None  # 9 and 1
    with pytest.raises(UsageError, match=r"size: the run was in lesson 3, but the curriculum has 2; .*--force"):
        after.set_lessons({"size": 2})


def test_a_behavior_that_the_run_does_not_have_is_told(train: Callable[..., Any], toy_world: Any) -> None:
    criteria = {"behavior": "Toi", "threshold": 1}
    curriculum = [{"name": "one", "value": 1, "completion_criteria": criteria}, lesson("two", 2)]
    with pytest.raises(UsageError, match=r"size: lesson 'one' waits for the behavior 'Toi', but .* has Toy"):
        train(toy_world, {"max_steps": 10}, environment_parameters={"size": {"curriculum": curriculum}})


# ---- in a run ----

SETTINGS = {"trainer_type": "ppo", "hyperparameters": {"batch_size": 20, "buffer_size": 100}, "summary_freq": 100}


@pytest.fixture
def seen(toy_world: Any) -> tuple[Callable[..., Any], list[float]]:
    """A world, and what it reads of the parameter `size`: at each reset negative, at each step as it is."""
    sizes: list[float] = []

    def make_world(seed: int, num_areas: int, parameters: EnvironmentParameters) -> Any:
        def read(_message: int) -> None:
            sizes.append(parameters.get_with_default("size", 0.0))

        world = toy_world(seed, num_areas, parameters, at_message=read)
        reset = world.reset

        def reset_and_note() -> Any:
            sizes.append(-parameters.get_with_default("size", 0.0))
            return reset()

        world.reset = reset_and_note
        return world

    return make_world, sizes


def curriculum(**last: Any) -> dict[str, Any]:
    lessons = [
        lesson("one", 1, measure="progress", threshold=0.2),
        lesson("two", 2, measure="progress", threshold=0.6, **last),
        lesson("three", 3),
    ]
    return {"size": {"curriculum": lessons}}


def lesson_in(trained: Any) -> int:
    status = json.loads(trained.folder.training_status.read_text())
    return int(status["size"]["lesson_num"])


def test_a_run_goes_through_its_lessons(train: Callable[..., Any], seen: Any) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    make_world, sizes = seen
    trained = train(make_world, SETTINGS | {"max_steps": 1000}, environment_parameters=curriculum())
    assert sizes[0] == -1 and sizes[1:] == sorted(sizes[1:]) and set(sizes[1:]) == {1.0, 2.0, 3.0}
    share = [sizes[1:].count(size) / len(sizes[1:]) for size in (1.0, 2.0, 3.0)]
    assert share == pytest.approx([0.2, 0.4, 0.4], abs=0.05)
    assert "[INFO] Parameter 'size' is in lesson 'two' and has value '2'." in trained.output
    assert lesson_in(trained) == 2
    events = EventAccumulator(str(trained.folder.behavior("Toy")))
    events.Reload()
    numbers = [event.value for event in events.Scalars("Environment/Lesson Number/size")]
    assert numbers[0] == 0 and numbers[-1] == 2 and numbers == sorted(numbers)


def test_a_resumed_run_is_in_its_lesson(train: Callable[..., Any], seen: Any) -> None:
    make_world, sizes = seen
    by_reward = {
        "size": {"curriculum": [lesson("one", 1, threshold=0.5), lesson("two", 2, threshold=99), lesson("three", 3)]}
    }
    trained = train(make_world, SETTINGS | {"max_steps": 300}, environment_parameters=by_reward)
    assert lesson_in(trained) == 1
    sizes.clear()
    train(make_world, SETTINGS | {"max_steps": 500}, environment_parameters=by_reward, resume=True)
    assert set(sizes) == {2.0}


def test_a_lesson_may_ask_for_a_reset(train: Callable[..., Any], seen: Any) -> None:
    make_world, sizes = seen
    train(make_world, SETTINGS | {"max_steps": 1000}, environment_parameters=curriculum(require_reset=True))
    assert [size for size in sizes if size < 0] == [-1.0, -3.0]  # at first, and when the second lesson is over


@pytest.mark.parametrize("kind", ["uniform", "gaussian"])
def test_samplers_go_on_where_they_were(train: Callable[..., Any], seen: Any, kind: str) -> None:
    make_world, sizes = seen
    parameters = {"size": sampler(kind)}
    train(make_world, SETTINGS | {"max_steps": 400}, environment_parameters=parameters, run_id="whole")
    whole = sizes.copy()
    sizes.clear()
    train(make_world, SETTINGS | {"max_steps": 200}, environment_parameters=parameters)
    assert 0 < len(sizes) < len(whole)
    train(make_world, SETTINGS | {"max_steps": 400}, environment_parameters=parameters, resume=True)
    assert sizes == whole
