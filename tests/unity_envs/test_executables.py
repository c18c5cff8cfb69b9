"""The console scripts: what they accept, what they refuse, and how they say so."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import types
from pathlib import Path

import pytest

import unity_envs
from bridge.exceptions import UnityException
from unity_envs import executables

ROOT = Path(unity_envs.__file__).parents[1]


class NoParameters:
    def get_with_default(self, key: str, default: float) -> float:
        return default


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The console script in a process of its own."""
    code = "import sys; sys.argv[0] = '3DBall'; from unity_envs.executables import main_3dball; main_3dball()"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)


@pytest.fixture
def played(monkeypatch):
    """Stands in for the player's loop: the worlds and ports it was given."""
    calls = []
    player = types.ModuleType("bridge.player")

    def run_player(make_world, port):
        calls.append((make_world, port))
        return 7

    player.run_player = run_player
    monkeypatch.setitem(sys.modules, "bridge.player", player)
    return calls


def main(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["3DBall", *arguments])
    with pytest.raises(SystemExit) as end:
        executables.main_3dball()
    return end.value.code


def first_decisions(make_world, seed: int = 1, num_areas: int = 1):
    return make_world(seed, num_areas, NoParameters()).reset()["3DBall?team=0"][0]


def test_a_trainer_s_command_line_starts_12_agents_on_its_last_port(played, monkeypatch):
    flags = "-nographics -batchmode --mlagents-port 5005 -screen-width 84 --mlagents-scene-name X --mlagents-port=6007"
    assert main(monkeypatch, *flags.split()) == 7  # the player's own exit code
    ((make_world, port),) = played
    assert port == 6007
    assert len(first_decisions(make_world)) == 12
    assert len(first_decisions(make_world, num_areas=3)) == 36


def test_a_player_that_cannot_go_on_says_why_in_one_line(monkeypatch, capsys):
    player = types.ModuleType("bridge.player")

    def run_player(make_world, port):
        raise UnityException(f"no trainer listens on port {port}")

    player.run_player = run_player
    monkeypatch.setitem(sys.modules, "bridge.player", player)
    assert main(monkeypatch, "--mlagents-port", "5005") == 1
    assert capsys.readouterr().err == "3DBall: error: no trainer listens on port 5005\n"


def test_agents_and_seed_can_be_given(played, monkeypatch):
    main(monkeypatch, "--mlagents-port", "5005", "--agents", "5", "--seed", "8")
    main(monkeypatch, "--mlagents-port", "5005", "--agents", "5")
    (with_seed, _), (without, _) = played
    assert len(first_decisions(with_seed)) == 5
    own = first_decisions(with_seed, seed=1).obs[0].tolist()
    assert own == first_decisions(with_seed, seed=2).obs[0].tolist() == first_decisions(without, seed=8).obs[0].tolist()
    assert own != first_decisions(without, seed=1).obs[0].tolist()


def test_without_a_port_it_says_how_it_is_used():
    result = run()
    assert result.returncode == 2 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("3DBall: error: --mlagents-port is missing")
    assert "mlbridge learn" in line and "--env 3DBall" in line and "mlagents-learn" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--mlagents-port", "5005", "--agent", "3"], "unknown flag --agent"),
        (["--mlagents-port", "5005", "--agents", "0"], "--agents: must be a whole number, 1 or more, got '0'"),
        (["--mlagents-port", "5005", "--agents", "many"], "--agents: must be a whole number, 1 or more, got 'many'"),
        (["--mlagents-port", "0"], "--mlagents-port: must be a whole number from 1 to 65535, got '0'"),
        (["--mlagents-port", "70000"], "--mlagents-port: must be a whole number from 1 to 65535, got '70000'"),
        (["--mlagents-port"], "--mlagents-port: expected one argument"),
        (["--seed", "1.5"], "--seed: invalid int value: '1.5'"),
    ],
)
def test_a_wrong_argument_is_one_line_that_names_it(arguments, words, played, monkeypatch, capsys):
    assert main(monkeypatch, *arguments) == 2
    output = capsys.readouterr()
    (line,) = output.err.splitlines()
    assert line.startswith("3DBall: error: ") and words in line
    assert not played


@pytest.mark.parametrize("flag", ["-logFile", "-logfile"])
def test_messages_go_to_the_end_of_the_log_file(tmp_path, flag):
    log = tmp_path / "Player-0.log"
    log.write_text("earlier\n")
    result = run("--agents", "0", "-nographics", flag, str(log), "--mlagents-port", "5005")
    assert result.returncode == 2 and result.stderr == ""
    first, second = log.read_text().splitlines()
    assert first == "earlier" and "--agents" in second


def test_a_log_that_cannot_be_written_is_refused(tmp_path):
    result = run("-logFile", str(tmp_path / "missing" / "Player.log"), "--mlagents-port", "5005")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("3DBall: error: cannot write the log") and "missing" in line


def test_help_names_every_flag():
    result = run("--help")
    assert result.returncode == 0
    for flag in ("--agents", "--seed", "--mlagents-port", "-logFile", "default 12"):
        assert flag in result.stdout


def test_reading_the_arguments_imports_nothing_large():
    code = (
        "import sys, unity_envs.executables, unity_envs.worlds\n"
        "print([name for name in ('numpy', 'numba', 'torch', 'grpc', 'mlagents_envs') if name in sys.modules])"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment)
    assert output.stdout.strip() == "[]", output.stderr


def test_the_path_is_the_script_beside_the_interpreter(tmp_path, monkeypatch):
    monkeypatch.setattr(sysconfig, "get_path", lambda *_: str(tmp_path))
    with pytest.raises(RuntimeError, match="pip install"):
        executables.path("3DBall")
    script = tmp_path / ("3DBall.exe" if os.name == "nt" else "3DBall")
    script.write_text("")
    assert executables.path("3DBall") == str(script)
    assert os.path.isabs(executables.path("3DBall"))


def test_the_path_of_an_unknown_name_is_refused():
    assert executables.names() == ["3DBall"]
    with pytest.raises(ValueError, match="did you mean '3DBall'"):
        executables.path("3Dball")
