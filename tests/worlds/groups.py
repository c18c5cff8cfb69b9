"""Groups: pairs of agents see a sign each; when both say theirs, each gets a group reward of 1, the only one there is.

Five questions an episode, which both of a pair begin and end together.
"""

import sys

import numpy as np

from bridge.player import TERMINATED, ActionSpec, AgentWorld, run_program, vector_observation

STEPS, SIZE = 5, 2
RANDOM, OPTIMAL = STEPS / 4, 5.0  # means of an episode's group reward; its own reward is always 0
AGENT = np.dtype([("sign", np.int64)])  # 0 or 1


class Groups(AgentWorld):
    def __init__(self, seed, num_areas, parameters, agents=32):
        super().__init__(
            *("Groups", seed, num_areas, parameters),
            agents=agents,
            group_size=SIZE,
            observation_specs=[vector_observation(1)],
            action_spec=ActionSpec.create_discrete((2,)),
            agent_type=AGENT,
        )

    def begin(self, agents):
        self.agents["sign"][agents] = self.uniform(0, 2, len(agents))

    def tick(self):
        right = self.discrete[:, 0] == self.agents["sign"]
        self.group_rewards += right.reshape(-1, SIZE).all(axis=1).repeat(SIZE)
        over = self.step_counts >= STEPS
        self.ended[over] = TERMINATED
        self.begin(np.flatnonzero(~over))

    def observe(self, agents, observations):
        observations[0][:, 0] = 2 * self.agents["sign"][agents] - 1


if __name__ == "__main__":
    sys.exit(run_program(Groups))
