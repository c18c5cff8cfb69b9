"""The registry of worlds."""

from __future__ import annotations

import pytest

from unity_envs import worlds


class NoParameters:
    def get_with_default(self, key: str, default: float) -> float:
        return default


@pytest.mark.parametrize(("agents", "expected"), [(None, 24), (1, 2), (7, 14)])
def test_a_factory_makes_the_world_with_its_agents_in_each_area(agents, expected):
    make_world = worlds.make_world_factory("3DBall", agents)
    decisions, _ = make_world(1, 2, NoParameters()).reset()["3DBall?team=0"]
    assert len(decisions) == expected


def test_3dball_is_a_known_name():
    assert "3DBall" in worlds.names()


@pytest.mark.parametrize("name", ["3dball", "3Dbal", "ball3d"])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=f"unknown environment '{name}'.*known are 3DBall"):
        worlds.make_world_factory(name)


def test_a_near_name_is_suggested():
    with pytest.raises(ValueError, match="did you mean '3DBall'"):
        worlds.make_world_factory("3dbal")


def test_no_agents_are_refused():
    with pytest.raises(ValueError, match="agents must be 1 or more, got 0"):
        worlds.make_world_factory("3DBall", 0)
