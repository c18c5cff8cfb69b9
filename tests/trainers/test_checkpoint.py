"""Checkpoints: what comes back from a file, what is refused and never run, and which ones are kept."""

import json
import os
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainers.checkpoint import CheckpointKeeper, load_state, save_state
from trainers.errors import UsageError
from trainers.run_folder import RunFolder, write_text_whole


def state_at(step: int) -> dict[str, Any]:
    return {"Policy": {"weight": torch.full((2, 3), float(step))}, "global_step": step}


def export(path: Path) -> None:
    path.write_bytes(b"an ONNX model")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# The content


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state: dict[str, Any] = {
        "Policy": model.state_dict(),
        "Optimizer:value_optimizer": optimizer.state_dict(),
        "random": {
            "torch": torch.get_rng_state(),
            "numpy": np.random.default_rng(1).bit_generator.state,
            "python": random.Random(1).getstate(),
        },
        "world": {"mask": torch.tensor([True]), "nothing": torch.zeros(0, 4), "steps": torch.tensor(2**40)},
        "global_step": 12_000,
        "mean": float("-inf"),
        "done": False,
        "name": "3DBall",
        "none": None,
        "list": [1, [2.5, "x"]],
    }
    path = tmp_path / "state.pt"
    save_state(path, state)
    loaded = load_state(path)
    assert loaded.keys() == state.keys()
    torch.testing.assert_close(loaded["Policy"], dict(state["Policy"]), rtol=0, atol=0)
    torch.optim.Adam(model.parameters()).load_state_dict(loaded["Optimizer:value_optimizer"])
    assert torch.equal(loaded["random"]["torch"], torch.get_rng_state())
    for key in ("numpy", "python"):
        assert loaded["random"][key] == state["random"][key]
    assert loaded["world"]["nothing"].shape == (0, 4)
    assert int(loaded["world"]["steps"]) == 2**40
    for key in ("global_step", "mean", "done", "name", "none", "list"):
        assert loaded[key] == state[key]


def test_equal_states_make_equal_files_and_a_slice_brings_no_more_than_itself(tmp_path: Path) -> None:
    big = torch.zeros(1_000_000)
    save_state(tmp_path / "a.pt", {"part": big[:3]})
    save_state(tmp_path / "b.pt", {"part": torch.zeros(3)})
    assert (tmp_path / "a.pt").stat().st_size < 10_000
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [np.zeros(2)]}, r"state\['a'\]\[0\] is a numpy.ndarray"),
        ({"a": np.float64(1)}, r"state\['a'\] is a numpy.float64"),
        ({"a": {(1, 2): 3}}, r"state\['a'\] has the key \(1, 2\)"),
        ({"a": {1, 2}}, r"state\['a'\] is a builtins.set"),
    ],
)
def test_what_could_not_be_loaded_without_code_is_not_saved(tmp_path: Path, value: dict[str, Any], place: str) -> None:
    with pytest.raises(TypeError, match=place):
        save_state(tmp_path / "state.pt", value)
    assert names(tmp_path) == set()


