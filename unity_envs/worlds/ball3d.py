"""3DBall: a platform that tilts about two axes keeps a ball from rolling off. This text is the specification.

Observation: one vector of 8 numbers, `VectorSensor_size8`, float32, not normalised

| index | meaning                                        | unit                   | range                     |
|-------|------------------------------------------------|------------------------|---------------------------|
| 0     | rotation of the platform: z of its quaternion  | sine of half the angle | about +-0.27 (tilt guard) |
| 1     | the same: x of its quaternion                  | sine of half the angle | about +-0.27              |
| 2-4   | centre of the ball less centre of the platform | m (x, y up, z)         | x, z: -3 to 3; y: from -2 |
| 5-7   | velocity of the ball                           | m/s (x, y, z)          | unbounded                 |

The observation of an episode that ended by failure lies just outside of those ranges.

Action: 2 continuous numbers, cut to -1..1 here. Not-a-number counts as 0, as in Unity

| index | meaning, in each tick                                                                                    |
|-------|----------------------------------------------------------------------------------------------------------|
| 0     | turn the platform by 2 degrees times the action about its own z, and then                                |
| 1     | about its own x. Tilt guard: no turn further out once that quaternion component has passed 0.25 (29 deg) |

| part       | rule                                                                                               |
|------------|----------------------------------------------------------------------------------------------------|
| agents     | 12 in an area, ids 0, 1, 2, ...; behavior `3DBall`                                                 |
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

| variant    | behavior         | differs in                                                                         |
|------------|------------------|------------------------------------------------------------------------------------|
| (none)     | `3DBall`         |                                                                                    |
| `discrete` | `3DBallDiscrete` | action: 1 of 4 numbers. 0: turn by -2 degrees about z in each tick, 1: by 2; 2: by |
|            |                  | -2 about x, 3: by 2; any other: no turn. A new episode's zero action is number 0   |
| `hard`     | `3DBallHard`     | observation: 5 numbers, `VectorSensor_size5`; without the velocity of the ball     |
| `visual`   | `Visual3DBall`   | observation: a picture of 3 x 84 x 84, red, green, blue in 0..1, `CameraSensor`    |

Timing: a tick is 0.02 s; ticks are counted for all agents together (in Unity by the Academy). Tick t, in this order:

1. If t is 0, 5, 10, ... every agent sends a decision. Its reward is what was assigned last since it last sent, else 0.
2. Terminals of tick t - 1 go out: together with those decisions, or else in a message of their own without decisions.
3. Each agent turns its platform, tests the ball as the physics of tick t - 1 left it and is assigned its reward. If it
   failed, or this was its 5000th tick, its terminal is noted (the observation of this moment) and it begins anew.
4. Physics for all. A new episode executes zero actions up to its first decision, whose reward is therefore 0.1, or 0
   if the episode began in the tick just before (Unity clears the reward as an episode ends).

reset() begins all episodes anew; then, as in Unity, one tick of zero actions passes (steps 3 and 4, not counted for the
time limit) before t = 0. The first decisions therefore report 0.1, which belongs to no action.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from mlagents_envs.base_env import ActionSpec, DimensionProperty, ObservationSpec, ObservationType

from bridge.agent_world import AgentWorld, vector_observation
from bridge.exceptions import UnityEnvironmentException
from unity_envs.worlds import ball3d_physics as physics

if TYPE_CHECKING:
    from bridge.player import EnvironmentParameters

VARIANTS = {None: "3DBall", "discrete": "3DBallDiscrete", "hard": "3DBallHard", "visual": "Visual3DBall"}
PICTURE_SIZE = 84  # pixels, height and width
# Row: number of a discrete action; columns as in the continuous actions. The last row stands for any other number.
_TURNS = np.array([[-1, 0], [1, 0], [0, -1], [0, 1], [0, 0]], np.float32)


class Ball3D(AgentWorld):
    """The world that the text above specifies, with `agents` times `num_areas` agents and one stream of random numbers.

    `parameters` offers `get_with_default(key, default)`. Raises UnityEnvironmentException for a scale that is not above
    0 and for a parameter that is not finite, as it is read.
    """

    def __init__(
        self,
        seed: int,
        num_areas: int,
        parameters: EnvironmentParameters,
        agents: int = 12,
        variant: str | None = None,
    ) -> None:
        super().__init__(
            VARIANTS[variant],
            seed,
            num_areas,
            parameters,
            agents=agents,
            observation_specs=[
                _picture() if variant == "visual" else vector_observation(5 if variant == "hard" else 8)
            ],
            action_spec=ActionSpec.create_discrete((4,)) if variant == "discrete" else ActionSpec.create_continuous(2),
            agent_type=physics.AGENT,
            decision_period=physics.DECISION_PERIOD,
        )
        self._turns = np.zeros((len(self.agents), 4))
        self._radius = self.agents["radius"]
        self._turns_by_number = variant == "discrete"
        self.gravity = 9.81
        self._camera = None
        if variant == "visual":
            from unity_envs.viewer import Camera  # pictures cost an import that the other variants do without

            self._camera = Camera(PICTURE_SIZE)

    def begin(self, agents: np.ndarray) -> None:
        physics.begin(self.agents, agents, self.random_state)
        for agent in agents:
            self.parameter("mass", 1.0)  # read although unused: a sampler draws at each read, as in Unity
            scale = self.parameter("scale", 1.0)
            if scale <= 0.0:
                raise UnityEnvironmentException(
                    f"{self.name}: environment parameter scale must be above 0, got {scale}"
                )
            self._radius[agent] = 0.5 * scale

    def actions_changed(self, agents: np.ndarray) -> None:
        actions = self.continuous
        if self._turns_by_number:
            number = self.discrete[:, 0]
            actions = _TURNS[np.where((number >= 0) & (number < 4), number, 4)]
        physics.set_turns(self._turns, agents, actions)

    def advance(self, ticks: int) -> int:
        self.gravity = self.parameter("gravity", 9.81)
        return physics.advance(
            self.agents, ticks, self._turns, self.gravity, self.rewards, self.ended, self.step_counts
        )

    def simulate(self, agents: np.ndarray) -> None:
        physics.simulate(self.agents, agents, self.gravity)

    def observe(self, agents: np.ndarray, observations: list[np.ndarray]) -> None:
        if self._camera is None:
            physics.observe(self.agents, agents, observations[0])
        else:
            self._camera.take(self, agents, observations[0])


def _picture() -> ObservationSpec:
    """As Unity's CameraSensor describes it: channels, height, width."""
    properties = (DimensionProperty.NONE, *[DimensionProperty.TRANSLATIONAL_EQUIVARIANCE] * 2)
    return ObservationSpec((3, PICTURE_SIZE, PICTURE_SIZE), properties, ObservationType.DEFAULT, "CameraSensor")
