"""`mlbridge play`: what it writes, what it prints, and what it says when something is wrong."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from mlagents_envs.base_env import ActionSpec, BehaviorSpec, DimensionProperty, ObservationSpec, ObservationType
from PIL import Image

from bridge.exceptions import InvalidModelError
from trainers.commands import play
from trainers.errors import UsageError
from trainers.export import export_onnx
from unity_envs.pictures import PictureError

SMALL = ("--renderer", "plain", "--seconds", "0.5", "--frames-per-second", "10")
BACKGROUND = (241, 243, 246)


@pytest.fixture
def mlbridge_play(tmp_path, monkeypatch):
    """`mlbridge_play(*words)`: the command without its dispatcher, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        parser = argparse.ArgumentParser(prog="mlbridge play")
        play.add_arguments(parser)
        return play.run(parser.parse_args([str(word) for word in words]))

    return run


@pytest.fixture
def model(tmp_path):
    """`model(inputs, branches)`: a file of a model without hidden layers that always takes the last action."""

    def write(inputs=1, branches=(2,)):
        observation = ObservationSpec((inputs,), (DimensionProperty.NONE,), ObservationType.DEFAULT, "")
        state = {}
        for index, size in enumerate(branches):
            state[f"actor.discrete.{index}.weight"] = np.zeros((size, inputs))
            state[f"actor.discrete.{index}.bias"] = np.arange(size)
        path = tmp_path / "Right.onnx"
        export_onnx(state, BehaviorSpec([observation], ActionSpec(0, branches)), path)
        return path

    return write


def pictures(path):
    with Image.open(path) as image:
        found = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            found.append(np.asarray(image.convert("RGB")).astype(int))
    return found


def cube_column(picture):
    blue = picture[:, :, 2] > picture[:, :, 0] + 90
    return float(np.nonzero(blue)[1].mean())


def test_a_gif_of_a_model_shows_what_it_does(mlbridge_play, model, capsys):
    words = ("CubeMover", "--model", model(), "--output", "x.gif", "--size", "420x60", "--seconds", 2)
    assert mlbridge_play(*words, "--frames-per-second", 12, "--renderer", "plain") == 0
    columns = [cube_column(picture) for picture in pictures("x.gif")]
    assert columns[0] == pytest.approx(210 - 18.5, abs=2)  # at cell -1: a tick passes after the reset
    assert max(columns) == pytest.approx(210 + 7 * 18.5, abs=5)  # on the large goal
    assert (np.diff(columns) < -100).sum() == 1  # and once back to the start: 6 steps a second, 8 to the goal
    kilobytes = round(Path("x.gif").stat().st_size / 1000)
    printed = f"Written to x.gif: 24 frames, 2 s, 420x60 pixels, {kilobytes} kB, plain renderer\n"
    assert capsys.readouterr() == (printed, "")


def test_a_png_is_the_moment_at_the_end(mlbridge_play, model, capsys):
    words = ("CubeMover", "--model", model(), "--output", "x.png", "--size", "420x60", "--renderer", "plain")
    assert mlbridge_play(*words, "--seconds", 0.5) == 0
    (picture,) = pictures("x.png")
    assert cube_column(picture) == pytest.approx(210 + 2 * 18.5, abs=4)
    assert "x.png: 420x60 pixels" in capsys.readouterr().out


def test_an_mp4_can_be_read(mlbridge_play):
    import imageio_ffmpeg

    assert mlbridge_play("PoleBalancer", *SMALL, "--output", "x.mp4", "--size", "64x48") == 0
    reader = imageio_ffmpeg.read_frames("x.mp4")
    meta = next(reader)
    assert (meta["size"], meta["fps"], len(list(reader))) == ((64, 48), 10, 5)


def test_several_stand_beside_each_other_under_their_captions(mlbridge_play, model):
    words = ("CubeMover", "--model", "zero", "--model", model(), *SMALL, "--output", "x.png", "--size", "420x120")
    assert mlbridge_play(*words) == 0
    (picture,) = pictures("x.png")
    above, below = cube_column(picture[:60]), cube_column(picture[60:])
    assert above == pytest.approx(210 - 1 * 18.5, abs=4)  # two steps from -1 to the small goal, one from the start
    assert below > 240
    assert (picture[:15].sum(axis=2) < 500).sum() > 20  # "zero actions"
    assert mlbridge_play(*words, "--caption", "a", "--caption", "b") == 0
    (renamed,) = pictures("x.png")
    changed = np.flatnonzero((renamed != picture).any(axis=(1, 2)))
    assert len(changed) > 0
    assert changed.max() < 60 + 15


