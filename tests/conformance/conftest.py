"""The official Python client, in an environment of its own: it needs a protobuf that nothing else here can use."""

import subprocess
from pathlib import Path

import pytest

CLIENT = ["--no-deps", "--ignore-requires-python", "mlagents-envs==1.1.0"]
# protobuf: the last whose pure Python implementation takes the client's generated code. setuptools: the client imports
# distutils, which Python 3.12 dropped and this setuptools still supplies. The rest: what it imports, at any version.
IMPORTED = ["protobuf==3.20.3", "setuptools<81", "grpcio", "numpy", "pillow"]


@pytest.fixture(scope="session")
def official_python(virtual_environment) -> Path:
    """A Python in which `mlagents_envs` is the official client, 1.1.0. Fails where that cannot be built."""
    python = virtual_environment("official-client", [CLIENT, IMPORTED])
    check = (
        "from mlagents_envs.environment import UnityEnvironment; import mlagents_envs; print(mlagents_envs.__version__)"
    )
    done = subprocess.run([python, "-c", check], capture_output=True, text=True, timeout=120)
    if done.stdout.strip() != "1.1.0":
        pytest.fail(f"the official client does not import in {python}:\n{done.stdout}{done.stderr}", pytrace=False)
    return python
