"""Whole episodes of a world, tick by tick: where everything was, what was done and what it was paid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bridge.agent_world import GOES_ON, INTERRUPTED, AgentWorld
from unity_envs.playback import TICK
from unity_envs.scenes import Floats
from unity_envs.stages import stage_of

if TYPE_CHECKING:
    from mlagents_envs.base_env import ActionTuple, DecisionSteps
    from numpy.typing import NDArray

ENDS = ("cut", "terminated", "interrupted")  # "cut": it went on, but nobody looked any more


@dataclass(frozen=True)
class Episode:
    """One episode of one agent.

    Attributes:
        poses: `[ticks + 1, size]`, see `stages`; the first is that of the first decision.
        actions: `[decisions, sizes]`, continuous ones before discrete ones; a decision is made every `decision_period`
            ticks.
        rewards: `[decisions]`, what each decision was paid until the next one, or until the end.
        end: one of ENDS.
    """

    poses: Floats
    actions: Floats
    rewards: Floats
    end: str


def record_episodes(
    world: AgentWorld,
    act: Callable[[DecisionSteps], ActionTuple],
    seconds: float,
    forget: Callable[[NDArray[np.int32]], None] = lambda agent_ids: None,
) -> list[Episode]:
    """Resets `world` and plays the first episode of each agent, with `act(decisions)` choosing the actions.

    What lasts longer than that many simulated seconds is cut. `forget` is told the ids of agents whose episodes are
    over, before they act again. Raises ValueError for a world without a picture.
    """
    stage, count = stage_of(world.behavior), len(world.agents)
    decisions, _ = world.reset()[world.behavior]
    poses = [stage.poses(world.agents)]
    actions: list[Floats] = []
    rewards: list[Floats] = []
    lengths, ends = np.zeros(count, np.int64), np.zeros(count, np.int64)  # ticks, and values of AgentWorld.ended
    running = np.ones(count, np.bool_)  # nothing was heard of the end
    advance_many = world.advance

    def advance(ticks: int) -> int:
        """The world's own, a tick at a time. Agents still stand where their episodes ended when it returns."""
        for done in range(1, ticks + 1):
            advance_many(1)
            poses.append(stage.poses(world.agents))
            over = (world.ended != GOES_ON) & (lengths == 0)
            lengths[over], ends[over] = len(poses) - 1, world.ended[over]
            if world.ended.any():
                return done
        return ticks

    world.advance = advance  # type: ignore[method-assign]
    try:
        while running.any() and len(poses) <= round(seconds / TICK):
            action = act(decisions)
            actions.append(np.concatenate([action.continuous, action.discrete], axis=1, dtype=np.float64))
            rewards.append(np.zeros(count))
            steps = world.step({world.behavior: action})
            while True:
                decisions, terminals = steps[world.behavior]
                told = terminals.agent_id[running[terminals.agent_id]]
                rewards[-1][told] = terminals.reward[running[terminals.agent_id]]
                running[told] = False
                forget(terminals.agent_id)
                if len(decisions):
                    break
                steps = world.step({})
            rewards[-1][running] = decisions.reward[running]
    finally:
        del world.advance  # the class's own comes to light again
    return [
        _episode(world, agent, np.array(poses), np.array(actions), np.array(rewards), lengths[agent], ends[agent])
        for agent in range(count)
    ]


def _episode(
    world: AgentWorld, agent: int, poses: Floats, actions: Floats, rewards: Floats, ticks: int, ended: int
) -> Episode:
    ticks = int(ticks) or len(poses) - 1
    made = -(-ticks // world.decision_period)
    end = ENDS[0] if ended == GOES_ON else ENDS[2] if ended == INTERRUPTED else ENDS[1]
    return Episode(poses[: ticks + 1, agent], actions[:made, agent], rewards[:made, agent], end)
