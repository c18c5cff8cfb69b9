"""Whole episodes tick by tick, and the page of HTML that plays them again."""

import base64
import json
import re

import numpy as np
import pytest
from mlagents_envs.base_env import ActionTuple

from unity_envs.replay_page import Episode, record_episodes, replay_page


def always(number):
    return lambda decisions: ActionTuple(discrete=np.full((len(decisions), 1), number, np.int32))


def tilting(decisions):
    return ActionTuple(continuous=np.linspace(-1, 1, 2 * len(decisions), dtype=np.float32).reshape(-1, 2))


def data_of(page):
    return json.loads(re.search(r"const data = (.*);\n", page)[1])


def frames_of(data, number):
    """Transforms `[ticks + 1, shapes, 7]` of an episode, as the page's program reads them."""
    episode = data["episodes"][number]
    packed = np.frombuffer(base64.b64decode(episode["frames"]), "<u2").reshape(-1, len(data["moving"]))
    low, high = np.array(data["ranges"]).T
    frames = np.tile([shape["transform"] for shape in data["shapes"]], (len(packed), 1, 1))
    rows, columns = np.array(data["moving"]).T
    frames[:, rows, columns] = low + (high - low) * packed / 65535
    return frames


# ---- episodes ----


def test_a_cube_on_its_way_to_the_large_goal(new_game):
    (episode,) = record_episodes(new_game(1, name="CubeMover").world, always(1), 60.0)
    assert episode.poses[:, 0].tolist() == [-1, 0, 1, 2, 3, 4, 5, 6, 7]
    assert episode.actions.tolist() == [[1]] * 8
    assert episode.rewards.tolist() == pytest.approx([-0.01] * 7 + [1.0])
    assert episode.end == "terminated"


def test_the_time_limit_interrupts(new_game):
    world = new_game(1, name="PoleBalancer", seed=3).world

    def act(decisions):
        if world.step_counts[0] < 190:
            world.step_counts[0] = 197
        return always(0)(decisions)

    (episode,) = record_episodes(world, act, 60.0)
    assert (len(episode.poses), len(episode.rewards), episode.end) == (4, 3, "interrupted")


def test_what_lasts_too_long_is_cut(new_game):
    for episode in record_episodes(new_game(2, name="3DBall", seed=3).world, tilting, 0.2):
        assert (len(episode.poses), len(episode.actions), episode.end) == (11, 2, "cut")
        assert episode.rewards == pytest.approx(0.1)


def test_every_tick_of_3dball_is_there_and_the_world_is_as_it_was(new_game):
    world = new_game(3, name="3DBall", seed=4).world
    episodes = record_episodes(world, tilting, 20.0)
    assert "advance" not in vars(world)
    for episode in episodes:
        ticks = len(episode.poses) - 1
        assert episode.end == "terminated"
        assert len(episode.actions) == len(episode.rewards) == -(-ticks // 5)
        assert np.abs(np.diff(episode.poses[:, 4:7], axis=0)).max() < 0.5  # it neither jumps nor begins anew
        assert episode.rewards[:-1] == pytest.approx(0.1)
        assert episode.rewards[-1] == pytest.approx(-1)


def test_what_is_watched_is_what_happens_without_watching(new_game):
    watched, other = (new_game(2, name="3DBall", seed=9) for _ in range(2))
    episodes = record_episodes(watched.world, tilting, 0.5)
    other.reset()
    for decision in range(5):
        for agent, episode in enumerate(episodes):
            pose = np.append(other.world.agents["platform"][agent], other.world.agents["ball"][agent, :3])
            assert (episode.poses[5 * decision, :7] == pose).all()
        other.step(tilting(other.decisions).continuous)


# ---- the page ----


@pytest.mark.parametrize(
    ("name", "shapes", "moving"),
    [("CubeMover", 15, {(14, 0)}), ("PoleBalancer", 5, {(3, 0), (4, 0), (4, 1), (4, 5), (4, 6)})],
)
def test_a_page_has_the_shapes_of_every_tick(new_game, name, shapes, moving):
    world = new_game(2, name=name).world
    episodes = record_episodes(world, always(1), 60.0)
    data = data_of(replay_page(world, {"right": episodes}, "To the right", 0.5))
    assert (data["title"], data["tick"], data["decisionPeriod"], data["speed"]) == ("To the right", 0.02, 1, 0.5)
    assert len(data["shapes"]) == shapes
    assert {tuple(column) for column in data["moving"]} == moving
    assert [each["ticks"] for each in data["episodes"]] == [len(episode.poses) - 1 for episode in episodes]
    assert data["episodes"][0]["player"] == "right"
    x = frames_of(data, 1)[:, 14 if name == "CubeMover" else 3, 0]
    assert x == pytest.approx(episodes[1].poses[:, 0], abs=2e-4)


def test_a_page_is_whole_and_small(new_game):
    world = new_game(5, name="3DBall", seed=1).world
    pose = record_episodes(world, tilting, 0.1)[0].poses[:1]
    ticks, decisions = 5000, 1000
    random = np.random.default_rng(1)
    noisy = np.repeat(pose, ticks + 1, axis=0) + random.normal(0, 0.1, (ticks + 1, 8))
    longest = Episode(noisy, random.normal(size=(decisions, 2)), np.full(decisions, 0.1), "interrupted")
    page = replay_page(world, {"</script><b>": [longest] * 5}, "</script>", 1.0)
    assert len(page) < 2_000_000
    assert page.count("</script>") == 1  # no caption ends the program
    assert "connect-src" not in page  # so that default-src, which is none, holds for it
    assert not re.search(r"https?:|src=|@import|url\(|fetch\(", page)
