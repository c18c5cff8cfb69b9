"""The players with `--model`: a trained model plays, without a trainer."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from typing import NamedTuple

import numpy as np
import onnx
import pytest
from mlagents_envs.base_env import ActionSpec, BehaviorSpec

from bridge.player import vector_observation
from trainers.export import export_onnx
from unity_envs import executables

LAST_LINE = re.compile(
    r"(\w+): stopped after ([\d.]+) s: (\d+) episodes, mean reward of the last (\d+) (-?[\d.]+), ([\d,]+) agent-steps/s"
)
# Rows are observations, columns actions or logits.
KEEP_BALL = [[-10, 0], [0, -10], [0.6, 0], [0, 0], [0, -0.6], [0.8, 0], [0, 0], [0, -0.8]]
UNDER_POLE = [[0, 0], [0, 0], [1, 0], [0, 0]]  # left while the pole leans left
LET_BALL_ROLL = [[0, 0]] * 8


def write_model(path: Path, gains: list[list[float]], discrete: bool = False, bias: list[float] | None = None) -> Path:
    """A model that multiplies `gains` [observation size, actions] with the observation.

    The products are the continuous actions, cut to -1..1, or plus `bias` the logits of one discrete action.
    """
    weight = np.array(gains, np.float64).T
    observation = vector_observation(weight.shape[1])
    if discrete:
        state = {"actor.discrete.0.weight": weight, "actor.discrete.0.bias": np.array(bias or [0.0] * len(weight))}
        action_spec = ActionSpec.create_discrete((len(weight),))
    else:
        state = {
            "actor.continuous.weight": 3 * weight,  # ML-Agents divides by 3
            "actor.continuous.bias": np.zeros(len(weight)),
            "actor.log_sigma": np.full(len(weight), -1.0),
        }
        action_spec = ActionSpec.create_continuous(len(weight))
    export_onnx(state, BehaviorSpec([observation], action_spec), path)
    return path


def write_mover(path: Path, right: float, left: float = 0.0) -> Path:
    """A model of CubeMover with these logits, wherever the cube is."""
    return write_model(path, [[0.0, 0.0]], discrete=True, bias=[left, right])


MAINS = {
    "3DBall": executables.main_3dball,
    "PoleBalancer": executables.main_pole_balancer,
    "CubeMover": executables.main_cube_mover,
}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run(name, *arguments)` runs a player in this process; returns exit code, standard output and standard error."""

    def run_player(name: str, *arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            MAINS[name]()
        return end.value.code, *capsys.readouterr()

    return run_player


@pytest.fixture
def score(run: Run) -> Callable[..., Numbers]:
    """`score(name, *arguments)` runs a player, which must end well; returns what its last line says."""

    def last_line(name: str, *arguments: str | Path) -> Numbers:
        code, output, errors = run(name, *arguments)
        assert code == 0 and errors == ""
        match = LAST_LINE.fullmatch(output.splitlines()[-1])
        assert match, output
        player, seconds, episodes, last, mean, speed = match.groups()
        assert player == name
        return Numbers(float(seconds), int(episodes), int(last), float(mean), float(speed.replace(",", "")))

    return last_line


class Numbers(NamedTuple):
    """What the line at the end says."""

    seconds: float
    episodes: int
    last: int  # episodes in the mean
    mean: float
    speed: float  # agent-steps/s


class Playing:
    """A player that runs on; its lines can be waited for."""

    def __init__(self, name: str, *arguments: str | Path) -> None:
        self.process = subprocess.Popen(
            [executables.path(name), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines: Queue[str] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))

    def line(self, wanted: Callable[[str], bool] = lambda line: True, seconds: float = 30) -> str:
        """The next line that is wanted."""
        end = time.monotonic() + seconds
        while True:
            line = self.lines.get(timeout=max(end - time.monotonic(), 0.01))
            if wanted(line):
                return line

    def progress_until(self, words: str) -> str:
        return self.line(lambda line: words in line, 10)

    def news(self) -> str:
        """The next line that is no progress."""
        return self.line(lambda line: "agent-steps/s" not in line)


@pytest.fixture
def playing() -> Iterator[Callable[..., Playing]]:
    """`playing(name, *arguments)` starts a player; it is gone when the test is over."""
    started = []

    def start(*arguments: str | Path) -> Playing:
        started.append(Playing(*arguments))
        return started[-1]

    yield start
    for player in started:
        player.process.kill()
        player.process.wait()
        player.process.stderr.close()


# ---- playing ----


def test_a_cube_that_always_moves_right_earns_0_94(run, score, tmp_path):
    model = write_mover(tmp_path / "CubeMover.onnx", right=5.0)
    seen = score("CubeMover", "--model", model, "--episodes", "150")
    assert (seen.episodes, seen.last, seen.mean) == (150, 100, 0.94)  # 6 steps of -0.01, then 1
    _, output, _ = run("CubeMover", "--model", model, "--episodes", "1")
    first, _ = output.splitlines()
    assert first == f"CubeMover: {model} plays CubeMover, 1 agent, the most probable actions; Ctrl-C stops it"


def test_balls_that_are_kept_earn_100(score, tmp_path):
    model = write_model(tmp_path / "3DBall.onnx", KEEP_BALL)
    seen = score("3DBall", "--model", model, "--episodes", "8", "--agents", "8")
    assert (seen.episodes, seen.last, seen.mean) == (8, 8, 100.0)


def test_a_pole_is_balanced(score, tmp_path):
    model = write_model(tmp_path / "PoleBalancer.onnx", UNDER_POLE, discrete=True)
    seen = score("PoleBalancer", "--model", model, "--episodes", "20", "--seed", "1")
    assert (seen.episodes, seen.mean) == (20, 200.0)


def test_variants_play_too(score, tmp_path):
    model = write_model(tmp_path / "Basic.onnx", [[0, 0, 1]] * 20, discrete=True)
    seen = score("CubeMover", "--variant", "basic", "--model", model, "--episodes", "3")
    assert (seen.episodes, seen.mean) == (3, 0.93)  # 7 steps of -0.01, and 1


def test_a_model_with_a_memory_begins_each_episode_without(score, tmp_path):
    """Its memory adds up tanh(1) a step, and it goes left while tanh of the sum is below 0.8: in the first step."""
    state = {
        "actor.memory.weight_ih_l0": np.zeros((4, 1)),
        "actor.memory.weight_hh_l0": np.zeros((4, 1)),
        "actor.memory.bias_ih_l0": np.array([100.0, 100.0, 1.0, 100.0]),  # all gates open
        "actor.memory.bias_hh_l0": np.zeros(4),
        "actor.discrete.0.weight": np.array([[0.0], [10.0]]),
        "actor.discrete.0.bias": np.array([0.0, -8.0]),
    }
    spec = BehaviorSpec([vector_observation(1)], ActionSpec.create_discrete((2,)))
    export_onnx(state, spec, tmp_path / "CubeMover.onnx")
    seen = score("CubeMover", "--model", tmp_path / "CubeMover.onnx", "--episodes", "20")
    assert (seen.episodes, seen.mean) == (20, 0.92)  # 8 steps of -0.01, then 1


def test_what_a_model_plays_can_be_recorded(score, tmp_path):
    model = write_mover(tmp_path / "CubeMover.onnx", right=5.0)
    file = tmp_path / "moves.json"
    score("CubeMover", "--model", model, "--episodes", "5", "--record", file, "--record-episodes", "3")
    episodes = json.loads(file.read_text())["episodes"]
    assert [episode["terminal_tick"] for episode in episodes] == [8, 7, 7]
    assert episodes[0]["positions"] == [-1, 0, 1, 2, 3, 4, 5, 6, 7]  # a tick passes after the reset
    assert episodes[1]["positions"] == [0, 1, 2, 3, 4, 5, 6, 7]


def test_samples_follow_the_probabilities_and_the_seed(score, tmp_path):
    flags = ["--model", write_mover(tmp_path / "CubeMover.onnx", right=1.0), "--episodes", "100"]
    assert score("CubeMover", *flags).mean == 0.94
    sampled, again, other = (score("CubeMover", *flags, "--stochastic", "--seed", seed).mean for seed in "334")
    assert 0.4 < sampled < 0.93  # some go left, most take longer
    assert sampled == again != other


def test_time_can_be_real(score, tmp_path):
    model = write_mover(tmp_path / "CubeMover.onnx", right=5.0)
    seen = score("CubeMover", "--model", model, "--episodes", "5", "--time-scale", "1")
    assert 35 * 0.02 - 0.05 <= seen.seconds < 2  # 5 times 7 ticks
    model = write_model(tmp_path / "3DBall.onnx", LET_BALL_ROLL)
    seen = score("3DBall", "--model", model, "--episodes", "12", "--time-scale", "10")
    assert seen.speed <= 12 / 0.01 * 1.05  # a decision is 5 ticks, which now take 0.01 s


# ---- stopping ----


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
@pytest.mark.parametrize(("number", "pace"), [(signal.SIGINT, "1000000"), (signal.SIGTERM, "0.001")])
def test_a_signal_stops_it_with_a_last_line(playing, tmp_path, number, pace):
    model = write_mover(tmp_path / "CubeMover.onnx", right=5.0)
    player = playing("CubeMover", "--model", model, "--time-scale", pace)
    assert "plays CubeMover" in player.line()
    player.process.send_signal(number)
    assert player.line(lambda line: "stopped" in line, 10)
    assert player.process.wait(10) == 0
    assert player.process.stderr.read() == ""


@pytest.mark.slow
def test_it_tells_how_it_goes_every_second(playing, tmp_path):
    player = playing("3DBall", "--model", write_model(tmp_path / "3DBall.onnx", LET_BALL_ROLL))
    player.line()
    began = time.monotonic()
    line, _ = player.line(), player.line()
    assert 1.5 < time.monotonic() - began < 6
    assert re.fullmatch(r"3DBall: [\d,]+ episodes, mean reward of the last 100 [\d.-]+, [\d,]+ agent-steps/s", line)


def test_it_ends_when_nobody_reads_its_lines_any_more(tmp_path):
    model = write_mover(tmp_path / "CubeMover.onnx", right=5.0)
    command = [executables.path("CubeMover"), "--model", str(model)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert "plays CubeMover" in process.stdout.readline()
            process.stdout.close()
            assert process.wait(10) == 0
            assert process.stderr.read() == ""
        finally:
            process.kill()


# ---- the file changes ----


@pytest.mark.slow
def test_a_changed_model_is_taken_up_and_a_broken_one_left(playing, tmp_path):
    path = write_mover(tmp_path / "CubeMover.onnx", right=0.0, left=5.0)
    new = tmp_path / "new.onnx"
    player = playing("CubeMover", "--model", path)
    player.line()
    write_mover(new, right=5.0).replace(path)
    assert player.news() == f"CubeMover: {path} has changed, the new model plays"
    assert player.progress_until("mean reward of the last 100 0.940")

    before = "CubeMover: the changed model cannot be played, the one before plays on: "
    new.write_bytes(b"no model")
    new.replace(path)
    assert player.news().startswith(f"{before}{path}: onnxruntime cannot load this file")
    write_model(path, KEEP_BALL)
    assert player.news() == f"{before}{path}: the agents' observation obs_0 has shape (1,), the model expects (8,)"
    path.unlink()
    assert player.news().startswith(f"{before}{path}: no such file")
    assert player.progress_until("mean reward of the last 100 0.940")

    write_mover(path, right=0.0, left=5.0)
    assert player.news() == f"CubeMover: {path} has changed, the new model plays"
    assert player.progress_until("mean reward of the last 100 0.080")  # 2 steps of -0.01, then 0.1


@pytest.mark.slow
def test_a_file_that_is_written_slowly_is_waited_for(playing, tmp_path):
    path = write_mover(tmp_path / "CubeMover.onnx", right=0.0, left=5.0)
    content = write_mover(tmp_path / "new.onnx", right=5.0).read_bytes()
    player = playing("CubeMover", "--model", path)
    player.line()
    with path.open("wb", buffering=0) as file:
        for part in range(8):
            file.write(content[part * len(content) // 8 : (part + 1) * len(content) // 8])
            time.sleep(0.2)
    assert player.news() == f"CubeMover: {path} has changed, the new model plays"


# ---- what cannot be played ----

SIZES = {"CubeMover": 1, "PoleBalancer": 4, "3DBall": 8}


@pytest.fixture(params=SIZES)
def mistakes(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[Path, str]]:
    """The name of a player, and for each file that it cannot play what it has to say about it."""
    name, size = request.param, SIZES[request.param]
    files = {each: tmp_path / f"{each}.onnx" for each in ("missing", "corrupt", "half", "shapes", "actions")}
    files["corrupt"].write_bytes(b"\x08\x04 not a model at all")
    whole = write_model(files["half"], [[0, 0]] * size, discrete=name != "3DBall").read_bytes()
    files["half"].write_bytes(whole[: len(whole) // 2])
    write_model(files["shapes"], [[0, 0]] * 9, discrete=name != "3DBall")
    write_model(files["actions"], [[0] * 5] * size)
    return name, {
        files["missing"]: "no such file; a run writes its model to results/RUN_ID/BEHAVIOR.onnx",
        files["corrupt"]: "onnxruntime cannot load this file as an ONNX model",
        files["half"]: "onnxruntime cannot load this file as an ONNX model",
        files["shapes"]: f"the agents' observation obs_0 has shape ({size},), the model expects (9,)",
        files["actions"]: "continuous actions, the model gives 5",
    }


def test_what_cannot_be_played_is_one_line_and_exit_code_2(mistakes, run):
    name, sayings = mistakes
    for path, words in sayings.items():
        code, output, errors = run(name, "--model", path)
        assert code == 2 and output == ""
        (line,) = errors.splitlines()
        assert line.startswith(f"{name}: error: {path}: ") and words in line
        if path.stem in ("corrupt", "shapes"):  # the same from outside: one line, and no traceback as it ends
            command = [executables.path(name), "--model", str(path)]
            result = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert (result.returncode, result.stdout, result.stderr) == (2, "", errors)


def test_a_model_of_an_old_exporter_needs_stochastic(run, tmp_path):
    path = write_mover(tmp_path / "CubeMover.onnx", right=5.0)
    model = onnx.load(path)
    model.graph.output.remove(
        next(each for each in model.graph.output if each.name == "deterministic_discrete_actions")
    )
    path.write_bytes(model.SerializeToString())
    code, output, errors = run("CubeMover", "--model", path)
    assert code == 2 and output == ""
    assert "no output deterministic_discrete_actions (an old exporter); play it with --stochastic" in errors
    code, _, errors = run("CubeMover", "--model", path, "--stochastic", "--episodes", "3")
    assert code == 0 and errors == ""
