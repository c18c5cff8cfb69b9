"""torchrun on two hosts with a line of some delay between them."""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from trainers.checkpoint import load_state

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]


def step(folder: Path) -> int:
    return int(load_state(folder / "results" / "ppo" / "3DBall" / "checkpoint.pt")["step"])


def test_two_hosts_train_and_the_one_that_is_left_goes_on(hosts: Callable[..., Sequence[Any]], tmp_path: Path) -> None:
    first, second = hosts(delay_ms=5)
    first.train()
    second.train()
    first.wait_for("Step: 4000.")
    assert "Step: " not in second.output  # the first rank speaks for both
    second.lose()
    first.wait_for("Resuming '3DBall' from step")
    resumed = int(first.output.split("Resuming '3DBall' from step ")[1].split()[0])
    assert resumed >= 2000
    first.wait_for(f"Step: {(resumed // 2000 + 2) * 2000}.")
    # And with it again, from where the training is then.
    second.train()
    first.wait_for("Resuming '3DBall' from step", 2)
    first.wait_for("Step: ", first.output.count("Step: ") + 2)
    os.kill(first.process.pid, signal.SIGINT)
    os.kill(second.process.pid, signal.SIGINT)
    first.wait()
    second.wait()
    assert (tmp_path / "results" / "ppo" / "3DBall.onnx").is_file()
    assert step(tmp_path) > resumed


def test_a_run_whose_rendezvous_is_lost_goes_on_when_it_is_started_again(
    hosts: Callable[..., Sequence[Any]], tmp_path: Path
) -> None:
    first, second = hosts(delay_ms=1)
    first.train()
    second.train()
    first.wait_for("Step: 4000.")
    first.lose()
    second.wait()  # without the rendezvous there is nothing to wait for
    saved = step(tmp_path)
    assert saved >= 2000
    first.train("--resume")
    second.train("--resume")
    first.wait_for(f"Resuming '3DBall' from step {saved} ")
    first.wait_for("Step: ", 2)
