"""What torchrun tells the processes that it starts, in environment variables."""

import os
import socket

STORE = "MLBRIDGE_STORE"  # names a folder where the processes of one machine find each other, instead of a port


def launched() -> bool:
    """Whether torchrun has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ and "RANK" in os.environ


def rank() -> int:
    """The number of this process, 0 alone."""
    return int(os.environ["RANK"]) if launched() else 0


def size() -> int:
    """How many processes there are."""
    return int(os.environ["WORLD_SIZE"]) if launched() else 1


def local_rank() -> int:
    """The number of this process on its machine."""
    return int(os.environ["LOCAL_RANK"]) if launched() else 0


def local_size() -> int:
    """How many processes share this machine's cores."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if launched() else 1


def store() -> str | None:
    """The file where the processes of one machine find each other, a new one in each attempt; None: there is a port."""
    if STORE not in os.environ:
        return None
    return os.path.join(os.environ[STORE], f"attempt-{os.environ['TORCHELASTIC_RESTART_COUNT']}")


def attempt() -> str:
    """The same text for all processes that one agent of torchrun starts, one after another died as well."""
    return f"{os.environ['TORCHELASTIC_RUN_ID']} {socket.gethostname()} {os.getppid()}"


def is_restart(last_attempt: str | None) -> bool:
    """Whether these processes stand in for ones that died, or for a group of another size.

    `last_attempt`: what the run's folder says. The counter alone does not tell: it stays when a host joins or leaves.
    """
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0 or last_attempt == attempt()


def cores(most: int) -> int:
    """How many of this machine's cores each process may use, up to `most`."""
    return max(1, min((os.cpu_count() or 1) // local_size(), most))
