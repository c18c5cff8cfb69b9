"""Pictures by MuJoCo's renderer (extra `mujoco`): only its drawing is used, nothing is simulated here.

MuJoCo is right-handed with z up, so y and z change places, which keeps right on the right. All pictures come from one
graphics context, which stays open until the program ends; use it from one thread.
"""

from __future__ import annotations

import atexit
import functools
import os
import sys
import warnings
from typing import Any

import numpy as np

from unity_envs.drawing_plain import LIGHT, SKY
from unity_envs.pictures import Picture, PictureError
from unity_envs.scenes import BACKGROUND, BOX, SHAPE, SPHERE, Camera, Scene, rotation_matrices

SWAP = [0, 2, 1]  # of the axes x, y, z
SAMPLES = 4  # of each pixel, against jagged edges
SHADOW_MAP = 2048  # pixels
INSTALL = 'pip install "mlagents-bridge[mujoco]"'


class MujocoUnavailable(PictureError):
    """MuJoCo is not installed or its graphics cannot start. The message is one line with the reason."""


def render(scene: Scene, width: int, height: int) -> Picture:
    """The picture, `[height, width, 3]`. Raises MujocoUnavailable."""
    return start().draw(scene, width, height)


def start() -> _Context:
    """The graphics context; made by the first call. Raises MujocoUnavailable."""
    started = _start()
    if isinstance(started, MujocoUnavailable):
        raise started
    return started


@functools.cache  # failures as well: to try again may end the whole program
def _start() -> _Context | MujocoUnavailable:
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform == "linux" and not screen and "mujoco" not in sys.modules:
        os.environ.setdefault("MUJOCO_GL", "egl")  # read once, as mujoco is imported: drawing without a screen
    try:
        with warnings.catch_warnings(action="ignore"):  # of what then comes as an exception
            import mujoco

            context = _Context(mujoco)
            ball = np.array([(SPHERE, (1.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0), BACKGROUND)], SHAPE)
            context.draw(Scene(ball, Camera((0.0, 0.0, -9.0), (0.0, 0.0, 0.0), 30.0)), 64, 64)  # some fail only then
    except Exception as error:  # graphics drivers fail in many ways: ImportError, RuntimeError, FatalError, GLError
        if isinstance(error, ModuleNotFoundError) and error.name == "mujoco":
            return MujocoUnavailable(f"MuJoCo is not installed: {INSTALL}")
        backend = os.environ.get("MUJOCO_GL") or "the default"
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return MujocoUnavailable(f"MuJoCo's graphics (MUJOCO_GL: {backend}) cannot start: {reason}")
    atexit.register(context.close)
    return context


