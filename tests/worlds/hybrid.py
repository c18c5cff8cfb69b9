"""Hybrid: repeat a number with a continuous action and name one of three kinds with a discrete one.

Half a point for the kind, half a point less half the distance for the number; five questions an episode.
"""

import sys

import numpy as np

from bridge.player import TERMINATED, ActionSpec, AgentWorld, run_program, vector_observation

STEPS = 5
RANDOM, OPTIMAL = STEPS * (0.5 / 3 + 0.5 / 3), 5.0  # means of an episode's reward; continuous actions of U(-1, 1)
AGENT = np.dtype([("number", np.float64), ("kind", np.int64)])


class Hybrid(AgentWorld):
    def __init__(self, seed, num_areas, parameters, agents=32):
        super().__init__(
            *("Hybrid", seed, num_areas, parameters),
            agents=agents,
            observation_specs=[vector_observation(4)],
            action_spec=ActionSpec(1, (3,)),
            agent_type=AGENT,
        )

    def begin(self, agents):
        self.agents["number"][agents] = self.uniform(-1, 1, len(agents))
        self.agents["kind"][agents] = self.uniform(0, 3, len(agents))

    def tick(self):
        distance = np.abs(np.clip(self.continuous[:, 0], -1, 1) - self.agents["number"])
        self.rewards[:] = 0.5 * (1 - distance) + 0.5 * (self.discrete[:, 0] == self.agents["kind"])
        over = self.step_counts >= STEPS
        self.ended[over] = TERMINATED
        self.begin(np.flatnonzero(~over))

    def observe(self, agents, observations):
        observations[0][:, 0] = self.agents["number"][agents]
        observations[0][:, 1:] = self.agents["kind"][agents][:, None] == np.arange(3)


if __name__ == "__main__":
    sys.exit(run_program(Hybrid))
