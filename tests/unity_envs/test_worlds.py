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


@pytest.mark.parametrize(("name", "agents"), [("CubeMover", 1), ("PoleBalancer", 1), ("3DBall", 12)])
def test_the_three_worlds_have_their_usual_number_of_agents(name, agents):
    assert name in worlds.names() and worlds.default_agents(name) == agents
    ((behavior, (decisions, _)),) = worlds.make_world_factory(name)(1, 1, NoParameters()).reset().items()
    assert behavior == f"{name}?team=0" and len(decisions) == agents


@pytest.mark.parametrize(
    ("name", "variant", "behavior"),
    [
        ("CubeMover", "basic", "Basic"),
        ("PoleBalancer", "force", "PoleBalancer"),
        ("3DBall", "discrete", "3DBallDiscrete"),
        ("3DBall", "hard", "3DBallHard"),
        ("3DBall", "visual", "Visual3DBall"),
    ],
)
def test_a_variant_has_a_behavior_of_its_own(name, variant, behavior):
    assert variant in worlds.variants(name)
    world = worlds.make_world_factory(name, variant=variant)(1, 1, NoParameters())
    assert list(world.behavior_specs) == [f"{behavior}?team=0"]


@pytest.mark.parametrize("name", ["3dball", "3Dbal", "ball3d"])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=f"unknown environment '{name}'.*known are CubeMover, PoleBalancer, 3DBall"):
        worlds.make_world_factory(name)


def test_a_near_name_is_suggested():
    with pytest.raises(ValueError, match="did you mean '3DBall'"):
        worlds.make_world_factory("3dbal")
    with pytest.raises(ValueError, match=r"no variant 'dicrete': did you mean 'discrete'.*discrete, hard, visual"):
        worlds.make_world_factory("3DBall", variant="dicrete")


def test_no_agents_are_refused():
    with pytest.raises(ValueError, match="agents must be 1 or more, got 0"):
        worlds.make_world_factory("3DBall", 0)
