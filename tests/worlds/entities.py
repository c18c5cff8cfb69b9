"""Entities: one to six of them in any order, rows of zeros behind them; say in which quarter the marked one is.

Four questions an episode, 1 for each right answer.
"""

import sys

import numpy as np
from mlagents_envs.base_env import DimensionProperty, ObservationSpec, ObservationType

from bridge.player import TERMINATED, ActionSpec, AgentWorld, run_program, vector_observation

MOST, STEPS = 6, 4
RANDOM, OPTIMAL = 1.0, 4.0  # means of an episode's reward
AGENT = np.dtype([("rows", np.float64, (MOST, 4))])  # x, y, 1 if marked, 1 if not; all 0 behind the last


class Entities(AgentWorld):
    def __init__(self, seed, num_areas, parameters, agents=64):
        axes = (DimensionProperty.VARIABLE_SIZE, DimensionProperty.NONE)
        rows = ObservationSpec((MOST, 4), axes, ObservationType.DEFAULT, "BufferSensor")
        super().__init__(
            *("Entities", seed, num_areas, parameters),
            agents=agents,
            observation_specs=[vector_observation(1), rows],
            action_spec=ActionSpec.create_discrete((4,)),
            agent_type=AGENT,
        )

    def begin(self, agents):
        shape = (len(agents), MOST)
        rows = np.empty((*shape, 4))
        rows[:, :, :2] = self.uniform(-1, 1, 2 * MOST * len(agents)).reshape(*shape, 2)
        count = 1 + self.uniform(0, MOST, len(agents)).astype(int)
        marked = (self.uniform(0, 1, len(agents)) * count).astype(int)
        rows[:, :, 2] = np.arange(MOST) == marked[:, None]
        rows[:, :, 3] = 1 - rows[:, :, 2]
        self.agents["rows"][agents] = rows * (np.arange(MOST) < count[:, None])[:, :, None]

    def tick(self):
        x, y = (np.einsum("ar,ar->a", self.agents["rows"][:, :, axis], self.agents["rows"][:, :, 2]) for axis in (0, 1))
        self.rewards[:] = self.discrete[:, 0] == 2 * (y > 0) + (x > 0)
        over = self.step_counts >= STEPS
        self.ended[over] = TERMINATED
        self.begin(np.flatnonzero(~over))

    def observe(self, agents, observations):
        observations[0][:, 0] = self.step_counts[agents] / STEPS
        observations[1][:] = self.agents["rows"][agents]


if __name__ == "__main__":
    sys.exit(run_program(Entities))
