"""A world that writes down the first episodes played in it, whoever plays. `recording_format.py` specifies the file.

An episode begins with its agent's first decision: Unity lets a new episode execute zero actions up to there, one even
after a reset. Numbers are written in full, so that `mlbridge envs replay` plays the same episodes again to the last
digit.
"""

from __future__ import annotations

import json
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge import __version__
from bridge.agent_world import AgentWorld
from bridge.exceptions import UnityEnvironmentException
from unity_envs.recording_format import (
    BALL_COLUMNS,
    CAP,
    CUT,
    POLE_COLUMNS,
    REASONS,
    Json,
    pole_states,
    reason_of_end,
    write_texts,
)

if TYPE_CHECKING:
    from mlagents_envs.base_env import ActionTuple

    from bridge.codec import Steps
    from bridge.player import World

WRITE_EVERY = 10.0  # s
WRITING_SHARE = 20  # writing takes no more than one part in so many of the time


def record(world: World, name: str, path: Path, episodes: int = 100) -> World:
    """The same world, called `name`, which from now on writes its first `episodes` episodes to the file `path`.

    Those that begin first count, the agents of one decision in the order of their numbers: which ends first plays no
    part, so short ones are not preferred. It bounds memory and file: an episode of 3DBall that lasts 5000 ticks takes
    about 0.3 MB.

    The file, at once written without episodes, is written anew every 10 s in which an episode ended, when the last one
    ended, and when the program ends; whole or not at all. What still runs then is written as far as it went, with the
    reason "cut"; so is an episode that is cut by a reset, or by a change of gravity, which the format cannot express.
    A program that is killed leaves what was written last.

    Raises ValueError for a world that there is no format for, UnityEnvironmentException for a file that cannot be
    written.
    """
    return RecordingWorld(world, name, path, episodes)


class RecordingWorld:
    """What `record` returns. Anything that is not here is that of the world inside."""

    def __init__(self, world: World, name: str, path: Path, episodes: int) -> None:
        if name not in REASONS or not isinstance(world, AgentWorld):
            raise ValueError(f"there is no format for recordings of {name}: known are {', '.join(REASONS)}")
        self._world = world
        self._recorder = _Recorder(world, name, path, episodes)
        self._finalizer = weakref.finalize(self, self._recorder.close)  # also when the program ends

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

    def reset(self) -> Steps:
        self._recorder.interrupt()
        return self._noted(self._world.reset())

    def step(self, actions: Mapping[str, ActionTuple]) -> Steps:
        steps = self._noted(self._world.step(actions))
        self._recorder.write_now_and_then()
        return steps

    def load_state(self, state: Mapping[str, np.ndarray]) -> Steps:
        self._recorder.interrupt(anew=False)
        return self._noted(self._world.load_state(state))

    def close(self) -> None:
        """Write what there is, and record no more."""
        self._finalizer()

    def _noted(self, steps: Steps) -> Steps:
        self._recorder.decides = any(len(decisions) for decisions, _ in steps.values())
        return steps


@dataclass
class _Episode:
    """One that is being played: rows of `world.agents` and actions at decisions, rewards of ticks."""

    number: int
    agent: int
    states: list[Any] = field(default_factory=list)
    actions: list[Any] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    gravity: float | None = None


