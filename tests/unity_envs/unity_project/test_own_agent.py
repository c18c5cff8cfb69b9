"""How an agent of one's own is checked: the smallest one, and the mistakes that the check finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

WALKER = """
using Unity.MLAgents;
using Unity.MLAgents.Actuators;
using Unity.MLAgents.Sensors;
using UnityEngine;

public class WalkerAgent : Agent
{
    public float Goal = 3f;
    public Vector3 Place;
    public double Exact;

    public override void OnEpisodeBegin() { Place = new Vector3(Random.Range(-1f, 1f), 0f, 0f); }

    public override void CollectObservations(VectorSensor sensor)
    {
        sensor.AddObservation(Place.x);
        sensor.AddObservation(Goal);
    }

    public override void OnActionReceived(ActionBuffers actions)
    {
        Place += actions.ContinuousActions[0] * Vector3.right + actions.DiscreteActions[0] * Vector3.up;
        AddReward(-0.1f);
        if (Place.x > Goal)
        {
            AddReward(1f);
            EndEpisode();
        }
    }

    public override void Heuristic(in ActionBuffers actionsOut)
    {
        ActionSegment<float> continuous = actionsOut.ContinuousActions;
        continuous[0] = 0.5f;
    }
}
"""
DECLARED = {"observations": 2, "continuous": 1, "branches": [2]}


@pytest.fixture(scope="module")
def walker(compile_scripts, tmp_path_factory) -> Path:
    source = tmp_path_factory.mktemp("walker") / "WalkerAgent.cs"
    source.write_text(WALKER)
    return compile_scripts([source])


def test_an_agent_is_built_set_acted_on_and_looked_at(walker, new_player):
    with new_player(walker) as player:
        player.random([0.75, 0.5])  # of the range of -1 to 1
        for goal in (3.0, 2.0):
            player.add_agent("WalkerAgent", "Walker", **DECLARED, max_step=4, Goal=goal)
        message = player.begin()
        assert (player.agents[0].class_name, player.agents[0].behavior) == ("WalkerAgent", "Walker?team=0")
        np.testing.assert_array_equal(message.observations, [[0.5, 3], [0, 2]])
        np.testing.assert_array_equal(player.suggest(), [[0.5, 0]] * 2)
        player.set("Place", [[2.5, 0.0, 0.0], [1.0, 0.0, 0.0]])
        message = player.step([[0.25, 1], [0.25, 0]])
        np.testing.assert_array_equal(player.get("Place"), [[2.75, 1, 0], [1.25, 0, 0]])
        np.testing.assert_array_equal(message.rewards, np.float32([-0.1, -0.1]))
        message = player.step([[1, 1], [0, 0]])
        assert list(message.terminal_ids) == [0] and list(message.interrupted) == [False]
        assert message.terminal_rewards[0] == pytest.approx(0.9)
        np.testing.assert_array_equal(message.terminal_observations, [[3.75, 3]])
        player.step([[0, 0], [0, 0]])
        message = player.step([[0, 0], [0, 0]])
        assert list(message.terminal_ids) == [1] and list(message.interrupted) == [True]  # its fourth step


def test_numbers_pass_the_driver_unchanged(walker, new_player):
    random = np.random.default_rng(6)
    doubles = random.normal(size=1000) * 10.0 ** random.integers(-300, 300, 1000)
    singles = random.integers(0, 2**32, 3000, np.uint32).view(np.float32)
    singles[np.isnan(singles)] = -np.inf
    with new_player(walker) as player:
        for _ in range(1000):
            player.add_agent("WalkerAgent", "Walker", **DECLARED)
        player.begin()
        player.set("Exact", doubles)
        player.set("Place", singles.reshape(1000, 3))
        np.testing.assert_array_equal(player.get("Exact"), doubles)
        np.testing.assert_array_equal(player.get("Place"), singles.reshape(1000, 3))


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        ({"observations": 3}, "2 observations made, VectorObservationSize is 3"),
        ({"observations": 1}, "2 observations made, VectorObservationSize is 1"),
    ],
)
def test_a_size_that_is_not_what_is_sent_is_found(walker, new_player, declared, text):
    with new_player(walker) as player:
        player.add_agent("WalkerAgent", "Walker", **{**DECLARED, **declared})
        with pytest.raises(AssertionError, match=text):
            player.begin()


def test_fewer_actions_than_the_agent_reads_are_found(walker, new_player):
    with new_player(walker) as player:
        player.add_agent("WalkerAgent", "Walker", observations=2, continuous=1)
        player.begin()
        with pytest.raises(new_player.Ended, match="IndexOutOfRange") as ended:
            player.step([[1]])
    assert ended.value.exit_code == 1


SCENE = """
using Unity.MLAgents;
using Unity.MLAgents.Actuators;
using Unity.MLAgents.Policies;
using UnityEngine;

static class Scene
{
    [RuntimeInitializeOnLoadMethod(RuntimeInitializeLoadType.AfterSceneLoad)]
    static void Begin()
    {
        var target = new GameObject("walker");
        BODY
    }

    static void Ask(GameObject target) { target.AddComponent<DecisionRequester>(); }

    static void Agent(GameObject target)
    {
        target.AddComponent<WalkerAgent>();
        var behavior = target.GetComponent<BehaviorParameters>();
        behavior.BrainParameters.VectorObservationSize = 2;
        behavior.BrainParameters.ActionSpec = new ActionSpec(1, new[] { 2 });
    }
}
"""


@pytest.fixture
def play_scene(compile_scripts, new_player, tmp_path):
    """play_scene(body): a player of a scene that is made by these lines of C#."""

    def play(body: str):
        (tmp_path / "WalkerAgent.cs").write_text(WALKER)
        (tmp_path / "Scene.cs").write_text(SCENE.replace("BODY", body))
        return new_player(compile_scripts([tmp_path / "WalkerAgent.cs", tmp_path / "Scene.cs"]))

    return play


def test_sizes_declared_after_the_agent_is_active_come_too_late(play_scene):
    with play_scene("Agent(target); Ask(target);") as player:
        with pytest.raises(AssertionError, match="2 observations made, VectorObservationSize is 1"):
            player.begin()
        assert (player.agents[0].continuous, player.agents[0].branches) == (0, [])


def test_a_requester_before_the_agent_brings_an_agent_of_its_own(play_scene):
    with play_scene("target.SetActive(false); Ask(target); Agent(target); target.SetActive(true);") as player:
        player.complaints_allowed = True
        player.begin()
        assert [agent.class_name for agent in player.agents] == ["Agent", "WalkerAgent"]


def test_an_agent_that_asks_for_no_decision_is_found(play_scene, new_player):
    with (
        play_scene("target.SetActive(false); Agent(target); target.SetActive(true);") as player,
        pytest.raises(new_player.Ended, match="no agent asked for a decision"),
    ):
        player.begin()


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("int Two() { int One() { return 1; } return 2 * One(); }", "WalkerAgent.cs"),  # a local function
        ("float Read() { return Input.GetAxis(name); }", "Input"),  # no keyboard in a player without a window
        ("Unity.InferenceEngine.ModelAsset model;", "InferenceEngine"),  # another name in every version of the package
        ("Vector3 Middle() { return Vector3.Lerp(Place, Place, 1f); }", "Lerp"),  # in the engine, but not in the stub
    ],
)
def test_what_is_not_understood_everywhere_does_not_compile(compile_scripts, tmp_path, line, text):
    source = tmp_path / "WalkerAgent.cs"
    source.write_text(WALKER.replace("    public float Goal", f"    {line}\n    public float Goal"))
    with pytest.raises(Exception, match=text):
        compile_scripts([source])
