"""The official client's own tests, run under `bridge.compat`.

No package index has them (the source distributions come without), so their folder has to be named:

    git clone --depth 1 --branch release_22 https://github.com/Unity-Technologies/ml-agents
    MLBRIDGE_OFFICIAL_TESTS=ml-agents/ml-agents-envs/tests make test
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FILES = [
    "test_rpc_communicator.py",
    "test_rpc_utils.py",
    "test_set_action.py",
    "test_side_channel.py",
    "test_steps.py",
    "test_timers.py",
    "test_gym.py",
]
# What is left out, and why.
WITHOUT = {
    "test_envs.py": "replaces private parts of the official UnityEnvironment (_get_communicator, _executable_args) and "
    "calls others (_check_communication_compatibility, _returncode_to_signal_name), which ours does not have",
    "test_unity_vec_env.py": "belongs to a wrapper that was taken out of the package",
    "test_pettingzoo_wrapper.py": "calls the checker of PettingZoo 1.15, which wants four values a step; today's "
    "PettingZoo wants five, and so do its base classes' checks",
    "test_registry.py": "downloads builds of hundreds of megabytes from Unity's storage",
}
FOLDER = os.environ.get("MLBRIDGE_OFFICIAL_TESTS", "")

pytestmark = pytest.mark.skipif(not FOLDER, reason="MLBRIDGE_OFFICIAL_TESTS does not name the folder of these tests")


def test_every_file_is_run_or_left_out_for_a_reason() -> None:
    assert {path.name for path in Path(FOLDER).glob("test_*.py")} <= {*FILES, *WITHOUT}


@pytest.mark.parametrize("name", FILES)
def test_official_tests_pass(name: str, tmp_path: Path) -> None:
    file = (Path(FOLDER) / name).absolute()
    if not file.is_file():
        pytest.skip(f"{FOLDER} has no {name}")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    command = [sys.executable, "-m", "bridge.compat", "-m", "pytest", "-q", "-p", "official_tests_plugin"]
    command += ["-p", "no:cacheprovider", "-c", str(tmp_path / "pytest.ini"), str(file)]
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=110, env=os.environ | {"PYTHONPATH": paths}, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
