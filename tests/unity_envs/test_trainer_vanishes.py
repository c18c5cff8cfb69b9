"""Players whose trainer is killed while they wait for its answer: they leave by themselves."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import unity_envs
from unity_envs import executables

ROOT = Path(unity_envs.__file__).parents[1]
# Steps the player that dials its port, says what it did, and then lets it wait for the answer to its next message.
TRAINER = """
import sys, time
from bridge import UnityEnvironment
environment = UnityEnvironment(None, base_port=int(sys.argv[1]), timeout_wait=60)
environment.reset()
for _ in range(int(sys.argv[2])):
    environment.step()
print("thinking", list(environment.behavior_specs), flush=True)
time.sleep(300)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`start(*command)` starts a program; it is gone when the test is over."""
    started = []

    def start_one(*command: str) -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment))
        return started[-1]

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", executables.names())
def test_a_player_leaves_within_seconds_and_without_a_word(start, name):
    port = str(free_port())
    trainer = start(sys.executable, "-c", TRAINER, port, "20")
    player = start(executables.path(name), "--mlagents-port", port)
    assert trainer.stdout.readline() == f"thinking ['{name}?team=0']\n", trainer.stderr.read()
    time.sleep(0.2)  # the player's next message is on its way, or has arrived
    assert player.poll() is None
    trainer.kill()
    assert player.wait(10) == 0
    assert player.communicate() == ("", "")


def test_a_recording_is_complete_when_the_trainer_vanishes(start, tmp_path):
    port, file = str(free_port()), tmp_path / "moves.json"
    trainer = start(sys.executable, "-c", TRAINER, port, "200")
    player = start(executables.path("CubeMover"), "--mlagents-port", port, "--record", str(file))
    assert trainer.stdout.readline().startswith("thinking")
    trainer.kill()
    assert player.wait(10) == 0
    assert len(json.loads(file.read_text())["episodes"]) == 200 // 3 + 1
