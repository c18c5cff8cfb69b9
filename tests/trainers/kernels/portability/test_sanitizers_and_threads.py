"""ThreadSanitizer over the threads, and clang's own Address- and UndefinedBehaviorSanitizer over everything."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trainers.kernels import build, instruction_sets

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(sys.platform != "linux", reason="not every compiler elsewhere has these sanitizers"),
]


@pytest.fixture
def checked(
    need: Callable[..., str], run: Callable[..., str], include: Path, driver: Path, tmp_path: Path, native: None
) -> Callable[..., Callable[..., str]]:
    """`checked(compiler, package, flags...)` compiles the driver with sanitizers, and gives what runs it."""

    def compile_all(compiler: str, package: str, *flags: str) -> Callable[..., str]:
        command = [need([compiler], package)]
        every = [*flags, "-g", "-fno-sanitize-recover=all"]
        objects = tmp_path / "driver.o"
        with ThreadPoolExecutor(1) as beside:
            main = beside.submit(
                run, [*command, "-std=c++17", *every, f"-I{include}", "-c", str(driver), "-o", objects]
            )
            idle = tuple({"avx512", "avx2", "portable"} - set(instruction_sets()))  # this processor cannot run them
            made = build.compile_objects(tmp_path, command, tuple(every), idle)
            main.result()
        run([*command, *every, "-pthread", objects, *made, "-o", tmp_path / "driver"])
        environment = os.environ | {"ASAN_OPTIONS": "detect_leaks=0"}  # a container may forbid the leak check
        return lambda *arguments: run([tmp_path / "driver", *arguments], env=environment)

    return compile_all


def test_threads_race_for_nothing(checked: Callable[..., Callable[..., str]]) -> None:
    run_driver = checked("g++", "g++", "-O1", "-fsanitize=thread")
    assert run_driver() == "ok\n"
    assert run_driver("threads") == "ok\n"


def test_clang_finds_nothing_either(checked: Callable[..., Callable[..., str]]) -> None:
    flags = ("-O0", "-fsanitize=address,undefined")
    assert checked("clang++", "clang and libclang-rt-dev", *flags)() == "ok\n"
