"""Worlds that write down what is played in them: the files replay to the last digit."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mlagents_envs.base_env import ActionTuple

from bridge.exceptions import UnityEnvironmentException
from unity_envs import recording, worlds
from unity_envs.comparison import compare
from unity_envs.recording import record
from unity_envs.recording_format import load
from unity_envs.replay import replay

ROOT = Path(recording.__file__).parents[1]


class Parameters:
    """Environment parameters that a test may change."""

    def __init__(self, **values: float) -> None:
        self.values = values

    def get_with_default(self, key: str, default: float) -> float:
        return self.values.get(key, default)


class Play:
    """A recorded world, and random actions for it; some lie outside of what is allowed."""

    def __init__(
        self,
        path: Path,
        name: str = "3DBall",
        *,
        variant: str | None = None,
        agents: int = 3,
        episodes: int = 100,
        seed: int = 0,
        **parameters: float,
    ) -> None:
        self.name, self.path = name, path
        self.parameters = Parameters(**parameters)
        self.inside = worlds.make_world_factory(name, agents, variant)(seed, 1, self.parameters)
        self.world = record(self.inside, name, path, episodes)
        ((self.behavior, spec),) = self.world.behavior_specs.items()
        self.action_spec = spec.action_spec
        self.random = np.random.default_rng(seed)
        self.decisions, self.terminals = self.world.reset()[self.behavior]
        self.told: list[tuple[int, list[float], bool]] = []  # agent, terminal observation, interrupted

    def step(self, steps: int = 1, scale: float = 1.2) -> None:
        for _ in range(steps):
            count = len(self.decisions)
            continuous = self.random.uniform(-scale, scale, (count, self.action_spec.continuous_size))
            branches = max(self.action_spec.discrete_branches, default=1)
            discrete = self.random.integers(0, branches + 1, (count, self.action_spec.discrete_size))
            actions = ActionTuple(continuous.astype(np.float32), discrete.astype(np.int32))
            self.decisions, self.terminals = self.world.step({self.behavior: actions} if count else {})[self.behavior]
            ends = (self.terminals.agent_id, self.terminals.obs[0].tolist(), self.terminals.interrupted)
            self.told += zip(*ends, strict=True)

    def written(self) -> list[dict]:
        return load(self.path)["episodes"]

    def replayed(self) -> list[dict]:
        """The episodes of the file, which replay exactly."""
        whole = load(self.path)
        result = compare(self.name, whole, replay(self.name, whole))
        assert result.within, result.summary
        for each in result.differences:
            assert each.recorded_end == each.our_end
            assert not np.nanmax([0.0, each.position, each.velocity, each.spin, each.rotation]), str(each)
        return whole["episodes"]


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("CubeMover", None),
        ("CubeMover", "basic"),
        ("PoleBalancer", None),
        ("PoleBalancer", "force"),
        ("3DBall", None),
        ("3DBall", "discrete"),
        ("3DBall", "hard"),
    ],
)
def test_what_was_recorded_replays_to_the_last_digit(tmp_path, name, variant):
    play = Play(tmp_path / "a.json", name, variant=variant, episodes=8, seed=1)
    play.step(150 if name == "3DBall" else 500)
    play.world.close()
    episodes = play.replayed()
    assert len(episodes) == 8
    assert all(episode["kind"] == "player" for episode in episodes)
    assert {episode["reason"] for episode in episodes} <= {"dx", "dz", "dy", "x", "angle", "small", "large"}


def test_the_recorded_end_is_what_the_trainer_was_told(tmp_path):
    play = Play(tmp_path / "a.json", agents=2, episodes=2)
    play.step(60)
    episodes = play.replayed()
    for episode in episodes:
        observation = next(seen for agent, seen, _ in play.told if agent == episode["agent"])
        np.testing.assert_array_equal(np.float32(observation[2:]), np.float32(episode["terminal_ball"][:6]))
    pole = Play(tmp_path / "b.json", "PoleBalancer", agents=1, episodes=1)
    pole.step(100)
    observation = pole.told[0][1]
    (episode,) = pole.replayed()
    np.testing.assert_array_equal(np.float32(observation), np.float32(episode["states"][-1])[[0, 1, 2, 5]])


def test_an_episode_begins_with_its_first_decision_in_flight_and_spinning(tmp_path):
    play = Play(tmp_path / "a.json", agents=4, episodes=20, seed=2)
    play.step(250)
    episodes = play.replayed()
    # After a reset one tick passes, 0.02 s of a free fall.
    assert all(episode["v0"] == [0, pytest.approx(-0.1962), 0] for episode in episodes[:4])
    assert {tuple(episode["v0"]) for episode in episodes[4:]} - {tuple(episodes[0]["v0"])}
    assert any(any(episode["w0"]) for episode in episodes[4:])


def test_parameters_become_variants(tmp_path):
    play = Play(tmp_path / "a.json", agents=2, episodes=4, gravity=4.0, scale=2.0)
    play.step(80)
    assert {episode["variant"] for episode in play.replayed()} == {"scale_2_gravity_4"}
    assert load(play.path)["meta"]["variants"] == {"scale_2_gravity_4": {"radius": 1.0, "gravity": -4.0}}


def test_an_episode_is_cut_where_gravity_changes(tmp_path):
    play = Play(tmp_path / "a.json", agents=2, episodes=4)
    play.step(3)
    play.parameters.values["gravity"] = 5.0
    play.step(2)
    assert not len(play.told)
    play.world.close()
    episodes = play.replayed()
    assert [(episode["terminal_tick"], episode["reason"]) for episode in episodes] == [(15, "cut"), (15, "cut")]


def test_the_first_to_begin_are_recorded_and_nothing_more(tmp_path):
    play = Play(tmp_path / "a.json", "CubeMover", agents=4, episodes=6)
    while len(play.written()) < 6:
        play.step()
    assert [episode["agent"] for episode in play.replayed()[:4]] == [0, 1, 2, 3]
    assert "advance" not in vars(play.inside) and "begin" not in vars(play.inside)  # it is as fast as before
    before = play.path.stat().st_mtime_ns, play.path.read_bytes()
    play.step(100)
    play.world.close()
    assert (play.path.stat().st_mtime_ns, play.path.read_bytes()) == before


def test_fewer_episodes_than_agents_can_be_recorded(tmp_path):
    play = Play(tmp_path / "a.json", agents=5, episodes=2)
    play.step(60)
    assert [episode["agent"] for episode in play.replayed()] == [0, 1]


@pytest.mark.parametrize("steps", [1, 7])
def test_what_runs_at_the_end_is_cut_there(tmp_path, steps):
    play = Play(tmp_path / "a.json")
    play.step(steps)
    balls = play.world.agents["ball"].tolist()
    play.world.close()
    episodes = play.replayed()
    assert [(episode["terminal_tick"], episode["reason"]) for episode in episodes] == [(5 * steps, "cut")] * 3
    assert [episode["terminal_ball"] for episode in episodes] == balls
    assert len(episodes[0]["decision_ball"]) == steps + 1 == len(episodes[0]["actions"]) + 1


def test_a_reset_cuts_and_begins_anew(tmp_path):
    play = Play(tmp_path / "a.json", "PoleBalancer", agents=1, episodes=2)
    play.step(4)
    play.world.reset()
    play.step(60)
    first, second = play.replayed()
    assert (first["terminal_tick"], first["reason"]) == (4, "cut")
    assert second["reason"] == "angle"
    # It begins after the tick of zero actions that passes after a reset: in motion.
    assert second["cart0"][1] < 0 and second["pole0"][2] == second["theta0"] and second["pole0"][5] != 0


def test_a_loaded_state_cuts_and_its_episodes_are_left_out(tmp_path):
    play = Play(tmp_path / "a.json", "CubeMover", agents=1, episodes=2)
    play.step(2)
    state = play.world.state()
    play.step(1)
    play.decisions, _ = play.world.load_state(state)[play.behavior]
    play.step(300)
    first, second = play.replayed()
    assert (first["terminal_tick"], first["reason"]) == (3, "cut")
    assert second["start"] == 0 and second["reason"] in ("small", "large")


def test_the_time_limits_are_recorded_as_caps(tmp_path):
    play = Play(tmp_path / "a.json", agents=1, episodes=2)
    play.inside.agents["ball"][0], play.inside.agents["platform"][0] = [0, 3, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 1]
    play.step(1000, scale=0.0)
    assert play.told[0][2]
    play.step(1, scale=0.0)
    play.world.close()
    first, *_ = play.replayed()
    assert (first["terminal_tick"], first["reason"]) == (4999, "cap")  # call 5000 ends it, and moves nothing
    assert len(first["actions"]) == len(first["decision_ball"]) == 1000


def test_a_capped_pole_has_200_steps(tmp_path):
    play = Play(tmp_path / "a.json", "PoleBalancer", agents=1, episodes=1)
    for _ in range(200):
        x, vx, half_angle, spin = play.decisions.obs[0][0].tolist()
        com_x, com_vx = x - 1.9 * half_angle, vx - 0.95 * spin
        right = 0.02 * x + (com_x - x) / 0.95 + 0.05 * com_vx > 0
        steps = play.world.step({play.behavior: ActionTuple(discrete=np.array([[int(right)]], np.int32))})
        play.decisions, terminals = steps[play.behavior]
    assert terminals.interrupted.tolist() == [True]
    (episode,) = play.replayed()
    assert (episode["terminal_tick"], episode["reason"]) == (200, "cap")
    assert len(episode["states"]) == 201


# ---- the file ----


def test_the_file_is_there_from_the_start_and_grows_now_and_then(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "WRITE_EVERY", 0.0)
    monkeypatch.setattr(recording, "WRITING_SHARE", 0)
    play = Play(tmp_path / "a.json", "CubeMover", agents=1)
    assert play.written() == []
    sizes = set()
    for _ in range(300):
        play.step()
        sizes.add(len(play.written()))
    assert sizes == set(range(len(play.told) + 1)) and len(sizes) > 5
    assert list(tmp_path.iterdir()) == [play.path]


def test_it_is_not_written_more_often_than_said(tmp_path):
    play = Play(tmp_path / "a.json", "CubeMover", agents=1)
    play.step(300)
    assert play.written() == [] and len(play.told) > 5
    play.world.close()
    play.world.close()
    assert len(play.replayed()) >= len(play.told)


def test_a_world_that_is_dropped_writes_its_file(tmp_path):
    play = Play(tmp_path / "a.json", "CubeMover", agents=1)
    play.step(50)
    play.world = None
    gc.collect()
    assert play.written()


def test_a_program_that_ends_writes_its_file(tmp_path):
    code = (
        "import sys, pathlib, numpy as np\n"
        "from mlagents_envs.base_env import ActionTuple\n"
        "from bridge.player import EnvironmentParameters\n"
        "from unity_envs import recording, worlds\n"
        "world = worlds.make_world_factory('CubeMover')(0, 1, EnvironmentParameters())\n"
        "world = recording.record(world, 'CubeMover', pathlib.Path(sys.argv[1]))\n"
        "world.reset()\n"
        "for _ in range(10): world.step({'CubeMover?team=0': ActionTuple(discrete=np.ones((1, 1), np.int32))})\n"
        "sys.exit(3)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.json")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (3, "")
    episodes = json.loads((tmp_path / "a.json").read_text())["episodes"]
    assert [(episode["terminal_tick"], episode["reason"]) for episode in episodes] == [
        (8, "large"),
        (2, "cut"),
    ]  # the first from cell -1


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_played(tmp_path):
    with pytest.raises(UnityEnvironmentException, match=r"cannot write the recording .*absent.a\.json: No such file"):
        Play(tmp_path / "absent" / "a.json")


def test_a_world_without_a_format_is_refused(tmp_path):
    world = worlds.make_world_factory("CubeMover")(0, 1, Parameters())
    with pytest.raises(
        ValueError, match="no format for recordings of Walker: known are CubeMover, PoleBalancer, 3DBall"
    ):
        record(world, "Walker", tmp_path / "a.json")
    with pytest.raises(ValueError, match="no format for recordings"):
        record(object(), "CubeMover", tmp_path / "a.json")


def test_the_world_inside_stays_reachable(tmp_path):
    play = Play(tmp_path / "a.json")
    assert play.world.decision_period == 5
    assert play.world.agents is play.inside.agents
    with pytest.raises(AttributeError):
        play.world.absent  # noqa: B018
