"""The official client, mlagents-envs 1.1.0, drives our players as it would drive Unity builds."""

import json
import runpy
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridge import UnityEnvironment
from bridge.side_channels import EnvironmentParametersChannel
from unity_envs import executables, worlds

SCRIPT = Path(__file__).with_name("drive_official_client.py")
VARIANTS = [(name, variant) for name in executables.names() for variant in worlds.variants(name)]
# What the client is to do: name of the player, its arguments, phases. It takes about 13 ms for each step of 12 agents
# (its protobuf is pure Python), so only the random actions are played with all of them. The longest comes first.
DRIVES: dict[str, tuple[str, list[str], list[Any]]] = {
    "3DBall": ("3DBall", [], [[5000, "random", {"gravity": 9.81}], [2, "random", {"gravity": 19.62}]]),
    "balance": ("3DBall", ["--agents", "2"], [[1010, "balance", {}]]),
    "PoleBalancer": ("PoleBalancer", [], [[5000, "random", {}]]),
    "CubeMover": ("CubeMover", [], [[5000, "random", {}]]),
    **{f"{name} {variant}": (name, ["--variant", variant], [[20, "random", {}]]) for name, variant in VARIANTS},
    "3DBall visual": ("3DBall", ["--variant", "visual", "--agents", "1"], [[10, "random", {}]]),
}
RANDOM = ("3DBall", "PoleBalancer", "CubeMover")
VERTICAL_SPEED = 6  # index in the observation of 3DBall
DECISION = 5 * 0.02  # seconds between two decisions of 3DBall

pytestmark = pytest.mark.timeout(900)  # the first run builds the client's environment

Seen = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def seen(official_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """`seen(key)`: what the official client saw in this one of DRIVES. All are driven, two at a time."""

    def drive(key: str) -> dict[str, Any]:
        name, arguments, phases = DRIVES[key]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        result = tmp_path_factory.mktemp("official") / "seen.json"
        command = [official_python, SCRIPT, executables.path(name), "--base-port", str(port), "--json", result]
        command += ["--arguments", json.dumps(arguments), "--phases", json.dumps(phases)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=400, cwd=result.parent)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(result.read_text())

    with ThreadPoolExecutor(2) as pool:
        futures = {key: pool.submit(drive, key) for key in DRIVES}
        yield lambda key: futures[key].result()
        pool.shutdown(cancel_futures=True)


def our_view(key: str) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The specs and the first observations that our client gets of the same player and seed."""
    name, arguments, ((_, _, values), *_) = DRIVES[key]
    parameters = EnvironmentParametersChannel()
    environment = UnityEnvironment(
        executables.path(name),
        seed=7,
        no_graphics=True,
        timeout_wait=60,
        additional_args=arguments,
        side_channels=[parameters],
    )
    try:
        for parameter, value in values.items():
            parameters.set_float_parameter(parameter, value)
        environment.reset()
        describe = runpy.run_path(str(SCRIPT))["describe"]
        (behavior,) = environment.behavior_specs
        decisions, _ = environment.get_steps(behavior)
        return describe(environment.behavior_specs), [observation.copy() for observation in decisions.obs]
    finally:
        environment.close()


@pytest.mark.parametrize("key", DRIVES)
def test_both_clients_see_the_same(seen: Seen, key: str) -> None:
    specs, first = our_view(key)
    assert seen(key)["specs"] == specs
    theirs = seen(key)["phases"][0]["first_observations"][0]
    assert len(theirs) == len(first)
    for observation, expected in zip(theirs, first, strict=True):
        np.testing.assert_array_equal(np.array(observation, dtype=np.float32), expected)


@pytest.mark.parametrize("key", DRIVES)
def test_every_step_has_the_shape_that_the_specs_promise(seen: Seen, key: str) -> None:
    ((_, spec),) = seen(key)["specs"].items()
    for phase in seen(key)["phases"]:
        assert phase["shapes"] == [observation["shape"] for observation in spec["observations"]]


@pytest.mark.parametrize("key", DRIVES)
def test_the_client_has_nothing_to_complain_about(seen: Seen, key: str) -> None:
    assert seen(key)["logged"] == []
    assert seen(key)["warnings"] == []


@pytest.mark.parametrize("key", DRIVES)
def test_the_player_leaves_by_itself_when_the_client_closes(seen: Seen, key: str) -> None:
    assert seen(key)["player_exit_code"] == 0


@pytest.mark.parametrize("name", RANDOM)
def test_behaviors_have_the_names_of_their_players(seen: Seen, name: str) -> None:
    assert list(seen(name)["specs"]) == [f"{name}?team=0"]


@pytest.mark.parametrize("key", ["3DBall", "balance"])
def test_all_agents_decide_together(seen: Seen, key: str) -> None:
    agents = {"3DBall": 12, "balance": 2}[key]
    for phase in seen(key)["phases"]:
        # A fall between two decisions is told at once, in a message without decisions.
        assert phase["deciding"] in ([agents], [0, agents])


def test_random_actions_drop_balls_and_never_reach_the_step_limit(seen: Seen) -> None:
    random = seen("3DBall")["phases"][0]
    assert random["counts"]["terminals"] > 12 * 5000 / 100
    assert random["counts"]["interrupted"] == 0
    assert random["rewards"] == [-1.0, 0.0, 0.1]


def test_balanced_balls_are_interrupted_at_the_step_limit(seen: Seen) -> None:
    assert seen("balance")["phases"][0]["counts"]["interrupted"] == 2


def test_an_environment_parameter_changes_the_world(seen: Seen) -> None:
    for phase, gravity in zip(seen("3DBall")["phases"], (9.81, 19.62), strict=True):
        (observations,) = phase["first_observations"][1]
        # One tick of 0.02 s passes with the reset, and those of a decision follow.
        np.testing.assert_allclose(np.array(observations)[:, VERTICAL_SPEED], -gravity * (0.02 + DECISION), rtol=1e-4)


def test_random_moves_find_both_goals_of_cube_mover(seen: Seen) -> None:
    (random,) = seen("CubeMover")["phases"]
    assert random["rewards"] == [-0.01, 0.0, 0.1, 1.0]
    assert random["counts"]["decisions"] == 5000
    assert 150 < random["counts"]["terminals"] < 400  # one in 21 steps on average
    assert random["counts"]["interrupted"] == 0


def test_random_pushes_let_poles_fall(seen: Seen) -> None:
    (random,) = seen("PoleBalancer")["phases"]
    assert random["rewards"] == [0.0, 1.0]
    assert random["counts"]["decisions"] == 5000
    assert random["counts"]["terminals"] > 5000 / 100
    assert random["counts"]["interrupted"] == 0
