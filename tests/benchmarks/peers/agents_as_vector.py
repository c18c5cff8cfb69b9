"""The agents of our 3DBall, stepped in this process, as the usual vector of environments: one row an agent."""

import time

import numpy as np
from mlagents_envs.base_env import ActionTuple

from bridge.player import EnvironmentParameters
from unity_envs.worlds import make_world_factory


class Agents:
    """`step` lets every agent act once; an episode that ended is followed by a new one's first observation.

    Arrays that are returned are the caller's.
    """

    observation_size, action_size = 8, 2

    def __init__(self, agents: int, seed: int) -> None:
        self.count = agents
        self._world = make_world_factory("3DBall", agents)(seed, 1, EnvironmentParameters())
        ((self._behavior, _),) = self._world.behavior_specs.items()
        self._discrete = np.zeros((agents, 0), np.int32)
        self._returns = np.zeros(agents)
        self._finished: list[float] = []  # returns of episodes that are over

    def reset(self) -> np.ndarray:
        """Observations [agents, 8]."""
        decisions, _ = self._world.reset()[self._behavior]
        return decisions.obs[0].copy()

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """`actions` [agents, 2]. Returns observations, rewards, ended, cut by the time limit, last observations.

        The last observations [agents, 8] are those of episodes that ended; other rows are zeros.
        """
        rewards, ended, cut = np.zeros(self.count, np.float32), np.zeros(self.count, bool), np.zeros(self.count, bool)
        last = np.zeros((self.count, self.observation_size), np.float32)
        given = {self._behavior: ActionTuple(np.ascontiguousarray(actions, np.float32), self._discrete)}
        while True:
            decisions, terminals = self._world.step(given)[self._behavior]
            if len(terminals):
                rows = terminals.agent_id
                rewards[rows], ended[rows], cut[rows] = terminals.reward, True, terminals.interrupted
                last[rows] = terminals.obs[0]
            if len(decisions):  # a message may hold terminals only
                break
            given = {}
        going = ~ended[decisions.agent_id]
        rewards[decisions.agent_id[going]] = decisions.reward[going]
        self._returns += rewards
        if ended.any():
            self._finished += self._returns[ended].tolist()
            self._returns[ended] = 0.0
        return decisions.obs[0].copy(), rewards, ended, cut, last

    def take_returns(self) -> list[float]:
        """Those of the episodes that ended since the last call."""
        finished, self._finished = self._finished, []
        return finished


class Summaries:
    """Prints a line for each update, as trainers of ML-Agents do, from which the benchmark reads speed and reward."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def tell(self, step: int, returns: list[float]) -> None:
        seconds = time.monotonic() - self._started
        words = "No episode was completed since last summary. Training."
        if returns:
            words = f"Mean Reward: {np.mean(returns):.3f}. Std of Reward: {np.std(returns):.3f}. Training."
        print(f"[INFO] 3DBall. Step: {step}. Time Elapsed: {seconds:.3f} s. {words}", flush=True)
