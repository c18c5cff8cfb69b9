"""What TensorBoard's own reader finds of a run: every tag of ML-Agents, at the same steps and with the same numbers
as the console's lines and the CSV file."""

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bridge.side_channels import IncomingMessage, OutgoingMessage, StatsSideChannel

SETTINGS = {
    "trainer_type": "ppo",
    "hyperparameters": {"batch_size": 16, "buffer_size": 64, "num_epoch": 1},
    "network_settings": {"hidden_units": 8, "num_layers": 1},
    "max_steps": 400,
    "summary_freq": 100,
}
STEPS = [100, 200, 300, 400]
SCALARS = {
    "Environment/Cumulative Reward",
    "Environment/Episode Length",
    "Environment/Group Cumulative Reward",
    "Environment/Lesson Number/size",
    "Losses/Policy Loss",
    "Losses/Value Loss",
    "Policy/Beta",
    "Policy/Entropy",
    "Policy/Epsilon",
    "Policy/Extrinsic Reward",
    "Policy/Extrinsic Value Estimate",
    "Policy/Learning Rate",
    "Env/Average",
    "Env/Most Recent",
    "Env/Sum",
    "Env/Histogram",
}
OURS = (
    "Performance/",
    "Losses/Explained Variance",
    "Losses/Gradient Norm",
    "Policy/Approximate KL",
    "Policy/Clip Frac",
)


def sent(channel: StatsSideChannel, tag: str, value: float, aggregation: int) -> None:
    message = OutgoingMessage()
    message.write_string(tag)
    message.write_float32(value)
    message.write_int32(aggregation)
    channel.on_message_received(IncomingMessage(bytes(message.buffer)))


@dataclass
class Told:
    """One summary line of the console."""

    step: int
    reward: float
    std: float | None
    group_reward: float | None


def told(output: str) -> list[Told]:
    pattern = (
        r"\[INFO\] Toy\. Step: (\d+)\. Time Elapsed: \d+\.\d{3} s\. Mean Reward: (\S+)\. "
        r"(?:Std of Reward: (\S+)|Mean Group Reward: (\S+))\. Training\."
    )
    found = [re.fullmatch(pattern, line) for line in output.splitlines() if " Step: " in line]
    assert all(found)
    return [
        Told(int(one[1]), float(one[2]), *(None if text is None else float(text) for text in (one[3], one[4])))
        for one in found
        if one is not None
    ]


def read(trained: Any) -> EventAccumulator:
    sizes = {"scalars": 0, "histograms": 0, "tensors": 0}
    events = EventAccumulator(str(trained.folder.behavior("Toy")), size_guidance=sizes)
    return events.Reload()


def scalars(events: EventAccumulator) -> dict[str, dict[int, float]]:
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


@pytest.fixture
def whole(train: Callable[..., Any], toy_world: Any) -> Any:
    """A run with all that makes a tag: group rewards, a curriculum, statistics of the player."""
    channel = StatsSideChannel()

    class World(toy_world):
        def step(self, actions: Any) -> Any:
            for number, kind in enumerate(("Average", "Most Recent", "Sum", "Histogram")):
                sent(channel, f"Env/{kind}", 2.0, number)
            steps = super().step(actions)
            for decisions, terminals in steps.values():
                decisions.group_reward[...] = terminals.group_reward[...] = 0.25
            return steps

    criteria = {"behavior": "Toy", "measure": "progress", "threshold": 0.6}
    lessons = [{"name": "small", "value": 1, "completion_criteria": criteria}, {"name": "big", "value": 2}]
    parameters = {"size": {"curriculum": lessons}}
    return train(World, SETTINGS, statistics=channel, environment_parameters=parameters)


def test_every_tag_of_ml_agents_is_found(whole: Any) -> None:
    events = read(whole)
    tags = events.Tags()
    assert {tag for tag in tags["scalars"] if not tag.startswith(OURS)} == SCALARS
    histograms = {
        "Environment/Cumulative Reward_hist",
        "Environment/Group Cumulative Reward_hist",
        "Env/Histogram_hist",
    }
    assert set(tags["histograms"]) == histograms
    assert set(tags["tensors"]) == {"Hyperparameters/text_summary"}
    (text,) = events.Tensors("Hyperparameters/text_summary")
    assert "| hyperparameters.batch_size | 16 |" in text.tensor_proto.string_val[0].decode()


def test_every_tag_stands_at_multiples_of_summary_freq(whole: Any) -> None:
    """Losses at those that an update came before, which with a buffer of 64 are all of them."""
    found = scalars(read(whole))
    assert {tag: list(found[tag]) for tag in SCALARS} == dict.fromkeys(SCALARS, STEPS)


def test_the_numbers_are_right(whole: Any) -> None:
    found = scalars(read(whole))
    lengths, groups = found["Environment/Episode Length"], found["Environment/Group Cumulative Reward"]
    for step in STEPS:
        assert groups[step] == pytest.approx(0.25 * (lengths[step] + 1))  # 0.25 for each decision
        reward = found["Environment/Cumulative Reward"][step] + groups[step]
        assert found["Policy/Extrinsic Reward"][step] == pytest.approx(reward)  # both, with a strength of 1
        assert [found[f"Env/{kind}"][step] for kind in ("Average", "Most Recent", "Histogram")] == [2.0] * 3
    # About 100 steps of 4 agents are 25 messages.
    assert sum(found["Env/Sum"].values()) == pytest.approx(2.0 * 400 / 4, rel=0.1)
    lessons = found["Environment/Lesson Number/size"]
    assert [lessons[step] for step in STEPS] == [0, 0, 1, 1]  # 0.6 of 400 steps are 240


def test_a_histogram_has_an_entry_for_each_episode(whole: Any) -> None:
    found = read(whole)
    for event in found.Histograms("Environment/Cumulative Reward_hist"):
        histogram = event.histogram_value
        mean = histogram.sum / histogram.num
        assert mean == pytest.approx(scalars(found)["Environment/Cumulative Reward"][event.step])
        assert 100 / 3 - 4 <= histogram.num <= 104  # episodes have 1 to 3 decisions


def test_the_console_says_what_the_scalars_are(train: Callable[..., Any], toy_world: Any, whole: Any) -> None:
    with_groups = scalars(read(whole))
    lines = told(whole.output)
    assert [line.step for line in lines] == STEPS
    for line in lines:
        assert line.reward == float(f"{with_groups['Environment/Cumulative Reward'][line.step]:.3f}")
        assert line.group_reward == float(f"{with_groups['Environment/Group Cumulative Reward'][line.step]:.3f}")
    alone = train(toy_world, SETTINGS, run_id="alone")
    events = read(alone)
    found = scalars(events)
    for line in told(alone.output):
        assert line.reward == float(f"{found['Environment/Cumulative Reward'][line.step]:.3f}")
        (histogram,) = [
            event.histogram_value
            for event in events.Histograms("Environment/Cumulative Reward_hist")
            if event.step == line.step
        ]
        variance = histogram.sum_squares / histogram.num - (histogram.sum / histogram.num) ** 2
        assert line.std == pytest.approx(np.sqrt(variance), abs=5e-4)


def test_the_csv_file_has_the_same_scalars(whole: Any) -> None:
    with whole.folder.scalars("Toy").open(newline="", encoding="utf-8") as file:
        rows = {(row["tag"], int(row["step"])): float(row["value"]) for row in csv.DictReader(file)}
    found = {(tag, step): value for tag, values in scalars(read(whole)).items() for step, value in values.items()}
    assert rows == pytest.approx(found, rel=1e-6)
