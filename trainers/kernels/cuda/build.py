"""Builds the library of CUDA kernels where nvcc is: `python -m trainers.kernels.cuda.build`, or when first used.

One file for every GPU from Ampere on, into a folder of the user's cache; when first used, one for the GPUs that are
there. It holds the CUDA runtime, so that it needs nothing but the driver where it runs; it can be built without a GPU.
"""

import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trainers.kernels.build import BuildError, _cache_folder, _run

_HERE = Path(__file__).resolve().parent
ARCHITECTURES = (80, 86, 89, 90, 100, 120)  # machine code for these that nvcc knows; PTX of the newest for later ones
# Without fused multiply-add the random numbers have the bits that they have on the CPU. The kernels wait for memory,
# not for arithmetic; the matrices are multiplied by cuBLAS.
FLAGS = ("-std=c++17", "-O3", "-fmad=false", "-DNDEBUG")
_HOST_FLAGS = ("-Xcompiler", "/MD") if sys.platform == "win32" else ("-Xcompiler", "-fPIC,-fvisibility=hidden")


def library_name() -> str:
    """File name of the library on this system."""
    return "openmined_cuda.dll" if sys.platform == "win32" else "libopenmined_cuda.so"


def find_nvcc() -> str:
    """nvcc of the environment variable CUDA_HOME, of the PATH, or of the usual folder. Raises BuildError."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if home:
        found = shutil.which("nvcc", path=str(Path(home) / "bin"))
        if found is None:
            raise BuildError(f"there is no nvcc in {Path(home) / 'bin'}, where CUDA_HOME points")
        return found
    found = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if found is None:
        raise BuildError("there is no nvcc; install the CUDA toolkit, or name it by CUDA_HOME")
    return found


def sources() -> list[Path]:
    """The .cu files."""
    return sorted(_HERE.glob("*.cu"))


def cached_library(nvcc: str, only: Sequence[int] = ()) -> Path:
    """Where the library built by this nvcc from these sources belongs in the user's cache."""
    key = hashlib.sha256()
    headers = [*_HERE.glob("*.cuh"), *_HERE.glob("*.h"), *(_HERE.parent / "src").rglob("*.h")]
    for path in [*sources(), *sorted(headers)]:
        key.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    key.update(repr((nvcc, _run([nvcc, "--version"]), FLAGS, ARCHITECTURES, tuple(only))).encode())
    return _cache_folder() / key.hexdigest()[:20] / library_name()


def architectures(nvcc: str) -> list[int]:
    """Those of ARCHITECTURES that this nvcc can compile for."""
    wanted = [number for number in ARCHITECTURES if number in _known(nvcc)]
    if not wanted:
        raise BuildError(f"{nvcc} compiles for none of {ARCHITECTURES}; install a newer CUDA toolkit")
    return wanted


def _known(nvcc: str) -> set[int]:
    return {int(number) for number in re.findall(r"sm_(\d+)\b", _run([nvcc, "--list-gpu-code"]))}


def build(target: Path, nvcc: str | None = None, extra: tuple[str, ...] = (), only: Sequence[int] = ()) -> Path:
    """Compiles the library into the file `target`, whole or not at all, and returns it.

    `extra`: more flags; `only`: these architectures instead of all. Raises BuildError.
    """
    command = find_nvcc() if nvcc is None else nvcc
    numbers = list(only) or architectures(command)
    codes = [f"-gencode=arch=compute_{number},code=sm_{number}" for number in numbers]
    codes.append(f"-gencode=arch=compute_{numbers[-1]},code=compute_{numbers[-1]}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as folder:

        def compile_one(source: Path) -> str:
            to = str(Path(folder) / f"{source.stem}.o")
            _run([command, *FLAGS, *_HOST_FLAGS, *codes, *extra, "-c", str(source), "-o", to])
            return to

        with ThreadPoolExecutor(os.cpu_count()) as threads:
            objects = list(threads.map(compile_one, sources()))
        library = Path(folder) / target.name
        _run([command, "-shared", "-cudart", "static", *codes, *objects, "-o", str(library)])
        os.replace(library, target)
    return target


def find_or_build(present: Sequence[int] = ()) -> Path:
    """The library: one in the cache, or one built now. Raises BuildError.

    `present`: architectures of the GPUs that are there. If nvcc knows them, a library for them alone is enough, which
    takes a fifth of the time of one for all.
    """
    nvcc = find_nvcc()
    try:
        cached = cached_library(nvcc)
        if not cached.is_file() and present and _known(nvcc).issuperset(present):
            only = sorted(set(present))
            cached = cached_library(nvcc, only)
            return cached if cached.is_file() else build(cached, nvcc, only=only)
        return cached if cached.is_file() else build(cached, nvcc)
    except OSError as error:
        raise BuildError(f"the library could not be written to {_cache_folder()} ({error.strerror})") from error


if __name__ == "__main__":
    try:
        print(find_or_build())
    except BuildError as problem:
        sys.exit(f"CUDA kernels were not built: {problem}")
