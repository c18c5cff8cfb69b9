"""The C side under AddressSanitizer and UndefinedBehaviorSanitizer, by the two driver.cpp; warnings are errors."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trainers.kernels import build, instruction_sets

DRIVERS = {name: Path(__file__).parent / name / "driver.cpp" for name in (".", "operators")}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the compilers there have no sanitizers")
@pytest.mark.usefixtures("native")
def test_every_function_runs_clean_on_odd_sizes_and_wrong_arguments(tmp_path: Path) -> None:
    compiler = build.find_compiler()
    flags = ["-O0", "-g", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    include = Path(build.__file__).parent / "include"

    def compile_driver(name: str) -> tuple[str, str]:
        program = str(tmp_path / ("driver_of_" + name.strip(".")))
        command = [*compiler, "-std=c++17", *flags, f"-I{include}", "-c", str(DRIVERS[name]), "-o", program + ".o"]
        subprocess.run(command, check=True, timeout=100)
        return program, program + ".o"

    with ThreadPoolExecutor(1) as beside:
        drivers = beside.map(compile_driver, DRIVERS)
        idle = tuple({"avx512", "avx2", "portable"} - set(instruction_sets()))  # this processor cannot run them
        objects = [*map(str, build.compile_objects(tmp_path, compiler, tuple(flags), idle))]
    environment = os.environ | {"ASAN_OPTIONS": "detect_leaks=0"}  # a debugger or container may forbid the leak check
    for program, driver in drivers:
        subprocess.run([*compiler, *flags, "-pthread", *objects, driver, "-o", program], check=True, timeout=100)
        done = subprocess.run([program], capture_output=True, text=True, timeout=100, env=environment)
        assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")
