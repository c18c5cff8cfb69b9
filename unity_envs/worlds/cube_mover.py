"""CubeMover: a blue cube on a row of cells learns to move to the larger of two goals. This text is the specification.

The task of the 2018 demonstration by OpenMined in Unity's "Basic" scene, to the number; variant `basic` is the scene as
ML-Agents has it today.

Observation: one vector, float32, not normalised

| variant | size | name                  | meaning                                                       |
|---------|------|-----------------------|---------------------------------------------------------------|
| (none)  | 1    | `VectorSensor_size1`  | the cell of the cube, -10 to 10                               |
| `basic` | 20   | `VectorSensor_size20` | 1 at the index of the cell, 0 to 19, else 0; all 0 at cell 20 |

Action: one discrete branch. Any number outside of it moves nothing

| variant | 0       | 1       | 2      |
|---------|---------|---------|--------|
| (none)  | -1 cell | +1 cell |        |
| `basic` | stay    | -1 cell | +1 cell |

| part       | rule                                                                                                    |
|------------|---------------------------------------------------------------------------------------------------------|
| agents     | 1 in an area, ids 0, 1, 2, ...; behavior `CubeMover`, with `basic` `Basic`                              |
| cells      | -10 to 10, start 0, goals -3 (small) and 7 (large); `basic`: 0 to 20, start 10, goals 7 and 17          |
| movement   | one cell a step, not past the last cells                                                                |
| reward     | -0.01 a step; at a goal 0.1 (small) or 1 (large) *instead*; `basic`: 0.1 or 1 *added* to the -0.01      |
| end        | at either goal: terminal, not interrupted. No time limit                                                |
| reset      | the cube at the start                                                                                   |
| parameters | none                                                                                                    |

Returns: always right 6 * -0.01 + 1 = 0.94 in 7 steps, the best; always left 2 * -0.01 + 0.1 = 0.08 in 3 steps; random
0.17 (the large goal with probability 3/10, 21 steps on average). `basic`: always right 0.93.

Timing: a decision in each tick of 0.02 s. The terminal of one step goes out together with the next decisions. After
reset(), as in Unity, one tick of zero actions passes before the first decision: that episode is decided from cell -1 on
(`basic`: from the start, since 0 stays), and its first decision reports -0.01.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from mlagents_envs.base_env import ActionSpec
from numba import njit
from numpy.typing import NDArray

from bridge.agent_world import AgentWorld, vector_observation

if TYPE_CHECKING:
    from bridge.player import EnvironmentParameters

STEP_REWARD, SMALL_REWARD, LARGE_REWARD = -0.01, 0.1, 1.0
AGENT = np.dtype([("position", np.int64)])

_compiled = njit(cache=True, nogil=True)


class CubeMover(AgentWorld):
    """The world that the text above specifies, with `agents` times `num_areas` agents."""

    def __init__(
        self,
        seed: int,
        num_areas: int,
        parameters: EnvironmentParameters,
        agents: int = 1,
        variant: str | None = None,
    ) -> None:
        basic = variant == "basic"
        super().__init__(
            "Basic" if basic else "CubeMover",
            seed,
            num_areas,
            parameters,
            agents=agents,
            observation_specs=[vector_observation(20 if basic else 1)],
            action_spec=ActionSpec.create_discrete((3 if basic else 2,)),
            agent_type=AGENT,
        )
        self.basic = basic
        self.cells = (0, 20) if basic else (-10, 10)
        self.start = 10 if basic else 0
        self.goals = (7, 17) if basic else (-3, 7)  # small, large
        self._moves = np.array([0, -1, 1] if basic else [-1, 1])

    def begin(self, agents: np.ndarray) -> None:
        self.agents["position"][agents] = self.start

    def tick(self) -> None:
        _move(
            self.agents["position"],
            self.discrete,
            self._moves,
            self.cells,
            self.goals,
            self.basic,
            self.rewards,
            self.ended,
        )

    def observe(self, agents: np.ndarray, observations: list[np.ndarray]) -> None:
        _observe(self.agents["position"], agents, self.basic, observations[0])


@_compiled
def _move(
    positions: NDArray[np.int64],
    actions: NDArray[np.int32],
    moves: NDArray[np.int64],
    cells: tuple[int, int],
    goals: tuple[int, int],
    added: bool,
    rewards: NDArray[np.float64],
    ended: NDArray[np.int8],
) -> None:
    """One step of all agents. `actions` [agents, 1] are indices of `moves`; the rest is as in AgentWorld."""
    for i in range(len(positions)):
        action = actions[i, 0]
        move = moves[action] if 0 <= action < len(moves) else 0
        positions[i] = min(max(positions[i] + move, cells[0]), cells[1])
        reward = STEP_REWARD
        for goal, goal_reward in ((goals[0], SMALL_REWARD), (goals[1], LARGE_REWARD)):
            if positions[i] == goal:
                reward = reward + goal_reward if added else goal_reward
                ended[i] = 1
        rewards[i] = reward


@_compiled
def _observe(positions: NDArray[np.int64], chosen: NDArray[np.int64], one_hot: bool, observations: Any) -> None:
    """Write the observations of the agents numbered in `chosen` to `observations` [chosen, 1 or 20]."""
    for row in range(len(chosen)):
        position = positions[chosen[row]]
        if not one_hot:
            observations[row, 0] = position
            continue
        observations[row] = 0.0
        if position < observations.shape[1]:
            observations[row, position] = 1.0
