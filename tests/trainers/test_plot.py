"""Learning curves from real event files."""

import argparse
import sys

import numpy as np
import pytest

from trainers.commands import plot
from trainers.curves import smooth, together
from trainers.errors import UsageError
from trainers.report import Report

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def write_run():
    """`write_run(folder, behavior, {step: rewards})` writes one event file, as a training does."""

    def write(folder, behavior, rewards_by_step, resume_step=0):
        report = Report(folder / behavior, behavior, resume_step=resume_step)
        for step, rewards in rewards_by_step.items():
            report.episodes(rewards, [5] * len(rewards))
            report.write(step, True)
        report.close()
        # Files of the same second have no order by name; a real run takes longer than these.
        for number, path in enumerate(sorted(path for path in (folder / behavior).iterdir())):
            path.rename(path.with_name(f"events.out.tfevents.{number:010d}.{'0' * 5}"))

    return write


@pytest.fixture
def mlbridge_plot():
    """`mlbridge_plot(*arguments)`: the command without its dispatcher."""

    def run(*arguments):
        parser = argparse.ArgumentParser()
        plot.add_arguments(parser)
        return plot.run(parser.parse_args([str(argument) for argument in arguments]))

    return run


def as_lists(curves):
    return {name: (steps.tolist(), values.tolist()) for name, (steps, values) in curves.items()}


def test_a_curve_has_steps_and_mean_rewards_of_each_behavior(tmp_path, write_run):
    write_run(tmp_path, "3DBall", {1000: [1.0, 3.0], 2000: [4.0]})
    write_run(tmp_path, "CubeMover", {500: [7.0]})
    (tmp_path / "run_logs").mkdir()
    assert as_lists(plot.read_curve(tmp_path)) == {
        "3DBall": ([1000, 2000], [2.0, 4.0]),
        "CubeMover": ([500], [7.0]),
    }


def test_another_tag_can_be_read_and_a_behavior_folder_will_do(tmp_path, write_run):
    write_run(tmp_path, "3DBall", {1000: [1.0]})
    curves = plot.read_curve(tmp_path / "3DBall", "Environment/Episode Length")
    assert as_lists(curves) == {"3DBall": ([1000], [4.0])}


def test_a_resumed_run_is_one_curve_without_what_was_lost(tmp_path, write_run):
    write_run(tmp_path, "3DBall", {1000: [1.0], 2000: [2.0], 3000: [3.0], 5000: [5.0]})
    write_run(tmp_path, "3DBall", {3000: [30.0], 4000: [40.0]}, resume_step=2000)
    assert as_lists(plot.read_curve(tmp_path)) == {"3DBall": ([1000, 2000, 3000, 4000], [1.0, 2.0, 30.0, 40.0])}


def test_without_a_mark_of_resuming_the_later_file_wins_on_equal_steps(tmp_path, write_run):
    write_run(tmp_path, "3DBall", {1000: [1.0], 2000: [2.0], 3000: [3.0]})
    write_run(tmp_path, "3DBall", {2000: [20.0]})  # as ML-Agents itself resumes
    assert as_lists(plot.read_curve(tmp_path)) == {"3DBall": ([1000, 2000, 3000], [1.0, 20.0, 3.0])}


def test_a_file_cut_off_in_the_middle_is_read_up_to_there(tmp_path, write_run):
    write_run(tmp_path, "3DBall", {1000: [1.0], 2000: [2.0]})
    (events,) = (tmp_path / "3DBall").iterdir()
    events.write_bytes(events.read_bytes()[:-20])
    steps, _ = plot.read_curve(tmp_path)["3DBall"]
    assert 1000 in steps


def test_the_band_is_the_standard_deviation_of_the_episodes():
    rewards = np.array([1.0, 2.0, 6.0])

    class Histogram:
        num, sum, sum_squares = 3, rewards.sum(), (rewards**2).sum()

    assert plot._standard_deviation(Histogram) == pytest.approx(rewards.std())


