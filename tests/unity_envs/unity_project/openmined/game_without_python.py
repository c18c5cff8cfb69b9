"""A game in C# that trains by itself: compiled with Mono, run in a process of its own, its answers read."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[3]
ASSETS = ROOT / "unity_envs/UnityProject/Assets"
LIMIT = 60  # seconds of one call of the compiler


def compile_game(folder: Path, library: Path | None) -> Path:
    """Compiles library, trainer and game into `folder`, puts the native `library` beside them, returns the program."""
    sources = sorted((ASSETS / "OpenMined/Core").rglob("*.cs"))
    compile_program(folder / "OpenMined.dll", "library", sources, [])
    rules = [ASSETS / "Core/CubeMover.cs", ASSETS / "Core/PoleBalancer.cs"]
    compile_program(
        folder / "Game.exe", "exe", [*sorted((HERE / "game").glob("*.cs")), *rules], [folder / "OpenMined.dll"]
    )
    if library is not None:
        shutil.copy(library, folder)
    return folder / "Game.exe"


def play(program: Path, *arguments: object, limit: float = 110.0) -> dict[str, str]:
    """Runs the game and returns what it answers, by name. Raises RuntimeError, with its own words, when it fails."""
    # No path leads to another copy of the native library.
    environment = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    command = ["mono", str(program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


def compile_program(output: Path, kind: str, sources: list[Path], references: list[Path]) -> None:
    """C# 7.2 as far as mcs knows it; warnings are errors."""
    command = ["mcs", "-nologo", "-langversion:7.2", "-warnaserror", f"-target:{kind}", f"-out:{output}"]
    command += [f"-reference:{each}" for each in references] + [str(each) for each in sources]
    run(command)


def run(command: list[str]) -> None:
    """Raises RuntimeError, with the program's own words, when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
