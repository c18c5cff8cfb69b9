"""What is drawn, without an engine: shapes and a camera. `stages.py` makes scenes of worlds, `drawing_*.py` draw them.

Metres; x to the right, y up, z away from the viewer (left-handed, as in Unity), so the physics' numbers are used as
they are. Rotations are quaternions x, y, z, w. Colors are red, green, blue from 0 to 1.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Color = tuple[float, float, float]

BOX, SPHERE, CAPSULE = range(3)
SHAPE = np.dtype(
    [
        ("kind", np.int64),
        ("size", np.float64, (3,)),  # box: half extents; sphere: radius; capsule along y: radius, half of its length
        ("position", np.float64, (3,)),
        ("rotation", np.float64, (4,)),
        ("color", np.float64, (3,)),
    ]
)

BACKGROUND = (0.945, 0.953, 0.965)  # of every picture


@dataclass(frozen=True)
class Camera:
    """Looks from `position` to `target`; `field_of_view` is the vertical one, in degrees."""

    position: tuple[float, float, float]
    target: tuple[float, float, float]
    field_of_view: float

    @functools.cached_property
    def axes(self) -> Floats:
        """Unit vectors `[3, 3]`, one a row: to the right, upwards and into the picture."""
        forward = np.subtract(self.target, self.position)
        forward /= np.linalg.norm(forward)
        right = np.cross((0.0, 1.0, 0.0), forward)
        right /= np.linalg.norm(right)
        return np.stack([right, np.cross(forward, right), forward])

    @property
    def slope(self) -> float:
        """Half of the picture's height at a distance of 1."""
        return math.tan(math.radians(self.field_of_view) / 2)


@dataclass(frozen=True)
class Scene:
    """Everything that a renderer has to know.

    Attributes:
        shapes: array `[n]` of SHAPE.
        camera: where it is seen from.
        ground: height of an endless ground on which shadows fall, None for none.
    """

    shapes: NDArray[Any]
    camera: Camera
    ground: float | None = None


def rotation_matrices(rotations: Floats) -> Floats:
    """Matrices `[n, 3, 3]` of the quaternions x, y, z, w `[n, 4]`; their columns are the turned axes."""
    x, y, z, w = rotations.T
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return np.array(rows).transpose(2, 0, 1)
