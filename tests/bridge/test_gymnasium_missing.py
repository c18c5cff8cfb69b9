"""What is said where an optional library is not installed."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [
        ("bridge.gymnasium_env", "gymnasium", "gymnasium"),
        ("bridge.gymnasium_vector_env", "gymnasium", "gymnasium"),
        ("bridge.pettingzoo_env", "pettingzoo", "pettingzoo"),
        ("bridge.stable_baselines3_env", "stable_baselines3", "sb3"),
        ("unity_envs.gymnasium_ids", "gymnasium", "gymnasium"),
    ],
)
def test_the_extra_to_install_is_named(module: str, library: str, extra: str) -> None:
    program = f"import sys; sys.modules[{library!r}] = None; import {module}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"pip install 'mlagents-bridge[{extra}]'" in done.stderr.splitlines()[-1]
