"""What `AgentWorld` does for each agent, compiled. Without numba the same loops run as they stand, only slower."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.compiled import compiled
from bridge.exceptions import UnityEnvironmentException


def fractions(state: NDArray[np.uint64], count: int) -> NDArray[np.float64]:
    """The next `count` numbers of U(0, 1) after `state` [1], which goes on with them.

    SplitMix64: Steele, Lea and Flood, Fast splittable pseudorandom number generators, OOPSLA 2014; constants as in
    Vigna's splitmix64.c.
    """
    with np.errstate(over="ignore"):
        z = state + np.uint64(0x9E3779B97F4A7C15) * np.arange(1, count + 1, dtype=np.uint64)
        if count:
            state[0] = z[-1]
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    drawn: NDArray[np.float64] = ((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return drawn


def require_choices(name: str, masks: Sequence[NDArray[np.bool_]]) -> None:
    """Raises UnityEnvironmentException where `masks`, [agents, size] a branch, forbid an agent everything."""
    for branch, mask in enumerate(masks):
        stuck = mask.all(axis=1)
        if stuck.any():
            raise UnityEnvironmentException(
                f"{name}: all actions of branch {branch} are forbidden to agent {stuck.argmax()}; leave it one"
            )


@compiled
def any_ended(ended: NDArray[np.int8]) -> bool:
    """Whether any of `ended` [agents] is marked."""
    for mark in ended:  # noqa: SIM110 - numba compiles no generators
        if mark != 0:
            return True
    return False


@compiled
def end_episodes(
    ended: NDArray[np.int8],
    reported: NDArray[np.bool_],
    rewards: NDArray[np.float64],
    terminal_rewards: NDArray[np.float32],
    terminal_interrupted: NDArray[np.bool_],
    terminal_ids: NDArray[np.int32],
    over: NDArray[np.int64],
    told: NDArray[np.int64],
) -> tuple[int, int]:
    """Write the terminals of the episodes marked in `ended`, all arrays [agents]; returns how many agents stand in
    `over`, whose episodes ended, and in `told`, those of them that send a terminal. Clears `ended`.
    """
    overs = tells = 0
    for i in range(len(ended)):
        if ended[i] == 0:
            continue
        over[overs] = i
        overs += 1
        if not reported[i]:
            reported[i] = True
            told[tells] = i
            terminal_rewards[tells] = rewards[i]
            terminal_interrupted[tells] = ended[i] == 2
            terminal_ids[tells] = i
            tells += 1
            rewards[i] = 0.0
        ended[i] = 0
    return overs, tells


@compiled
def send_rewards(rewards: NDArray[np.float64], sent: NDArray[np.float32], reported: NDArray[np.bool_]) -> None:
    """Move `rewards` to `sent`, all arrays [agents]: every agent decides."""
    for i in range(len(rewards)):
        sent[i] = rewards[i]
        rewards[i] = 0.0
        reported[i] = False


@compiled
def clear_rows(array: NDArray[Any], rows: NDArray[np.int64]) -> None:
    """Set these rows of `array` [agents, size] to 0."""
    for row in rows:
        array[row] = 0
