"""Two hosts as network namespaces, and torchrun on each of them."""

import contextlib
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

RELAY = Path(__file__).with_name("relay.py")
LIMIT = 240.0  # seconds that anything may take
ADDRESSES = ("10.77.0.1", "10.77.0.2")
CONFIGURATION = """
behaviors:
  3DBall:
    trainer_type: ppo
    hyperparameters: {batch_size: 32, buffer_size: 400, num_epoch: 1, learning_rate: 0.001}
    network_settings: {normalize: true, hidden_units: 16, num_layers: 1}
    time_horizon: 20
    max_steps: 100000000
    summary_freq: 2000
    checkpoint_interval: 2000
"""


class Host:
    """One of the two; torchrun and its worker are killed together, as a host that is gone takes both along."""

    def __init__(self, number: int, namespace: str, folder: Path) -> None:
        self._number, self._namespace, self._folder = number, namespace, folder
        self.output = ""

    def train(self, *arguments: str) -> None:
        """Starts torchrun with one worker; the first host has the rendezvous."""
        command = ["ip", "netns", "exec", self._namespace, sys.executable, "-m", "torch.distributed.run"]
        command += ["--nnodes=1:2", "--nproc-per-node=1", "--max-restarts=3", "--rdzv-backend=c10d"]
        command += [
            f"--rdzv-endpoint={ADDRESSES[0]}:29400",
            "--rdzv-id=test",
            f"--local-addr={ADDRESSES[self._number]}",
        ]
        command += [f"--rdzv-conf=is_host={1 - self._number},last_call_timeout=3"]
        command += ["-m", "trainers.commands.learn", "run.yaml", "--env", "3DBall", "--in-process", *arguments]
        variables = {"GLOO_SOCKET_IFNAME": "line", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        variables["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # trainers/distributed.md says why
        self.output = ""
        self.process = subprocess.Popen(
            command,
            cwd=self._folder,
            env=os.environ | variables | {"PYTHONPATH": str(RELAY.parents[2])},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.output += line

    def wait_for(self, text: str, count: int = 1) -> None:
        deadline = time.monotonic() + LIMIT
        while self.output.count(text) < count:
            ended = self.process.poll() is not None and not self._reader.is_alive()
            if ended or time.monotonic() > deadline:
                pytest.fail(f"no {text!r} on host {self._number}:\n{self.output}", pytrace=False)
            time.sleep(0.1)

    def wait(self) -> int:
        code = self.process.wait(LIMIT)
        self._reader.join(LIMIT)
        return code

    def lose(self) -> None:
        """Kills every process in the namespace."""
        listed = subprocess.run(["ip", "netns", "pids", self._namespace], capture_output=True, text=True, timeout=30)
        for pid in listed.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), 9)
        if hasattr(self, "process"):
            self.process.wait(LIMIT)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Callable[..., Sequence[Host]]]:
    """`hosts(delay_ms=5)`: two hosts that share a folder, with run.yaml in it."""
    if os.geteuid() != 0 or not os.path.exists("/dev/net/tun"):
        pytest.skip("network namespaces and TUN devices need root")
    (tmp_path / "run.yaml").write_text(CONFIGURATION, encoding="utf-8")
    mark = secrets.token_hex(3)
    names = [f"mlb{mark}{which}" for which in "ab"]
    made = [Host(number, name, tmp_path) for number, name in enumerate(names)]
    relays: list[subprocess.Popen[str]] = []

    def make(delay_ms: float) -> Sequence[Host]:
        command = [sys.executable, str(RELAY), f"--delay-ms={delay_ms}", *names]
        relay = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        relays.append(relay)
        assert relay.stdout is not None and relay.stdout.readline() == "ready\n"
        return made

    yield make
    for host in made:
        host.lose()
    for relay in relays:
        relay.communicate(timeout=LIMIT)
