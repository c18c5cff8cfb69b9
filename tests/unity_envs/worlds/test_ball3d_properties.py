"""What holds for ball and platform in any state: energy, mirror images, mass, rotation. hypothesis makes the states."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from unity_envs.worlds import ball3d_physics as physics

any_cases = settings(derandomize=True, deadline=None, max_examples=100)

# Names of numbers that a mirror at x = 0 turns round: of vectors x, of axial vectors (spin, quaternion) y and z.
MIRROR_VECTOR, MIRROR_AXIAL = np.array([-1.0, 1.0, 1.0]), np.array([1.0, -1.0, -1.0])


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_subnormal=False)


@st.composite
def platforms(draw: st.DrawFn) -> np.ndarray:
    """Rotations [4] that the tilt guard allows: about x, then z."""
    half_x, half_z = (math.radians(draw(numbers(-16.0, 16.0))) for _ in range(2))
    (sx, cx), (sz, cz) = ((math.sin(half), math.cos(half)) for half in (half_x, half_z))
    return np.array([sx * cz, -sx * sz, cx * sz, cx * cz])


@st.composite
def balls(draw: st.DrawFn) -> np.ndarray:
    """Balls [9] anywhere over or beside the platform."""
    position = [draw(numbers(-3.0, 3.0)), draw(numbers(2.0, 5.0)), draw(numbers(-3.0, 3.0))]
    velocity = [draw(numbers(-6.0, 6.0)) for _ in range(3)]
    return np.array(position + velocity + [draw(numbers(-6.0, 6.0)) for _ in range(3)])


radii = st.sampled_from([0.375, 0.5, 1.0, 1.5])
gravities = st.sampled_from([4.0, 9.81, 20.0])


def depth(ball: np.ndarray, platform: np.ndarray, radius: float) -> float:
    """How far the ball is inside of the platform; infinite for its centre."""
    centre = rotation(platform).T @ ball[:3]
    distance = np.linalg.norm(centre - np.clip(centre, -2.5, 2.5))
    return math.inf if distance == 0 else max(0.0, radius - float(distance))


def rotation(q: np.ndarray) -> np.ndarray:
    x, y, z, w = q
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def kinetic(ball: np.ndarray, radius: float) -> float:
    """Kinetic energy per unit of mass, J/kg."""
    return float(0.5 * ball[3:6] @ ball[3:6] + 0.2 * radius**2 * ball[6:] @ ball[6:])


def energy(ball: np.ndarray, radius: float, gravity: float) -> float:
    return kinetic(ball, radius) + gravity * float(ball[1])


# ---- energy ----


@any_cases
@given(balls(), platforms(), radii, gravities)
def test_a_contact_with_a_still_platform_adds_no_motion(ball, platform, radius, gravity):
    """Landing, bouncing, sliding, rolling over an edge: none gives the ball more kinetic energy than falling does."""
    for _ in range(60):
        before = ball.copy()
        physics.advance_ball(ball, platform, radius, gravity)
        before[4] -= gravity * physics.TICK
        assert kinetic(ball, radius) <= kinetic(before, radius) * (1 + 1e-12)


@any_cases
@given(balls(), platforms(), radii, gravities)
def test_energy_grows_by_no_more_than_a_ball_is_lifted_out_of_the_platform(ball, platform, radius, gravity):
    """A fast ball is found inside of the platform and pushed out, which lifts it; otherwise energy only falls."""
    assume(math.isfinite(depth(ball, platform, radius)))
    for _ in range(60):
        before, lift = energy(ball, radius, gravity), depth(ball, platform, radius)
        physics.advance_ball(ball, platform, radius, gravity)
        assert energy(ball, radius, gravity) <= before + gravity * lift + 1e-12


@any_cases
@given(balls(), gravities)
def test_a_free_ball_follows_the_parabola(ball, gravity):
    """Velocity first, then position: g / 2 dt^2 n (n + 1) below the straight line; the spin fades slowly."""
    ball[1] += 20.0
    start = ball.copy()
    for _ in range(50):
        physics.advance_ball(ball, np.array([0.0, 0.0, 0.0, 1.0]), 0.5, gravity)
    line = start[:3] + start[3:6] * 1.0
    line[1] -= gravity / 2 * 0.02**2 * 50 * 51
    np.testing.assert_allclose(ball[:3], line, atol=1e-9)
    if np.linalg.norm(start[6:]) <= 7.0:
        np.testing.assert_allclose(ball[6:], start[6:] * (1 - 0.01 * 0.02) ** 50, atol=1e-9)
    else:
        assert np.linalg.norm(ball[6:]) <= 7.0


# ---- symmetry ----


@any_cases
@given(balls(), platforms(), radii, st.lists(st.tuples(numbers(-1, 1), numbers(-1, 1)), min_size=1, max_size=8))
def test_the_mirror_image_at_x_moves_as_the_mirror_image(ball, platform, radius, actions):
    image = np.concatenate([ball[:3] * MIRROR_VECTOR, ball[3:6] * MIRROR_VECTOR, ball[6:] * MIRROR_AXIAL])
    platform_image = np.append(platform[:3] * MIRROR_AXIAL, platform[3])
    turn, turn_image = np.zeros(4), np.zeros(4)
    for action_z, action_x in actions:
        physics.set_turn(turn, action_z, action_x)
        physics.set_turn(turn_image, -action_z, action_x)
        for _ in range(5):
            physics.rotate_platform(platform, turn)
            physics.rotate_platform(platform_image, turn_image)
            physics.advance_ball(ball, platform, radius, 9.81)
            physics.advance_ball(image, platform_image, radius, 9.81)
        np.testing.assert_allclose(platform_image[:3], platform[:3] * MIRROR_AXIAL, atol=1e-12)
        np.testing.assert_allclose(image[:3], ball[:3] * MIRROR_VECTOR, atol=1e-9)
        np.testing.assert_allclose(image[3:6], ball[3:6] * MIRROR_VECTOR, atol=1e-9)
        np.testing.assert_allclose(image[6:], ball[6:] * MIRROR_AXIAL, atol=1e-9)


@any_cases
@given(balls(), platforms(), radii)
def test_x_and_z_may_be_exchanged(ball, platform, radius):
    swap = [2, 1, 0]  # a mirror at x = z: axial vectors change their sign as well
    image = np.concatenate([ball[:3][swap], ball[3:6][swap], -ball[6:][swap]])
    platform_image = np.append(-platform[:3][swap], platform[3])
    for _ in range(50):
        physics.advance_ball(ball, platform, radius, 9.81)
        physics.advance_ball(image, platform_image, radius, 9.81)
    np.testing.assert_allclose(image[:3], ball[:3][swap], atol=1e-8)
    np.testing.assert_allclose(image[3:6], ball[3:6][swap], atol=1e-8)
    np.testing.assert_allclose(image[6:], -ball[6:][swap], atol=1e-8)


@settings(any_cases, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers(0.01, 100.0), st.integers(0, 1000))
def test_the_mass_has_no_effect(new_game, mass, seed):
    usual, other = new_game(agents=4, seed=seed), new_game(agents=4, seed=seed)
    other.parameters.values["mass"] = mass
    usual.reset()
    other.reset()
    for actions in np.random.default_rng(seed).uniform(-1, 1, (40, 4, 2)):
        usual.step(actions)
        other.step(actions)
        np.testing.assert_array_equal(usual.world.agents["ball"], other.world.agents["ball"])


# ---- the platform ----


@any_cases
@given(platforms(), st.lists(st.tuples(numbers(-2, 2), numbers(-2, 2)), min_size=1, max_size=40))
def test_the_rotation_stays_of_length_1_and_within_the_guard(platform, actions):
    turn = np.zeros(4)
    for action_z, action_x in actions:
        physics.set_turn(turn, action_z, action_x)
        for _ in range(5):
            before = platform.copy()
            physics.rotate_platform(platform, turn)
            assert abs(np.linalg.norm(platform) - 1.0) <= 1e-15 * 4
            # Past the guard, turns about that axis only lead back; those about the other one change it a little.
            for own in (0, 2):
                assert abs(platform[own]) <= max(abs(before[own]), 0.25 + math.sin(math.radians(1.0))) + 1e-2
            # One tick turns by 2 degrees about each axis at most.
            assert abs(platform @ before) >= math.cos(math.radians(1.0) * math.sqrt(2)) - 1e-12
