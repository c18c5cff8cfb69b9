"""Pictures of worlds: which renderer draws, a world as it is now, and what the agents of a visual variant see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.agent_world import AgentWorld
from unity_envs import drawing_plain
from unity_envs.pictures import Picture, PictureError, beside, check_format, pane_size, write_pictures
from unity_envs.playback import Playback, read_recording, record_play
from unity_envs.recording_format import load as load_recording
from unity_envs.scenes import Scene
from unity_envs.stages import scene_of_poses, stage_of

__all__ = [
    "RENDERERS",
    "Camera",
    "Picture",
    "PictureError",
    "Playback",
    "Renderer",
    "check_format",
    "check_size",
    "choose_renderer",
    "default_size",
    "default_speed",
    "load_recording",
    "read_recording",
    "record_play",
    "render_playbacks",
    "render_world",
    "write_pictures",
]

RENDERERS = ("auto", "mujoco", "plain")
CAMERA_EDGE_RAYS = 2  # a camera's pictures are many and small
SMALLEST_PANE = 16  # pixels


@dataclass(frozen=True)
class Renderer:
    """Draws a scene: `render(scene, width, height)` -> uint8 `[height, width, 3]`.

    Attributes:
        name: "mujoco" or "plain".
        note: why it is not the one that "auto" prefers, in one line; None if it is.
    """

    name: str
    render: Callable[[Scene, int, int], Picture]
    note: str | None = None


def choose_renderer(name: str = "auto") -> Renderer:
    """ "plain", "mujoco", or with "auto" MuJoCo if it is there and can draw, else plain.

    Raises MujocoUnavailable, a PictureError, if "mujoco" cannot draw here; ValueError for another name.
    """
    if name not in RENDERERS:
        raise ValueError(f"unknown renderer {name!r}: known are {', '.join(RENDERERS)}")
    plain = Renderer("plain", drawing_plain.render)
    if name == "plain":
        return plain
    from unity_envs import drawing_mujoco

    try:
        drawing_mujoco.start()
    except drawing_mujoco.MujocoUnavailable as error:
        if name == "mujoco":
            raise
        return Renderer(plain.name, plain.render, str(error))
    return Renderer("mujoco", drawing_mujoco.render)


def render_world(world: AgentWorld, width: int, height: int, renderer: str = "auto") -> Picture:
    """All agents of `world` as they are now, uint8 `[height, width, 3]`.

    Raises ValueError for a world without a picture and for an unknown renderer, MujocoUnavailable as `choose_renderer`.
    """
    scene = scene_of_poses(world.name, stage_of(world.name).poses(world.agents), width / height)
    return choose_renderer(renderer).render(scene, width, height)


def render_playbacks(
    playbacks: Sequence[Playback],
    seconds: float,
    size: tuple[int, int],
    render: Callable[[Scene, int, int], Picture],
    captions: Sequence[str] = (),
) -> Picture:
    """All `playbacks`, of one behavior, at that simulated time beside each other, each under its caption.

    `size` is that of the whole picture, (width, height). Wide ones stand below each other.
    """
    columns = _columns(playbacks[0].behavior, len(playbacks))
    width, height = pane_size(len(playbacks), bool(captions), size, columns)
    panes = [
        render(scene_of_poses(playback.behavior, playback.at(seconds), width / height), width, height)
        for playback in playbacks
    ]
    return beside(panes, captions, size, columns)


def _columns(behavior: str, count: int) -> int:
    """How many playbacks stand side by side: as many as there are, or one if they are wide."""
    width, height = stage_of(behavior).size
    return 1 if width > 3 * height else count


def default_size(behavior: str, count: int, captioned: bool) -> tuple[int, int]:
    """Width and height, both even, that suit `count` playbacks of a behavior."""
    columns = _columns(behavior, count)
    width, height = (side * (6 if columns > 1 else 10) // 10 for side in stage_of(behavior).size)
    height += min(width // 16, height // 3) if captioned else 0
    width, height = width * columns, height * (count // columns)
    return width + width % 2, height + height % 2


def default_speed(behavior: str) -> float:
    """Simulated seconds in a second of a film."""
    return stage_of(behavior).default_speed


def check_size(behavior: str, count: int, captioned: bool, size: tuple[int, int]) -> None:
    """Raises ValueError if there is no room for `count` playbacks in a picture of `size` (width, height)."""
    pane = pane_size(count, captioned, size, _columns(behavior, count))
    if min(pane) < SMALLEST_PANE:
        raise ValueError(f"{size[0]}x{size[1]} pixels are too few for {count} beside each other")


class Camera:
    """The sensor of a visual variant: pictures of `size` times `size` pixels by the plain renderer.

    The same state gives the same bytes, whatever graphics the machine has.
    """

    def __init__(self, size: int) -> None:
        self._size = size

    def take(self, world: AgentWorld, agents: NDArray[np.int64], pictures: NDArray[np.float32]) -> None:
        """Write what the agents numbered in `agents` see to `pictures` [agents, 3, size, size], from 0 to 1."""
        poses = stage_of(world.name).poses(world.agents[agents])
        for row in range(len(poses)):
            scene = scene_of_poses(world.name, poses[row : row + 1], 1.0)
            picture = drawing_plain.render(scene, self._size, self._size, CAMERA_EDGE_RAYS)
            np.divide(picture.transpose(2, 0, 1), 255.0, out=pictures[row], dtype=np.float32)
