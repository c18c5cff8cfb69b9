"""The official trainer, mlagents-learn: found in a Python of its own, or represented by stored figures."""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from trainers.benchmarks.machine import cores
from trainers.benchmarks.rows import Row
from trainers.errors import UsageError

VARIABLE = "MLBRIDGE_PEER_PYTHON"

# mlagents 1.1.0 on Python 3.10 with torch 2.8: two shared AVX-512 cores, 12 agents, the standard 3DBall configuration.
STORED_STEPS_PER_SECOND = (1092.0,)
STORED_SECONDS_TO_95 = (120.0,)
STORED_STEPS_TO_95 = (144_000.0,)
STORED_SECONDS_TO_AGENTS = (1.9, 2.0)
STORED_NOTE = (
    "Stored figures of mlagents-learn 1.1.0 (Python 3.10, torch 2.8), measured earlier on another machine (two shared "
    "AVX-512 cores) with another 3DBall player: a hint, no comparison. `--peer-python` measures it here."
)
NO_OFFICIAL = f"mlagents-learn was not found: name the Python of one with --peer-python or {VARIABLE}"

_START_LIMIT = 120  # seconds; importing everything from a cold disk takes a while
_CHECK = """
import json, platform
from importlib.metadata import version
import mlagents.trainers.learn
names = ("mlagents", "torch", "numpy", "grpcio", "protobuf")
print("versions", json.dumps({"Python": platform.python_version(), **{name: version(name) for name in names}}))
"""


@dataclass(frozen=True)
class Official:
    """A Python that has mlagents, and the versions of what is in it."""

    python: str
    versions: dict[str, str]

    @property
    def program(self) -> tuple[str, ...]:
        """What stands before the arguments of mlagents-learn."""
        return (self.python, "-m", "mlagents.trainers.learn")


def find_official(python: str | None) -> Official | None:
    """The official trainer of the given Python, else of the environment variable's; None if neither is given.

    Raises UsageError if it is given and does not import.
    """
    named = f"--peer-python {python}"
    if not python:
        python = os.environ.get(VARIABLE)
        named = f"{VARIABLE}={python}"
    if not python:
        return None
    remedy = "give the Python of an environment with mlagents 1.1.0 (`make bench` makes one)"
    try:
        done = subprocess.run(
            [python, "-c", _CHECK], capture_output=True, text=True, timeout=_START_LIMIT, env=environment(), check=False
        )
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"{named}: importing mlagents took more than {_START_LIMIT} s; {remedy}") from error
    except OSError as error:
        raise UsageError(f"{named}: cannot be run ({error.strerror}); {remedy}") from error
    facts = [line.removeprefix("versions ") for line in done.stdout.splitlines() if line.startswith("versions ")]
    if done.returncode != 0 or not facts:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise UsageError(f"{named}: mlagents does not import there ({reason}); {remedy}")
    return Official(python, json.loads(facts[-1]))


def environment() -> dict[str, str]:
    """The environment variables for it: ours may point to packages of another Python."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def against_official(
    name: str,
    unit: str,
    ours: Sequence[float],
    measured: Sequence[float] | None,
    stored: Sequence[float] = (),
    *,
    less_is_better: bool = False,
    beside: str = "",
) -> Row:
    """A row beside the official trainer: what was `measured` of it, or where it is not here (None) `stored` figures."""
    source: Literal["measured", "stored"] | None = "stored" if stored else None
    if measured is not None:
        source = "measured"
    if not beside and (measured is not None or stored):
        beside = "mlagents-learn"
    return Row(name, unit, ours, stored if measured is None else measured, source, cores(), less_is_better, beside)
