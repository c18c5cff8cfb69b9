"""Ball and platform against recordings of PhysX 4.1.1 (see golden/README.md) and against numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unity_envs.worlds import ball3d_physics as physics

FLAT = np.array([0.0, 0.0, 0.0, 1.0])


def largest_differences(case: dict, radius: float, gravity: float) -> tuple[float, float, float]:
    """Of position, velocity and spin, over all ticks of a recorded case, played from its first state."""
    recorded = np.array(case["physx4"])
    ball = recorded[0].copy()
    balls = [ball.copy()]
    for tick in range(case["ticks"]):
        physics.advance_ball(ball, np.array(case["q"] or case["platform"][tick]), radius, gravity)
        balls.append(ball.copy())
    difference = np.abs(np.array(balls) - recorded)
    return difference[:, :3].max(), difference[:, 3:6].max(), difference[:, 6:].max()


def assert_follows(case: dict, radius: float, gravity: float) -> None:
    position, velocity, spin = largest_differences(case, radius, gravity)
    assert position <= 5e-4 and velocity <= 1e-3 and spin <= 2e-3, (case["name"], position, velocity, spin)


def test_recorded_unit_cases_are_followed_in_every_tick(golden):
    cases = golden("units")["cases"]
    assert len(cases) == 16
    for case in cases:
        assert_follows(case, 0.5, 9.81)


def test_recorded_cases_with_other_mass_scale_or_gravity_are_followed_in_every_tick(golden):
    data = golden("variants")
    assert len(data["cases"]) == 21
    for case in data["cases"]:
        variant = data["meta"]["variants"][case["variant"]]
        assert_follows(case, variant["radius"], -variant["gravity"])


def test_the_recordings_notice_a_wrong_radius_or_gravity(golden):
    data = golden("variants")
    roll = next(case for case in data["cases"] if case["variant"] == "scale_2" and case["name"].startswith("roll"))
    assert largest_differences(roll, 0.5, 9.81)[0] > 0.1
    assert largest_differences(roll, 1.0, 9.0)[0] > 0.05


def test_a_free_ball_falls_by_gravity_alone():
    ball = np.array([0.0, 9.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    for _ in range(5):
        physics.advance_ball(ball, FLAT, 0.5, 10.0)
    # v = 5 ticks of 0.2 m/s; y = 9 - (1 + 2 + 3 + 4 + 5) ticks of 0.004 m
    np.testing.assert_allclose(ball[:6], [0.1, 8.94, 0.0, 1.0, -1.0, 0.0], atol=1e-12)


@pytest.mark.parametrize("radius", [0.5, 1.5])
def test_a_resting_ball_stays_at_rest(radius):
    ball = np.array([0.3, 2.5 + radius, -0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    before = ball.copy()
    for _ in range(500):
        physics.advance_ball(ball, FLAT, radius, 9.81)
    np.testing.assert_allclose(ball, before, atol=1e-9)


def test_a_ball_that_starts_inside_is_pushed_out_without_keeping_speed():
    for start in ([0.1, 2.4, 0.2], [0.0, 0.0, 0.0], [2.45, 0.1, 0.0], [0.0, 0.1, -2.45]):
        ball = np.array(start + [0.0] * 6)
        for _ in range(100):
            physics.advance_ball(ball, FLAT, 0.5, 9.81)
        assert np.isfinite(ball).all()
    ball = np.array([0.1, 2.4, 0.2] + [0.0] * 6)
    physics.advance_ball(ball, FLAT, 0.5, 9.81)
    assert ball[1] == pytest.approx(2.6)  # 10 m/s at most, for one tick
    assert ball[4] == pytest.approx(0.0)


def test_a_full_action_turns_the_platform_by_two_degrees_about_z_then_x():
    platform, turn = FLAT.copy(), np.zeros(4)
    physics.set_turn(turn, 1.0, 0.0)
    physics.rotate_platform(platform, turn)
    one_degree = math.radians(1.0)
    np.testing.assert_allclose(platform, [0.0, 0.0, math.sin(one_degree), math.cos(one_degree)], atol=1e-15)
    physics.set_turn(turn, 0.0, -0.5)
    physics.rotate_platform(platform, turn)
    expected = math.cos(one_degree) * math.sin(-one_degree / 2)
    assert platform[0] == pytest.approx(expected, abs=1e-15)
    assert np.linalg.norm(platform) == pytest.approx(1.0)


@pytest.mark.parametrize("about", [0, 1])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_tilt_guard_stops_turns_past_a_quarter_but_lets_them_back(about, sign):
    platform, turn = FLAT.copy(), np.zeros(4)
    component = 2 - 2 * about
    physics.set_turn(turn, *(sign if axis == about else 0.0 for axis in range(2)))
    for _ in range(100):
        physics.rotate_platform(platform, turn)
    # 15 steps of one degree (half angle): sin 15 deg is the first past 0.25
    assert platform[component] == pytest.approx(sign * math.sin(math.radians(15.0)), abs=1e-12)
    physics.set_turn(turn, *(-sign if axis == about else 0.0 for axis in range(2)))
    physics.rotate_platform(platform, turn)
    assert platform[component] == pytest.approx(sign * math.sin(math.radians(14.0)), abs=1e-12)


def test_random_numbers_are_those_of_splitmix64():
    generator = np.array([1234567], np.uint64)
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    drawn = [physics.uniform(generator, 0.0, 1.0) for _ in published]
    assert drawn == [(number >> 11) * 2.0**-53 for number in published]


@pytest.mark.parametrize(
    ("ball", "failed"),
    [
        ((0.0, -2.0, 0.0), False),
        ((0.0, -2.001, 0.0), True),
        ((3.0, 0.0, -3.0), False),
        ((-3.001, 0.0, 0.0), True),
        ((0.0, 0.0, 3.001), True),
    ],
)
def test_failure_is_beyond_its_limits_only(ball, failed):
    assert physics.has_failed(np.array(ball + (0.0,) * 6)) == failed
