"""Programs that a suite runs beside this process: ours, and those of peers in a Python environment of their own.

A peer's environment is made at first use, in the checkout's `.cache/` or else in the user's cache folder, and kept. A
peer that cannot be had is no error: `Missing` says why, and its rows tell it.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers.benchmarks.machine import cores
from trainers.benchmarks.trainer_process import TrainerRun, watch
from trainers.errors import UsageError

_ROOT = Path(__file__).resolve().parents[2]
PEERS = _ROOT / "tests" / "benchmarks" / "peers"  # programs that other interpreters run: they are in the checkout only
_INSTALL_LIMIT = 1800  # seconds for one call of pip


class Missing(Exception):
    """A peer that is not here; the text says why."""


@dataclass(frozen=True)
class Recipe:
    """A peer's environment.

    Attributes:
        name: of its folder.
        installs: arguments of one `pip install` each.
        shares_ours: whether it sees the packages of this Python behind its own: then both use the same torch.
        check: a program that prints the versions of what matters, as one line of JSON.
    """

    name: str
    installs: tuple[tuple[str, ...], ...]
    shares_ours: bool
    check: str


_VERSIONS = """
import json, platform
from importlib.metadata import version
print(json.dumps({{"Python": platform.python_version(), **{{name: version(name) for name in {names!r}}}}}))
"""
STABLE_BASELINES3 = Recipe(
    "bench-sb3",
    (("stable-baselines3>=2.4",),),
    True,
    "import stable_baselines3" + _VERSIONS.format(names=("stable-baselines3", "torch", "numpy")),
)
JAX = Recipe(
    "bench-jax", (("jax[cpu]",),), False, "import jax.numpy" + _VERSIONS.format(names=("jax", "jaxlib", "numpy"))
)
# protobuf: the last whose pure Python implementation takes the client's generated code.
MLAGENTS_ENVS = Recipe(
    "bench-mlagents-envs",
    (
        ("--no-deps", "--ignore-requires-python", "mlagents-envs==1.1.0"),
        ("protobuf==3.20.3", "setuptools<81", "grpcio", "numpy", "pillow"),
    ),
    False,
    "import mlagents_envs.environment" + _VERSIONS.format(names=("mlagents-envs", "numpy", "grpcio", "protobuf")),
)


def environment_of(recipe: Recipe, say: Callable[[str], None], *, install: bool = True) -> tuple[str, dict[str, str]]:
    """The Python of a peer's environment and the versions in it; it is made first if `install`. Raises Missing."""
    contents = repr((sys.version, os.path.realpath(sys.executable), recipe))
    folder = cache_folder() / f"{recipe.name}-{hashlib.sha256(contents.encode()).hexdigest()[:12]}"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    complete = folder / ".complete"
    if not complete.is_file():
        if not install:
            raise Missing(f"{recipe.name} is not installed in {folder.parent}, and --no-install was given")
        say(f"Installing {recipe.name} into {folder} (once)")
        shutil.rmtree(folder, ignore_errors=True)
        try:
            _install(recipe, folder, python)
        except (OSError, subprocess.SubprocessError) as error:
            raise Missing(f"{recipe.name} cannot be installed: {_reason(error)}") from error
        complete.touch()
    try:
        return str(python), json.loads(_output([str(python), "-c", recipe.check], 120))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise Missing(f"{recipe.name} in {folder} does not import: {_reason(error)}; remove that folder") from error


def cache_folder() -> Path:
    """Where peers' environments are kept."""
    if (_ROOT / "pyproject.toml").is_file():
        return _ROOT / ".cache"
    base = os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME")
    return Path(base or Path.home() / ".cache") / "mlbridge"


def _install(recipe: Recipe, folder: Path, python: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Without a pip of its own: ours installs into it, which saves seconds.
    _output([sys.executable, "-m", "venv", "--without-pip", str(folder)], 300)
    if recipe.shares_ours:
        own = Path(_output([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], 60).strip())
        (own / "of_the_bench.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--disable-pip-version-check"]
    for arguments in recipe.installs:
        _output([*pip, *arguments], _INSTALL_LIMIT)


def _output(command: Sequence[str], limit: float) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=plain_variables(), check=True)
    return done.stdout


def _reason(error: Exception) -> str:
    words = getattr(error, "stderr", None) or str(error)
    lines = [line.strip() for line in words.splitlines() if line.strip()] or [type(error).__name__]
    return next((line for line in reversed(lines) if "error" in line.lower()), lines[-1])[:200]


def peer_program(name: str) -> str:
    """The path of a peer's program. Raises Missing outside of a checkout."""
    path = PEERS / name
    if not path.is_file():
        raise Missing(f"the program {name} is in the checkout's tests/benchmarks/peers only")
    return str(path)


def plain_variables() -> dict[str, str]:
    """The environment variables for another Python: ours may point to packages of this one."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def with_checkout() -> dict[str, str]:
    """The environment variables for a Python that is to find our packages in the folder where they are."""
    return plain_variables() | {"PYTHONPATH": str(_ROOT)}


def on_cores(command: Sequence[str], count: int | None) -> list[str]:
    """`command`, on the first `count` cores of those that this process may use; None: all.

    Only Linux can bind a program from outside; elsewhere the numbers of threads have to do.
    """
    if count is None or sys.platform != "linux" or count >= cores():
        return list(command)
    chosen = sorted(os.sched_getaffinity(0))[:count]
    code = f"import os, sys; os.sched_setaffinity(0, {chosen!r}); os.execvp(sys.argv[1], sys.argv[1:])"
    return [sys.executable, "-I", "-S", "-c", code, *command]


def answer_of(
    command: Sequence[str], limit: float, environment: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], TrainerRun]:
    """Runs a program that ends with one line of JSON; returns what that says, and all that was seen of it.

    Raises UsageError with its last words when it fails or takes longer than `limit` seconds. Nothing that it started is
    left running.
    """
    run = watch(command, limit=limit, environment=environment)
    for line in reversed(run.lines):
        if line.startswith("{") and run.exit_code == 0:
            return json.loads(line), run
    words = " | ".join([line.strip() for line in run.lines if line.strip()][-3:]) or "it said nothing"
    raise UsageError(f"{' '.join(command[:4])} ended with exit code {run.exit_code}: {words}")
