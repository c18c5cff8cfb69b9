"""Files of recordings: reading and writing."""

from __future__ import annotations

import math

import pytest

from unity_envs.recording_format import load, write

RECORDING = {"meta": {"dt": 0.02}, "cases": [{"ticks": 1}], "episodes": [{"theta0": 0.1}, {"theta0": 1 / 3}]}


def test_what_is_written_is_read(tmp_path):
    write(tmp_path / "a.json", RECORDING)
    assert load(tmp_path / "a.json") == RECORDING
    write(tmp_path / "a.json", RECORDING | {"episodes": []})
    assert load(tmp_path / "a.json") == RECORDING | {"episodes": []}


def test_each_episode_has_a_line(tmp_path):
    write(tmp_path / "a.json", RECORDING)
    assert [line for line in (tmp_path / "a.json").read_text().splitlines() if "theta0" in line] == [
        ' {"theta0": 0.1}',
        ',{"theta0": 0.3333333333333333}',
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "a.json: is no JSON file: line 1, column 2"),
        (b"\xff\xfe", "a.json: is no JSON file: not even text in UTF-8"),
        (b"[1]", "a.json: is no recording: must hold an object"),
        (None, "a.json: cannot be read: No such file"),
    ],
)
def test_a_file_that_is_no_recording_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "a.json")


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    (tmp_path / "a.json").write_text("before")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(tmp_path / "a.json", {"meta": {}, "episodes": [{"theta0": math.nan}]})
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "before"
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(OSError, match=r"folder\.json"):
        write(tmp_path / "folder.json", RECORDING)
    assert not list(tmp_path.glob(".*"))
