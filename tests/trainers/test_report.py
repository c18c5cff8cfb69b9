"""Reports, read back with TensorBoard's own reader."""

import enum
import math

import numpy as np
import pytest

from trainers.report import HYPERPARAMETERS, Report, Summary, hyperparameters_markdown
from trainers.timers import Timers

REWARD = "Environment/Cumulative Reward"


@pytest.fixture
def read():
    """`read(folder)`: TensorBoard's view of the event files of a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def load(folder):
        return EventAccumulator(str(folder)).Reload()

    return load


@pytest.fixture
def report(tmp_path):
    report = Report(tmp_path, "3DBall")
    yield report
    report.close()


def scalars(events, tag):
    return [(event.step, pytest.approx(event.value)) for event in events.Scalars(tag)]


def test_a_summary_has_mlagents_tags_at_its_step(report, read, tmp_path):
    report.episodes(np.array([1.0, 3.0]), np.array([25, 11]))
    report.add("Losses/Policy Loss", 0.25)
    report.add("Losses/Policy Loss", 0.75)
    report.add_array("Policy/Extrinsic Value Estimate", np.array([[1.0, 2.0], [3.0, 6.0]], dtype=np.float32))
    report.write(12000, is_training=True)
    events = read(tmp_path)
    assert scalars(events, REWARD) == [(12000, 2.0)]
    assert scalars(events, "Environment/Episode Length") == [(12000, 17.0)]  # (24 + 10) / 2: decisions - 1
    assert scalars(events, "Losses/Policy Loss") == [(12000, 0.5)]
    assert scalars(events, "Policy/Extrinsic Value Estimate") == [(12000, 3.0)]
    (histogram,) = events.Histograms(REWARD + "_hist")
    value = histogram.histogram_value
    assert (histogram.step, value.num, value.min, value.max, value.sum) == (12000, 2, 1.0, 3.0, 4.0)


def test_the_summary_tells_mean_and_population_deviation(report):
    report.episodes([1.0], [5])
    report.episodes([2.0, 6.0], [5, 5])
    summary = report.write(2000, is_training=True)
    assert summary.behavior_name == "3DBall"
    assert (summary.step, summary.episodes, summary.is_training) == (2000, 3, True)
    assert summary.mean_reward == 3.0
    assert summary.std_reward == pytest.approx(math.sqrt(14 / 3))  # (4 + 1 + 9) / 3
    assert summary.mean_group_reward is None
    assert report.last_summary is summary


def test_without_episodes_the_summary_has_no_reward_and_nothing_is_written(report, read, tmp_path):
    report.episodes(np.empty(0), np.empty(0, dtype=np.int64))
    report.add("Policy/Entropy", 1.4)
    summary = report.write(1000, is_training=False)
    expected = Summary("3DBall", 1000, None, None, None, 0, summary.seconds_elapsed, False)
    assert summary == expected
    tags = read(tmp_path).Tags()["scalars"]
    assert [tag for tag in tags if not tag.startswith("Performance/")] == ["Policy/Entropy"]


def test_each_summary_starts_anew_and_losses_appear_only_after_an_update(report, read, tmp_path):
    report.episodes([10.0], [5])
    report.add("Losses/Value Loss", 4.0)
    report.write(1000, True)
    report.episodes([20.0], [5])
    report.write(2000, True)
    events = read(tmp_path)
    assert scalars(events, REWARD) == [(1000, 10.0), (2000, 20.0)]
    assert scalars(events, "Losses/Value Loss") == [(1000, 4.0)]


def test_what_was_written_can_be_read_before_the_report_is_closed(report, read, tmp_path):
    report.add("Policy/Entropy", 1.0)
    report.write(1000, True)
    report.add("Policy/Entropy", 2.0)
    assert scalars(read(tmp_path), "Policy/Entropy") == [(1000, 1.0)]


def test_values_are_copied_so_that_the_caller_may_reuse_its_buffer(report):
    rewards, lengths = np.array([1.0]), np.array([5])
    report.episodes(rewards, lengths)
    rewards[0] = 100.0
    assert report.write(1000, True).mean_reward == 1.0


def test_group_rewards_have_a_tag_and_a_histogram_of_their_own(report, read, tmp_path):
    report.episodes([1.0, 2.0], [5, 5], group_rewards=[7.0])
    assert report.write(1000, True).mean_group_reward == 7.0
    events = read(tmp_path)
    assert scalars(events, "Environment/Group Cumulative Reward") == [(1000, 7.0)]
    assert "Environment/Group Cumulative Reward_hist" in events.Tags()["histograms"]


def test_player_statistics_are_aggregated_as_the_player_asks(report, read, tmp_path):
    kind = enum.Enum("StatsAggregationMethod", {"AVERAGE": 0, "MOST_RECENT": 1, "SUM": 2, "HISTOGRAM": 3})
    report.player_statistics({"Env/Average": [(1.0, 0), (2.0, 0)], "Env/Recent": [(1.0, 1), (2.0, 1)]})
    report.player_statistics({"Env/Sum": [(1.0, 2)], "Env/Histogram": [(1.0, kind.HISTOGRAM), (4.0, kind.HISTOGRAM)]})
    report.player_statistics(
        {"Env/Average": [(6.0, 0)], "Env/Recent": [(9.0, kind.MOST_RECENT)], "Env/Sum": [(5.0, 2)]}
    )
    report.write(1000, True)
    events = read(tmp_path)
    assert scalars(events, "Env/Average") == [(1000, 3.0)]
    assert scalars(events, "Env/Recent") == [(1000, 9.0)]
    assert scalars(events, "Env/Sum") == [(1000, 6.0)]
    assert scalars(events, "Env/Histogram") == [(1000, 2.5)]
    assert events.Tags()["histograms"] == ["Env/Histogram_hist"]


def test_a_player_may_use_the_reward_tag_itself(report):
    report.player_statistics({REWARD: [(5.0, 0)]})
    summary = report.write(1000, True)
    assert (summary.mean_reward, summary.std_reward) == (5.0, 0.0)


def test_a_resumed_run_hides_the_events_beyond_the_saved_step_even_within_the_same_second(read, tmp_path):
    first = Report(tmp_path, "3DBall")
    for step in (1000, 2000, 3000, 4000):  # saved at 2000, then killed
        first.add("Policy/Entropy", step)
        first.write(step, True)
    first.close()
    second = Report(tmp_path, "3DBall", resume_step=2000)
    second.text(HYPERPARAMETERS, "again")
    second.add("Policy/Entropy", -3.0)
    second.write(3000, True)
    second.close()
    events = read(tmp_path)
    assert scalars(events, "Policy/Entropy") == [(1000, 1000.0), (2000, 2000.0), (3000, -3.0)]
    assert [event.step for event in events.Tensors(HYPERPARAMETERS)] == [2000]


def test_values_that_are_not_finite_are_shown_and_stop_nothing(report, read, tmp_path):
    report.episodes([math.nan, 1.0], [5, 5])
    assert math.isnan(report.write(1000, True).mean_reward)
    report.episodes([math.inf, math.nan], [5, 5])
    assert math.isnan(report.write(2000, True).mean_reward)
    events = read(tmp_path)
    assert [event.step for event in events.Scalars(REWARD)] == [1000, 2000]
    assert [event.step for event in events.Histograms(REWARD + "_hist")] == [1000]  # no finite value at 2000


def test_timers_receive_every_statistic_as_gauges_and_give_the_elapsed_time(tmp_path):
    now = 0
    timers = Timers(clock=lambda: now)
    report = Report(tmp_path, "3DBall", timers=timers)
    now = 6_587_000_000
    report.episodes([1.0, 2.0], [5, 5])
    assert report.write(1000, True).seconds_elapsed == 6.587
    report.close()
    gauges = timers.to_dict()["gauges"]
    assert gauges["3DBall.Environment.CumulativeReward.mean"]["value"] == 1.5
    assert gauges["3DBall.Environment.CumulativeReward.sum"]["value"] == 3.0


def test_hyperparameters_are_a_markdown_table_in_the_text_tab(report, read, tmp_path):
    settings = {
        "trainer_type": "ppo",
        "hyperparameters": {"batch_size": 64, "learning_rate": 0.0003},
        "init_path": None,
    }
    table = hyperparameters_markdown(settings)
    assert table.splitlines() == [
        "| setting | value |",
        "|:---|:---|",
        "| trainer_type | ppo |",
        "| hyperparameters.batch_size | 64 |",
        "| hyperparameters.learning_rate | 0.0003 |",
        "| init_path | None |",
    ]
    report.text("Hyperparameters/text_summary", table)
    (event,) = read(tmp_path).Tensors("Hyperparameters/text_summary")
    assert (event.step, event.tensor_proto.string_val[0].decode()) == (0, table)


def test_a_value_cannot_break_the_table():
    assert hyperparameters_markdown({"name": "a|b\nc", "empty": {}}).splitlines()[2:] == [
        "| name | a\\|b c |",
        "| empty | {} |",
    ]


# ---- CSV ----


def rows(path):
    lines = path.read_text().splitlines()
    assert lines[0] == "step,tag,value"
    return [(int(step), tag, float(value)) for step, tag, value in (line.split(",") for line in lines[1:])]


def test_scalars_stand_in_a_csv_file_as_well(read, tmp_path):
    path = tmp_path / "logs" / "3DBall.csv"
    report = Report(tmp_path, "3DBall", scalars=path)
    for step, entropy in ((1000, 1.25), (2000, 1.5)):
        report.add("Policy/Entropy", entropy)
        report.write(step, True)
    report.close()
    written = rows(path)
    assert [row for row in written if row[1] == "Policy/Entropy"] == [
        (1000, "Policy/Entropy", 1.25),
        (2000, "Policy/Entropy", 1.5),
    ]
    events = read(tmp_path)
    for tag in events.Tags()["scalars"]:
        shown = [(event.step, tag, pytest.approx(event.value, rel=1e-6)) for event in events.Scalars(tag)]
        assert [row for row in written if row[1] == tag] == shown


def test_a_resumed_run_goes_on_in_the_csv_file(tmp_path):
    path = tmp_path / "3DBall.csv"

    def run(resume_step, *steps):
        report = Report(tmp_path, "3DBall", resume_step=resume_step, scalars=path)
        for step in steps:
            report.add("Policy/Entropy", resume_step)
            report.write(step, True)
        report.close()
        return [(step, value) for step, tag, value in rows(path) if tag == "Policy/Entropy"]

    assert run(0, 1000, 2000, 3000) == [(1000, 0.0), (2000, 0.0), (3000, 0.0)]
    assert run(2000, 3000, 4000) == [(1000, 0.0), (2000, 0.0), (3000, 2000.0), (4000, 2000.0)]
    assert run(0, 1000) == [(1000, 0.0)]
