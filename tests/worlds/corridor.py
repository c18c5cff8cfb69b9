"""Corridor: 1 at the end of twelve cells, nothing before; the time is up after 24 steps. A place to be curious in."""

import sys

import numpy as np

from bridge.player import INTERRUPTED, TERMINATED, ActionSpec, AgentWorld, run_program, vector_observation

CELLS, LIMIT = 12, 24
RANDOM, OPTIMAL = 0.024, 1.0  # means of an episode's reward
AGENT = np.dtype([("cell", np.int64)])


class Corridor(AgentWorld):
    def __init__(self, seed, num_areas, parameters, agents=16):
        super().__init__(
            *("Corridor", seed, num_areas, parameters),
            agents=agents,
            observation_specs=[vector_observation(CELLS)],
            action_spec=ActionSpec.create_discrete((2,)),
            agent_type=AGENT,
        )

    def begin(self, agents):
        self.agents["cell"][agents] = 0

    def tick(self):
        cell = self.agents["cell"]
        cell[:] = np.maximum(cell + 2 * self.discrete[:, 0] - 1, 0)
        arrived = cell >= CELLS
        self.rewards[:] = arrived
        self.ended[self.step_counts >= LIMIT] = INTERRUPTED
        self.ended[arrived] = TERMINATED

    def observe(self, agents, observations):
        observations[0][:] = self.agents["cell"][agents][:, None] == np.arange(CELLS)


if __name__ == "__main__":
    sys.exit(run_program(Corridor))
