"""Libraries for a Unity project: where they go, and that each is tried out; portability/ tests the compiling itself."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from trainers.kernels import unity_plugins
from trainers.kernels.build import BuildError, find_compiler, find_or_build, target_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the systems' compilers are looked for on Linux")


@pytest.fixture
def own_system() -> str:
    """The name of this machine's system."""
    try:
        target = target_of(find_compiler())
    except BuildError as error:
        pytest.skip(str(error))
    return next(
        name for name, system in unity_plugins.SYSTEMS.items() if system.target and target.startswith(system.target)
    )


@pytest.fixture
def nothing_is_compiled(monkeypatch) -> None:
    """The library that is there already stands for the one to be built."""

    def build(target: Path, compiler: list[str]) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(find_or_build(), target))

    monkeypatch.setattr(unity_plugins, "build", build)


def test_the_library_is_put_where_unity_looks_and_tried_out(own_system, nothing_is_compiled, tmp_path, capsys):
    assert unity_plugins.main([own_system, "--output", str(tmp_path)]) == 0
    assert (tmp_path / unity_plugins.SYSTEMS[own_system].file).stat().st_size > 100_000
    assert "run here: version 1" in capsys.readouterr().out


def test_a_system_without_a_compiler_is_said_to_be_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(unity_plugins.shutil, "which", lambda _: None)
    assert unity_plugins.main(["windows-x64", "--output", str(tmp_path)]) == 0
    assert "windows-x64: not built, this machine has no compiler for it (needs x86_64-w64" in capsys.readouterr().out


def test_a_library_that_does_not_run_is_a_failure(own_system, tmp_path, monkeypatch, capsys):
    def build(target: Path, compiler: list[str]) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("no library\n")
        return target

    monkeypatch.setattr(unity_plugins, "build", build)
    assert unity_plugins.main([own_system, "--output", str(tmp_path)]) == 1
    assert "cannot be linked with" in capsys.readouterr().err


def test_an_unknown_system_is_named(capsys):
    with pytest.raises(SystemExit):
        unity_plugins.main(["amiga"])
    assert "unknown system amiga, expected linux-x64, windows-x64, linux-arm64, macos" in capsys.readouterr().err
