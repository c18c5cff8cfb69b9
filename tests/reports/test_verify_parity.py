"""The arithmetic of the report that compares learning curves, and that a report that was cut off goes on."""

import importlib
from pathlib import Path

import pytest

from trainers.benchmarks.official import Official
from trainers.benchmarks.trainer_process import SummaryLine, TrainerRun
from trainers.errors import UsageError
from trainers.report import Report

PEER = Official("python3.10", {"mlagents": "1.1.0"})


@pytest.fixture
def parity(monkeypatch):
    """The script as a module."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("verify_parity")


def curve_of(*rewards, interval=1000):
    """Points at `interval`, twice that and so on, a second each; a reward None leaves its point out."""
    return [
        {"step": interval * number, "mean_reward": reward, "seconds": float(number)}
        for number, reward in enumerate(rewards, start=1)
        if reward is not None
    ]


def runs_of(trainer, *curves):
    return [{"trainer": trainer, "seed": seed, "curve": curve} for seed, curve in enumerate(curves, start=1)]


def test_the_median_curve_has_the_steps_at_which_every_seed_has_a_summary(parity):
    curves = [curve_of(1.0, 5.0, 9.0), curve_of(2.0, None, 7.0), curve_of(6.0, 5.0, 8.0, 9.0)]
    assert parity.median_curve(curves) == [{"step": 1000, "mean_reward": 2.0}, {"step": 3000, "mean_reward": 8.0}]


def test_the_first_summary_counts_even_if_a_later_one_falls_back(parity):
    assert parity.first_reaching(curve_of(10.0, 95.0, 60.0, 100.0), 95.0)["step"] == 2000
    assert parity.first_reaching(curve_of(10.0, 94.9), 95.0) is None


@pytest.mark.parametrize(
    ("steps", "expected"),
    [([3000, 1000, 2000], 2000), ([None, 1000, 2000], 2000), ([None, 1000, None], None), ([1000, None], None)],
)
def test_a_seed_that_never_gets_there_is_above_every_other_in_the_median(parity, steps, expected):
    assert parity.median(steps) == expected


@pytest.mark.parametrize(
    ("ours", "official", "passed"),
    [(2000, 2000, True), (3000, 2000, True), (3001, 2000, False), (None, 2000, False), (2000, None, True)],
)
def test_ours_may_be_one_summary_behind(parity, ours, official, passed):
    assert parity.no_worse(ours, official, 1000) is passed


def test_both_trainers_are_measured_at_95_percent_of_the_best_median_of_either(parity):
    ours = runs_of(parity.OURS, curve_of(10, 96, 100), curve_of(20, 90, 98), curve_of(30, 40, 99))
    official = runs_of(parity.OFFICIAL, curve_of(10, 50, 96), curve_of(100, 20, 90), curve_of(20, 94, 98))
    figures = parity.compare("World", 1000, ours + official)
    # Median curves: 20, 90, 99 and 20, 50, 96. The lucky 100 of single seeds are none of their points.
    assert figures["best"] == 99
    assert figures["target"] == pytest.approx(94.05)
    assert figures["trainers"][parity.OURS]["steps"] == [2000, 3000, 3000]
    assert figures["trainers"][parity.OFFICIAL]["steps"] == [3000, 1000, 3000]
    assert figures["trainers"][parity.OFFICIAL]["best_of_median_curve"] == 96
    assert figures["trainers"][parity.OURS]["median_seconds"] == 3.0
    assert figures["passed"] is True


def test_two_summaries_more_than_the_official_trainer_are_too_many(parity):
    ours = runs_of(parity.OURS, curve_of(0, 0, 100))
    official = runs_of(parity.OFFICIAL, curve_of(100, 100, 100))
    assert parity.compare("World", 1000, ours + official)["passed"] is False
    assert parity.compare("World", 2000, ours + official)["passed"] is True


def test_a_best_reward_below_zero_is_refused(parity):
    with pytest.raises(UsageError, match="World: the best reward is -1"):
        parity.compare("World", 1000, runs_of(parity.OURS, curve_of(-2)) + runs_of(parity.OFFICIAL, curve_of(-1)))


def test_a_training_is_kept_and_taken_again_only_with_the_same_settings(parity, tmp_path, monkeypatch):
    commands = []

    def watch(command, **_options):
        commands.append(command)
        report = Report(tmp_path / "3DBall-mlagents-learn-1" / "run" / "3DBall", "3DBall")
        report.episodes([1.0, 2.0], [5, 5])
        report.write(6000, True)
        report.close()
        return TrainerRun([SummaryLine("3DBall", 6000, 1.5, 3.456)], seconds=9.0, exit_code=0)

    monkeypatch.setattr(parity, "watch", watch)
    environment = parity.Environment("3DBall", "3DBall", ("--agents", "2"), max_steps=12_000, summary_freq=6000)
    arguments = [parity.OFFICIAL, 1, tmp_path, PEER, {"date": "2026-01-01"}]
    run = parity.run_or_reuse(environment, *arguments, True)  # nothing is there yet
    assert run["curve"] == [{"step": 6000, "mean_reward": 1.5, "seconds": 3.46}]
    assert commands[0][:3] == ["python3.10", "-m", "mlagents.trainers.learn"]
    assert commands[0][-3:] == ["--env-args", "--agents", "2"]
    assert "max_steps: 12000" in Path(commands[0][3]).read_text(encoding="utf-8")

    assert parity.run_or_reuse(environment, *arguments, True) == run
    assert len(commands) == 1
    assert parity.kept_runs(environment, tmp_path, PEER) == [run]
    assert parity.kept_runs(environment, tmp_path, Official("python3.10", {"mlagents": "1.0.0"})) == []
    parity.run_or_reuse(environment, *arguments, False)
    assert len(commands) == 2
    assert len(parity.kept_runs(environment, tmp_path, PEER)) == 1
    longer = parity.Environment("3DBall", "3DBall", ("--agents", "2"), max_steps=18_000, summary_freq=6000)
    parity.run_or_reuse(longer, *arguments, True)
    assert len(commands) == 3


def test_a_trainer_that_fails_is_named_with_its_last_words(parity, tmp_path, monkeypatch):
    monkeypatch.setattr(parity, "watch", lambda *_, **__: TrainerRun(exit_code=1, lines=["no such player"]))
    with pytest.raises(UsageError, match=r"mlbridge learn ended with exit code 1: .*no such player"):
        parity.run_or_reuse(parity.ENVIRONMENTS[0], parity.OURS, 1, tmp_path, PEER, {}, False)
    assert not list(tmp_path.glob("*.json"))
