"""How the processes of a distributed training begin: on one machine with `--workers`, and what they agree on first."""

import os
import random
import socket
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

import torch

from trainers import torchrun
from trainers.checkpoint import RunFolder, load_state
from trainers.config import RunConfig
from trainers.distributed import Ranks
from trainers.errors import UsageError
from trainers.run_folder import write_text_whole

_RESTARTS = 3


def launch(arguments: Sequence[str], workers: int) -> int:
    """`mlbridge learn` with these arguments in `workers` processes of this machine, as torchrun does it.

    When one dies all are started again, up to 3 times, and go on from the last checkpoint. Nothing listens on any
    other address than the loopback's. Returns the exit code. Raises UsageError for less than one.
    """
    if workers < 1:
        raise UsageError(f"--workers is {workers}; give the number of processes, from 1 on")
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    if loopback is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    with tempfile.TemporaryDirectory(prefix="mlbridge-", ignore_cleanup_errors=True) as folder:
        os.environ[torchrun.STORE] = folder
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=workers,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint=str(Path(folder, "rendezvous")),
            rdzv_configs={"store_type": "file"},
            local_addr="127.0.0.1",
            max_restarts=_RESTARTS,
        )
        try:
            elastic_launch(config, sys.executable)("-m", "trainers.commands.learn", *arguments)
        except ChildFailedError as error:
            return 2 if any(failure.exitcode == 2 for failure in error.failures.values()) else 1
        except SignalException:  # every process has been told, has saved and has ended
            return 0
        finally:
            del os.environ[torchrun.STORE]
    return 0


def join(config: RunConfig, folder: RunFolder) -> tuple[Ranks, int]:
    """The other processes, with the settings that differ made the same, and the rank whose checkpoints count.

    Processes that stand in for ones that died go on from the newest checkpoint that any of them finds, as with
    `--resume`, or begin anew where there is none.
    """
    checkpoints, env, torch_settings = config.checkpoint_settings, config.env_settings, config.torch_settings
    cuda = torch.cuda.is_available() and (torch_settings.device or "cuda").startswith("cuda")
    if cuda and torch_settings.device in (None, "cuda"):
        torch_settings.device = f"cuda:{torchrun.local_rank() % torch.cuda.device_count()}"
    # As long as a player that does not answer is waited for, and then another one in its place.
    ranks = Ranks(cuda=cuda, timeout=2 * env.timeout_wait + 60)
    try:
        before = _attempt_file(folder).read_text(encoding="utf-8")
    except FileNotFoundError:
        before = None
    seed = random.randrange(10_000) if env.seed == -1 else env.seed
    every = ranks.gather((torchrun.is_restart(before), _newest(folder), seed))
    env.seed = every[0][2]
    steps = [step for _, step, _ in every]
    if any(restarted for restarted, _, _ in every):
        checkpoints.resume = checkpoints.inference or max(steps) >= 0
        checkpoints.force = not checkpoints.resume
    return ranks, steps.index(max(steps)) if checkpoints.resume else 0


def note_attempt(folder: RunFolder) -> None:
    """Leaves in the run's folder which torchrun it belongs to."""
    write_text_whole(_attempt_file(folder), torchrun.attempt())


def _attempt_file(folder: RunFolder) -> Path:
    return folder.run_logs / "torchrun.txt"


def _newest(folder: RunFolder) -> int:
    """Steps of all behaviors at the newest checkpoint, -1 without any."""
    return max((int(load_state(path)["moment"]) for path in folder.path.glob("*/checkpoint.pt")), default=-1)
