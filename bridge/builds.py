"""A user's own environments by name: builds in local folders, and zip files that are unpacked into a folder of ours.

They are kept in `home()`/environments/NAME: `environment.json` says which program to start, and a zip file's contents
lie beside it.
"""

import json
import os
import re
import shutil
import stat
import sys
import tempfile
import zipfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from bridge.exceptions import UnityEnvironmentException
from bridge.executable_lookup import ExecutableNotFoundError, find_executable, is_made_for_this_system, programs_in

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_RECORD = "environment.json"
_DEPTH = 4  # folders within folders that are searched for the program of a build


def home() -> Path:
    """Where this user's data is: MLBRIDGE_HOME, else the system's place for it. It need not exist."""
    own = os.environ.get("MLBRIDGE_HOME")
    if own:
        return Path(own).expanduser().absolute()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "mlbridge"
    shared = os.environ.get("XDG_DATA_HOME", "")
    # A relative path is to be ignored, says the XDG base directory specification.
    return (Path(shared) if os.path.isabs(shared) else Path.home() / ".local" / "share") / "mlbridge"


def names() -> list[str]:
    """The names that were added, sorted."""
    folder = home() / "environments"
    return sorted(path.parent.name for path in folder.glob(f"*/{_RECORD}")) if folder.is_dir() else []


def path(name: str) -> Path:
    """The program of an environment. Raises UnityEnvironmentException when it is unknown or gone."""
    program = recorded(name)
    if not program.is_file():
        raise UnityEnvironmentException(
            f"the environment {name} was added as {program}, which is gone; run: mlbridge envs remove {name}"
        )
    return program


def recorded(name: str) -> Path:
    """The program of an environment as it was when the environment was added."""
    if name not in names():
        known = ", ".join(names()) or "none"
        raise UnityEnvironmentException(f"no environment {name} was added; there is: {known} (mlbridge envs add)")
    record = home() / "environments" / name / _RECORD
    try:
        program = json.loads(record.read_text(encoding="utf-8"))["program"]
        return record.parent / str(program)  # an absolute one stays as it is
    except (ValueError, KeyError, TypeError) as error:
        raise UnityEnvironmentException(
            f"{record} cannot be read ({error}); remove that folder and add the environment again"
        ) from error


