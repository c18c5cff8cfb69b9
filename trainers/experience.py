"""What an update learns from: trajectories that were cut, gathered until there are enough of them."""

from typing import Any

import numpy as np
from mlagents_envs.base_env import BehaviorSpec
from numpy.typing import NDArray

from trainers.rollout import CutTrajectories, Floats, Integers, more_rows


class ExperienceBuffer:
    """Cut trajectories in flat arrays that are reused from update to update."""

    def __init__(
        self,
        spec: BehaviorSpec,
        capacity: int,
        signals: int,
        columns: dict[str, tuple[int, Any]],
        *,
        keeps_next: bool = False,
    ) -> None:
        """`capacity`: steps to make room for at first; `signals`: number of reward signals; `keeps_next`: whether what
        came after each trajectory is kept."""
        self.size = 0
        self._observations = [np.zeros((capacity, *o.shape), np.float32) for o in spec.observation_specs]
        self._columns = {name: np.zeros((capacity, size), kind) for name, (size, kind) in columns.items()}
        self._rewards = np.zeros((capacity, signals), np.float32)
        self._values = np.zeros((capacity, signals), np.float32)
        self._lengths: list[Integers] = []
        self._next_values: list[Floats] = []  # [trajectories, signals] each
        self._keeps_next = keeps_next
        self._next_observations: list[list[Floats]] = []  # [trajectories, *shape] of each observation

    def append(self, cut: CutTrajectories, rewards: Floats, values: Floats, next_values: Floats) -> None:
        """`rewards`, `values` [steps, signals]; `next_values` [trajectories, signals], 0 where nothing comes after."""
        end = self.size + cut.steps
        if end > len(self._rewards):
            self._grow(max(end, 2 * len(self._rewards)))
        rows = slice(self.size, end)
        for stored, observation in zip(self._observations, cut.observations, strict=True):
            stored[rows] = observation
        for name, stored in self._columns.items():
            stored[rows] = cut.columns[name]
        self._rewards[rows] = rewards
        self._values[rows] = values
        self._lengths.append(cut.lengths)
        self._next_values.append(next_values)
        if self._keeps_next:
            self._next_observations.append(cut.next_observations)
        self.size = end

    def clear(self) -> None:
        self.size = 0
        self._lengths.clear()
        self._next_values.clear()
        self._next_observations.clear()

    @property
    def observations(self) -> list[Floats]:
        """[steps, *shape] each."""
        return [stored[: self.size] for stored in self._observations]

    @property
    def next_observations(self) -> list[Floats]:
        """[trajectories, *shape] each: what came after their last steps."""
        return [np.concatenate(each) for each in zip(*self._next_observations, strict=True)]

    @property
    def columns(self) -> dict[str, NDArray[Any]]:
        """[steps, size] each."""
        return {name: stored[: self.size] for name, stored in self._columns.items()}

    @property
    def rewards(self) -> Floats:
        """[steps, signals]"""
        return self._rewards[: self.size]

    @property
    def values(self) -> Floats:
        """[steps, signals]"""
        return self._values[: self.size]

    @property
    def lengths(self) -> Integers:
        """[trajectories]"""
        return np.concatenate([np.zeros(0, np.int64), *self._lengths])

    @property
    def next_values(self) -> Floats:
        """[trajectories, signals]"""
        return np.concatenate([np.zeros((0, self._rewards.shape[1]), np.float32), *self._next_values])

    def state(self) -> dict[str, Any]:
        return {
            "observations": self.observations,
            "next_observations": self.next_observations,
            "columns": self.columns,
            "rewards": self.rewards,
            "values": self.values,
            "lengths": self.lengths,
            "next_values": self.next_values,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.clear()
        nothing = np.zeros((len(state["lengths"]), 0), np.float32)
        goes_on = np.zeros(len(nothing), np.bool_)
        cut = CutTrajectories(
            observations=state["observations"],
            columns=state["columns"],
            rewards=state["rewards"][:, 0],
            lengths=state["lengths"],
            next_observations=state["next_observations"],
            next_memories=nothing,
            terminated=goes_on,
            ended=goes_on,
            slots=np.arange(len(nothing)),
        )
        self.append(cut, state["rewards"], state["values"], state["next_values"])

    def _grow(self, capacity: int) -> None:
        more = capacity - len(self._rewards)
        self._observations = [more_rows(stored, more) for stored in self._observations]
        self._columns = {name: more_rows(stored, more) for name, stored in self._columns.items()}
        self._rewards = more_rows(self._rewards, more)
        self._values = more_rows(self._values, more)


def sequence_lengths(lengths: Integers, longest: int) -> Integers:
    """Trajectories of `lengths` cut into sequences of `longest` steps, the last one of each shorter: their lengths.

    Example: trajectories of 5 and 2 steps make sequences of 2, 2, 1 and 2 with `longest` 2.
    """
    pieces = -(-lengths // longest)
    sequences = np.full(pieces.sum(), longest)
    sequences[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * longest
    return sequences


def advantages_and_returns(
    rewards: Floats, values: Floats, lengths: Integers, next_values: Floats, gamma: float, lambd: float
) -> tuple[Floats, Floats]:
    """Generalised advantage estimation (Schulman et al. 2016, equation 16) over ragged trajectories that lie one
    after the other.

    rewards, values [steps]; lengths, next_values [trajectories]. Returns advantages and returns (advantage + value),
    [steps] each.
    """
    trajectories, longest = len(lengths), int(lengths.max(initial=0))
    row = np.repeat(np.arange(trajectories), lengths)
    time = np.arange(len(rewards)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    following = np.append(values[1:], np.float32(0.0))
    following[np.cumsum(lengths) - 1] = next_values
    delta = np.zeros((longest, trajectories), np.float32)
    # Aligned at the end of each trajectory, so that all of them start the backward sweep together.
    from_end = np.repeat(lengths, lengths) - 1 - time
    delta[from_end, row] = rewards + np.float32(gamma) * following - values
    decay = np.float32(gamma * lambd)
    for step in range(1, longest):
        delta[step] += decay * delta[step - 1]
    advantages = delta[from_end, row]
    return advantages, advantages + values