class _Recorder:
    """Watches a world from inside: its `advance`, before which actions are known, and its `begin`, before which the
    agents still stand as their episodes ended. Lets go of the world when it has all its episodes.
    """

    def __init__(self, world: AgentWorld, name: str, path: Path, limit: int) -> None:
        self.decides = False  # the actions of the next step are taken up
        self._world: Any = world
        self._name, self._path, self._limit = name, path, limit
        self._running: dict[int, _Episode] = {}  # by agent
        self._fresh = np.zeros(len(world.agents), np.bool_)  # agents whose next decision begins an episode
        self._begun = 0
        self._done: dict[int, str] = {}  # JSON, by number
        self._variants: Json = {}
        self._written, self._next_writing = 0, 0.0
        self._watching = True
        self._begin, self._advance = world.begin, world.advance
        self._world.begin, self._world.advance = self._note_ends, self._note_decisions
        self._write()

    def interrupt(self, anew: bool = True) -> None:
        """Cut what is running: the world is about to be put into another state, with new episodes or in the midst."""
        for episode in list(self._running.values()):
            self._finish(episode, cut=True)
        self._fresh[:] = anew
        self.decides = False

    def write_now_and_then(self) -> None:
        if not self._watching:
            return
        if self._begun == self._limit and not self._running:
            self.close()
        elif len(self._done) > self._written and time.monotonic() >= self._next_writing:
            self._write()

    def close(self) -> None:
        if not self._watching:
            return
        self._watching = False
        del self._world.begin, self._world.advance  # the class's own come to light again
        self.interrupt()
        self._write()

    def _note_decisions(self, ticks: int) -> int:
        """In the place of `advance`."""
        world = self._world
        if self.decides:
            self.decides = False
            for agent in np.flatnonzero(self._fresh)[: self._limit - self._begun].tolist():
                self._running[agent] = _Episode(self._begun, agent)
                self._begun += 1
            self._fresh[:] = False
            for agent, episode in self._running.items():
                episode.states.append(world.agents[agent].copy())
                episode.actions.append(self._action(agent))
        done = int(self._advance(ticks))
        for agent, episode in list(self._running.items()):
            if self._name == "3DBall" and episode.gravity not in (None, world.gravity):
                episode.actions.pop()
                del episode.rewards[world.decision_period * len(episode.actions) :]
                self._finish(episode, cut=True, last=episode.states[-1])
                continue
            episode.gravity = world.gravity if self._name == "3DBall" else None
            episode.rewards += [float(world.rewards[agent])] * done
        return done

    def _note_ends(self, agents: np.ndarray) -> None:
        """In the place of `begin`."""
        for agent in agents.tolist():
            if agent in self._running:
                self._finish(self._running[agent])
        self._fresh[agents] = True
        self._begin(agents)

    def _finish(self, episode: _Episode, cut: bool = False, last: Any = None) -> None:
        """`last`: the state in which it stops, by default that which its agent has now."""
        del self._running[episode.agent]
        world, name = self._world, self._name
        if last is None:
            last = world.agents[episode.agent].copy()
        reason = CUT if cut else reason_of_end(name, world, last) or CAP
        # As in Unity, 3DBall tests what the tick before has left: the one that ends an episode moves nothing.
        ticks = len(episode.rewards) - (name == "3DBall" and not cut)
        if ticks < 1:
            return
        period = world.decision_period
        states = np.array([*episode.states, last][: ticks // period + 1])
        actions = episode.actions[: -(-ticks // period)]
        head = {"kind": "player", "agent": episode.agent}
        if name == "3DBall":
            variant = self._variant(float(last["radius"]), episode.gravity)
            platform, ball = states["platform"].tolist(), states["ball"].tolist()
            body = {"variant": variant} if variant else {}
            body |= {"q0": platform[0], "p0": ball[0][:3], "v0": ball[0][3:6], "w0": ball[0][6:], "actions": actions}
            tail = {"decision_platform": platform, "decision_ball": ball, "terminal_ball": last["ball"].tolist()}
        elif name == "PoleBalancer":
            body = {"variant": "force" if world.uses_force else "vel", "theta0": float(states["pole"][0, 2])}
            if states["cart"][0].any() or states["pole"][0, 3:].any():
                body |= {"cart0": states["cart"][0].tolist(), "pole0": states["pole"][0].tolist()}
            body |= {"actions": actions}
            tail = {"states": pole_states(states).tolist()}
        else:
            body = {"variant": "basic"} if world.basic else {}
            body |= {"start": int(states["position"][0]), "actions": actions}
            tail = {"positions": states["position"].tolist(), "rewards": episode.rewards}
        whole = head | body | {"terminal_tick": ticks, "reason": reason} | tail
        self._done[episode.number] = json.dumps(whole, allow_nan=False)

    def _action(self, agent: int) -> Any:
        """What the agent is going to do, as the format has it."""
        world = self._world
        if self._name == "3DBall":
            if world.continuous.shape[1]:
                return np.clip(np.nan_to_num(world.continuous[agent], nan=0.0), -1.0, 1.0).tolist()
            number = int(world.discrete[agent, 0])
            return [[-1, 0], [1, 0], [0, -1], [0, 1]][number] if 0 <= number < 4 else [0, 0]
        number = int(world.discrete[agent, 0])
        if self._name == "CubeMover":
            return number if 0 <= number < (3 if world.basic else 2) else -1
        size = 10 if world.uses_force else 2
        return {0: -size, 1: size}.get(number, 0)

    def _variant(self, radius: float, gravity: float | None) -> str | None:
        """The key in `meta.variants` of these numbers, None for the usual ones."""
        parts = [("scale", radius / 0.5)] if radius != 0.5 else []
        parts += [("gravity", gravity or 0.0)] if gravity != 9.81 else []
        name = "_".join(f"{key}_{str(value).removesuffix('.0')}" for key, value in parts)
        if name:
            self._variants[name] = {"radius": radius, "gravity": -(gravity or 0.0)}
        return name or None

    def _write(self) -> None:
        meta: Json = {
            "world": self._name,
            "behavior": self._world.behavior,
            "engine": f"mlagents-bridge {__version__}",
            "units": "m, s, rad; y up; quaternions x, y, z, w",
            "dt": 0.02,
            "ticks_per_decision": self._world.decision_period,
        }
        if self._name == "3DBall":
            meta |= {"state_columns": BALL_COLUMNS, "gravity": -9.81, "ball": {"radius": 0.5}}
            meta |= {"variants": self._variants}
        elif self._name == "PoleBalancer":
            meta |= {"state_columns": POLE_COLUMNS}
        began = time.monotonic()
        try:
            write_texts(self._path, meta, {"episodes": [self._done[number] for number in sorted(self._done)]})
        except OSError as error:
            raise UnityEnvironmentException(
                f"cannot write the recording {self._path}: {error.strerror or error}"
            ) from error
        now = time.monotonic()
        self._written, self._next_writing = len(self._done), now + max(WRITE_EVERY, WRITING_SHARE * (now - began))
