"""Recorded episodes played by our worlds: from the recorded start, with the recorded actions, and nothing else.

So anybody can hold a recording, from Unity or another engine, against the players. `recording_format.py` specifies the
files, `comparison.py` judges what comes out, and `mlbridge envs replay` does both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge import __version__
from bridge.agent_world import AgentWorld
from bridge.player import EnvironmentParameters
from unity_envs import worlds
from unity_envs.recording_format import (
    CAP,
    CUT,
    REASONS,
    Floats,
    Json,
    numbers,
    objects,
    pole_states,
    quaternions,
    reason_of_end,
    whole_number,
)

_KEPT = ("name", "variant", "kind", "policy", "index")  # keys of an episode that say which it is
_NOT_OURS = ("engine", "engines", "note")  # of meta: about the recorder


def replay(name: str, recording: Json) -> Json:
    """The same episodes, and for 3DBall cases, as the world `name` plays them: in the format of `recording`.

    Every state is written: after each tick and at each decision. An episode that goes on where the recorded one failed
    is played for one decision more, without an action, and is cut then.
    Raises ValueError, naming episode and key, for what is missing or wrong, and for an unknown name.
    """
    worlds.check_name(name)
    if name not in _PLAY:
        raise ValueError(f"there is no format for recordings of {name}: known are {', '.join(_PLAY)}")
    meta = recording.get("meta", {})
    if not isinstance(meta, dict):
        raise ValueError("meta: must be an object")
    for key, ours in (("dt", 0.02), ("ticks_per_decision", 5 if name == "3DBall" else 1)):
        if meta.get(key, ours) != ours:
            raise ValueError(f"meta, {key}: the world has {ours}, the recording {meta[key]!r}")
    played: Json = {"meta": {key: value for key, value in meta.items() if key not in _NOT_OURS}}
    played["meta"]["engine"] = f"mlagents-bridge {__version__}"
    if name == "3DBall" and "cases" in recording:
        cases = objects(recording, "cases")
        played["cases"] = [_play_case(meta, case, f"case {index}") for index, case in enumerate(cases)]
    if "episodes" in recording:
        played["episodes"] = _PLAY[name](meta, objects(recording, "episodes"))
    if len(played) == 1:
        raise ValueError("episodes: is missing")
    return played


# ---- 3DBall ----


def ball_world(balls: Floats, platforms: Floats, radii: Floats | float, gravity: float) -> AgentWorld:
    """A 3DBall whose episodes begin with these `balls` [agents, 9] and `platforms` [agents, 4]."""
    world = _new_world("3DBall", None, len(balls), gravity=gravity)
    world.agents["ball"], world.agents["platform"], world.agents["radius"] = balls, platforms, radii
    return world


def ball_constants(meta: Json, item: Json, where: str) -> tuple[float, float]:
    """Radius in m and gravity in m/s^2, downwards, of an episode or case."""
    ball, variants = (meta.get(key) if isinstance(meta.get(key), dict) else {} for key in ("ball", "variants"))
    constants = {"radius": ball.get("radius", 0.5), "gravity": meta.get("gravity", -9.81)}
    variant = item.get("variant")
    if variant is not None:
        if not isinstance(variant, str) or not isinstance(variants.get(variant), dict):
            known = ", ".join(variants) or "nothing"
            raise ValueError(f"{where}, variant: {variant!r} is not in meta.variants, which has {known}")
        constants |= variants[variant]
    radius = float(numbers(constants, "radius", where, ()))
    gravity = -float(numbers(constants, "gravity", where, ()))
    if radius <= 0:
        raise ValueError(f"{where}, radius: must be above 0, got {radius}")
    if gravity < 0:
        raise ValueError(f"{where}, gravity: is along y, which is up, so it must be 0 or below, got {-gravity}")
    return radius, gravity


def _play_ball(meta: Json, items: list[Json]) -> list[Json]:
    tapes, starts, constants = [], [], []
    for index, item in enumerate(items):
        where = f"episode {index}"
        tapes.append(_tape("3DBall", item, where, numbers(item, "actions", where, (None, 2)), period=5))
        ball = [numbers(item, "p0", where, (3,))] + [numbers(item, key, where, (3,), [0, 0, 0]) for key in ("v0", "w0")]
        starts.append((np.concatenate(ball), quaternions(item, "q0", where)))
        constants.append(ball_constants(meta, item, where))
    played: list[Json] = [{}] * len(items)
    for chosen in _groups([gravity for _, gravity in constants]):
        balls, platforms = (np.array([starts[i][part] for i in chosen]) for part in (0, 1))
        radii = np.array([constants[i][0] for i in chosen])
        world = ball_world(balls, platforms, radii, constants[chosen[0]][1])
        way = _run("3DBall", world, [tapes[i] for i in chosen], idle=0.0, tests_then_moves=True)
        for row, i in enumerate(chosen):
            ticks, reason, states, _ = way.episode(row)
            platform, ball = states["platform"].tolist(), states["ball"].tolist()
            played[i] = _head(items[i], "q0", "p0", "v0", "w0", "actions") | {
                "terminal_tick": ticks,
                "reason": reason,
                "tick_platform": platform,
                "tick_ball": ball,
                "decision_platform": platform[::5],
                "decision_ball": ball[::5],
                "terminal_ball": ball[-1],
            }
    return played


def _play_case(meta: Json, case: Json, where: str) -> Json:
    """A ball alone, with the platform put where the case says in each tick; nothing ends it."""
    from unity_envs.worlds.ball3d_physics import advance_ball

    radius, gravity = ball_constants(meta, case, where)
    ticks, (key, states) = whole_number(case, "ticks", where, least=0), case_states(case, where)
    if case.get("platform", "constant") == "constant":
        poses = np.tile(quaternions(case, "q", where), (ticks, 1))
    else:
        poses = quaternions(case, "platform", where, (ticks,))
    ball = states[0].copy()
    way = [ball.tolist()]
    for pose in poses:
        advance_ball(ball, pose, radius, gravity)
        way.append(ball.tolist())
    return _head(case, "q0", "ticks", "platform", "q") | {key: way}


def case_states(case: Json, where: str) -> tuple[str, Floats]:
    """The key of the states of a case, and those [rows, 9]."""
    key = "states" if "states" in case else "physx4"
    states = numbers(case, key, where, (None, 9))
    most = whole_number(case, "ticks", where, least=0) + 1
    if not 1 <= len(states) <= most:
        raise ValueError(f"{where}, {key}: must have 1 to {most} rows, got {len(states)}")
    return key, states


# ---- PoleBalancer ----


def _play_pole(meta: Json, items: list[Json]) -> list[Json]:
    from unity_envs.worlds.pole_balancer import CART_ARM, POLE_ARM

    tapes, carts, poles = [], [], []
    for index, item in enumerate(items):
        where = f"episode {index}"
        size = {"vel": 2, "force": 10}.get(str(item.get("variant")))
        if size is None:
            raise ValueError(f"{where}, variant: must be vel or force, got {item.get('variant')!r}")
        commands = numbers(item, "actions", where, (None,))
        if wrong := set(np.abs(commands)) - {0, size}:
            raise ValueError(f"{where}, actions: must be -{size}, {size}, or 0 for none, got {wrong.pop():g}")
        discrete = np.where(commands == 0, -1, commands > 0)[:, None]  # the world's numbers; -1 is none
        tapes.append(_tape("PoleBalancer", item, where, discrete))
        angle = numbers(item, "theta0", where, ())
        at_rest = [-POLE_ARM * np.sin(angle), CART_ARM + POLE_ARM * np.cos(angle), angle, 0.0, 0.0, 0.0]
        carts.append(numbers(item, "cart0", where, (2,), [0.0, 0.0]))
        poles.append(numbers(item, "pole0", where, (6,), at_rest))
    played: list[Json] = [{}] * len(items)
    for chosen in _groups([item["variant"] for item in items]):
        variant = "force" if items[chosen[0]]["variant"] == "force" else None
        world = _new_world("PoleBalancer", variant, len(chosen))
        world.agents["cart"], world.agents["pole"] = [carts[i] for i in chosen], [poles[i] for i in chosen]
        way = _run("PoleBalancer", world, [tapes[i] for i in chosen], idle=-1)
        for row, i in enumerate(chosen):
            ticks, reason, states, _ = way.episode(row)
            played[i] = _head(items[i], "theta0", "cart0", "pole0", "actions") | {
                "states": pole_states(states).tolist(),
                "terminal_tick": ticks,
                "reason": reason,
            }
    return played


# ---- CubeMover ----


def _play_cube(meta: Json, items: list[Json]) -> list[Json]:
    tapes, starts = [], []
    for index, item in enumerate(items):
        where = f"episode {index}"
        if item.get("variant") not in (None, "basic"):
            raise ValueError(f"{where}, variant: must be basic or be left out, got {item['variant']!r}")
        most = 1 if item.get("variant") is None else 2
        actions = numbers(item, "actions", where, (None,))
        if wrong := set(actions) - set(range(-1, most + 1)):
            raise ValueError(f"{where}, actions: must be 0 to {most}, or -1 for none, got {wrong.pop():g}")
        tapes.append(_tape("CubeMover", item, where, actions[:, None]))
        starts.append(whole_number(item, "start", where))
    played: list[Json] = [{}] * len(items)
    for chosen in _groups([item.get("variant") for item in items]):
        world: Any = _new_world("CubeMover", items[chosen[0]].get("variant"), len(chosen))
        low, high = world.cells
        for i in chosen:
            if not low <= starts[i] <= high:
                raise ValueError(f"episode {i}, start: must be {low} to {high}, got {starts[i]}")
        world.agents["position"] = [starts[i] for i in chosen]
        way = _run("CubeMover", world, [tapes[i] for i in chosen], idle=-1)
        for row, i in enumerate(chosen):
            ticks, reason, states, rewards = way.episode(row)
            played[i] = _head(items[i], "start", "actions") | {
                "positions": states["position"].tolist(),
                "rewards": rewards.tolist(),
                "terminal_tick": ticks,
                "reason": reason,
            }
    return played


_PLAY = {"CubeMover": _play_cube, "PoleBalancer": _play_pole, "3DBall": _play_ball}


# ---- playing ----


@dataclass(frozen=True)
class _Tape:
    """What is to be played: `actions` [decisions, size], up to `ticks` ticks; `last` is the reason at that limit."""

    actions: NDArray[Any]
    ticks: int
    last: str


def _tape(name: str, item: Json, where: str, actions: NDArray[Any], period: int = 1) -> _Tape:
    """Raises ValueError when actions, terminal_tick and reason of a recorded episode do not fit together."""
    if len(actions) == 0:
        raise ValueError(f"{where}, actions: there is none")
    reason = item.get("reason", CUT)
    if reason not in REASONS[name]:
        raise ValueError(f"{where}, reason: must be one of {', '.join(REASONS[name])}, got {reason!r}")
    if item.get("terminal_tick") is None:
        return _Tape(actions, period * len(actions), CUT)
    ticks = whole_number(item, "terminal_tick", where, least=1)
    needed = -(-ticks // period)
    if not needed <= len(actions) <= ticks // period + 1:
        raise ValueError(f"{where}, actions: must be {needed} for terminal_tick {ticks}, got {len(actions)}")
    return _Tape(actions, ticks, reason) if reason in (CAP, CUT) else _Tape(actions, ticks + period, CUT)


@dataclass(frozen=True)
class _Way:
    """Episodes as played: `states` [ticks + 1, agents], `rewards` [ticks, agents], `ticks` and `reasons` [agents]."""

    states: NDArray[Any]
    rewards: Floats
    ticks: NDArray[np.int64]
    reasons: list[str]

    def episode(self, row: int) -> tuple[int, str, NDArray[Any], Floats]:
        """Ticks, reason, states [ticks + 1] and rewards [ticks] of one of them."""
        ticks = int(self.ticks[row])
        return ticks, self.reasons[row], self.states[: ticks + 1, row], self.rewards[:ticks, row]


def _run(name: str, world: AgentWorld, tapes: Sequence[_Tape], idle: float, tests_then_moves: bool = False) -> _Way:
    """Play each tape with an agent of its own, from the state that `world.agents` has; `idle` acts after its end.

    The world's own `advance` acts, moves and tests; new episodes are not begun. `tests_then_moves`: as in Unity, a
    state is tested by the tick after the one that made it, and that one moves nothing any more.
    """
    late = int(tests_then_moves)
    held = world.continuous if world.continuous.shape[1] else world.discrete
    everyone = np.arange(len(tapes))
    limits = np.array([tape.ticks for tape in tapes])
    actions = np.full((max(len(tape.actions) for tape in tapes) + 1, *held.shape), idle, held.dtype)
    for agent, tape in enumerate(tapes):
        actions[: len(tape.actions), agent] = tape.actions
    ticks, reasons = np.full(len(tapes), -1), [tape.last for tape in tapes]
    states, rewards = [world.agents.copy()], []
    while (ticks < 0).any():
        tick = len(rewards)
        if tick % world.decision_period == 0:
            held[...] = actions[min(tick // world.decision_period, len(actions) - 1)]
            world.actions_changed(everyone)
        world.ended[...] = 0
        world.rewards[...] = 0.0
        world.advance(1)
        states.append(world.agents.copy())
        rewards.append(world.rewards.copy())
        for agent in np.flatnonzero((ticks < 0) & (world.ended != 0)):
            ticks[agent] = tick + 1 - late
            reasons[agent] = reason_of_end(name, world, world.agents[agent]) or CAP
        stopped = (ticks < 0) & (tick + 1 >= limits + late)
        ticks[stopped] = limits[stopped]
    return _Way(np.stack(states), np.array(rewards), ticks, reasons)


def _new_world(name: str, variant: str | None, agents: int, **values: float) -> AgentWorld:
    parameters = EnvironmentParameters()
    for key, value in values.items():
        parameters.set(key, value)
    world: Any = worlds.make_world_factory(name, agents, variant)(0, 1, parameters)
    world.reset()
    return world


def _head(item: Json, *keys: str) -> Json:
    return {key: item[key] for key in (*_KEPT, *keys) if key in item}


def _groups(values: Sequence[Any]) -> list[list[int]]:
    """Numbers of the items with equal values, together."""
    groups: dict[Any, list[int]] = {}
    for index, value in enumerate(values):
        groups.setdefault(value, []).append(index)
    return list(groups.values())
