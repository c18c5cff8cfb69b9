"""Makes the environment of the official trainer, which `make bench` measures: mlagents 1.1.0 in .cache/peer.

    python tests/benchmarks/build_peer.py [--no-install]

Prints the path of its Python and nothing else on standard output; nothing at all where no Python 3.10 is found, or with
--no-install where the environment is not there yet. What is there already is used: .cache/peer, which may be a link to
an environment elsewhere, or the Python that the environment variable MLBRIDGE_PEER_PYTHON names. It takes several
gigabytes and minutes, so no test builds it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / ".cache" / "peer"
# mlagents asks for an older Python 3.10 than most machines have, and for a torch without an upper bound that its ONNX
# export does not survive; setuptools still has the pkg_resources that it imports.
INSTALLS = [
    ["torch==2.8.0"],
    ["--ignore-requires-python", "mlagents==1.1.0", "mlagents-envs==1.1.0", "setuptools<81"],
]
LIMIT = 3600  # seconds for one call of pip


def main() -> int:
    given = os.environ.get("MLBRIDGE_PEER_PYTHON")
    if given:
        print(given)
        return 0
    python = FOLDER / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if has_mlagents(python):
        print(python)
        return 0
    if "--no-install" in sys.argv[1:]:
        return 0
    base = find_python()
    if base is None:
        say("No Python 3.10 found, which the official trainer needs: stored figures will stand in for it.")
        return 0
    if FOLDER.is_symlink():
        say(f"{FOLDER} is a link to an environment in which mlagents 1.1.0 does not import; remove it, then try again.")
        return 1
    say(f"Installing the official trainer into {FOLDER} (once; it takes minutes and several gigabytes)")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.parent.mkdir(exist_ok=True)
    subprocess.run([base, "-m", "venv", str(FOLDER)], check=True, timeout=300, env=environment())
    for arguments in INSTALLS:
        command = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *arguments]
        subprocess.run(command, check=True, timeout=LIMIT, env=environment(), stdout=sys.stderr)
    if not has_mlagents(python):
        say(f"mlagents 1.1.0 was installed into {FOLDER}, but does not import.")
        return 1
    print(python)
    return 0


def has_mlagents(python: Path) -> bool:
    """Whether the official trainer, with all that it imports, is there: a build that was interrupted is none."""
    check = "import importlib.metadata as m, mlagents.trainers.learn; assert m.version('mlagents') == '1.1.0'"
    return (
        python.exists()
        and subprocess.run(
            [str(python), "-c", check], capture_output=True, timeout=300, env=environment(), check=False
        ).returncode
        == 0
    )


def find_python() -> str | None:
    """A Python 3.10 that runs; a name on PATH may be a shim that only says that it does not."""
    candidates = [str(path) for path in sorted(Path.home().glob(".pyenv/versions/3.10.*/bin/python3.10"), reverse=True)]
    by_name = shutil.which("python3.10")
    check = "import ensurepip, sys, venv; sys.exit(sys.version_info[:2] != (3, 10))"
    for candidate in [*([by_name] if by_name else []), *candidates]:
        done = subprocess.run([candidate, "-c", check], capture_output=True, timeout=60, env=environment(), check=False)
        if done.returncode == 0:
            return candidate
    return None


def environment() -> dict[str, str]:
    """Without the variables that point to packages of this Python."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
