"""`mlbridge learn --workers`: processes that train one policy together, and what becomes of them when one is killed."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainers.checkpoint import load_state

pytestmark = pytest.mark.timeout(400)
LONG = ("--set", "behaviors.3DBall.max_steps=100000000", "--set", "behaviors.3DBall.summary_freq=2000")


def programs(parent: int) -> dict[int, str]:
    """The processes that `parent` started, by pid, with their command lines."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = folder.joinpath("stat").read_text().rpartition(")")[2].split()
            if int(status[1]) == parent and status[0] != "Z":
                found[int(folder.name)] = folder.joinpath("cmdline").read_text().replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def ranks(launcher: int) -> dict[int, int]:
    """The pid of each rank."""
    found = {}
    for pid, command in programs(launcher).items():
        if "trainers.commands.learn" in command:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            found[next(int(one[5:]) for one in variables if one.startswith(b"RANK="))] = pid
    return found


def wait_until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 110
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def steps_shown(folder: Path) -> list[int]:
    """The steps at which TensorBoard shows a reward."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return [event.step for event in events.Scalars("Environment/Cumulative Reward")]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_workers_train_one_policy_together(learn: Callable[..., Any], tmp_path: Path) -> None:
    """Two workers with a player each: summaries and steps count for both, and the first writes everything."""
    done = learn("tiny.yaml", "--env", "3DBall", "--workers", "2", "--run-id", "two")
    assert done.stdout.count("Connected new brain") == 1
    assert done.stdout.count("Step: 300.") == done.stdout.count("Step: 1200.") == 1
    folder = tmp_path / "results" / "two"
    state = load_state(folder / "3DBall" / "checkpoint.pt")
    # 24 agents in trajectories of up to 20 steps: the run ends at the first meeting after max_steps.
    assert 1200 < state["step"] < 1200 + 24 * 20 + 200
    # A buffer of 200 on 12 agents a rank: an update for every 202 steps or more, of minibatches of 32 on both together.
    assert 3 * (202 // 32) <= state["optimizer"]["step"] <= 1200 // 32
    assert {path.name for path in (folder / "run_logs").glob("Player-*.log")} == {"Player-0.log", "Player-1.log"}
    assert (folder / "3DBall.onnx").is_file()
    steps = steps_shown(folder / "3DBall")
    assert steps == sorted(set(steps))


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
# What a rank does nearly all of the time then.
UPDATES = ("--set", "behaviors.3DBall.hyperparameters.num_epoch=100")
CHECKPOINTS = ("--set", "behaviors.3DBall.checkpoint_interval=1")


@LINUX
@pytest.mark.parametrize(("killed", "busy"), [(0, CHECKPOINTS), (1, UPDATES)], ids=["first", "second"])
def test_a_worker_that_is_killed_is_started_again(
    start_learn: Callable[..., Any], tmp_path: Path, killed: int, busy: tuple[str, ...]
) -> None:
    """The first one in the middle of a checkpoint, the second one in the middle of an update."""
    learning = start_learn("tiny.yaml", "--env", "3DBall", "--workers", "2", "--run-id", "killed", *LONG, *busy)
    folder = tmp_path / "results" / "killed"
    learning.wait_for("Step: 2000.")
    first = ranks(learning.pid)
    players = {pid for rank in first.values() for pid in programs(rank)}
    assert sorted(first) == [0, 1] and len(players) >= 2
    if busy is CHECKPOINTS:
        wait_until(lambda: any(folder.glob("3DBall/.tmp-*")), "no checkpoint is being written")
    os.kill(first[killed], signal.SIGKILL)
    learning.wait_for("Resuming '3DBall' from step")
    resumed = int(learning.stdout.split("Resuming '3DBall' from step ")[1].split()[0])
    assert resumed >= 1000  # nothing is lost beyond the last checkpoint: there is one every 500 steps
    learning.wait_for(f"Step: {(resumed // 2000 + 2) * 2000}.")
    second = ranks(learning.pid)
    players |= {pid for rank in second.values() for pid in programs(rank)}
    assert not set(first.values()) & set(second.values())
    os.kill(learning.pid, signal.SIGINT)
    assert learning.wait() == 0
    assert (folder / "3DBall.onnx").is_file()
    steps = steps_shown(folder / "3DBall")
    assert steps == sorted(set(steps))  # no step is there twice
    everyone = players | set(first.values()) | set(second.values())
    wait_until(lambda: all(gone(pid) for pid in everyone), "processes are left behind")


@LINUX
def test_a_player_that_is_killed_is_replaced_and_its_worker_stays(
    start_learn: Callable[..., Any], tmp_path: Path
) -> None:
    learning = start_learn("tiny.yaml", "--env", "3DBall", "--workers", "2", "--run-id", "player", *LONG)
    learning.wait_for("Step: 2000.")
    before = ranks(learning.pid)
    (player, *_) = (pid for pid, command in programs(before[1]).items() if "--mlagents-port" in command)
    os.kill(player, signal.SIGKILL)
    wait_until(lambda: "rank 1: Player" in learning.stderr, "nobody says that a player failed")
    learning.wait_for("Step: ", learning.stdout.count("Step: ") + 3)
    assert ranks(learning.pid) == before
    # Whoever has started the workers is killed: they end by themselves, and save.
    os.kill(learning.pid, signal.SIGKILL)
    everyone = {*before.values(), *(pid for rank in before.values() for pid in programs(rank))}
    wait_until(lambda: all(gone(pid) for pid in everyone), "processes are left behind")
    state = load_state(tmp_path / "results" / "player" / "3DBall" / "checkpoint.pt")
    again = start_learn("tiny.yaml", "--env", "3DBall", "--workers", "2", "--run-id", "player", *LONG, "--resume")
    again.wait_for(f"Resuming '3DBall' from step {state['step']} ")
    again.wait_for("Step: ")
    os.kill(again.pid, signal.SIGINT)
    assert again.wait() == 0
