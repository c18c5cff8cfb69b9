"""3DBall: a platform that tilts about two axes keeps a ball from rolling off. This text is the specification.

Observation: one vector of 8 numbers, `VectorSensor_size8`, float32, not normalised

| index | meaning                                        | unit                   | range                     |
|-------|------------------------------------------------|------------------------|---------------------------|
| 0     | rotation of the platform: z of its quaternion  | sine of half the angle | about +-0.27 (tilt guard) |
| 1     | the same: x of its quaternion                  | sine of half the angle | about +-0.27              |
| 2-4   | centre of the ball less centre of the platform | m (x, y up, z)         | x, z: -3 to 3; y: from -2 |
| 5-7   | velocity of the ball                           | m/s (x, y, z)          | unbounded                 |

The observation of an episode that ended by failure lies just outside of those ranges.

Action: 2 continuous numbers, cut to -1..1 here. Not-a-number counts as 0 (Unity would pass it on to the platform)

| index | meaning, in each tick                                                                                    |
|-------|----------------------------------------------------------------------------------------------------------|
| 0     | turn the platform by 2 degrees times the action about its own z, and then                                |
| 1     | about its own x. Tilt guard: no turn further out once that quaternion component has passed 0.25 (29 deg) |

| part       | rule                                                                                               |
|------------|----------------------------------------------------------------------------------------------------|
| agents     | 12 in an area, ids 0, 1, 2, ...; behavior `3DBall?team=0`                                          |
| reward     | each tick *assigns* 0.1, failure -1; nothing adds up: 0.1 for a whole decision, -1 for a failed one |
| failure    | y < -2 m, abs(x) > 3 m or abs(z) > 3 m: terminal, not interrupted                                  |
| time limit | 5000 ticks (100 s): terminal, interrupted. 1000 decisions of 0.1 make 100, the highest return      |
| reset      | platform tilted by U(-10, 10) degrees about x, then about z; ball at rest at (U(-1.5, 1.5), 4,     |
|            | U(-1.5, 1.5)) m from the centre of the platform; its spin is kept, as in Unity                     |
| platform   | cube of 5 m, turned in jumps: a contact carries no velocity of its surface                         |
| ball       | radius 0.5 m * scale, angular damping 0.01, spin up to 7 rad/s; friction 0.6 and bounciness 0.05   |
|            | between the two                                                                                    |

| parameter | default    | read                                                                                |
|-----------|------------|-------------------------------------------------------------------------------------|
| mass      | 1 kg       | as an episode begins, for its agent. Without effect: the mass cancels out           |
| scale     | 1          | as an episode begins, for its agent. Above 0; the height of the reset stays         |
| gravity   | 9.81 m/s^2 | at every step, for all agents at once (a sampler draws for each)                    |

Timing: a tick is 0.02 s; ticks are counted for all agents together (in Unity by the Academy). Tick t, in this order:

1. If t is 0, 5, 10, ... every agent sends a decision. Its reward is what was assigned last since it last sent, else 0.
2. Terminals of tick t - 1 go out: together with those decisions, or else in a message of their own without decisions.
3. Each agent turns its platform, tests the ball as the physics of tick t - 1 left it and is assigned its reward. If it
   failed, or this was its 5000th tick, its terminal is noted (the observation of this moment) and it begins anew.
4. Physics for all. A new episode executes zero actions up to its first decision, whose reward is therefore 0.1, or 0
   if the episode began in the tick just before (Unity clears the reward as an episode ends).

reset() begins again at t = 0 with new episodes and rewards of 0. Unity, when reset in the middle of a run, lets one
tick of zero actions pass before t = 0: its first decisions report 0.1, which belongs to no action and is left out here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from mlagents_envs.base_env import (
    ActionSpec,
    ActionTuple,
    BehaviorSpec,
    DecisionSteps,
    DimensionProperty,
    ObservationSpec,
    ObservationType,
    TerminalSteps,
)

from bridge.exceptions import UnityEnvironmentException
from unity_envs.worlds import ball3d_physics as physics

if TYPE_CHECKING:
    from bridge.codec import Steps
    from bridge.player import EnvironmentParameters

BEHAVIOR = "3DBall?team=0"


class Ball3D:
    """The world that the text above specifies, with `agents` times `num_areas` agents and one stream of random numbers.

    `parameters` offers `get_with_default(key, default)`. Arrays in returned steps are reused: they hold until the next
    call. Raises UnityEnvironmentException for a scale that is not above 0 and for a parameter that is not finite, as it
    is read.
    """

    def __init__(self, seed: int, num_areas: int, parameters: EnvironmentParameters, agents: int = 12) -> None:
        if agents < 1 or num_areas < 1:
            raise ValueError(f"3DBall needs 1 agent and 1 area or more, got {agents} agents and {num_areas} areas")
        observation = ObservationSpec((8,), (DimensionProperty.NONE,), ObservationType.DEFAULT, "VectorSensor_size8")
        self.behavior_specs = {BEHAVIOR: BehaviorSpec([observation], ActionSpec.create_continuous(2))}
        count = agents * num_areas
        self._parameters = parameters
        self._agents = np.zeros(count, physics.AGENT)
        self._generator = np.array([int(seed) & 0xFFFFFFFFFFFFFFFF], np.uint64)
        self._tick = -1  # before the first reset
        self._actions = np.zeros((count, 2), np.float32)
        self._begun = np.zeros(count, np.int64)
        # The outstanding message. Terminals fill the first rows of theirs; the parts that never change come last.
        self._observations = np.zeros((count, 8), np.float32)
        self._rewards = np.zeros(count, np.float32)
        self._terminals = 0
        self._terminal_observations = np.zeros((count, 8), np.float32)
        self._terminal_rewards = np.zeros(count, np.float32)
        self._terminal_interrupted = np.zeros(count, np.bool_)
        self._terminal_ids = np.zeros(count, np.int32)
        self._ids = np.arange(count, dtype=np.int32)
        self._group_ids = np.zeros(count, np.int32)
        self._group_rewards = np.zeros(count, np.float32)
        self._no_decisions, self._all_decisions = self._decision_steps(0), self._decision_steps(count)
        self._no_terminals = self._terminal_steps(0)

    def reset(self) -> Steps:
        """Begin an episode for every agent at tick 0, without terminals; returns the first decisions of all agents."""
        self._tick = self._terminals = 0
        physics.begin_all(self._agents, self._generator)
        self._read_episode_parameters(self._ids)
        return self._collect()

    def step(self, actions: Mapping[str, ActionTuple]) -> Steps:
        """Apply `actions` and run to the next message.

        `actions[BEHAVIOR].continuous` is [agents, 2] after a message with decisions, and not looked at after another.
        """
        self._require_reset()
        if self._decides():
            self._take_actions(actions)
        gravity = self._read("gravity", 9.81)
        while True:
            self._tick, self._terminals, begins = physics.run_ticks(
                self._agents,
                self._tick,
                self._generator,
                gravity,
                self._begun,
                self._terminal_observations,
                self._terminal_rewards,
                self._terminal_interrupted,
                self._terminal_ids,
            )
            if begins:
                begun = self._begun[:begins]
                self._read_episode_parameters(begun)
                physics.simulate(self._agents, begun, gravity)
            if self._terminals or self._decides():
                return self._collect()

    def state(self) -> dict[str, np.ndarray]:
        """Copies of all that is needed to go on bit for bit, in dtypes that torch holds too; without the parameters."""
        self._require_reset()
        state = {name: array.copy() for name, array in self._arrays().items()}
        state["clock"] = np.array([self._tick, self._terminals], np.int64)
        return state

    def load_state(self, state: Mapping[str, np.ndarray]) -> Steps:
        """Continue from the `state()` of a world with as many agents; returns the message that was outstanding then."""
        saved = len(state["agent_radius"])
        if saved != len(self._agents):
            raise ValueError(f"the saved 3DBall world has {saved} agents, this one has {len(self._agents)}")
        for name, array in self._arrays().items():
            array[...] = state[name]
        self._tick, self._terminals = (int(value) for value in state["clock"])
        return self._steps()

    def _arrays(self) -> dict[str, np.ndarray]:
        """Views of all that changes, except for the clock."""
        arrays = {f"agent_{name}": self._agents[name] for name in physics.AGENT.names or ()}
        return arrays | {
            "random": self._generator.view(np.int64),
            "observations": self._observations,
            "rewards": self._rewards,
            "terminal_observations": self._terminal_observations,
            "terminal_rewards": self._terminal_rewards,
            "terminal_interrupted": self._terminal_interrupted,
            "terminal_ids": self._terminal_ids,
        }

    def _decides(self) -> bool:
        return self._tick % physics.DECISION_PERIOD == 0

    def _require_reset(self) -> None:
        if self._tick < 0:
            raise RuntimeError("3DBall: call reset() first")

    def _take_actions(self, actions: Mapping[str, ActionTuple]) -> None:
        if BEHAVIOR not in actions:
            raise ValueError(f"no actions for behavior {BEHAVIOR}, whose agents wait for them")
        continuous = actions[BEHAVIOR].continuous
        if continuous.shape != self._actions.shape:
            raise ValueError(f"{BEHAVIOR}: continuous actions must be {self._actions.shape}, got {continuous.shape}")
        self._actions[...] = continuous  # always the same dtype and layout, so that numba compiles once
        physics.set_actions(self._agents, self._actions)

    def _read(self, key: str, default: float) -> float:
        value = float(self._parameters.get_with_default(key, default))
        if not math.isfinite(value):
            raise UnityEnvironmentException(f"3DBall: environment parameter {key} must be finite, got {value}")
        return value

    def _read_episode_parameters(self, agents: np.ndarray) -> None:
        for agent in agents:
            self._read("mass", 1.0)  # read although unused: a sampler draws at each read, as in Unity
            scale = self._read("scale", 1.0)
            if scale <= 0.0:
                raise UnityEnvironmentException(f"3DBall: environment parameter scale must be above 0, got {scale}")
            self._agents["radius"][agent] = 0.5 * scale

    def _collect(self) -> Steps:
        if self._decides():
            physics.collect_decisions(self._agents, self._observations, self._rewards)
        return self._steps()

    def _steps(self) -> Steps:
        decisions = self._all_decisions if self._decides() else self._no_decisions
        terminals = self._terminal_steps(self._terminals) if self._terminals else self._no_terminals
        return {BEHAVIOR: (decisions, terminals)}

    def _decision_steps(self, count: int) -> DecisionSteps:
        """Views of the first rows of the message's arrays."""
        return DecisionSteps(
            [self._observations[:count]],
            self._rewards[:count],
            self._ids[:count],
            None,
            self._group_ids[:count],
            self._group_rewards[:count],
        )

    def _terminal_steps(self, count: int) -> TerminalSteps:
        return TerminalSteps(
            [self._terminal_observations[:count]],
            self._terminal_rewards[:count],
            self._terminal_interrupted[:count],
            self._terminal_ids[:count],
            self._group_ids[:count],
            self._group_rewards[:count],
        )
