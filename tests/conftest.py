"""What tests of several rooms share: folders that are costly to make and kept for the next time, under .cache/."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
INSTALL_LIMIT = 600  # seconds for one call of pip


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def pip_install() -> Callable[[Sequence[str]], None]:
    """`pip_install(arguments)` runs this Python's pip; fails the test with pip's own words when it cannot."""

    def install(arguments: Sequence[str]) -> None:
        command = [sys.executable, "-m", "pip", *arguments]
        environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=INSTALL_LIMIT)
        if done.returncode != 0:
            pytest.fail(f"{' '.join(command)}\n{(done.stdout + done.stderr)[-4000:]}", pytrace=False)

    return install


@pytest.fixture(scope="session")
def cached_folder() -> Callable[[str, str, Callable[[Path], None]], Path]:
    """`cached_folder(name, contents, build)` returns a folder that `build(folder)` filled, now or earlier.

    It is built anew when `contents`, which says what is in it, changes. Only whole folders are ever returned; of
    several processes that want the same one, the first builds and the others wait.
    """
    from filelock import FileLock

    def get(name: str, contents: str, build: Callable[[Path], None]) -> Path:
        cache = ROOT / ".cache"
        cache.mkdir(exist_ok=True)
        folder = cache / f"{name}-{hashlib.sha256(contents.encode()).hexdigest()[:12]}"
        complete = folder / ".complete"
        with FileLock(f"{folder}.lock", timeout=INSTALL_LIMIT):
            if not complete.exists():
                shutil.rmtree(folder, ignore_errors=True)
                build(folder)
                complete.touch()
        return folder

    return get


@pytest.fixture(scope="session")
def virtual_environment(cached_folder, pip_install) -> Callable[..., Path]:
    """`virtual_environment(name, installs, python)` returns the Python of an environment that is kept for next time.

    `installs` is a list of argument lists, each for one `pip install`; `python` is the interpreter to make it with.
    """

    def get(name: str, installs: Sequence[Sequence[str]], python: str = sys.executable) -> Path:
        version = subprocess.run(
            [python, "-c", "import sys; print(sys.version)"], capture_output=True, text=True, check=True, timeout=60
        ).stdout

        def build(folder: Path) -> None:
            # Without a pip of its own: ours installs into it, which saves seconds.
            subprocess.run([python, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=120)
            for arguments in installs:
                pip_install(["--python", str(python_in(folder)), "install", "-q", "--no-compile", *arguments])

        return python_in(cached_folder(name, repr((version, os.path.realpath(python), installs)), build))

    return get


def python_in(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
