"""How each world looks: scenes made from the poses of its agents. A pose is what has to be known to draw an agent.

| behavior                         | pose, one row an agent                                                   |
|----------------------------------|--------------------------------------------------------------------------|
| CubeMover, Basic                 | cell from -10 to 10, the start being 0                                   |
| PoleBalancer                     | cart's x; x and y of the pole's centre (y from the cart's centre); angle |
| 3DBall and its three variants    | platform x, y, z, w; ball x, y, z (from the platform's centre); radius   |
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unity_envs.scenes import BOX, CAPSULE, SHAPE, SPHERE, Camera, Floats, Scene

FIELD_OF_VIEW = 26.0  # degrees, along the longer side of a picture

AGENT = (0.11, 0.60, 1.0)  # what the agent moves, in the blue of the 2018 demonstration
BALANCED = (1.0, 0.58, 0.26)  # what it has to keep from falling
GOAL = (0.30, 0.76, 0.48)
LIMIT = (0.90, 0.40, 0.40)
FLOORS = ((0.88, 0.90, 0.93), (0.80, 0.83, 0.87))
UPRIGHT = (0.0, 0.0, 0.0, 1.0)

Color = tuple[float, float, float]


@dataclass(frozen=True)
class Stage:
    """How the agents of one kind of world are drawn.

    Attributes:
        poses: agents (the world's structured array) -> poses `[agents, size]`.
        draw: pose `[size]` -> shapes around the agent's own origin.
        low, high: corners of the space that one agent may need.
        spacing: from one agent to the next: metres to the right, and (up, away) to the next row.
        columns: number of agents -> number of columns.
        looks_along: direction in which the camera looks.
        ground: height, None for none.
        arrival: last observation of an episode -> pose at its end; None where the pose before will do.
        hops: whether it is at the end of a step after half of the step's time.
        size: width and height of a picture of few agents, in pixels.
        default_speed: simulated seconds in a second of a picture that moves, unless the user says otherwise.
    """

    poses: Callable[[NDArray[Any]], Floats]
    draw: Callable[[Floats], list[tuple[Any, ...]]]
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    spacing: tuple[float, float, float]
    columns: Callable[[int], int]
    looks_along: tuple[float, float, float]
    ground: float | None = None
    arrival: Callable[[Floats], Floats] | None = None
    hops: bool = False
    size: tuple[int, int] = (640, 420)
    default_speed: float = 1.0


def stage_of(behavior: str) -> Stage:
    """The stage of a behavior's agents ("3DBall", or fully qualified). Raises ValueError for one without a picture."""
    name = behavior.split("?", maxsplit=1)[0]
    if name not in STAGES:
        raise ValueError(f"the behavior {name} has no picture; there are pictures of {', '.join(STAGES)}")
    return STAGES[name]


def scene_of_poses(behavior: str, poses: Floats, aspect: float) -> Scene:
    """All agents with these `poses` `[agents, size]` in rows; `aspect` is the picture's width divided by its height."""
    stage = stage_of(behavior)
    shapes = [shape for pose in poses for shape in stage.draw(pose)]
    array = np.array(shapes, dtype=SHAPE)
    array["position"] += np.repeat(_places(stage, len(poses)), len(shapes) // len(poses), axis=0)
    return Scene(array, _camera(behavior, len(poses), aspect), stage.ground)


def _places(stage: Stage, count: int) -> Floats:
    """Origins `[agents, 3]`: row by row from the upper left of the picture."""
    columns = min(stage.columns(count), count)
    row, column = np.divmod(np.arange(count), columns)
    rows = (count - 1) // columns
    right, up, away = stage.spacing
    return np.stack([(column - (columns - 1) / 2) * right, (rows / 2 - row) * up, (rows / 2 - row) * away], axis=1)


@functools.lru_cache(maxsize=256)
def _camera(behavior: str, count: int, aspect: float) -> Camera:
    """Sees the spaces of all agents, as large as they fit into the picture."""
    stage = stage_of(behavior)
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
    corners = corners * np.subtract(stage.high, stage.low) + stage.low
    points = (_places(stage, count)[:, None] + corners).reshape(-1, 3)
    target = (points.min(axis=0) + points.max(axis=0)) / 2
    direction = np.array(stage.looks_along) / np.linalg.norm(stage.looks_along)
    axes = Camera((0.0, 0.0, 0.0), tuple(direction.tolist()), 0.0).axes
    slope = math.tan(math.radians(FIELD_OF_VIEW) / 2) / max(aspect, 1.0)
    slopes = 0.96 * np.array([slope * aspect, slope])  # a little air around
    for _ in range(20):  # what is near looks larger, so centring moves what sets the distance, and the other way round
        seen = (points - target) @ axes.T
        across, depth = seen[:, :2], seen[:, 2]
        distance = (np.abs(across) / slopes - depth[:, None]).max()
        ratio = across / (distance + depth)[:, None]
        target = target + (ratio.max(axis=0) + ratio.min(axis=0)) / 2 * distance @ axes[:2]
    position = target - distance * direction
    return Camera(tuple(position.tolist()), tuple(target.tolist()), 2 * math.degrees(math.atan(slope)))


# ---- the worlds ----


def _box(half: tuple[float, float, float], position: Any, color: Color, rotation: Any = UPRIGHT) -> tuple[Any, ...]:
    return BOX, half, position, rotation, color


def _ball(radius: float, position: Any, color: Color) -> tuple[Any, ...]:
    return SPHERE, (radius, 0.0, 0.0), position, UPRIGHT, color


def _cube_poses(agents: NDArray[Any]) -> Floats:
    return agents["position"].astype(np.float64)[:, None]


def _cube_arrival(observation: Floats) -> Floats:
    return observation.astype(np.float64)


def _draw_cube(pose: Floats) -> list[tuple[Any, ...]]:
    return [*_CELLS, *_GOALS, _box((0.5, 0.5, 0.5), (pose[0], 0.5, 0.0), AGENT)]


_CELLS = (
    _box((10.58, 0.1, 0.58), (0.0, -0.12, 0.0), FLOORS[1]),
    *(_box((0.5, 0.1, 0.6), (cell, -0.1, 0.0), FLOORS[0]) for cell in range(-10, 11, 2)),
)
_GOALS = (_ball(0.25, (-3.0, 0.25, 0.0), GOAL), _ball(0.5, (7.0, 0.5, 0.0), GOAL))

CUBE_MOVER = Stage(
    poses=_cube_poses,
    draw=_draw_cube,
    low=(-10.6, -0.3, -0.7),
    high=(10.6, 1.1, 0.7),
    spacing=(23.0, 3.0, 0.0),
    columns=lambda count: math.ceil(count / 12),
    looks_along=(0.0, -0.35, 1.0),
    arrival=_cube_arrival,
    hops=True,
    size=(640, 80),
    default_speed=0.12,  # 6 steps in a second; at 50 the cube would be a blur
)


def _pole_poses(agents: NDArray[Any]) -> Floats:
    return np.concatenate([agents["cart"][:, :1], agents["pole"][:, :3]], axis=1)


def _draw_pole(pose: Floats) -> list[tuple[Any, ...]]:
    cart_x, pole_x, pole_y, angle = pose.tolist()
    turned = (0.0, 0.0, math.sin(angle / 2), math.cos(angle / 2))
    return [
        *_TRACK,
        _box((0.5, 0.15, 0.5), (cart_x, 0.0, 0.0), AGENT),
        (CAPSULE, (0.05, 1.0, 0.0), (pole_x, pole_y, 0.0), turned, BALANCED),
    ]


_TRACK = (
    _box((2.9, 0.06, 0.62), (0.0, -0.22, 0.0), FLOORS[0]),
    _box((0.03, 0.02, 0.62), (-2.4, -0.16, 0.0), LIMIT),
    _box((0.03, 0.02, 0.62), (2.4, -0.16, 0.0), LIMIT),
)

POLE_BALANCER = Stage(
    poses=_pole_poses,
    draw=_draw_pole,
    low=(-3.0, -0.3, -0.65),
    high=(3.0, 2.15, 0.65),
    spacing=(7.0, 3.6, 0.0),
    columns=lambda count: math.ceil(math.sqrt(count * 0.6)),
    looks_along=(0.0, -0.25, 1.0),
    size=(640, 320),
)


def _ball_poses(agents: NDArray[Any]) -> Floats:
    return np.concatenate([agents["platform"], agents["ball"][:, :3], agents["radius"][:, None]], axis=1)


def _draw_ball(pose: Floats) -> list[tuple[Any, ...]]:
    rotation = pose[:4] / np.linalg.norm(pose[:4])
    return [_box((2.5, 2.5, 2.5), (0.0, 0.0, 0.0), AGENT, rotation), _ball(pose[7], pose[4:7], BALANCED)]


BALL = Stage(
    poses=_ball_poses,
    draw=_draw_ball,
    low=(-3.5, -3.5, -3.5),
    high=(3.5, 4.5, 3.5),
    spacing=(8.5, 0.0, 9.5),
    columns=lambda count: math.ceil(math.sqrt(count * 4 / 3)),
    looks_along=(0.0, -0.6, 1.0),
    ground=-5.0,
)

STAGES = {
    "CubeMover": CUBE_MOVER,
    # As CubeMover, with cells 0 to 20; it sees its cell as a 1 in a row of zeros.
    "Basic": replace(
        CUBE_MOVER,
        poses=lambda agents: _cube_poses(agents) - 10.0,
        arrival=lambda observation: np.array([np.argmax(observation) - 10.0]),
    ),
    "PoleBalancer": POLE_BALANCER,
    "3DBall": BALL,
    "3DBallDiscrete": BALL,
    "3DBallHard": BALL,
    # What its agents see as well: from higher up, where the platform never hides the ball, and nothing else.
    "Visual3DBall": replace(BALL, low=(-3.5, -2.0, -3.5), looks_along=(0.0, -1.4, 1.0), ground=None),
}
