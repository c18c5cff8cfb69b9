"""README, "What you can rely on": every sentence has a test of its name, and its table is the report's."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

HEADING = "## What you can rely on\n"


@pytest.fixture(scope="module")
def section(repository: Path) -> str:
    text = (repository / "README.md").read_text(encoding="utf-8")
    return text.partition(HEADING)[2].partition("\n## ")[0]


def test_every_sentence_has_a_test_of_its_name(section: str, repository: Path) -> None:
    sentences = re.findall(r"^- (.+)$", section, re.MULTILINE)
    assert len(sentences) > 10
    names = set()
    for path in (repository / "tests").rglob("test_*.py"):
        names |= set(re.findall(r"^ *def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    wanted = {sentence: "test_" + re.sub(r"\W+", "_", sentence.lower()).strip("_") for sentence in sentences}
    assert {sentence: name for sentence, name in wanted.items() if name not in names} == {}


@pytest.fixture
def verify_faults(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program that writes the table."""
    if sys.platform != "linux":
        pytest.skip("it runs on Linux only")
    folder = repository / "tests" / "reports"
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.syspath_prepend(str(repository / "tests" / "faults"))
    spec = importlib.util.spec_from_file_location("verify_faults", folder / "verify_faults.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_the_report_s(section: str, repository: Path, verify_faults: ModuleType) -> None:
    report = json.loads((repository / "tests" / "reports" / "faults.json").read_text(encoding="utf-8"))
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    assert lines == verify_faults.table(report)


def test_a_fault_that_was_not_survived_shows(verify_faults: ModuleType) -> None:
    """Of 480 steps in no trajectory 240 are those of a run that ends."""

    def row(fault: str, injected: int, survived: int, played: int, saved: int) -> dict:
        one = {"injected": injected, "survived": survived, "played": played, "saved": saved, "last_words": ""}
        return {"fault": fault, "ours": one, "peer": None}

    trainer = {"fault": "SIGKILL", "ours": {"injected": 3, "survived": 3, "steps_lost": 300}, "peer": None}
    players = [row("none", 0, 0, 1240, 1000), row("exits", 2, 1, 1480, 1000)]
    assert verify_faults.table({"players": players, "trainer": trainer})[2:] == [
        "| the player exits | 2 | 1 | 240 | not measured |  |",
        "| the trainer gets SIGKILL | 3 | 3 | 300 | not measured |  |",
    ]
