"""Recordings of episodes as files: this text is the format. `recording.py` writes it, `replay.py` plays it again.

A recording is a JSON object with `meta` and `episodes`. Units are m, s, rad; y is up; quaternions are x, y, z, w. A
tick is 0.02 s. Row 0 of all states is the start, row t the state after tick t; a decision lasts 5 ticks in 3DBall and 1
in the others.

| key of an episode | meaning                                                                                       |
|-------------------|-----------------------------------------------------------------------------------------------|
| `kind`            | optional, also called `policy`. `random` or `zero`: the actions were chosen without a look at |
|                   | the state; anything else: by a player or a controller, see `comparison.py`                    |
| `variant`         | see below                                                                                     |
| `actions`         | one for each decision                                                                         |
| `terminal_tick`   | ticks of physics from the start to the state that ended the episode                           |
| `reason`          | what that state did, see below; or `cap`: the time limit; or `cut`: the recording stops       |

The end is tested after the tick: `terminal_tick` is the first row that fails. (In Unity the agent of 3DBall tests first
and moves then: it ends in its call number terminal_tick + 1.) All but the start and `actions` may be left out; without
`terminal_tick` all actions are played.

| 3DBall                       | meaning                                                                               |
|------------------------------|---------------------------------------------------------------------------------------|
| `variant`                    | key of `meta.variants`, whose entry has `radius` and `gravity` (along y, so -9.81);   |
|                              | without one the ball is that of the world. The mass has no effect                     |
| `q0`, `p0`, `v0`, `w0`       | rotation of the platform [4]; the ball from its centre: position, velocity, spin [3], |
|                              | the last two optional and 0 by default                                                |
| `actions`                    | [decisions, 2], about z and x; for discrete actions the turns that they mean          |
| `decision_`, `tick_platform` | [rows, 4] at decisions, after ticks                                                   |
| `decision_`, `tick_ball`     | [rows, 9] likewise, in BALL_COLUMNS                                                   |
| `terminal_ball`              | [9]                                                                                   |
| `reason`                     | `dy`: below -2 m, else `dx`, `dz`: beyond 3 m                                         |

A recording of 3DBall may have `cases` as well: a ball over a platform that is put, not turned; without an end. Keys:
`name`, `variant`, `ticks`, `platform` ("constant" with `q`, or a quaternion for each tick), and `states` or `physx4`
[ticks + 1, 9], whose row 0 is the start.

| PoleBalancer     | meaning                                                                          |
|------------------|----------------------------------------------------------------------------------|
| `variant`        | `vel` or `force`                                                                 |
| `theta0`         | angle of the pole                                                                |
| `cart0`, `pole0` | optional, for a start in motion: position and velocity [2]; centre x, y (from    |
|                  | that of the cart), angle, velocity x, y, spin [6]. Without: cart at 0, all still |
| `actions`        | [decisions] -2 or 2 m/s with `vel`, -10 or 10 N with `force`, 0 for none         |
| `states`         | [rows, 9] in POLE_COLUMNS; y is from the centre of the cart                      |
| `reason`         | `x`: beyond 2.4 m, else `angle`: beyond 15 degrees                               |

| CubeMover   | meaning                                                |
|-------------|--------------------------------------------------------|
| `variant`   | `basic`, or left out                                   |
| `start`     | the cell of the cube                                   |
| `actions`   | [decisions] the numbers of the world, -1 for any other |
| `positions` | [decisions + 1] cells                                  |
| `rewards`   | [decisions]                                            |
| `reason`    | `small` or `large`: the goal that was reached          |
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Json = dict[str, Any]

CAP, CUT = "cap", "cut"
REASONS = {
    "CubeMover": ("small", "large", CUT),
    "PoleBalancer": ("x", "angle", CAP, CUT),
    "3DBall": ("dy", "dx", "dz", CAP, CUT),
}
BALL_COLUMNS = ("x", "y", "z", "vx", "vy", "vz", "wx", "wy", "wz")
POLE_COLUMNS = (
    "cart_x",
    "cart_vx",
    "pole_qz",
    "pole_qw",
    "pole_com_vx",
    "pole_wz",
    "pole_com_x",
    "pole_com_y",
    "pole_com_vy",
)


def load(path: Path) -> Json:
    """The JSON object in a file. Raises ValueError, naming the file, when it cannot be read or holds something else."""
    try:
        recording = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is no JSON file: not even text in UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: is no JSON file: line {error.lineno}, column {error.colno}: {error.msg}") from error
    if not isinstance(recording, dict):
        raise ValueError(f"{path}: is no recording: must hold an object with meta and episodes")
    return recording


def write(path: Path, recording: Json) -> None:
    """Write the whole file or nothing. Raises OSError."""
    texts = {
        key: [json.dumps(item, allow_nan=False) for item in recording[key]]
        for key in ("cases", "episodes")
        if key in recording
    }
    write_texts(path, recording["meta"], texts)


def write_texts(path: Path, meta: Json, lists: Mapping[str, Sequence[str]]) -> None:
    """The same for cases and episodes that are JSON already. Each gets a line: so lines can be compared."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.write(f'{{"meta": {json.dumps(meta)}')
            for key, texts in lists.items():
                file.write(f',\n"{key}": [\n')
                for index, text in enumerate(texts):
                    file.write(f"{',' if index else ' '}{text}\n")
                file.write("]")
            file.write("}\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def reason_of_end(name: str, world: Any, state: Any) -> str | None:
    """Why `state`, a row of `world.agents`, ends an episode of the world `name`; None if it does not."""
    if name == "3DBall":
        x, y, z = state["ball"][:3]
        return "dy" if y < -2 else "dx" if abs(x) > 3 else "dz" if abs(z) > 3 else None
    if name == "PoleBalancer":
        return "x" if abs(state["cart"][0]) > 2.4 else "angle" if abs(state["pole"][2]) > math.radians(15) else None
    return dict(zip(world.goals, ("small", "large"), strict=True)).get(int(state["position"]))


def pole_states(agents: NDArray[Any]) -> Floats:
    """States [rows, 9] in POLE_COLUMNS of the world's own [rows]."""
    (x, vx), (com_x, com_y, angle, com_vx, com_vy, spin) = agents["cart"].T, agents["pole"].T
    return np.stack([x, vx, np.sin(angle / 2), np.cos(angle / 2), com_vx, spin, com_x, com_y, com_vy], axis=1)


# ---- reading ----


def objects(recording: Json, key: str) -> list[Json]:
    """The list of objects `recording[key]`, "episodes" or "cases"."""
    items = recording[key]
    if not isinstance(items, list) or not items:
        raise ValueError(f"{key}: must be a list with something in it")
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise ValueError(f"{key[:-1]} {index}: must be an object")
    return items


def numbers(item: Json, key: str, where: str, shape: Sequence[int | None], default: Any = None) -> Floats:
    """`item[key]` as an array of `shape`, None for any length. Raises ValueError for anything but finite numbers."""
    value = item.get(key, default)
    if value is None:
        raise ValueError(f"{where}, {key}: is missing")
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        array = np.asarray("")
    if array.shape == (0,) and shape[:1] == (None,):
        return np.zeros([size or 0 for size in shape])
    fits = len(shape) == array.ndim and all(size in (None, has) for size, has in zip(shape, array.shape, strict=True))
    if array.dtype.kind not in "iuf" or not fits:
        raise ValueError(f"{where}, {key}: must be {_in_words(shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{where}, {key}: must be finite")
    return array.astype(np.float64)


def _in_words(shape: Sequence[int | None]) -> str:
    if len(shape) < 2:
        return "a number" if not shape else "a list of numbers" if shape[0] is None else f"{shape[0]} numbers"
    return f"{'' if shape[0] is None else f'{shape[0]} '}rows of {shape[1]} numbers"


def whole_number(item: Json, key: str, where: str, least: int | None = None) -> int:
    """`item[key]`; raises ValueError unless it is a whole number of at least `least`."""
    value = float(numbers(item, key, where, ()))
    if value != int(value) or (least is not None and value < least):
        wanted = "a whole number" if least is None else f"a whole number, {least} or more"
        raise ValueError(f"{where}, {key}: must be {wanted}, got {value:g}")
    return int(value)


def quaternions(item: Json, key: str, where: str, shape: Sequence[int | None] = ()) -> Floats:
    """`item[key]`, rotations [*shape, 4]."""
    read = numbers(item, key, where, (*shape, 4))
    if np.abs(np.linalg.norm(read, axis=-1) - 1.0).max(initial=0.0) > 1e-3:
        raise ValueError(f"{where}, {key}: must be a quaternion x, y, z, w of length 1")
    return read
