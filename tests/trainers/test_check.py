"""`mlbridge check`: what it notices of environments that are wrong, and that ours are right."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlagents_envs.base_env import (
    ActionSpec,
    ActionTuple,
    BaseEnv,
    BehaviorSpec,
    DecisionSteps,
    DimensionProperty,
    ObservationSpec,
    ObservationType,
    TerminalSteps,
)

from bridge.exceptions import InvalidObservationError
from trainers.commands import main
from trainers.environment_check import check_environment

NAME = "Walker?team=0"
AGENTS, LENGTH = 3, 5


class Environment(BaseEnv):
    """Agents whose episodes have LENGTH decisions and a reward of 1 each; every part can be replaced."""

    def __init__(self, **parts: Callable[[int], Any]) -> None:
        observation = ObservationSpec((2,), (DimensionProperty.NONE,), ObservationType.DEFAULT, "numbers")
        self._spec = BehaviorSpec([observation], ActionSpec(1, (2, 3)))
        self._message = 0
        self._seen = parts.get("seen", lambda message: np.random.default_rng(message).uniform(-1, 1, (AGENTS, 2)))
        self._reward = parts.get("reward", lambda message: 1.0 + message % 7)
        self._ends = parts.get("ends", lambda message: message % LENGTH == 0)
        self._mask = parts.get("mask", lambda message: [np.zeros((AGENTS, size), np.bool_) for size in (2, 3)])
        self._decides = parts.get("decides", lambda message: True)
        self.actions: list[ActionTuple] = []

    @property
    def behavior_specs(self) -> Mapping[str, BehaviorSpec]:
        return {NAME: self._spec}

    def reset(self) -> None:
        self._message = 0
        self._collect(ended=False)

    def step(self) -> None:
        self._message += 1
        self._collect(ended=self._ends(self._message))

    def _collect(self, *, ended: bool) -> None:
        ids, group = np.arange(AGENTS, dtype=np.int32), np.zeros(AGENTS, np.int32)
        seen = np.asarray(self._seen(self._message), np.float32)
        rewards = np.full(AGENTS, self._reward(self._message), np.float32)
        zeros = np.zeros(AGENTS, np.float32)
        count = AGENTS if self._decides(self._message) else 0
        decisions = DecisionSteps([seen], rewards * (not ended), ids, self._mask(self._message), group, zeros)
        if not count:
            decisions = DecisionSteps.empty(self._spec)
        terminals = TerminalSteps([seen], rewards, np.zeros(AGENTS, np.bool_), ids, group, zeros)
        self._steps = decisions, terminals if ended else TerminalSteps.empty(self._spec)

    def get_steps(self, behavior_name: str) -> tuple[DecisionSteps, TerminalSteps]:
        return self._steps

    def set_actions(self, behavior_name: str, action: ActionTuple) -> None:
        self.actions.append(action)

    def set_action_for_agent(self, behavior_name: str, agent_id: int, action: ActionTuple) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass


def findings(seconds: float = 0.2, **parts: Callable[[int], Any]) -> list[str]:
    return [
        str(one) for found in check_environment(Environment(**parts), seconds, 1).findings().values() for one in found
    ]


def test_there_is_nothing_to_say_against_a_good_one() -> None:
    environment = Environment()
    check = check_environment(environment, 0.2, 1)
    assert check.findings() == {"": [], NAME: []}
    behavior = check.behaviors[NAME]
    assert behavior.steps == AGENTS * behavior.messages and behavior.most_agents == AGENTS
    assert set(behavior.lengths) == {LENGTH}
    assert 0 < check.waiting < check.seconds and check.steps_per_second > 100
    actions = environment.actions[0]
    assert actions.continuous.shape == (AGENTS, 1) and actions.discrete.shape == (AGENTS, 2)
    chosen = np.concatenate([one.discrete for one in environment.actions])
    assert set(chosen[:, 0]) == {0, 1} and set(chosen[:, 1]) == {0, 1, 2}


def test_returns_are_sums_of_rewards() -> None:
    check = check_environment(Environment(reward=lambda _: 2.0), 0.1, 1)
    assert set(check.behaviors[NAME].returns) == {2.0 * LENGTH}


@pytest.mark.parametrize(
    "part, function, expected",
    [
        ("ends", lambda _: False, "problem: no episode ended in"),
        ("ends", lambda _: True, "problem: episodes have one decision"),
        ("reward", lambda _: 0.0, "problem: all rewards were 0"),
        ("reward", lambda message: 1e4 + message, "advice: episodes sum up to"),
        ("reward", lambda _: 1.0, "advice: every episode had the same sum of rewards"),
        ("seen", lambda _: np.ones((AGENTS, 2)), "problem: observation numbers: none of its 2 numbers ever changed"),
        ("seen", lambda m: [[m % 3, 1]] * AGENTS, "advice: observation numbers: number 1 never changed"),
        ("seen", lambda m: [[m % 3, 50 * (m % 2)]] * AGENTS, "number 1 up to 50; set normalize: true"),
        ("decides", lambda _: False, "problem: no agent asked for a decision; give the agents a Decision Requester"),
        (
            "mask",
            lambda m: [np.zeros((AGENTS, 2), np.bool_), np.full((AGENTS, 3), m == 4)],
            f"problem: branch 1 forbids every action in {AGENTS} decisions",
        ),
    ],
)
def test_what_is_wrong_is_noticed(part: str, function: Callable[[int], Any], expected: str) -> None:
    found = findings(**{part: function})
    assert any(expected in one for one in found), found


def test_masks_are_kept_to() -> None:
    environment = Environment(mask=lambda _: [np.array([[True, False]] * AGENTS), np.zeros((AGENTS, 3), np.bool_)])
    check_environment(environment, 0.1, 1)
    assert {int(choice) for one in environment.actions for choice in one.discrete[:, 0]} == {1}


def test_a_number_that_is_none_ends_it() -> None:
    def seen(message: int) -> Any:
        if message == 10:
            raise InvalidObservationError("observation 0 of agent 2 is NaN")
        return np.random.default_rng(message).uniform(-1, 1, (AGENTS, 2))

    found = findings(5.0, seen=seen)
    assert found[0] == "problem: observation 0 of agent 2 is NaN"


# ---- the command ----


@pytest.mark.parametrize("name", ["3DBall", "CubeMover", "PoleBalancer"])
def test_the_built_in_environments_are_right(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "check.json"
    assert main(["check", "--env", name, "--in-process", "--seconds", "0.5", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert f"{name}?team=0: " in printed and "Nothing to say against it." in printed and "agent-steps/s" in printed
    numbers = json.loads(file.read_text())
    behavior = numbers["behaviors"][f"{name}?team=0"]
    assert behavior["episodes"] > 0 and behavior["findings"] == []
    assert len(behavior["observations"][0]["least"]) in (1, 4, 8)


def test_problems_are_an_exit_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from trainers.commands import check

    monkeypatch.setattr(check, "open_environment", lambda *_, **__: Environment(reward=lambda _: 0.0))
    assert main(["check", "--env", "3DBall", "--in-process", "--seconds", "0.1"]) == 1
    assert "problem: all rewards were 0; reward something that random actions reach" in capsys.readouterr().out


def test_json_in_a_missing_folder_is_refused_before_playing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    absent = tmp_path / "absent" / "check.json"
    assert main(["check", "--env", "3DBall", "--in-process", "--json", str(absent)]) == 2
    assert "there is no folder" in capsys.readouterr().err
