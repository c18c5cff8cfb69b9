"""Where the files of a run are, when its folder may be used, and that files are written whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from trainers.errors import UsageError
from trainers.run_folder import RunFolder, write_text_whole, write_whole


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_layout_is_that_of_ml_agents() -> None:
    run = RunFolder(Path("results"), "first")
    layout = [
        run.configuration,
        run.model("3DBall"),
        run.behavior("3DBall"),
        run.checkpoint("3DBall"),
        run.checkpoint("3DBall", 12000),
        run.run_logs,
        run.training_status,
        run.timers,
    ]
    assert [path.as_posix() for path in layout] == [
        "results/first/configuration.yaml",
        "results/first/3DBall.onnx",
        "results/first/3DBall",
        "results/first/3DBall/checkpoint.pt",
        "results/first/3DBall/3DBall-12000.pt",
        "results/first/run_logs",
        "results/first/run_logs/training_status.json",
        "results/first/run_logs/timers.json",
    ]


def test_nothing_is_made_before_create(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "results", "first")
    run.validate(resume=False, force=False)
    assert names(tmp_path) == set()
    run.create()
    assert run.run_logs.is_dir()
    with pytest.raises(RuntimeError, match="validate"):
        RunFolder(tmp_path / "results", "second").create()


def test_a_run_that_exists_needs_resume_or_force(new_run: Callable[..., RunFolder]) -> None:
    path = new_run().path
    with pytest.raises(UsageError) as caught:
        new_run()
    assert str(caught.value) == (
        f"the run 'first' exists already in {path}; continue it with --resume, overwrite it with --force, "
        "or choose another --run-id"
    )
    new_run(resume=True)
    new_run(force=True)


def test_a_folder_with_nothing_but_logs_of_players_is_no_run_yet(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "results", "first")
    run.run_logs.mkdir(parents=True)
    for _ in range(2):
        run.validate(resume=False, force=False)
        with pytest.raises(UsageError, match=r"no run 'first' to resume: .* holds no training"):
            run.validate(resume=True, force=False)
        (run.run_logs / "Player-0.log").touch()  # a player that did not start
    run.configuration.touch()
    with pytest.raises(UsageError, match="exists already"):
        run.validate(resume=False, force=False)
    run.validate(resume=True, force=False)


def test_resume_needs_a_run_and_names_those_there_are(new_run: Callable[..., RunFolder], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"in .*results: none"):
        new_run(resume=True)
    assert names(tmp_path) == set()
    for run_id in ("alpha", "walker-1", "zeta"):
        new_run(run_id=run_id)
    with pytest.raises(UsageError) as caught:
        new_run(resume=True, run_id="Walker1")
    results = tmp_path / "results"
    assert str(caught.value) == (
        f"there is no run 'Walker1' to resume: {results / 'Walker1'} does not exist; leave out --resume, "
        f"or give the --run-id of a run that exists (in {results}: walker-1, alpha, zeta)"
    )


def test_force_deletes_events_and_status_but_no_checkpoint(new_run: Callable[..., RunFolder]) -> None:
    run = new_run()
    run.behavior("3DBall").mkdir()
    checkpoint, events = run.checkpoint("3DBall"), run.behavior("3DBall") / "events.out.tfevents.1.host.2.0"
    for path in (checkpoint, events, run.training_status):
        path.touch()
    new_run(resume=True, force=True)
    assert events.exists()
    assert run.training_status.exists()
    run.validate(resume=False, force=True)
    assert events.exists()
    new_run(force=True)
    assert names(run.behavior("3DBall")) == {"checkpoint.pt"}
    assert not run.training_status.exists()


@pytest.mark.parametrize("run_id", ["", " ", ".", "..", "a/b", "../a", "a\\b", "a\nb", "x" * 300])
def test_a_run_id_that_is_no_folder_name_is_refused(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(UsageError, match=r"--run-id .* cannot be the name of a folder"):
        RunFolder(tmp_path, run_id)


def test_a_behavior_name_does_not_lead_out_of_the_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"behavior name .* cannot be the name of a folder"):
        RunFolder(tmp_path, "first").model("../../x")


def test_files_in_the_way_of_the_folders(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file, but should be the run's folder"):
        RunFolder(tmp_path, "file").validate(resume=False, force=True)
    run = RunFolder(tmp_path / "file", "first")
    run.validate(resume=False, force=False)
    with pytest.raises(UsageError, match=r"cannot be written: .*; choose another --results-dir"):
        run.create()


def test_a_file_is_replaced_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_text_whole(path, "old")

    def fail_halfway(temporary: Path) -> None:
        assert temporary.suffix == ".onnx"
        temporary.write_text("half")
        assert path.read_text() == "old"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, fail_halfway)
    assert path.read_text() == "old"
    assert names(tmp_path) == {"model.onnx"}
    write_text_whole(path, "new")
    assert path.read_text() == "new"
    assert names(tmp_path) == {"model.onnx"}


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a folder cannot be synchronised")
def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_before_anything_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    replace, fsync = os.replace, os.fsync
    monkeypatch.setattr(os, "replace", lambda source, target: done.append("named") or replace(source, target))
    monkeypatch.setattr(os, "fsync", lambda file: done.append(os.fstat(file).st_ino) or fsync(file))
    path = tmp_path / "model.onnx"
    write_text_whole(path, "text")
    assert done == [path.stat().st_ino, "named", tmp_path.stat().st_ino]
