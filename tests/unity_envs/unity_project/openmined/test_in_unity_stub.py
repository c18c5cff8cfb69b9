"""The adapter for Unity, on the stub of the engine: agents learn by two calls, in place of the remote trainer."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from trainers.kernels.build import find_or_build

HERE = Path(__file__).parent
OURS = ("OpenMined", "OpenMined.Unity", "MlAgentsBridge.Core", "MlAgentsBridge.Agents")
ENGINE = [f"{name}.dll" for name in ("UnityEngine", "Unity.ML-Agents", *OURS)]


@pytest.fixture(scope="module")
def program(games, project, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("engine")
    for name in ENGINE:
        shutil.copy(project / name, folder)
    shutil.copy(find_or_build(), folder)
    sources = [*sorted((HERE / "engine").glob("*.cs")), HERE / "game/Games.cs"]
    games.compile_program(folder / "Engine.exe", "exe", sources, [folder / name for name in ENGINE])
    return folder / "Engine.exe"


def test_agents_of_cube_mover_learn_to_go_right(games, program):
    answers = games.play(program, "CubeMover", 3, 1, 20000)
    assert int(answers["steps"]) > 20000 and int(answers["updates"]) == 9
    # Every episode is worth 0.94 at most, 0.08 to the left; random ones 0.17.
    assert 0.2 < float(answers["mean_reward"]) < 0.94
    assert float(answers["greedy"]) == pytest.approx(0.94, abs=1e-6)


def test_an_agent_of_pole_balancer_learns_and_time_limits_are_none_of_its_faults(games, program):
    answers = games.play(program, "PoleBalancer", 1, 1, 30000)
    assert float(answers["greedy"]) > 150  # random policies fall after about 20
