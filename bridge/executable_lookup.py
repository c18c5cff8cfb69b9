"""Finds the program to start for what a user gave as an environment: a build's name, its folder, or any executable.

Also says why a program that was found cannot be started.
"""

import difflib
import errno
import os
import platform as this_platform
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from bridge.exceptions import UnityEnvironmentException

_SUFFIXES = (".app", ".exe", ".x86_64", ".x86")
_WINDOWS_PROGRAMS = (".exe", ".bat", ".cmd")
_MACH_O_MAGICS = (
    b"\xfe\xed\xfa\xce",
    b"\xfe\xed\xfa\xcf",
    b"\xce\xfa\xed\xfe",
    b"\xcf\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe",
)


class ExecutableNotFoundError(UnityEnvironmentException):
    """Nothing at the given path looks like an environment: it may be the name of a built-in one."""


def find_executable(file_name: str, *, platform: str = sys.platform, folder: Path | None = None) -> Path:
    """The absolute path of the program to start for `file_name`; the suffix may lack, or be another platform's.

    - Linux: `NAME.x86_64`, `NAME.x86`, `NAME` itself (any executable file), then the only program in the folder `NAME`
    - macOS: the program in `NAME.app/Contents/MacOS`, `NAME` itself, then the only `.app` or program in the folder
    - Windows: `NAME.exe`, then the only `.exe` but Unity's crash handler in the folder `NAME`
    - everywhere: `NAME.py`, spelled out, a program of `bridge.player` that this Python runs

    A relative name starts at `folder`, by default the current one. Raises ExecutableNotFoundError when there is
    nothing, and UnityEnvironmentException when there are several programs, one that may not be executed, or only one
    for another platform.
    """
    if not file_name:
        raise ExecutableNotFoundError("the environment's file name is empty: give the path of a build or an executable")
    given = Path(os.path.abspath((folder or Path.cwd()) / os.path.expanduser(file_name)))
    system = _system(platform)
    if is_python_program(given) and given.is_file():
        return given
    base = _without_suffix(given)
    folders = [path for path in dict.fromkeys((given, base)) if path.is_dir()]
    tried = _files_to_try(given, base, system)
    found = next((path for path in tried if path.is_file() and _made_for(path) in (None, system)), None)
    try:
        found = found or next((path for place in folders if (path := _only_program_in(place, system))), None)
        if found is None:
            raise _nothing_found(file_name, given, base, tried, folders, system)
    except PermissionError as error:
        raise UnityEnvironmentException(
            f"the folder {error.filename} may not be read: check its permissions"
        ) from error
    if system != "Windows" and not os.access(found, os.X_OK):
        raise UnityEnvironmentException(f"{found} is not executable; run: chmod +x {shlex.quote(str(found))}")
    return found


def programs_in(folder: Path, *, platform: str = sys.platform) -> list[Path]:
    """The programs directly in `folder`; the first kind of file that occurs decides."""
    return _programs_in(folder, _system(platform))


def is_made_for_this_system(path: Path, *, scripts_too: bool) -> bool:
    """Whether a file begins as this system's programs and libraries do, or as scripts do."""
    start = _first_bytes(path)
    return _system_of_magic(start) == _system(sys.platform) or (scripts_too and start.startswith(b"#!"))


def is_python_program(path: Path) -> bool:
    """Whether `path` is started by this Python, not by the system."""
    return path.name.endswith(".py")


def _system(platform: str) -> str:
    return {"darwin": "macOS", "win32": "Windows"}.get(platform, "Linux")


def _without_suffix(path: Path) -> Path:
    for suffix in _SUFFIXES:
        if path.name.lower().endswith(suffix) and path.name.lower() != suffix:
            return path.with_name(path.name[: -len(suffix)])
    return path


def _with(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _files_to_try(given: Path, base: Path, system: str) -> list[Path]:
    if system == "Windows":
        exact = [given] if given.name.lower().endswith(_WINDOWS_PROGRAMS) else []
        tried = [*exact, _with(base, ".exe")]
    elif system == "macOS":
        program = _only_program_of_app(_with(base, ".app"))
        tried = [*([program] if program else []), given, base]
    else:
        # A suffix that was spelled out is meant: NAME.x86 is taken even where NAME.x86_64 lies beside it.
        exact = [given] if given.name.endswith((".x86", ".x86_64")) else []
        tried = [*exact, _with(base, ".x86_64"), _with(base, ".x86"), base, given]
    return list(dict.fromkeys(tried))


def _only_program_in(folder: Path, system: str) -> Path | None:
    """The only program directly in `folder`, or None."""
    return _only_one(_programs_in(folder, system), folder)


def _programs_in(folder: Path, system: str) -> list[Path]:
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    files = [path for path in entries if path.is_file()]
    if system == "Windows":
        kinds = [
            [
                path
                for path in files
                if path.suffix.lower() == ".exe" and not path.name.lower().startswith("unitycrashhandler")
            ]
        ]
    elif system == "macOS":
        apps = [path for path in entries if path.name.lower().endswith(".app") and path.is_dir()]
        programs = [path for app in apps if (path := _only_program_of_app(app)) is not None]
        kinds = [programs, [path for path in files if _is_program(path, system)]]
    else:
        by_suffix = [[path for path in files if path.name.endswith(suffix)] for suffix in (".x86_64", ".x86")]
        kinds = [*by_suffix, [path for path in files if _is_program(path, system)]]
    return next((kind for kind in kinds if kind), [])


def _only_program_of_app(app: Path) -> Path | None:
    """The program of a macOS application: the file named like it, else the only one in Contents/MacOS."""
    folder = app / "Contents" / "MacOS"
    if not folder.is_dir():
        return None
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    named_alike = [path for path in files if path.name == _without_suffix(app).name]
    return _only_one(named_alike or files, folder)


def _only_one(candidates: list[Path], folder: Path) -> Path | None:
    if len(candidates) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path in candidates)
        raise UnityEnvironmentException(f"{folder} holds several programs ({names}): give the path of one of them")
    return candidates[0] if candidates else None


