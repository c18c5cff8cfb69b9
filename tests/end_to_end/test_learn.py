"""`mlbridge learn` from outside: what it prints, what it leaves, how it ends, and how it goes on."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from trainers.checkpoint import load_state
from trainers.config import RunConfig

pytestmark = [
    pytest.mark.timeout(150),
    pytest.mark.skipif(sys.platform == "win32", reason="uses process groups, which Windows does not have"),
]

SUMMARY = re.compile(
    r"\[INFO\] 3DBall\. Step: (\d+)\. Time Elapsed: \d+\.\d{3} s\. "
    r"Mean Reward: (-?\d+\.\d{3})\. Std of Reward: \d+\.\d{3}\. (Training|Not Training)\."
)


def summaries(output: str) -> list[tuple[int, str]]:
    return [(int(found[1]), found[3]) for line in output.splitlines() if (found := SUMMARY.fullmatch(line))]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the first run over gRPC left, for all tests that look at it or go on from it."""
    return {"folder": tmp_path_factory.mktemp("first")}


@pytest.fixture
def trained(first_run: dict[str, Any], learn: Callable[..., Any], tmp_path: Path) -> Path:
    """results/first in the test's own folder, as `mlbridge learn` left it."""
    kept = first_run["folder"] / "results"
    if not kept.exists():
        first_run["output"] = learn("tiny.yaml", "--env", "3DBall", "--run-id", "first", "--seed", "1").stdout
        shutil.copytree(tmp_path / "results", kept)
    else:
        shutil.copytree(kept, tmp_path / "results")
    return tmp_path / "results" / "first"


def test_a_run_prints_what_ml_agents_prints(trained: Path, first_run: dict[str, Any]) -> None:
    output = first_run["output"]
    assert summaries(output) == [(300, "Training"), (600, "Training"), (900, "Training"), (1200, "Training")]
    lines = output.splitlines()
    assert any(
        re.fullmatch(r"\[INFO\] Environment: the built-in environment 3DBall \(.*3DBall\)", line) for line in lines
    )
    connected = r"\[INFO\] Connected to Unity environment with package version \S+ and communication version 1\.5\.0"
    assert any(re.fullmatch(connected, line) for line in lines)
    assert "[INFO] Connected new brain: 3DBall?team=0" in lines
    assert lines[-1] == f"[INFO] Exported {Path('results', 'first', '3DBall.onnx')}"


def test_a_run_leaves_the_folder_of_ml_agents(trained: Path) -> None:
    status = json.loads((trained / "run_logs" / "training_status.json").read_text())
    steps = [checkpoint["steps"] for checkpoint in status["3DBall"]["checkpoints"]]
    assert len(steps) == 3
    assert 500 <= steps[0] < 600 <= 1000 <= steps[1] < 1100 <= 1200 < steps[2]
    assert status["metadata"]["stats_format_version"] == "0.3.0"
    files = {path.relative_to(trained).as_posix() for path in trained.rglob("*") if path.is_file()}
    (events,) = {path for path in files if path.startswith("3DBall/events.out.tfevents.")}
    assert files - {events} == {
        "configuration.yaml",
        "3DBall.onnx",
        "3DBall/checkpoint.pt",
        *(f"3DBall/3DBall-{step}.{suffix}" for step in (*steps, "best") for suffix in ("pt", "onnx")),
        "run_logs/3DBall.csv",  # ours
        "run_logs/timers.json",
        "run_logs/training_status.json",
        "run_logs/Player-0.log",
    }
    configuration = yaml.safe_load((trained / "configuration.yaml").read_text())
    assert configuration["behaviors"]["3DBall"]["hyperparameters"]["buffer_size"] == 200
    assert configuration["env_settings"]["seed"] == 1
    assert configuration["env_settings"]["env_path"] == "3DBall"
    timers = json.loads((trained / "run_logs" / "timers.json").read_text())
    assert timers["name"] == "root"
    assert "3DBall.Environment.CumulativeReward.mean" in timers["gauges"]


def test_tensorboard_reads_the_tags_of_ml_agents(trained: Path) -> None:
    found = scalars(trained / "3DBall")
    assert [step for step, _ in found["Environment/Cumulative Reward"]] == [300, 600, 900, 1200]
    assert set(found) >= {
        "Environment/Episode Length",
        "Losses/Policy Loss",
        "Losses/Value Loss",
        "Policy/Beta",
        "Policy/Entropy",
        "Policy/Epsilon",
        "Policy/Extrinsic Reward",
        "Policy/Extrinsic Value Estimate",
        "Policy/Learning Rate",
    }
    assert all(0 < reward < 10 for _, reward in found["Environment/Cumulative Reward"])


