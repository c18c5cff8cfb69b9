"""Recordings played again by the worlds: the golden files, hand-made ones, and what is wrong with bad ones."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest

from unity_envs.recording_format import load, write
from unity_envs.replay import replay

FOLDER = Path(__file__).parent / "golden"
FLAT = [0.0, 0.0, 0.0, 1.0]


@pytest.fixture(scope="module")
def played():
    """played(name, file): a golden recording and what the world makes of it."""
    known = {}

    def get(name: str, file: str) -> tuple[dict, dict]:
        if file not in known:
            recording = load(FOLDER / file)
            known[file] = recording, replay(name, recording)
        return known[file]

    return get


def ball(**changes) -> dict:
    """A recording of one 3DBall episode: level platform, the ball at rest in its middle, 4 decisions without action."""
    episode = {"q0": FLAT, "p0": [0.0, 3.0, 0.0], "actions": [[0.0, 0.0]] * 4} | changes
    return {"meta": {}, "episodes": [{key: value for key, value in episode.items() if value is not None}]}


def pole(**changes) -> dict:
    return {"meta": {}, "episodes": [{"variant": "vel", "theta0": 0.01, "actions": [2, -2, 0, 2]} | changes]}


def cube(**changes) -> dict:
    return {"meta": {}, "episodes": [{"start": 0, "actions": [1, 0, 0, 0, 0]} | changes]}


# ---- the golden files ----


@pytest.mark.parametrize(
    ("name", "file", "count"),
    [
        ("3DBall", "ball3d_episodes.json", 16),
        ("3DBall", "ball3d_variants.json", 42),
        ("PoleBalancer", "pole.json", 22),
    ],
)
def test_recorded_episodes_end_as_recorded(played, name, file, count):
    recording, ours = played(name, file)
    ends = [[(item["terminal_tick"], item["reason"]) for item in each["episodes"]] for each in (recording, ours)]
    assert len(ends[0]) == count
    assert ends[0] == ends[1]


def test_every_tick_and_every_decision_of_a_ball_is_written(played):
    recording, ours = played("3DBall", "ball3d_episodes.json")
    for item, mine in zip(recording["episodes"], ours["episodes"], strict=True):
        ticks = mine["terminal_tick"]
        assert len(mine["tick_ball"]) == len(mine["tick_platform"]) == ticks + 1
        assert mine["tick_ball"][::5] == mine["decision_ball"]
        assert mine["tick_platform"][::5] == mine["decision_platform"]
        assert len(mine["decision_ball"]) == len(item["decision_ball"])
        assert mine["terminal_ball"] == mine["tick_ball"][-1]
        assert mine["tick_ball"][0] == item["p0"] + [0.0] * 6
        assert mine["tick_platform"][0] == item["q0"]
        np.testing.assert_allclose(mine["decision_platform"], item["decision_platform"], atol=5e-6)
        assert (mine["kind"], mine["index"], mine["actions"]) == (item["kind"], item["index"], item["actions"])


def test_cases_are_written_in_the_columns_of_the_recording(played):
    recording, ours = played("3DBall", "ball3d_units.json")
    for case, mine in zip(recording["cases"], ours["cases"], strict=True):
        np.testing.assert_allclose(np.array(mine["physx4"])[:, :3], np.array(case["physx4"])[:, :3], atol=5e-4)
        assert mine["name"] == case["name"]
    assert "physx" not in ours["meta"]["engine"] and "engines" not in ours["meta"]


def test_the_states_of_a_pole_have_the_recorded_columns(played):
    recording, ours = played("PoleBalancer", "pole.json")
    for item, mine in zip(recording["episodes"], ours["episodes"], strict=True):
        assert len(mine["states"]) == mine["terminal_tick"] + 1
        np.testing.assert_allclose(mine["states"][:21], item["states"][:21], atol=5e-6)


def test_what_was_replayed_is_a_recording_that_replays_to_itself(played, tmp_path):
    for name, file in (("3DBall", "ball3d_variants.json"), ("PoleBalancer", "pole.json")):
        _, ours = played(name, file)
        write(tmp_path / "ours.json", ours)
        read = load(tmp_path / "ours.json")
        assert read == json.loads(json.dumps(ours))
        assert replay(name, read) == ours


# ---- the players themselves ----


def test_states_and_end_are_those_of_the_ball_world_stepped_by_a_trainer(new_game):
    game = new_game(agents=6, seed=3)
    game.begin_anew()
    start = game.world.state()
    actions = np.random.default_rng(3).uniform(-1, 1, (60, 6, 2)).astype(np.float32)
    recording = {
        "episodes": [
            {"q0": q.tolist(), "p0": b[:3].tolist(), "actions": actions[:, i].tolist()}
            for i, (q, b) in enumerate(zip(start["agent_platform"], start["agent_ball"], strict=True))
        ]
    }
    ours = replay("3DBall", recording)["episodes"]
    ended: dict[int, int] = {}
    decision = 0
    while len(ended) < 6:
        if len(game.decisions):
            states = game.world.state()
            for agent in set(range(6)) - set(ended):
                assert ours[agent]["decision_ball"][decision] == states["agent_ball"][agent].tolist()
                assert ours[agent]["decision_platform"][decision] == states["agent_platform"][agent].tolist()
            game.step(actions[decision])
            decision += 1
        else:
            game.step()
        for row, agent in enumerate(game.terminals.agent_id):
            if agent not in ended:
                ended[agent] = game.tick - 1  # the call that ends it, and it moves nothing
                seen = np.float32(ours[agent]["terminal_ball"][:6])
                np.testing.assert_array_equal(game.terminals.obs[0][row, 2:], seen)
    assert [episode["terminal_tick"] for episode in ours] == [ended[agent] for agent in range(6)]


@pytest.mark.parametrize("variant", [None, "force"])
def test_states_and_end_are_those_of_the_pole_world_stepped_by_a_trainer(new_game, variant):
    game = new_game(agents=5, seed=3, name="PoleBalancer", variant=variant)
    game.begin_anew()
    angles = game.world.state()["agent_pole"][:, 2]
    numbers = np.random.default_rng(3).integers(0, 3, (200, 5))  # 2 is no action
    size = 10 if variant else 2
    ours = replay(
        "PoleBalancer",
        {
            "episodes": [
                {"variant": "force" if variant else "vel", "theta0": angle, "actions": actions.tolist()}
                for angle, actions in zip(angles.tolist(), np.array([-size, size, 0])[numbers].T, strict=True)
            ]
        },
    )["episodes"]
    running = set(range(5))
    for tick in range(200):
        game.step(numbers[tick][:, None])
        for row, agent in enumerate(game.terminals.agent_id):
            if agent in running:
                running.remove(agent)
                assert ours[agent]["terminal_tick"] == tick + 1
                x, vx, qz, _, _, spin = ours[agent]["states"][tick + 1][:6]
                np.testing.assert_array_equal(game.terminals.obs[0][row], np.float32([x, vx, qz, spin]))
        for agent in running:
            assert ours[agent]["states"][tick + 1][0] == game.world.state()["agent_cart"][agent, 0]
    assert not running


# ---- ends ----


def test_actions_without_a_recorded_end_are_all_played():
    (mine,) = replay("3DBall", ball())["episodes"]
    assert (mine["terminal_tick"], mine["reason"]) == (20, "cut")
    (mine,) = replay("PoleBalancer", pole())["episodes"]
    assert (mine["terminal_tick"], mine["reason"]) == (4, "cut")
    (mine,) = replay("CubeMover", cube())["episodes"]
    assert mine["positions"] == [0, 1, 0, -1, -2, -3]
    assert (mine["terminal_tick"], mine["reason"]) == (5, "small")


def test_start_velocity_and_spin_count():
    (mine,) = replay("3DBall", ball(p0=[0, 8, 0], v0=[1, 2, 3], w0=[4, 0, 0]))["episodes"]
    first = mine["tick_ball"][1]
    np.testing.assert_allclose(first[:3], [0.02, 8 + 0.02 * (2 - 9.81 * 0.02), 0.06])
    np.testing.assert_allclose(first[3:], [1, 2 - 9.81 * 0.02, 3, 4 * (1 - 0.01 * 0.02), 0, 0])


@pytest.mark.parametrize(("ticks", "reason"), [(17, "cut"), (20, "cap")])
def test_a_recording_that_stops_is_played_no_further(ticks, reason):
    (mine,) = replay("3DBall", ball(terminal_tick=ticks, reason=reason))["episodes"]
    assert (mine["terminal_tick"], mine["reason"]) == (ticks, reason)
    assert len(mine["tick_ball"]) == ticks + 1


def test_where_the_recorded_episode_failed_ours_goes_on_for_one_decision():
    (mine,) = replay("3DBall", ball(terminal_tick=18, reason="dx"))["episodes"]
    assert (mine["terminal_tick"], mine["reason"]) == (23, "cut")
    (mine,) = replay("PoleBalancer", pole(terminal_tick=4, reason="x"))["episodes"]
    assert (mine["terminal_tick"], mine["reason"]) == (5, "cut")


@pytest.mark.parametrize(
    ("start", "tick", "reason"),
    [
        # 5 m/s are 0.1 m a tick; the end is the first tick beyond the limit, though Unity's agent sees it a call later.
        ({"p0": [2.05, 9, 0], "v0": [5, 0, 0]}, 10, "dx"),
        ({"p0": [0, 9, -2.55], "v0": [0, 0, -5]}, 5, "dz"),
        ({"p0": [2.95, -1.9, 2.95], "v0": [5, -5, 5]}, 1, "dy"),
        ({"p0": [2.05, 9, 0], "v0": [5, 0, 0], "terminal_tick": 20, "reason": "cut"}, 10, "dx"),
        # The last tick that is played is tested as well.
        ({"p0": [2.05, 9, 0], "v0": [5, 0, 0], "actions": [[0, 0]] * 2}, 10, "dx"),
    ],
)
def test_the_end_is_tested_after_the_tick(start, tick, reason):
    (mine,) = replay("3DBall", ball(**start))["episodes"]
    assert (mine["terminal_tick"], mine["reason"]) == (tick, reason)


def test_the_time_limits_of_the_worlds_hold():
    (mine,) = replay("3DBall", ball(actions=[[0, 0]] * 1001))["episodes"]
    assert (mine["terminal_tick"], mine["reason"]) == (4999, "cap")  # call 5000 ends it, and moves nothing
    (mine,) = replay("PoleBalancer", pole(theta0=0.0, actions=[0] * 201))["episodes"]
    assert (mine["terminal_tick"], mine["reason"]) == (200, "cap")


def test_a_cube_is_paid_as_in_the_task():
    (mine,) = replay("CubeMover", cube(actions=[1] * 7, terminal_tick=7, reason="large"))["episodes"]
    assert mine["rewards"] == pytest.approx([-0.01] * 6 + [1.0])
    assert mine["reason"] == "large"
    (mine,) = replay("CubeMover", cube(variant="basic", start=10, actions=[1, 1, 1]))["episodes"]
    assert mine["rewards"] == pytest.approx([-0.01, -0.01, 0.09])
    assert (mine["positions"], mine["reason"]) == ([10, 9, 8, 7], "small")
    (mine,) = replay("CubeMover", cube(actions=[-1, -1]))["episodes"]
    assert (mine["positions"], mine["reason"]) == ([0, 0, 0], "cut")


def test_variants_of_the_ball_come_from_meta():
    recording = ball(p0=[0, 9, 0], variant="moon")
    recording["meta"] = {"variants": {"moon": {"mass": 3, "radius": 1.0, "gravity": -1.62}}}
    (mine,) = replay("3DBall", recording)["episodes"]
    assert mine["tick_ball"][1][4] == pytest.approx(-1.62 * 0.02)
    recording["episodes"][0]["p0"] = [0, 3.5, 0]
    (mine,) = replay("3DBall", recording)["episodes"]
    assert mine["tick_ball"][-1][1] == pytest.approx(3.5)  # at rest: the radius is 1
    recording["meta"] = {"gravity": -20, "ball": {"radius": 0.25}}
    del recording["episodes"][0]["variant"]
    (mine,) = replay("3DBall", recording)["episodes"]
    assert mine["tick_ball"][1][4] == pytest.approx(-0.4)


def test_the_recording_is_left_as_it_was():
    recording = ball()
    before = copy.deepcopy(recording)
    replay("3DBall", recording)
    assert recording == before


# ---- what is wrong ----


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"q0": None}, "episode 0, q0: is missing"),
        ({"q0": [0, 0, 1]}, "episode 0, q0: must be 4 numbers"),
        ({"q0": [0, 0, 1, 1]}, "episode 0, q0: must be a quaternion x, y, z, w of length 1"),
        ({"p0": [0, "3", 0]}, "episode 0, p0: must be 3 numbers"),
        ({"p0": [0, math.nan, 0]}, "episode 0, p0: must be finite"),
        ({"v0": [0, 0]}, "episode 0, v0: must be 3 numbers"),
        ({"actions": None}, "episode 0, actions: is missing"),
        ({"actions": []}, "episode 0, actions: there is none"),
        ({"actions": [[0, 0], [1]]}, "episode 0, actions: must be rows of 2 numbers"),
        ({"actions": [0, 0]}, "episode 0, actions: must be rows of 2 numbers"),
        ({"actions": [[0, math.inf]]}, "episode 0, actions: must be finite"),
        ({"terminal_tick": 21, "reason": "dx"}, "episode 0, actions: must be 5 for terminal_tick 21, got 4"),
        ({"terminal_tick": 7, "reason": "dx"}, "episode 0, actions: must be 2 for terminal_tick 7, got 4"),
        ({"terminal_tick": 17.5, "reason": "dx"}, "terminal_tick: must be a whole number, 1 or more, got 17.5"),
        ({"terminal_tick": 0, "reason": "dx"}, "terminal_tick: must be a whole number, 1 or more, got 0"),
        ({"terminal_tick": True, "reason": "dx"}, "episode 0, terminal_tick: must be a number"),
        ({"reason": "fell"}, "episode 0, reason: must be one of dy, dx, dz, cap, cut, got 'fell'"),
        ({"reason": ["dx"]}, "episode 0, reason: must be one of"),
        ({"variant": "heavy"}, "episode 0, variant: 'heavy' is not in meta.variants, which has nothing"),
        ({"variant": ["heavy"]}, r"episode 0, variant: \['heavy'\] is not in meta.variants"),
    ],
)
def test_what_is_wrong_with_a_ball_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        replay("3DBall", ball(**changes))


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ([], "meta: must be an object"),
        ({"dt": 0.01}, "meta, dt: the world has 0.02, the recording 0.01"),
        ({"ticks_per_decision": 1}, "meta, ticks_per_decision: the world has 5, the recording 1"),
        ({"gravity": 9.81}, "episode 0, gravity: is along y, which is up, so it must be 0 or below, got 9.81"),
        ({"ball": {"radius": 0}}, "episode 0, radius: must be above 0"),
        ({"ball": {"radius": "big"}}, "episode 0, radius: must be a number"),
    ],
)
def test_what_is_wrong_with_meta_is_named(meta, message):
    with pytest.raises(ValueError, match=message):
        replay("3DBall", ball() | {"meta": meta})


@pytest.mark.parametrize(
    ("recording", "message"),
    [
        ({}, "episodes: is missing"),
        ({"episodes": []}, "episodes: must be a list with something in it"),
        ({"episodes": {}}, "episodes: must be a list"),
        ({"episodes": [3]}, "episode 0: must be an object"),
        ({"cases": [{}]}, "case 0, ticks: is missing"),
        (
            {"cases": [{"ticks": 2, "states": [[0] * 9], "q": FLAT, "platform": [FLAT]}]},
            "case 0, platform: must be 2 r",
        ),
        ({"cases": [{"ticks": 2, "states": [[0] * 9] * 4, "q": FLAT}]}, "case 0, states: must have 1 to 3 rows, got 4"),
        ({"cases": [{"ticks": 2, "states": [], "q": FLAT}]}, "case 0, states: must have 1 to 3 rows, got 0"),
        ({"cases": [{"ticks": 2, "states": [[0] * 9]}]}, "case 0, q: is missing"),
    ],
)
def test_a_recording_without_what_is_to_be_played_is_refused(recording, message):
    with pytest.raises(ValueError, match=message):
        replay("3DBall", recording)


@pytest.mark.parametrize(
    ("name", "recording", "message"),
    [
        ("PoleBalancer", pole(variant="speed"), "episode 0, variant: must be vel or force, got 'speed'"),
        ("PoleBalancer", pole(actions=[10, 2]), "episode 0, actions: must be -2, 2, or 0 for none, got 10"),
        ("PoleBalancer", pole(variant="force"), "episode 0, actions: must be -10, 10, or 0 for none, got 2"),
        ("PoleBalancer", pole(theta0=None), "episode 0, theta0: is missing"),
        ("PoleBalancer", pole(reason="dx"), "episode 0, reason: must be one of x, angle, cap, cut"),
        ("PoleBalancer", {"cases": [{}]}, "episodes: is missing"),
        ("CubeMover", cube(start=11), "episode 0, start: must be -10 to 10, got 11"),
        ("CubeMover", cube(start=0.5), "episode 0, start: must be a whole number, got 0.5"),
        ("CubeMover", cube(actions=[2]), "episode 0, actions: must be 0 to 1, or -1 for none, got 2"),
        ("CubeMover", cube(variant="hard"), "episode 0, variant: must be basic or be left out, got 'hard'"),
        ("CubeMover", cube(reason="cap"), "episode 0, reason: must be one of small, large, cut"),
        ("Cube", cube(), "unknown environment 'Cube': did you mean 'CubeMover'"),
    ],
)
def test_what_is_wrong_with_a_pole_or_a_cube_is_named(name, recording, message):
    with pytest.raises(ValueError, match=message):
        replay(name, recording)
