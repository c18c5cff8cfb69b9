"""Assets/Editor against a stub of the Editor: what it would build, what it refuses, and what its menu plays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

EDITOR, PIPELINE = "UnityEditor.EditorApplication", "UnityEditor.BuildPipeline"
LINUX, WINDOWS, MAC = "StandaloneLinux64", "StandaloneWindows64", "StandaloneOSX"


@pytest.fixture
def build(new_player, project, tmp_path) -> Iterator[Callable]:
    """build(arguments, target=the Editor's own, Result=..., Missing=...): the player, after the build method's call."""
    with ExitStack() as stack:

        def run(arguments, target=LINUX, **pipeline):
            player = stack.enter_context(new_player(project, arguments, True, tmp_path))
            player.set("activeBuildTarget", target, who="UnityEditor.EditorUserBuildSettings")
            for member, value in pipeline.items():
                player.set(member, value, who=PIPELINE)
            player.call("MlAgentsBridge.Build", "FromCommandLine")
            return player

        yield run


def built(player) -> dict[str, str]:
    """The only BuildPlayerOptions that were built."""
    (text,) = player.get("Built", who=PIPELINE).ravel()
    assert text.count("{") == 1
    return dict(part.split("=", 1) for part in text.strip("{}").split("; "))


@pytest.mark.parametrize(
    ("arguments", "target", "path", "defines"),
    [
        (["--env-name", "3DBall"], LINUX, "Builds/3DBall-Linux64/3DBall.x86_64", "ENVIRONMENT_3DBALL"),
        (
            ["--env-name", "3DBall", "--variant", "hard", "--target", "Win64"],
            WINDOWS,
            "Builds/3DBall-hard-Win64/3DBall.exe",
            "ENVIRONMENT_3DBALL VARIANT_HARD",
        ),
        (
            ["--env-name", "CubeMover", "--target", "OSXUniversal", "--output", "out"],
            MAC,
            "out/CubeMover-OSXUniversal/CubeMover.app",
            "ENVIRONMENT_CUBEMOVER",
        ),
        (["--own", "Catcher"], LINUX, "Builds/Catcher-Linux64/Catcher.x86_64", "ENVIRONMENT_OWN"),
    ],
)
def test_a_build_is_named_as_the_launcher_looks_for_it(build, tmp_path, arguments, target, path, defines):
    player = build(arguments)
    options = built(player)
    assert options == {
        "scenes": "Assets/Generated/Empty.unity",
        "locationPathName": path,
        "targetGroup": "Standalone",
        "target": target,
        "subtarget": "2",  # StandaloneBuildSubtarget.Player
        "options": "None",
        "extraScriptingDefines": defines,
    }
    assert player.get("Saved", who="UnityEditor.SceneManagement.EditorSceneManager") == [options["scenes"]]
    assert (tmp_path / "Assets/Generated").is_dir()
    assert player.get("ExitCode", who=EDITOR) == ["null"] and not player.complaints


def test_a_server_is_built_apart(build):
    options = built(build(["--env-name=PoleBalancer", "--variant=force", "--server"]))
    assert options["subtarget"] == "1"
    assert options["locationPathName"] == "Builds/PoleBalancer-force-Linux64-Server/PoleBalancer.x86_64"


def test_players_are_built_with_mono_and_nothing_stripped(build):
    player = build(["--env-name=3DBall"])
    (told,) = player.get("Told", who="UnityEditor.PlayerSettings").ravel()
    for target in ("Standalone", "Server"):
        for setting in ("Mono2x", "Disabled", "NET_Standard"):
            assert f"{target}: {setting}" in told
    assert player.get("runInBackground", who="UnityEditor.PlayerSettings") == ["True"]


@pytest.mark.parametrize(
    ("arguments", "editor", "text"),
    [
        ([], {}, "name an environment: --env-name CubeMover or PoleBalancer or 3DBall"),
        (["--env-name", "3dball"], {}, "unknown environment '3dball'"),
        (
            ["--env-name=3DBall", "--target=Android"],
            {},
            "--target must be Linux64, Win64 or OSXUniversal, got 'Android'",
        ),
        (
            ["--env-name=3DBall"],
            {"target": "Android"},
            "--target must be Linux64, Win64 or OSXUniversal, got 'Android'",
        ),
        (["--env-name=3DBall"], {"Missing": LINUX}, "this Editor cannot build for StandaloneLinux64"),
        (["--env-name=3DBall", "--variant=visual", "--server"], {}, "Visual3DBall needs a camera"),
        (["--env-name=3DBall"], {"Result": "Failed"}, "the build for StandaloneLinux64 ended as Failed"),
    ],
)
def test_what_cannot_be_built_ends_the_editor_with_one_line_and_code_1(build, arguments, editor, text):
    player = build(arguments, **editor)
    (complaint,) = player.complaints
    assert complaint.startswith("error unity-build: ") and text in complaint
    assert player.get("ExitCode", who=EDITOR) == [1]


@pytest.mark.parametrize(
    ("method", "chosen"),
    [
        ("CubeMover", "--env-name=CubeMover"),
        ("PoleBalancerForce", "--env-name=PoleBalancer --variant=force"),
        ("BallVisual", "--env-name=3DBall --variant=visual"),
    ],
)
def test_the_menu_plays_a_variant(new_player, project, method, chosen):
    with new_player(project) as player:
        player.call("MlAgentsBridge.PlayMenu", method)
        assert player.get("isPlaying", who=EDITOR) == ["True"]
        # The stub's players are not in the Editor, so what the bootstrap would read is looked at here.
        assert chosen == player.get("s_Values.Values", who="UnityEngine.PlayerPrefs")[0]


def test_every_variant_is_in_the_menu(new_player, project, unity_project):
    menu = (unity_project / "Assets/Editor/PlayMenu.cs").read_text()
    catalog = [
        ("CubeMover", ["", "basic"]),
        ("PoleBalancer", ["", "force"]),
        ("3DBall", ["", "discrete", "hard", "visual"]),
    ]
    for name, variants in catalog:
        for variant in variants:
            assert f'[MenuItem("Environments/{name}{", " * bool(variant)}{variant}")]' in menu
            assert f'Play("--env-name={name}{" --variant=" * bool(variant)}{variant}")' in menu