@pytest.mark.parametrize(("name", "agents"), [("CubeMover", 3), ("PoleBalancer", 2), ("3DBall", 4), ("3DBall", None)])
def test_every_world_can_be_played_with_any_number_of_agents(mlbridge_play, name, agents):
    words = () if agents is None else ("--agents", agents)
    assert mlbridge_play(name, *words, *SMALL, "--output", "x.png") == 0
    (picture,) = pictures("x.png")
    assert (picture[0, 0] == BACKGROUND).all()
    assert 0.003 < (picture[:, :, 2] > picture[:, :, 0] + 90).mean() < 0.5


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("CubeMover", "basic"),
        ("PoleBalancer", "force"),
        ("3DBall", "discrete"),
        ("3DBall", "hard"),
        ("3DBall", "visual"),
    ],
)
def test_every_variant_can_be_played(mlbridge_play, name, variant):
    words = (name, "--variant", variant, "--agents", 1, *SMALL, "--size", "96x64")
    assert mlbridge_play(*words, "--output", "x.png") == 0
    assert (pictures("x.png")[0] != BACKGROUND).any()


def test_the_same_seed_gives_the_same_file_and_another_one_another(mlbridge_play):
    for name, seed in (("a.gif", 3), ("b.gif", 3), ("c.gif", 4)):
        assert mlbridge_play("3DBall", *SMALL, "--size", "96x64", "--seed", seed, "--output", name) == 0
    first, again, other = (Path(name).read_bytes() for name in ("a.gif", "b.gif", "c.gif"))
    assert first == again != other


def test_a_model_can_be_sampled(mlbridge_play, model):
    for name, words in (("a.gif", ()), ("b.gif", ("--stochastic",)), ("c.gif", ("--stochastic",))):
        words = ("--model", model(), "--size", "210x32", "--seconds", 3, "--renderer", "plain", *words)
        assert mlbridge_play("CubeMover", *words, "--output", name) == 0
    greedy, sampled, again = (Path(name).read_bytes() for name in ("a.gif", "b.gif", "c.gif"))
    assert greedy != sampled == again


def test_a_recording_is_shown_as_it_is(mlbridge_play):
    cells = [0, 1, 2, 3, 4, 5, 6, 7]
    Path("run.json").write_text(json.dumps({"meta": {}, "episodes": [{"start": 0, "positions": cells}]}))
    words = ("--recording", "run.json", "--output", "x.png", "--size", "420x60", "--renderer", "plain")
    assert mlbridge_play("CubeMover", *words, "--seconds", 0.5) == 0
    assert cube_column(pictures("x.png")[0]) == pytest.approx(210 + 3 * 18.5, abs=4)
    assert mlbridge_play("CubeMover", *words, "--seconds", 9) == 0  # over: it stays at its end
    assert cube_column(pictures("x.png")[0]) == pytest.approx(210 + 7 * 18.5, abs=5)


def test_speed_is_simulated_time_against_time_in_the_film(mlbridge_play, model):
    words = ("CubeMover", "--model", model(), "--output", "x.png", "--size", "420x60", "--renderer", "plain")
    assert mlbridge_play(*words, "--seconds", 1, "--speed", 0.08) == 0  # 4 of 50 steps a second
    assert cube_column(pictures("x.png")[0]) == pytest.approx(210 + 3 * 18.5, abs=4)


def test_without_mujoco_auto_says_so_in_one_line_and_draws_plainly(mlbridge_play, monkeypatch, capsys):
    from unity_envs import drawing_mujoco

    monkeypatch.setitem(sys.modules, "mujoco", None)
    monkeypatch.setattr(drawing_mujoco, "_start", drawing_mujoco._start.__wrapped__)
    assert mlbridge_play("CubeMover", "--output", "x.png", "--seconds", 0.1) == 0
    out, err = capsys.readouterr()
    assert out.endswith("plain renderer\n")
    assert err == 'Plain pictures. MuJoCo is not installed: pip install "mlagents-bridge[mujoco]"\n'
    with pytest.raises(PictureError, match="MuJoCo is not installed"):
        mlbridge_play("CubeMover", "--output", "x.png", "--renderer", "mujoco")


def test_mujoco_draws_if_it_is_there(mlbridge_play, capsys):
    assert mlbridge_play("PoleBalancer", "--output", "x.gif", "--seconds", 0.1, "--size", "96x64") == 0
    assert capsys.readouterr().out.endswith("mujoco renderer\n")


