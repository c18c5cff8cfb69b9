"""Steps of a world in this process in which nothing ends are taken in one go, with the same outcome."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bridge.agent_world import AgentWorld
from bridge.player import EnvironmentParameters
from trainers import behavior_trainer, quiet_steps
from trainers.checkpoint import load_state
from trainers.commands import main
from unity_envs.worlds.ball3d import Ball3D
from unity_envs.worlds.cube_mover import CubeMover
from unity_envs.worlds.pole_balancer import PoleBalancer


@pytest.fixture
def learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[dict[str, Any], list[int]]]:
    """`learn("3DBall", quiet=True, steps=4000)`: the last checkpoint, and how many steps each call took in one go."""

    def learn_once(name: str, *, quiet: bool, steps: int, settings: tuple[str, ...] = ()) -> tuple[dict[str, Any], Any]:
        taken: list[int] = []
        take = quiet_steps.take_quiet_steps

        def watched(*arguments: Any) -> list[float]:
            entropies = take(*arguments)
            taken.append(len(entropies))
            return entropies

        monkeypatch.setattr(behavior_trainer, "take_quiet_steps", watched)
        if not quiet:
            monkeypatch.setattr(behavior_trainer, "can_be_quiet", lambda *arguments: False)
        command = ["learn", name, "--env", name, "--in-process", "--seed", "3", "--run-id", f"quiet-{quiet}"]
        for setting in (f"max_steps={steps}", "hyperparameters.buffer_size=1000", *settings):
            command += ["--set", f"behaviors.{name}.{setting}"]
        assert main([*command, "--results-dir", str(tmp_path)]) == 0
        monkeypatch.undo()
        return load_state(tmp_path / f"quiet-{quiet}" / name / "checkpoint.pt"), taken

    return learn_once


def differences(first: Any, second: Any, path: str = "") -> list[str]:
    """Where two states are not the same to the last bit."""
    if isinstance(first, dict):
        assert first.keys() == second.keys(), path
        return [line for key in first for line in differences(first[key], second[key], f"{path}/{key}")]
    if isinstance(first, list | tuple):
        assert len(first) == len(second), path
        return [line for at, each in enumerate(first) for line in differences(each, second[at], f"{path}/{at}")]
    same = torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second
    return [] if same else [path]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("3DBall", ()),  # continuous, twelve agents, several ticks a decision
        ("3DBall", ("time_horizon=30",)),  # trajectories that are full before an episode is over
        ("PoleBalancer", ()),  # discrete
        ("CubeMover", ("network_settings.normalize=true",)),
    ],
)
def test_the_outcome_is_the_same_to_the_last_bit(learn: Any, name: str, settings: tuple[str, ...]) -> None:
    quick, taken = learn(name, quiet=True, steps=3000, settings=settings)
    slow, none = learn(name, quiet=False, steps=3000, settings=settings)
    assert sum(taken) > 100 and not none
    assert quick["step"] == slow["step"] > 3000
    assert differences(quick, slow) == []


@pytest.mark.parametrize("make", [Ball3D, PoleBalancer, CubeMover])
def test_a_world_steps_as_it_does_with_messages(make: Callable[..., AgentWorld]) -> None:
    one, other = make(1, 1, EnvironmentParameters(), agents=3), make(1, 1, EnvironmentParameters(), agents=3)
    one.reset(), other.reset()
    spec, random = one.behavior_specs[one.behavior].action_spec, np.random.default_rng(0)
    ends = 0
    for _ in range(300):
        action = spec.random_action(3)
        action.add_continuous(random.uniform(-1, 1, action.continuous.shape).astype(np.float32))
        decisions, terminals = one.step({one.behavior: action})[one.behavior]
        assert other.can_be_quiet
        quiet = other.step_quietly(action.continuous, action.discrete)
        assert not (quiet and len(terminals))
        ends += not quiet
        while not len(decisions):  # a message of terminals alone
            decisions, _ = one.step({})[one.behavior]
            other.step({})
        mine = other.message()[other.behavior][0]
        assert np.array_equal(decisions.obs[0], mine.obs[0]) and np.array_equal(decisions.reward, mine.reward)
    assert 0 < ends < 300


def test_what_is_not_a_number_is_found_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    observe, calls = PoleBalancer.observe, []

    def broken(self: PoleBalancer, agents: np.ndarray, observations: list[np.ndarray]) -> None:
        observe(self, agents, observations)
        calls.append(len(agents))
        if len(calls) == 5:  # in the middle of quiet steps
            observations[0][:, 2] = np.nan

    monkeypatch.setattr(PoleBalancer, "observe", broken)
    command = ["learn", "PoleBalancer", "--env", "PoleBalancer", "--in-process", "--results-dir", str(tmp_path)]
    assert main(command) == 2
    assert "observation 0 (VectorSensor_size4) of agent 0 of behavior 'PoleBalancer?team=0' is NaN" in (
        capsys.readouterr().err
    )
    assert len(calls) == 5
