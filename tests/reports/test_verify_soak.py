"""The soak's figures from samples that a person can follow, and its report as it is committed."""

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from trainers.charts import Charts

HERE = Path(__file__).parent


@pytest.fixture
def verify_soak(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    if sys.platform != "linux":
        pytest.skip("it runs on Linux only")
    for folder in (HERE, HERE.parent / "faults"):
        monkeypatch.syspath_prepend(str(folder))
    spec = importlib.util.spec_from_file_location("verify_soak", HERE / "verify_soak.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_slope_is_that_of_the_time_after_all_has_settled(verify_soak: ModuleType) -> None:
    """100 MB more in the first five minutes, then 6 MB an hour."""
    samples = [
        {"seconds": minute * 60.0, "megabytes": {"trainer": 300 + min(minute, 5) * 20 + max(0, minute - 5) * 0.1}}
        for minute in range(61)
    ]
    found = verify_soak.soak_memory.growth(samples, "trainer", 300)
    assert found["mb_per_hour"] == pytest.approx(6)
    assert (found["mb_when_settled"], found["mb_at_end"]) == (400, pytest.approx(405.5))


def test_a_step_that_is_missing_or_there_twice_is_found(verify_soak: ModuleType, tmp_path: Path) -> None:
    charts = Charts(tmp_path, 0, None)
    for step in (100, 200, 400, 400):
        charts.scalar(step, "Policy/Entropy", 1.0)
    charts.close()
    printed = [f"[INFO] 3DBall. Step: {n}. Time Elapsed: 1.0 s. No episode was completed" for n in (100, 200, 400)]
    found = verify_soak.soak_memory.step_numbers(tmp_path, printed, 100)
    assert (found["lost"], found["twice"], found["besides"], found["as_printed"]) == ([300], [400], [], True)


def test_a_process_of_this_machine_is_measured(verify_soak: ModuleType) -> None:
    assert verify_soak.soak_memory.resident(os.getpid()) > 5
    assert os.getpid() in verify_soak.soak_memory.children(os.getppid())


def test_the_committed_report_is_whole_and_passed(verify_soak: ModuleType) -> None:
    report = json.loads((HERE / "soak.json").read_text(encoding="utf-8"))
    assert list(report) == list(verify_soak.PHASES)
    assert all(check["passed"] for phase in report.values() for check in phase["checks"])
    assert (HERE / "soak.md").read_text(encoding="utf-8") == verify_soak.to_markdown(report)
