"""Whole programs that were written for mlagents_envs, under `python -m bridge.compat`, with our players."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge import builds
from unity_envs import executables

HERE = Path(__file__).parent

pytestmark = pytest.mark.timeout(300)


def run(script: str, *arguments: str, python: tuple[str | Path, ...] = (sys.executable, "-m", "bridge.compat")) -> Any:
    """What a script of this folder prints, from JSON."""
    done = subprocess.run(
        [*python, HERE / script, *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("player", ["3DBall", "CubeMover"])
def test_a_program_sees_the_same_as_with_the_official_client(player: str, official_python: Path) -> None:
    def port() -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return str(probe.getsockname()[1])

    script = "walk_through_low_level_api.py"
    ours = run(script, executables.path(player), port())
    assert ours == run(script, executables.path(player), port(), python=(official_python,))


def test_the_walk_through_of_the_low_level_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLBRIDGE_HOME", str(tmp_path))
    builds.add("Balls", Path(executables.path("3DBall")))
    seen = run("walk_through_low_level_api.py", "Balls")
    assert (seen["behavior"], seen["observations"], seen["pictures"]) == ("3DBall?team=0", [[8]], False)
    assert (seen["continuous"], seen["branches"]) == (2, [])
    assert (seen["asking"], seen["ended"]) == ([0, 1], 0)
    assert len(seen["episodes"]) == 3
    for episode in seen["episodes"]:
        # 0.1 for every decision that the ball stays on, -1 for the fall; steps in which the other agent alone has
        # something to tell bring nothing.
        assert -1 < episode["reward"] <= 0.1 * episode["steps"] - 1
        assert not episode["interrupted"]


@pytest.mark.skipif(importlib.util.find_spec("torchrl") is None, reason="torchrl is not installed")
def test_torchrls_collector_on_3dball() -> None:
    seen = run("collect_with_torchrl.py", executables.path("3DBall"), "4", "200")
    assert seen["observations"] == 4  # one for each agent
    assert seen["action"] == [[2], -1.0, 1.0]
    assert seen["batches"] == [[100], [100]]
    assert seen["rewards"] == [-1.0, 0.0, 0.1]
    # Random actions drop a ball within 20 to 30 decisions.
    assert 10 <= seen["done"] <= 60
    assert seen["moved"] > 1
    assert seen["rollout"] == 5
