"""The library for arm64, run by qemu-user: the driver, and its results beside those of this processor."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="cross compilers are looked for on Linux"),
]


@pytest.fixture(scope="module")
def run_driver(
    compiled: Callable[..., object],
    need: Callable[..., str],
    run: Callable[..., str],
    include: Path,
    driver: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., str]:
    """`run_driver(system, argument...)`: what driver.cpp prints, compiled for "arm64" or with this machine's "g++"."""
    programs: dict[str, Path] = {}

    def run_it(system: str, *arguments: str) -> str:
        emulator = [need(["qemu-aarch64", "qemu-aarch64-static"], "qemu-user")] if system == "arm64" else []
        if system not in programs:
            made = compiled(system)
            programs[system] = tmp_path_factory.mktemp("driver") / "driver"
            flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-static", f"-I{include}"]
            run([*made.compiler, *flags, str(driver), *made.objects, "-o", programs[system]])
        return run([*emulator, programs[system], *arguments])

    return run_it


def test_the_driver_runs(run_driver: Callable[..., str]) -> None:
    assert run_driver("arm64") == "ok\n"


def test_threads_work_beside_each_other(run_driver: Callable[..., str]) -> None:
    assert run_driver("arm64", "threads") == "ok\n"


def test_results_are_those_of_this_processor(run_driver: Callable[..., str]) -> None:
    ours, theirs = (run_driver(system, "show").splitlines() for system in ("g++", "arm64"))
    assert len(ours) > 200 and len(ours) == len(theirs)
    compared = 0
    for our_line, their_line in zip(ours, theirs, strict=True):
        our_name, *our_words = our_line.split()
        their_name, *their_words = their_line.split()
        assert our_name == their_name
        if not our_words:
            continue
        if our_name in ("advantages", "normals"):  # computed without fused multiply-add: the same bits everywhere
            assert our_words == their_words
        size = max(float(our_words[-1]), 1e-9)
        for our_word, their_word in zip(our_words, their_words, strict=True):
            assert abs(float(our_word) - float(their_word)) <= 1e-5 * size, (our_line, their_line)
            compared += 1
    assert compared > 600
