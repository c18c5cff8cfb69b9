"""The official client, mlagents-envs 1.1.0, is told of forbidden actions by our players."""

import json
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.player import EnvironmentParameters

DRIVE = """
import json, sys
import numpy
from mlagents_envs.base_env import ActionTuple
from mlagents_envs.environment import UnityEnvironment

environment = UnityEnvironment(sys.argv[1], base_port=int(sys.argv[2]), seed=7, no_graphics=True, timeout_wait=60)
environment.reset()
(name,) = environment.behavior_specs
first = [mask.tolist() for mask in environment.get_steps(name)[0].action_mask]
for _ in range(30):  # the player ends when it is given a forbidden action
    decisions, _ = environment.get_steps(name)
    allowed = [mask.argmin(axis=1) for mask in decisions.action_mask]
    environment.set_actions(name, ActionTuple(discrete=numpy.stack(allowed, axis=1).astype(numpy.int32)))
    environment.step()
environment.close()
print(json.dumps(first))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a script becomes a program by its first line")
@pytest.mark.timeout(900)  # the first run builds the client's environment
def test_the_official_client_sees_the_masks(official_python: Path, repository: Path, tmp_path: Path) -> None:
    world = repository / "tests" / "worlds" / "masked.py"
    program = tmp_path / "masked"  # the official client starts no .py file
    program.write_text(f"#!{sys.executable}\nimport runpy\nrunpy.run_path({str(world)!r}, run_name='__main__')\n")
    program.chmod(0o755)
    (tmp_path / "drive.py").write_text(DRIVE)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [official_python, tmp_path / "drive.py", program, str(port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    masked = runpy.run_path(str(world))["Masked"](7, 1, EnvironmentParameters())
    decisions, _ = masked.reset()[masked.behavior]
    assert json.loads(done.stdout.splitlines()[-1]) == [mask.tolist() for mask in decisions.action_mask]
