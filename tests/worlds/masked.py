"""Masked: name the greatest number that is allowed, in two branches whose masks change with each step.

An observation has the numbers of branch 0; those of branch 1 are 0, 1, 2. Half a point for each right branch, five
steps an episode. The world raises when it is given what it has forbidden.
"""

import sys

import numpy as np

from bridge.player import TERMINATED, ActionSpec, AgentWorld, run_program, vector_observation

BRANCHES, FORBIDDEN, STEPS = (5, 3), (2, 1), 5  # FORBIDDEN: so many of each branch
RANDOM, OPTIMAL = STEPS * (0.5 / 3 + 0.5 / 2), 5.0  # means of an episode's reward; RANDOM: any allowed action
AGENT = np.dtype([("numbers", np.float64, 5), ("forbidden_0", np.bool_, 5), ("forbidden_1", np.bool_, 3)])


class Masked(AgentWorld):
    def __init__(self, seed, num_areas, parameters, agents=32):
        super().__init__(
            *("Masked", seed, num_areas, parameters),
            agents=agents,
            observation_specs=[vector_observation(5)],
            action_spec=ActionSpec.create_discrete(BRANCHES),
            agent_type=AGENT,
        )

    def begin(self, agents):
        self.agents["numbers"][agents] = self.uniform(-1, 1, 5 * len(agents)).reshape(-1, 5)
        for branch, size in enumerate(BRANCHES):
            order = self.uniform(0, 1, size * len(agents)).reshape(-1, size).argsort(axis=1)
            self.agents[f"forbidden_{branch}"][agents] = order < FORBIDDEN[branch]

    def step(self, actions):
        for branch in range(2):
            chosen = actions[self.behavior].discrete[:, branch]
            wrong = self.agents[f"forbidden_{branch}"][np.arange(len(chosen)), chosen]
            if wrong.any():
                raise ValueError(f"agent {wrong.argmax()} was given a forbidden action of branch {branch}")
        return super().step(actions)

    def tick(self):
        numbers = (self.agents["numbers"], np.broadcast_to(np.arange(3.0), (len(self.agents), 3)))
        best = [np.where(self.agents[f"forbidden_{b}"], -np.inf, numbers[b]).argmax(axis=1) for b in range(2)]
        self.rewards[:] = 0.5 * (self.discrete == np.stack(best, axis=1)).sum(axis=1)
        over = self.step_counts >= STEPS
        self.ended[over] = TERMINATED
        self.begin(np.flatnonzero(~over))

    def mask_actions(self, masks):
        for branch, mask in enumerate(masks):
            mask[:] = self.agents[f"forbidden_{branch}"]

    def observe(self, agents, observations):
        observations[0][:] = self.agents["numbers"][agents]


if __name__ == "__main__":
    sys.exit(run_program(Masked))