def test_the_command_writes_a_png_into_the_run_folder_and_says_where(tmp_path, write_run, mlbridge_plot, capsys):
    write_run(tmp_path, "3DBall", {1000: [1.0, 3.0], 2000: [4.0]})
    assert mlbridge_plot(tmp_path) == 0
    picture = tmp_path / "learning_curve.png"
    assert picture.read_bytes().startswith(PNG)
    assert capsys.readouterr().out == f"Learning curve written to {picture}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3DBall", "learning_curve.png"]  # no temporary file


def test_several_runs_go_into_one_picture_with_a_name_each(tmp_path, write_run, mlbridge_plot):
    pytest.importorskip("matplotlib")
    for name in ("first", "second"):
        write_run(tmp_path / name, "3DBall", {1000: [1.0], 2000: [2.0]})
    output = tmp_path / "new folder" / "$both$.svg"
    assert mlbridge_plot(tmp_path / "first", tmp_path / "second", "--output", output) == 0
    assert output.read_text().count("<!-- first -->") == 1  # the legend's texts stand in comments
    assert output.read_text().count("<!-- second -->") == 1
    assert "<!-- Learning curves of 3DBall -->" in output.read_text()


def test_labels_say_what_tells_the_curves_apart(tmp_path):
    curve = (np.array([1]), np.array([1.0]))
    a, b, other_a = tmp_path / "a", tmp_path / "b", tmp_path / "x" / "a"

    def labels(curves):
        return [label for label, _, _ in plot._labels(curves)]

    assert labels({a: {"Wall": curve, "Push": curve}}) == ["Wall", "Push"]
    assert labels({a: {"Wall": curve}, b: {"Wall": curve}}) == ["a", "b"]
    assert labels({a: {"Wall": curve}, b: {"Push": curve}}) == ["a / Wall", "b / Push"]
    assert labels({a: {"Wall": curve}, other_a: {"Wall": curve}}) == [str(a), str(other_a)]


def test_awkward_curves_can_be_drawn(tmp_path):
    curves = {"_hidden $x": (np.array([0]), np.array([np.nan])), "empty": (np.empty(0), np.empty(0))}
    curves |= {f"curve {index}": (np.array([1, 2]), np.array([0.0, index])) for index in range(20)}
    output = tmp_path / "all.PNG"
    plot.draw(curves, output, spreads={"curve 1": (np.array([2]), np.array([0.5]))}, title="$ and _", y_label="$")
    assert output.read_bytes().startswith(PNG)


def test_no_such_folder_is_named(tmp_path, mlbridge_plot):
    with pytest.raises(UsageError, match=r"nowhere: no such folder"):
        mlbridge_plot(tmp_path / "nowhere")


def test_a_folder_without_events_is_named(tmp_path, mlbridge_plot):
    (tmp_path / "run" / "3DBall").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"run has no TensorBoard events"):
        mlbridge_plot(tmp_path / "run")


def test_an_unknown_tag_gets_a_hint(tmp_path, write_run, mlbridge_plot):
    write_run(tmp_path, "3DBall", {1000: [1.0]})
    with pytest.raises(UsageError, match=r"'Environment/Cumulative Rewards'.*'Environment/Cumulative Reward'"):
        mlbridge_plot(tmp_path, "--tag", "Environment/Cumulative Rewards")


def test_a_name_that_is_no_picture_is_refused(tmp_path, write_run, mlbridge_plot):
    write_run(tmp_path, "3DBall", {1000: [1.0]})
    with pytest.raises(UsageError, match=r"curve\.xyz: .*\.png, \.svg, \.pdf"):
        mlbridge_plot(tmp_path, "--output", tmp_path / "curve.xyz")


def test_a_place_that_cannot_be_written_is_named(tmp_path, write_run, mlbridge_plot):
    write_run(tmp_path, "3DBall", {1000: [1.0]})
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write .*file.curve\.png"):
        mlbridge_plot(tmp_path, "--output", tmp_path / "file" / "curve.png")


