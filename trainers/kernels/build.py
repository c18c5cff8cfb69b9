"""Builds the library of kernels: a C++ compiler turns src/ into one shared library within seconds.

This happens when a wheel is built (`BuildPy`, `BuildWheel`), with `python -m trainers.kernels.build` (`make kernels`),
and otherwise when the kernels are first used, into a folder of the user's cache. Standard library only, so that it runs
in an isolated build; setuptools is needed for the wheel alone.
"""

import hashlib
import importlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
_LIMIT = 300  # seconds for one call of the compiler
_COMPILERS = ("c++", "g++", "clang++")
_FLAGS = (
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-fvisibility=hidden",
    "-fvisibility-inlines-hidden",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-DNDEBUG",
)
_FUSED, _EXACT = "-ffp-contract=fast", "-ffp-contract=off"
# Many small loops, to become vectors and nothing else: a third of the time that -O3 takes, and as fast.
_LOOPS = ("-O2", "-ftree-vectorize")
_LOOPS_OF_GCC = ("-fvect-cost-model=dynamic",)
# Once for each instruction set: kernels.cpp and operators/operators.cpp with these flags.
_INSTRUCTION_SETS = {
    "avx512": (
        "-DOPENMINED_AVX512",
        "-mavx512f",
        "-mavx512vl",
        "-mavx512bw",
        "-mavx512dq",
        "-mfma",
        "-mprefer-vector-width=512",
    ),
    "avx2": ("-DOPENMINED_AVX2", "-mavx2", "-mfma"),
    "portable": (),
}
_X86 = ("x86_64", "amd64")
_OF_GLIBC = r"(libc|libm|libpthread|libgcc_s|ld-linux-[\w-]+)\.so\.\d+"  # what every Linux with glibc has
# GCC on Windows may take the stack for more aligned than it is (its bug 54412): moves that need no alignment.
_MINGW_FLAGS = ("-Wa,-muse-unaligned-vector-move",)


class BuildError(Exception):
    """The library could not be built; the message says why in one line."""


def library_name() -> str:
    """File name of the library on this system."""
    return {"win32": "openmined.dll", "darwin": "libopenmined.dylib"}.get(sys.platform, "libopenmined.so")


def packaged_library() -> Path:
    """Where a wheel carries the library."""
    return _HERE / library_name()


def cached_library(compiler: list[str]) -> Path:
    """Where the library built by this compiler from these sources belongs in the user's cache."""
    key = hashlib.sha256()
    for path in _sources():
        key.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    key.update(repr((compiler, _version(compiler), platform.machine())).encode() + Path(__file__).read_bytes())
    return _cache_folder() / key.hexdigest()[:20] / library_name()


def find_compiler() -> list[str]:
    """The command of a C++ compiler: that of the environment variable CXX, or the first one found.

    Raises BuildError if there is none.
    """
    named = os.environ.get("CXX")
    if named:
        command = shlex.split(named)
        if shutil.which(command[0]) is None:
            raise BuildError(f"there is no {command[0]}, which the environment variable CXX names as C++ compiler")
        return command
    for name in _COMPILERS:
        if shutil.which(name) is not None:
            return [name]
    raise BuildError(f"there is no C++ compiler ({', '.join(_COMPILERS)}); install one, or name it by CXX")


def target_of(compiler: list[str]) -> str:
    """What a compiler compiles for: "x86_64-linux-gnu", "x86_64-w64-mingw32", "arm64-apple-darwin23"..."""
    return _run([*compiler, "-dumpmachine"]).strip()


def build(target: Path, compiler: list[str] | None = None, extra: tuple[str, ...] = ()) -> Path:
    """Compiles the library into the file `target`, whole or not at all, and returns it.

    `extra`: more flags for every step, such as a sanitizer. Raises BuildError.
    """
    command = find_compiler() if compiler is None else compiler
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as folder:
        objects = compile_objects(Path(folder), command, extra)
        library = Path(folder) / target.name
        _run([*command, *extra, "-shared", *_link_flags(target_of(command)), *map(str, objects), "-o", str(library)])
        os.replace(library, target)
    return target


def compile_objects(
    folder: Path, compiler: list[str], extra: tuple[str, ...] = (), without_extra: tuple[str, ...] = ()
) -> list[Path]:
    """Compiles all sources into `folder` and returns the object files.

    The instruction sets of `without_extra` are compiled without the flags `extra`.
    """
    steps: dict[str, list[str]] = {}
    system = target_of(compiler)
    loops: tuple[str, ...] = _LOOPS
    if "clang" not in _version(compiler):
        loops = (*_LOOPS, *_LOOPS_OF_GCC)
        if "mingw" in system:
            extra = (*extra, *_MINGW_FLAGS)
    for name, flags in _INSTRUCTION_SETS.items():
        if name == "portable" or system.startswith(_X86):
            steps[f"kernels_{name}"] = [*_FLAGS, _FUSED, *flags, str(_HERE / "src" / "kernels.cpp")]
            operators = str(_HERE / "src" / "operators" / "operators.cpp")
            steps[f"operators_{name}"] = [*_FLAGS, *loops, _FUSED, *flags, operators]
    for path in _sources():
        if path.suffix == ".cpp" and path.stem not in ("kernels", "operators"):
            steps[path.stem] = [*_FLAGS, *(loops if path.parent.name == "operators" else ()), _EXACT, str(path)]

    def compile_one(step: tuple[str, list[str]]) -> Path:
        to = folder / f"{step[0]}.o"
        more = () if step[0].rpartition("_")[2] in without_extra else extra
        _run([*compiler, *step[1], *more, f"-I{_HERE / 'include'}", "-c", "-o", str(to)])
        return to

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(compile_one, steps.items()))


