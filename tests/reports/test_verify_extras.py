"""Every extra has an example in the documents, and a failure to install or to run is told.

CI runs the examples themselves with the tests of the documents; `make verify-extras` does in empty environments.
"""

import importlib
import sys
from pathlib import Path

import pytest


@pytest.fixture
def script(monkeypatch):
    """The script as a module."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("verify_extras")


def test_every_extra_has_an_example(script):
    extras = script.extras()
    assert "gymnasium" in extras and "dev" not in extras
    assert [extra for extra in extras if not any(script.examples(extra))] == []


def test_an_example_is_a_command_or_a_program(script):
    assert script.examples("plot") == (["mlbridge plot results/ball"], [])
    commands, (program,) = script.examples("sb3")
    assert commands == [] and "UnityVecEnv" in program
    (training,), programs = script.examples(script.PLAIN)
    assert training.startswith("mlbridge learn 3DBall --env 3DBall --run-id ball ") and programs == []


def test_what_fails_is_told_with_its_last_words(script, tmp_path):
    program = "import sys; print('first'); sys.exit('no such thing')"
    told = script.run([sys.executable, "-c", program], tmp_path, 60)
    assert told.endswith(("exit code 1: no such thing | first", "exit code 1: first | no such thing"))
    assert script.run([sys.executable, "-c", ""], tmp_path, 60) == ""
    assert "still going on after" in script.run([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, 0.2)


def test_an_example_that_fails_fails_its_extra(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "examples", lambda extra: ([], ["print(1)", "raise SystemExit('broken')", "print(2)"]))
    result = script.Result("toy", [], 1.0, 0, "")
    result.problem = script.run_examples(result, tmp_path, Path(sys.executable).parent, sys.executable)
    assert result.examples == 1 and result.problem.endswith("exit code 1: broken")
    report = {**script.machine.describe(), "results": [vars(result)]}
    assert "| toy |  | 1 | 1 | no: " in script.to_markdown(report)


def test_an_extra_without_an_example_fails(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "examples", lambda extra: ([], []))
    result = script.Result("toy", [], 1.0, 0, "")
    assert "no example" in script.run_examples(result, tmp_path, tmp_path, sys.executable)
