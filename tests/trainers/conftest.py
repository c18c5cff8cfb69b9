"""What tests of the trainer share: folders of runs, a toy world, and trainings of it in this process."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlagents_envs.base_env import (
    ActionSpec,
    ActionTuple,
    BehaviorSpec,
    DecisionSteps,
    DimensionProperty,
    ObservationSpec,
    ObservationType,
    TerminalSteps,
)

from bridge.fleet import Fleet
from bridge.in_process import InProcessEnvironment
from bridge.side_channels import EnvironmentParametersChannel, StatsSideChannel
from trainers.config import RunConfig
from trainers.console import Console
from trainers.first_steps import first_steps
from trainers.run import Run
from trainers.run_folder import RunFolder


@pytest.fixture(scope="session", autouse=True)
def one_core() -> None:
    """As `mlbridge learn` does: for networks of this size, threads cost more than they bring."""
    torch.set_num_threads(1)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write `run.yaml` into an empty working folder; returns its relative path, which is what messages show."""
    monkeypatch.chdir(tmp_path)

    def write_file(text: str) -> Path:
        Path("run.yaml").write_text(text, encoding="utf-8")
        return Path("run.yaml")

    return write_file


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., RunFolder]:
    def make(resume: bool = False, force: bool = False, run_id: str = "first") -> RunFolder:
        run = RunFolder(tmp_path / "results", run_id)
        run.validate(resume, force)
        run.create()
        run.configuration.touch()
        return run

    return make


class ToyWorld:
    """Agents see +1 or -1 and are paid 1 for saying which (0 for -1, 1 for +1), in episodes of 1 to 3 decisions.

    All agents decide in each message. `behaviors`: name to the number of the message in which its agents appear.
    `at_message` is called with the number of each message that is about to go out.
    """

    def __init__(
        self,
        seed: int,
        num_areas: int,
        parameters: Any,
        *,
        agents: int = 4,
        observation_size: int = 1,
        continuous: int = 0,
        behaviors: Mapping[str, int] | None = None,
        at_message: Callable[[int], None] = lambda number: None,
    ) -> None:
        observation = ObservationSpec(
            (observation_size,), (DimensionProperty.NONE,), ObservationType.DEFAULT, "the sign"
        )
        self._spec = BehaviorSpec([observation], ActionSpec(continuous, (2,)))
        self._behaviors = behaviors or {"Toy?team=0": 0}
        self._at_message = at_message
        self._message = np.zeros(1, np.int64)
        rows = (len(self._behaviors), agents)
        self._random = (seed + np.arange(agents * len(self._behaviors), dtype=np.int64).reshape(rows)) * 7919
        self._signs = np.ones(rows, np.int64)
        self._left = np.ones(rows, np.int64)
        self._rewards = np.zeros(rows, np.float32)
        self._ended = np.zeros(rows, np.bool_)

    @property
    def behavior_specs(self) -> dict[str, BehaviorSpec]:
        return {name: self._spec for name, first in self._behaviors.items() if self._message[0] >= first}

    def reset(self) -> Any:
        self._message[0] = 0
        self._begin(np.ones_like(self._ended))
        self._ended[...] = False
        return self._steps()

    def step(self, actions: Mapping[str, ActionTuple]) -> Any:
        self._message[0] += 1
        for row, name in enumerate(self._behaviors):
            if name in actions:
                said = 2 * actions[name].discrete[:, 0] - 1
                self._rewards[row] = said == self._signs[row]
                self._left[row] -= 1
        self._ended = self._left <= 0
        self._begin(self._ended)
        self._at_message(int(self._message[0]))
        return self._steps()

    def state(self) -> dict[str, np.ndarray]:
        arrays = (self._message, self._random, self._signs, self._left, self._rewards, self._ended)
        return {str(index): array.copy() for index, array in enumerate(arrays)}

    def load_state(self, state: Mapping[str, np.ndarray]) -> Any:
        if state["1"].shape != self._random.shape:
            raise ValueError(f"the saved world has {state['1'].shape} agents")
        self._message, self._random, self._signs, self._left, self._rewards, self._ended = (
            state[str(index)].copy() for index in range(6)
        )
        return self._steps()

    def _draw(self, count: int) -> np.ndarray:
        self._random = (self._random * 1103515245 + 12345) % 2**31
        return self._random // 2**16 % count

    def _begin(self, which: np.ndarray) -> None:
        """New episodes, or at least new signs for those that go on."""
        lengths, signs = 1 + self._draw(3), 2 * self._draw(2) - 1
        self._left = np.where(which, lengths, self._left)
        self._signs = signs

    def _steps(self) -> Any:
        steps = {}
        for row, name in enumerate(self._behaviors):
            if self._message[0] < self._behaviors[name]:
                continue
            ids = np.arange(self._signs.shape[1], dtype=np.int32) + row * self._signs.shape[1]  # of one player: unique
            ended = np.flatnonzero(self._ended[row]) if self._message[0] > self._behaviors[name] else ids[:0]
            zeros = np.zeros(len(ids), np.int32)
            observations = np.zeros((len(ids), *self._spec.observation_specs[0].shape), np.float32)
            observations[:, 0] = self._signs[row]
            steps[name] = (
                DecisionSteps([observations], self._rewards[row].copy(), ids, None, zeros, zeros.astype(np.float32)),
                TerminalSteps(
                    [observations[ended]],
                    self._rewards[row][ended],
                    self._random[row][ended] % 2 == 0,
                    ids[ended],
                    zeros[ended],
                    zeros[ended].astype(np.float32),
                ),
            )
        return steps