class Malicious:
    """Unpickling it makes a file."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.victim),)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "checkpoint.pt"
    content = {"format": "mlagents-bridge checkpoint", "format_version": 1, "Policy": Malicious(victim)}
    torch.save(content, path)
    with pytest.raises(UsageError, match=r"checkpoint\.pt holds something that only code could load.* --force"):
        load_state(path)
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(UsageError, match="is damaged, cut short or no checkpoint"):
        load_state(path)
    assert not victim.exists()
    pickle.loads(path.read_bytes())
    assert victim.exists()  # it would have been made


def test_a_damaged_file_is_noticed_wherever_the_damage_is(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_state(path, {"Policy": torch.arange(1000.0), "global_step": 1})
    good = path.read_bytes()
    for length in (0, 1, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:length])
        with pytest.raises(UsageError, match="is damaged, cut short or no checkpoint"):
            load_state(path)
    in_a_tensor = good.index(np.float32(500).tobytes() + np.float32(501).tobytes())
    for position in (in_a_tensor, good.index(b"global_step")):
        path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        with pytest.raises(UsageError, match="is damaged"):
            load_state(path)


def test_files_of_others_are_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"Policy": {}, "global_step": 1}, path)  # as the official trainer writes it
    with pytest.raises(UsageError, match=r"is a checkpoint of ML-Agents, .* --initialize-from this run"):
        load_state(path)
    torch.save([1, 2], path)
    with pytest.raises(UsageError, match="is no checkpoint of mlagents-bridge"):
        load_state(path)
    torch.save({"format": "mlagents-bridge checkpoint", "format_version": 1}, path)
    with pytest.raises(UsageError, match="has format version 1, this mlagents-bridge reads 3"):
        load_state(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(UsageError, match="is damaged, cut short or no checkpoint"):
        load_state(path)
    with pytest.raises(UsageError, match=r"missing\.pt does not exist"):
        load_state(tmp_path / "missing.pt")
    with pytest.raises(UsageError, match="cannot be read"):
        load_state(tmp_path)


# Which checkpoints there are


def test_the_newest_checkpoints_are_kept(new_run: Callable[..., RunFolder]) -> None:
    run = new_run()
    keeper = CheckpointKeeper(run, "3DBall", keep=2)
    for step in (100, 200, 300):
        keeper.save(step, state_at(step), export, reward=step / 10)
    assert names(run.behavior("3DBall")) == {
        "3DBall-200.pt",
        "3DBall-200.onnx",
        "3DBall-300.pt",
        "3DBall-300.onnx",
        "checkpoint.pt",
    }
    assert load_state(keeper.latest())["global_step"] == 300
    keeper.finish(310, state_at(310), export, reward=None)
    assert run.model("3DBall").read_bytes() == b"an ONNX model"
    assert load_state(keeper.latest())["global_step"] == 310
    status = json.loads(run.training_status.read_text())
    assert [checkpoint["steps"] for checkpoint in status["3DBall"]["checkpoints"]] == [300, 310]


def test_training_status_has_the_shape_of_ml_agents(new_run: Callable[..., RunFolder]) -> None:
    run = new_run()
    CheckpointKeeper(run, "3DBall", keep=5).finish(100, state_at(100), export, reward=float(np.float32(1.5)))
    CheckpointKeeper(run, "Walker", keep=5).save(50, state_at(50), export, reward=float("nan"))
    status = json.loads(run.training_status.read_text())
    times = [entry.pop("creation_time") for name in ("3DBall", "Walker") for entry in status[name]["checkpoints"]]
    times.append(status["3DBall"]["final_checkpoint"].pop("creation_time"))
    assert all(isinstance(time, float) and time > 1.7e9 for time in times)
    weights = [str(run.behavior("3DBall") / "3DBall-100.pt")]
    assert status == {
        "3DBall": {
            "checkpoints": [
                {
                    "steps": 100,
                    "file_path": str(run.behavior("3DBall") / "3DBall-100.onnx"),
                    "reward": 1.5,
                    "auxillary_file_paths": weights,
                }
            ],
            "final_checkpoint": {
                "steps": 100,
                "file_path": str(run.model("3DBall")),
                "reward": 1.5,
                "auxillary_file_paths": weights,
            },
        },
        "Walker": {
            "checkpoints": [
                {
                    "steps": 50,
                    "file_path": str(run.behavior("Walker") / "Walker-50.onnx"),
                    "reward": None,
                    "auxillary_file_paths": [str(run.behavior("Walker") / "Walker-50.pt")],
                }
            ]
        },
        "metadata": {
            "stats_format_version": "0.3.0",
            "mlagents_version": "1.1.0",
            "torch_version": str(torch.__version__),
        },
    }
    assert list(status)[-1] == "metadata"


def test_a_resumed_run_goes_on_with_the_old_checkpoints(new_run: Callable[..., RunFolder]) -> None:
    run = new_run()
    CheckpointKeeper(run, "3DBall", keep=2).finish(100, state_at(100), export, 1.0)
    status = json.loads(run.training_status.read_text())
    write_text_whole(run.training_status, json.dumps({**status, "mass": {"lesson_num": 3}}))
    keeper = CheckpointKeeper(new_run(resume=True), "3DBall", keep=2)
    keeper.save(200, state_at(200), export, 2.0)
    keeper.save(200, state_at(200), export, 2.0)  # the same step again takes the place of the first
    keeper.save(300, state_at(300), export, 3.0)
    status = json.loads(run.training_status.read_text())
    assert [checkpoint["steps"] for checkpoint in status["3DBall"]["checkpoints"]] == [200, 300]
    assert status["3DBall"]["final_checkpoint"]["steps"] == 100
    assert status["mass"] == {"lesson_num": 3}
    assert "3DBall-100.pt" not in names(run.behavior("3DBall"))


def test_paths_in_a_foreign_status_file_are_not_deleted(new_run: Callable[..., RunFolder], tmp_path: Path) -> None:
    run = new_run()
    precious = tmp_path / "precious.onnx"
    precious.touch()
    entry = {"steps": 1, "file_path": str(precious), "reward": None, "creation_time": 0.0, "auxillary_file_paths": []}
    write_text_whole(run.training_status, json.dumps({"3DBall": {"checkpoints": [entry]}}))
    CheckpointKeeper(run, "3DBall", keep=1).save(2, state_at(2), export, None)
    assert precious.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"3DBall": {"checkpoints": [{}]}}', '{"3DBall": 3}'])
def test_a_damaged_status_file_is_noticed_at_the_start(new_run: Callable[..., RunFolder], text: str) -> None:
    run = new_run()
    write_text_whole(run.training_status, text)
    with pytest.raises(UsageError, match=r"training_status\.json is damaged .*; delete it to go on"):
        CheckpointKeeper(run, "3DBall", keep=1)


def test_a_failing_export_leaves_a_checkpoint_to_resume_from(new_run: Callable[..., RunFolder]) -> None:
    run = new_run()
    keeper = CheckpointKeeper(run, "3DBall", keep=5)

    def fail(path: Path) -> None:
        raise RuntimeError("no such operator")

    with pytest.raises(RuntimeError, match="no such operator"):
        keeper.save(100, state_at(100), fail, 1.0)
    assert load_state(keeper.latest())["global_step"] == 100
    assert names(run.behavior("3DBall")) == {"3DBall-100.pt", "checkpoint.pt"}


def test_in_place_of_a_damaged_checkpoint_the_one_before_is_taken_and_named(
    new_run: Callable[..., RunFolder], caplog: pytest.LogCaptureFixture
) -> None:
    run = new_run()
    keeper = CheckpointKeeper(run, "3DBall", keep=5)
    with pytest.raises(UsageError, match=r"checkpoint\.pt does not exist; train anew with --force"):
        keeper.latest()
    for step in (900, 1000, 1100):
        keeper.save(step, state_at(step), export, 1.0)
    newest, copy, before = (run.checkpoint("3DBall", step) for step in (None, 1100, 1000))
    newest.with_name(".tmp-3DBall-1200.pt").write_bytes(newest.read_bytes())  # never chosen, whatever is in it
    newest.write_bytes(newest.read_bytes()[:500])
    copy.unlink()
    assert keeper.latest() == before
    assert caplog.messages == [
        f"checkpoint {newest} is damaged, cut short or no checkpoint: going on from the one before, {before}."
    ]
    newest.unlink()
    content = bytearray(before.read_bytes())
    content[content.index(np.float32(1000).tobytes())] ^= 1  # one bit of a weight
    before.write_bytes(content)
    assert keeper.latest() == run.checkpoint("3DBall", 900)
    assert caplog.messages[1].startswith(f"checkpoint {newest} does not exist; checkpoint {before} is damaged (in ")
    run.checkpoint("3DBall", 900).write_bytes(b"")
    with pytest.raises(UsageError, match=r"checkpoint\.pt does not exist; .*-1000\.pt is .*-900\.pt is .*train anew"):
        keeper.latest()


def test_a_checkpoint_of_a_run_that_was_begun_anew_is_taken_last(new_run: Callable[..., RunFolder]) -> None:
    CheckpointKeeper(new_run(), "3DBall", keep=5).save(9000, state_at(9000), export, 1.0)
    run = new_run(force=True)
    keeper = CheckpointKeeper(run, "3DBall", keep=5)
    keeper.save(100, state_at(100), export, 1.0)
    run.checkpoint("3DBall").write_bytes(b"")
    assert keeper.latest() == run.checkpoint("3DBall", 100)


@pytest.mark.parametrize("files", range(5))
def test_a_run_that_is_killed_while_it_saves_leaves_no_more_files_than_it_keeps(
    new_run: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    run = new_run()
    keeper = CheckpointKeeper(run, "3DBall", keep=2)
    for step in (100, 200):
        keeper.save(step, state_at(step), export, None)
    left = [files]

    replace = os.replace

    def killed(source: Path, target: Path) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt  # after this many files
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        keeper.save(300, state_at(300), export, None)
    monkeypatch.undo()
    keeper = CheckpointKeeper(new_run(resume=True), "3DBall", keep=2)
    assert load_state(keeper.latest())["global_step"] == (200 if files < 3 else 300)
    for step in (400, 500):
        keeper.save(step, state_at(step), export, None)
    assert {name for name in names(run.behavior("3DBall")) if name.endswith(".pt")} == {
        "3DBall-400.pt",
        "3DBall-500.pt",
        "checkpoint.pt",
    }
