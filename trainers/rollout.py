"""Experience on its way from steps to an update.

`OpenTrajectories` holds what agents are living through, one slot an agent; a trajectory that is cut (its episode
ended, or it reached the time horizon) leaves it as part of a `CutTrajectories`, of which `experience.ExperienceBuffer`
gathers enough for an update. All agents at once, no loop over them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from mlagents_envs.base_env import BehaviorSpec, DecisionSteps, TerminalSteps
from numpy.typing import NDArray

from trainers import rollout_loops as loops

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

_FIRST_CAPACITY = 64  # steps a slot has room for at first; doubled as trajectories grow, up to the time horizon
_GREATEST_KEY = np.iinfo(np.int64).max


@dataclass
class CutTrajectories:
    """`count` finished pieces of experience, one after the other in flat arrays of `steps` rows."""

    observations: list[Floats]  # [steps, *shape] each
    columns: dict[str, NDArray[Any]]  # [steps, size]: what the policy stored with `act`
    rewards: Floats  # [steps]
    lengths: Integers  # [count]
    next_observations: list[Floats]  # [count, *shape]: what came after the last step
    next_memories: Floats  # [count, memory_size]: what the agents remembered then
    terminated: NDArray[np.bool_]  # [count]: the episode ended for good, so nothing is worth anything after it
    ended: NDArray[np.bool_]  # [count]: the episode ended, for good or by a limit of time
    slots: Integers  # [count]: where the agents live

    @property
    def steps(self) -> int:
        return len(self.rewards)


@dataclass
class Episodes:
    """Episodes that ended: sum of rewards, sum of group rewards and number of decisions of each."""

    rewards: NDArray[np.float64]
    group_rewards: NDArray[np.float64]
    lengths: Integers


class OpenTrajectories:
    """Trajectories that agents are in the middle of.

    Slots are given out as agents appear; those of agents without an episode are taken back when others need them.
    """

    def __init__(
        self, spec: BehaviorSpec, time_horizon: int, columns: dict[str, tuple[int, Any]], memory_size: int = 0
    ) -> None:
        """`columns`: what the policy stores with each action: name to (size, dtype); `memory_size`: how many numbers it
        remembers of an agent's episode."""
        self._horizon = time_horizon
        # Agent ids may be any number, so agents are found by bisection: sorted keys beside their slots.
        # The last key is greater than every agent's, so that a search always ends inside.
        self._keys = np.array([_GREATEST_KEY])
        self._key_slots = np.array([-1])
        self._free: list[int] = []
        self._capacity = min(time_horizon, _FIRST_CAPACITY)
        self._shapes = [tuple(observation.shape) for observation in spec.observation_specs]
        self._observations = [np.zeros((0, self._capacity, math.prod(s)), np.float32) for s in self._shapes]
        self._columns = {name: np.zeros((0, self._capacity, size), kind) for name, (size, kind) in columns.items()}
        self._rewards = np.zeros((0, self._capacity, 1), np.float32)
        self._counts = np.zeros((0, 3), np.int64)  # columns as in rollout_loops
        self._sums = np.zeros((0, 2))  # float64: 1000 rewards of 0.1 are to be 100
        self._memories = np.zeros((0, memory_size), np.float32)

    # ---- what the loop calls ----

    def close_terminals(
        self, players: Integers, terminals: TerminalSteps
    ) -> tuple[CutTrajectories | None, Episodes | None]:
        """Ends the episodes of `terminals` (`players` [agents] says whose each agent is).

        Agents that never acted are left out.
        """
        count = len(terminals.agent_id)
        slots, rows = np.empty(count, np.int64), np.empty(count, np.int64)
        acted = loops.end_agents(
            self._keys,
            self._key_slots,
            players,
            terminals.agent_id,
            terminals.reward,
            terminals.group_reward,
            slots,
            rows,
            self._counts,
            self._sums,
            self._rewards,
        )
        if acted == 0:
            return None, None
        slots, rows = slots[:acted], rows[:acted]
        last = [observation[rows] for observation in terminals.obs]
        cut = self._cut(slots, last, ~terminals.interrupted[rows], np.ones(acted, np.bool_))
        sums = self._sums[slots]
        episodes = Episodes(sums[:, 0], sums[:, 1], self._counts[slots, loops.EPISODE_LENGTH])
        self._clear_episode(slots)
        return cut, episodes

    def continue_decisions(
        self, players: Integers, decisions: DecisionSteps
    ) -> tuple[Integers, CutTrajectories | None]:
        """Closes the last step of each agent that asks for a decision.

        Returns the agents' slots and what reached the time horizon.
        """
        slots = np.empty(len(decisions.agent_id), np.int64)
        missing, full = self._continue(players, decisions, slots)
        if missing:
            self._give_slots(_keys_of(players, decisions.agent_id), slots)
            _, full = self._continue(players, decisions, slots)
        if not full:
            return slots, None
        rows = np.flatnonzero(self._counts[slots, loops.LENGTH] >= self._horizon)
        next_observations = [observation[rows] for observation in decisions.obs]
        goes_on = np.zeros(len(rows), np.bool_)
        return slots, self._cut(slots[rows], next_observations, goes_on, goes_on)

    def store(self, slots: Integers, observations: list[Floats], columns: dict[str, NDArray[Any]]) -> None:
        """Notes what the agents saw and did; `observations` [agents, *shape], `columns` [agents, size]."""
        at = np.empty(len(slots), np.int64)
        if loops.act(slots, self._counts, at) >= self._capacity:
            self._grow_capacity()
        for stored, values in zip(self._observations, observations, strict=True):
            loops.scatter(values if values.ndim == 2 else values.reshape(len(slots), -1), slots, at, stored)
        for name, stored in self._columns.items():
            if stored.shape[2]:
                loops.scatter(columns[name], slots, at, stored)

    def quietly(
        self, slots: Integers, decisions: DecisionSteps, columns: dict[str, NDArray[Any]]
    ) -> tuple[int, Callable[[bool], bool]]:
        """`store` and the reward of `continue_decisions` in one, for agents that step together with nothing else.

        The values are those that the arrays of `decisions` (of one observation) and `columns` hold at each call.
        Returns how many steps there is room for, and a function: it notes what the agents saw and did; called with
        True, also what they got for their last step. It returns whether all that is finite.
        """
        note, lengths = loops.step_quietly, self._counts[slots, loops.LENGTH]
        stored, allowed = self._columns, self._columns.get("allowed", _NOTHING)
        fixed = (slots, self._counts, self._sums, self._rewards, decisions.obs[0], self._observations[0])
        for name in ("continuous", "discrete", "log_probs"):
            fixed += columns[name], stored[name]
        return self._capacity - int(lengths.max()), lambda finish: note(finish, decisions.reward, *fixed, allowed)

    def memories(self, slots: Integers) -> Floats:
        """What the agents remember of their episodes [agents, memory_size], 0 at the beginning of one."""
        return self._memories[slots]

    def remember(self, slots: Integers, memories: Floats) -> None:
        """Notes what the agents remember from now on [agents, memory_size]."""
        self._memories[slots] = memories

    def forget_player(self, player: int) -> Integers:
        """Drops the trajectories of a player that was reset or restarted; returns their slots."""
        leaving = self._keys >> 32 == player
        leaving[-1] = False
        slots = self._key_slots[leaving]
        self._free_slots(leaving)
        return slots

    @property
    def open(self) -> tuple[int, int]:
        """How many agents are in an episode, and how many steps of it are in their trajectories."""
        counts = self._counts[self._key_slots[:-1]]
        in_episode = (counts[:, loops.PENDING] != 0) | (counts[:, loops.EPISODE_LENGTH] != 0)
        return int(in_episode.sum()), int(counts[:, loops.LENGTH].sum())

    def state(self) -> dict[str, Any]:
        """Everything, to be continued by `load_state`."""
        return {
            "arrays": {name: getattr(self, f"_{name}") for name in _STATE_ARRAYS},
            "observations": list(self._observations),
            "columns": dict(self._columns),
            "free": list(self._free),
            "capacity": self._capacity,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        for name in _STATE_ARRAYS:
            setattr(self, f"_{name}", state["arrays"][name])
        self._observations = list(state["observations"])
        self._columns = dict(state["columns"])
        self._free = list(state["free"])
        self._capacity = state["capacity"]

    # ---- below: one thing each ----

    def _continue(self, players: Integers, decisions: DecisionSteps, slots: Integers) -> tuple[int, int]:
        counts: tuple[int, int] = loops.continue_agents(
            self._keys,
            self._key_slots,
            players,
            decisions.agent_id,
            decisions.reward,
            decisions.group_reward,
            self._horizon,
            slots,
            self._counts,
            self._sums,
            self._rewards,
        )
        return counts

    def _give_slots(self, keys: Integers, slots: Integers) -> None:
        """Free slots for the agents whose entry in `slots` is -1."""
        new = np.sort(keys[slots < 0])
        if len(self._free) < len(new):
            self._free_slots(self._idle(slots))
        if len(self._free) < len(new):
            self._grow_slots(len(new) - len(self._free))
        given = [self._free.pop() for _ in range(len(new))]
        at = np.searchsorted(self._keys, new)
        self._keys, self._key_slots = np.insert(self._keys, at, new), np.insert(self._key_slots, at, given)

    def _idle(self, needed: Integers) -> NDArray[np.bool_]:
        """Which keys are of agents that are in no episode, apart from those of the slots `needed`."""
        slots = self._key_slots[:-1]
        counts = self._counts[slots]
        idle = (counts[:, loops.PENDING] == 0) & (counts[:, loops.EPISODE_LENGTH] == 0) & ~np.isin(slots, needed)
        return np.append(idle, False)

    def _free_slots(self, leaving: NDArray[np.bool_]) -> None:
        """Takes the slots of these keys back."""
        slots = self._key_slots[leaving]
        self._clear_episode(slots)
        self._free.extend(slots.tolist())
        self._keys, self._key_slots = self._keys[~leaving], self._key_slots[~leaving]

    def _cut(
        self,
        slots: Integers,
        next_observations: list[Floats],
        terminated: NDArray[np.bool_],
        ended: NDArray[np.bool_],
    ) -> CutTrajectories:
        lengths = self._counts[slots, loops.LENGTH]
        steps = int(lengths.sum())

        def gathered(stored: NDArray[Any]) -> NDArray[Any]:
            values = np.empty((steps, stored.shape[2]), stored.dtype)
            loops.gather(stored, slots, lengths, values)
            return values

        cut = CutTrajectories(
            observations=[
                gathered(stored).reshape(steps, *shape)
                for stored, shape in zip(self._observations, self._shapes, strict=True)
            ],
            columns={name: gathered(stored) for name, stored in self._columns.items()},
            rewards=gathered(self._rewards)[:, 0],
            lengths=lengths,
            next_observations=next_observations,
            next_memories=self._memories[slots],
            terminated=terminated,
            ended=ended,
            slots=slots,
        )
        self._counts[slots, loops.LENGTH] = 0
        return cut

    def _clear_episode(self, slots: Integers) -> None:
        self._counts[slots] = 0
        self._sums[slots] = 0.0
        if self._memories.shape[1]:
            self._memories[slots] = 0.0

    def _grow_slots(self, at_least: int) -> None:
        slots = len(self._counts)
        more = max(at_least, slots)
        for name in ("rewards", "counts", "sums", "memories"):
            setattr(self, f"_{name}", more_rows(getattr(self, f"_{name}"), more))
        self._observations = [more_rows(stored, more) for stored in self._observations]
        self._columns = {name: more_rows(stored, more) for name, stored in self._columns.items()}
        self._free.extend(range(slots + more - 1, slots - 1, -1))

    def _grow_capacity(self) -> None:
        capacity = min(2 * self._capacity, self._horizon)
        self._observations = [_more_columns(stored, capacity) for stored in self._observations]
        self._columns = {name: _more_columns(stored, capacity) for name, stored in self._columns.items()}
        self._rewards = _more_columns(self._rewards, capacity)
        self._capacity = capacity


_NOTHING = np.zeros((0, 0, 0), np.bool_)
_STATE_ARRAYS = ("keys", "key_slots", "rewards", "counts", "sums", "memories")


def _keys_of(players: Integers, agent_ids: NDArray[np.int32]) -> Integers:
    """One number for each agent of each player: the player, then the 32 bits of the agent id."""
    return players << 32 | (agent_ids.astype(np.int64) & 0xFFFFFFFF)


def more_rows(array: NDArray[Any], more: int) -> NDArray[Any]:
    """The array with `more` rows of zeros behind it."""
    return np.concatenate([array, np.zeros((more, *array.shape[1:]), array.dtype)])


def _more_columns(array: NDArray[Any], capacity: int) -> NDArray[Any]:
    grown = np.zeros((array.shape[0], capacity, array.shape[2]), array.dtype)
    grown[:, : array.shape[1]] = array
    return grown
