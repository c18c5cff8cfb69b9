"""`mlbridge bench`: what it reads off trainers, how it compares, what it writes. Nothing is measured here."""

import json
import os
import sys
import types
from pathlib import Path

import pytest

from trainers import benchmarks, commands
from trainers.benchmarks import Context, official, startup, training
from trainers.benchmarks.official import Official, find_official
from trainers.benchmarks.rows import Row, alternate, markdown_table
from trainers.benchmarks.trainer_process import SummaryLine, TrainerRun, parse_summary, watch
from trainers.errors import UsageError

# ---- what a trainer prints ----


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "[INFO] 3DBall. Step: 12000. Time Elapsed: 6.587 s. Mean Reward: 1.237. Std of Reward: 0.792. Training.",
            SummaryLine("3DBall", 12000, 1.237, 2.5),
        ),
        (
            "[INFO] My.Ball. Step: 60. Time Elapsed: 0.1 s. Mean Reward: -0.500. Mean Group Reward: 3.000. Training.",
            SummaryLine("My.Ball", 60, -0.5, 2.5),
        ),
        (
            "[INFO] 3DBall. Step: 60. Time Elapsed: 0.1 s. Rank: 0. Mean Reward: 7.000. Std of Reward: 1.0. Training.",
            SummaryLine("3DBall", 60, 7.0, 2.5),
        ),
        (
            "[INFO] 3DBall. Step: 60. Time Elapsed: 0.1 s. No episode was completed since last summary. Training.",
            SummaryLine("3DBall", 60, None, 2.5),
        ),
        (
            "2026-01-02 03:04:05 [INFO] 3DBall. Step: 60. Time Elapsed: 0.1 s. Mean Reward: 7.000. Std of Reward: 1.0."
            " Not Training.",
            SummaryLine("3DBall", 60, 7.0, 2.5),
        ),
        ("[INFO] Connected new brain: 3DBall?team=0", None),
        ("[INFO] Exported results/run/3DBall/3DBall-12000.onnx", None),
        ("", None),
    ],
)
def test_summary_lines_of_both_trainers_are_read(line, expected):
    assert parse_summary(line, 2.5) == expected


def test_a_summary_of_our_console_is_read(capsys):
    from trainers.console import summary_line
    from trainers.report import Summary

    line = "[INFO] " + summary_line(Summary("3DBall", 24000, 95.25, 1.0, None, 12, 30.0, True))
    assert parse_summary(line) == SummaryLine("3DBall", 24000, 95.25, 0.0)


def test_speed_is_counted_between_the_first_and_the_last_summary():
    run = made_up_run((12000, 1.0, 10.0), (24000, 2.0, 15.0), (36000, 96.0, 20.0))
    run.seconds = 24.0
    assert run.steps_per_second() == 24000 / 10
    assert run.steps_per_second_overall() == 1500
    assert run.reached(95.0) == SummaryLine("3DBall", 36000, 96.0, 20.0)
    assert run.reached(97.0) is None


def made_up_run(*summaries: tuple[int, float, float]) -> TrainerRun:
    """(step, mean reward, seconds) of each summary."""
    lines = [SummaryLine("3DBall", step, mean, seconds) for step, mean, seconds in summaries]
    return TrainerRun(lines, connected_seconds=2.0, seconds=lines[-1].seconds + 1.0, exit_code=0)


# ---- watching a program ----

SUMMARY = "[INFO] 3DBall. Step: {}. Time Elapsed: 1.0 s. Mean Reward: 96.000. Std of Reward: 1.000. Training."
PROGRAM = f"""
import subprocess, sys, time
print("[INFO] Connected new brain: 3DBall?team=0", flush=True)
print({SUMMARY!r}.format(12000), flush=True)
if "stay" in sys.argv:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    print("child", child.pid, flush=True)
    time.sleep(60)
sys.exit(3)
"""


def program(*arguments):
    return [sys.executable, "-c", PROGRAM, *arguments]


def test_a_program_is_watched_to_its_end():
    run = watch(program(), limit=30)
    assert run.exit_code == 3
    assert [line.step for line in run.summaries] == [12000]
    assert 0 < run.connected_seconds <= run.summaries[0].seconds <= run.seconds < 30


def test_a_program_is_ended_with_its_children_when_that_was_seen_which_was_waited_for():
    run = watch(program("stay"), limit=30, until=lambda run: run.lines[-1].startswith("child"))
    assert run.exit_code is None
    assert run.seconds < 20
    assert not is_running(int(run.lines[-1].split()[1]))


