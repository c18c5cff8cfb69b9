"""The arithmetic of the demos' report, and that it keeps what it is not asked to repeat."""

import importlib
import json
from pathlib import Path

import pytest


@pytest.fixture
def demos(monkeypatch):
    """The script as a module."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("verify_demos")


def trace(backend, losses=(0.5, 0.25), seconds=2.0, played=(0.94, 0.92)):
    facts = {"name": "cube_mover_dqn", "backend": backend, "seed": 1, "bar": 0.9, "seconds": seconds}
    return {**facts, "steps": [3, 10], "returns": [0.08, 0.94], "losses": list(losses), "played": list(played)}


def test_numbers_count_as_the_same_until_the_first_that_is_not(demos):
    assert demos.count_same([3, 5, 7, 9], [3, 5, 8, 9], 0.0) == 2
    assert demos.count_same([[1.0, 2.0], [3.0, 4.0]], [[1.0005, 2.0], [3.0, 4.1]], 1e-3) == 1
    assert demos.count_same([1, 2], [1, 2, 3], 0.0) == 2


@pytest.mark.parametrize(("played", "code"), [((0.94, 0.92), 0), ((0.94, 0.08), 1)])
def test_a_report_of_runs_that_are_there(demos, played, code, tmp_path, monkeypatch, capsys):
    traces, report = tmp_path / "traces", tmp_path / "report"
    traces.mkdir()
    report.mkdir()
    (traces / "cube_mover_dqn-1.json").write_text(json.dumps(trace("kernels", played=played)))
    (traces / "cube_mover_dqn-short-kernels-0.json").write_text(json.dumps(trace("kernels", seconds=1.0)))
    (traces / "cube_mover_dqn-short-keras-0.json").write_text(json.dumps(trace("keras", (0.5, 0.3), 1.5)))
    flags = ["--names", "cube_mover_dqn", "--seeds", "1", "--repeats", "1"]
    monkeypatch.setattr("sys.argv", ["verify", *flags, "--traces", str(traces), "--report-folder", str(report)])
    assert demos.main() == code
    text = (report / "demos.md").read_text()
    assert f"| 0.9 | 1 | {sum(played) / 2:.3f} | {min(played):.2f} | 10 | 2 | 2 | {'NO' if code else 'yes'} |" in text
    assert "| keras | `--steps=600` | 1 | 2 of 2 | 1 of 2 | 1.00 | 1.50 | 1.50 to 1.50 |" in text
    assert (report / "demo_cube_mover_dqn.png").exists()
    assert text == capsys.readouterr().out
    assert list(json.loads((report / "demos.json").read_text())["demos"]) == ["cube_mover_dqn"]
