"""PoleBalancer: a cart keeps the pole that is hinged to it upright. This text is the specification.

The task of OpenMined's CartPole scene for Unity of 2018 in its numbers, with its flaws mended: the end of an episode is
told to the trainer, the spin of the pole is observed, and the cart has a velocity where the original teleported it.

Observation: one vector of 4 numbers, `VectorSensor_size4`, float32, not normalised

| index | meaning                                                         | unit                   | range           |
|-------|-----------------------------------------------------------------|------------------------|-----------------|
| 0     | position of the cart                                            | m                      | -2.4 to 2.4     |
| 1     | velocity of the cart                                            | m/s                    | about -2 to 2   |
| 2     | rotation of the pole: z of its quaternion; positive leans to -x | sine of half the angle | -0.131 to 0.131 |
| 3     | angular velocity of the pole, about z                           | rad/s                  | unbounded       |

The observation of an episode that ended by failure lies just outside of those ranges.

Action: one discrete branch of 2: 0 left (-x), 1 right (+x). Any other number stands for a command of 0

| variant | effect of the action, in each tick                                                   |
|---------|--------------------------------------------------------------------------------------|
| (none)  | the velocity of the cart is set to -2 or +2 m/s, before the pole pulls at it         |
| `force` | a force of -10 or +10 N on the cart, as an impulse; behavior and sizes stay the same |

| part       | rule                                                                                                  |
|------------|-------------------------------------------------------------------------------------------------------|
| agents     | 1 in an area, ids 0, 1, 2, ...; behavior `PoleBalancer`                                               |
| reward     | 1 a step, 0 in the step that fails: at most 200                                                       |
| failure    | abs(position) > 2.4 m or abs(angle) > 15 degrees: terminal, not interrupted                           |
| time limit | 200 steps: terminal, interrupted                                                                      |
| reset      | cart at 0, pole tilted by U(-5, 5) degrees, everything at rest                                        |
| cart       | 0.5 kg, box of 1 x 0.3 x 1 m, moves along x only; no ground, no friction                              |
| pole       | 0.1 kg, capsule of 2 m, radius 0.05 m; hinged 0.95 m below its centre and 0.15 m above the cart's;    |
|            | angular damping 0.05                                                                                  |
| parameters | none                                                                                                  |

Timing: a decision in each tick of 0.02 s. A step moves, tests and rewards at once: the decision after it sees the state
that was tested. The terminal of one step goes out together with the next decisions. After reset(), as in Unity, one
tick with action 0 passes before the first decision, which reports its reward; it does not count for the time limit.

The hinge is solved as PhysX 4.1.1, Unity's engine, solves it; this is not the textbook's cart and pole. `advance` below
is the same arithmetic, in the same order, as the Unity project's Assets/Core/PoleBalancer.cs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from mlagents_envs.base_env import ActionSpec
from numba import njit
from numpy.typing import NDArray

from bridge.agent_world import AgentWorld, vector_observation

if TYPE_CHECKING:
    from bridge.player import EnvironmentParameters

TICK = 0.02  # s
GRAVITY = 9.81  # m/s^2
CART_MASS, POLE_MASS = 0.5, 0.1  # kg
CART_INERTIA = 0.5 / 12 * 1.09  # kg m^2, of the box about z
POLE_INERTIA = 0.0323074  # kg m^2, of the capsule across its length
POLE_ARM = 0.95  # m, from the hinge to the centre of the pole
CART_ARM = 0.15  # m, from the centre of the cart to the hinge
ANGULAR_DAMPING = 0.05  # 1/s
SPEED, FORCE = 2.0, 10.0  # m/s, N
POSITION_LIMIT, ANGLE_LIMIT = 2.4, math.radians(15.0)
RESET_ANGLE = math.radians(5.0)
MAX_STEP = 200

# `cart`: position, velocity. `pole`: x and y of its centre (y from the cart's centre), angle, velocity x and y, spin.
AGENT = np.dtype([("cart", np.float64, (2,)), ("pole", np.float64, (6,))])

Floats = NDArray[np.float64]

_compiled = njit(cache=True, nogil=True, error_model="numpy")


class PoleBalancer(AgentWorld):
    """The world that the text above specifies, with `agents` times `num_areas` agents."""

    def __init__(
        self,
        seed: int,
        num_areas: int,
        parameters: EnvironmentParameters,
        agents: int = 1,
        variant: str | None = None,
    ) -> None:
        super().__init__(
            "PoleBalancer",
            seed,
            num_areas,
            parameters,
            agents=agents,
            observation_specs=[vector_observation(4)],
            action_spec=ActionSpec.create_discrete((2,)),
            agent_type=AGENT,
        )
        self.uses_force = variant == "force"

    def begin(self, agents: np.ndarray) -> None:
        angles = self.uniform(-RESET_ANGLE, RESET_ANGLE, len(agents))
        pole = np.zeros((len(agents), 6))
        pole[:, 0] = -POLE_ARM * np.sin(angles)
        pole[:, 1] = CART_ARM + POLE_ARM * np.cos(angles)
        pole[:, 2] = angles
        self.agents["cart"][agents] = 0.0
        self.agents["pole"][agents] = pole

    def tick(self) -> None:
        _step(
            self.agents["cart"],
            self.agents["pole"],
            self.step_counts,
            self.discrete,
            self.uses_force,
            self.rewards,
            self.ended,
        )

    def observe(self, agents: np.ndarray, observations: list[np.ndarray]) -> None:
        _observe(self.agents["cart"], self.agents["pole"], agents, observations[0])


@_compiled
def advance(cart: Floats, pole: Floats, command: float, uses_force: bool) -> None:
    """Move `cart` [2] and `pole` [6] in place by one tick; `command` in m/s, or in N with `uses_force`.

    Two passes over the one hinge: the first moves both bodies and closes the gap of the hinge, the second gives the
    velocities. The cart, held along y and in its rotation, counts as a free body inside of a pass; what it would have
    gained there is dropped afterwards.
    """
    cart_vx = cart[1] + command * TICK / CART_MASS if uses_force else command
    cart_vy, cart_spin = 0.0, 0.0
    vx, vy = pole[3], pole[4] - GRAVITY * TICK
    spin = pole[5] * (1.0 - ANGULAR_DAMPING * TICK)

    # How the hinge point of the pole moves with its spin, and how softly both bodies take an impulse there.
    turn_x, turn_y = POLE_ARM * math.cos(pole[2]), POLE_ARM * math.sin(pole[2])
    free = 1.0 / POLE_MASS + 1.0 / CART_MASS
    k_xx = free + turn_x * turn_x / POLE_INERTIA + CART_ARM * CART_ARM / CART_INERTIA
    k_xy = turn_x * turn_y / POLE_INERTIA
    k_yy = free + turn_y * turn_y / POLE_INERTIA
    determinant = k_xx * k_yy - k_xy * k_xy
    gap_x = pole[0] + turn_y - cart[0]
    gap_y = pole[1] - turn_x - CART_ARM

    for position_pass in (True, False):
        closing_x = -(vx + spin * turn_x - cart_vx + CART_ARM * cart_spin)
        closing_y = -(vy + spin * turn_y - cart_vy)
        if position_pass:
            closing_x -= gap_x / TICK
            closing_y -= gap_y / TICK
        impulse_x = (k_yy * closing_x - k_xy * closing_y) / determinant
        impulse_y = (k_xx * closing_y - k_xy * closing_x) / determinant
        vx += impulse_x / POLE_MASS
        vy += impulse_y / POLE_MASS
        spin += (turn_x * impulse_x + turn_y * impulse_y) / POLE_INERTIA
        cart_vx -= impulse_x / CART_MASS
        cart_vy -= impulse_y / CART_MASS
        cart_spin += CART_ARM * impulse_x / CART_INERTIA
        if position_pass:
            cart[0] += cart_vx * TICK
            pole[0] += vx * TICK
            pole[1] += vy * TICK
            pole[2] += spin * TICK

    cart[1] = cart_vx
    pole[3], pole[4], pole[5] = vx, vy, spin


@_compiled
def has_failed(cart: Floats, pole: Floats) -> bool:
    """Whether the cart [2] left the track or the pole [6] fell."""
    return abs(cart[0]) > POSITION_LIMIT or abs(pole[2]) > ANGLE_LIMIT


@_compiled
def _step(
    carts: Floats,
    poles: Floats,
    step_counts: NDArray[np.int64],
    actions: NDArray[np.int32],
    uses_force: bool,
    rewards: Floats,
    ended: NDArray[np.int8],
) -> None:
    """One step of all agents: `carts` [agents, 2], `poles` [agents, 6], `actions` [agents, 1], the rest [agents]."""
    size = FORCE if uses_force else SPEED
    for i in range(len(carts)):
        action = actions[i, 0]
        command = -size if action == 0 else size if action == 1 else 0.0
        advance(carts[i], poles[i], command, uses_force)
        if has_failed(carts[i], poles[i]):
            rewards[i] = 0.0
            ended[i] = 1
        else:
            rewards[i] = 1.0
            if step_counts[i] >= MAX_STEP:
                ended[i] = 2


@_compiled
def _observe(carts: Floats, poles: Floats, chosen: NDArray[np.int64], observations: NDArray[np.float32]) -> None:
    """Write the observations of the agents numbered in `chosen` to `observations` [chosen, 4]."""
    for row in range(len(chosen)):
        i = chosen[row]
        observations[row, 0] = carts[i, 0]
        observations[row, 1] = carts[i, 1]
        observations[row, 2] = math.sin(0.5 * poles[i, 2])
        observations[row, 3] = poles[i, 5]