def test_resume_goes_on_with_steps_schedules_and_normaliser(trained: Path, learn: Callable[..., Any]) -> None:
    before = load_state(trained / "3DBall" / "checkpoint.pt")
    tiny = Path(trained.parents[1], "tiny.yaml")
    tiny.write_text(tiny.read_text().replace("max_steps: 1200", "max_steps: 2000"))
    output = learn("tiny.yaml", "--env", "3DBall", "--run-id", "first", "--resume").stdout
    assert f"Resuming '3DBall' from step {before['step']}" in output
    assert [step for step, _ in summaries(output)] == [1500, 1800]
    after = load_state(trained / "3DBall" / "checkpoint.pt")
    assert after["step"] > 2000
    assert after["network"]["actor.normalizers.0.steps"] > 1800
    assert after["optimizer"]["step"] > before["optimizer"]["step"]
    rates = dict(scalars(trained / "3DBall")["Policy/Learning Rate"])
    assert rates[300] == pytest.approx(0.001 * (1 - 250 / 1200), rel=0.15)
    assert rates[1800] == pytest.approx(0.001 * (1 - 1700 / 2000), rel=0.5)


def test_inference_reports_a_mean_reward_until_ctrl_c_and_changes_no_checkpoint(
    trained: Path, start_learn: Callable[..., Any], contents: Callable[[Path], dict[str, bytes]]
) -> None:
    before = contents(trained / "3DBall")
    process = start_learn("tiny.yaml", "--env", "3DBall", "--run-id", "first", "--resume", "--inference")
    process.wait_for("Not Training", count=2)
    process.interrupt()
    assert process.wait() == 0
    assert {kind for _, kind in summaries(process.stdout)} == {"Not Training"}
    last = process.stdout.splitlines()[-1]
    assert re.fullmatch(r"\[INFO\] 3DBall\. Episodes: \d+\. Mean Reward: \d+\.\d{3}\. Not Training\.", last)
    after = contents(trained / "3DBall")
    assert {name: data for name, data in after.items() if name in before} == before
    assert all(name.startswith("events.") for name in after.keys() - before.keys())