def find_or_build() -> Path:
    """The library: the one that the environment variable OPENMINED_LIBRARY names, the packaged one, the one in the
    cache, or one built now. Raises BuildError."""
    named = os.environ.get("OPENMINED_LIBRARY")
    if named:
        if not Path(named).is_file():
            raise BuildError(f"there is no {named}, which the environment variable OPENMINED_LIBRARY names")
        return Path(named)
    packaged = packaged_library()
    if packaged.is_file():
        return packaged
    compiler = find_compiler()
    try:
        cached = cached_library(compiler)
        return cached if cached.is_file() else build(cached, compiler)
    except OSError as error:
        raise BuildError(f"the library could not be written to {_cache_folder()} ({error.strerror})") from error


def wheel_platform(platform_tag: str, library: Path) -> str:
    """The platform tag of a wheel that carries this library, given that of the Python that builds it.

    On Linux with glibc manylinux_2_N, where the library needs nothing else than glibc up to 2.N (every version that it
    needs stands in it by name); the tag as it is where that cannot be said.
    """
    if platform_tag.startswith("macosx"):  # a Python for both processors has a compiler that makes code for one
        return platform_tag.replace("universal2", platform.machine())
    if not platform_tag.startswith("linux"):
        return platform_tag
    content = library.read_bytes()
    versions = [int(minor) for minor in re.findall(rb"\0GLIBC_2\.(\d+)(?=[\0.])", content)]
    needed = [name.decode() for name in re.findall(rb"\0([\w+-]+\.so\.\d+)(?=\0)", content)]
    if not versions or not all(re.fullmatch(_OF_GLIBC, name) for name in needed):
        return platform_tag
    return platform_tag.replace("linux", f"manylinux_2_{max(17, *versions)}", 1)


def _sources() -> list[Path]:
    found = (path for folder in ("src", "include") for path in (_HERE / folder).rglob("*.*"))
    return sorted(path for path in found if path.suffix in (".cpp", ".h"))


def _link_flags(system: str) -> list[str]:
    if "darwin" in system:
        return []
    # With the C++ library inside, the file does not depend on which one the machine has.
    if "mingw" in system or "windows" in system:
        return ["-static", "-Wl,-s"]
    return ["-pthread", "-static-libstdc++", "-Wl,-s,--gc-sections,--exclude-libs,ALL"]


def _version(compiler: list[str]) -> str:
    return _run([*compiler, "--version"]).splitlines()[0]


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_LIMIT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{command[0]} could not be run: {error}") from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or ["?"]
        raise BuildError(f"{command[0]} failed: {lines[0].strip()}")
    return done.stdout


def _cache_folder() -> Path:
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "mlagents-bridge" / "kernels"


def __getattr__(name: str) -> Any:
    """`BuildPy` and `BuildWheel`, the setuptools commands: made when setuptools asks for them."""
    if name not in ("BuildPy", "BuildWheel"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # By name: there is a setuptools only while a wheel is built.
    bdist_wheel = importlib.import_module("setuptools.command.bdist_wheel").bdist_wheel
    build_py = importlib.import_module("setuptools.command.build_py").build_py

    class BuildPy(build_py):  # type: ignore[misc, valid-type]
        """Puts the library into a wheel. An editable install builds it when it is first used."""

        def run(self) -> None:
            super().run()
            if self.editable_mode:
                return
            target = Path(self.build_lib) / "trainers" / "kernels" / library_name()
            try:
                build(target)
            except BuildError as error:
                print(f"mlagents-bridge: no native kernels in this build: {error}", file=sys.stderr)

    class BuildWheel(bdist_wheel):  # type: ignore[misc, valid-type]
        """Marks a wheel that carries the library as one for this system, whatever the Python."""

        def get_tag(self) -> tuple[str, str, str]:
            library = Path(self.bdist_dir) / "trainers" / "kernels" / library_name()
            if library.is_file():
                self.root_is_pure = False
                return "py3", "none", wheel_platform(str(super().get_tag()[2]), library)
            python, abi, system = super().get_tag()
            return python, abi, system

    return {"BuildPy": BuildPy, "BuildWheel": BuildWheel}[name]


if __name__ == "__main__":
    try:
        print(find_or_build())
    except BuildError as problem:
        sys.exit(f"Native kernels were not built: {problem}")
