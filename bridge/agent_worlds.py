"""Several `AgentWorld`s in one player: an environment with more than one behavior."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mlagents_envs.base_env import ActionTuple, BehaviorSpec
from numpy.typing import NDArray

from bridge.agent_world import AgentWorld
from bridge.codec import Steps

_TOLD = "told"  # what a state holds beside the worlds' own, which are called "INDEX NAME"


class AgentWorlds:
    """A `World` of several AgentWorlds, each with a behavior of its own, on one clock.

    Worlds run ahead to what they have to report next, and it is reported in the order of their ticks, so periods of
    decision may differ. Worlds that act on one another do so in lockstep only if all decide in every tick. Ids of
    agents and groups differ over all worlds, as in Unity.

    Attributes:
        behavior_specs: those of the behaviors that have appeared.
    """

    def __init__(self, worlds: Sequence[AgentWorld], begin_at: Sequence[int] | None = None) -> None:
        """`begin_at`: ticks after a reset until the agents of each world appear; None: all at once.

        Raises ValueError when two worlds have the same behavior, or when no world is there from the start.
        """
        names = [world.behavior for world in worlds]
        if len(set(names)) < len(names):
            raise ValueError(f"each world needs a behavior of its own, got {', '.join(names)}; name a team of each")
        begins = [0] * len(names) if begin_at is None else [int(tick) for tick in begin_at]
        if len(begins) != len(names) or min(begins, default=-1) != 0:
            raise ValueError(
                f"begin_at needs a tick for each of {len(names)} worlds, the least of them 0, got {begins}"
            )
        self._worlds, self._begins = list(worlds), begins
        self._first_agents: list[int] = np.cumsum([0, *(len(world.agents) for world in worlds)]).tolist()
        self._pending: list[Steps] = []  # what each world reports next, or reported last
        self._told: list[int] = []  # indices of the worlds whose steps are out
        self.behavior_specs: dict[str, BehaviorSpec] = {}
        for world, begin in zip(worlds, begins, strict=True):
            if begin == 0:
                self.behavior_specs |= world.behavior_specs

    def reset(self) -> Steps:
        """Begin all episodes anew; worlds that come later wait for their time."""
        self._pending = [world.reset() for world in self._worlds]
        return self._report_next()

    def step(self, actions: Mapping[str, ActionTuple]) -> Steps:
        """Apply the actions and run to the next message. Raises RuntimeError before the first reset."""
        if not self._pending:
            raise RuntimeError("call reset() first")
        for index in self._told:
            self._pending[index] = self._worlds[index].step(actions)
        return self._report_next()

    def state(self) -> dict[str, NDArray[Any]]:
        """Copies of all that is needed to go on bit for bit."""
        state = {f"{i} {key}": array for i, world in enumerate(self._worlds) for key, array in world.state().items()}
        return state | {_TOLD: np.isin(np.arange(len(self._worlds)), self._told)}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> Steps:
        """Continue from the `state()` of the same worlds; returns the message that was outstanding then."""
        if len(state[_TOLD]) != len(self._worlds):
            raise ValueError(f"the saved state is of {len(state[_TOLD])} worlds, here are {len(self._worlds)}")
        self._pending = []
        for index, world in enumerate(self._worlds):
            prefix = f"{index} "
            own = {key.removeprefix(prefix): array for key, array in state.items() if key.startswith(prefix)}
            self._pending.append(world.load_state(own))
            if world.clock > 0:
                self.behavior_specs |= world.behavior_specs
        self._told = np.flatnonzero(state[_TOLD]).tolist()
        return self._report()

    def _report_next(self) -> Steps:
        times = [begin + world.clock for begin, world in zip(self._begins, self._worlds, strict=True)]
        self._told = [index for index, time in enumerate(times) if time == min(times)]
        return self._report()

    def _report(self) -> Steps:
        steps: Steps = {}
        for index in self._told:
            self.behavior_specs |= self._worlds[index].behavior_specs
            for name, (decisions, terminals) in self._pending[index].items():
                first = self._first_agents[index]
                steps[name] = _renumbered(decisions, first), _renumbered(terminals, first)
        return steps


def _renumbered(steps: Any, first: int) -> Any:
    """DecisionSteps or TerminalSteps whose ids go on from `first`; there are no more groups than agents."""
    if first == 0 or len(steps) == 0:
        return steps
    steps = copy.copy(steps)  # the world uses its own again
    steps.agent_id = steps.agent_id + np.int32(first)
    steps.group_id = np.where(steps.group_id > 0, steps.group_id + np.int32(first), np.int32(0))
    return steps
