"""The worlds of this folder as modules: it is no package."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def world_module() -> Callable[[str], ModuleType]:
    """`world_module("masked")` is masked.py."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"world_{name}", HERE / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def world_path() -> Callable[[str], str]:
    """`world_path("masked")` is masked.py as a program that a trainer starts."""
    return lambda name: str(HERE / f"{name}.py")
