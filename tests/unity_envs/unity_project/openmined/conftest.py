"""The library and the trainer under Assets/OpenMined, in a game without an engine and without Python."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from trainers.kernels.build import find_or_build


@pytest.fixture(scope="session")
def games(mono) -> ModuleType:
    """game_without_python.py: `compile_game` and `play`."""
    # By its path, since tests are in no package.
    path = Path(__file__).parent / "game_without_python.py"
    spec = importlib.util.spec_from_file_location("game_without_python", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def program(games, tmp_path_factory) -> Path:
    """The game's program, with the native library beside it."""
    return games.compile_game(tmp_path_factory.mktemp("game"), find_or_build())


@pytest.fixture(scope="session")
def play(games, program) -> Callable[..., dict[str, str]]:
    """`play("train", "CubeMover", 1)` runs the game and returns its answers by name."""
    return lambda *arguments: games.play(program, *arguments)
