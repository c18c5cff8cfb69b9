"""What `mlbridge bench` makes of its figures: the check against an earlier report, pictures."""

import json

import pytest

from trainers import commands
from trainers.benchmarks import official
from trainers.benchmarks.reports import regressions
from trainers.benchmarks.rows import Row


def row(name, ratio, source="measured", **others):
    peer = [] if source is None else [100.0]
    return {"suite": "bridge", **Row(name, "steps/s", [100.0 * ratio], peer, source, 2).to_json(), **others}


def report(*rows):
    machine = {"cpu": "a processor", "cores": 2, "memory_gib": 4.0, "system": "Linux"}
    facts = {"machine": machine, "versions": {"Python": "3.11"}, "commit": None, "modified": False, "load": [0.5, 2.0]}
    return {**facts, "date": "2026-01-02T03:04:05", "peer_versions": None, "rows": list(rows)}


@pytest.fixture
def written(tmp_path):
    """`written(name, *rows)` is the path of a report."""

    def write(name, *rows):
        path = tmp_path / name
        path.write_text(json.dumps(report(*rows)))
        return str(path)

    return write


def test_a_ratio_may_be_lower_by_the_tolerance_and_no_more():
    old = [row("a", 10.0), row("b", 10.0), row("c", 10.0), row("only before", 5.0)]
    new = [row("a", 7.1), row("b", 6.9), row("c", 30.0), row("only now", 1.0)]
    worse, compared = regressions(new, old, 0.3)
    assert worse == ["b: ratio 6.90, was 10.00, least 7.00"]
    assert compared == 3


def test_stored_and_missing_peers_are_not_compared():
    old = [row("a", 10.0, "stored"), row("b", 10.0), row("c", 10.0)]
    new = [row("a", 1.0), row("b", 1.0, "stored"), row("c", 1.0, None)]
    assert regressions(new, old, 0.3) == ([], 0)


def test_the_check_ends_with_1_only_when_something_is_worse(written, capsys):
    old = written("old.json", row("a", 10.0), row("b", 10.0))
    new = written("new.json", row("a", 9.0), row("b", 6.0))
    assert commands.main(["bench", "--from", new, "--check", old]) == 1
    assert "2 ratios compared with" in capsys.readouterr().out
    assert commands.main(["bench", "--from", new, "--check", old, "--tolerance", "0.5"]) == 0
    assert "0 worse by more than 50%" in capsys.readouterr().out
    assert commands.main(["bench", "--from", old, "--check", new]) == 0


def test_nothing_to_compare_is_a_mistake(written, capsys):
    old, new = written("old.json", row("a", 10.0)), written("new.json", row("b", 9.0))
    assert commands.main(["bench", "--from", new, "--check", old]) == 2
    assert "nothing to compare" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--check", "no-such.json"], "--check no-such.json: cannot be read"),
        (["--seconds", "0"], "--seconds 0: must be above 0"),
        (["--tolerance", "1"], "--tolerance 1: must be from 0 to less than 1"),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(flags, message, capsys, monkeypatch):
    monkeypatch.delenv(official.VARIABLE, raising=False)
    assert commands.main(["bench", *flags]) == 2
    output = capsys.readouterr()
    assert output.err.startswith(f"mlbridge bench: error: {message}")
    assert output.err.count("\n") == 1
    assert output.out == ""


@pytest.mark.parametrize("text", ["no json", "[]", "{}"])
def test_a_file_that_is_no_report_is_told(tmp_path, text, capsys):
    path = tmp_path / "report.json"
    path.write_text(text)
    assert commands.main(["bench", "--from", str(path)]) == 2
    assert "`mlbridge bench --json` writes" in capsys.readouterr().err


def test_a_report_is_taken_from_a_file_with_its_load_and_suites(written, capsys, tmp_path):
    path = written("report.json", row("a", 2.0), row("b", 3.0, suite="growth"))
    assert commands.main(["bench", "--from", path, "--only", "bridge", "--json", str(tmp_path / "again.json")]) == 0
    text = capsys.readouterr().out
    assert "| a " in text
    assert "| b " not in text
    assert "Load average of the machine: 0.5 before, 2.0 after" in text
    assert [one["name"] for one in json.loads((tmp_path / "again.json").read_text())["rows"]] == ["a"]


def test_pictures_show_ratios_and_growth(written, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    growing = [
        {**row(f"an exchange, {agents} agents", 0.9, suite="growth"), "unit": "us", "goal": None}
        for agents in ("1", "100", "10,000")
    ]
    alone = {**row("memory of a training in process, 100 agents", 1.0, None, suite="growth"), "unit": "MiB"}
    path = written("report.json", row("share of grpc floor, 12 agents", 0.9), *growing, alone)
    folder = tmp_path / "pictures"
    assert commands.main(["bench", "--from", path, "--plots", str(folder)]) == 0
    names = ["growth_exchange.png", "growth_memory.png", "ratios_bridge.png"]
    assert sorted(file.name for file in folder.iterdir()) == names
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in names)
    assert f"Picture written to {folder / 'ratios_bridge.png'}" in capsys.readouterr().out
