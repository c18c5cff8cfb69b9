"""The worlds by name. Nothing of a world is imported before it is asked for."""

from __future__ import annotations

import difflib
import functools
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.player import EnvironmentParameters, World

_CLASSES = {"3DBall": ("unity_envs.worlds.ball3d", "Ball3D")}


def names() -> list[str]:
    """Names of the worlds, in the order in which they are shown to users."""
    return list(_CLASSES)


def check_name(name: str) -> None:
    """Raise ValueError, with the nearest known name, unless `name` is a world."""
    if name in _CLASSES:
        return
    known = names()
    folded = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), folded, n=1)
    hint = f"did you mean {folded[near[0]]!r}? " if near else ""
    raise ValueError(f"unknown environment {name!r}: {hint}known are {', '.join(known)}")


def make_world_factory(name: str, agents: int | None = None) -> Callable[[int, int, EnvironmentParameters], World]:
    """Return `make_world(seed, num_areas, parameters)` for the world called `name`.

    `agents` is the number of agents in one area; None leaves the world's own default.
    Raises ValueError for an unknown name or for agents below 1.
    """
    check_name(name)
    if agents is not None and agents < 1:
        raise ValueError(f"agents must be 1 or more, got {agents}")
    module, class_name = _CLASSES[name]
    make_world = getattr(importlib.import_module(module), class_name)
    return make_world if agents is None else functools.partial(make_world, agents=agents)
