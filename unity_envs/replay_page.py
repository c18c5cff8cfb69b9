"""A page of HTML that plays episodes again in 3D, with everything it needs inside: it opens without a network.

The page knows no world, only shapes: `stages` says what they are and where, and what never moves is written once.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np

from bridge.agent_world import AgentWorld
from unity_envs.episodes import Episode, record_episodes
from unity_envs.playback import TICK
from unity_envs.scenes import BOX, CAPSULE, SHAPE, SPHERE
from unity_envs.stages import stage_of

__all__ = ["Episode", "record_episodes", "replay_page"]

_KINDS = {BOX: "box", SPHERE: "sphere", CAPSULE: "capsule"}
_LARGEST = 2**16 - 1  # of the whole numbers that transforms are rounded to


def replay_page(world: AgentWorld, players: Mapping[str, Sequence[Episode]], title: str, speed: float) -> str:
    """The page. `players`: caption to episodes of that world; `speed`: simulated seconds in a second.

    Each number of a moving shape's position (m) and rotation (quaternion x, y, z, w) is kept as one of 65,536 steps
    between its smallest and its largest value, which is finer than a pixel.
    """
    stage = stage_of(world.behavior)
    captions = [caption for caption, episodes in players.items() for _ in episodes]
    episodes = [episode for of_player in players.values() for episode in of_player]
    scenes = [np.array([stage.draw(pose) for pose in episode.poses], SHAPE) for episode in episodes]
    # [ticks + 1, shapes, 7]
    transforms = [np.concatenate([scene["position"], scene["rotation"]], axis=2) for scene in scenes]
    low = np.min([each.min(axis=0) for each in transforms], axis=0)
    high = np.max([each.max(axis=0) for each in transforms], axis=0)
    moving = np.argwhere(high > low)
    rows, columns = moving.T
    data = {
        "title": title,
        "tick": TICK,
        "decisionPeriod": world.decision_period,
        "continuous": world.continuous.shape[1],
        "speed": speed,
        "hops": stage.hops,
        "ground": stage.ground,
        "low": stage.low,
        "high": stage.high,
        "looksAlong": stage.looks_along,
        "shapes": [_shape(shape, low[index]) for index, shape in enumerate(scenes[0][0])],
        "moving": moving.tolist(),
        "ranges": np.stack([low[rows, columns], high[rows, columns]], axis=1).round(6).tolist(),
        "episodes": [
            {
                "player": caption,
                "end": episode.end,
                "ticks": len(episode.poses) - 1,
                "frames": _packed(each[:, rows, columns], low[rows, columns], high[rows, columns]),
                "actions": episode.actions.round(3).tolist(),
                "rewards": episode.rewards.round(5).tolist(),
            }
            for caption, episode, each in zip(captions, episodes, transforms, strict=True)
        ],
    }
    template = resources.files("unity_envs").joinpath("replay_page.html").read_text(encoding="utf-8")
    text = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")  # it stands in a script
    return template.replace('"THE DATA"', text)


def _shape(shape: Any, transform: Any) -> dict[str, Any]:
    return {
        "kind": _KINDS[int(shape["kind"])],
        "size": shape["size"].round(6).tolist(),
        "color": shape["color"].round(4).tolist(),
        "transform": transform.round(6).tolist(),
    }


def _packed(values: Any, low: Any, high: Any) -> str:
    """Base64 of `values` [ticks + 1, columns] as little-endian uint16 shares of the way from `low` to `high`."""
    shares = (values - low) / (high - low)
    return base64.b64encode(np.rint(shares * _LARGEST).astype("<u2").tobytes()).decode()
