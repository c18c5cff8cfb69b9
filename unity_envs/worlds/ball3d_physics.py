"""The compiled part of 3DBall: random numbers, platform, ball, and the ticks of all agents. Specified in `ball3d.py`.

The ball is a sphere against one static box as PhysX 4.1.1, Unity's physics engine, solves it: patch friction on two
axes, projected Gauss-Seidel with a position and a velocity pass. The equations were fitted to recordings of that engine
(tests/unity_envs/golden holds a part) and follow them to about 1e-5 m. Arithmetic is float64.

All compiled functions are in this one file: numba's cache does not notice a change in a function of another file.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

TICK = 0.02  # s
TICKS_PER_SECOND = 50.0
DECISION_PERIOD = 5  # ticks
MAX_STEP = 5000  # ticks
HALF_EXTENT = 2.5  # m
FRICTION = 0.6
BOUNCINESS = 0.05
BOUNCE_THRESHOLD = 2.0  # m/s
CONTACT_MARGIN = 0.02  # m, contact offset 0.01 of each of the two shapes
MAX_PUSH_OUT = 10.0  # m/s
MAX_SPIN = 7.0  # rad/s
ANGULAR_DAMPING = 0.01  # 1/s
SOLVER_SHARE = 0.8  # of an error, that one solver sweep removes
FRICTION_SWEEPS = 3  # in the position pass; the velocity pass adds one

# All that an agent carries from tick to tick; `agents` below is an array [agents] of it.
AGENT = np.dtype(
    [
        ("platform", np.float64, (4,)),  # quaternion x, y, z, w
        ("ball", np.float64, (9,)),  # position, velocity, spin; m, m/s, rad/s
        ("radius", np.float64),
    ]
)

Floats = NDArray[np.float64]

_compiled = njit(cache=True, nogil=True, error_model="numpy")


@_compiled
def uniform(generator: NDArray[np.uint64], low: float, high: float) -> float:
    """Next number of U(low, high) from `generator` [1] uint64, which moves on.

    SplitMix64: Steele, Lea and Flood, Fast splittable pseudorandom number generators, OOPSLA 2014;
    constants as in Vigna's splitmix64.c.
    """
    generator[0] += np.uint64(0x9E3779B97F4A7C15)
    z = generator[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return low + (high - low) * (np.float64(z >> np.uint64(11)) * 2.0**-53)


@_compiled
def set_turn(turn: Floats, action_z: float, action_x: float) -> None:
    """Prepare the turn of one tick, 2 degrees times each action: `turn` [4] = sin, cos of half the angle about z, x.

    Actions are cut to -1..1; not-a-number counts as 0.
    """
    for axis, action in ((0, action_z), (1, action_x)):
        half_angle = 0.0 if math.isnan(action) else math.radians(min(max(action, -1.0), 1.0))
        turn[2 * axis], turn[2 * axis + 1] = math.sin(half_angle), math.cos(half_angle)


@_compiled
def rotate_platform(platform: Floats, turn: Floats) -> None:
    """Turn `platform` [4] (quaternion x, y, z, w) in place about its own z, then x, by `turn` [4] of set_turn.

    The tilt guard leaves out a turn whose quaternion component has passed 0.25 on that side.
    """
    x, y, z, w = platform[0], platform[1], platform[2], platform[3]
    s, c = turn[0], turn[1]
    if (z < 0.25 and s > 0.0) or (z > -0.25 and s < 0.0):
        x, y, z, w = x * c + y * s, y * c - x * s, z * c + w * s, w * c - z * s
    s, c = turn[2], turn[3]
    if (x < 0.25 and s > 0.0) or (x > -0.25 and s < 0.0):
        x, y, z, w = x * c + w * s, y * c + z * s, z * c - y * s, w * c - x * s
    scale = 1.0 / math.sqrt(x * x + y * y + z * z + w * w)
    platform[0], platform[1], platform[2], platform[3] = x * scale, y * scale, z * scale, w * scale


@_compiled
def friction_sweep(push: float, wanted: float, limit: float) -> float:
    """One sweep along one axis: the impulse `push` after it, cut to +-limit; `wanted` would end the slip at once."""
    return min(max(push + SOLVER_SHARE * (wanted - push), -limit), limit)


@_compiled
def advance_ball(ball: Floats, platform: Floats, radius: float, gravity: float) -> None:
    """Move `ball` [9] (position m, velocity m/s, spin rad/s) in place by one tick; `platform` [4] as already turned.

    `radius` m, `gravity` m/s^2 downwards. Impulses are per unit of mass; the mass cancels out.
    """
    px, py, pz = ball[0], ball[1], ball[2]
    vx, vy, vz = ball[3], ball[4] - gravity * TICK, ball[5]
    damping = 1.0 - ANGULAR_DAMPING * TICK
    wx, wy, wz = ball[6] * damping, ball[7] * damping, ball[8] * damping
    spin_squared = wx * wx + wy * wy + wz * wz
    if spin_squared > MAX_SPIN * MAX_SPIN:
        scale = MAX_SPIN / math.sqrt(spin_squared)
        wx, wy, wz = wx * scale, wy * scale, wz * scale

    # The box's point nearest to the centre of the ball, in the box's own axes: faces, edges and corners in one rule.
    x, y, z, w = platform[0], platform[1], platform[2], platform[3]
    xx, xy, xz = 1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - z * w), 2.0 * (x * z + y * w)
    yx, yy, yz = 2.0 * (x * y + z * w), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - x * w)
    zx, zy, zz = 2.0 * (x * z - y * w), 2.0 * (y * z + x * w), 1.0 - 2.0 * (x * x + y * y)
    cx, cy, cz = xx * px + yx * py + zx * pz, xy * px + yy * py + zy * pz, xz * px + yz * py + zz * pz
    qx = min(max(cx, -HALF_EXTENT), HALF_EXTENT)
    qy = min(max(cy, -HALF_EXTENT), HALF_EXTENT)
    qz = min(max(cz, -HALF_EXTENT), HALF_EXTENT)
    dx, dy, dz = cx - qx, cy - qy, cz - qz
    distance = math.sqrt(dx * dx + dy * dy + dz * dz)
    if distance > 1e-9:
        scale = 1.0 / distance
        dx, dy, dz = dx * scale, dy * scale, dz * scale
    else:  # the centre is inside of the box: out through the nearest face
        dx, dy, dz = 0.0, 0.0, 0.0
        nearest = max(abs(cx), abs(cy), abs(cz))
        distance = nearest - HALF_EXTENT
        if abs(cy) == nearest:
            dy = math.copysign(1.0, cy)
            qy = dy * HALF_EXTENT
        elif abs(cx) == nearest:
            dx = math.copysign(1.0, cx)
            qx = dx * HALF_EXTENT
        else:
            dz = math.copysign(1.0, cz)
            qz = dz * HALF_EXTENT
    separation = distance - radius

    if separation < CONTACT_MARGIN:
        nx, ny, nz = xx * dx + xy * dy + xz * dz, yx * dx + yy * dy + yz * dz, zx * dx + zy * dy + zz * dz
        ax = xx * qx + xy * qy + xz * qz - px  # from the centre of the ball to the contact
        ay = yx * qx + yy * qy + yz * qz - py
        az = zx * qx + zy * qy + zz * qz - pz
        inverse_inertia = 2.5 / (radius * radius)  # per unit of mass
        softness = 1.0 / (1.0 + inverse_inertia * (ax * ax + ay * ay + az * az))
        normal_speed = vx * nx + vy * ny + vz * nz

        # Friction axes: along the sliding of the centre (any direction if it does not slide), and across.
        ex, ey, ez = vx - normal_speed * nx, vy - normal_speed * ny, vz - normal_speed * nz
        sliding = math.sqrt(ex * ex + ey * ey + ez * ez)
        if sliding < 1e-6:
            if abs(nx) < 0.7:
                ex, ey, ez = 1.0 - nx * nx, -nx * ny, -nx * nz
            else:
                ex, ey, ez = -ny * nx, 1.0 - ny * ny, -ny * nz
            sliding = math.sqrt(ex * ex + ey * ey + ez * ez)
        scale = 1.0 / sliding
        ex, ey, ez = ex * scale, ey * scale, ez * scale
        fx, fy, fz = ny * ez - nz * ey, nz * ex - nx * ez, nx * ey - ny * ex
        sx, sy, sz = vx + wy * az - wz * ay, vy + wz * ax - wx * az, vz + wx * ay - wy * ax  # velocity of the contact
        wanted_e = -softness * (sx * ex + sy * ey + sz * ez)
        wanted_f = -softness * (sx * fx + sy * fy + sz * fz)

        if normal_speed < -BOUNCE_THRESHOLD and -normal_speed > separation * TICKS_PER_SECOND:
            target, bias = -BOUNCINESS * normal_speed, 0.0
        else:
            target, bias = 0.0, max(SOLVER_SHARE * TICKS_PER_SECOND * separation, -MAX_PUSH_OUT)

        # Position pass: the ball moves with its result, push-out included. Velocity pass: keeps no push-out.
        push_n = max(0.0, target - bias - normal_speed)
        push_e = push_f = 0.0
        limit = FRICTION * push_n
        for _ in range(FRICTION_SWEEPS):
            push_e = friction_sweep(push_e, wanted_e, limit)
            push_f = friction_sweep(push_f, wanted_f, limit)
        px += (vx + push_n * nx + push_e * ex + push_f * fx) * TICK
        py += (vy + push_n * ny + push_e * ey + push_f * fy) * TICK
        pz += (vz + push_n * nz + push_e * ez + push_f * fz) * TICK

        push_n = max(0.0, target - max(bias, 0.0) - normal_speed)
        limit = FRICTION * push_n
        push_e = friction_sweep(push_e, wanted_e, limit)
        push_f = friction_sweep(push_f, wanted_f, limit)
        tx, ty, tz = push_e * ex + push_f * fx, push_e * ey + push_f * fy, push_e * ez + push_f * fz
        vx, vy, vz = vx + push_n * nx + tx, vy + push_n * ny + ty, vz + push_n * nz + tz
        wx += (ay * tz - az * ty) * inverse_inertia
        wy += (az * tx - ax * tz) * inverse_inertia
        wz += (ax * ty - ay * tx) * inverse_inertia
    else:
        px, py, pz = px + vx * TICK, py + vy * TICK, pz + vz * TICK

    ball[0], ball[1], ball[2] = px, py, pz
    ball[3], ball[4], ball[5] = vx, vy, vz
    ball[6], ball[7], ball[8] = wx, wy, wz


@_compiled
def has_failed(ball: Floats) -> bool:
    """Whether the ball [9] fell or left the space above the platform."""
    return ball[1] < -2.0 or abs(ball[0]) > 3.0 or abs(ball[2]) > 3.0


@_compiled
def observe(agents: Any, chosen: NDArray[np.int64], observations: NDArray[np.float32]) -> None:
    """Write what the agents numbered in `chosen` see to `observations` [chosen, 8], or [chosen, 5] without velocity."""
    size = observations.shape[1]
    for row in range(len(chosen)):
        agent = agents[chosen[row]]
        observations[row, 0], observations[row, 1] = agent.platform[2], agent.platform[0]
        for i in range(size - 2):
            observations[row, 2 + i] = agent.ball[i]


@_compiled
def begin(agents: Any, chosen: NDArray[np.int64], generator: NDArray[np.uint64]) -> None:
    """A fresh platform and ball for the agents numbered in `chosen`; radius and spin stay as they were."""
    for i in chosen:
        agent = agents[i]
        half_x = 0.5 * math.radians(uniform(generator, -10.0, 10.0))
        half_z = 0.5 * math.radians(uniform(generator, -10.0, 10.0))
        agent.platform[0] = math.sin(half_x) * math.cos(half_z)
        agent.platform[1] = -math.sin(half_x) * math.sin(half_z)
        agent.platform[2] = math.cos(half_x) * math.sin(half_z)
        agent.platform[3] = math.cos(half_x) * math.cos(half_z)
        agent.ball[0] = uniform(generator, -1.5, 1.5)
        agent.ball[1] = 4.0
        agent.ball[2] = uniform(generator, -1.5, 1.5)
        agent.ball[3:6] = 0.0


@_compiled
def set_turns(turns: Floats, chosen: NDArray[np.int64], actions: NDArray[np.float32]) -> None:
    """Set the rows of `turns` [agents, 4] of the agents numbered in `chosen` for their `actions` [agents, 2]."""
    for i in chosen:
        set_turn(turns[i], np.float64(actions[i, 0]), np.float64(actions[i, 1]))


@_compiled
def advance(
    agents: Any,
    ticks: int,
    turns: Floats,
    gravity: float,
    rewards: Floats,
    ended: NDArray[np.int8],
    step_counts: NDArray[np.int64],
) -> int:
    """Act and simulate for up to `ticks` ticks, no further than the first in which an episode ends; returns how many.

    `turns` [agents, 4] as of set_turns. Assigns `rewards` [agents], marks `ended` [agents]: 1 failed, 2 out of time;
    adds to `step_counts` [agents]. An agent whose episode ended stays as it was then, without this tick's physics.
    """
    for tick in range(1, ticks + 1):
        ends = 0
        for i in range(len(agents)):
            agent = agents[i]
            step_counts[i] += 1
            rotate_platform(agent.platform, turns[i])
            failed = has_failed(agent.ball)
            rewards[i] = -1.0 if failed else 0.1
            if failed or step_counts[i] >= MAX_STEP:
                ended[i] = 1 if failed else 2
                ends += 1
            else:
                advance_ball(agent.ball, agent.platform, agent.radius, gravity)
        if ends > 0:
            return tick
    return ticks


@_compiled
def simulate(agents: Any, chosen: NDArray[np.int64], gravity: float) -> None:
    """One tick of physics for the agents numbered in `chosen`."""
    for i in chosen:
        advance_ball(agents[i].ball, agents[i].platform, agents[i].radius, gravity)
