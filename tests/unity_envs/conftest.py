"""Helpers for the tests of the worlds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mlagents_envs.base_env import ActionTuple, DecisionSteps, TerminalSteps

from bridge.codec import Steps
from unity_envs import worlds


class Parameters:
    """Environment parameters; a value may be a function, which is called at each read. `reads` counts them by key."""

    def __init__(self) -> None:
        self.values: dict[str, float | Callable[[], float]] = {}
        self.reads: dict[str, int] = {}

    def get_with_default(self, key: str, default: float) -> float:
        self.reads[key] = self.reads.get(key, 0) + 1
        value = self.values.get(key, default)
        return value() if callable(value) else value


class Game:
    """A world and its latest message."""

    def __init__(
        self,
        agents: int = 12,
        seed: int = 1,
        num_areas: int = 1,
        *,
        name: str = "3DBall",
        variant: str | None = None,
    ) -> None:
        self.parameters = Parameters()
        self.world = worlds.make_world_factory(name, agents, variant)(seed, num_areas, self.parameters)
        (self.behavior, spec), *rest = self.world.behavior_specs.items()
        assert not rest
        self.actions = spec.action_spec
        self.count = agents * num_areas
        self.decisions: DecisionSteps
        self.terminals: TerminalSteps
        self.reset()

    @property
    def tick(self) -> int:
        return int(self.world.state()["clock"][0])

    def reset(self) -> None:
        self.take(self.world.reset())

    def begin_anew(self) -> None:
        """All agents at the very start of an episode, without the tick that passes after a reset; no rewards."""
        everyone = np.arange(self.count)
        self.world.begin(everyone)
        state = self.world.state()
        for name in ("rewards", "sent_rewards", "step_counts"):
            state[name][...] = 0
        self.world.observe(everyone, [state["observation_0"]])
        self.take(self.world.load_state(state))

    def step(self, actions: np.ndarray | float = 0.0) -> None:
        """One message; `actions` are only sent when agents wait for them."""
        shape = (self.count, self.actions.continuous_size or self.actions.discrete_size)
        kind = np.float32 if self.actions.continuous_size else np.int32
        values = np.zeros(shape, kind) + np.asarray(actions, kind)
        action = ActionTuple(continuous=values) if self.actions.continuous_size else ActionTuple(discrete=values)
        self.take(self.world.step({self.behavior: action} if len(self.decisions) else {}))

    def take(self, steps: Steps) -> None:
        """Make `steps` the latest message."""
        self.decisions, self.terminals = steps[self.behavior]

    def change(self, **arrays: np.ndarray | float) -> None:
        """Overwrite entries of the world's state, such as agent_ball [agents, 9], agent_platform [agents, 4]."""
        state = self.world.state()
        for name, value in arrays.items():
            state[name][...] = value
        self.take(self.world.load_state(state))

    def balance(self) -> np.ndarray:
        """Actions [agents, 2] of a controller that keeps the ball in the middle."""
        tilt_z, tilt_x, x, _, z, vx, _, vz = self.decisions.obs[0].astype(np.float64).T
        about_z = np.degrees(0.1 * x + 0.12 * vx) - np.degrees(2 * np.arcsin(tilt_z))
        about_x = -np.degrees(0.1 * z + 0.12 * vz) - np.degrees(2 * np.arcsin(tilt_x))
        return np.clip(np.stack([about_z, about_x], axis=1) / 10, -1, 1)


@pytest.fixture
def new_game() -> type[Game]:
    """Call it for a game: new_game(agents=12, seed=1, num_areas=1, name="3DBall", variant=None)."""
    return Game


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict]:
    """golden("units"): the recordings of that name."""
    folder = Path(__file__).parent / "golden"
    return lambda name: json.loads((folder / f"ball3d_{name}.json").read_text())
