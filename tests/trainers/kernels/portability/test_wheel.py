"""A wheel that carries the kernels: what its name promises, and that it runs where there is no compiler."""

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from trainers.kernels import build

SHOW = "from trainers.kernels import status; s = status(); print(s.native, s.reason, sep='|')"


@pytest.fixture(scope="module")
def source(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout: setuptools leaves folders behind where it builds."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(repository / name, folder)
    for name in ("bridge", "trainers", "unity_envs"):
        shutil.copytree(
            repository / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "UnityProject", "pictures")
        )
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, pip_install, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make wheel` does: in an environment with setuptools and nothing else, so without torch."""
    try:
        build.find_compiler()
    except build.BuildError as error:
        pytest.skip(str(error))
    target = tmp_path_factory.mktemp("wheel")
    pip_install(["wheel", "-q", "--no-deps", "--wheel-dir", str(target), str(source)])
    (built,) = target.glob("*.whl")
    return built


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_its_name_says_which_systems_it_is_for(wheel: Path, tmp_path: Path, run: Callable[..., str]) -> None:
    python, abi, system = wheel.stem.split("-")[-3:]
    assert (python, abi) == ("py3", "none")
    assert platform.machine().lower() in system or sys.platform == "win32"
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return
    promised = re.fullmatch(r"manylinux_2_(\d+)_\w+", system)
    assert promised is not None, system
    with zipfile.ZipFile(wheel) as opened:
        library = opened.extract(f"trainers/kernels/{build.library_name()}", tmp_path)
    listed = run(["readelf", "-W", "--version-info", "--dynamic", library])
    needed = [int(minor) for minor in re.findall(r"GLIBC_2\.(\d+)", listed)]
    assert int(promised[1]) == max(needed)
    libraries = re.findall(r"\(NEEDED\).*\[([\w-]+)\.so", listed)
    assert set(libraries) <= {"libc", "libm", "libgcc_s", "libpthread", "ld-linux-x86-64", "ld-linux-aarch64"}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_it_runs_without_a_compiler_in_a_fresh_environment(wheel: Path, pip_install, tmp_path: Path) -> None:
    folder = tmp_path / "environment"
    venv.create(folder)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pip_install(["--python", str(python), "install", "-q", "--no-deps", str(wheel)])
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(
        subprocess.run([python, "-c", where], capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    )
    # Path files in a folder that a path file adds are not read, so an editable install there stays out of sight.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    cache = tmp_path / "cache"
    kept = {name: value for name, value in os.environ.items() if name in ("SYSTEMROOT", "HOME", "USERPROFILE")}
    environment = kept | {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(cache), "LOCALAPPDATA": str(cache)}
    done = subprocess.run(
        [python, "-c", SHOW], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    native, _, reason = done.stdout.strip().partition("|")
    assert native == "True", reason
    assert str(packages / "trainers" / "kernels" / build.library_name()) in reason
    assert not cache.exists()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_without_a_compiler_it_is_for_every_system(
    source: Path, pip_install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    copied = shutil.copytree(source, tmp_path / "source", ignore=shutil.ignore_patterns("build"))
    pip_install(["wheel", "-q", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(copied)])
    (built,) = tmp_path.glob("*.whl")
    assert built.name.endswith("-py3-none-any.whl")
    assert build.library_name() not in {Path(name).name for name in zipfile.ZipFile(built).namelist()}


@pytest.mark.parametrize(
    ("tag", "content", "expected"),
    [
        (
            "linux_x86_64",
            b"\0GLIBC_2.2.5\0GLIBC_2.29\0GLIBC_2.34\0libc.so.6\0ld-linux-x86-64.so.2\0",
            "manylinux_2_34_x86_64",
        ),
        ("linux_aarch64", b"\0GLIBC_2.4\0libm.so.6\0ld-linux-aarch64.so.1\0", "manylinux_2_17_aarch64"),
        ("linux_x86_64", b"\0GLIBC_2.34\0libc.so.6\0libstdc++.so.6\0", "linux_x86_64"),
        ("linux_x86_64", b"\0libc.musl-x86_64.so.1\0", "linux_x86_64"),
        ("win_amd64", b"\0GLIBC_2.34\0", "win_amd64"),
        ("macosx_11_0_universal2", b"", f"macosx_11_0_{platform.machine()}"),
        ("macosx_11_0_arm64", b"", "macosx_11_0_arm64"),
    ],
)
def test_a_name_promises_no_more_than_the_library_needs(
    tmp_path: Path, tag: str, content: bytes, expected: str
) -> None:
    library = tmp_path / "library"
    library.write_bytes(content)
    assert build.wheel_platform(tag, library) == expected
