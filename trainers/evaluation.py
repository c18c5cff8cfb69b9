"""Playing a policy for a number of episodes, so that short ones are not preferred, and what came of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from mlagents_envs.base_env import BaseEnv, DecisionSteps, TerminalSteps

from bridge.onnx_policy import OnnxPolicy, allowed_actions

_RESAMPLES = 10_000


@dataclass(frozen=True)
class EpisodeStatistics:
    """Counted episodes in the order of their ends.

    Attributes:
        rewards: sum of the agent's own rewards, float64 `[episodes]`: what training shows as cumulative reward.
        group_rewards: sum of the rewards of the agent's group, float64 `[episodes]`.
        lengths: decisions, int64 `[episodes]`.
    """

    rewards: np.ndarray
    group_rewards: np.ndarray
    lengths: np.ndarray

    def confidence_interval(self) -> tuple[float, float]:
        """Where the mean reward of very many episodes lies, with 95 %.

        The percentile bootstrap (Efron 1979): the same episodes drawn again and again, always with the same numbers.
        """
        count = len(self.rewards)
        generator = np.random.default_rng(0)
        means = [self.rewards[generator.integers(0, count, count)].mean() for _ in range(_RESAMPLES)]
        low, high = np.percentile(means, (2.5, 97.5))
        return float(low), float(high)

    def numbers(self) -> dict[str, Any]:
        """Everything as plain numbers and lists; the standard deviation is that of the episodes themselves (N)."""
        return {
            "episodes": len(self.rewards),
            "mean_reward": float(self.rewards.mean()),
            "confidence_interval": list(self.confidence_interval()),
            "std_reward": float(self.rewards.std()),
            "min_reward": float(self.rewards.min()),
            "max_reward": float(self.rewards.max()),
            "mean_group_reward": float(self.group_rewards.mean()),
            "mean_length": float(self.lengths.mean()),
            "rewards": self.rewards.tolist(),
            "group_rewards": self.group_rewards.tolist(),
            "lengths": self.lengths.tolist(),
        }

    def describe(self, name: str) -> str:
        """One line for people."""
        rewards = self.rewards
        low, high = self.confidence_interval()
        group = f", mean group reward {self.group_rewards.mean():.3f}" if self.group_rewards.any() else ""
        return (
            f"{name}: {len(rewards)} episodes, mean reward {rewards.mean():.3f} (95 %: {low:.3f} to {high:.3f}), "
            f"std {rewards.std():.3f}, min {rewards.min():.3f}, max {rewards.max():.3f}{group}, "
            f"mean length {self.lengths.mean():.1f}"
        )


def play_episodes(
    environment: BaseEnv,
    behavior_name: str,
    policy: OnnxPolicy,
    episodes: int,
    deterministic: bool,
    progress: Callable[[int], None] | None = None,
) -> EpisodeStatistics:
    """Resets the environment, plays it until `episodes` episodes of the behavior are over and returns their numbers.

    Which episodes count is settled before they begin, so that short ones, which are over first, are not preferred: see
    `_Ledger`. Agents of other behaviors get no actions from here; `BaseEnv` then uses zeros.

    Args:
        environment: its agents of `behavior_name` fit `policy`.
        behavior_name: fully qualified, "3DBall?team=0".
        policy: anything with `act` and `forget` as `OnnxPolicy` has them.
        episodes: number of episodes, at least 1.
        deterministic: handed on to `policy.act`.
        progress: called with the number of counted episodes whenever it grows.
    """
    environment.reset()
    policy.forget()
    ledger = _Ledger(episodes)
    shown = 0
    while True:
        decisions, terminals = environment.get_steps(behavior_name)
        ledger.record(decisions, terminals)
        policy.forget(terminals.agent_id)
        if progress is not None and ledger.counted > shown:
            shown = ledger.counted
            progress(shown)
        if ledger.counted == episodes:
            return ledger.statistics()
        if len(decisions) > 0:
            actions = policy.act(decisions.obs, allowed_actions(decisions), deterministic, decisions.agent_id)
            environment.set_actions(behavior_name, actions)
        environment.step()


_AGENT = np.dtype(
    [
        ("id", np.int64),
        ("share", np.int64),  # counted episodes that this agent has still to begin
        ("running", np.bool_),  # between the first decision and the terminal of an episode
        ("counts", np.bool_),  # the running episode is one of the counted
        ("since", np.int64),  # message in which the running episode began, or the last one ended
        ("reward", np.float64),  # these three of the running episode
        ("group_reward", np.float64),
        ("length", np.int64),
    ]
)


class _Ledger:
    """Sums up episodes and settles which of them count.

    Every agent of the first decisions has an equal share of the episodes (where it does not divide, the first agents
    have one more), and its first episodes count. An agent that sits out a whole episode of another has left for good,
    as agents do that are destroyed or switched off: what remains of its share goes to the next episodes that begin.
    """

    def __init__(self, episodes: int) -> None:
        self.counted = 0
        self._episodes = episodes
        self._shared_out = False
        self._unclaimed = 0  # what remains of the shares of those that left
        self._message = 0
        self._agents = np.zeros(0, dtype=_AGENT)  # sorted by id
        self._finished: list[np.ndarray] = []

    def record(self, decisions: DecisionSteps, terminals: TerminalSteps) -> None:
        """Takes one message: terminals end episodes, then decisions continue or begin them."""
        self._message += 1
        if len(terminals) > 0:
            self._end(terminals)
        if len(decisions) > 0:
            self._continue(decisions)

    def statistics(self) -> EpisodeStatistics:
        finished = np.concatenate(self._finished)
        return EpisodeStatistics(finished["reward"], finished["group_reward"], finished["length"])

    def _end(self, terminals: TerminalSteps) -> None:
        rows = self._rows(terminals.agent_id)
        agents = self._agents
        agents["reward"][rows] += terminals.reward
        agents["group_reward"][rows] += terminals.group_reward
        over = rows[agents["running"][rows]]
        counted = agents["counts"][over]
        self._finished.append(agents[over[counted]])
        self.counted += int(counted.sum())
        if not counted.all():
            begin = agents["since"][over[~counted]].max()
            gone = ~agents["running"] & (agents["since"] < begin)
            self._unclaimed += int(agents["share"][gone].sum())
            agents["share"][gone] = 0
        agents["running"][rows] = False
        agents["since"][rows] = self._message

    def _continue(self, decisions: DecisionSteps) -> None:
        rows = self._rows(decisions.agent_id)
        agents = self._agents
        if not self._shared_out:
            self._shared_out = True
            agents["share"][rows] = self._episodes // len(rows)
            agents["share"][rows[: self._episodes % len(rows)]] += 1
        agents["reward"][rows] += decisions.reward
        agents["group_reward"][rows] += decisions.group_reward
        agents["length"][rows] += 1
        begin = rows[~agents["running"][rows]]
        if len(begin) == 0:
            return
        # What comes with the first decision was earned by none of its actions; training leaves it out as well.
        agents["reward"][begin] = agents["group_reward"][begin] = 0.0
        agents["length"][begin] = 1
        own = agents["share"][begin] > 0
        agents["share"][begin[own]] -= 1
        claimed = begin[~own][: self._unclaimed]
        self._unclaimed -= len(claimed)
        agents["counts"][begin] = own
        agents["counts"][claimed] = True
        agents["running"][begin] = True
        agents["since"][begin] = self._message

    def _rows(self, agent_ids: np.ndarray) -> np.ndarray:
        """Rows of these agents `[agents]`, after adding those that are new."""
        known_ids = self._agents["id"]
        rows = np.searchsorted(known_ids, agent_ids)
        known = rows < len(known_ids)
        known[known] = known_ids[rows[known]] == agent_ids[known]
        if not known.all():
            new = np.unique(agent_ids[~known])
            added = np.zeros(len(new), dtype=_AGENT)
            added["id"] = new
            everyone = np.concatenate([self._agents, added])
            self._agents = everyone[np.argsort(everyone["id"])]
            rows = np.searchsorted(self._agents["id"], agent_ids)
        return rows
