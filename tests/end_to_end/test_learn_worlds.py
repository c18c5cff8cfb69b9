"""`mlbridge learn` with the worlds of tests/worlds: masks, hybrid actions, lessons, groups, and two behaviors."""

import csv
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.timeout(150),
    pytest.mark.skipif(sys.platform == "win32", reason="uses process groups, which Windows does not have"),
]

REWARD, GROUP_REWARD = "Environment/Cumulative Reward", "Environment/Group Cumulative Reward"
LESSON, LENGTH = "Environment/Lesson Number/difficulty", "Environment/Episode Length"


@pytest.fixture
def learn_world(learn: Callable[..., Any], repository: Path, tmp_path: Path) -> Callable[..., str]:
    """`learn_world("masked", ...)`: the run `masked`, of masked.py with masked.yaml; returns what it says."""

    def run(name: str, *arguments: str, change: Callable[[str], str] = lambda text: text) -> str:
        folder = repository / "tests" / "worlds"
        (tmp_path / f"{name}.yaml").write_text(change((folder / f"{name}.yaml").read_text()))
        where = ("--env", str(folder / f"{name}.py"), "--run-id", name, "--seed", "1", "--torch-device", "cpu")
        return learn(f"{name}.yaml", *where, *arguments).stdout

    return run


@pytest.fixture
def evaluate(start: Callable[..., Any], repository: Path, tmp_path: Path) -> Callable[[str, str], float]:
    """`evaluate("masked", "Masked")`: the mean reward of the exported model's most probable actions."""

    def run(name: str, behavior: str) -> float:
        command = [sys.executable, "-m", "trainers.commands", "evaluate", f"results/{name}/{behavior}.onnx"]
        command += ["--env", str(repository / "tests" / "worlds" / f"{name}.py"), "--deterministic"]
        process = start([*command, "--episodes", "200", "--json", "report.json"], tmp_path)
        assert process.wait() == 0, process.stdout + process.stderr
        return json.loads((tmp_path / "report.json").read_text())["mean_reward"]

    return run


@pytest.fixture
def figures(tmp_path: Path) -> Callable[..., list[float]]:
    """`figures("masked", "Masked", tag)`: what the run has reported under this tag, in order."""

    def read(name: str, behavior: str, tag: str = REWARD) -> list[float]:
        with (tmp_path / "results" / name / "run_logs" / f"{behavior}.csv").open(newline="") as file:
            return [float(row["value"]) for row in csv.DictReader(file) if row["tag"] == tag]

    return read


def test_masks_are_respected_and_learnt_with(learn_world: Any, evaluate: Any, figures: Any) -> None:
    learn_world("masked")  # which raises, and so ends the run, if it is ever given a forbidden action
    rewards = figures("masked", "Masked")
    assert rewards[0] < 3.3 and rewards[-1] > 4.5  # chance gets 2.1, the best is 5
    assert evaluate("masked", "Masked") > 4.7


def test_continuous_and_discrete_actions_are_learnt_together(learn_world: Any, figures: Any) -> None:
    learn_world("hybrid")
    rewards = figures("hybrid", "Hybrid")
    assert rewards[0] < 3 and rewards[-1] > 4.6  # chance gets 1.7, the best is 5


def test_the_reward_of_a_group_is_learnt_from_and_reported(learn_world: Any, figures: Any) -> None:
    learn_world("groups")
    rewards = figures("groups", "Groups", GROUP_REWARD)
    assert rewards[0] < 2 and rewards[-1] > 4.7  # chance gets 1.25, the best is 5
    assert set(figures("groups", "Groups")) == {0.0}, "the agents' own reward"


def test_a_reward_at_the_end_of_a_corridor_is_found(learn_world: Any, figures: Any) -> None:
    learn_world("corridor")
    rewards = figures("corridor", "Corridor")
    assert rewards[0] < 0.5 and rewards[-1] > 0.9


def test_two_behaviors_are_learnt_at_once_and_one_appears_late(learn_world: Any, figures: Any, tmp_path: Path) -> None:
    output = learn_world("two_behaviors")
    assert re.findall(r"Connected new brain: (\S+)", output) == ["Pusher?team=0", "Chooser?team=1"]
    pusher, chooser = figures("two_behaviors", "Pusher"), figures("two_behaviors", "Chooser")
    assert pusher[0] < 3.5 and pusher[-1] > 4.5  # chance gets 1.7
    assert chooser[0] < 4 and chooser[-1] > 4.6  # chance gets 2.5
    status = json.loads((tmp_path / "results" / "two_behaviors" / "run_logs" / "training_status.json").read_text())
    for behavior, least in (("Pusher", 18_000), ("Chooser", 9_000)):
        assert (tmp_path / "results" / "two_behaviors" / f"{behavior}.onnx").is_file()
        assert status[behavior]["final_checkpoint"]["steps"] > least


def test_lessons_follow_one_another_and_a_resumed_run_is_in_its_own(
    learn_world: Any, figures: Any, tmp_path: Path
) -> None:
    def endless_second_lesson(text: str) -> str:
        first, second = text.split("- name: farther")
        return f"{first}- name: farther{second.replace('threshold: 0.95', 'threshold: 2')}"

    def farther(text: str) -> str:
        return text.replace("max_steps: 12000", "max_steps: 24000")

    output = learn_world("curriculum", change=endless_second_lesson)
    assert "is in lesson 'farther' and has value '3'" in output and "'far'" not in output
    lessons = figures("curriculum", "Curriculum", LESSON)
    assert lessons[0] == 0 and lessons[-1] == 1 and lessons == sorted(lessons)
    assert figures("curriculum", "Curriculum", LENGTH)[-1] == pytest.approx(2, abs=0.2)  # three steps, counted from 0

    status_file = tmp_path / "results" / "curriculum" / "run_logs" / "training_status.json"
    assert json.loads(status_file.read_text())["difficulty"]["lesson_num"] == 1
    output = learn_world("curriculum", "--resume", change=farther)
    assert "is in lesson 'far' and has value '6'" in output and "'farther'" not in output
    before = len(lessons)
    assert set(figures("curriculum", "Curriculum", LESSON)[before:]) <= {1, 2}
    lengths = figures("curriculum", "Curriculum", LENGTH)[before:]
    assert min(lengths) > 1.9 and lengths[-1] == pytest.approx(5, abs=0.5)
    assert figures("curriculum", "Curriculum")[-1] > 0.95
    assert json.loads(status_file.read_text())["difficulty"]["lesson_num"] == 2