def test_ctrl_c_saves_exports_and_leaves_no_process(
    start_learn: Callable[..., Any], processes_that_name: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    tiny = tmp_path / "tiny.yaml"
    tiny.write_text(tiny.read_text().replace("max_steps: 1200", "max_steps: 1.0e9"))
    process = start_learn("tiny.yaml", "--env", "3DBall", "--num-envs", "2", "--run-id", "stopped")
    process.wait_for("Training.", count=2)
    logs = tmp_path / "results" / "stopped" / "run_logs"
    assert len(processes_that_name(logs)) >= 2
    process.interrupt()
    assert process.wait() == 0
    assert "Traceback" not in process.stderr
    assert "Exported" in process.stdout.splitlines()[-1]
    assert (tmp_path / "results" / "stopped" / "3DBall.onnx").is_file()
    state = load_state(tmp_path / "results" / "stopped" / "3DBall" / "checkpoint.pt")
    assert state["step"] >= summaries(process.stdout)[-1][0]
    assert processes_that_name(logs) == []
    assert {path.name for path in logs.glob("Player-*.log")} == {"Player-0.log", "Player-1.log"}


RECORDER = """
import json
from bridge.player import run_player
from bridge.side_channels import StatsSideChannel
from unity_envs.worlds import make_world_factory

statistics = StatsSideChannel()

def make_world(seed, num_areas, parameters):
    statistics.add("Recorder/Seed", seed)
    with open(f"recorded-{port}.json", "w") as file:
        json.dump({"seed": seed, "num_areas": num_areas, "port": port, "arguments": arguments}, file)
    return make_world_factory("3DBall", 2)(seed, num_areas, parameters)

sys.exit(run_player(make_world, port, side_channels=[statistics]))
"""


def test_each_player_gets_its_port_its_seed_and_what_else_was_asked_for_and_is_heard(
    learn: Callable[..., Any], player_script: Callable[[str, str], Path], tmp_path: Path
) -> None:
    player_script("recorder", RECORDER)
    learn(
        *("tiny.yaml", "--env", "recorder", "--num-envs", "2", "--num-areas", "3", "--seed", "7", "--no-graphics"),
        *("--env-args", "--colour", "red"),
    )
    records = [json.loads(path.read_text()) for path in tmp_path.glob("recorded-*.json")]
    first, second = sorted(records, key=lambda record: record["seed"])
    assert (first["seed"], second["seed"]) == (7, 8)
    assert first["port"] != second["port"]
    for record in records:
        assert record["num_areas"] == 3
        assert record["arguments"][-2:] == ["--colour", "red"]
        assert {"-nographics", "-batchmode"} <= set(record["arguments"])
    heard = scalars(tmp_path / "results" / "ppo" / "3DBall")["Recorder/Seed"]
    assert heard == [(300, 7.5)]  # the mean of both, in the first summary


def test_a_world_in_the_same_process(learn: Callable[..., Any], tmp_path: Path) -> None:
    process = learn(
        *("tiny.yaml", "--env", "3DBall", "--in-process", "--deterministic", "--debug", "--num-areas", "2"),
        *("--stop-at-reward", "0.1", "--env-args", "--agents", "4"),
    )
    lines = process.stdout.splitlines()
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[INFO\] ", lines[0])
    assert any("[DEBUG] Hyperparameters for behavior name 3DBall" in line for line in lines)
    assert sum(" Step: " in line for line in lines) == 1  # the first summary has more than 0.1
    run = tmp_path / "results" / "ppo"
    state = load_state(run / "3DBall" / "checkpoint.pt")
    assert state["worlds"][0]["agent_radius"].shape == (8,)  # two areas of four agents
    configuration = yaml.safe_load((run / "configuration.yaml").read_text())
    assert configuration["behaviors"]["3DBall"]["network_settings"]["deterministic"] is True
    assert configuration["debug"] is True
    assert not list((run / "run_logs").glob("Player-*"))


def test_help_names_every_flag_with_its_default(learn: Callable[..., Any]) -> None:
    text = " ".join(learn("--help").stdout.split())
    config = RunConfig()
    expected = {
        "--env PATH_OR_NAME": None,
        "--run-id ID": config.checkpoint_settings.run_id,
        "--resume": False,
        "--force": False,
        "--initialize-from RUN_ID": None,
        "--inference": False,
        "--deterministic": False,
        "--results-dir FOLDER": config.checkpoint_settings.results_dir,
        "--seed N": config.env_settings.seed,
        "--num-envs N": config.env_settings.num_envs,
        "--num-areas N": config.env_settings.num_areas,
        "--base-port PORT": config.env_settings.base_port,
        "--listen ADDRESS": None,
        "--timeout-wait SECONDS": config.env_settings.timeout_wait,
        "--max-lifetime-restarts N": config.env_settings.max_lifetime_restarts,
        "--restarts-rate-limit-n N": config.env_settings.restarts_rate_limit_n,
        "--restarts-rate-limit-period-s SECONDS": config.env_settings.restarts_rate_limit_period_s,
        "--width PIXELS": config.engine_settings.width,
        "--height PIXELS": config.engine_settings.height,
        "--quality-level N": config.engine_settings.quality_level,
        "--time-scale X": config.engine_settings.time_scale,
        "--target-frame-rate N": config.engine_settings.target_frame_rate,
        "--capture-frame-rate N": config.engine_settings.capture_frame_rate,
        "--no-graphics": False,
        "--no-graphics-monitor": False,
        "--torch-device DEVICE": None,
        "--debug": False,
        "--set KEY=VALUE": None,
        "--dry-run": False,
        "--in-process": False,
        "--film": False,
        "--profile": False,
        "--workers N": 1,
        "--stop-at-reward R": None,
        "--env-args ...": None,
    }
    described = text[text.index("show this help message") :]
    for flag, default in expected.items():
        shown = {None: "none", False: "off"}.get(default, default)
        assert re.search(
            rf"{re.escape(flag)} [^(]*(\(3DBall\)[^(]*)?\(default: {re.escape(str(shown))}\)", described
        ), flag
    assert set(re.findall(r"(?<!\S)--[a-z-]+", described)) == {flag.split()[0] for flag in expected} | {"--resume"}


def test_players_in_lockstep_make_a_run_that_repeats_itself(learn: Callable[..., Any], tmp_path: Path) -> None:
    def state(run_id: str, lockstep: bool) -> dict[str, Any]:
        arguments = ("--num-envs", "2", "--seed", "3", "--run-id", run_id, "--set", f"env_settings.lockstep={lockstep}")
        learn("tiny.yaml", "--env", "3DBall", *arguments)
        return load_state(tmp_path / "results" / run_id / "3DBall" / "checkpoint.pt")

    first, second, other = state("first", True), state("second", True), state("other", False)
    assert first["step"] == second["step"]
    assert first["optimizer"]["step"] > 0
    assert all(torch.equal(values, second["network"][name]) for name, values in first["network"].items())
    assert other["step"] > 1200
