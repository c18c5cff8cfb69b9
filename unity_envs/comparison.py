"""A recording held against what our world made of it: differences, and whether they are within tolerance.

| recording                  | tolerance                                                                              |
|----------------------------|----------------------------------------------------------------------------------------|
| 3DBall, cases              | in every tick 5e-4 m, 1e-3 m/s, 2e-3 rad/s                                             |
| 3DBall, `random`, `zero`   | same tick and reason of the end in 95 %, within 1 tick in all; up to the end 2e-3 m;   |
|                            | with a variant 5e-4 m in 95 %, 5e-3 m in all                                           |
| 3DBall, others             | one decision from each recorded state: 1e-5 m and 2e-4 m/s in 99 %, and in all 1e-4 m, |
|                            | 1e-3 m/s, 2e-3 rad/s                                                                   |
| PoleBalancer, `random`     | same tick and reason of the end in 95 %, within 1 tick in all; cart 1e-4 m, sine of    |
|                            | half the angle 1e-4 up to the end                                                      |
| PoleBalancer, others       | sine of half the angle 1e-5 in the first 20 ticks                                      |
| CubeMover                  | equal; rewards to 1e-6, which is more than the rounding of float32                     |

Actions that somebody chose by looking at the recorded state are judged over a short time: a balanced pole or ball is
unstable, and smallest differences grow without a controller that reacts to them. The tolerances leave 5 to 50 times the
differences to PhysX 4.1.1 for other operation orders and for float32.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unity_envs.recording_format import CUT, POLE_COLUMNS, Floats, Json, numbers, objects, quaternions
from unity_envs.replay import ball_constants, ball_world, case_states

_OPEN_LOOP = ("random", "zero")
_FIRST_TICKS = 20  # of PoleBalancer
_UNITS = {"position": " m", "velocity": " m/s", "spin": " rad/s"}
_SINGLE = {"position": 1e-4, "velocity": 1e-3, "spin": 2e-3}

Labelled = list[tuple[float, str]]  # numbers, each with the episode or case that it comes from


@dataclass
class Difference:
    """Largest absolute differences in one episode or case, over the recorded states up to the first of the two ends.

    `position` in m, `velocity` in m/s, `spin` in rad/s; `rotation` of the pole as the sine of half the angle; NaN for
    what is not recorded. Ends are (tick, reason); None where there is none. `notes`: what else was compared.
    """

    label: str
    recorded_end: tuple[int, str] | None = None
    our_end: tuple[int, str] | None = None
    position: float = np.nan
    velocity: float = np.nan
    spin: float = np.nan
    rotation: float = np.nan
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = []
        if self.our_end is not None:
            recorded = "not recorded" if self.recorded_end is None else "tick {} ({})".format(*self.recorded_end)
            parts.append("end {}, ours tick {} ({})".format(recorded, *self.our_end))
        for name, unit in (("position", " m"), ("rotation", ""), ("velocity", " m/s"), ("spin", " rad/s")):
            if not np.isnan(getattr(self, name)):
                parts.append(f"{name} {getattr(self, name):.1e}{unit}")
        return f"{self.label}: {', '.join([*parts, *self.notes])}"


@dataclass
class Comparison:
    """What `compare` found: a difference for each episode and case, and a sentence for each tolerance not kept."""

    differences: list[Difference] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    judged: int = 0  # numbers held against a tolerance

    @property
    def within(self) -> bool:
        return self.judged > 0 and not self.problems

    @property
    def summary(self) -> str:
        """One line."""
        if self.problems:
            return f"beyond tolerance: {'; '.join(self.problems)}"
        if not self.judged:
            return "nothing to judge: the recording has neither states nor ends that could be compared"
        return f"within tolerance: {len(self.differences)} episodes or cases"

    def require(self, what: str, values: Labelled, most: float, unit: str = "", share: float = 1.0) -> None:
        """That of `values` at least this `share` is `most` or less; what is not recorded does not count."""
        known = [pair for pair in values if not np.isnan(pair[0])]
        self.judged += len(known)
        beyond = [pair for pair in known if pair[0] > most]
        if len(beyond) > (1 - share) * len(known) + 1e-9:
            worst, label = max(beyond)
            some = f"in more than {1 - share:.0%} " if share < 1 else ""
            self.problems.append(f"{what} differs {some}by more than {most:g}{unit}, in {label} by {worst:.2g}{unit}")

    def require_ends(self, differences: list[Difference]) -> None:
        """That episodes end in the same tick for the same reason in 95 %, and within 1 tick in all."""
        both = [each for each in differences if each.recorded_end is not None and each.our_end is not None]
        self.require("the tick of the end", [(_ticks_apart(each), each.label) for each in both], 1, " tick")
        other = [each.label for each in both if each.recorded_end != each.our_end]
        if len(other) > 0.05 * len(both) + 1e-9:
            self.problems.append(f"{len(other)} of {len(both)} ends differ in tick or reason, first in {other[0]}")


def compare(name: str, recorded: Json, replayed: Json) -> Comparison:
    """Hold `recorded` against `replayed`, which is `replay(name, recorded)`.

    Raises ValueError, naming episode and key, for recorded states that are wrong.
    """
    result = Comparison()
    if "cases" in replayed:
        _compare_cases(result, objects(recorded, "cases"), replayed["cases"])
    if "episodes" in replayed:
        items = objects(recorded, "episodes")
        differences = []
        for index, (item, ours) in enumerate(zip(items, replayed["episodes"], strict=True)):
            tags = [tag for tag in (_kind(item), item.get("variant")) if tag is not None]
            label = f"episode {index}" + (f" ({', '.join(tags)})" if tags else "")
            recorded_end = None
            if item.get("terminal_tick") is not None:
                recorded_end = int(item["terminal_tick"]), item.get("reason", CUT)
            differences.append(Difference(label, recorded_end, (ours["terminal_tick"], ours["reason"])))
        result.differences += differences
        judge = {"3DBall": _compare_ball, "PoleBalancer": _compare_pole, "CubeMover": _compare_cube}[name]
        judge(result, differences, items, replayed["episodes"], recorded.get("meta", {}))
    return result


# ---- 3DBall ----


def _compare_cases(result: Comparison, cases: list[Json], replayed: list[Json]) -> None:
    differences = []
    for index, (case, ours) in enumerate(zip(cases, replayed, strict=True)):
        tags = [str(case[key]) for key in ("name", "variant") if key in case]
        key, states = case_states(case, f"case {index}")
        difference = Difference(f"case {index}" + (f" ({', '.join(tags)})" if tags else ""))
        _set_ball(difference, [np.abs(states - np.array(ours[key])[: len(states)])])
        differences.append(difference)
    result.differences += differences
    result.require("position", _of(differences, "position"), 5e-4, " m")
    result.require("velocity", _of(differences, "velocity"), 1e-3, " m/s")
    result.require("spin", _of(differences, "spin"), 2e-3, " rad/s")


def _compare_ball(
    result: Comparison, differences: list[Difference], items: list[Json], replayed: list[Json], meta: Json
) -> None:
    usual: list[Difference] = []
    varied: list[Difference] = []
    single: dict[str, Labelled] = {"position": [], "velocity": [], "spin": []}
    for index, (difference, item, ours) in enumerate(zip(differences, items, replayed, strict=True)):
        where = f"episode {index}"
        ways = []
        for key, ticks in (("tick_ball", 1), ("decision_ball", 5)):
            rows = _rows(item, key, where, 9, ticks, period=5)
            ways.append(_apart(rows, ours[key], _until(difference) // ticks + 1))
        if item.get("terminal_ball") is not None:
            last = numbers(item, "terminal_ball", where, (9,))
            if _ticks_apart(difference) == 0:
                ways.append(np.abs(last - ours["terminal_ball"])[None])
        _set_ball(difference, ways)
        if _kind(item) in _OPEN_LOOP:
            (usual if item.get("variant") is None else varied).append(difference)
        elif (apart := _single_decisions(item, where, meta)) is not None:
            difference.notes.append("one decision at a time {:.1e} m, {:.1e} m/s, {:.1e} rad/s".format(*apart.max(0)))
            for name, values in zip(single, apart.T, strict=True):
                single[name] += [(value, difference.label) for value in values.tolist()]
        else:
            difference.notes.append("not judged: decision_platform and decision_ball are missing")
    result.require_ends(usual + varied)
    result.require("position", _of(usual, "position"), 2e-3, " m")
    result.require("position", _of(varied, "position"), 5e-4, " m", 0.95)
    result.require("position", _of(varied, "position"), 5e-3, " m")
    for share, limits in ((0.99, {"position": 1e-5, "velocity": 2e-4}), (1.0, _SINGLE)):
        for name, most in limits.items():
            result.require(f"{name} after one decision", single[name], most, _UNITS[name], share)


def _single_decisions(item: Json, where: str, meta: Json) -> Floats | None:
    """Differences [decisions, 3] of position, velocity, spin after one decision from each recorded state."""
    balls = _rows(item, "decision_ball", where, 9, ticks=5, period=5)
    if item.get("decision_platform") is None or len(balls) < 2:
        return None
    platforms = quaternions(item, "decision_platform", where, (len(balls),))
    radius, gravity = ball_constants(meta, item, where)
    world = ball_world(balls[:-1], platforms[:-1], radius, gravity)
    world.continuous[...] = np.array(item["actions"])[: len(balls) - 1]
    world.actions_changed(np.arange(len(balls) - 1))
    for _ in range(world.decision_period):
        world.advance(1)
    apart = np.abs(world.agents["ball"] - balls[1:])
    return apart.reshape(-1, 3, 3).max(2)


def _set_ball(difference: Difference, ways: list[Floats]) -> None:
    apart = np.concatenate(ways)
    if len(apart):
        position, velocity, spin = apart.reshape(-1, 3, 3).max((0, 2))
        difference.position, difference.velocity, difference.spin = float(position), float(velocity), float(spin)


# ---- PoleBalancer and CubeMover ----


def _compare_pole(
    result: Comparison, differences: list[Difference], items: list[Json], replayed: list[Json], meta: Json
) -> None:
    random: list[Difference] = []
    carts: Labelled = []
    first: Labelled = []
    for index, (difference, item, ours) in enumerate(zip(differences, items, replayed, strict=True)):
        rows = _rows(item, "states", f"episode {index}", 9)
        apart = _apart(rows, ours["states"], _until(difference) + 1)
        if len(apart):
            largest = dict(zip(POLE_COLUMNS, apart.max(0).tolist(), strict=True))
            difference.position = max(largest["cart_x"], largest["pole_com_x"], largest["pole_com_y"])
            difference.velocity = max(largest["cart_vx"], largest["pole_com_vx"], largest["pole_com_vy"])
            difference.spin, difference.rotation = largest["pole_wz"], largest["pole_qz"]
            if _kind(item) in _OPEN_LOOP:
                carts.append((largest["cart_x"], difference.label))
            else:
                rotation = float(apart[: _FIRST_TICKS + 1, POLE_COLUMNS.index("pole_qz")].max())
                first.append((rotation, difference.label))
                difference.notes.append(f"rotation {rotation:.1e} in the first {_FIRST_TICKS} ticks")
        if _kind(item) in _OPEN_LOOP:
            random.append(difference)
    result.require_ends(random)
    result.require("rotation", _of(random, "rotation"), 1e-4)
    result.require("position of the cart", carts, 1e-4, " m")
    result.require(f"rotation in the first {_FIRST_TICKS} ticks", first, 1e-5)


def _compare_cube(
    result: Comparison, differences: list[Difference], items: list[Json], replayed: list[Json], meta: Json
) -> None:
    cells: Labelled = []
    rewards: Labelled = []
    for index, (difference, item, ours) in enumerate(zip(differences, items, replayed, strict=True)):
        until = _until(difference)
        if item.get("positions") is not None:
            apart = _apart(_rows(item, "positions", f"episode {index}", None), ours["positions"], until + 1)
            cells.append((float(apart.max(initial=0.0)), difference.label))
            difference.notes.append(f"position {cells[-1][0]:g} cells")
        if item.get("rewards") is not None:
            paid = numbers(item, "rewards", f"episode {index}", (None,))
            apart = _apart(paid, ours["rewards"], until)
            rewards.append((float(apart.max(initial=0.0)), difference.label))
            difference.notes.append(f"reward {rewards[-1][0]:.1e}")
    result.require("position", cells, 0, " cells")
    result.require("reward", rewards, 1e-6)
    ends = [each for each in differences if each.recorded_end is not None]
    result.judged += len(ends)
    if other := [each.label for each in ends if each.recorded_end != each.our_end]:
        result.problems.append(f"{len(other)} of {len(ends)} ends differ in tick or reason, first in {other[0]}")


# ---- of all ----


def _kind(item: Json) -> str | None:
    kind = item.get("kind", item.get("policy"))
    return None if kind is None else str(kind)


def _of(differences: list[Difference], name: str) -> Labelled:
    return [(getattr(each, name), each.label) for each in differences]


def _until(difference: Difference) -> int:
    """The last tick that both have."""
    assert difference.our_end is not None
    ticks = difference.our_end[0]
    return ticks if difference.recorded_end is None else min(ticks, difference.recorded_end[0])


def _ticks_apart(difference: Difference) -> int:
    if difference.recorded_end is None or difference.our_end is None:
        return 0
    return abs(difference.recorded_end[0] - difference.our_end[0])


def _rows(item: Json, key: str, where: str, columns: int | None, ticks: int = 1, period: int = 1) -> Floats:
    """Recorded states, one in so many `ticks`; none where the key is missing or null."""
    if item.get(key) is None:
        return np.zeros((0, columns or 0))
    rows = numbers(item, key, where, (None,) if columns is None else (None, columns))
    last = item.get("terminal_tick")
    most = (len(item["actions"]) * period if last is None else int(last)) // ticks + 1
    if len(rows) > most:
        raise ValueError(f"{where}, {key}: must have {most} rows or less, got {len(rows)}")
    return rows


def _apart(rows: Floats, ours: list[Any], count: int) -> Floats:
    """Absolute differences of the first `count` rows, or of as many as both have."""
    count = min(count, len(rows), len(ours))
    return np.abs(rows[:count] - np.array(ours[:count], np.float64).reshape(count, *rows.shape[1:]))
