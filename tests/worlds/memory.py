"""Memory: a cue in the first step, ten steps of nothing, then the question what it was: 1 if right, -1 if wrong."""

import sys

import numpy as np

from bridge.player import TERMINATED, ActionSpec, AgentWorld, run_program, vector_observation

NOTHING = 10  # steps
RANDOM, OPTIMAL = 0.0, 1.0  # means of an episode's reward; RANDOM is also the best without memory
AGENT = np.dtype([("cue", np.int64)])  # 0 or 1


class Memory(AgentWorld):
    def __init__(self, seed, num_areas, parameters, agents=64):
        super().__init__(
            *("Memory", seed, num_areas, parameters),
            agents=agents,
            observation_specs=[vector_observation(3)],
            action_spec=ActionSpec.create_discrete((2,)),
            agent_type=AGENT,
        )

    def begin(self, agents):
        self.agents["cue"][agents] = self.uniform(0, 2, len(agents))

    def tick(self):
        asked = self.step_counts == NOTHING + 2
        self.rewards[:] = asked * np.where(self.discrete[:, 0] == self.agents["cue"], 1.0, -1.0)
        self.ended[asked] = TERMINATED

    def observe(self, agents, observations):
        """Columns: -1 or 1 for the cue, 1 where the cue is shown, 1 where the answer is expected."""
        step = self.step_counts[agents]
        observations[0][:, 0] = (step == 0) * (2 * self.agents["cue"][agents] - 1)
        observations[0][:, 1] = step == 0
        observations[0][:, 2] = step == NOTHING + 1


if __name__ == "__main__":
    sys.exit(run_program(Memory))
