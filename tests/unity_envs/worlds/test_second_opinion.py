"""A second opinion on the physics, from MuJoCo, beside numbers that a person can check.

MuJoCo shares nothing with our equations or with PhysX. Its contacts are soft: a resting ball sinks in by micrometres,
friction creeps by as little, and a bounce takes time. So tolerances are those of the differences that are meant: our
ticks of 0.02 s against its 0.001 s, the angular damping that Unity's ball has and MuJoCo's has not (0.14 % of the
acceleration of a rolling ball), the gap of up to one tick's way in which a landing is noticed.
"""

from __future__ import annotations

import math
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from unity_envs.worlds import ball3d_physics, pole_balancer

GRAVITY, FRICTION, RADIUS = 9.81, 0.6, 0.5
REST = 3.0  # m, height of a resting ball's centre
STIFF = "0.004 1"  # time constant in s and damping ratio of a contact


@pytest.fixture(scope="module")
def mujoco() -> ModuleType:
    import mujoco  # of the extra `dev`

    return mujoco


# ---- ball and platform ----


@pytest.fixture
def roll(mujoco):
    """`roll(slope, ticks, ...)`: a ball on a platform that falls off to the right by `slope` degrees, played by both.

    It starts at `start` along the slope (from the middle) and `gap` above it. Returns for MuJoCo and for ours position
    and velocity along the slope and across, [ticks, 2], and the spin [ticks], positive where it rolls to the left.
    """

    def play(slope, ticks, *, start=-2.0, gap=0.0, speed=0.0, spin=0.0, contact=STIFF, step=0.001):
        angle = math.radians(slope)
        along = np.array([math.cos(angle), -math.sin(angle), 0.0])
        across = np.array([math.sin(angle), math.cos(angle), 0.0])
        ball = np.zeros(9)
        ball[:3], ball[3:6], ball[8] = across * (REST + gap) + along * start, along * speed, spin
        contact = f'friction="{FRICTION} 0 0" condim="3" solref="{contact}" solimp="0.99 0.99 0.001"'
        model = mujoco.MjModel.from_xml_string(f"""
            <mujoco>
              <option timestep="{step}" gravity="0 -{GRAVITY} 0" cone="elliptic" impratio="100"/>
              <worldbody>
                <geom type="box" size="2.5 2.5 2.5" euler="0 0 {-slope}" {contact}/>
                <body><freejoint/><geom type="sphere" size="{RADIUS}" mass="1" {contact}/></body>
              </worldbody>
            </mujoco>""")
        data = mujoco.MjData(model)
        data.qpos[:3], data.qvel[:3], data.qvel[5] = ball[:3], ball[3:6], ball[8]
        platform = np.array([0.0, 0.0, math.sin(-angle / 2), math.cos(angle / 2)])
        ways = []
        for _ in range(ticks):
            ball3d_physics.advance_ball(ball, platform, RADIUS, GRAVITY)
            mujoco.mj_step(model, data, round(0.02 / step))
            ways.append([[*data.qpos[:3], *data.qvel[:3], data.qvel[5]], [*ball[:6], ball[8]]])
        axes = np.stack([along, across], axis=1)
        return [
            SimpleNamespace(position=way[:, :3] @ axes, velocity=way[:, 3:6] @ axes, spin=way[:, 6])
            for way in np.array(ways).transpose(1, 0, 2)
        ]

    return play


def spring_contact(ratio: float) -> tuple[str, float]:
    """A contact that is a spring of 200 /s with this damping ratio, above 1; and its restitution.

    MuJoCo has no restitution of its own. A damped spring that pushes, but does not pull, has this one (Schwager and
    Poeschel, Coefficient of restitution and linear-dashpot model revisited, Granular Matter 9, 2007).
    """
    frequency, root = 200.0, math.sqrt(ratio**2 - 1)
    restitution = math.exp(-ratio / root * math.log((ratio + root) / (ratio - root)))
    return f"{-(frequency**2)} {-2 * ratio * frequency}", restitution


def test_a_free_fall_is_the_same(roll):
    theirs, ours = roll(0.0, 50, gap=20.0, speed=1.5, step=0.02)
    np.testing.assert_allclose(ours.position, theirs.position, atol=1e-9)
    np.testing.assert_allclose(ours.velocity, theirs.velocity, atol=1e-9)
    assert ours.velocity[-1, 1] == pytest.approx(-GRAVITY * 1.0)


@pytest.mark.parametrize("slope", [5.0, 10.0, 20.0])
def test_a_ball_rolls_down_with_five_sevenths_of_the_acceleration(roll, slope):
    expected = 5 / 7 * GRAVITY * math.sin(math.radians(slope))  # m/s after 1 s, without damping
    theirs, ours = roll(slope, 50)
    assert theirs.velocity[-1, 0] == pytest.approx(expected, rel=1e-4)
    assert ours.velocity[-1, 0] == pytest.approx(expected, rel=2e-3) and ours.velocity[-1, 0] < expected
    assert ours.spin[-1] == pytest.approx(theirs.spin[-1], rel=4e-3)
    # Ticks: v dt t / 2 more than the parabola.
    late = expected * 0.02 / 2
    np.testing.assert_allclose(ours.position[-1] - [late, 0], theirs.position[-1], atol=0.003)


