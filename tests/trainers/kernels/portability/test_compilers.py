"""Compilers that nobody here runs every day: each compiles all sources without a warning."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trainers.kernels import build

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="cross compilers are looked for on Linux"),
]


@pytest.mark.slow
@pytest.mark.parametrize("system", ["g++", "clang++", "windows", "arm64"])
def test_every_source_compiles_without_a_warning(compiled: Callable[..., object], system: str) -> None:
    names = {path.stem for path in compiled(system).objects}
    assert {"core", "exact", "threads", "kernels_portable"} <= names
    assert ("kernels_avx512" in names) == (system != "arm64")


def test_the_headers_are_plain_c(include: Path, tmp_path: Path, native: None, run: Callable[..., str]) -> None:
    source = tmp_path / "host.c"
    source.write_text("".join(f'#include "{path.name}"\n' for path in sorted(include.glob("*.h"))))
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
    run([*build.find_compiler(), "-x", "c", *flags, f"-I{include}", str(source)])


def test_the_library_exports_what_the_headers_declare(
    declared: set[str], native: None, need: Callable[..., str], run: Callable[..., str]
) -> None:
    listed = run([need(["nm"], "binutils"), "-D", "--defined-only", str(build.find_or_build())])
    assert {line.split()[-1] for line in listed.splitlines()} == declared


def test_a_target_is_what_the_compiler_says(tmp_path: Path) -> None:
    compiler = tmp_path / "cross-c++"
    compiler.write_text('#!/bin/sh\necho "riscv64-linux-gnu $1"\n')
    compiler.chmod(0o755)
    assert build.target_of([str(compiler)]) == "riscv64-linux-gnu -dumpmachine"


def test_a_library_that_is_named_but_missing_is_told(repository: Path, tmp_path: Path) -> None:
    code = "from trainers.kernels import status; print(status().native, status().reason)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=repository,
        env={"OPENMINED_LIBRARY": str(tmp_path / "none.so"), "PATH": "/nowhere"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    expected = f"{tmp_path / 'none.so'}, which the environment variable OPENMINED_LIBRARY names"
    assert done.stdout.startswith("False ") and expected in done.stdout, done.stdout + done.stderr
