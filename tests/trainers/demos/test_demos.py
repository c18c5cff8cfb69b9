"""The demos: their first updates are the plain library's, they are notebooks, and the quickest one solves its task."""

import json
from pathlib import Path

import numpy as np
import pytest

import trainers

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
DEMOS = Path(trainers.__path__[0], "demos")
# Flags that make one short, and the plain library beside ours.
SHORT = {
    "ball3d_ppo": (["--steps", "6000", "--played", "1"], "torch"),
    "cartpole_actor_critic": (["--episodes", "8", "--played", "1"], "torch"),
    "cartpole_reinforce": (["--episodes", "8", "--played", "1"], "torch"),
    "cube_mover_dqn": (["--steps", "150", "--played", "1"], "keras"),
    "cube_mover_policy_gradient": (["--episodes", "30", "--played", "1"], "torch"),
    "mountain_car_dqn": (["--steps", "4608", "--played", "1"], "keras"),
    "pole_balancer_actor_critic": (["--steps", "2048", "--played", "1"], "torch"),
}


def test_every_demo_is_tested() -> None:
    assert {path.stem for path in DEMOS.glob("*.py")} - {"__init__", "common"} == set(SHORT)


def test_a_demo_has_fewer_than_150_lines() -> None:
    lengths = {path.name: path.read_text(encoding="utf-8").count("\n") for path in DEMOS.glob("*.py")}
    assert {name: lines for name, lines in lengths.items() if lines >= 150} == {}


@pytest.mark.parametrize("name", SHORT)
def test_first_updates_are_those_of_the_plain_library(name: str, run_demo) -> None:
    flags, plain = SHORT[name]
    ours, theirs = run_demo(name, *flags), run_demo(name, *flags, "--backend", plain)
    assert (ours["backend"], theirs["backend"]) == ("kernels", plain)
    assert len(ours["losses"]) > 0 and len(ours["returns"]) > 1
    assert ours["steps"] == theirs["steps"]  # each episode as long as there: the same actions
    np.testing.assert_allclose(ours["returns"], theirs["returns"], rtol=1e-5)
    np.testing.assert_allclose(ours["losses"], theirs["losses"], rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("name", SHORT)
def test_a_notebook_runs_from_top_to_bottom(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jupytext, nbclient = pytest.importorskip("jupytext"), pytest.importorskip("nbclient")
    monkeypatch.setenv("DEMO_FLAGS", " ".join(SHORT[name][0]))
    notebook = jupytext.read(DEMOS / f"{name}.py")
    assert notebook.cells[0].cell_type == "markdown" and len(notebook.cells) > 6
    nbclient.NotebookClient(
        notebook,
        timeout=100,
        startup_timeout=100,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    *_, said = [output for output in notebook.cells[-1].outputs if output.output_type == "stream"]
    assert said["text"].startswith(f"{name}, kernels, seed 1: ")
    pictures = [output for output in notebook.cells[-1].outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 1


@pytest.mark.slow
def test_the_cube_mover_learns_to_go_to_the_large_goal(run_demo, tmp_path: Path, capsys) -> None:
    picture = tmp_path / "curve.png"
    flags = ["--episodes", "200", "--played", "10", "--seed", "1", "--plot", str(picture)]
    trace = run_demo("cube_mover_policy_gradient", *flags)
    assert min(trace["played"]) > 0.9  # straight to the right, each time
    assert "which reaches the bar of 0.9" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert json.dumps(trace["returns"]) and len(trace["returns"]) == 200


def test_flags(run_demo, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        run_demo("cartpole_reinforce", "--backend", "keras")
    assert ended.value.code == 2
    assert "invalid choice: 'keras'" in capsys.readouterr().err


def test_a_trace_follows_from_its_seed(run_demo) -> None:
    first, again, other = (run_demo("cartpole_reinforce", *SHORT["cartpole_reinforce"][0], "--seed", s) for s in "112")
    assert first["losses"] == again["losses"]
    assert first["losses"] != other["losses"]