def test_a_program_that_takes_too_long_is_ended_with_its_children():
    seen = []
    with pytest.raises(UsageError, match=r"did not end within 3 s: .*child \d+"):
        watch(program("stay"), limit=3, until=lambda run: seen.append(run.lines[-1]))
    assert not is_running(int(seen[-1].split()[1]))


def test_a_program_that_is_not_there_is_named():
    with pytest.raises(UsageError, match="no-such-program cannot be started: "):
        watch(["/no-such-program"], limit=3)


def test_a_program_gets_the_environment_that_it_is_given(monkeypatch):
    monkeypatch.setenv("BENCH_TEST", "mine")
    code = "import os; print(os.environ.get('BENCH_TEST'), os.environ.get('PYTHONDONTWRITEBYTECODE'))"
    environment = {**os.environ, "BENCH_TEST": "given", "PYTHONDONTWRITEBYTECODE": "1"}
    assert watch([sys.executable, "-c", code], limit=30, environment=environment).lines == ["given None"]
    assert watch([sys.executable, "-c", code], limit=30).lines == ["mine None"]
    assert os.environ["BENCH_TEST"] == "mine"


def is_running(pid: int) -> bool:
    if sys.platform == "linux":  # a zombie, which its reaper has yet to collect, does not run
        status = Path(f"/proc/{pid}/stat")
        return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


# ---- comparing ----


def test_the_sides_are_measured_in_turn():
    order, said = [], []

    def side(name):
        return lambda turn: order.append((name, turn)) or turn

    results = alternate(2, {"ours": side("ours"), "peer": side("peer")}, said.append)
    assert order == [("ours", 1), ("peer", 1), ("ours", 2), ("peer", 2)]
    assert results == {"ours": [1, 2], "peer": [1, 2]}
    assert len(said) == 4


def test_ratio_above_one_is_better_for_speeds_and_for_times():
    assert Row("speed", "steps/s", [400, 300, 500], [100, 50, 200], "measured", 2).ratio == 4
    time = Row("time", "s", [10, 20, 40], [60, 60, 60], "measured", 2, less_is_better=True)
    assert time.ratio == 3
    assert time.ratio_spread == (1.5, 6)


def test_json_of_a_row():
    row = Row("speed", "steps/s", [300, 400, 600], [100, 100, 300], "measured", 2, beside="a peer")
    assert row.to_json() == {
        "name": "speed",
        "ours": 400,
        "peer": 100,
        "ratio": 4,
        "unit": "steps/s",
        "goal": None,
        "less_is_better": False,
        "threads": 2,
        "peer_source": "measured",
        "beside": "a peer",
        "rounds": 3,
        "ours_spread": (300, 600),
        "peer_spread": (100, 300),
        "ratio_spread": (2, 4),
        "ours_values": [300, 400, 600],
        "peer_values": [100, 100, 300],
    }


