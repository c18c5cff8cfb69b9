"""What a start loads, and the first agents of a run, which are seen without PyTorch."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from trainers.checkpoint import load_state

# What takes longest to import; of each command's --help, those that it has no use for.
HEAVY = {"google.protobuf", "grpc", "matplotlib", "numba", "numpy", "onnx", "onnxruntime"}
HEAVY |= {"pydantic", "rich", "tensorboard", "torch", "yaml"}

SEES_AGENTS = """
import io, sys
sys.modules["torch"] = None  # importing it fails
from bridge.fleet import Fleet
from bridge.in_process import InProcessEnvironment
from bridge.side_channels import EnvironmentParametersChannel
from trainers.commands import learn
from trainers.config import RunConfig
from trainers.console import Console
from trainers.first_steps import first_steps
from unity_envs.worlds import make_world_factory

channels = [EnvironmentParametersChannel(), EnvironmentParametersChannel()]
make_world = make_world_factory("CubeMover", 3)
fleet = Fleet([InProcessEnvironment(make_world, seed=1, side_channels=[channel]) for channel in channels])
steps = first_steps(RunConfig(), fleet, channels, Console(debug=False, stream=sys.stdout))
print({name: len(batch.decisions) for name, batch in steps.items()})
"""


def python(program: str) -> str:
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (["--help"], set()),
        (["--version"], set()),
        (["plot", "--help"], {"numpy"}),
        (["learn", "--help"], {"google.protobuf", "numpy", "pydantic", "yaml"}),
    ],
)
def test_a_help_text_does_not_load_what_it_has_no_use_for(words: list[str], needed: set[str]) -> None:
    loaded = python(
        "import sys\nfrom trainers.commands import main\n"
        f"try: main({words})\nexcept SystemExit as end: assert end.code == 0\n"
        f"print(*({HEAVY} & set(sys.modules)))"
    )
    assert set(loaded.splitlines()[-1].split()) <= needed


def test_the_first_agents_are_seen_without_pytorch() -> None:
    brain, counts = python(SEES_AGENTS).splitlines()
    assert brain == "[INFO] Connected new brain: CubeMover?team=0"
    assert counts == "{'CubeMover?team=0': 6}"


def test_a_run_that_has_seen_its_agents_first_learns_the_same(train: Callable[..., Any], toy_world: Any) -> None:
    settings = {
        "hyperparameters": {"batch_size": 16, "buffer_size": 64},
        "network_settings": {"hidden_units": 8, "num_layers": 1},
        "max_steps": 300,
        "time_horizon": 8,
    }
    runs = [train(toy_world, settings, run_id=f"run-{first}", seen_first=first, worlds=2) for first in (False, True)]
    late, early = (load_state(run.folder.checkpoint("Toy"))["network"] for run in runs)
    assert all(torch.equal(early[name], late[name]) for name in late)
    assert [run.output.count("Connected new brain: Toy?team=0") for run in runs] == [1, 1]
