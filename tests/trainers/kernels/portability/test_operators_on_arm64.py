"""The operator table on arm64: every call that its tests make of the library here, made again under qemu-user."""

import json
import os
import re
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(sys.platform != "linux", reason="cross compilers are looked for on Linux"),
    pytest.mark.usefixtures("native"),
]
TESTS = ("operators", "interfaces/test_nn.py", "interfaces/test_optim.py")  # the two use operators on many tensors
TOLERANCES = {"float32": 4e-5, "float64": 1e-10}  # twice what the tests themselves allow: both sides round


def results(path: Path, kinds: list[tuple[str, list[str]]]) -> Iterator[tuple[int, list[np.ndarray]]]:
    """The status of each call and its memory afterwards."""
    with path.open("rb") as file:
        for _, blocks in kinds:
            (status,) = struct.unpack("<q", file.read(8))
            arrays = []
            for block in blocks:
                kind, size = block.split(":")
                arrays.append(np.frombuffer(file.read(int(size)), np.dtype(kind)))
            yield status, arrays
        assert file.read() == b""


@pytest.fixture
def program(
    compiled: Callable[..., object], run: Callable[..., str], declared: set[str], include: Path, tmp_path: Path
) -> Path:
    """replay.cpp for arm64."""
    made = compiled("arm64")
    headers = sorted(path.name for path in include.glob("*.h"))
    (tmp_path / "headers.h").write_text("".join(f'#include "{name}"\n' for name in headers))
    (tmp_path / "functions.h").write_text("".join(f"FUNCTION({name})\n" for name in sorted(declared)))
    source = Path(__file__).with_name("replay.cpp")
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-static", f"-I{include}", f"-I{tmp_path}"]
    run([*made.compiler, *flags, source, *made.objects, "-o", tmp_path / "replay"])
    return tmp_path / "replay"


def test_results_are_those_of_this_processor(
    program: Path, need: Callable[..., str], run: Callable[..., str], repository: Path, include: Path, tmp_path: Path
) -> None:
    room = Path(__file__).parent
    paths = os.pathsep.join(filter(None, (str(room), str(repository), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"OPENMINED_RECORD": str(tmp_path), "PYTHONPATH": paths}
    tests = ["-k", "portable or interfaces", "-m", "not slow", *(str(room.parent / one) for one in TESTS)]
    run([sys.executable, "-m", "pytest", "-q", "-p", "record_calls", *tests], cwd=repository, env=environment)
    emulator = need(["qemu-aarch64", "qemu-aarch64-static"], "qemu-user")
    done = run([emulator, program, tmp_path / "calls", tmp_path / "again"])

    kinds = json.loads((tmp_path / "kinds.json").read_text(encoding="utf-8"))
    assert int(done) == len(kinds) > 1000
    wrong = []
    pairs = zip(results(tmp_path / "results", kinds), results(tmp_path / "again", kinds), strict=True)
    for number, ((name, _), (ours, theirs)) in enumerate(zip(kinds, pairs, strict=True)):
        if ours[0] != theirs[0]:
            wrong.append(f"{number} {name}: status {ours[0]}, on arm64 {theirs[0]}")
        for one, other in zip(ours[1], theirs[1], strict=True):
            tolerance = TOLERANCES.get(one.dtype.name, 0.0)
            if one.tobytes() != other.tobytes() and not np.allclose(one, other, tolerance, tolerance, equal_nan=True):
                worst = np.flatnonzero(~np.isclose(one, other, tolerance, tolerance, equal_nan=True))[0]
                wrong.append(f"{number} {name} {one.dtype}: {one[worst]!r}, on arm64 {other[worst]!r}")
    assert wrong == []
    functions = {name for name, _ in kinds}
    texts = [path.read_text(encoding="utf-8") for path in include.glob("*.h") if path.name != "openmined.h"]
    of_operators = {name for text in texts for name in re.findall(r"^OM_API int32_t (\w+)\(", text, re.MULTILINE)}
    assert of_operators - functions == set()
