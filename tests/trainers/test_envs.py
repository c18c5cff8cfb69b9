"""`mlbridge envs`: what it prints, writes and refuses, and its exit codes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from trainers.commands import main

GOLDEN = Path(__file__).parents[1] / "unity_envs" / "golden"
CUBE = {"start": 0, "actions": [1] * 7, "terminal_tick": 7, "reason": "large", "positions": [0, 1, 2, 3, 4, 5, 6, 7]}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """`run(*arguments)`: exit code, standard output and standard error of `mlbridge envs`."""

    def envs(*arguments: str | Path) -> tuple[int, str, str]:
        try:
            code = main(["envs", *map(str, arguments)])
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return envs


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`recording(**changes)` writes a recording of CubeMover to a.json in an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def write(**changes: object) -> Path:
        Path("a.json").write_text(json.dumps({"episodes": [CUBE | changes]}), encoding="utf-8")
        return Path("a.json")

    return write


def test_list_names_environments_and_variants(run):
    code, output, _ = run("list")
    assert code == 0
    assert [line.split()[0] for line in output.splitlines()] == ["CubeMover", "PoleBalancer", "3DBall"]
    assert "variants: discrete, hard, visual" in output


def test_path_is_that_of_a_program(run):
    code, output, _ = run("path", "3DBall")
    assert code == 0
    assert shutil.which(output.strip())


def test_a_build_gets_a_name_and_loses_it(run, tmp_path, monkeypatch):
    monkeypatch.setenv("MLBRIDGE_HOME", str(tmp_path / "home"))
    program = run("path", "CubeMover")[1].strip()
    assert run("add", "MyCubes", program) == (0, f"{program}\n", "")
    assert run("path", "MyCubes")[1].strip() == program
    code, output, _ = run("list")
    assert code == 0
    assert output.splitlines()[-1] == f"MyCubes       added: {program}"
    assert run("remove", "MyCubes") == (0, "", "")
    assert "MyCubes" not in run("list")[1]


def test_a_build_that_is_gone_is_marked_in_the_list(run, tmp_path, monkeypatch):
    monkeypatch.setenv("MLBRIDGE_HOME", str(tmp_path / "home"))
    program = tmp_path / "program.py"
    program.write_text("", encoding="utf-8")
    run("add", "mine", program)
    program.unlink()
    assert run("list")[1].splitlines()[-1] == f"mine          added: {program} (gone)"


def test_adding_and_removing_what_cannot_be_is_an_error_of_one_line(run, tmp_path, monkeypatch):
    monkeypatch.setenv("MLBRIDGE_HOME", str(tmp_path / "home"))
    for arguments, told in [
        (("add", "3DBall", tmp_path), "3DBall is a built-in environment"),
        (("add", "mine", tmp_path / "nothing"), "no environment was found"),
        (("remove", "mine"), "no environment mine was added"),
    ]:
        code, output, error = run(*arguments)
        assert (code, output, error.count("\n")) == (2, "", 1)
        assert told in error


def test_path_of_an_unknown_environment_suggests_one(run):
    code, output, error = run("path", "3dbal")
    assert (code, output) == (2, "")
    assert error == (
        "mlbridge envs: error: unknown environment '3dbal': did you mean '3DBall'? "
        "known are CubeMover, PoleBalancer, 3DBall\n"
    )


@pytest.mark.parametrize(
    ("name", "file"),
    [("3DBall", "ball3d_units.json"), ("3DBall", "ball3d_variants.json"), ("PoleBalancer", "pole.json")],
)
def test_the_golden_recordings_are_replayed_and_compared(run, tmp_path, name, file):
    code, output, error = run("replay", name, "--input", GOLDEN / file, "--output", tmp_path / "a.json", "--compare")
    assert (code, error) == (0, "")
    assert output.splitlines()[-1].startswith("within tolerance: ")
    recorded, ours = (json.loads(path.read_text()) for path in (GOLDEN / file, tmp_path / "a.json"))
    for kind in {"cases", "episodes"} & set(recorded):
        assert len(recorded[kind]) == len(ours[kind])
    code, output, _ = run("replay", name, "--input", tmp_path / "a.json", "--compare")
    assert code == 0


def test_beyond_tolerance_the_exit_code_is_1_and_the_file_is_written(run, recording):
    code, output, error = run(
        "replay", "CubeMover", "--input", recording(reason="small"), "--output", "b.json", "--compare"
    )
    assert (code, error) == (1, "")
    assert output == (
        "episode 0: end tick 7 (small), ours tick 7 (large), position 0 cells\n"
        "beyond tolerance: 1 of 1 ends differ in tick or reason, first in episode 0\n"
    )
    assert json.loads(Path("b.json").read_text())["episodes"][0]["reason"] == "large"


def test_without_compare_nothing_is_printed(run, recording):
    assert run("replay", "CubeMover", "--input", recording(), "--output", "b.json") == (0, "", "")
    assert Path("b.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["CubeMover", "--input", "a.json"], "nothing to do: give --output FILE.json, --compare or both"),
        (["CubeMover", "--input", "none.json", "--compare"], "none.json: cannot be read: No such file or directory"),
        (["Cube", "--input", "a.json", "--compare"], "unknown environment 'Cube': did you mean 'CubeMover'?"),
        (["3DBall", "--input", "a.json", "--compare"], "a.json: episode 0, actions: must be rows of 2 numbers"),
        (["CubeMover", "--input", "a.json", "--output", "x/b.json"], "--output x/b.json: there is no folder x; create"),
        (["CubeMover", "--input", "a.json", "--output", "."], "--output .: this is a folder"),
        (["CubeMover", "--compare"], "the following arguments are required: --input"),
        (["CubeMover", "--input", "a.json", "--compare", "--fast"], "unknown argument --fast"),
    ],
)
def test_mistakes_end_with_one_line_and_exit_code_2(run, recording, arguments, message):
    recording()
    code, output, error = run("replay", *arguments)
    assert (code, output) == (2, "")
    assert message in error and error.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["a.json"]


def test_a_wrong_recording_is_named_with_file_episode_and_key(run, recording):
    code, _, error = run("replay", "CubeMover", "--input", recording(positions=[0, None]), "--compare")
    assert code == 2
    assert error == "mlbridge envs: error: a.json: episode 0, positions: must be a list of numbers\n"


def test_a_subcommand_is_asked_for(run):
    code, _, error = run()
    assert code == 2
    assert "COMMAND" in error
