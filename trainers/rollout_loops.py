"""What `OpenTrajectories` and `Normalizer` do for each agent, compiled. Without numba the same loops run as they stand,
only slower.

Arrays: `keys` int64 [known agents + 1], sorted, the last one greater than every key; `key_slots` int64 beside them,
-1 for none; `counts` int64 [slots, 3] in the columns below; `sums` float64 [slots, 2], rewards and group rewards of the
episode; `stored` [slots, capacity, size] of any type.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.compiled import compiled

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

LENGTH = 0  # finished steps of the trajectory
PENDING = 1  # 1: an action was taken and its reward is not known yet
EPISODE_LENGTH = 2  # finished steps of the episode


@compiled
def _slot_of(keys: Integers, key_slots: Integers, key: int, guess: int) -> int:
    at = guess if guess < len(keys) and keys[guess] == key else np.searchsorted(keys, key)
    return key_slots[at] if keys[at] == key else -1


@compiled
def _finish_step(
    slot: int, reward: float, group_reward: float, counts: Integers, sums: NDArray[np.float64], stored_rewards: Floats
) -> None:
    stored_rewards[slot, counts[slot, LENGTH], 0] = reward + group_reward
    counts[slot, LENGTH] += 1
    counts[slot, PENDING] = 0
    counts[slot, EPISODE_LENGTH] += 1
    sums[slot, 0] += reward
    sums[slot, 1] += group_reward


@compiled
def continue_agents(
    keys: Integers,
    key_slots: Integers,
    players: Integers,
    agent_ids: NDArray[np.int32],
    rewards: Floats,
    group_rewards: Floats,
    horizon: int,
    slots: Integers,
    counts: Integers,
    sums: NDArray[np.float64],
    stored_rewards: Floats,
) -> tuple[int, int]:
    """Writes the slots of agents that ask for a decision to `slots` [agents] and closes their last steps.

    Returns how many have no slot yet (-1; then nothing was closed) and how many have come to the time horizon.
    """
    missing = full = 0
    for i in range(len(agent_ids)):
        slots[i] = _slot_of(keys, key_slots, players[i] << 32 | (np.int64(agent_ids[i]) & 0xFFFFFFFF), i)
        if slots[i] < 0:
            missing += 1
    if missing > 0:
        return missing, 0
    for i in range(len(agent_ids)):
        slot = slots[i]
        if counts[slot, PENDING]:
            _finish_step(slot, rewards[i], group_rewards[i], counts, sums, stored_rewards)
            if counts[slot, LENGTH] >= horizon:
                full += 1
    return 0, full


@compiled
def end_agents(
    keys: Integers,
    key_slots: Integers,
    players: Integers,
    agent_ids: NDArray[np.int32],
    rewards: Floats,
    group_rewards: Floats,
    slots: Integers,
    rows: Integers,
    counts: Integers,
    sums: NDArray[np.float64],
    stored_rewards: Floats,
) -> int:
    """Closes the last steps of agents whose episodes ended; returns how many of them had acted.

    Writes which ones to `rows`, and their slots to `slots`, both [agents].
    """
    acted = 0
    for i in range(len(agent_ids)):
        slot = _slot_of(keys, key_slots, players[i] << 32 | (np.int64(agent_ids[i]) & 0xFFFFFFFF), i)
        if slot >= 0 and counts[slot, PENDING]:
            _finish_step(slot, rewards[i], group_rewards[i], counts, sums, stored_rewards)
            rows[acted] = i
            slots[acted] = slot
            acted += 1
    return acted


@compiled
def act(slots: Integers, counts: Integers, at: Integers) -> int:
    """Notes that the agents of `slots` have acted, and their steps' places in `at` [agents]; returns the greatest."""
    greatest = -1
    for i in range(len(slots)):
        at[i] = counts[slots[i], LENGTH]
        counts[slots[i], PENDING] = 1
        greatest = max(greatest, at[i])
    return greatest


@compiled
def step_quietly(
    finish: bool,
    rewards: Floats,
    slots: Integers,
    counts: Integers,
    sums: NDArray[np.float64],
    stored_rewards: Floats,
    observations: Floats,
    stored_observations: Floats,
    continuous: Floats,
    stored_continuous: Floats,
    discrete: Integers,
    stored_discrete: Integers,
    log_probs: Floats,
    stored_log_probs: Floats,
    stored_allowed: NDArray[np.bool_],
) -> bool:
    """Notes what the agents of `slots` [agents] saw and did, all of it allowed; with `finish`, first the `rewards` of
    their last steps. Returns whether what they saw and got are finite numbers.
    """
    finite = True
    for i in range(len(slots)):
        slot = slots[i]
        if finish:
            finite &= math.isfinite(rewards[i])
            _finish_step(slot, rewards[i], np.float32(0.0), counts, sums, stored_rewards)
        at = counts[slot, LENGTH]
        counts[slot, PENDING] = 1
        for k in range(observations.shape[1]):
            finite &= math.isfinite(observations[i, k])
            stored_observations[slot, at, k] = observations[i, k]
        for k in range(continuous.shape[1]):
            stored_continuous[slot, at, k] = continuous[i, k]
        for k in range(discrete.shape[1]):
            stored_discrete[slot, at, k] = discrete[i, k]
        for k in range(log_probs.shape[1]):
            stored_log_probs[slot, at, k] = log_probs[i, k]
        for k in range(stored_allowed.shape[2]):
            stored_allowed[slot, at, k] = True
    return finite


@compiled
def scatter(values: NDArray[Any], slots: Integers, at: Integers, stored: NDArray[Any]) -> None:
    """Writes row i of `values` [agents, size] to `stored` at slots[i], at[i]."""
    for i in range(len(slots)):
        for k in range(values.shape[1]):
            stored[slots[i], at[i], k] = values[i, k]


@compiled
def gather(stored: NDArray[Any], slots: Integers, lengths: Integers, values: NDArray[Any]) -> None:
    """Writes the first `lengths` steps of each of `slots`, one after the other, to `values` [steps, size]."""
    row = 0
    for i in range(len(slots)):
        for time in range(lengths[i]):
            for k in range(values.shape[1]):
                values[row, k] = stored[slots[i], time, k]
            row += 1


@compiled
def take_in(observations: Floats, mean: Floats, variance_sum: Floats, scale: Floats, steps: float) -> None:
    """A normaliser's update with `observations` [steps, size]; `steps` are all that it has seen then."""
    count, size = observations.shape
    for k in range(size):
        old_mean = np.float64(mean[k])
        shift = 0.0
        for i in range(count):
            shift += observations[i, k] - old_mean
        new_mean = np.float32(old_mean + shift / steps)
        spread = 0.0
        for i in range(count):
            spread += (observations[i, k] - new_mean) * (observations[i, k] - old_mean)
        mean[k] = new_mean
        variance_sum[k] += spread
        scale[k] = math.sqrt(steps / variance_sum[k])
