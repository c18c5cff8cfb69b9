"""The environment beneath a wrapper of Gymnasium or PettingZoo: opened anew for another seed."""

import os
import random
import warnings
from collections.abc import Callable
from typing import Any

from mlagents_envs.base_env import BaseEnv

from bridge.exceptions import UnityEnvironmentException

Opener = str | os.PathLike[str] | BaseEnv | Callable[[int], BaseEnv]
"""A build or another program, an environment that is open already, or a function of a seed that opens one."""

# Messages in a row that an agent may be missing from. Where it is not coming back, one would wait forever.
MOST_SILENT_STEPS = 10_000


class SeededEnvironment:
    """An open environment at its first steps after a reset.

    A player takes its seed once, as it starts: the protocol has no other place for one. So each seed is a new player,
    or a new world; an environment that was handed over open keeps what it has, with a warning.

    Attributes:
        environment: the one that is open.
    """

    environment: BaseEnv

    def __init__(self, opener: Opener, seed: int | None, player_arguments: dict[str, Any]) -> None:
        """`seed`: None draws one. `player_arguments`: of UnityEnvironment, where `opener` is a path."""
        self._open: Callable[[int], BaseEnv] | None = None
        if isinstance(opener, BaseEnv):
            self.environment = opener
        elif callable(opener):
            self._open = opener
        else:
            path = os.fspath(opener)

            def start(seed: int) -> BaseEnv:
                from bridge.environment import UnityEnvironment

                return UnityEnvironment(path, seed=seed, **player_arguments)

            self._open, player_arguments = start, player_arguments.copy()
        if player_arguments and not isinstance(opener, str | os.PathLike):
            raise TypeError(
                f"{', '.join(player_arguments)}: arguments of a player, but no path of one was given; "
                "give them to what opens the environment"
            )
        self._warned = self._closed = False
        self._seed = random.randrange(2**31) if seed is None else seed
        if self._open is not None:
            self.environment = self._open(_of_the_protocol(self._seed))
        elif seed is not None:
            self._warn()
        try:
            self.environment.reset()
        except BaseException:
            self.close()
            raise
        self._fresh = True

    def reset(self, seed: int | None) -> None:
        """The first steps of all agents: with a seed, those of an environment that was just opened with it."""
        if self._closed:
            raise UnityEnvironmentException("this environment is closed; make a new one")
        if seed is not None and self._open is None:
            self._warn()
        elif seed is not None and (seed != self._seed or not self._fresh):
            self.environment.close()
            self._seed = seed
            assert self._open is not None
            self.environment = self._open(_of_the_protocol(seed))
            self._fresh = False
        if not self._fresh:
            self.environment.reset()
        self._fresh = False

    def step(self) -> None:
        self._fresh = False
        self.environment.step()

    def find_behavior(self, name: str | None) -> str:
        """The full name ("3DBall?team=0") for a name without its team, or the only one for None.

        Raises UnityEnvironmentException when there is none such, or several.
        """
        known = list(self.environment.behavior_specs)
        listed = ", ".join(f"'{each}'" for each in known) or "none yet"
        if name is None:
            if len(known) == 1:
                return known[0]
            raise UnityEnvironmentException(f"which behavior? Give behavior_name; this environment has: {listed}")
        matches = [each for each in known if each == name] or [each for each in known if each.split("?")[0] == name]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise UnityEnvironmentException(f"behavior_name '{name}' could be any of these: {listed}; give it in full")
        raise UnityEnvironmentException(f"no behavior '{name}' in this environment; it has: {listed}")

    def close(self) -> None:
        """Ends the player. Harmless when called twice."""
        if not self._closed:
            self._closed = True
            self.environment.close()

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                "the seed does not reach the environment: a player takes its seed only when it starts, and this one "
                "was handed over open; give the path of a player, or a function of a seed that opens one",
                stacklevel=4,
            )


def _of_the_protocol(seed: int) -> int:
    return seed % 2**31
