"""What holds for cart and pole in any state: momentum, energy, mirror images. hypothesis makes the states."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unity_envs.worlds import pole_balancer as balancer

any_cases = settings(derandomize=True, deadline=None, max_examples=100)
commands = st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=40)


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_subnormal=False)


@st.composite
def states(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Cart [2] and pole [6] within the limits, on their hinge and moving with it."""
    x, speed = draw(numbers(-2.3, 2.3)), draw(numbers(-2.0, 2.0))
    angle, spin = math.radians(draw(numbers(-14.0, 14.0))), draw(numbers(-1.5, 1.5))
    sine, cosine = 0.95 * math.sin(angle), 0.95 * math.cos(angle)
    pole = [x - sine, 0.15 + cosine, angle, speed - cosine * spin, -sine * spin, spin]
    return np.array([x, speed]), np.array(pole)


def momentum(cart: np.ndarray, pole: np.ndarray) -> float:
    """Along x, of both, kg m/s."""
    return 0.5 * float(cart[1]) + 0.1 * float(pole[3])


def energy(cart: np.ndarray, pole: np.ndarray) -> float:
    """Of both, J."""
    moving = 0.25 * cart[1] ** 2 + 0.05 * (pole[3] ** 2 + pole[4] ** 2) + 0.5 * 0.0323074 * pole[5] ** 2
    return float(moving + 0.1 * 9.81 * pole[1])


def play(state: tuple[np.ndarray, np.ndarray], commands: list[float], uses_force: bool) -> np.ndarray:
    """States [ticks, 8] after each tick; `commands` are parts of 10 N or 2 m/s."""
    cart, pole = (part.copy() for part in state)
    way = []
    for command in commands:
        balancer.advance(cart, pole, command * (10.0 if uses_force else 2.0), uses_force)
        way.append(np.concatenate([cart, pole]))
    return np.array(way)


@any_cases
@given(states(), commands)
def test_only_the_force_changes_the_momentum_along_x(state, commands):
    cart, pole = state
    for command in commands:
        before = momentum(cart, pole)
        balancer.advance(cart, pole, 10.0 * command, True)
        assert momentum(cart, pole) - before == pytest.approx(10.0 * command * 0.02, abs=1e-12)


@any_cases
@given(states())
def test_without_a_force_energy_falls_a_little_and_never_grows(state):
    cart, pole = state
    start = energy(cart, pole)
    last = start
    for _ in range(200):
        balancer.advance(cart, pole, 0.0, True)
        assert energy(cart, pole) <= last + 1e-9
        last = energy(cart, pole)
        if balancer.has_failed(cart, pole):
            break
    assert last >= start - 6e-3  # of about 0.03 J that a falling pole sets free; measured: 4e-3


@any_cases
@given(states(), commands, st.booleans())
def test_the_mirror_image_moves_as_the_mirror_image(state, commands, uses_force):
    turned = np.array([-1.0, -1.0, -1.0, 1.0, -1.0, -1.0, 1.0, -1.0])
    image = state[0] * turned[:2], state[1] * turned[2:]
    way = play(state, commands, uses_force)
    image_way = play(image, [-command for command in commands], uses_force)
    np.testing.assert_allclose(image_way, way * turned, atol=1e-12)


@any_cases
@given(states(), commands, st.booleans(), numbers(-5.0, 5.0))
def test_the_place_has_no_effect(state, commands, uses_force, shift):
    shifted = state[0] + np.array([shift, 0]), state[1] + np.array([shift, 0, 0, 0, 0, 0])
    moved = np.array([1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]) * shift
    np.testing.assert_allclose(
        play(shifted, commands, uses_force), play(state, commands, uses_force) + moved, atol=1e-9
    )


@any_cases
@given(states(), numbers(-3.0, 3.0), commands)
def test_moving_along_has_no_effect_on_the_pole(state, speed, commands):
    """Seen from a frame that moves at a constant speed; with a force, as a command sets the velocity in ours."""
    cart, pole = state
    moving = cart + np.array([0, speed]), pole + np.array([0, 0, 0, speed, 0, 0])
    ticks = 0.02 * np.arange(1, len(commands) + 1)
    expected = play(state, commands, True)
    expected[:, [1, 5]] += speed
    expected[:, [0, 2]] += speed * ticks[:, None]
    np.testing.assert_allclose(play(moving, commands, True), expected, atol=1e-9)


@any_cases
@given(states(), commands, st.booleans())
def test_the_hinge_holds(state, commands, uses_force):
    for x, _, com_x, com_y, angle, *_ in play(state, commands, uses_force):
        assert abs(com_x + 0.95 * math.sin(angle) - x) <= 5e-3
        assert abs(com_y - 0.95 * math.cos(angle) - 0.15) <= 5e-3


def test_an_upright_pole_at_rest_stays_upright():
    """It hangs 1 mm below its hinge: the cart, though held, gives way inside of the solver, as in PhysX."""
    cart, pole = np.zeros(2), np.array([0.0, 1.1, 0.0, 0.0, 0.0, 0.0])
    for _ in range(200):
        balancer.advance(cart, pole, 0.0, True)
    x, speed, com_x, com_y, angle, com_vx, _, spin = np.concatenate([cart, pole])
    assert [x, speed, com_x, angle, com_vx, spin] == [0.0] * 6
    assert com_y == pytest.approx(1.1, abs=1e-3)