def add(name: str, source: Path, reserved: Collection[str] = ()) -> Path:
    """Registers a build (an executable, its folder, or a zip file of it) and returns its program.

    A folder stays where it is; a zip file is unpacked. `reserved` names are refused. Raises UnityEnvironmentException.
    """
    if not _NAME.fullmatch(name) or name.endswith("."):
        raise UnityEnvironmentException(
            f"{name!r} cannot be a name: letters, digits, '_', '-' and '.' make one, and the first is a letter or digit"
        )
    if name.lower() in {other.lower() for other in reserved}:
        raise UnityEnvironmentException(f"{name} is a built-in environment; choose another name")
    same = next((other for other in names() if other.lower() == name.lower()), None)
    if same:
        raise UnityEnvironmentException(f"the environment {same} is there already; run: mlbridge envs remove {same}")
    environments = home() / "environments"
    try:
        environments.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".adding-", dir=environments) as temporary:
            prepared = Path(temporary) / name
            if source.is_file() and zipfile.is_zipfile(source) and source.suffix.lower() == ".zip":
                with source.open("rb") as file:
                    extract(file, prepared / "build", shown=str(source))
                program = find_program(prepared / "build").relative_to(prepared)
            elif source.suffix.lower() == ".zip" and source.is_file():
                raise UnityEnvironmentException(f"{source} is no zip file, or a damaged one")
            else:
                prepared.mkdir()
                program = find_program(source)
            record = {"program": program.as_posix(), "source": str(source.absolute())}
            (prepared / _RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            prepared.rename(environments / name)
    except OSError as error:
        raise UnityEnvironmentException(f"{name} cannot be added to {environments}: {error}") from error
    return path(name)


def remove(name: str) -> None:
    """Forgets an environment and deletes what was unpacked of it; a local folder that was added stays."""
    if name not in names():
        recorded(name)  # which raises
    folder = home() / "environments" / name
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise UnityEnvironmentException(
            f"{folder} cannot be removed, is a player still running? ({error.strerror or error})"
        ) from error


def find_program(place: Path) -> Path:
    """As `find_executable`, and when the folder `place` holds no program, the only one in its folders.

    Raises UnityEnvironmentException that lists them when there are several.
    """
    try:
        return find_executable(str(place))
    except ExecutableNotFoundError:
        folders = [place] if place.is_dir() else []
        for _ in range(_DEPTH):
            folders = [inner for folder in folders for inner in sorted(folder.iterdir()) if _may_hold_program(inner)]
            programs = [program for folder in folders for program in programs_in(folder)]
            if len(programs) > 1:
                listed = ", ".join(str(program.relative_to(place)) for program in programs)
                raise UnityEnvironmentException(
                    f"{place} holds several programs ({listed}): add the folder of one of them"
                ) from None
            if programs:
                return find_executable(str(programs[0]))
        raise


def _may_hold_program(folder: Path) -> bool:
    return folder.is_dir() and not folder.is_symlink() and not folder.name.endswith(("_Data", ".app", "__MACOSX"))


def extract(file: IO[bytes], folder: Path, shown: str) -> None:
    """Unpacks a zip file into `folder`, which must not exist; programs become executable. Whole, or not at all.

    Raises UnityEnvironmentException for a broken file, and for one with entries that would end up elsewhere.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=folder.parent) as temporary:
        target = Path(temporary) / "build"
        target.mkdir()
        try:
            with zipfile.ZipFile(file) as archive:
                _extract_all(archive, target, shown)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:  # a password is a RuntimeError
            raise UnityEnvironmentException(f"{shown} cannot be unpacked: {error}") from error
        target.rename(folder)


def _extract_all(archive: zipfile.ZipFile, target: Path, shown: str) -> None:
    entries = archive.infolist()
    for entry in entries:
        if not _stays_within(entry.filename):
            raise UnityEnvironmentException(
                f"{shown} is refused: its entry {entry.filename!r} would be written outside the environment's folder"
            )
    size, free = sum(entry.file_size for entry in entries), shutil.disk_usage(target).free
    if size > free:
        raise UnityEnvironmentException(
            f"{shown} needs {size / 2**20:,.0f} MiB unpacked, and {free / 2**20:,.0f} MiB are free in {target.parent}"
        )
    links = [entry for entry in entries if stat.S_ISLNK(_mode(entry))]
    for entry in entries:
        if entry in links:
            continue
        written = Path(archive.extract(entry, target))
        if written.is_file() and _is_executable(entry, written):
            written.chmod(written.stat().st_mode | 0o755)
    # Links (macOS frameworks have them) come last, so that nothing is ever written through one.
    for entry in links:
        link = target / entry.filename
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(archive.read(entry).decode())
    for entry in links:
        link = target / entry.filename
        if not link.resolve().is_relative_to(target.resolve()):
            raise UnityEnvironmentException(
                f"{shown} is refused: its link {entry.filename!r} leads outside the environment's folder"
            )


def _stays_within(name: str) -> bool:
    """Whether the name of an entry is a relative path, for any system, that goes nowhere up."""
    windows = PureWindowsPath(name)
    if "\\" in name or ":" in name or "\0" in name or windows.drive or windows.root:
        return False
    return not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts


def _mode(entry: zipfile.ZipInfo) -> int:
    """Unix's mode, 0 when the zip file was made on a system without."""
    return entry.external_attr >> 16 if entry.create_system == 3 else 0


def _is_executable(entry: zipfile.ZipInfo, written: Path) -> bool:
    """As the zip file says; programs for this system in any case, as not every tool keeps the mode."""
    mode = _mode(entry)
    return bool(mode & 0o111) or is_made_for_this_system(written, scripts_too=not mode)
