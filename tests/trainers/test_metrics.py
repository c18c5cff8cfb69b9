"""metrics.md has a row for each tag that a run writes, and for none besides."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import trainers
from bridge.side_channels import IncomingMessage, OutgoingMessage, StatsAggregationMethod, StatsSideChannel
from trainers.commands import films

pytestmark = pytest.mark.timeout(400)  # the kernels may have to be compiled first

FOLDER = Path(trainers.__path__[0])
TEXT = (FOLDER / "metrics.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `([^`]+)` \|", TEXT, re.MULTILINE)
OWN = "YOUR/TAG"
SMALL = {"hidden_units": 8, "num_layers": 1}
SETTINGS = {
    "trainer_type": "ppo",
    "hyperparameters": {"batch_size": 16, "buffer_size": 64, "num_epoch": 1},
    "network_settings": SMALL,
    "max_steps": 200,
    "summary_freq": 100,
    "checkpoint_interval": 50,
}


def tags_of(trained: Any) -> set[str]:
    found: set[str] = set()
    for folder in trained.folder.path.iterdir():
        if any(folder.glob("events.out.tfevents.*")):
            events = EventAccumulator(str(folder)).Reload().Tags()
            names = [name for kind in events.values() if isinstance(kind, list) for name in kind]
            found |= {name.removesuffix("_hist") for name in names}  # a histogram has the name of its scalar
    return found


@pytest.fixture
def written(train: Callable[..., Any], toy_world: Any) -> set[str]:
    """The tags of runs of every kind."""
    signals = {"extrinsic": {}} | {kind: {"network_settings": SMALL} for kind in ("curiosity", "rnd")}
    memory = {**SMALL, "memory": {"memory_size": 4, "sequence_length": 4}}
    runs: dict[str, Any] = {
        "discrete": {},
        "curious": {"reward_signals": signals},
        "with-a-memory": {"network_settings": memory},
        "threaded": {"threaded": True},
    }
    tags: set[str] = set()
    for name, changes in runs.items():
        tags |= tags_of(train(toy_world, SETTINGS | changes, run_id=name))

    class Continuous(toy_world):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, continuous=2)

    tags |= tags_of(train(Continuous, SETTINGS, run_id="hybrid"))

    channel = StatsSideChannel()

    class Everything(toy_world):
        """Two behaviors, groups, and statistics of its own."""

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, behaviors={"Toy?team=0": 0, "Other?team=0": 3})

        def step(self, actions: Any) -> Any:
            for aggregation in StatsAggregationMethod:
                message = OutgoingMessage()
                message.write_string(OWN)
                message.write_float32(1.0)
                message.write_int32(aggregation)
                channel.on_message_received(IncomingMessage(bytes(message.buffer)))
            steps = super().step(actions)
            for decisions, terminals in steps.values():
                decisions.group_reward[...] = terminals.group_reward[...] = 0.25
            return steps

    criteria = {"behavior": "Toy", "measure": "progress", "threshold": 0.6}
    lessons = [{"name": "small", "value": 1, "completion_criteria": criteria}, {"name": "big", "value": 2}]
    parameters = {"PARAMETER": {"curriculum": lessons}}
    everything = train(
        Everything,
        behaviors={"Toy": SETTINGS, "Other": SETTINGS},
        run_id="everything",
        statistics=channel,
        environment_parameters=parameters,
    )
    return tags | tags_of(everything)


def test_every_tag_has_a_row_and_every_row_a_tag(written: set[str]) -> None:
    assert sorted([*written, films.TAG]) == sorted(ROWS)  # a film is of a built-in environment: test_films.py


def test_every_tag_in_the_source_has_a_row() -> None:
    """Those that need something that the runs above have not, a second machine for one."""
    literals = r"\"((?:Environment|Losses|Performance|Policy|Hyperparameters)/[^\"{]+)(\{?)"
    source = "".join(path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.py"))
    missing = [
        tag
        for tag, goes_on in re.findall(literals, source)
        if not any(row.startswith(tag) if goes_on else row == tag for row in ROWS)
    ]
    assert missing == []


def test_ours_are_marked() -> None:
    """What TensorBoard shows of a run of ML-Agents, and what it does not."""
    marked = re.findall(r"^\| `([^`]+)` \| \* ", TEXT, re.MULTILINE)
    assert set(marked) == {tag for tag in ROWS if tag.startswith("Performance/")} | {
        "Policy/Approximate KL",
        "Policy/Clip Fraction",
        "Losses/Explained Variance",
        "Losses/Gradient Norm",
    }
