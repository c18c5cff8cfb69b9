"""Where the library reads and writes while it acts."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Acted(NamedTuple):
    """What `FusedActorCritic.act` gives: arrays that its next call writes over."""

    continuous: Floats  # [agents, continuous], as sampled
    continuous_for_player: Floats  # [agents, continuous], clamp(a, -3, 3) / 3
    discrete: NDArray[np.int64]  # [agents, branches]
    discrete_for_player: NDArray[np.int32]  # [agents, branches]
    log_probs: Floats  # [agents, continuous + branches]
    values: Floats | None  # [agents, signals], if asked for
    entropy: float  # mean over the dimensions plus sum over the branches, mean over the agents


class Room:
    """Arrays that `act` reads and writes, for up to `agents` agents."""

    def __init__(
        self, agents: int, sizes: Sequence[int], dimensions: int, branches: Sequence[int], signals: int
    ) -> None:
        self.agents = agents
        self.observations = [np.zeros((agents, size), np.float32) for size in sizes]
        self.allowed = np.zeros((agents, sum(branches)), np.bool_)
        self.continuous = np.zeros((agents, dimensions), np.float32)
        self.continuous_for_player = np.zeros((agents, dimensions), np.float32)
        self.discrete = np.zeros((agents, len(branches)), np.int64)
        self.discrete_for_player = np.zeros((agents, len(branches)), np.int32)
        self.log_probs = np.zeros((agents, dimensions + len(branches)), np.float32)
        self.values = np.zeros((agents, signals), np.float32)
        self.entropy = np.zeros(1, np.float32)
        self._acted: dict[int, Acted] = {}

    def acted(self, agents: int) -> Acted:
        """The results' first rows; kept, because taking them takes longer than a small network."""
        views = self._acted.get(agents)
        if views is None:
            views = self._acted[agents] = Acted(
                self.continuous[:agents],
                self.continuous_for_player[:agents],
                self.discrete[:agents],
                self.discrete_for_player[:agents],
                self.log_probs[:agents],
                self.values[:agents],
                0.0,
            )
        return views
