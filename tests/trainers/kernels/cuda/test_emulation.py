"""The emulation finds what it is there for: missing barriers, threads that part, shared memory that nobody wrote."""

import ctypes
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainers.kernels.build import find_compiler
from trainers.kernels.cuda import advantages, build
from trainers.kernels.cuda.library import open_library
from trainers.kernels.cuda.operators import implementations

HERE, SOURCES = Path(__file__).parent, Path(build.__file__).parent


@pytest.fixture(scope="session")
def faults(compile_cuda: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    target = tmp_path_factory.mktemp("faults") / "faults.so"
    library = ctypes.CDLL(str(compile_cuda(target, [HERE / "emulation" / "faults.cu"])))
    library.fault_text.restype = ctypes.c_char_p
    return library


def run(faults: ctypes.CDLL, name: str, schedule: int = 0) -> np.ndarray:
    """What the kernel makes of 0 ... 63; RuntimeError with the emulation's message."""
    values = np.arange(64, dtype=np.float32)
    faults.emulation_schedule(ctypes.c_uint64(schedule))
    code = getattr(faults, f"fault_{name}")(ctypes.c_void_p(values.ctypes.data))
    if code:
        raise RuntimeError(faults.fault_text(code).decode())
    return values


SCHEDULES = (0, 1, 2, 3)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_correct_kernels_are_right_in_any_order(faults: ctypes.CDLL, schedule: int) -> None:
    numbers = np.arange(64, dtype=np.float32)
    for name in ("reverse", "dynamic"):
        np.testing.assert_array_equal(run(faults, name, schedule), numbers[::-1])
    np.testing.assert_array_equal(run(faults, "with_syncwarp", schedule), numbers.reshape(32, 2)[:, ::-1].ravel())
    assert run(faults, "count", schedule)[0] == 7 * 3 * 64
    expected = []
    for lane in range(64):
        warp = lane // 32 * 32
        above = 28 if warp == 0 else 32
        before, after = max(lane - 1, warp), min(lane + 1, warp + 31)
        expected.append(np.float32(above) * np.float32(1e6) + (warp + 5) * 1e4 + before * 100 + after)
    np.testing.assert_allclose(run(faults, "warp", schedule), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["unsynchronised", "without_syncwarp"])
def test_a_missing_barrier_shows(faults: ctypes.CDLL, name: str) -> None:
    assert any(np.isnan(run(faults, name, schedule)).any() for schedule in SCHEDULES)


def test_shared_memory_is_nan_at_first(faults: ctypes.CDLL) -> None:
    assert np.isnan(run(faults, "never_written")).all()


@pytest.mark.parametrize(
    "name, text",
    [
        ("divergent_barrier", r"threads wait at different barriers: .*faults.cu:\d+ and .*faults.cu:\d+"),
        ("early_end", r"a thread has ended while others wait at the barrier"),
        ("half_a_warp", r"lanes of a warp do not come to the exchange that the others wait at"),
        ("absent_lane", r"a lane asks for one that takes no part"),
        ("too_many_threads", r"invalid configuration argument"),
    ],
)
def test_threads_that_part_are_told(faults: ctypes.CDLL, name: str, text: str) -> None:
    with pytest.raises(RuntimeError, match=text):
        run(faults, name)
    np.testing.assert_array_equal(run(faults, "reverse"), np.arange(64)[::-1])  # and the next launch is all right


# ---- the kernels themselves: each barrier in them is needed ----


def gae_is_right(library: ctypes.CDLL) -> bool:
    generator = torch.Generator().manual_seed(1)
    rewards, values = torch.randn(1300, 1, generator=generator), torch.randn(1300, 1, generator=generator)
    following = torch.randn(3, 1, generator=generator)
    lengths = np.array([700, 40, 560])
    found, _ = advantages.gae(rewards, values, lengths, following, [0.9], 0.8, library=library)
    start = 0
    for trajectory, length in enumerate(lengths):
        expected, next_value = 0.0, float(following[trajectory])
        for step in range(start + length - 1, start - 1, -1):
            expected = float(rewards[step]) + 0.9 * next_value - float(values[step]) + 0.72 * expected
            next_value = float(values[step])
            if not abs(float(found[step]) - expected) < 1e-4 * (1 + abs(expected)):
                return False
        start += length
    return True


def column_sums_are_right(library: ctypes.CDLL) -> bool:
    slopes, gradients = torch.randn(100, 70), torch.randn(100, 70)
    expected, sums, bias = gradients * slopes, torch.empty(70), torch.empty(70)
    size = (100, 70)
    code = library.om_cuda_column_sums(*size, gradients.data_ptr(), 70, None, sums.data_ptr(), None)
    fine = torch.allclose(sums, gradients.sum(0), atol=1e-4)
    pointers = (slopes.data_ptr(), gradients.data_ptr(), bias.data_ptr())
    code = code or library.om_cuda_swish_backward(*size, *pointers, None)
    return bool(
        code == 0 and fine and torch.equal(gradients, expected) and torch.allclose(bias, expected.sum(0), atol=1e-4)
    )


def operator_is_right(name: str, *arguments: Any) -> Callable[[ctypes.CDLL], bool]:
    def check(library: ctypes.CDLL) -> bool:
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(*arguments[0], generator=generator)
        expected = getattr(torch, name)(x, *arguments[1:])
        return torch.allclose(implementations(library)[name](x, *arguments[1:]), expected, rtol=1e-4, atol=1e-4)

    return check


CHECKS: dict[str, list[Callable[[ctypes.CDLL], bool]]] = {
    "advantages.cu": [gae_is_right],
    "ppo.cu": [column_sums_are_right],
    "reduce.cu": [operator_is_right("sum", (3, 50, 70), 1)],
    "scan.cu": [operator_is_right("cumsum", (7, 1000), 1)],
    "launch.cuh": [operator_is_right("softmax", (7, 1500), 1), operator_is_right("sum", (5, 2000), 1)],
}


def barriers() -> list[tuple[str, int]]:
    """File and line of each barrier in the sources."""
    paths = [path for path in sorted(SOURCES.iterdir()) if path.suffix in (".cu", ".cuh")]
    lines = [(path.name, path.read_text().splitlines()) for path in paths]
    return [(name, number) for name, text in lines for number, line in enumerate(text, 1) if "__syncthreads()" in line]


def holds(emulation: Any, check: Callable[[ctypes.CDLL], bool]) -> bool:
    """Whether the check is right in every order."""
    for schedule in SCHEDULES:
        emulation.schedule(schedule)
        if not check(emulation.library):
            return False
    return True


@pytest.mark.parametrize("file", CHECKS)
def test_the_kernels_are_right_in_any_order(emulation: Any, file: str) -> None:
    assert all(holds(emulation, check) for check in CHECKS[file])


@pytest.mark.parametrize("file, line", barriers(), ids=lambda value: str(value))
def test_no_barrier_can_be_left_out(emulation: Any, file: str, line: int) -> None:
    emulation.skip_barrier(file, line)
    assert not all(holds(emulation, check) for check in CHECKS[file]), f"nothing shows that {file}:{line} is needed"


def test_a_barrier_taken_out_of_the_source_shows(
    compile_cuda: Callable[..., Path], emulation_library: ctypes.CDLL, tmp_path: Path
) -> None:
    """As leaving one out while running does."""
    text = (SOURCES / "advantages.cu").read_text()
    assert text.count("__syncthreads();") == 2
    for kept in (0, 1):
        parts = text.split("__syncthreads();")
        parts[kept] += "__syncthreads();"
        changed = tmp_path / f"without_{kept}.cu"
        changed.write_text("".join(parts))
        alone = ctypes.CDLL(str(compile_cuda(changed.with_suffix(".so"), [changed])))
        alone.om_cuda_gae.argtypes = emulation_library.om_cuda_gae.argtypes
        alone.om_cuda_error_string = emulation_library.om_cuda_error_string
        results = []
        for schedule in SCHEDULES:
            alone.emulation_schedule(ctypes.c_uint64(schedule))
            results.append(gae_is_right(alone))
        assert not all(results)


# ---- memory ----

# Runs one of the kernels in faults.cu: the tests' folder, the library to write, the kernel's name.
MISTAKE = """
import ctypes, numpy, pathlib, sys
folder, target, name = sys.argv[1:]
sys.path.insert(0, folder)
from conftest import compile_emulated
compile_emulated(pathlib.Path(target), [pathlib.Path(folder) / "emulation" / "faults.cu"])
values = numpy.zeros(64, numpy.float32)
getattr(ctypes.CDLL(target), "fault_" + name)(ctypes.c_void_p(values.ctypes.data))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_read_or_written_out_of_bounds(tmp_path: Path) -> None:
    """The other tests of this folder once more under AddressSanitizer, and mistakes that it has to find."""
    command = [*find_compiler(), "-print-file-name=libasan.so"]
    sanitizer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(sanitizer).is_absolute():
        pytest.skip(f"{command[0]} has no AddressSanitizer to load beforehand")
    environment = os.environ | {
        "LD_PRELOAD": sanitizer,
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        "OPENMINED_EMULATION_FLAGS": "-fsanitize=address -fsanitize-sections=emulated_shared",
    }
    files = [str(HERE / name) for name in ("test_operators.py", "test_update.py", "test_act.py")]
    fewer = "not 2000 and not without_clipping and not float64 and not int32 and not deterministic"
    command = [sys.executable, "-m", "pytest", "-q", "-x", *files, "-m", "not gpu and not slow", "-k", fewer]
    command += ["-o", f"cache_dir={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    program = tmp_path / "mistake.py"
    program.write_text(MISTAKE)
    for name in ("beyond_static", "beyond_dynamic"):
        command = [sys.executable, str(program), str(HERE), str(tmp_path / "faults.so"), name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
        assert "AddressSanitizer: " in done.stderr and "overflow" in done.stderr, done.stderr[-2000:]


def test_launches_go_to_the_stream_of_the_caller(emulation: Any) -> None:
    values = torch.zeros(10)
    assert emulation.library.om_cuda_random_normals(1, 2, 0, 10, values.data_ptr(), 0x1234) == 0
    assert emulation.last_stream() == 0x1234


def test_a_size_of_zero_launches_nothing(emulation: Any) -> None:
    before = emulation.launches()
    assert emulation.library.om_cuda_normalize(0, 5, None, None, None, None, 5, None) == 0
    assert emulation.library.om_cuda_bias_swish(5, 0, None, None, None, None) == 0
    assert emulation.library.om_cuda_gae(0, 1, None, None, None, None, None, 0.9, None, None, None) == 0
    assert emulation.launches() == before


def test_what_the_sources_hold_is_checked() -> None:
    """A barrier in a file without a check would go unnoticed; so would a kernel that the emulation cannot place."""
    assert {file for file, _ in barriers()} == set(CHECKS)
    for path in build.sources():
        text = path.read_text()
        assert re.search(r"namespace \{", text), f"{path.name}: kernels belong into a namespace without a name"
        assert "<<<" not in text, f"{path.name}: launches go through OPENMINED_LAUNCH"


def test_another_library_is_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.so"
    wrong.write_bytes(b"no library")
    with pytest.raises(OSError, match=r"wrong.so"):
        open_library(wrong)
