"""`--env`: which program is started for what the user wrote, on trees as Unity leaves them on each platform."""

import os
import stat
import sys
from pathlib import Path

import pytest

from bridge.exceptions import UnityEnvironmentException
from bridge.executable_lookup import ExecutableNotFoundError, find_executable

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the made-up trees need permission bits")


def make(path: Path, content: bytes = b"", *, executable: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755 if executable else 0o644)
    return path


def linux_build(folder: Path, name: str = "3DBall.x86_64") -> Path:
    make(folder / "UnityPlayer.so", b"\x7fELF")
    make(folder / "LinuxPlayer_s.debug", b"\x7fELF")
    make(folder / "3DBall_Data" / "boot.config", executable=False)
    return make(folder / name, b"\x7fELF")


def macos_build(folder: Path, app: str = "3DBall.app", program: str = "3DBall") -> Path:
    make(folder / app / "Contents" / "Info.plist", executable=False)
    return make(folder / app / "Contents" / "MacOS" / program, b"\xcf\xfa\xed\xfe")


def windows_build(folder: Path, name: str = "3DBall.exe") -> Path:
    make(folder / "UnityCrashHandler64.exe", b"MZ")
    make(folder / "UnityPlayer.dll", b"MZ")
    return make(folder / name, b"MZ")


