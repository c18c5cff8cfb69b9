"""bridge's own tests, on every supported Python that is found here and on three majors of protobuf, without torch."""

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
PROTOBUFS = ["5.29.1", "6.33.0", "7.36.2"]  # the oldest that we allow, one of the next major, the newest
PACKAGES = ["grpcio", "numba", "numpy", "pillow", "hypothesis", "pytest", "pytest-timeout"]
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"


def find_pythons() -> dict[str, str]:
    """{version: path of an interpreter that runs}. A name on PATH may be a shim that only says that it does not run."""
    found = {RUNNING: sys.executable}
    for version in PYTHONS:
        by_name = shutil.which(f"python{version}")
        installed = sorted(Path.home().glob(f".pyenv/versions/{version}*/bin/python{version}"))
        for candidate in [*installed, *([by_name] if by_name else [])]:
            if version not in found and runs(candidate, version):
                found[version] = str(candidate)
    return found


def runs(python: Path | str, version: str) -> bool:
    check = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", check], capture_output=True, text=True, timeout=30)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def combinations() -> list[object]:
    """The running Python with each protobuf but its own, which the rest of the run has; other Pythons with one each."""
    pythons = find_pythons()
    own_major = metadata.version("protobuf").split(".")[0]
    pairs = [(RUNNING, protobuf) for protobuf in PROTOBUFS if protobuf.split(".")[0] != own_major]
    others = [version for version in pythons if version != RUNNING]
    pairs += [(version, PROTOBUFS[-1 - turn % len(PROTOBUFS)]) for turn, version in enumerate(others)]
    return [
        pytest.param(pythons[version], version, protobuf, id=f"python{version}-protobuf{protobuf}")
        for version, protobuf in pairs
    ]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("python", "version", "protobuf"), combinations())
def test_bridge_passes_its_tests(
    python: str, version: str, protobuf: str, repository, virtual_environment, cached_folder, pip_install, capsys
) -> None:
    constraints = str(repository / ".ci" / "constraints.txt")
    environment_python = virtual_environment(
        f"python{version}", [["-c", constraints, *PACKAGES], ["-c", constraints, "--no-deps", "mlagents-envs"]], python
    )
    # protobuf's wheels serve every Python, so each is installed once, beside the environments.
    requirement = f"protobuf=={protobuf}"
    protobuf_folder = cached_folder(
        f"protobuf{protobuf}",
        requirement,
        lambda folder: pip_install(["install", "-q", "--no-deps", "--target", str(folder), requirement]),
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(repository), str(protobuf_folder)])}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [environment_python, *arguments],
            cwd=repository,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )

    about = run(
        "-c",
        "import google.protobuf, importlib.util; print(google.protobuf.__version__, importlib.util.find_spec('torch'))",
    )
    assert about.stdout.split() == [protobuf, "None"], about.stderr

    # Models are not part of the wire, and onnx has wishes of its own about protobuf.
    models = "--ignore=tests/bridge/test_onnx_policy.py"
    done = run("-m", "pytest", "tests/bridge", models, "-q", "-m", "not slow and not gpu", "-p", "no:cacheprovider")
    summary = (done.stdout.strip().splitlines() or ["nothing"])[-1].strip("= ")
    with capsys.disabled():
        print(f"\nbridge on Python {version} with protobuf {protobuf}: {summary}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ passed", summary)