def test_a_ball_slides_where_friction_cannot_make_it_roll(roll):
    slope = math.radians(70.0)  # tan 70 is 2.75, more than 7/2 of the friction
    theirs, ours = roll(70.0, 30)
    acceleration = GRAVITY * (math.sin(slope) - FRICTION * math.cos(slope))
    turning = -FRICTION * GRAVITY * math.cos(slope) * RADIUS / (0.4 * RADIUS**2)
    assert ours.velocity[-1, 0] == pytest.approx(acceleration * 0.6, rel=1e-6)
    assert theirs.velocity[-1, 0] == pytest.approx(acceleration * 0.6, rel=2e-3)
    assert ours.spin[-1] == pytest.approx(turning * 0.6, rel=4e-3)
    assert theirs.spin[-1] == pytest.approx(turning * 0.6, rel=4e-3)


def test_a_sliding_ball_ends_up_rolling_with_five_sevenths_of_its_speed(roll):
    theirs, ours = roll(0.0, 40, speed=3.0)
    # Friction takes 0.6 g each second: 3 m/s become 15/7 after 0.146 s, in the eighth tick.
    np.testing.assert_allclose(ours.velocity[:6, 0], 3.0 - FRICTION * GRAVITY * 0.02 * np.arange(1, 7), atol=1e-9)
    assert theirs.velocity[9, 0] == pytest.approx(15 / 7, rel=1e-3)
    assert ours.velocity[9, 0] == pytest.approx(15 / 7, rel=1e-3)
    for each in (theirs, ours):
        np.testing.assert_allclose(each.spin[9:] * RADIUS, -each.velocity[9:, 0], rtol=2e-3)
    np.testing.assert_allclose(ours.position, theirs.position, atol=0.02)


def test_a_spinning_ball_on_the_platform_ends_up_rolling(roll):
    theirs, ours = roll(0.0, 30, start=0.0, spin=6.0)
    expected = -6.0 * 2 / 7 * RADIUS  # the part of the spin that is left
    assert theirs.velocity[-1, 0] == pytest.approx(expected, rel=1e-3)
    assert ours.velocity[-1, 0] == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize(("height", "ticks"), [(1.0, 60), (5.0, 80)])
def test_a_fast_landing_bounces_with_a_twentieth_of_its_speed(roll, height, ticks):
    spring, restitution = spring_contact(1.9)
    assert restitution == pytest.approx(0.05, abs=0.002)
    theirs, ours = roll(0.0, ticks, start=0.0, gap=height, contact=spring, step=0.0001)
    fall = math.sqrt(2 * GRAVITY * height)
    for each in (theirs, ours):
        assert each.velocity[:, 1].min() == pytest.approx(-fall, abs=GRAVITY * 0.02)
        # A tick of falling may lie between the bounce and the state that is seen.
        assert 0.05 * fall - GRAVITY * 0.02 - 0.01 <= each.velocity[:, 1].max() <= 0.05 * fall + 0.01
        np.testing.assert_allclose(each.position[-1], [0.0, REST], atol=1e-4)
        np.testing.assert_allclose(each.velocity[-1], [0.0, 0.0], atol=1e-4)
    landed = np.argmax(ours.velocity[:, 1] > -1.0)
    np.testing.assert_allclose(ours.position[:landed], theirs.position[:landed], atol=fall * 0.02 / 2 + 1e-9)


def test_a_slow_landing_does_not_bounce(roll):
    spring, restitution = spring_contact(5.0)
    assert restitution < 0.01
    theirs, ours = roll(0.0, 40, start=0.0, gap=0.18, contact=spring, step=0.0001)  # 1.9 m/s
    assert ours.velocity[:, 1].max() <= 1e-9
    assert theirs.velocity[:, 1].max() <= 0.02
    np.testing.assert_allclose(ours.position[-1], theirs.position[-1], atol=1e-4)


def test_a_ball_rolls_over_the_edge_and_falls(roll):
    theirs, ours = roll(0.0, 80, start=1.5, speed=1.5, spin=-3.0)
    tick = np.arange(80)
    on_top, beyond = tick < 33, tick >= 45
    np.testing.assert_allclose(ours.position[on_top], theirs.position[on_top], atol=2e-3)
    # It leaves the edge a little faster than it came, pushed by it, and turning faster.
    for each in (theirs, ours):
        assert 1.5 < each.velocity[-1, 0] < 1.6
        assert -3.8 < each.spin[-1] < -3.5
        np.testing.assert_allclose(np.diff(each.velocity[beyond, 1]), -GRAVITY * 0.02, atol=1e-6)
    np.testing.assert_allclose(ours.position, theirs.position, atol=0.03)


