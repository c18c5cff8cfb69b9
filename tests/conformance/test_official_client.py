"""The official client, mlagents-envs 1.1.0, drives our player as it would drive a Unity build."""

import json
import runpy
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bridge import UnityEnvironment
from bridge.side_channels import EnvironmentParametersChannel
from unity_envs import executables

SCRIPT = Path(__file__).with_name("drive_official_client.py")
RANDOM, HEAVIER, BALANCED = range(3)
PHASES = [
    [450, "random", {"gravity": 9.81}],
    [450, "random", {"gravity": 19.62}],
    [1100, "balance", {"gravity": 9.81}],
]
VERTICAL_SPEED = 6  # index in the observation vector
DECISION = 5 * 0.02  # seconds between two decisions

pytestmark = pytest.mark.timeout(600)  # the first run builds the client's environment


@pytest.fixture(scope="module")
def seen(official_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What the official client saw of `3DBall` in 2,000 steps."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    result = tmp_path_factory.mktemp("official") / "seen.json"
    command = [official_python, SCRIPT, executables.path("3DBall"), "--base-port", str(port), "--json", result]
    done = subprocess.run(
        [*command, "--phases", json.dumps(PHASES)], capture_output=True, text=True, timeout=300, cwd=result.parent
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(result.read_text())


@pytest.fixture(scope="module")
def our_view() -> tuple[dict, np.ndarray]:
    """The specs and the first observations [agents, size] that our client gets of the same executable and seed."""
    parameters = EnvironmentParametersChannel()
    environment = UnityEnvironment(
        executables.path("3DBall"), seed=7, no_graphics=True, side_channels=[parameters], timeout_wait=60
    )
    try:
        parameters.set_float_parameter("gravity", 9.81)
        environment.reset()
        describe = runpy.run_path(str(SCRIPT))["describe"]
        (name,) = environment.behavior_specs
        decisions, _ = environment.get_steps(name)
        return describe(environment.behavior_specs), decisions.obs[0].copy()
    finally:
        environment.close()


def test_both_clients_see_the_same_specs(seen: dict, our_view: tuple[dict, np.ndarray]) -> None:
    assert seen["specs"] == our_view[0]
    assert list(seen["specs"]) == ["3DBall?team=0"]


def test_both_clients_get_the_same_first_observations(seen: dict, our_view: tuple[dict, np.ndarray]) -> None:
    (observations,) = seen["phases"][RANDOM]["first_observations"][0]
    np.testing.assert_array_equal(np.array(observations, dtype=np.float32), our_view[1])


def test_every_step_has_the_shape_that_the_specs_promise(seen: dict) -> None:
    promised = [observation["shape"] for observation in seen["specs"]["3DBall?team=0"]["observations"]]
    for phase in seen["phases"]:
        assert phase["shapes"] == promised


def test_all_agents_decide_together(seen: dict) -> None:
    for phase in seen["phases"]:
        # A fall between two decisions is told at once, in a message without decisions.
        assert phase["deciding"] in ([12], [0, 12])


def test_random_actions_drop_balls_and_never_reach_the_step_limit(seen: dict) -> None:
    counts = seen["phases"][RANDOM]["counts"]
    assert counts["terminals"] > 12 * 450 / 100
    assert counts["interrupted"] == 0
    assert seen["phases"][RANDOM]["rewards"] in ([-1.0, 0.0, 0.1], [-1.0, 0.1])


def test_balanced_balls_are_interrupted_at_the_step_limit(seen: dict) -> None:
    assert seen["phases"][BALANCED]["counts"]["interrupted"] == 12


def test_an_environment_parameter_changes_the_world(seen: dict) -> None:
    for phase, gravity in ((RANDOM, 9.81), (HEAVIER, 19.62)):
        (observations,) = seen["phases"][phase]["first_observations"][1]
        np.testing.assert_allclose(np.array(observations)[:, VERTICAL_SPEED], -gravity * DECISION, rtol=1e-4)


def test_the_client_has_nothing_to_complain_about(seen: dict) -> None:
    assert seen["logged"] == []
    assert seen["warnings"] == []


def test_the_player_leaves_by_itself_when_the_client_closes(seen: dict) -> None:
    assert seen["player_exit_code"] == 0
