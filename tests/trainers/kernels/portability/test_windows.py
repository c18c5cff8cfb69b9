"""The library for Windows, by mingw-w64: what it exports, what it needs, and, where there is Wine, that it runs."""

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trainers.kernels import build

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="cross compilers are looked for on Linux"),
]
OF_WINDOWS = {"kernel32.dll", "msvcrt.dll", "ucrtbase.dll"}


@pytest.fixture(scope="module")
def library(compiled: Callable[..., object], run: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """openmined.dll."""
    made = compiled("windows")
    target = tmp_path_factory.mktemp("dll") / "openmined.dll"
    flags = build._link_flags(build.target_of(made.compiler))
    run([*made.compiler, "-shared", *flags, *made.objects, "-o", target])
    return target


@pytest.fixture(scope="module")
def headers(library: Path, run: Callable[..., str]) -> str:
    return run(["x86_64-w64-mingw32-objdump", "-p", str(library)])


def test_it_exports_what_the_headers_declare(headers: str, declared: set[str]) -> None:
    table = headers.partition("[Ordinal/Name Pointer] Table")[2].partition("\n\n")[0]
    assert set(re.findall(r"\] (?:\+base\[ *\d+\] +\w+ )?(\w+)$", table, re.MULTILINE)) == declared


def test_it_needs_nothing_that_windows_does_not_have(headers: str) -> None:
    needed = {name.lower() for name in re.findall(r"DLL Name: (\S+)", headers)}
    assert {name for name in needed if not name.startswith("api-ms-win-crt-")} <= OF_WINDOWS


def test_no_move_trusts_the_alignment_of_the_stack(library: Path, run: Callable[..., str]) -> None:
    """GCC's bug 54412: on Windows the stack is aligned to 16 bytes, moves of longer vectors may expect 32 or 64."""
    code = run(["x86_64-w64-mingw32-objdump", "-d", "--no-show-raw-insn", str(library)])
    moves = [line for line in code.splitlines() if re.search(r"\bvmov(aps|apd|dqa\w*)\b.*%[yz]mm", line)]
    assert [line for line in moves if re.search(r"\(.*%r(sp|bp)", line)] == []
    assert len(re.findall(r"vmovups .*%[yz]mm", code)) > 100


def test_it_runs_under_wine(
    library: Path, compiled: Callable[..., object], include: Path, driver: Path, run: Callable[..., str]
) -> None:
    wine = shutil.which("wine64") or shutil.which("wine64", path="/usr/lib/wine")
    if wine is None:
        pytest.skip("no Wine: the library for Windows was compiled, not run (Debian: wine64)")
    program = library.parent / "driver.exe"
    run(
        [
            *compiled("windows").compiler,
            *("-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-static", f"-I{include}"),
            *(str(driver), str(library), "-o", str(program)),
        ]
    )
    environment = os.environ | {"WINEPREFIX": str(library.parent / "wine"), "WINEDEBUG": "-all"}
    for arguments in ([], ["threads"]):
        assert run([wine, str(program), *arguments], env=environment).split() == ["ok"]
