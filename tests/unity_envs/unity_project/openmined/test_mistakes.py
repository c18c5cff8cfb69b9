"""What goes wrong is an exception that says what to do, never a crash."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trainers.kernels.build import BuildError, find_compiler


@pytest.fixture(scope="module")
def mistakes(play) -> dict[str, str]:
    return play("mistakes", "all")


@pytest.mark.parametrize(
    ("mistake", "kind", "words"),
    [
        ("no_observations", "ArgumentException", "observationSizes: expected one or more sizes"),
        ("no_actions", "ArgumentException", "expected continuous actions, or branches"),
        ("no_agents", "ArgumentException", "agents: expected 1 or more, got 0"),
        ("bad_setting", "ArgumentException", "TimeHorizon: expected 1 or more, got 0"),
        ("small_buffer", "ArgumentException", "BufferSize: expected at least BatchSize, got 10"),
        ("short_observation", "ArgumentException", "expected 3 numbers, got 2"),
        ("null_observation", "ArgumentException", "expected 3 numbers, got none"),
        ("unknown_agent", "ArgumentException", "expected 0 to 1, got 2"),
        ("short_mask", "ArgumentException", "expected 2 actions, got 1"),
        ("no_action_yet", "InvalidOperationException", "call Request and Act before"),
        ("asked_twice", "InvalidOperationException", "call Act in between"),
        ("unknown_branch", "ArgumentException", "there are 1 such actions"),
        ("unknown_dimension", "ArgumentException", "there are 0 such actions"),
        ("who_did_not_ask", "InvalidOperationException", "agent 1 has no action"),
        ("no_file", "OpenMinedException", "none.safetensors cannot be read"),
        ("disposed_request", "ObjectDisposedException", "make a new one"),
        ("disposed_act", "ObjectDisposedException", "make a new one"),
        ("disposed_save", "ObjectDisposedException", "make a new one"),
        ("too_many_agents", "ArgumentException", "there is room for 4, got 5"),
        ("disposed_network", "ObjectDisposedException", "make a new one"),
        ("disposed_values", "ObjectDisposedException", "make a new one"),
    ],
)
def test_a_mistake_is_named(mistakes, mistake, kind, words):
    assert mistakes[mistake].startswith(f"{kind}: ") and words in mistakes[mistake]


def test_after_mistakes_it_goes_on(mistakes):
    assert mistakes["still_works"] == mistakes["disposed_twice"] == "nothing"


def test_without_the_library_it_says_how_to_get_it(games, tmp_path):
    answers = games.play(games.compile_game(tmp_path, None), "mistakes", "library")
    assert answers["require"].startswith("OpenMinedException: the native library openmined is not there")
    assert "make unity-plugin" in answers["trainer"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("int om_abi_version(void) { return 99; }", "has version 99, these scripts are for version 1"),
        ("int something_else(void) { return 1; }", "another native library has the name openmined"),
    ],
)
def test_a_library_of_another_version_is_refused(games, tmp_path, code, words):
    try:
        compiler = find_compiler()
    except BuildError as error:
        if os.environ.get("MLBRIDGE_REQUIRE_COMPILERS") == "1":
            raise
        pytest.skip(str(error))
    source = tmp_path / "other.c"
    source.write_text(f'extern "C" {code}\n')
    library = tmp_path / "libopenmined.so"
    command = [*compiler, "-x", "c++", "-shared", "-fPIC", source, "-o", library]
    games.run([str(each) for each in command])
    game = tmp_path / "game"
    game.mkdir()
    answers = games.play(games.compile_game(game, library), "mistakes", "library")
    assert words in answers["require"] and "make unity-plugin" in answers["require"]


def test_what_is_no_library_is_refused(games, tmp_path):
    library = tmp_path / "libopenmined.so"
    library.write_text("this is a text\n")
    game = tmp_path / "game"
    game.mkdir()
    answers = games.play(games.compile_game(game, Path(library)), "mistakes", "library")
    assert answers["require"].startswith("OpenMinedException: ") and "make unity-plugin" in answers["require"]
