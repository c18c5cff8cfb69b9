"""`mlbridge learn` with worlds that need more than vectors: pictures, memory, and lists of varying length."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform == "win32", reason="uses process groups, which Windows does not have"),
]


@pytest.fixture
def world(repository: Path, tmp_path: Path) -> Callable[[str], tuple[str, str]]:
    """`world("visual")`: paths of a configuration and a program of tests/worlds."""
    folder = repository / "tests" / "worlds"
    return lambda name: (str(folder / f"{name}.yaml"), str(folder / f"{name}.py"))


@pytest.fixture
def figures(tmp_path: Path) -> Callable[[str], list[float]]:
    """`figures("visual")`: the mean rewards that the run of this name has reported, in order."""

    def read(name: str) -> list[float]:
        with (tmp_path / "results" / name / "run_logs" / f"{name.capitalize()}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        return [float(row["value"]) for row in rows if row["tag"] == "Environment/Cumulative Reward"]

    return read


@pytest.fixture
def rewards(learn: Callable[..., Any], world: Any, figures: Any) -> Callable[..., list[float]]:
    """`rewards("visual", ...)`: runs this world and returns its figures."""

    def run(name: str, *arguments: str) -> list[float]:
        configuration, program = world(name)
        learn(configuration, "--env", program, "--run-id", name, "--seed", "1", "--torch-device", "cpu", *arguments)
        return figures(name)

    return run


@pytest.fixture
def evaluate(start: Callable[..., Any], world: Any, tmp_path: Path) -> Callable[..., float]:
    """`evaluate("visual")`: the mean reward of the exported model's most probable actions."""

    def run(name: str, *arguments: str) -> float:
        command = [sys.executable, "-m", "trainers.commands", "evaluate", f"results/{name}/{name.capitalize()}.onnx"]
        command += ["--env", world(name)[1], "--deterministic", "--episodes", "200", "--json", "report.json"]
        process = start([*command, *arguments], tmp_path)
        assert process.wait() == 0, process.stdout + process.stderr
        return json.loads((tmp_path / "report.json").read_text())["mean_reward"]

    return run


def test_where_the_square_is_is_learnt_from_pictures(rewards: Any, evaluate: Any) -> None:
    seen = rewards("visual", "--stop-at-reward", "3.9")
    assert seen[0] < 2.5 and seen[-1] >= 3.9  # chance gets 1, the best is 4
    assert evaluate("visual") > 3.7


@pytest.mark.parametrize("variant", ["last", "png", "continuous"])
def test_pictures_of_other_kinds_are_learnt_from(variant: str, rewards: Any) -> None:
    seen = rewards("visual", "--stop-at-reward", "3", "--env-args", "--variant", variant)
    assert seen[0] < 2.5 and seen[-1] >= 3


def test_what_was_seen_ten_steps_ago_is_remembered(rewards: Any, evaluate: Any) -> None:
    seen = rewards("memory", "--stop-at-reward", "0.95")
    assert seen[0] < 0.5 and seen[-1] >= 0.95  # without memory there is 0 on average, whatever is done
    assert evaluate("memory") > 0.9


def test_without_memory_it_is_not(learn: Any, world: Any, figures: Any, tmp_path: Path) -> None:
    configuration, program = world("memory")
    settings = yaml.safe_load(Path(configuration).read_text())
    del settings["behaviors"]["Memory"]["network_settings"]["memory"]
    (tmp_path / "forgetful.yaml").write_text(yaml.safe_dump(settings))
    steps = ("--set", "behaviors.Memory.max_steps=32000")
    learn("forgetful.yaml", "--env", program, "--run-id", "memory", "--seed", "1", "--torch-device", "cpu", *steps)
    assert max(map(abs, figures("memory"))) < 0.3


def test_the_marked_one_of_a_list_is_found(rewards: Any, evaluate: Any) -> None:
    seen = rewards("entities", "--stop-at-reward", "3.4")
    assert seen[0] < 3 and seen[-1] >= 3.4  # chance gets 1, the best is 4
    assert evaluate("entities") > 3.1