# ---- cart and pole ----


@pytest.fixture
def balance(mujoco):
    """`balance(angle, commands, uses_force, step)`: cart and pole from rest, played by both until it falls.

    Returns for MuJoCo and for ours the cart's position, the angle and sine of half the angle, [ticks, 3].
    """
    # The angular damping of the pole, 0.05 of its spin a second, is a couple: so is that of the joint.
    damping = 0.05 * pole_balancer.POLE_INERTIA
    model = mujoco.MjModel.from_xml_string(f"""
        <mujoco>
          <option gravity="0 -{GRAVITY} 0"><flag contact="disable"/></option>
          <worldbody>
            <body>
              <joint type="slide" axis="1 0 0"/>
              <inertial pos="0 0 0" mass="0.5" diaginertia="0.05 0.05 0.05"/>
              <body pos="0 0.15 0">
                <joint type="hinge" axis="0 0 1" damping="{damping!r}"/>
                <inertial pos="0 0.95 0" mass="0.1" diaginertia="0.0323074 0.000124 0.0323074"/>
              </body>
            </body>
          </worldbody>
        </mujoco>""")

    def play(angle, commands, uses_force, step=0.02):
        model.opt.timestep = step
        data = mujoco.MjData(model)
        data.qpos[1] = angle
        cart = np.zeros(2)
        pole = np.array([-0.95 * math.sin(angle), 0.15 + 0.95 * math.cos(angle), angle, 0.0, 0.0, 0.0])
        ways = []
        for command in commands:
            pole_balancer.advance(cart, pole, command, uses_force)
            if uses_force:
                data.qfrc_applied[0] = command
            else:
                give_cart_a_velocity(data, command)
            mujoco.mj_step(model, data, round(0.02 / step))
            ways.append([[*data.qpos, math.sin(data.qpos[1] / 2)], [cart[0], pole[2], math.sin(pole[2] / 2)]])
            if abs(pole[2]) > math.radians(15):
                break
        return np.array(ways).transpose(1, 0, 2)

    return play


def give_cart_a_velocity(data, velocity: float) -> None:
    """Set it as a game does: the pole's own velocity stays, and then the hinge pulls at both.

    Minimal coordinates do not have that moment between; what it leaves is the momentum of each coordinate.
    """
    angle, spin = data.qpos[1], data.qvel[1]
    arm = 0.95 * np.array([-math.cos(angle), -math.sin(angle)])  # of the centre's velocity with the spin
    centre = np.array([data.qvel[0], 0.0]) + arm * spin
    inertia = pole_balancer.POLE_INERTIA
    momentum = [0.5 * velocity + 0.1 * centre[0], inertia * spin + 0.1 * centre @ arm]
    masses = [[0.6, 0.1 * arm[0]], [0.1 * arm[0], inertia + 0.1 * 0.95**2]]
    data.qvel[:] = np.linalg.solve(masses, momentum)


@pytest.mark.parametrize(("uses_force", "size"), [(True, 10.0), (False, 2.0)])
def test_a_pole_moves_as_an_ideal_hinge_lets_it(balance, uses_force, size):
    """For 15 ticks; what remains is how PhysX treats a cart that is held, which the recordings show."""
    random = np.random.default_rng(0)
    for angle in random.uniform(-5, 5, 20):
        theirs, ours = balance(math.radians(angle), random.choice([-size, size], 15), uses_force)
        np.testing.assert_allclose(ours[:, 0], theirs[:, 0], atol=1e-3)
        np.testing.assert_allclose(ours[:, 2], theirs[:, 2], atol=2e-3)


def test_a_pole_left_alone_falls_exponentially(balance):
    # Small angles, free cart: angle'' = rate^2 angle with rate^2 = g (M + m) m l / ((M + m) (I + m l^2) - (m l)^2).
    rate = math.sqrt(GRAVITY * 0.6 * 0.095 / (0.6 * (0.0323074 + 0.1 * 0.95**2) - 0.095**2))
    assert rate == pytest.approx(2.944, abs=1e-3)
    theirs, ours = balance(0.02, [0.0] * 40, True, step=0.001)
    expected = 0.02 * math.cosh(rate * 0.8)
    assert theirs[-1, 1] == pytest.approx(expected, rel=0.01)
    assert ours[-1, 1] == pytest.approx(expected, rel=0.04)  # 0.02 s a tick: 2 %


def test_a_force_moves_cart_and_pole_as_their_masses_let_it(balance):
    # From rest and upright: the cart accelerates by F / (M + m - (m l)^2 / (I + m l^2)).
    acceleration = 10.0 / (0.6 - 0.095**2 / (0.0323074 + 0.1 * 0.95**2))
    theirs, ours = balance(0.0, [10.0], True, step=0.0005)
    assert ours[0, 0] == pytest.approx(acceleration * 0.02**2, rel=0.02)  # velocity first, then position
    assert theirs[0, 0] == pytest.approx(acceleration * 0.02**2 / 2, rel=0.05)