# ---- mistakes ----


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("3dball", "--output", "x.gif"), "unknown environment '3dball': did you mean '3DBall'?"),
        (("3DBall", "--variant", "hrad", "--output", "x.gif"), "3DBall has no variant 'hrad': did you mean 'hard'?"),
        (
            ("3DBall", "--output", "missing/x.gif"),
            "--output missing/x.gif: there is no folder missing; create",
        ),
        (("3DBall", "--output", "folder.gif"), "--output folder.gif: this is a folder; give the name of a file"),
        (
            ("3DBall", "--output", "x.gif", "--model", "zero", "--caption", "a", "--caption", "b"),
            "2 --caption for 1 --model and --recording; give one for each",
        ),
        (
            ("3DBall", "--output", "x.gif", *("--model", "zero") * 30, "--size", "100x100"),
            "100x100 pixels are too few for 30 beside each other",
        ),
        (
            ("3DBall", "--output", "x.gif", "--recording", "no.json"),
            "--recording no.json: cannot be read: No such",
        ),
        (("3DBall", "--output", "x.gif", "--recording", "bad.json"), "--recording bad.json: is no JSON file: line 1"),
        (("3DBall", "--output", "x.gif", "--recording", "cube.json"), "--recording cube.json: episode 0, tick_ball or"),
    ],
)
def test_a_mistake_is_told_and_nothing_written(mlbridge_play, words, message):
    Path("folder.gif").mkdir()
    Path("bad.json").write_text("{")
    Path("cube.json").write_text('{"episodes": [{"positions": [0]}]}')
    with pytest.raises(UsageError) as raised:
        mlbridge_play(*words, "--renderer", "plain")
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)
    assert not Path("x.gif").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--output", "x.jpg"), "x.jpg: the name of a picture must end in one of .png, .gif, .mp4"),
        (("--output", "x.mp4", "--size", "101x100"), "x.mp4: the sides of an MP4 must be even, not 101x100"),
        (("--output", "x.gif", "--frames-per-second", 60), "x.gif: a GIF shows at most 50 frames per second"),
    ],
)
def test_what_a_format_does_not_have_is_told_before_playing(mlbridge_play, monkeypatch, words, message):
    monkeypatch.setattr(play, "record_play", None)
    with pytest.raises(PictureError) as raised:
        mlbridge_play("3DBall", "--renderer", "plain", *words)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--size", "640", "'640' is no size; give width and height in pixels, such as 640x360"),
        ("--size", "axb", "'axb' is no size"),
        ("--size", "-1x20", "'-1x20' is no size"),
        ("--size", "0x360", "the sides of 0x360 are not from 32 to 4096 pixels"),
        ("--size", "99999x360", "the sides of 99999x360 are not from 32 to 4096 pixels"),
        ("--agents", "0", "0 is not at least 1"),
        ("--seconds", "-1", "-1 is not above 0"),
        ("--seconds", "nan", "nan is not above 0"),
        ("--frames-per-second", "0", "0 is not above 0"),
        ("--speed", "fast", "invalid"),
        ("--renderer", "pretty", "invalid choice: 'pretty'"),
    ],
)
def test_a_value_that_makes_no_sense_is_told(mlbridge_play, capsys, flag, value, message):
    with pytest.raises(SystemExit) as exited:
        mlbridge_play("3DBall", "--output", "x.gif", f"{flag}={value}")
    assert exited.value.code == 2
    assert f"argument {flag}: {message}" in capsys.readouterr().err


def test_a_model_for_other_agents_is_told(mlbridge_play, model):
    with pytest.raises(InvalidModelError, match=r"Right.onnx: the agents' observation obs_0 has shape \(8,\), "):
        mlbridge_play("3DBall", "--model", model(), "--output", "x.gif")
    with pytest.raises(InvalidModelError, match=r"Right.onnx: .*branches \(2,\), the model gives \(3,\)"):
        mlbridge_play("CubeMover", "--model", model(1, (3,)), "--output", "x.gif")
    with pytest.raises(InvalidModelError, match=r"none.onnx: no such file"):
        mlbridge_play("CubeMover", "--model", "none.onnx", "--output", "x.gif")
    Path("text.onnx").write_text("no model")
    with pytest.raises(InvalidModelError, match=r"text.onnx: onnxruntime cannot load this file"):
        mlbridge_play("CubeMover", "--model", "text.onnx", "--output", "x.gif")
    assert not Path("x.gif").exists()


def test_what_fails_midway_leaves_the_old_file_as_it_was(mlbridge_play, monkeypatch):
    Path("x.gif").write_bytes(b"old")
    draw = play.render_playbacks

    def fail_later(playbacks, seconds, *rest):
        if seconds > 0.2:
            raise OSError(28, "No space left on device")
        return draw(playbacks, seconds, *rest)

    monkeypatch.setattr(play, "render_playbacks", fail_later)
    with pytest.raises(UsageError, match=r"^--output x.gif: cannot be written: No space left on device$"):
        mlbridge_play("3DBall", *SMALL, "--size", "64x48", "--output", "x.gif")
    assert [path.name for path in Path().iterdir()] == ["x.gif"]
    assert Path("x.gif").read_bytes() == b"old"
