"""Environments by name: where they are kept, what is unpacked and how, and what is refused."""

import io
import os
import stat
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from bridge import builds
from bridge.exceptions import UnityEnvironmentException

PROGRAM = b"#!/bin/sh\nexit 0\n"
ELF = b"\x7fELF and more"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the programs of these builds are scripts")
linux = pytest.mark.skipif(sys.platform != "linux", reason="the programs are named as Linux has them")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where environments are kept."""
    monkeypatch.setenv("MLBRIDGE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def zipped(tmp_path: Path) -> Callable[..., Path]:
    """`zipped({name: content}, mode=...)`: a zip file as Unix makes it, or as Windows does without a mode."""

    def make(entries: dict[str, bytes], mode: int | None = 0o755, *, links: tuple[str, ...] = ()) -> Path:
        path = tmp_path / "Game.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in entries.items():
                entry = zipfile.ZipInfo(name)
                entry.create_system = 0 if mode is None else 3
                kind = stat.S_IFLNK if name in links else stat.S_IFREG
                entry.external_attr = 0 if mode is None else (kind | mode) << 16
                archive.writestr(entry, content)
        return path

    return make


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Path]:
    """`build(*names)`: a folder with these programs."""

    def make(*names: str) -> Path:
        for name in names:
            program = tmp_path / "build" / name
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_bytes(PROGRAM)
            program.chmod(0o755)
        return tmp_path / "build"

    return make


def test_a_folder_stays_where_it_is(build, home: Path) -> None:
    folder = build("Game.x86_64")
    assert builds.add("mine", folder) == folder / "Game.x86_64"
    assert builds.path("mine") == folder / "Game.x86_64"
    assert builds.names() == ["mine"]
    builds.remove("mine")
    assert builds.names() == []
    assert (folder / "Game.x86_64").is_file()
    assert list((home / "environments").iterdir()) == []


def test_an_executable_itself_may_be_given(build) -> None:
    program = build("one.x86_64", "two.x86_64") / "two.x86_64"
    assert builds.add("mine", program) == program


@linux
@pytest.mark.parametrize(
    ("content", "mode"), [(ELF, 0o755), (ELF, 0o644), (ELF, None), (PROGRAM, 0o700), (PROGRAM, None)]
)
def test_a_zip_file_is_unpacked_and_its_program_may_be_executed(zipped, content: bytes, mode: int | None) -> None:
    archive = zipped({"Game/Game.x86_64": content, "Game/Game_Data/level0": b"data"}, mode)
    program = builds.add("mine", archive)
    archive.unlink()
    assert builds.path("mine") == program
    assert program.read_bytes() == content
    assert os.access(program, os.X_OK)
    assert (program.parent / "Game_Data" / "level0").read_bytes() == b"data"
    builds.remove("mine")
    assert not program.exists()


def test_the_program_may_be_at_the_top_or_folders_deep(zipped) -> None:
    assert builds.add("a", zipped({"Game.x86_64": PROGRAM})).name == "Game.x86_64"
    assert builds.add("b", zipped({"one/two/three/Game.x86_64": PROGRAM})).name == "Game.x86_64"


@linux
@pytest.mark.parametrize("names", [("A.x86_64", "B.x86_64"), ("first/A.x86_64", "second/B.x86_64")])
def test_several_programs_are_listed(zipped, build, names: tuple[str, str]) -> None:
    for source in (build(*names), zipped(dict.fromkeys(names, PROGRAM))):
        with pytest.raises(UnityEnvironmentException, match=rf"several programs \({names[0]}, {names[1]}\)"):
            builds.add("mine", source)
    assert builds.names() == []


def test_what_holds_no_program_is_refused(zipped, tmp_path: Path, home: Path) -> None:
    for source in (zipped({"readme.txt": b"hello"}, 0o644), tmp_path / "nothing", tmp_path):
        with pytest.raises(UnityEnvironmentException, match="no environment was found"):
            builds.add("mine", source)
    assert list((home / "environments").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../out", "a/../../out", "/etc/out", "..\\out", "C:\\out", "C:out", "\\\\server\\share\\out", ".."]
)
def test_an_entry_that_leads_outside_is_refused(zipped, name: str, tmp_path: Path, home: Path) -> None:
    archive = zipped({"Game.x86_64": PROGRAM, name: b"out"})
    with pytest.raises(UnityEnvironmentException, match=r"refused: its entry .* outside"):
        builds.add("mine", archive)
    assert builds.names() == []
    assert not list(tmp_path.rglob("*out*"))
    assert list((home / "environments").iterdir()) == []


@pytest.mark.parametrize("target", [b"/etc/passwd", b"../../..", b"../../../../x"])
def test_a_link_that_leads_outside_is_refused(zipped, target: bytes) -> None:
    archive = zipped({"Game.x86_64": PROGRAM, "inner/link": target}, links=("inner/link",))
    with pytest.raises(UnityEnvironmentException, match="refused: its link 'inner/link' leads outside"):
        builds.add("mine", archive)


def test_links_that_lead_outside_together_are_refused(zipped) -> None:
    # One at a time, each stays inside: "y/.." is the folder itself until y is a link to it.
    archive = zipped({"Game.x86_64": PROGRAM, "x": b"y/..", "y": b"."}, links=("x", "y"))
    with pytest.raises(UnityEnvironmentException, match="leads outside"):
        builds.add("mine", archive)


def test_nothing_is_written_through_a_link(zipped, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    archive = zipped({"Game.x86_64": PROGRAM, "l": str(outside).encode(), "l/file": b"out"}, links=("l",))
    with pytest.raises(UnityEnvironmentException):
        builds.add("mine", archive)
    assert list(outside.iterdir()) == []


def test_a_link_inside_is_kept(zipped) -> None:
    archive = zipped({"Game.x86_64": PROGRAM, "lib/v1/a": b"1", "lib/now": b"v1"}, links=("lib/now",))
    folder = builds.add("mine", archive).parent
    assert (folder / "lib" / "now" / "a").read_bytes() == b"1"


def test_broken_and_locked_zip_files(tmp_path: Path, zipped) -> None:
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK nothing")
    with pytest.raises(UnityEnvironmentException, match="no zip file, or a damaged one"):
        builds.add("mine", broken)
    whole = zipped({"Game.x86_64": PROGRAM * 50}).read_bytes()
    broken.write_bytes(whole.replace(b"exit 0", b"exit 1", 1))  # the checksum no longer fits
    with pytest.raises(UnityEnvironmentException, match="cannot be unpacked"):
        builds.add("mine", broken)


def test_more_than_the_disk_holds_is_refused(zipped, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=3))
    with pytest.raises(UnityEnvironmentException, match="are free"):
        builds.add("mine", zipped({"Game.x86_64": PROGRAM}))


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "-flag", "a b", "ä", "dot."])
def test_names_that_are_none(build, name: str) -> None:
    with pytest.raises(UnityEnvironmentException, match="cannot be a name"):
        builds.add(name, build("Game.x86_64"))


def test_names_that_are_taken(build) -> None:
    folder = build("Game.x86_64")
    with pytest.raises(UnityEnvironmentException, match="built-in"):
        builds.add("3dball", folder, reserved=["3DBall"])
    builds.add("mine", folder)
    with pytest.raises(UnityEnvironmentException, match="mlbridge envs remove mine"):
        builds.add("Mine", folder)


def test_a_build_that_is_gone_is_told(build) -> None:
    folder = build("Game.x86_64")
    builds.add("mine", folder)
    (folder / "Game.x86_64").unlink()
    with pytest.raises(UnityEnvironmentException, match="is gone; run: mlbridge envs remove mine"):
        builds.path("mine")
    builds.remove("mine")


def test_unknown_names(build) -> None:
    with pytest.raises(UnityEnvironmentException, match="there is: none"):
        builds.path("mine")
    builds.add("yours", build("Game.x86_64"))
    with pytest.raises(UnityEnvironmentException, match="there is: yours"):
        builds.remove("mine")


def test_a_damaged_record_is_told(build, home: Path) -> None:
    builds.add("mine", build("Game.x86_64"))
    (home / "environments" / "mine" / "environment.json").write_text("{", encoding="utf-8")
    with pytest.raises(UnityEnvironmentException, match=r"environment\.json cannot be read"):
        builds.path("mine")


def test_the_place_follows_the_systems_habits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLBRIDGE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert builds.home() == tmp_path / ".local" / "share" / "mlbridge"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert builds.home() == tmp_path / ".local" / "share" / "mlbridge"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert builds.home() == tmp_path / "data" / "mlbridge"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert builds.home() == tmp_path / "local" / "mlbridge"


def test_extract_leaves_nothing_behind_when_it_fails(zipped, tmp_path: Path) -> None:
    with pytest.raises(UnityEnvironmentException, match=r"Game\.zip"):
        builds.extract(io.BytesIO(b"no zip"), tmp_path / "place" / "here", shown="Game.zip")
    assert list((tmp_path / "place").iterdir()) == []
