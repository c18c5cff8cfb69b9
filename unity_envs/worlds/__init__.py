"""The worlds by name. Nothing of a world is imported before it is asked for."""

from __future__ import annotations

import difflib
import functools
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.player import EnvironmentParameters, World

# Module, class, agents of an area unless told otherwise, variants.
_WORLDS: dict[str, tuple[str, str, int, tuple[str, ...]]] = {
    "CubeMover": ("cube_mover", "CubeMover", 1, ("basic",)),
    "PoleBalancer": ("pole_balancer", "PoleBalancer", 1, ("force",)),
    "3DBall": ("ball3d", "Ball3D", 12, ("discrete", "hard", "visual")),
}


def names() -> list[str]:
    """Names of the worlds, in the order in which they are shown to users."""
    return list(_WORLDS)


def variants(name: str) -> list[str]:
    """Names of the variants of the world `name`, besides itself. Raises ValueError for an unknown name."""
    check_name(name)
    return list(_WORLDS[name][3])


def default_agents(name: str) -> int:
    """The number of agents in an area of the world `name`. Raises ValueError for an unknown name."""
    check_name(name)
    return _WORLDS[name][2]


def check_name(name: str) -> None:
    """Raise ValueError, with the nearest known name, unless `name` is a world."""
    if name not in _WORLDS:
        raise ValueError(f"unknown environment {name!r}: {_hint(name, names())}known are {', '.join(names())}")


def make_world_factory(
    name: str, agents: int | None = None, variant: str | None = None
) -> Callable[[int, int, EnvironmentParameters], World]:
    """Return `make_world(seed, num_areas, parameters)` for the world called `name`.

    `agents` is the number of agents in one area; None leaves the world's own default. `variant` is one of
    `variants(name)`. Raises ValueError for an unknown name or variant, or for agents below 1.
    """
    check_name(name)
    if agents is not None and agents < 1:
        raise ValueError(f"agents must be 1 or more, got {agents}")
    module, class_name, usual, known = _WORLDS[name]
    if variant is not None and variant not in known:
        raise ValueError(f"{name} has no variant {variant!r}: {_hint(variant, known)}known are {', '.join(known)}")
    world = getattr(importlib.import_module(f"unity_envs.worlds.{module}"), class_name)
    return functools.partial(world, agents=usual if agents is None else agents, variant=variant)


def _hint(name: str, known: list[str] | tuple[str, ...]) -> str:
    folded = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), folded, n=1)
    return f"did you mean {folded[near[0]]!r}? " if near else ""
