"""The environments learn with their committed configurations: one seed here, five in `make verify-environments`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT = 250  # seconds for both commands of a test

pytestmark = pytest.mark.timeout(LIMIT + 50)


def mlbridge(*arguments: str) -> None:
    command = [sys.executable, "-m", "trainers.commands", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("name", "bar"), [("CubeMover", 0.90), ("PoleBalancer", 195.0)])
def test_a_short_training_reaches_the_bar(name: str, bar: float, tmp_path: Path) -> None:
    where = ["--env", name, "--in-process"]
    until = ["--run-id", "short", "--results-dir", str(tmp_path), "--seed", "1", f"--stop-at-reward={bar}"]
    mlbridge("learn", name, *where, *until, "--torch-device", "cpu", "--env-args", "--agents", "8")  # 8, to be quick
    report = tmp_path / "report.json"
    mlbridge("evaluate", str(tmp_path / "short" / f"{name}.onnx"), *where, "--agents", "20", "--json", str(report))
    assert json.loads(report.read_text(encoding="utf-8"))["mean_reward"] >= bar
