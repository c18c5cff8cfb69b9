"""The Editor's way of working: the trainer waits on port 5004, somebody presses Play and, in the end, Stop."""

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from bridge.ports import describe_port_holder, port_is_free
from trainers.checkpoint import load_state
from trainers.run_folder import LOCK_NAME
from unity_envs import executables

pytestmark = [
    pytest.mark.timeout(150),
    pytest.mark.skipif(sys.platform == "win32", reason="uses process groups, which Windows does not have"),
]

EDITOR = """
import grpc
from bridge.messages import EXCHANGE_METHOD, UnityMessageProto
from bridge.player import run_player
from unity_envs.worlds import make_world_factory

class Stop(Exception):
    pass

def make_world(seed, num_areas, parameters):
    world = make_world_factory("3DBall")(seed, num_areas, parameters)
    step, left = world.step, 60

    def step_until_stop(actions):
        nonlocal left
        left -= 1
        if left == 0:
            raise Stop
        return step(actions)

    world.step = step_until_stop
    return world

try:
    run_player(make_world, 5004)
except Stop:
    goodbye = UnityMessageProto()
    goodbye.header.status = 400
    with grpc.insecure_channel("localhost:5004") as channel:
        channel.unary_unary(EXCHANGE_METHOD)(goodbye.SerializeToString(), timeout=10)
    print("stopped")
"""


@pytest.fixture
def editor_port() -> Iterator[None]:
    """The port is fixed, so that only one test at a time can have it, also of several that run side by side."""
    with FileLock(Path(tempfile.gettempdir(), "mlagents-bridge-port-5004.lock"), timeout=100):
        if not port_is_free(5004):
            pytest.fail(f"port 5004 has to be free for this test, but is {describe_port_holder(5004)}", pytrace=False)
        yield


def test_play_stop_and_play_again(
    editor_port: None, start_learn: Callable[..., Any], start: Callable[..., Any], player_script: Any, tmp_path: Path
) -> None:
    first = start_learn("tiny.yaml", "--run-id", "editor")
    first.wait_for("Listening on port 5004. Start training by pressing the Play button")
    written = [path.name for path in (tmp_path / "results").rglob("*") if path.is_file()]
    assert written == [LOCK_NAME]  # which goes if nothing comes of it: see below
    editor = start([str(player_script("editor", EDITOR))], tmp_path)
    assert editor.wait() == 0, editor.stderr
    assert editor.stdout == "stopped\n"
    assert first.wait() == 0, first.stderr
    assert "Step: 300." in first.stdout
    assert "Exported" in first.stdout.splitlines()[-1]
    run = tmp_path / "results" / "editor"
    assert (run / "3DBall.onnx").is_file()
    step = load_state(run / "3DBall" / "checkpoint.pt")["step"]
    assert 300 < step < 1200

    second = start_learn("tiny.yaml", "--run-id", "editor", "--resume")
    second.wait_for("Listening on port 5004.")
    player = start([executables.path("3DBall"), "--mlagents-port", "5004"], tmp_path)
    assert second.wait() == 0, second.stderr
    assert player.wait() == 0, player.stderr
    assert f"Resuming '3DBall' from step {step}" in second.stdout
    assert load_state(run / "3DBall" / "checkpoint.pt")["step"] > 1200


def test_ctrl_c_before_play_is_pressed(editor_port: None, start_learn: Callable[..., Any], tmp_path: Path) -> None:
    process = start_learn("tiny.yaml")
    process.wait_for("Listening on port 5004.")
    process.interrupt()
    assert process.wait(10) == 130
    assert process.stderr == "mlbridge learn: interrupted\n"
    assert not (tmp_path / "results").exists()
