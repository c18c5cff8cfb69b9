"""nvcc compiles the kernels for every architecture; the library holds what the header says, and loads without a GPU."""

import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from trainers.kernels.build import BuildError
from trainers.kernels.cuda import build
from trainers.kernels.cuda import library as cuda_library

HEADER = (Path(build.__file__).parent / "openmined_cuda.h").read_text()
FATBIN = struct.pack("<I", 0xBA55ED50)


@pytest.fixture
def nvcc() -> str:
    try:
        return build.find_nvcc()
    except BuildError as error:
        pytest.skip(str(error))


def declared() -> dict[str, str]:
    """The header's functions: name to the text of its arguments."""
    bare = re.sub(r"/\*.*?\*/", "", HEADER, flags=re.DOTALL)
    return dict(re.findall(r"OM_CUDA_API[^;(]*?(om_cuda_\w+)\(([^)]*)\);", bare))


def contents(path: Path) -> set[tuple[str, int]]:
    """("PTX" or "ELF", architecture) of everything for GPUs in the file; the format is what nvcc's fatbinary writes."""
    data, found = path.read_bytes(), set()
    at = data.find(FATBIN)
    while at >= 0:
        header, size = struct.unpack_from("<HQ", data, at + 6)
        end, entry = at + header + size, at + header
        while entry < end:
            kind, _, header, size = struct.unpack_from("<HHIQ", data, entry)
            found.add(({1: "PTX", 2: "ELF"}[kind], struct.unpack_from("<I", data, entry + 28)[0]))
            entry += header + size
        at = data.find(FATBIN, end)
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_compiles_for_all_architectures_without_a_warning(nvcc: str, tmp_path: Path) -> None:
    warnings = ("-Werror", "all-warnings")
    host = () if sys.platform == "win32" else ("-Xcompiler", "-Wall,-Wextra,-Werror")
    path = build.build(tmp_path / build.library_name(), nvcc, (*warnings, *host))
    numbers = build.architectures(nvcc)
    assert contents(path) == {("ELF", number) for number in numbers} | {("PTX", numbers[-1])}
    opened = cuda_library.open_library(path)  # on this machine, with a GPU or without
    assert opened.om_cuda_error_string(0) == b"no error"
    if sys.platform == "linux":
        listed = subprocess.run(["nm", "-D", "--defined-only", str(path)], capture_output=True, text=True, check=True)
        assert {line.split()[2] for line in listed.stdout.splitlines()} == set(declared())
        assert "cudart" not in subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=True).stdout
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_python_describes_the_functions_of_the_header() -> None:
    letters = {"int32_t": "n", "int64_t": "i", "uint64_t": "u", "uint32_t": "w", "double": "d"}
    expected = {}
    for name, text in declared().items():
        arguments = [part.strip() for part in text.split(",")]
        if arguments[-1] == "void* stream":
            expected[name] = "".join("p" if "*" in one else letters[one.split()[0]] for one in arguments[:-1])
    assert expected == cuda_library.ARGUMENTS
    assert set(declared()) == {*expected, "om_cuda_abi_version", "om_cuda_error_string"}
    assert f"OM_CUDA_ABI_VERSION {cuda_library.ABI_VERSION}\n" in HEADER


@pytest.mark.parametrize(
    "structure, fields",
    [("om_cuda_act_arguments", cuda_library.ActArguments), ("om_cuda_ppo_arguments", cuda_library.PPOArguments)],
)
def test_structures_have_the_headers_fields(structure: str, fields: type) -> None:
    body = re.search(rf"struct {structure} \{{(.*?)\}}", re.sub(r"/\*.*?\*/", "", HEADER, flags=re.DOTALL), re.DOTALL)
    assert body is not None
    names = re.findall(r"(\w+)\s*[,;]", body.group(1))
    assert [name for name, *_ in fields._fields_] == names  # type: ignore[attr-defined]


def test_where_there_is_no_nvcc_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    with pytest.raises(BuildError, match=r"there is no nvcc in .*bin, where CUDA_HOME points"):
        build.find_nvcc()


def test_a_failed_build_leaves_nothing_behind(nvcc: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tmp_path / "wrong.cu"
    wrong.write_text("no C++")
    monkeypatch.setattr(build, "sources", lambda: [wrong])
    target = tmp_path / "built" / build.library_name()
    with pytest.raises(BuildError, match=r"nvcc failed: .*error"):
        build.build(target, nvcc, only=(90,))
    assert list(target.parent.iterdir()) == []


def test_without_a_gpu_the_status_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    cuda_library._load.cache_clear()
    try:
        assert cuda_library.status() == (False, "no CUDA kernels: torch sees no GPU")
        with pytest.raises(RuntimeError, match="act: no CUDA kernels: torch sees no GPU"):
            cuda_library.require_library("act")
    finally:
        cuda_library._load.cache_clear()
