"""An unchanged REINFORCE script, the same with one line added, and with our modules: the same run, and it learns."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Run = Callable[..., dict[str, Any]]

SCRIPT = Path(__file__).with_name("reinforce.py").read_text(encoding="utf-8")
ONE_LINE = (
    "# one line more would stand here",
    "from trainers.kernels.accelerate import accelerate; accelerate(policy, optimizer)",
)
OUR_MODULES = (
    "from torch import nn, optim\nfrom torch.distributions import Categorical",
    "from trainers.kernels import nn, optim\nfrom trainers.kernels.distributions import Categorical",
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the script with `old` replaced by `new` and gives its variables."""

    def run_it(episodes: int, change: tuple[str, str] = ("", ""), seed: int = 543) -> dict[str, Any]:
        old, new = change
        assert old in SCRIPT
        path = tmp_path / "script.py"
        path.write_text(SCRIPT.replace(old, new) if old else SCRIPT, encoding="utf-8")
        return runpy.run_path(str(path), {"SEED": seed, "EPISODES": episodes})

    return run_it


@pytest.mark.parametrize("change", [ONE_LINE, OUR_MODULES], ids=["one line more", "our modules"])
def test_the_trace_is_torchs(run: Run, change: tuple[str, str]) -> None:
    theirs, ours = run(12), run(12, change)
    assert type(ours["policy"]).__module__ == "trainers.kernels.nn"
    assert type(ours["optimizer"]).__module__ == "trainers.kernels.optim"
    assert ours["lengths"] == theirs["lengths"]
    assert ours["losses"] == pytest.approx(theirs["losses"], rel=1e-5, abs=1e-5)
    for mine, other in zip(ours["policy"].parameters(), theirs["policy"].parameters(), strict=True):
        assert (torch.linalg.norm(mine - other) / torch.linalg.norm(other)).item() < 1e-5


def test_it_learns_with_the_line(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    lengths = run(50, ONE_LINE, seed=1)["lengths"]
    assert lengths[0] < 30  # chance gives about 20
    assert sum(lengths[-10:]) / 10 > 80
    assert "swapped  (model): Sequential, 2 linear layers in 1 call" in capsys.readouterr().out
