"""What happened in a world, as poses in even steps of time: played here and now, or read from a recording."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bridge.agent_world import AgentWorld
from unity_envs.recording_format import Json, numbers, objects, quaternions
from unity_envs.scenes import Floats
from unity_envs.stages import stage_of

if TYPE_CHECKING:
    from mlagents_envs.base_env import ActionTuple, DecisionSteps
    from numpy.typing import NDArray

TICK = 0.02  # s
TICKS_PER_DECISION = 5  # of 3DBall


@dataclass(frozen=True)
class Playback:
    """Poses of all agents at every step of `step` simulated seconds.

    Attributes:
        behavior: of the agents, "3DBall".
        step: simulated seconds from one row of poses to the next.
        poses: `[steps + 1, agents, size]`, see `scenes`.
        ends: `[steps, agents, size]`, where each step leads to: the next pose, or where the episode ended in between.
    """

    behavior: str
    step: float
    poses: Floats
    ends: Floats

    def at(self, seconds: float) -> Floats:
        """Poses `[agents, size]` at a simulated time, between two steps in between; after the end the last ones."""
        steps = seconds / self.step
        index = int(steps + 1e-9)  # a time that is a step's own belongs to it, however it was rounded
        if index >= len(self.ends):
            last: Floats = self.poses[-1]
            return last
        share = max(0.0, steps - index)
        if stage_of(self.behavior).hops:
            share = min(1.0, 2.0 * share)  # there after half of the step, softly
            share = share * share * (3.0 - 2.0 * share)
        between: Floats = self.poses[index] + share * (self.ends[index] - self.poses[index])
        return between


def record_play(
    world: AgentWorld,
    act: Callable[[DecisionSteps], ActionTuple],
    seconds: float,
    forget: Callable[[NDArray[np.int32]], None] = lambda agent_ids: None,
) -> Playback:
    """Resets `world` and plays it for at least that many simulated seconds, with `act(decisions)` choosing the actions.

    `forget` is told the ids of agents whose episodes are over, before they act again.

    Raises ValueError for a world without a picture.
    """
    stage, behavior = stage_of(world.behavior), world.behavior
    step = world.decision_period * TICK
    decisions, _ = world.reset()[behavior]
    poses: list[Floats] = [stage.poses(world.agents)]
    ends: list[Floats] = []
    while len(ends) * step < seconds - 1e-9:
        steps = world.step({behavior: act(decisions)})
        over: dict[int, Floats] = {}
        while True:
            decisions, terminals = steps[behavior]
            for agent, observation in zip(terminals.agent_id, terminals.obs[0], strict=True):
                # Where it was as the episode ended, or, where that shows no difference, as the step began.
                over[agent] = poses[-1][agent] if stage.arrival is None else stage.arrival(observation)
            forget(terminals.agent_id)
            if len(decisions):
                break
            steps = world.step({})
        poses.append(stage.poses(world.agents))
        ends.append(poses[-1].copy())
        for agent, end in over.items():
            ends[-1][agent] = end
    return Playback(world.name, step, np.array(poses), np.array(ends).reshape(len(ends), *poses[0].shape))


# ---- recordings ----


def read_recording(name: str, recording: Json, agents: int | None = None) -> Playback:
    """The recorded states of the first `agents` episodes (None: as many as the world has agents), side by side.

    `recording` is in the format of `recording_format`, for the world `name`, with the states in it; nothing is played
    anew. An episode that is over stays as it is. Raises ValueError, naming episode and key, for what is missing or
    wrong.
    """
    if name not in _READ:
        raise ValueError(f"there is no format for recordings of {name}: known are {', '.join(_READ)}")
    if "episodes" not in recording:
        raise ValueError("episodes: is missing")
    read, usual = _READ[name]
    episodes = objects(recording, "episodes")[: agents or usual]
    meta = recording.get("meta")
    step, ways = read(meta if isinstance(meta, dict) else {}, episodes)
    length = max(map(len, ways))
    poses = np.stack([np.concatenate([way, np.repeat(way[-1:], length - len(way), axis=0)]) for way in ways], axis=1)
    return Playback(name, step, poses, poses[1:])


def _read_balls(meta: Json, episodes: Sequence[Json]) -> tuple[float, list[Floats]]:
    """In ticks if every episode has the states of all of its ticks, else in decisions."""
    from unity_envs.replay import ball_constants  # brings numba's worlds

    ways: list[list[Floats]] = []
    in_ticks = True
    for index, episode in enumerate(episodes):
        where = f"episode {index}"
        ways.append([])
        for kind in ("tick", "decision"):
            if episode.get(f"{kind}_ball") is not None:
                balls = numbers(episode, f"{kind}_ball", where, (None, 9))
                platforms = quaternions(episode, f"{kind}_platform", where, (len(balls),))
                radius = np.full((len(balls), 1), ball_constants(meta, episode, where)[0])
                ways[-1].append(np.concatenate([platforms, balls[:, :3], radius], axis=1))
            else:
                ways[-1].append(np.zeros((0, 8)))
        ticks, decisions = ways[-1]
        if not len(ticks) and not len(decisions):
            raise ValueError(f"{where}, tick_ball or decision_ball: is missing, so there is nothing to draw")
        in_ticks &= len(ticks) > TICKS_PER_DECISION * (len(decisions) - 1)
    if in_ticks:
        return TICK, [ticks for ticks, _ in ways]
    by_decisions = [(ticks[::TICKS_PER_DECISION], decisions) for ticks, decisions in ways]
    return TICK * TICKS_PER_DECISION, [max(both, key=len) for both in by_decisions]


def _read_poles(_: Json, episodes: Sequence[Json]) -> tuple[float, list[Floats]]:
    ways = []
    for index, episode in enumerate(episodes):
        states = numbers(episode, "states", f"episode {index}", (None, 9))
        if not len(states):
            raise ValueError(f"episode {index}, states: is empty, so there is nothing to draw")
        cart_x, _, qz, qw, _, _, com_x, com_y, _ = states.T
        ways.append(np.stack([cart_x, com_x, com_y, 2 * np.arctan2(qz, qw)], axis=1))
    return TICK, ways


def _read_cubes(_: Json, episodes: Sequence[Json]) -> tuple[float, list[Floats]]:
    ways = []
    for index, episode in enumerate(episodes):
        cells = numbers(episode, "positions", f"episode {index}", (None,))
        if not len(cells):
            raise ValueError(f"episode {index}, positions: is empty, so there is nothing to draw")
        ways.append(cells[:, None] - (10.0 if episode.get("variant") == "basic" else 0.0))
    return TICK, ways


# Reader, and the number of episodes that are shown unless told otherwise.
_READ: dict[str, tuple[Callable[[Json, Sequence[Json]], tuple[float, list[Floats]]], int]] = {
    "CubeMover": (_read_cubes, 1),
    "PoleBalancer": (_read_poles, 1),
    "3DBall": (_read_balls, 12),
}