def _is_program(path: Path, system: str) -> bool:
    """Whether a file without a telling name is one to start: libraries (UnityPlayer.so) may be executable, too."""
    if not os.access(path, os.X_OK) or any(part in path.name for part in (".so", ".dylib", ".debug")):
        return False
    start = _first_bytes(path)
    return start.startswith(b"#!") or _system_of_magic(start) == system


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4)
    except OSError:  # may be executed but not read
        return b""


def _system_of_magic(start: bytes) -> str | None:
    if start.startswith(b"\x7fELF"):
        return "Linux"
    if start.startswith(b"MZ"):
        return "Windows"
    return "macOS" if start in _MACH_O_MAGICS else None


def _made_for(path: Path) -> str | None:
    """The system that a build is made for, by its content or else its name; None for scripts and the unknown."""
    if path.is_dir():
        return "macOS" if (path / "Contents" / "MacOS").is_dir() else None
    start = _first_bytes(path)
    if start.startswith(b"#!"):
        return None
    by_name = {".exe": "Windows", ".x86_64": "Linux", ".x86": "Linux"}
    return _system_of_magic(start) or by_name.get(path.suffix.lower())


def _nothing_found(
    file_name: str, given: Path, base: Path, tried: list[Path], folders: list[Path], system: str
) -> UnityEnvironmentException:
    beside = [given, base, *(_with(base, suffix) for suffix in _SUFFIXES)]
    within = [path for folder in folders for path in sorted(folder.iterdir())]
    for path in (*beside, *within):
        made_for = _made_for(path) if path.exists() else None
        if made_for not in (None, system):
            return UnityEnvironmentException(
                f"{path} is a build for {made_for}: on {system} give one that was built for {system}"
            )
    message = f"no environment was found for {file_name!r}: there is no {_listed(tried)}"
    if folders:
        message += f", and no program in the folder {folders[0]}"
    elif not given.parent.is_dir():
        message += f"; the folder {given.parent} does not exist"
    near = _names_like(base.name, base.parent)
    if near:
        message += f"; did you mean {' or '.join(near)} in {given.parent}?"
    return ExecutableNotFoundError(message if near else f"{message}; give the path of a build or an executable")


def _listed(paths: Iterable[Path]) -> str:
    *first, last = map(str, paths)
    return f"{', '.join(first)} or {last}" if first else last


def _names_like(name: str, folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    programs = [path for path in folder.iterdir() if not path.name.endswith("_Data")]  # the folder beside a build
    names = {_without_suffix(path).name.lower(): path.name for path in programs}
    return [names[near] for near in difflib.get_close_matches(name.lower(), names, n=3) if names[near] != name]


def start_error(executable: Path, error: OSError) -> UnityEnvironmentException:
    """What kept a program from being started, and what to do about it."""
    machine = f"{this_platform.system()} {this_platform.machine()}"
    if executable.is_dir():
        reason = "it is a folder; give the program in it"
    elif error.errno == errno.EACCES and not os.access(executable, os.X_OK):
        reason = f"it is not executable; run: chmod +x {shlex.quote(str(executable))}"
    elif error.errno == errno.EACCES:
        reason = "the system forbids it; is its file system mounted with noexec, or its interpreter not executable?"
    elif error.errno == errno.ENOEXEC:
        reason = (
            f"it is no program for this machine ({machine}); a build must be made for it, and a script must begin "
            "with a line such as #!/bin/sh"
        )
    elif error.errno == errno.ENOENT and executable.exists():
        reason = _missing_interpreter(executable)
    elif error.errno == errno.ENOENT:
        reason = "there is no such file"
    else:
        reason = str(error)
    return UnityEnvironmentException(f"{executable} cannot be started: {reason}")


def _missing_interpreter(executable: Path) -> str:
    with executable.open("rb") as file:
        first_line = file.readline(256)
    if not first_line.startswith(b"#!"):
        return "the system's loader or a library that it needs is missing; was it built for another system?"
    interpreter = first_line[2:].strip(b" \t\n").split(b" ")[0].decode(errors="replace")
    remedy = (
        "the file has Windows line ends, store it with Unix ones"
        if "\r" in interpreter
        else "install it or correct that line"
    )
    return f"its first line names the interpreter {interpreter!r}, which does not exist; {remedy}"