def test_without_matplotlib_the_extra_is_named(tmp_path, write_run, mlbridge_plot, monkeypatch):
    write_run(tmp_path, "3DBall", {1000: [1.0]})
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"pip install 'mlagents-bridge\[plot\]'"):
        mlbridge_plot(tmp_path)


# ---- seeds and smoothing ----


def test_seeds_are_one_curve_of_medians_from_the_lowest_to_the_highest():
    steps = np.array([0, 10, 20])
    curves = [(steps, np.array([0.0, 1.0, 2.0])), (steps, np.array([4.0, 5.0, 9.0]))]
    curves.append((np.array([0, 20, 40]), np.array([1.0, 3.0, 7.0])))  # at 10 it is between its points, at 2
    (shared, medians), low, high = together(curves)
    assert shared.tolist() == [0, 10, 20]  # the others do not reach 40
    assert (medians.tolist(), low.tolist(), high.tolist()) == ([1, 2, 3], [0, 1, 2], [4, 5, 9])
    with pytest.raises(ValueError, match="no steps in common"):
        together([(np.array([1]), np.array([1.0])), (np.array([2]), np.array([1.0]))])


def test_smoothing_is_that_of_tensorboard():
    steps, values = smooth((np.array([1, 2, 3, 4]), np.array([1.0, 3.0, np.nan, 0.0])), 0.5)
    assert steps.tolist() == [1, 2, 3, 4]
    assert values.tolist() == pytest.approx([1, (3 + 0.5) / 1.5, 3.5 / 1.5, (3.5 / 2) / 1.75])
    curve = (np.array([1]), np.array([5.0]))
    assert smooth(curve, 0.0) is curve


def test_groups_and_what_stays_alone_are_drawn_together(tmp_path, write_run, mlbridge_plot, monkeypatch):
    for name, reward in (("old-1", 1.0), ("old-2", 3.0), ("new_7", 8.0), ("new_8", 10.0), ("random", 0.0)):
        write_run(tmp_path / name, "3DBall", {100: [reward], 200: [reward + 1]})
    drawn = {}
    monkeypatch.setattr(plot, "draw", lambda curves, output, **options: drawn.update(options, curves=curves))
    runs = [tmp_path / name for name in ("old-1", "old-2", "new_7", "new_8", "random")]
    assert mlbridge_plot(*runs, "--group", "old", "--group", "new_", "--smoothing", 0.5) == 0
    assert list(drawn["curves"]) == ["old (2 runs)", "new (2 runs)", "random"]
    assert drawn["curves"]["old (2 runs)"][1].tolist() == pytest.approx([2, 2 + 1 / 1.5])
    assert drawn["bands"]["new (2 runs)"][0].tolist() == pytest.approx([8, 8 + 1 / 1.5])
    assert list(drawn["spreads"]) == ["random"]
    monkeypatch.undo()
    assert mlbridge_plot(*runs, "--group", "old", "--output", tmp_path / "x.svg") == 0
    assert "<svg" in (tmp_path / "x.svg").read_text()


def test_mistakes_of_groups_and_smoothing_are_told(tmp_path, write_run, mlbridge_plot):
    write_run(tmp_path / "old-1", "3DBall", {100: [1.0]})
    write_run(tmp_path / "old-2", "3DBall", {200: [1.0]})
    with pytest.raises(UsageError, match="--group odl: no run's name begins so; the runs are old-1"):
        mlbridge_plot(tmp_path / "old-1", "--group", "odl")
    with pytest.raises(UsageError, match="--group old: they have no steps in common"):
        mlbridge_plot(tmp_path / "old-1", tmp_path / "old-2", "--group", "old")
    with pytest.raises(UsageError, match="--smoothing 1: give a number from 0 to below 1"):
        mlbridge_plot(tmp_path / "old-1", "--smoothing", "1")