def test_table_marks_a_stored_peer_and_a_missing_one():
    rows = [
        Row("measured", "s", [2.0, 3.0], [6.0, 8.0], "measured", 2, less_is_better=True),
        Row("stored", "steps/s", [4368.0], [1092.0], "stored", 2),
        Row("alone", "s", [0.25], [], None, 2, beside="no such peer"),
        Row("share of grpc floor, 12 agents", "exchanges/s", [900.0], [1000.0], "measured", 2),
    ]
    lines = markdown_table([row.to_json() for row in rows]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["what", "ours", "peer", "ratio", "goal", "unit", "cores", "rounds", "beside"]
    assert cells[2][:4] == ["measured", "2.5 [2 - 3]", "7 [6 - 8]", "2.80 [2.67 - 3.00]"]
    assert cells[3][:4] == ["stored", "4,368", "1,092 *", "4.00"]
    assert cells[4][:4] == ["alone", "0.25", "-", "-"]
    assert cells[4][-1] == "no such peer"
    assert cells[5][1:5] == ["900", "1,000", "0.90", "0.8"]
    assert len({len(line) for line in lines}) == 1  # can be read in a terminal


# ---- the suites, with made-up trainers ----


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """`trained(suite, official, full)` measures trainers that take no time; returns {name: row} and what was run."""

    def run(suite, official_trainer, *, full=False):
        asked = []

        def train(program, configuration, results, *, seed, limit, **options):
            if options.get("agents") is None:
                asked.append((program[0], seed, bool(options.get("in_process"))))
            assert configuration.is_file()
            pace = 4.0 if program[0] == "official-python" else 0.5 if options.get("in_process") else 1.0
            summaries = ((12000, 1.0, 10), (24000, 50.0, 15), (36000, 96.0, 20), (48000, 97.0, 25))
            return made_up_run(*((step, reward, seconds * pace) for step, reward, seconds in summaries))

        monkeypatch.setattr(suite, "train_3dball", train)
        monkeypatch.setattr(suite, "our_program", lambda: ("mlbridge", "learn"))
        monkeypatch.setattr(startup, "_short_programs", lambda _: [])
        measure = training.learn if suite is training else suite.run
        rows = measure(Context(official_trainer, rounds=2, steps=36000, full=full, folder=tmp_path))
        return {row.name: row for row in rows}, asked

    return run


OFFICIAL = Official("official-python", {"mlagents": "1.1.0"})


def test_training_alternates_ours_and_the_official_trainer_with_the_same_seeds(trained):
    rows, asked = trained(training, OFFICIAL)
    sides = [("mlbridge", False), ("official-python", False), ("mlbridge", True)]
    in_turn = [(program, seed, in_process) for seed in (1, 2) for program, in_process in sides]
    assert asked == [*in_turn, ("mlbridge", 1, True), ("mlbridge", 2, True)]
    alone = rows.pop("train 3DBall in process, 12 agents, from mean reward 95 on")
    assert (alone.ours, alone.ratio) == ([4800.0, 4800.0], None)  # 12,000 steps in 2.5 s
    assert {row.peer_source for row in rows.values()} == {"measured"}
    assert rows["train 3DBall over gRPC, 12 agents"].ratio == 4
    assert rows["train 3DBall over gRPC, 100 agents"].ratio == 4
    assert rows["train 3DBall in process, 12 agents (peer over gRPC)"].ratio == 8
    assert not any("95" in name for name in rows)


def test_full_training_tells_time_and_steps_to_95(trained):
    rows, _ = trained(training, OFFICIAL, full=True)
    time = rows["3DBall over gRPC, shell prompt to mean reward 95"]
    assert (time.ours, time.peer, time.ratio) == ([20.0, 20.0], [80.0, 80.0], 4)
    steps = rows["3DBall over gRPC, steps to mean reward 95"]
    assert (steps.ours, steps.peer, steps.ratio) == ([36000, 36000], [36000, 36000], 1)


def test_without_the_official_trainer_the_stored_figures_stand_beside(trained):
    rows, asked = trained(training, None, full=True)
    assert {program for program, _, _ in asked} == {"mlbridge"}
    speed = rows["train 3DBall over gRPC, 12 agents"]
    assert (speed.peer_source, speed.peer) == ("stored", official.STORED_STEPS_PER_SECOND)
    assert rows["3DBall over gRPC, shell prompt to mean reward 95"].peer == official.STORED_SECONDS_TO_95
    assert rows["train 3DBall over gRPC, 12 agents, start and export included"].peer_source is None
    assert "mlagents-learn was not found" in rows["train 3DBall over gRPC, 100 agents"].beside


def test_only_max_steps_differs_from_the_configuration_of_ml_agents(tmp_path):
    import yaml

    whole = yaml.safe_load(training.write_configuration(tmp_path / "whole.yaml", None).read_text())
    short = yaml.safe_load(training.write_configuration(tmp_path / "short.yaml", 36000).read_text())
    assert whole["behaviors"]["3DBall"].pop("max_steps") == 500000
    assert short["behaviors"]["3DBall"].pop("max_steps") == 36000
    assert short == whole


def test_a_run_that_never_gets_to_95_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(training, "SOLVED", 97.0)
    monkeypatch.setattr(training, "train_3dball", lambda *_, **__: made_up_run((12000, 1.0, 1.0), (24000, 96.0, 2.0)))
    with pytest.raises(UsageError, match="3DBall in process with seed 1 did not reach 97 in time"):
        training.learn(Context(None, rounds=1, steps=24000, full=False, folder=tmp_path))
    monkeypatch.setattr(training, "_in_process_once_solved", lambda _: None)
    with pytest.raises(UsageError, match="seed 1 and did not reach 97"):
        training.learn(Context(None, rounds=1, steps=24000, full=True, folder=tmp_path))


def test_startup_is_measured_with_an_empty_and_a_filled_cache(trained):
    rows, asked = trained(startup, OFFICIAL)
    assert [program for program, _, _ in asked] == ["mlbridge", "mlbridge", "official-python"] * 2
    assert rows["3DBall over gRPC, shell prompt to first agents"].peer == [2.0, 2.0]
    assert rows["3DBall over gRPC, shell prompt to first summary, 12,000 agent steps"].ratio == 4
    assert rows["3DBall over gRPC, shell prompt to first agents, numba's cache empty"].peer_source is None


# ---- finding the official trainer ----


def test_no_official_trainer_unless_one_is_given(monkeypatch):
    monkeypatch.delenv(official.VARIABLE, raising=False)
    assert find_official(None) is None
    monkeypatch.setenv(official.VARIABLE, "")
    assert find_official(None) is None


def test_a_python_that_is_not_there_is_named():
    with pytest.raises(UsageError, match=r"--peer-python /no-such-python: cannot be run"):
        find_official("/no-such-python")


def test_a_python_without_mlagents_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setenv(official.VARIABLE, sys.executable)
    with pytest.raises(UsageError, match=rf"{official.VARIABLE}=.*does not import there.*mlagents.*make bench"):
        find_official(None)


# ---- the command ----


@pytest.fixture
def fake_suite(monkeypatch):
    """A suite `fake`, the only one there is, with one row beside a stored peer."""
    rows = [Row("speed of nothing", "steps/s", [300.0, 400.0, 600.0], [100.0], "stored", 2)]
    module = types.ModuleType("trainers.benchmarks.fake")
    module.run = lambda context: rows
    monkeypatch.setitem(sys.modules, "trainers.benchmarks.fake", module)
    for known in (benchmarks.SUITES, benchmarks.PARTS):
        for name in list(known):
            monkeypatch.delitem(known, name)
    monkeypatch.setitem(benchmarks.SUITES, "fake", "measures nothing")
    monkeypatch.delenv(official.VARIABLE, raising=False)


def test_json_tells_machine_versions_commit_and_date(fake_suite, tmp_path, capsys):
    assert commands.main(["bench", "--json", str(tmp_path / "bench.json")]) == 0
    report = json.loads((tmp_path / "bench.json").read_text())
    (row,) = report["rows"]
    assert (row["name"], row["ours"], row["peer"], row["ratio"]) == ("speed of nothing", 400, 100, 4)
    assert (row["unit"], row["threads"], row["peer_source"]) == ("steps/s", 2, "stored")
    assert set(report["machine"]) == {"cpu", "cores", "memory_gib", "system"}
    assert report["machine"]["cores"] >= 1
    assert report["machine"]["memory_gib"] > 0
    assert report["versions"]["Python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"commit", "modified", "date"} <= set(report)
    assert report["peer_versions"] is None
    assert report["load"] is None or all(load >= 0 for load in report["load"])
    assert row["suite"] == "fake"


def test_the_table_is_printed_and_written_and_says_what_is_stored(fake_suite, tmp_path, capsys):
    assert commands.main(["bench", "--only", "fake", "--markdown", str(tmp_path / "bench.md")]) == 0
    printed = capsys.readouterr().out
    assert "100 *" in printed
    assert "\\* Stored figures of mlagents-learn 1.1.0" in printed
    assert "another machine" in printed
    assert (tmp_path / "bench.md").read_text() == printed


def test_a_suite_that_cannot_be_measured_does_not_cost_the_others_their_figures(fake_suite, monkeypatch, capsys):
    def fail(_):
        raise UsageError("no library")

    module = types.ModuleType("trainers.benchmarks.broken")
    module.run = fail
    monkeypatch.setitem(sys.modules, "trainers.benchmarks.broken", module)
    monkeypatch.setitem(benchmarks.SUITES, "broken", "measures nothing")
    assert commands.main(["bench", "--only", "broken", "--only", "fake"]) == 1
    text = capsys.readouterr().out
    assert "Not measured: broken: no library" in text
    assert "speed of nothing" in text
    assert commands.main(["bench", "--only", "broken"]) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "fakes"], "--only fakes: there is no such suite, did you mean 'fake'? (suites: fake)"),
        (["--rounds", "0"], "--rounds 0: must be 1 or more"),
        (["--steps", "12000"], "--steps 12000: must be 24000 or more"),
        (["--json", "no-such-folder/a.json"], "--json no-such-folder/a.json: there is no folder no-such-folder"),
        (["--markdown", "."], "--markdown .: this is a folder"),
    ],
)
def test_a_mistake_is_told_in_one_line_before_anything_is_measured(fake_suite, words, message, capsys):
    assert commands.main(["bench", *words]) == 2
    output = capsys.readouterr()
    assert output.err.startswith(f"mlbridge bench: error: {message}")
    assert output.err.count("\n") == 1
    assert output.out == ""


def test_help_names_the_suites_that_there_are(capsys):
    with pytest.raises(SystemExit):
        commands.main(["bench", "--help"])
    text = capsys.readouterr().out
    assert "training" in text
    assert "startup" in text
