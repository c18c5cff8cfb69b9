"""What reward signals learn from: single steps, each with what came after it."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trainers.distributions import Actions


@dataclass
class Transitions:
    """Rows are steps."""

    observations: list[Tensor]  # [steps, *shape] each, as the player sent them
    next_observations: list[Tensor]  # the same shapes; at the end of an episode its last observation
    actions: Actions  # as they were sampled

    def rows(self, index: Tensor | slice) -> "Transitions":
        """The steps named by `index`, in its order; a slice gives views."""
        return Transitions(
            [observation[index] for observation in self.observations],
            [observation[index] for observation in self.next_observations],
            Actions(self.actions.continuous[index], self.actions.discrete[index]),
        )


class Trajectories(Protocol):
    """Pieces of experience one after the other, such as CutTrajectories."""

    @property
    def observations(self) -> list[NDArray[np.float32]]: ...  # [steps, *shape] each
    @property
    def next_observations(self) -> list[NDArray[np.float32]]: ...  # [trajectories, *shape]: after their last steps
    @property
    def lengths(self) -> NDArray[np.int64]: ...  # [trajectories]


def next_observations_of(trajectories: Trajectories) -> list[NDArray[Any]]:
    """What came after each step, [steps, *shape] each."""
    last = np.cumsum(trajectories.lengths) - 1
    shifted = []
    for observation, after in zip(trajectories.observations, trajectories.next_observations, strict=True):
        following = np.empty_like(observation)
        following[:-1] = observation[1:]
        following[last] = after
        shifted.append(following)
    return shifted
