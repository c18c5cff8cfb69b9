"""Bad input to `mlbridge learn`: one line that names the culprit and the remedy, exit code 2, nothing overwritten."""

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform == "win32", reason="uses process groups, which Windows does not have"),
]


@pytest.fixture
def refused(
    learn: Callable[..., Any], tmp_path: Path, contents: Callable[[Path], dict[str, bytes]]
) -> Callable[..., list[str]]:
    """`refused(arguments...)` returns the lines on standard error of a command that has to be refused.

    It is given the name of a run that exists, which has to stay as it is; so has the list of runs.
    """
    run = tmp_path / "results" / "mine"
    for name in ("configuration.yaml", "3DBall.onnx", "3DBall/checkpoint.pt", "3DBall/events.out.tfevents.1.host"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(f"a {name} of great value")
    (run / "run_logs").mkdir()
    (run / "run_logs" / "timers.json").write_text("old timers")

    def check(*arguments: str, run_id: str = "mine") -> list[str]:
        before = contents(tmp_path / "results")
        process = learn(*arguments, "--run-id", run_id, code=2)
        assert contents(tmp_path / "results") == before
        lines = [line for line in process.stderr.splitlines() if ".cc:" not in line]  # gRPC's own
        assert lines[0].startswith("mlbridge learn: error: ")
        return [line.removeprefix("mlbridge learn: error: ") for line in lines]

    return check


def only(lines: list[str]) -> str:
    (line,) = lines
    return line


# ---- found out before a player is started ----


def test_a_path_that_does_not_exist(refused: Callable[..., list[str]]) -> None:
    error = only(refused("tiny.yaml", "--env", "builds/Walker", "--force"))
    assert error.startswith("--env: no environment was found for 'builds/Walker': there is no ")
    assert "built-in environments are CubeMover, PoleBalancer, 3DBall" in error


def test_an_unknown_name_of_a_built_in_environment(refused: Callable[..., list[str]]) -> None:
    assert "did you mean '3DBall'?" in only(refused("tiny.yaml", "--env", "3dbal", "--force"))


def test_a_file_that_is_not_executable(refused: Callable[..., list[str]], tmp_path: Path) -> None:
    (tmp_path / "Walker.x86_64").write_text("#!/bin/sh\n")
    error = only(refused("tiny.yaml", "--env", "Walker", "--force"))
    assert "Walker.x86_64 is not executable; run: chmod +x " in error


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("buffer_size", "bufer_size", "did you mean 'buffer_size'?"),
        ("batch_size: 32", "batch_size: many", "batch_size: expected"),
        ("time_horizon: 20", "time_horizon: -20", "time_horizon: expected"),
    ],
    ids=["typo", "wrong type", "negative number"],
)
def test_a_configuration_with_a_mistake(
    refused: Callable[..., list[str]], tmp_path: Path, old: str, new: str, expected: str
) -> None:
    tiny = tmp_path / "tiny.yaml"
    tiny.write_text(tiny.read_text().replace(old, new))
    error = only(refused("tiny.yaml", "--env", "3DBall", "--force"))
    assert error.startswith("tiny.yaml")
    assert "behaviors.3DBall." in error
    assert expected in error


def test_a_negative_number_on_the_command_line(refused: Callable[..., list[str]]) -> None:
    assert only(refused("tiny.yaml", "--num-envs", "-2", "--force")).startswith("--num-envs: expected")


def test_an_unknown_flag(refused: Callable[..., list[str]]) -> None:
    assert "unknown argument --no-grafics, did you mean '--no-graphics'?" in only(refused("tiny.yaml", "--no-grafics"))


def test_a_run_that_exists(refused: Callable[..., list[str]]) -> None:
    error = only(refused("tiny.yaml", "--env", "3DBall"))
    assert (
        "the run 'mine' exists already in results/mine; continue it with --resume, overwrite it with --force" in error
    )