def message_for(file_name: str, **arguments: object) -> str:
    with pytest.raises(UnityEnvironmentException) as caught:
        find_executable(file_name, **arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestLinux:
    @pytest.mark.parametrize("given", ["3DBall", "3DBall.x86_64", "3DBall.x86", "3DBall.exe", "3DBall.app", "./3DBall"])
    def test_the_suffix_may_be_left_out_or_be_another_platforms(self, tmp_path: Path, given: str) -> None:
        build = linux_build(tmp_path)
        assert find_executable(given, platform="linux", folder=tmp_path) == build

    def test_an_absolute_path_is_taken_as_it_is(self, tmp_path: Path) -> None:
        build = linux_build(tmp_path / "builds")
        assert find_executable(str(tmp_path / "builds" / "3DBall"), platform="linux", folder=tmp_path / "else") == build

    def test_a_relative_path_starts_at_the_current_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        build = linux_build(tmp_path / "builds")
        monkeypatch.chdir(tmp_path)
        assert find_executable("builds/3DBall", platform="linux") == build

    def test_64_bit_wins_unless_32_bit_is_spelled_out(self, tmp_path: Path) -> None:
        build, old = linux_build(tmp_path), make(tmp_path / "3DBall.x86", b"\x7fELF")
        assert find_executable("3DBall", platform="linux", folder=tmp_path) == build
        assert find_executable("3DBall.x86", platform="linux", folder=tmp_path) == old

    def test_suffixes_within_the_path_are_left_alone(self, tmp_path: Path) -> None:
        folder = tmp_path / "my.app.x86" / "build.exe.x86_64.v2"
        build = linux_build(folder)
        assert find_executable(str(folder / "3DBall"), platform="linux") == build
        assert find_executable(str(folder), platform="linux") == build
        assert find_executable("my.app.x86/build.exe.x86_64.v2/3DBall", platform="linux", folder=tmp_path) == build

    def test_a_folder_stands_for_the_only_program_in_it(self, tmp_path: Path) -> None:
        build = linux_build(tmp_path / "3DBall")
        assert find_executable("3DBall", platform="linux", folder=tmp_path) == build
        assert find_executable("3DBall/", platform="linux", folder=tmp_path) == build

    def test_a_folder_may_hold_a_program_without_suffix_beside_libraries(self, tmp_path: Path) -> None:
        build = linux_build(tmp_path / "server", name="Server")
        assert find_executable("server", platform="linux", folder=tmp_path) == build

    def test_any_executable_script_will_do(self, tmp_path: Path) -> None:
        script = make(tmp_path / "start.sh", b"#!/bin/sh\n")
        assert find_executable("start.sh", platform="linux", folder=tmp_path) == script

    def test_a_python_program_needs_no_permission_to_be_executed(self, tmp_path: Path) -> None:
        program = tmp_path / "my_game.py"
        program.write_text("")
        for platform in ("linux", "darwin", "win32"):
            assert find_executable(str(program), platform=platform) == program

    def test_several_programs_are_listed(self, tmp_path: Path) -> None:
        linux_build(tmp_path / "builds"), linux_build(tmp_path / "builds", "Walker.x86_64")
        message = message_for("builds", platform="linux", folder=tmp_path)
        assert "several programs (3DBall.x86_64, Walker.x86_64)" in message
        assert str(tmp_path / "builds") in message

    def test_a_file_that_is_not_executable_says_how_to_make_it_so(self, tmp_path: Path) -> None:
        build = make(tmp_path / "my builds" / "3DBall.x86_64", b"\x7fELF", executable=False)
        assert message_for(str(build), platform="linux").endswith(f"chmod +x '{build}'")
        build.chmod(stat.S_IRWXU)
        assert find_executable(str(build), platform="linux") == build

    def test_nothing_found_names_what_was_tried_and_what_is_near(self, tmp_path: Path) -> None:
        linux_build(tmp_path)
        with pytest.raises(ExecutableNotFoundError) as caught:
            find_executable("3DBal", platform="linux", folder=tmp_path)
        message = str(caught.value)
        assert f"{tmp_path / '3DBal'}.x86_64" in message
        assert f"did you mean 3DBall.x86_64 in {tmp_path}?" in message

    def test_a_missing_parent_folder_is_said(self, tmp_path: Path) -> None:
        message = message_for("bilds/3DBall", platform="linux", folder=tmp_path)
        assert f"the folder {tmp_path / 'bilds'} does not exist" in message

    def test_a_folder_without_any_program_is_said(self, tmp_path: Path) -> None:
        make(tmp_path / "3DBall" / "notes.txt", executable=False)
        with pytest.raises(ExecutableNotFoundError, match="no program in the folder"):
            find_executable("3DBall", platform="linux", folder=tmp_path)

    def test_an_empty_name_is_refused(self) -> None:
        assert "empty" in message_for("")

    @pytest.mark.parametrize("given", ["3DBall", "3DBall.exe", "."])
    def test_a_windows_build_is_recognised(self, tmp_path: Path, given: str) -> None:
        windows_build(tmp_path)
        message = message_for(given, platform="linux", folder=tmp_path)
        assert "is a build for Windows" in message and "built for Linux" in message

    @pytest.mark.parametrize("given", ["3DBall", "3DBall.app", "."])
    def test_a_macos_build_is_recognised(self, tmp_path: Path, given: str) -> None:
        macos_build(tmp_path)
        message = message_for(given, platform="linux", folder=tmp_path)
        assert f"{tmp_path / '3DBall.app'} is a build for macOS" in message

    def test_a_build_is_recognised_by_its_content_without_a_suffix(self, tmp_path: Path) -> None:
        make(tmp_path / "3DBall", b"MZ\x90\x00")
        assert "is a build for Windows" in message_for("3DBall", platform="linux", folder=tmp_path)

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
    def test_a_folder_that_may_not_be_read_is_said(self, tmp_path: Path) -> None:
        folder = tmp_path / "secret"
        folder.mkdir(mode=0)
        assert "may not be read" in message_for("secret", platform="linux", folder=tmp_path)


class TestMacOS:
    @pytest.mark.parametrize("given", ["3DBall", "3DBall.app", "3DBall.app/", "3DBall.x86_64", "."])
    def test_the_program_inside_of_the_app_is_found(self, tmp_path: Path, given: str) -> None:
        program = macos_build(tmp_path)
        assert find_executable(given, platform="darwin", folder=tmp_path) == program

    def test_the_program_may_be_named_otherwise(self, tmp_path: Path) -> None:
        program = macos_build(tmp_path, program="Unity Environment")
        assert find_executable("3DBall", platform="darwin", folder=tmp_path) == program

    def test_the_program_named_like_the_app_wins(self, tmp_path: Path) -> None:
        program, _ = macos_build(tmp_path), macos_build(tmp_path, program="helper")
        assert find_executable("3DBall", platform="darwin", folder=tmp_path) == program

    def test_several_programs_in_the_app_are_listed(self, tmp_path: Path) -> None:
        macos_build(tmp_path, program="one"), macos_build(tmp_path, program="two")
        assert "several programs (one, two)" in message_for("3DBall", platform="darwin", folder=tmp_path)

    def test_several_apps_in_a_folder_are_listed(self, tmp_path: Path) -> None:
        macos_build(tmp_path), macos_build(tmp_path, "Walker.app", "Walker")
        message = message_for(".", platform="darwin", folder=tmp_path)
        assert "3DBall.app" in message and "Walker.app" in message

    def test_suffixes_within_the_path_are_left_alone(self, tmp_path: Path) -> None:
        program = macos_build(tmp_path / "my.app.x86" / "v1.exe.d")
        assert find_executable("my.app.x86/v1.exe.d/3DBall", platform="darwin", folder=tmp_path) == program

    def test_an_executable_script_will_do(self, tmp_path: Path) -> None:
        script = make(tmp_path / "start", b"#!/bin/sh\n")
        assert find_executable("start", platform="darwin", folder=tmp_path) == script

    def test_a_program_that_is_not_executable_says_how_to_make_it_so(self, tmp_path: Path) -> None:
        program = macos_build(tmp_path)
        program.chmod(0o644)
        assert f"chmod +x {program}" in message_for("3DBall", platform="darwin", folder=tmp_path)

    def test_builds_for_other_platforms_are_recognised(self, tmp_path: Path) -> None:
        linux_build(tmp_path / "linux"), windows_build(tmp_path / "windows")
        assert "is a build for Linux" in message_for("linux/3DBall", platform="darwin", folder=tmp_path)
        assert "is a build for Windows" in message_for("windows/3DBall", platform="darwin", folder=tmp_path)


class TestWindows:
    @pytest.mark.parametrize("given", ["3DBall", "3DBall.exe", "3DBall.x86_64"])
    def test_the_suffix_may_be_left_out_or_be_another_platforms(self, tmp_path: Path, given: str) -> None:
        build = windows_build(tmp_path)
        assert find_executable(given, platform="win32", folder=tmp_path) == build

    @pytest.mark.parametrize("given", ["builds", "builds.exe", "builds/"])
    def test_a_folder_stands_for_its_only_program_but_the_crash_handler(self, tmp_path: Path, given: str) -> None:
        build = windows_build(tmp_path / "builds", "UnityEnvironment.exe")
        assert find_executable(given, platform="win32", folder=tmp_path) == build

    def test_permission_bits_do_not_matter(self, tmp_path: Path) -> None:
        build = windows_build(tmp_path)
        build.chmod(0o644)
        assert find_executable("3DBall", platform="win32", folder=tmp_path) == build

    def test_suffixes_within_the_path_are_left_alone(self, tmp_path: Path) -> None:
        build = windows_build(tmp_path / "my.app.x86" / "v1.exe.d")
        assert find_executable("my.app.x86/v1.exe.d/3DBall", platform="win32", folder=tmp_path) == build

    def test_several_programs_are_listed(self, tmp_path: Path) -> None:
        windows_build(tmp_path), windows_build(tmp_path, "Walker.exe")
        assert "several programs (3DBall.exe, Walker.exe)" in message_for(".", platform="win32", folder=tmp_path)

    def test_nothing_found_names_what_is_near(self, tmp_path: Path) -> None:
        windows_build(tmp_path)
        assert "did you mean 3DBall.exe" in message_for("3Dball2.exe", platform="win32", folder=tmp_path)

    def test_builds_for_other_platforms_are_recognised(self, tmp_path: Path) -> None:
        linux_build(tmp_path / "linux"), macos_build(tmp_path / "macos")
        assert "is a build for Linux" in message_for("linux/3DBall.x86_64", platform="win32", folder=tmp_path)
        assert "is a build for macOS" in message_for("macos/3DBall", platform="win32", folder=tmp_path)
