"""The CUDA sources on the CPU: compiled by a C++ compiler with emulation/cuda_runtime.h, and a GPU if there is one."""

import copy
import ctypes
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from trainers import ppo
from trainers.kernels.build import BuildError, find_compiler
from trainers.kernels.cuda import build
from trainers.kernels.cuda import library as cuda_library
from trainers.kernels.cuda.fused import FusedActorCritic
from trainers.kernels.fused import AdamState, Experience

EMULATION = Path(__file__).parent / "emulation"
FLAGS = (
    *("-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror"),
    "-DOPENMINED_MOST_BLOCKS=3",
    *os.environ.get("OPENMINED_EMULATION_FLAGS", "").split(),  # a sanitizer's, see test_emulation.py
)


def compile_emulated(target: Path, sources: list[Path], extra: tuple[str, ...] = ()) -> Path:
    """One shared library of .cu files and the emulation."""
    command = [*find_compiler(), *FLAGS, *extra]
    include = [f"-I{EMULATION}", f"-I{Path(build.__file__).parent}"]

    def run(*arguments: str) -> None:
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr

    with tempfile.TemporaryDirectory(dir=target.parent) as folder, ThreadPoolExecutor(os.cpu_count()) as threads:

        def compile_one(source: Path) -> str:
            to = str(Path(folder) / f"{source.stem}.o")
            run(*include, "-x", "c++", "-c", str(source), "-o", to)
            return to

        run("-shared", *threads.map(compile_one, [*sources, EMULATION / "emulation.cpp"]), "-o", str(target))
    return target


@dataclass
class Emulation:
    """The emulated library, and the order in which it runs threads."""

    library: ctypes.CDLL
    schedules = (0, 1, 2, 3)

    def schedule(self, number: int) -> None:
        """0 forwards, 1 backwards, any other number a shuffling of its own."""
        self.library.emulation_schedule(ctypes.c_uint64(number))

    def skip_barrier(self, file: str, line: int) -> None:
        """Leaves out the barrier in this line from now on; line 0: none."""
        self.library.emulation_skip_barrier(file.encode(), line)

    def launches(self) -> int:
        return int(self.library.emulation_launches())

    def last_stream(self) -> int | None:
        self.library.emulation_last_stream.restype = ctypes.c_void_p
        return self.library.emulation_last_stream()


@pytest.fixture(scope="session")
def emulation_library(request: pytest.FixtureRequest) -> ctypes.CDLL:
    """Compiled when the sources are new, else from pytest's cache."""
    if sys.platform != "linux":
        pytest.skip("the emulation is for Linux")
    try:
        compiler = find_compiler()
    except BuildError as error:
        pytest.skip(str(error))
    key = hashlib.sha256(repr((compiler, FLAGS)).encode())
    here = Path(build.__file__).parent
    for folder in (here, here.parent / "src", here.parent / "src" / "operators", EMULATION):
        for path in sorted(folder.glob("*.[chp]*")):
            if path.suffix in (".cu", ".cuh", ".h", ".cpp"):
                key.update(path.name.encode() + path.read_bytes())
    cache = request.config.cache
    assert cache is not None
    target = cache.mkdir("cuda-emulation") / f"{key.hexdigest()[:20]}.so"
    if not target.is_file():
        for old in target.parent.glob("*.so"):
            old.unlink()
        compile_emulated(target.with_suffix(".new"), build.sources()).rename(target)
    return cuda_library.open_library(target)


@pytest.fixture(scope="session")
def compile_cuda() -> Callable[..., Path]:
    """`compile_cuda(target, sources)`: a shared library of .cu files and the emulation."""
    if sys.platform != "linux":
        pytest.skip("the emulation is for Linux")
    return compile_emulated


@pytest.fixture
def emulation(emulation_library: ctypes.CDLL) -> Iterator[Emulation]:
    """The emulated library, in a shuffled order, with every barrier."""
    found = Emulation(emulation_library)
    found.schedule(2)
    yield found
    found.schedule(0)
    found.skip_barrier("", 0)


@dataclass(frozen=True)
class Target:
    """Where a test runs: kernels and the device of their tensors."""

    device: torch.device
    library: ctypes.CDLL


@pytest.fixture(params=["emulation", pytest.param("gpu", marks=pytest.mark.gpu)])
def target(request: pytest.FixtureRequest) -> Target:
    """The emulation with tensors on the CPU, and the real library with those on a GPU where there is one."""
    if request.param == "emulation":
        return Target(torch.device("cpu"), request.getfixturevalue("emulation").library)
    return request.getfixturevalue("gpu_target")


@pytest.fixture(scope="session")
def gpu_target() -> Target:
    """The real library, or a skip that says that there is no GPU."""
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    return Target(torch.device("cuda", torch.cuda.current_device()), cuda_library.require_library("tests"))


@dataclass
class Pair:
    """A network for the reference, which the parent conftest makes, and its copy for the CUDA kernels."""

    twins: Any
    target: Target

    def __post_init__(self) -> None:
        self.form, device = self.twins.form, self.target.device
        self.network = copy.deepcopy(self.twins.reference).to(device)
        self.optimizer = ppo.Optimizer(self.network)
        actor, network = self.network.actor, self.network
        normalizers = [(one.mean, one.scale) for one in actor.normalizers] if hasattr(actor, "normalizers") else None
        self.fused = FusedActorCritic(
            self.optimizer._values,
            observation_sizes=self.form.inputs,
            actor=list(actor.body),
            continuous=actor.continuous if actor.has_continuous else None,
            log_sigma=actor.log_sigma if actor.has_continuous else None,
            discrete=list(actor.discrete) if actor.has_discrete else [],
            critic=None if network.shared_critic else list(network.critic.body),
            values=list(network.critic.values.values()),
            normalizers=normalizers,
            library=self.target.library,
        )

    def update(
        self, batch: ppo.Batch, order: torch.Tensor, batch_size: int, **settings: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The fused update, its losses on the CPU."""
        settings = {"learning_rate": 3e-4, "epsilon": 0.2, "beta": 5e-3} | settings
        one, device, target = self.optimizer, self.target.device, batch.target
        state = AdamState(one._gradient, one._moment, one._square, one._steps)
        experience = Experience(
            batch.inputs.to(device),
            target.actions.continuous.to(device),
            target.actions.discrete.to(device),
            target.log_probs.to(device),
            None if target.allowed is None else target.allowed.to(device),
            target.advantages.to(device),
            target.returns.to(device),
            target.values.to(device),
        )
        policy, value = self.fused.update(experience, state, order.to(device), batch_size=batch_size, **settings)
        one._steps += len(policy)
        return policy.cpu(), value.cpu()

    def differences(self, of: str = "data") -> dict[str, float]:
        """Relative L2 of each parameter, or of each gradient (of="grad")."""
        pairs = zip(self.twins.reference.named_parameters(), self.network.parameters(), strict=True)
        found = {}
        for (name, theirs), ours in pairs:
            expected = getattr(theirs, of)
            found[name] = float((getattr(ours, of).cpu() - expected).norm() / expected.norm().clamp_min(1e-12))
        return found


@pytest.fixture
def pairs(twins: Callable[..., Any], target: Target, native: None) -> Callable[..., Pair]:
    """`pairs(**form)`."""
    return lambda **form: Pair(twins(**form), target)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Who asks for the tests on a GPU alone is told why nothing ran."""
    if config.option.markexpr.strip() == "gpu" and not torch.cuda.is_available():
        terminalreporter.write_line("no GPU: the tests that need one were skipped")