class _Context:
    """One graphics context with one picture buffer, which is made anew when the size changes."""

    def __init__(self, mujoco: Any) -> None:
        self._mujoco = mujoco
        self._size = (64, 64)
        self._model = mujoco.MjModel.from_xml_string(_model())
        self._data = mujoco.MjData(self._model)
        mujoco.mj_forward(self._model, self._data)
        self._gl = mujoco.GLContext(*self._size)
        self._gl.make_current()
        self._drawing = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._drawing)
        if self._drawing.currentBuffer != mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value:
            raise RuntimeError("no buffer to draw into without a window")
        self._scene = mujoco.MjvScene(self._model, 0)

    def draw(self, scene: Scene, width: int, height: int) -> Picture:
        mujoco = self._mujoco
        self._gl.make_current()
        if (width, height) != self._size:
            mujoco.mjr_resizeOffscreen(width, height, self._drawing)
            self._size = (width, height)
        if self._scene.maxgeom < len(scene.shapes) + 1:
            self._scene = mujoco.MjvScene(self._model, 2 * len(scene.shapes) + 1)
        camera = mujoco.MjvCamera()
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, self._data, mujoco.MjvOption(), None, camera, everything, self._scene)
        self._scene.ngeom = 0
        self._add_shapes(scene)
        self._place_camera(scene, width / height)
        picture = np.empty((height, width, 3), np.uint8)
        view = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjr_render(view, self._scene, self._drawing)
        mujoco.mjr_readPixels(picture, None, view, self._drawing)
        return picture[::-1].copy()  # OpenGL counts rows from the bottom

    def close(self) -> None:
        self._gl.make_current()
        self._drawing.free()
        self._gl.free()

    def _add_shapes(self, scene: Scene) -> None:
        geoms = self._mujoco.mjtGeom
        matrices = rotation_matrices(scene.shapes["rotation"])[:, SWAP][:, :, SWAP]
        for shape, axes in zip(scene.shapes, matrices, strict=True):
            x, y, z = shape["size"]
            if shape["kind"] == BOX:
                self._add(geoms.mjGEOM_BOX, (x, z, y), shape["position"], axes, shape["color"])
            elif shape["kind"] == SPHERE:
                self._add(geoms.mjGEOM_SPHERE, (x, x, x), shape["position"], axes, shape["color"])
            else:  # MuJoCo counts the length without the caps
                self._add(geoms.mjGEOM_CAPSULE, (x, y - x, 0.0), shape["position"], axes, shape["color"])
        if scene.ground is not None:  # where it ends it has the background's color
            below = np.array([0.0, scene.ground - 1.0, 0.0])
            self._add(geoms.mjGEOM_BOX, (200.0, 200.0, 1.0), below, np.eye(3), np.array(BACKGROUND))

    def _add(self, kind: Any, size: Any, position: Any, axes: Any, color: Any) -> None:
        geom = self._scene.geoms[self._scene.ngeom]
        self._scene.ngeom += 1
        rgba = np.append(color, 1.0).astype(np.float32)
        self._mujoco.mjv_initGeom(geom, kind.value, np.array(size), position[SWAP], axes.flatten(), rgba)
        geom.specular = 0.0
        # mjv_initGeom leaves these as the memory was, and what is decoration by chance casts no shadow.
        geom.category = self._mujoco.mjtCatBit.mjCAT_DYNAMIC.value
        geom.objtype, geom.objid, geom.segid, geom.camdist = 0, -1, -1, 0.0

    def _place_camera(self, scene: Scene, aspect: float) -> None:
        camera, axes = scene.camera, scene.camera.axes
        centre = np.mean([scene.shapes["position"].min(axis=0), scene.shapes["position"].max(axis=0)], axis=0)
        radius = np.linalg.norm(scene.shapes["position"] - centre, axis=1).max() + scene.shapes["size"].max() * 2
        distance = float(np.linalg.norm(camera.position - centre))
        near, far = max(distance - 1.5 * radius, 0.05 * distance), distance + 2.5 * radius  # also of the shadows
        for view in self._scene.camera:
            view.pos = np.array(camera.position)[SWAP]
            view.forward, view.up = axes[2, SWAP], axes[1, SWAP]
            view.frustum_near, view.frustum_far = near, far
            view.frustum_bottom, view.frustum_top = -near * camera.slope, near * camera.slope
            view.frustum_center, view.frustum_width = 0.0, near * camera.slope * aspect
        self._drawing.shadowClip = 2 * radius  # with less, surfaces get specks
        self._scene.lights[1].pos = (centre + LIGHT * distance)[SWAP]


def _model() -> str:
    """A world without bodies: light, background and quality."""
    x, y, z = -LIGHT
    sky = " ".join(f"{value:.4f}" for value in SKY)
    sun = " ".join(f"{value:.4f}" for value in (1.0 - SKY) / LIGHT[1])  # what faces up gets 1 in all
    background = " ".join(f"{(round(255 * value) + 0.3) / 255:.5f}" for value in BACKGROUND)  # it cuts, not rounds
    return f"""<mujoco>
      <statistic center="0 0 0" extent="1"/>
      <visual>
        <headlight ambient="{sky}" diffuse="0 0 0" specular="0 0 0"/>
        <quality shadowsize="{SHADOW_MAP}" offsamples="{SAMPLES}"/>
      </visual>
      <asset>
        <texture type="skybox" builtin="flat" rgb1="{background}" rgb2="{background}" width="8" height="48"/>
      </asset>
      <worldbody>
        <light directional="true" castshadow="true" dir="{x} {z} {y}" ambient="0 0 0" diffuse="{sun}" specular="0 0 0"/>
      </worldbody>
    </mujoco>"""
