"""A checkpoint with code in it: every command that reads checkpoints refuses it, and the code does not run."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trainers.commands import main

SETTINGS = """
behaviors:
  3DBall: {trainer_type: ppo, max_steps: 10}
"""


class Payload:
    """Unpickling it writes a file."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.victim,)


def of_ours(path: Path, payload: Payload) -> None:
    torch.save({"format": "mlagents-bridge checkpoint", "format_version": 3, "network": payload}, path)


def of_ml_agents(path: Path, payload: Payload) -> None:
    torch.save({"Policy": {}, "Optimizer:critic": {}, "global_step": payload}, path)


def of_old_torch(path: Path, payload: Payload) -> None:
    torch.save({"network": payload}, path, _use_new_zipfile_serialization=False)


def bare(path: Path, payload: Payload) -> None:
    path.write_bytes(pickle.dumps(payload))


KINDS = [of_ours, of_ml_agents, of_old_torch, bare]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Callable[..., str]:
    """`refused(write, words...)`: what `mlbridge` says to a run `bad`, whose checkpoints `write` has written."""

    def run(write: Callable[[Path, Payload], None], *words: str) -> str:
        monkeypatch.chdir(tmp_path)
        victim = tmp_path / "victim"
        folder = tmp_path / "results/bad/3DBall"
        folder.mkdir(parents=True)
        (folder.parent / "configuration.yaml").write_text(SETTINGS)
        for name in ("checkpoint.pt", "3DBall-100.pt", "3DBall-best.pt"):
            write(folder / name, Payload(victim))
        before = (folder / "checkpoint.pt").read_bytes()
        assert main(list(words)) != 0
        assert not victim.exists()
        assert (folder / "checkpoint.pt").read_bytes() == before
        if write in (of_old_torch, bare):
            pickle.loads(pickle.dumps(Payload(victim)))
        else:
            torch.load(folder / "checkpoint.pt", weights_only=False)
        assert victim.exists()  # it would have been made
        return capsys.readouterr().err

    return run


LEARN = ("learn", "results/bad/configuration.yaml", "--env", "3DBall", "--in-process")
REFUSED = r"holds something that only code could load, which is refused"
NO_CHECKPOINT = r"is damaged, cut short or no checkpoint"


@pytest.mark.parametrize("write", KINDS)
@pytest.mark.parametrize(
    "words",
    [
        (*LEARN, "--run-id", "bad", "--resume"),
        (*LEARN, "--run-id", "good", "--initialize-from", "bad"),
        (*LEARN, "--run-id", "good", "--set", "behaviors.3DBall.init_path=results/bad/3DBall/checkpoint.pt"),
        (*LEARN, "--run-id", "bad", "--resume", "--inference"),
        ("export", "bad"),
        ("export", "bad", "--checkpoint", "100"),
        ("export", "bad", "--checkpoint", "best", "--output", "bad.safetensors"),
    ],
    ids=["resume", "initialize-from", "init_path", "inference", "export", "export of a step", "export for a game"],
)
def test_is_refused(refused: Callable[..., str], words: tuple[str, ...], write: Callable[..., None]) -> None:
    error = refused(write, *words)
    assert (REFUSED if write in (of_ours, of_ml_agents) else NO_CHECKPOINT) in error
    assert "3DBall" in error
    assert "Traceback" not in error
    assert not Path("results/good").exists()


@pytest.mark.parametrize("write", KINDS)
@pytest.mark.parametrize("suffix", [".pt", ".onnx", ".safetensors"])
def test_is_no_model_to_evaluate(
    refused: Callable[..., str], tmp_path: Path, write: Callable[..., None], suffix: str
) -> None:
    model = tmp_path / f"model{suffix}"
    write(model, Payload(tmp_path / "victim"))
    error = refused(write, "evaluate", str(model), "--env", "3DBall", "--in-process", "--episodes", "1")
    assert model.name in error
    assert "Traceback" not in error
