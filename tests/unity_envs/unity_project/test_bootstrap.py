"""The scenes that the Unity project builds from code, and what their agents declare."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.player import EnvironmentParameters
from unity_envs.stages import scene_of_poses
from unity_envs.worlds import ball3d_physics, pole_balancer
from unity_envs.worlds.ball3d import Ball3D
from unity_envs.worlds.cube_mover import CubeMover
from unity_envs.worlds.pole_balancer import PoleBalancer

# Environment, variant, class of the Python world, agents in an area, MaxStep.
ALL = [
    ("CubeMover", None, CubeMover, 1, 0),
    ("CubeMover", "basic", CubeMover, 1, 0),
    ("PoleBalancer", None, PoleBalancer, 1, pole_balancer.MAX_STEP),
    ("PoleBalancer", "force", PoleBalancer, 1, pole_balancer.MAX_STEP),
    ("3DBall", None, Ball3D, 12, ball3d_physics.MAX_STEP),
    ("3DBall", "discrete", Ball3D, 12, ball3d_physics.MAX_STEP),
    ("3DBall", "hard", Ball3D, 12, ball3d_physics.MAX_STEP),
    ("3DBall", "visual", Ball3D, 12, ball3d_physics.MAX_STEP),
]


def arguments(name: str, variant: str | None, *more: str) -> list[str]:
    return ["--env-name", name, *(["--variant", variant] if variant else []), *more]


@pytest.mark.parametrize(("name", "variant", "world_class", "agents", "max_step"), ALL)
def test_the_agents_declare_what_those_of_the_python_world_do(
    project, new_player, name, variant, world_class, agents, max_step
):
    with new_player(project, arguments(name, variant)) as player:
        message = player.begin()
    world = world_class(1, 1, EnvironmentParameters(), variant=variant)
    ((behavior, spec),) = world.behavior_specs.items()
    assert len(player.agents) == agents == len(world.agents)
    assert list(message.ids) == list(range(agents)) and len(message.terminal_ids) == 0
    for agent in player.agents:
        assert agent.behavior == behavior
        assert agent.sensors == {sensor.name: sensor.shape for sensor in spec.observation_specs}
        assert (agent.continuous, agent.branches) == (
            spec.action_spec.continuous_size,
            list(spec.action_spec.discrete_branches),
        )
        assert agent.decision_period == world.decision_period
        assert agent.max_step == max_step


@pytest.mark.parametrize("graphics", [True, False])
@pytest.mark.parametrize("name", ["CubeMover", "PoleBalancer", "3DBall"])
def test_every_agent_has_its_own_object_in_the_order_that_works(project, new_player, name, graphics):
    with new_player(project, arguments(name, None, "--agents=3", *([] if graphics else ["-nographics"]))) as player:
        player.begin()
        objects = player.objects()
        own = [(each, parts) for each, active, parts in objects if each.startswith("agent ") and active]
        assert [each for each, _ in own] == ["agent 0", "agent 1", "agent 2"]
        for _, parts in own:
            # The agent comes after what it reads as it is activated, and before what looks for it.
            assert parts[-3:] == ["BehaviorParameters", player.agents[0].class_name, "DecisionRequester"]
        places = player.get("transform.position")
    assert list(places[0]) == [0, 0, 0]
    assert len({tuple(place) for place in places}) == 3
    parts = {part for _, _, each in objects for part in each}
    assert ("MeshRenderer" in parts) == ("Light" in parts) == ("Camera" in parts) == graphics


def test_twelve_balls_stand_in_a_grid_with_room_between(project, new_player):
    with new_player(project, arguments("3DBall", None)) as player:
        player.begin()
        places = player.get("transform.position")
        balls = player.get("Ball.transform.position")
        np.testing.assert_array_equal(player.get("transform.localScale"), 5)
    assert len(set(places[:, 0])) == 4 and len(set(places[:, 2])) == 3
    distances = np.linalg.norm(places[:, None] - places, axis=2) + 100 * np.eye(12)
    assert distances.min() >= 10
    assert (np.abs(balls - places)[:, [0, 2]] <= 1.5).all()
    np.testing.assert_allclose(balls[:, 1] - places[:, 1], 4)


def test_the_ball_and_the_engine_are_set_as_the_documents_say(project, new_player):
    with new_player(project, arguments("3DBall", None, "--agents", "1")) as player:
        player.begin()
        assert player.get("Ball.mass") == [1] and player.get("Ball.useGravity") == ["True"]
        ball = {"linearDamping": 0, "angularDamping": 0.01}
        surface = {"staticFriction": 0.6, "dynamicFriction": 0.6, "bounciness": 0.1}
        for member, value in (ball | {f"[SphereCollider].material.{key}": surface[key] for key in surface}).items():
            assert player.get(f"Ball.{member}") == pytest.approx(value)
        engine = {
            "UnityEngine.Time": {"fixedDeltaTime": 0.02, "maximumDeltaTime": 1 / 3},
            "UnityEngine.Physics": {
                "gravity": [0, -9.81, 0],
                "defaultSolverIterations": 6,
                "defaultSolverVelocityIterations": 1,
                "bounceThreshold": 2,
                "defaultContactOffset": 0.01,
                "defaultMaxAngularSpeed": 7,
                "defaultMaxDepenetrationVelocity": 10,
                "sleepThreshold": 0,
            },
            "UnityEngine.Application": {"targetFrameRate": -1},
            "UnityEngine.QualitySettings": {"vSyncCount": 0},
        }
        for type_name, members in engine.items():
            for member, value in members.items():
                np.testing.assert_allclose(player.get(member, who=type_name).ravel(), np.ravel(value), rtol=1e-6)
        assert player.get("runInBackground", who="UnityEngine.Application") == ["True"]


def test_the_cube_is_blue(project, new_player):
    with new_player(project, arguments("CubeMover", None)) as player:
        player.begin()
        color = player.get("Cube.[MeshRenderer].material.color")
    np.testing.assert_allclose(color, [[0.11, 0.60, 1.0, 0.84]], rtol=1e-6)


def test_num_areas_multiplies_the_agents(project, new_player):
    with new_player(project, arguments("3DBall", None, "--agents", "2")) as player:
        player.areas(3)
        assert list(player.begin().ids) == list(range(6))


def test_only_one_agent_reads_gravity(project, new_player):
    with new_player(project, arguments("3DBall", None)) as player:
        player.begin()
        assert list(player.get("ReadsGravity")) == ["True"] + ["False"] * 11


def test_the_visual_agents_have_a_camera_each_and_no_vector(project, new_player):
    with new_player(project, arguments("3DBall", "visual", "--agents", "2")) as player:
        message = player.begin()
        assert message.observations.shape == (2, 0)
        assert list(player.get("[CameraSensorComponent].Camera.enabled")) == ["False", "False"]
        camera = scene_of_poses("Visual3DBall", np.array([[0, 0, 0, 1, 0, 4, 0, 0.5]]), 1.0).camera
        places = player.get("[CameraSensorComponent].Camera.transform.position") - player.get("transform.position")
        np.testing.assert_allclose(places, [camera.position] * 2, atol=1e-3)
        assert player.get("[CameraSensorComponent].Camera.fieldOfView") == pytest.approx(camera.field_of_view)
        assert player.suggest().shape == (2, 2)
        player.step([[1, 1], [0, 0]])


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["--env-name", "3DBal"], "unknown environment '3DBal': known are CubeMover, PoleBalancer, 3DBall"),
        (
            ["--env-name=3DBall", "--variant", "basic"],
            "unknown variant 'basic' of 3DBall: known are discrete, hard, visual",
        ),
        (["--env-name=3DBall", "--agents", "0"], "--agents must be a whole number from 1 on, got '0'"),
        (["--env-name=3DBall", "--agents=two"], "--agents must be a whole number from 1 on, got 'two'"),
        (["--env-name=3DBall", "--agents"], "--agents needs a value"),
        (["--env-name", "--agents", "2"], "--env-name needs a value"),
        ([], "name an environment: --env-name CubeMover or PoleBalancer or 3DBall"),
        (["--env-name=3DBall", "--variant=visual", "-nographics"], "Visual3DBall sees pictures"),
    ],
)
def test_arguments_that_make_no_sense_end_the_player_with_one_line(project, new_player, given, text):
    with new_player(project, given) as player, pytest.raises(new_player.Ended) as ended:
        player.begin()
    assert text in str(ended.value) and ended.value.exit_code == 1
    assert len(player.complaints) == 1


def test_what_unity_and_ml_agents_say_on_the_command_line_is_passed_over(project, new_player):
    more = ["--mlagents-port", "5005", "-logFile", "x.log", "--agents=1", "--agents", "4"]
    with new_player(project, arguments("CubeMover", None, *more)) as player:
        player.begin()
    assert len(player.agents) == 4  # the last one counts


@pytest.mark.parametrize(
    ("defines", "given", "behavior"),
    [
        (["ENVIRONMENT_CUBEMOVER", "VARIANT_BASIC"], [], "Basic"),
        (["ENVIRONMENT_POLEBALANCER", "VARIANT_FORCE"], [], "PoleBalancer"),
        (["ENVIRONMENT_3DBALL", "VARIANT_HARD"], [], "3DBallHard"),
        (["ENVIRONMENT_3DBALL", "VARIANT_HARD"], ["--variant=discrete"], "3DBallDiscrete"),
        (["ENVIRONMENT_3DBALL", "VARIANT_HARD"], ["--env-name=CubeMover"], "CubeMover"),
        (["ENVIRONMENT_OWN"], ["--env-name=CubeMover"], "CubeMover"),
    ],
)
def test_a_build_has_its_own_environment_unless_told_otherwise(
    compile_project, new_player, unity_6, defines, given, behavior
):
    with new_player(compile_project((*unity_6, *defines)), ["-nographics", *given]) as player:
        player.begin()
    assert player.agents[0].behavior == f"{behavior}?team=0"


def test_scripts_of_one_s_own_may_make_the_scene(compile_project, new_player, unity_6):
    """Then there is no other agent, so that nobody asks for a decision here."""
    with (
        new_player(compile_project((*unity_6, "ENVIRONMENT_OWN"))) as player,
        pytest.raises(new_player.Ended, match="no agent asked for a decision"),
    ):
        player.begin()


def test_unity_2022_with_an_older_package_works_as_well(compile_project, new_player):
    """Other names of the engine, and no num_areas."""
    with new_player(compile_project(()), arguments("3DBall", None, "--agents", "2")) as player:
        player.areas(3)
        player.begin()
        player.set("Ball.velocity", [1.0, 2.0, 3.0])
        message = player.step(np.zeros((2, 2)))
    np.testing.assert_array_equal(message.observations[:, 5:], [[1, 2, 3]] * 2)