def test_nothing_to_resume(refused: Callable[..., list[str]], tmp_path: Path) -> None:
    error = only(refused("tiny.yaml", "--env", "3DBall", "--resume", run_id="mien"))
    assert error.startswith("there is no run 'mien' to resume")
    assert "mine" in error.split("a run that exists")[1]
    (tmp_path / "results" / "empty").mkdir()
    (tmp_path / "results" / "empty" / "configuration.yaml").touch()
    error = only(refused("tiny.yaml", "--env", "3DBall", "--resume", run_id="empty"))
    assert "results/empty has no checkpoint to resume from" in error


def test_a_checkpoint_that_is_none(refused: Callable[..., list[str]]) -> None:
    error = only(refused("tiny.yaml", "--env", "3DBall", "--in-process", "--resume"))
    assert "checkpoint.pt is damaged, cut short or no checkpoint; train anew with --force" in error


def test_another_run_to_start_from_that_does_not_exist(refused: Callable[..., list[str]]) -> None:
    error = only(refused("tiny.yaml", "--env", "3DBall", "--initialize-from", "mein", run_id="new"))
    assert error == "--initialize-from mein: there is no such run in results, did you mean 'mine'? (it has mine)"


def test_inference_without_a_model(refused: Callable[..., list[str]]) -> None:
    error = only(refused("tiny.yaml", "--env", "3DBall", "--inference", "--force"))
    assert error == "--inference needs a trained model; add --resume, or --initialize-from RUN_ID"


def test_in_process_with_a_program(refused: Callable[..., list[str]]) -> None:
    error = only(refused("tiny.yaml", "--env", sys.executable, "--in-process", "--force"))
    assert error.startswith("--in-process steps a built-in environment in this process, but --env is ")
    assert "name one of CubeMover, PoleBalancer, 3DBall, or leave --in-process out" in error


def test_in_process_with_a_flag_that_the_world_does_not_know(refused: Callable[..., list[str]]) -> None:
    error = only(refused("tiny.yaml", "--env", "3DBall", "--in-process", "--force", "--env-args", "--agents", "0"))
    assert error.startswith("--env-args: ")
    assert "1 or more, got '0'" in error


def test_a_device_that_is_not_there(refused: Callable[..., list[str]]) -> None:
    error = only(refused("tiny.yaml", "--env", "3DBall", "--in-process", "--force", "--torch-device", "abacus"))
    assert error.startswith("--torch-device abacus cannot be used here (")
    assert error.endswith("; try --torch-device cpu")


