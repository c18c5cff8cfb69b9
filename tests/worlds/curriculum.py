"""Curriculum: walk to a goal, left or right, that is so many cells away as the environment parameter `difficulty` says.

1 for arriving; the time is up, without a reward, after 10 steps.
"""

import sys

import numpy as np

from bridge.player import INTERRUPTED, TERMINATED, ActionSpec, AgentWorld, run_program, vector_observation

LIMIT = 10  # steps
RANDOM = {1: 0.754, 3: 0.344, 6: 0.065}  # by difficulty: how often a random walk arrives within the limit
OPTIMAL = 1.0
AGENT = np.dtype([("way", np.int64)])  # cells to the goal, positive to the right


class Curriculum(AgentWorld):
    def __init__(self, seed, num_areas, parameters, agents=32):
        super().__init__(
            *("Curriculum", seed, num_areas, parameters),
            agents=agents,
            observation_specs=[vector_observation(1)],
            action_spec=ActionSpec.create_discrete((2,)),
            agent_type=AGENT,
        )

    def begin(self, agents):
        side = np.where(self.uniform(0, 1, len(agents)) < 0.5, -1, 1)
        self.agents["way"][agents] = side * round(self.parameter("difficulty", 1.0))

    def tick(self):
        self.agents["way"] -= 2 * self.discrete[:, 0] - 1
        arrived = self.agents["way"] == 0
        self.rewards[:] = arrived
        self.ended[self.step_counts >= LIMIT] = INTERRUPTED
        self.ended[arrived] = TERMINATED

    def observe(self, agents, observations):
        observations[0][:, 0] = self.agents["way"][agents] / 4


if __name__ == "__main__":
    sys.exit(run_program(Curriculum))
