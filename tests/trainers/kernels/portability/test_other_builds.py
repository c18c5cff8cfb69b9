"""The tests of the kernels once more, on libraries that are built otherwise than this machine's own."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trainers.kernels import build, instruction_sets

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400), pytest.mark.usefixtures("native")]


@pytest.fixture
def run_tests(repository: Path, run: Callable[..., str]) -> Callable[..., str]:
    """`run_tests(library, arguments)`: the fast tests of the kernels in a process that uses this library."""

    def run_them(library: Path, *arguments: str) -> str:
        room = repository / "tests" / "trainers" / "kernels"
        files = [*sorted(room.glob("test_*.py")), *(one for one in [room / "operators"] if one.is_dir())]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, files), *arguments]
        return run(command, cwd=repository, env=os.environ | {"OPENMINED_LIBRARY": str(library)})

    return run_them


@pytest.mark.skipif("avx2" not in instruction_sets(), reason="needs a processor with AVX2")
def test_the_16_lanes_of_avx512_are_right_by_avx2(run_tests: Callable[..., str], tmp_path: Path) -> None:
    """The same code, 16 numbers at a time in tiles of 13 rows, in instructions that hold 8: slow, but it runs here."""
    flags = ("-O1", "-mno-avx512f", "-DOPENMINED_AVX512_BY_AVX2")
    library = build.build(tmp_path / build.library_name(), None, flags)
    output = run_tests(library, "-k", "avx512", "-m", "not slow")
    passed = int(output.splitlines()[-1].split(" passed")[0])
    assert passed > 100 and "skipped" not in output.splitlines()[-1], output


@pytest.mark.skipif(sys.platform != "linux", reason="clang++ is looked for on Linux")
def test_what_clang_makes_is_right(
    compiled: Callable[..., object], run: Callable[..., str], run_tests: Callable[..., str], tmp_path: Path
) -> None:
    made = compiled("clang++")
    library = tmp_path / build.library_name()
    run([*made.compiler, "-shared", *build._link_flags(build.target_of(made.compiler)), *made.objects, "-o", library])
    output = run_tests(library, "-k", "(test_act or test_update or test_gae or test_wide or operators) and not 2000")
    assert " passed" in output.splitlines()[-1], output