def test_a_port_in_use(refused: Callable[..., list[str]]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        error = only(refused("tiny.yaml", "--env", "3DBall", "--force", "--base-port", port))
    assert error.startswith(f"port {port} is in use by process ")
    assert "another port with --base-port" in error


# ---- found out from the player ----


def test_a_player_that_ends_at_once(
    refused: Callable[..., list[str]], player_script: Callable[[str, str], Path]
) -> None:
    player_script("broken", "print('cannot open display'); sys.exit(3)")
    lines = refused("tiny.yaml", "--env", "broken", "--force")
    assert "player 0 (" in lines[0]
    assert "exited with code 3; the last lines of " in lines[0]
    assert lines[1:] == ["cannot open display"]


def test_a_player_that_never_connects(
    refused: Callable[..., list[str]], player_script: Callable[[str, str], Path]
) -> None:
    player_script("silent", "import time; time.sleep(100)")
    error = only(refused("tiny.yaml", "--env", "silent", "--force", "--timeout-wait", "2"))
    assert "the player was started but did not connect to port " in error
    assert "within 2 s; likely causes, in this order: the executable is not a build with ML-Agents" in error


def test_a_player_of_another_version(
    refused: Callable[..., list[str]], player_script: Callable[[str, str], Path]
) -> None:
    player_script(
        "old",
        """
        from bridge import player
        player.API_VERSION = "0.9.0"
        player.run_player(None, port)
        """,
    )
    error = only(refused("tiny.yaml", "--env", "old", "--force"))
    assert error.startswith("the player speaks version 0.9.0 of the ML-Agents communication API, this side 1.5.0")


NAN = """
import numpy as np
from bridge.player import run_player
from unity_envs.worlds import make_world_factory

def make_world(seed, num_areas, parameters):
    world = make_world_factory("3DBall", 4)(seed, num_areas, parameters)
    step, reset, count = world.step, world.reset, 0

    def spoilt(steps):
        nonlocal count
        count += 1
        for decisions, _ in steps.values():
            if count >= FIRST_BAD and len(decisions):  # there are messages with ends of episodes only
                decisions.obs[0][2, 5] = np.nan
        return steps

    world.step, world.reset = lambda actions: spoilt(step(actions)), lambda: spoilt(reset())
    return world

sys.exit(run_player(make_world, port))
"""


def test_not_a_number_in_the_first_observation(
    refused: Callable[..., list[str]], player_script: Callable[[str, str], Path]
) -> None:
    player_script("spoilt", NAN.replace("FIRST_BAD", "1"))
    error = only(refused("tiny.yaml", "--env", "spoilt", "--force"))
    assert error.startswith("observation 0 (VectorSensor_size8) of agent 2 of behavior '3DBall?team=0' is NaN; ")


def test_not_a_number_later_keeps_what_was_learnt(
    learn: Callable[..., Any], player_script: Callable[[str, str], Path], tmp_path: Path
) -> None:
    player_script("spoilt", NAN.replace("FIRST_BAD", "120"))
    process = learn("tiny.yaml", "--env", "spoilt", "--run-id", "new", code=2)
    assert "observation 0 (VectorSensor_size8) of agent 2" in process.stderr.splitlines()[-1]
    assert "What was learnt so far is saved in results/new; --resume goes on from it." in process.stdout
    assert (tmp_path / "results" / "new" / "3DBall" / "checkpoint.pt").is_file()


def test_a_behavior_that_the_configuration_does_not_have(refused: Callable[..., list[str]], tmp_path: Path) -> None:
    tiny = tmp_path / "tiny.yaml"
    tiny.write_text(tiny.read_text().replace("3DBall:", "3DBal:"))
    error = only(refused("tiny.yaml", "--env", "3DBall", "--force"))
    assert error.startswith("the environment's behavior '3DBall' is not in the configuration, did you mean '3DBal'?")


CRASHING = """
import os
from pathlib import Path
from bridge.player import run_player
from unity_envs.worlds import make_world_factory

def make_world(seed, num_areas, parameters):
    world = make_world_factory("3DBall", 4)(seed, num_areas, parameters)
    lives = Path("lives.txt")
    life = len(lives.read_text()) if lives.exists() else 0
    lives.write_text("x" * (life + 1))
    step, count = world.step, 0

    def crash(actions):
        nonlocal count
        count += 1
        if life < CRASHES and count == 60:
            os._exit(3)
        return step(actions)

    world.step = crash
    return world

sys.exit(run_player(make_world, port))
"""


def test_a_player_that_crashes_is_started_again(
    learn: Callable[..., Any], player_script: Callable[[str, str], Path], tmp_path: Path
) -> None:
    player_script("fragile", CRASHING.replace("CRASHES", "1"))
    process = learn("tiny.yaml", "--env", "fragile", "--run-id", "new")
    assert "[WARNING] Player 0 failed and is started again: " in process.stdout
    assert (tmp_path / "lives.txt").read_text() == "xx"
    assert (tmp_path / "results" / "new" / "3DBall.onnx").is_file()


def test_a_player_that_crashes_again_and_again_ends_the_run(
    learn: Callable[..., Any], player_script: Callable[[str, str], Path], tmp_path: Path
) -> None:
    player_script("fragile", CRASHING.replace("CRASHES", "9"))
    process = learn("tiny.yaml", "--env", "fragile", "--restarts-rate-limit-n", "2", code=2)
    assert process.stdout.count("is started again: ") == 2
    assert "Player 0 is not started again: it has had 2 restarts within 60 s; " in process.stdout
    assert (tmp_path / "lives.txt").read_text() == "xxx"
    assert "What was learnt so far is saved in results/ppo; --resume goes on from it." in process.stdout