@pytest.fixture
def toy_world() -> type[ToyWorld]:
    return ToyWorld


@dataclass
class Trained:
    """What a training left: its folder and its console's lines."""

    folder: RunFolder
    output: str


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Trained]:
    """`train(make_world, settings, ...)`: a whole run in this process, of one or several worlds.

    `settings`: of the behavior Toy, or with `behaviors` of each. `seen_first`: as `mlbridge learn` starts a run, whose
    first agents come before PyTorch is there. Everything else goes into checkpoint_settings.
    """

    def run(
        make_world: Callable[..., Any],
        settings: Mapping[str, Any] | None = None,
        *,
        behaviors: Mapping[str, Any] | None = None,
        run_id: str = "run",
        seed: int = 1,
        worlds: int = 1,
        stop_at_reward: float | None = None,
        statistics: StatsSideChannel | None = None,
        environment_parameters: Mapping[str, Any] | None = None,
        seen_first: bool = False,
        **checkpoint_settings: Any,
    ) -> Trained:
        config = RunConfig.model_validate(
            {
                "behaviors": behaviors if behaviors is not None else {"Toy": settings},
                "environment_parameters": environment_parameters,
                "checkpoint_settings": {
                    "run_id": run_id,
                    "results_dir": str(tmp_path / "results"),
                    **checkpoint_settings,
                },
            }
        )
        folder = RunFolder(tmp_path / "results", run_id)
        folder.validate(config.checkpoint_settings.resume, config.checkpoint_settings.force)
        stream = io.StringIO()
        channels = [EnvironmentParametersChannel() for _ in range(worlds)]
        fleet = Fleet(
            [
                InProcessEnvironment(make_world, seed=seed + index, side_channels=[channel])
                for index, channel in enumerate(channels)
            ]
        )
        console = Console(debug=False, stream=stream)
        Run(
            config,
            fleet,
            folder,
            console,
            seed=seed,
            device=torch.device("cpu"),
            statistics=[statistics] if statistics is not None else [],
            parameters=channels,
            stop_at_reward=stop_at_reward,
            first=first_steps(config, fleet, channels, console) if seen_first else None,
        )()
        return Trained(folder, stream.getvalue())

    return run
