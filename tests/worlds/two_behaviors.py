"""Two behaviors in one player: Pusher (team 0) repeats a number, Chooser (team 1), which appears late, says its sign.

Five questions an episode. Pusher gets 1 less the distance from the number, Chooser 1 if it is right.
"""

import sys

import numpy as np

from bridge.agent_worlds import AgentWorlds
from bridge.player import TERMINATED, ActionSpec, AgentWorld, run_program, vector_observation

STEPS, LATE = 5, 40  # LATE: ticks
PUSHER, CHOOSER = "Pusher?team=0", "Chooser?team=1"
RANDOM = {PUSHER: STEPS / 3, CHOOSER: STEPS / 2}  # means of an episode's reward; continuous actions of U(-1, 1)
OPTIMAL = {PUSHER: 5.0, CHOOSER: 5.0}
AGENT = np.dtype([("number", np.float64)])


class Question(AgentWorld):
    def __init__(self, name, seed, num_areas, parameters, agents, team, action_spec):
        super().__init__(
            *(name, seed, num_areas, parameters),
            agents=agents,
            team=team,
            observation_specs=[vector_observation(1)],
            action_spec=action_spec,
            agent_type=AGENT,
        )

    def begin(self, agents):
        self.agents["number"][agents] = self.uniform(-1, 1, len(agents))

    def tick(self):
        number = self.agents["number"]
        if self.discrete.shape[1]:
            self.rewards[:] = (self.discrete[:, 0] == 1) == (number > 0)
        else:
            self.rewards[:] = 1 - np.abs(np.clip(self.continuous[:, 0], -1, 1) - number)
        over = self.step_counts >= STEPS
        self.ended[over] = TERMINATED
        self.begin(np.flatnonzero(~over))

    def observe(self, agents, observations):
        observations[0][:, 0] = self.agents["number"][agents]


def make_world(seed, num_areas, parameters, agents=16):
    pusher = Question("Pusher", seed, num_areas, parameters, agents, 0, ActionSpec.create_continuous(1))
    chooser = Question("Chooser", seed + 1, num_areas, parameters, agents, 1, ActionSpec.create_discrete((2,)))
    return AgentWorlds([pusher, chooser], begin_at=[0, LATE])


if __name__ == "__main__":
    sys.exit(run_program(make_world))
