"""What `pip install` gives: the wheel holds all that is needed, and training works from it in an empty folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def wheel(repository: Path, pip_install, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built of a copy: setuptools leaves folders behind where it builds, and takes up what it finds in them."""
    source = tmp_path_factory.mktemp("source")
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(repository / name, source)
    for name in ("bridge", "trainers", "unity_envs"):
        shutil.copytree(repository / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    target = tmp_path_factory.mktemp("wheel")
    pip_install(["wheel", "-q", "--no-deps", "--no-build-isolation", "--wheel-dir", str(target), str(source)])
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def scripts(wheel: Path, pip_install, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts folder of a virtual environment with our wheel in it and the dependencies of the running Python."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder)
    scripts = folder / ("Scripts" if sys.platform == "win32" else "bin")
    python = scripts / ("python.exe" if sys.platform == "win32" else "python")
    pip_install(["--python", str(python), "install", "-q", "--no-deps", str(wheel)])
    # Path files in a folder that a path file adds are not read, so an editable install there stays out of sight.
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run(
        [python, "-c", where], capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()
    Path(packages, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return scripts


def test_everything_that_runs_without_the_checkout_is_inside(wheel: Path, repository: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {"bridge/protos/descriptor_set.binpb"}
    for pattern in (
        "bridge/protos/*.proto",
        "trainers/configs/*.yaml",
        "bridge/**/*.py",
        "trainers/**/*.py",
        "unity_envs/**/*.py",
    ):
        expected |= {path.relative_to(repository).as_posix() for path in repository.glob(pattern)}
    assert "trainers/configs/3DBall.yaml" in expected
    assert sorted(expected - names) == []
    assert [name for name in names if name.endswith("licenses/LICENSE")]


def test_nothing_else_is_inside(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"bridge", "trainers", "unity_envs"}


def test_it_trains_in_an_empty_folder(scripts: Path, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [scripts / "mlbridge", "learn", "3DBall", "--env", "3DBall", "--run-id", "first"]
    # An untrained policy gets about 1, so the first summary ends the run.
    done = subprocess.run(
        [*command, "--stop-at-reward", "0.5"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "results" / "first" / "3DBall.onnx").is_file(), done.stdout + done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_the_installed_packages_are_used_and_not_the_checkout(scripts: Path, tmp_path: Path, repository: Path) -> None:
    python = scripts / ("python.exe" if sys.platform == "win32" else "python")
    code = (
        "import bridge, trainers, unity_envs; print(bridge.__file__, trainers.__file__, unity_envs.__file__, sep='\\n')"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        assert not Path(line).is_relative_to(repository / line.split(os.sep)[-2])
        assert Path(line).is_relative_to(scripts.parent)
