"""Compilers for other systems, and the kernels compiled with them: once a session, warnings are errors."""

import os
import re
import shutil
import subprocess
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from trainers.kernels import build

LIMIT = 200  # seconds for a compiler or a program
COMPILERS = {  # of a system: commands, of which the first one found is taken, and the Debian package
    "g++": (("g++",), "g++"),
    "clang++": (("clang++",), "clang"),
    "windows": (("x86_64-w64-mingw32-g++-posix", "x86_64-w64-mingw32-g++"), "g++-mingw-w64-x86-64-posix"),
    "arm64": (("aarch64-linux-gnu-g++",), "g++-aarch64-linux-gnu"),
}


@dataclass(frozen=True)
class Compiled:
    """The kernels' object files, and the compiler that made them."""

    compiler: list[str]
    objects: list[Path]


@pytest.fixture(scope="session")
def need() -> Callable[[Sequence[str], str], str]:
    """`need(programs, package)`: the first of the programs that is there.

    Otherwise skips the test, or fails it where MLBRIDGE_REQUIRE_COMPILERS=1 says that all of them have to be there.
    """

    def find(programs: Sequence[str], package: str) -> str:
        for program in programs:
            if shutil.which(program) is not None:
                return program
        text = f"{programs[0]} not found (Debian: {package})"
        if os.environ.get("MLBRIDGE_REQUIRE_COMPILERS") == "1":
            pytest.fail(text, pytrace=False)
        warnings.warn(text, stacklevel=1)  # which is shown even where the reasons of skips are not
        pytest.skip(text)

    return find


@pytest.fixture(scope="session")
def run() -> Callable[..., str]:
    """`run(command)` gives what a command prints; fails the test with its own words when it fails."""

    def run_command(command: Sequence[str | Path], **options: object) -> str:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=LIMIT, **options)
        if done.returncode != 0:
            words = (done.stdout + done.stderr)[-4000:]
            pytest.fail(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{words}", pytrace=False)
        return done.stdout

    return run_command


@pytest.fixture(scope="session")
def compiled(need, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Compiled]:
    """`compiled(system)`, a key of COMPILERS."""
    made: dict[str, Compiled] = {}

    def get(system: str) -> Compiled:
        compiler = [need(*COMPILERS[system])]
        if system not in made:
            folder = tmp_path_factory.mktemp(system)
            made[system] = Compiled(compiler, build.compile_objects(folder, compiler, ("-Wall", "-Wextra", "-Werror")))
        return made[system]

    return get


@pytest.fixture(scope="session")
def include() -> Path:
    return Path(build.__file__).parent / "include"


@pytest.fixture(scope="session")
def driver() -> Path:
    return Path(__file__).parents[1] / "driver.cpp"


@pytest.fixture(scope="session")
def declared(include: Path) -> set[str]:
    """The functions that the headers declare."""
    text = "".join(path.read_text(encoding="utf-8") for path in include.glob("*.h"))
    names = re.findall(r"^OM_API [^;()]*?\b(om_\w+)\(", text, re.MULTILINE)
    assert "om_act" in names
    return set(names)
