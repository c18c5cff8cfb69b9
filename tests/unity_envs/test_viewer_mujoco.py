"""MuJoCo's renderer. These tests need its graphics: where they cannot start, they fail."""

import functools
import os
import subprocess
import sys

import numpy as np
import pytest

from unity_envs import drawing_mujoco, drawing_plain
from unity_envs.pictures import PictureError
from unity_envs.stages import scene_of_poses
from unity_envs.viewer import choose_renderer, render_world

TILTED = 0.07, 0.0, -0.1, np.sqrt(1 - 0.07**2 - 0.1**2)
POSES = {
    "CubeMover": [(2.0,)],
    "PoleBalancer": [(0.8, 0.8 - 0.95 * np.sin(0.2), 0.15 + 0.95 * np.cos(0.2), 0.2)],
    "3DBall": [(*TILTED, x, 3.2, z, 0.5) for x, z in ((0.5, 1.0), (-1.5, 0.0), (2.0, -2.0), (0.0, 0.0), (1.0, 2.0))],
    "Visual3DBall": [(*TILTED, -1.0, 3.3, 0.5, 1.0)],
}


@pytest.mark.parametrize("behavior", POSES)
@pytest.mark.parametrize("size", [(320, 240), (161, 83)])
def test_both_renderers_draw_the_same_things_at_the_same_places(behavior, size):
    scene = scene_of_poses(behavior, np.array(POSES[behavior]), size[0] / size[1])
    plain, mujoco = (draw(scene, *size).astype(int) for draw in (drawing_plain.render, drawing_mujoco.render))
    assert plain.shape == mujoco.shape == (size[1], size[0], 3)
    difference = np.abs(plain - mujoco)
    assert difference.mean() < 6
    # The light differs a little; the outlines do not: where both have plain background, and where neither.
    empty = [np.abs(picture - picture[0, 0]).max(axis=2) < 3 for picture in (plain, mujoco)]
    assert np.mean(empty[0] != empty[1]) < 0.03
    assert np.mean(difference.max(axis=2) > 60) < 0.02


def test_pictures_do_not_depend_on_those_before():
    one = scene_of_poses("CubeMover", np.array([[2.0]]), 2.0)
    many = scene_of_poses("3DBall", np.array(POSES["3DBall"] * 20), 1.0)
    first = drawing_mujoco.render(one, 200, 100)
    drawing_mujoco.render(many, 300, 300)
    drawing_mujoco.render(one, 100, 50)
    assert (drawing_mujoco.render(one, 200, 100) == first).all()


def test_a_world_is_drawn_as_it_is_now(new_game):
    game = new_game(agents=2)
    first = render_world(game.world, 160, 120, "mujoco")
    game.step(1.0)
    assert (render_world(game.world, 160, 120, "mujoco") != first).any()


def run(code: str, **variables: str) -> str:
    kept = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept | variables, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Exception" not in done.stderr  # as in "Exception ignored in", at the end of the program
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems draw without a screen by themselves")
def test_without_a_screen_it_is_chosen_all_the_same():
    code = "from unity_envs.viewer import choose_renderer as c; r = c(); print(r.name, r.note)"
    assert run(code) == "mujoco None"


def test_graphics_that_cannot_start_are_told_in_one_line():
    code = """if True:
        from unity_envs.viewer import PictureError, choose_renderer
        renderer = choose_renderer("auto")
        print(renderer.name, renderer.note, sep=": ")
        try:
            choose_renderer("mujoco")
        except PictureError as error:
            print(error)
    """
    auto, error = run(code, MUJOCO_GL="nonsense").splitlines()
    assert auto == f"plain: {error}"
    assert error.startswith("MuJoCo's graphics (MUJOCO_GL: nonsense) cannot start: RuntimeError: invalid value")


def test_without_mujoco_the_plain_renderer_is_used_and_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco", None)
    monkeypatch.setattr(drawing_mujoco, "_start", functools.cache(drawing_mujoco._start.__wrapped__))
    renderer = choose_renderer("auto")
    assert renderer.name == "plain"
    assert renderer.note == 'MuJoCo is not installed: pip install "mlagents-bridge[mujoco]"'
    with pytest.raises(PictureError, match="MuJoCo is not installed"):
        choose_renderer("mujoco")
    assert choose_renderer("plain").note is None
