"""Pictures without a graphics card or driver: rays into a scene of boxes, balls and capsules, compiled by numba.

One ray a pixel, and more where neighbours differ, which smooths the edges. The same scene gives the same bytes.

All compiled functions are in this one file: numba's cache does not notice a change in a function of another file.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from unity_envs.scenes import BACKGROUND, BOX, Scene, rotation_matrices

EDGE_RAYS = 3  # to the side and down, in a pixel on an edge
LIGHT = np.array([-0.45, 1.0, -0.55]) / math.sqrt(0.45**2 + 1.0 + 0.55**2)  # towards the sun: left, above, in front
# The light of the sky on a surface that faces it, in red, green and blue; the sun adds what is missing to 1.
SKY = np.array([0.78, 0.80, 0.84])
SKY_SIDE, SKY_BELOW = 0.88, 0.74  # share of the sky's light on a wall, and on what faces the ground
EDGE = 0.02  # difference of a color component between pixels from which on more rays are worth it
NEAR = 1e-6

Floats = NDArray[np.float64]


# Columns of the one array [n, COLUMNS] in which compiled functions get the shapes: views of single rows would cost more
# than the arithmetic.
KIND, SIZE, POSITION, COLOR = 0, 1, 4, 7
AXES = 10  # its own axes, one after the other
REACH = 19  # radius of a ball around it
WINDOW = 20  # left, right, bottom, top of that ball in the picture, in slopes
COLUMNS = 24


_compiled = njit(cache=True, error_model="numpy", nogil=True)


def render(scene: Scene, width: int, height: int, edge_rays: int = EDGE_RAYS) -> NDArray[np.uint8]:
    """The picture, `[height, width, 3]`. A pixel on an edge gets `edge_rays` times `edge_rays` rays."""
    camera, axes = np.array(scene.camera.position), scene.camera.axes
    picture = np.empty((height, width, 3), np.uint8)
    ground = math.nan if scene.ground is None else scene.ground
    shapes = _prepare(scene, camera, axes)
    _draw(shapes, camera, axes, scene.camera.slope, LIGHT, np.array(BACKGROUND), ground, edge_rays, picture)
    return picture


def _prepare(scene: Scene, camera: Floats, axes: Floats) -> Floats:
    """The shapes as `[n, COLUMNS]`, for a camera at `camera` [3] with these `axes` [3, 3]."""
    given = scene.shapes
    shapes = np.empty((len(given), COLUMNS))
    shapes[:, KIND] = given["kind"]
    for column, field in ((SIZE, "size"), (POSITION, "position"), (COLOR, "color")):
        shapes[:, column : column + 3] = given[field]
    shapes[:, AXES : AXES + 9] = rotation_matrices(given["rotation"]).transpose(0, 2, 1).reshape(-1, 9)
    size = given["size"]
    reach = np.where(given["kind"] == BOX, np.linalg.norm(size, axis=1), np.maximum(size[:, 0], size[:, 1]))
    shapes[:, REACH] = reach
    away = (given["position"] - camera) @ axes.T
    near, far = np.maximum(away[:, 2] - reach, NEAR), away[:, 2] + reach
    for axis in range(2):
        low, high = away[:, axis] - reach, away[:, axis] + reach
        shapes[:, WINDOW + 2 * axis] = np.where(low < 0, low / near, low / far)
        shapes[:, WINDOW + 2 * axis + 1] = np.where(high > 0, high / near, high / far)
    return shapes


@_compiled
def _hit(
    shapes: Floats, i: int, ox: float, oy: float, oz: float, rx: float, ry: float, rz: float
) -> tuple[float, float, float, float]:
    """Distance at which the ray r from the point o meets shape i, and the normal there; infinite if it does not.

    From inside of a shape nothing is met.
    """
    ox, oy, oz = ox - shapes[i, POSITION], oy - shapes[i, POSITION + 1], oz - shapes[i, POSITION + 2]
    reach = shapes[i, REACH]
    along = ox * rx + oy * ry + oz * rz
    apart = ox * ox + oy * oy + oz * oz
    sideways = apart - along * along  # square of the distance at which the ray passes the centre
    if sideways > reach * reach or (along > 0.0 and apart > reach * reach):
        return math.inf, 0.0, 0.0, 0.0
    if shapes[i, KIND] == 1.0:
        t = -along - math.sqrt(reach * reach - sideways)
        if t < NEAR:
            t = math.inf
        return t, (ox + t * rx) / reach, (oy + t * ry) / reach, (oz + t * rz) / reach

    xx, xy, xz = shapes[i, AXES], shapes[i, AXES + 1], shapes[i, AXES + 2]
    yx, yy, yz = shapes[i, AXES + 3], shapes[i, AXES + 4], shapes[i, AXES + 5]
    zx, zy, zz = shapes[i, AXES + 6], shapes[i, AXES + 7], shapes[i, AXES + 8]
    px, py, pz = xx * ox + xy * oy + xz * oz, yx * ox + yy * oy + yz * oz, zx * ox + zy * oy + zz * oz
    dx, dy, dz = xx * rx + xy * ry + xz * rz, yx * rx + yy * ry + yz * rz, zx * rx + zy * ry + zz * rz
    sx, sy, sz = shapes[i, SIZE], shapes[i, SIZE + 1], shapes[i, SIZE + 2]
    distance, nx, ny, nz = math.inf, 0.0, 0.0, 0.0
    if shapes[i, KIND] == 0.0:
        # Where it enters and leaves the three slabs between opposite faces; along a slab both are infinite.
        ix, iy, iz = 1.0 / dx, 1.0 / dy, 1.0 / dz
        enter_x, leave_x = (-math.copysign(sx, dx) - px) * ix, (math.copysign(sx, dx) - px) * ix
        enter_y, leave_y = (-math.copysign(sy, dy) - py) * iy, (math.copysign(sy, dy) - py) * iy
        enter_z, leave_z = (-math.copysign(sz, dz) - pz) * iz, (math.copysign(sz, dz) - pz) * iz
        enter = max(enter_x, enter_y, enter_z)
        if NEAR <= enter <= min(leave_x, leave_y, leave_z):
            distance = enter
            if enter == enter_x:
                nx = -math.copysign(1.0, dx)
            elif enter == enter_y:
                ny = -math.copysign(1.0, dy)
            else:
                nz = -math.copysign(1.0, dz)
    else:
        radius, half = sx, sy - sx
        a, b = dx * dx + dz * dz, px * dx + pz * dz
        h = b * b - a * (px * px + pz * pz - radius * radius)
        if h >= 0.0 and a > 1e-12:
            t = (-b - math.sqrt(h)) / a
            if abs(py + t * dy) <= half:
                distance, nx, nz = t, (px + t * dx) / radius, (pz + t * dz) / radius
        for end in (-half, half):
            qy = py - end
            b = px * dx + qy * dy + pz * dz
            h = b * b - (px * px + qy * qy + pz * pz - radius * radius)
            if h >= 0.0:
                t = -b - math.sqrt(h)
                if t < distance and (qy + t * dy) * end >= 0.0:
                    distance = t
                    nx, ny, nz = (px + t * dx) / radius, (qy + t * dy) / radius, (pz + t * dz) / radius
        if distance < NEAR:
            distance = math.inf
    return distance, xx * nx + yx * ny + zx * nz, xy * nx + yy * ny + zy * nz, xz * nx + yz * ny + zz * nz


@_compiled
def _look(
    shapes: Floats,
    in_row: NDArray[np.int64],
    found: int,
    camera: Floats,
    axes: Floats,
    light: Floats,
    background: Floats,
    ground: float,
    across: float,
    up: float,
) -> tuple[float, float, float]:
    """The color that is seen in the direction `across`, `up`: slopes against the middle of the picture.

    The first `found` numbers in `in_row` are those of the shapes that may be seen there.
    """
    red, green, blue = background[0], background[1], background[2]
    if math.isnan(ground):  # most of such a picture is empty
        empty = True
        for k in range(found):
            empty &= not shapes[in_row[k], WINDOW] <= across <= shapes[in_row[k], WINDOW + 1]
        if empty:
            return red, green, blue
    length = math.sqrt(1.0 + across * across + up * up)
    rx = (across * axes[0, 0] + up * axes[1, 0] + axes[2, 0]) / length
    ry = (across * axes[0, 1] + up * axes[1, 1] + axes[2, 1]) / length
    rz = (across * axes[0, 2] + up * axes[1, 2] + axes[2, 2]) / length
    distance, nearest, nx, ny, nz = math.inf, -1, 0.0, 1.0, 0.0
    for k in range(found):
        i = in_row[k]
        if shapes[i, WINDOW] <= across <= shapes[i, WINDOW + 1]:
            t, x, y, z = _hit(shapes, i, camera[0], camera[1], camera[2], rx, ry, rz)
            if t < distance:
                distance, nearest, nx, ny, nz = t, i, x, y, z
    if nearest >= 0:
        red, green, blue = shapes[nearest, COLOR], shapes[nearest, COLOR + 1], shapes[nearest, COLOR + 2]
    else:
        distance = (ground - camera[1]) / ry
        if not distance > 0.0:  # no ground, or above the horizon
            return red, green, blue
    sun = max(0.0, nx * light[0] + ny * light[1] + nz * light[2]) / light[1]
    if sun > 0.0:
        ox = camera[0] + distance * rx + 1e-4 * nx
        oy = camera[1] + distance * ry + 1e-4 * ny
        oz = camera[2] + distance * rz + 1e-4 * nz
        for i in range(len(shapes)):
            # No shape here has a hollow, so none casts a shadow on itself.
            if i != nearest and _hit(shapes, i, ox, oy, oz, light[0], light[1], light[2])[0] < math.inf:
                sun = 0.0
                break
    # Sky and sun add up to 1 on what faces up: a ground of the background's color is seen by its shadows alone.
    share = SKY_SIDE + ny * ((1.0 - SKY_SIDE) if ny > 0.0 else (SKY_SIDE - SKY_BELOW))
    red *= SKY[0] * share + (1.0 - SKY[0]) * sun
    green *= SKY[1] * share + (1.0 - SKY[1]) * sun
    blue *= SKY[2] * share + (1.0 - SKY[2]) * sun
    return min(1.0, red), min(1.0, green), min(1.0, blue)


@_compiled
def _draw(
    shapes: Floats,
    camera: Floats,
    axes: Floats,
    slope: float,
    light: Floats,
    background: Floats,
    ground: float,
    edge_rays: int,
    picture: NDArray[np.uint8],
) -> None:
    """Fill `picture` [height, width, 3]."""
    height, width = picture.shape[:2]
    pixel = 2.0 * slope / height
    colors = np.empty((height, width, 3))
    in_row = np.empty(len(shapes), np.int64)
    for sweep in range(2):  # the first: one ray a pixel; the second: more of them on edges, and the bytes
        rays = 1 if sweep == 0 else edge_rays
        for row in range(height):
            high, found = (0.5 * height - row) * pixel, 0
            for i in range(len(shapes)):
                if shapes[i, WINDOW + 2] <= high and shapes[i, WINDOW + 3] >= high - pixel:
                    in_row[found] = i
                    found += 1
            for column in range(width):
                if sweep == 0 or (rays > 1 and _is_edge(colors, row, column)):
                    left, red, green, blue = (column - 0.5 * width) * pixel, 0.0, 0.0, 0.0
                    for k in range(rays * rays):
                        across, up = left + (k % rays + 0.5) / rays * pixel, high - (k // rays + 0.5) / rays * pixel
                        r, g, b = _look(shapes, in_row, found, camera, axes, light, background, ground, across, up)
                        red, green, blue = red + r, green + g, blue + b
                    share = 1.0 / (rays * rays)
                    red, green, blue = red * share, green * share, blue * share
                else:
                    red, green, blue = colors[row, column, 0], colors[row, column, 1], colors[row, column, 2]
                if sweep == 0:
                    colors[row, column, 0], colors[row, column, 1], colors[row, column, 2] = red, green, blue
                else:
                    picture[row, column, 0] = np.uint8(255.0 * red + 0.5)
                    picture[row, column, 1] = np.uint8(255.0 * green + 0.5)
                    picture[row, column, 2] = np.uint8(255.0 * blue + 0.5)


@_compiled
def _is_edge(colors: Floats, row: int, column: int) -> bool:
    """Whether the pixel differs from one of its four neighbours."""
    for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        y, x = row + down, column + right
        if 0 <= y < colors.shape[0] and 0 <= x < colors.shape[1]:
            for j in range(3):
                if abs(colors[row, column, j] - colors[y, x, j]) > EDGE:
                    return True
    return False
