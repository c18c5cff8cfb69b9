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
MAINS = {"3DBall": "main_3dball", "PoleBalancer": "main_pole_balancer", "CubeMover": "main_cube_mover"}


class NoParameters:
    def get_with_default(self, key: str, default: float) -> float:
        return default


def run(*arguments: str, name: str = "3DBall") -> subprocess.CompletedProcess[str]:
    """The console script in a process of its own."""
    code = f"import sys; sys.argv[0] = '{name}'; from unity_envs import executables; executables.{MAINS[name]}()"
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
    (steps,) = make_world(seed, num_areas, NoParameters()).reset().values()
    return steps[0]


def behavior(make_world) -> str:
    (name,) = make_world(1, 1, NoParameters()).behavior_specs
    return name


def test_a_trainer_s_command_line_starts_12_agents_on_its_last_port(played, monkeypatch):
    flags = "-nographics -batchmode --mlagents-port 5005 -screen-width 84 --mlagents-scene-name X --mlagents-port=6007"
    assert main(monkeypatch, *flags.split()) == 7  # the player's own exit code
    ((make_world, port),) = played
    assert port == 6007
    assert len(first_decisions(make_world)) == 12
    assert len(first_decisions(make_world, num_areas=3)) == 36


@pytest.mark.parametrize(
    ("name", "agents", "variant", "variant_behavior"),
    [
        ("3DBall", 12, "discrete", "3DBallDiscrete?team=0"),
        ("PoleBalancer", 1, "force", "PoleBalancer?team=0"),
        ("CubeMover", 1, "basic", "Basic?team=0"),
    ],
)
def test_each_player_has_its_own_agents_and_variants(played, monkeypatch, name, agents, variant, variant_behavior):
    for more in ([], ["--variant", variant, "--agents", "3"]):
        monkeypatch.setattr(sys, "argv", [name, "--mlagents-port", "5005", *more])
        with pytest.raises(SystemExit, match="7"):
            getattr(executables, MAINS[name])()
    (usual, _), (other, _) = played
    assert behavior(usual) == f"{name}?team=0" and len(first_decisions(usual)) == agents
    assert behavior(other) == variant_behavior and len(first_decisions(other)) == 3


def test_a_player_that_cannot_go_on_says_why_in_one_line(monkeypatch, capsys):
    player = types.ModuleType("bridge.player")

    def run_player(make_world, port):
        raise UnityException(f"no trainer listens on port {port}")

    player.run_player = run_player
    monkeypatch.setitem(sys.modules, "bridge.player", player)
    assert main(monkeypatch, "--mlagents-port", "5005") == 1
    assert capsys.readouterr().err == "3DBall: error: no trainer listens on port 5005\n"


def test_ctrl_c_ends_a_player_without_a_traceback(monkeypatch, capsys):
    def run_player(make_world, port):
        raise KeyboardInterrupt

    monkeypatch.setattr("bridge.player.run_player", run_player)
    assert main(monkeypatch, "--mlagents-port", "5005") == 130
    assert capsys.readouterr().err == ""


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
        (["--model", "3DBall.onnx", "--mlagents-port", "5005"], "--model and --mlagents-port"),
        (["--mlagents-port", "5005", "--episodes", "5"], "--episodes is for playing a model; add --model"),
        (["--mlagents-port", "5005", "--time-scale", "1"], "--time-scale is for playing a model; add --model"),
        (["--model", "3DBall.onnx", "--time-scale", "0"], "--time-scale: must be a number above 0, got '0'"),
        (["--mlagents-port", "5005", "--record-episodes", "5"], "--record-episodes needs --record"),
        (["--mlagents-port", "5005", "--record", "absent/a.json"], "--record absent/a.json: there is no folder absent"),
    ],
)
def test_a_wrong_argument_is_one_line_that_names_it(arguments, words, played, monkeypatch, capsys):
    assert main(monkeypatch, *arguments) == 2
    output = capsys.readouterr()
    (line,) = output.err.splitlines()
    assert line.startswith("3DBall: error: ") and words in line
    assert not played


@pytest.mark.parametrize("name", MAINS)
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--agnets 3", "unknown flag --agnets; --help names the known ones"),
        ("--agents 0", "argument --agents: must be a whole number, 1 or more, got '0'"),
        ("--agents -2", "argument --agents: must be a whole number, 1 or more, got '-2'"),
        ("--variant nosuch", "has no variant 'nosuch': known are "),
    ],
)
def test_bad_flags_end_the_program_with_one_line(name, flags, words):
    result = run(*flags.split(), "--mlagents-port", "5005", name=name)
    assert result.returncode == 2 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"{name}: error: ") and words in line


def test_an_unknown_variant_is_answered_with_the_nearest():
    (line,) = run("--variant", "Discret", "--mlagents-port", "5005").stderr.splitlines()
    assert line.endswith("'Discret': did you mean 'discrete'? known are discrete, hard, visual")


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


@pytest.mark.parametrize(
    ("name", "its_own"),
    [
        ("3DBall", ["(default 12)", "discrete or hard or visual"]),
        ("PoleBalancer", ["(default 1)", "force"]),
        ("CubeMover", ["(default 1)", "basic"]),
    ],
)
def test_help_names_every_flag(name, its_own):
    result = run("--help", name=name)
    assert result.returncode == 0
    flags = "--agents --variant --seed --record --record-episodes --mlagents-port -logFile"
    model_flags = "--model --stochastic --episodes --time-scale"
    for words in (*flags.split(), *model_flags.split(), *its_own):
        assert words in result.stdout
    assert "Exit codes: 0" in result.stdout


def test_reading_the_arguments_imports_nothing_large():
    code = (
        "import sys, unity_envs.executables, unity_envs.worlds\n"
        "large = ('numpy', 'numba', 'torch', 'grpc', 'mlagents_envs', 'onnxruntime')\n"
        "print([name for name in large if name in sys.modules])\n"
        "import bridge.player\n"
        "unity_envs.executables.make_world('3DBall', [])\n"
        "print([name for name in ('torch', 'onnxruntime') if name in sys.modules])"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment)
    assert output.stdout.splitlines() == ["[]", "[]"], output.stderr


def test_a_world_for_in_process_training_takes_the_same_flags():
    make_world = executables.make_world("3DBall", ["--agents", "2", "--variant=hard", "--seed", "8"])
    assert behavior(make_world) == "3DBallHard?team=0"
    (observations,) = first_decisions(make_world, seed=1).obs
    assert observations.shape == (2, 5)
    assert observations.tolist() == first_decisions(make_world, seed=2).obs[0].tolist()


@pytest.mark.parametrize(
    ("name", "flags", "words"),
    [
        ("3DBall", "--agents 0", "--agents: must be a whole number, 1 or more"),
        ("3DBall", "--variant force", "3DBall has no variant 'force': known are discrete, hard, visual"),
        ("3DBall", "--model 3DBall.onnx", "unknown argument '--model' for 3DBall: known are --agents, --variant"),
        ("3DBall", "--record absent/a.json", "there is no folder absent"),
        ("3dBall", "", "did you mean '3DBall'"),
    ],
)
def test_a_world_for_in_process_training_refuses_what_the_player_refuses(name, flags, words):
    with pytest.raises(ValueError, match=words):
        executables.make_world(name, flags.split())


def test_the_path_is_the_script_beside_the_interpreter(tmp_path, monkeypatch):
    monkeypatch.setattr(sysconfig, "get_path", lambda *_: str(tmp_path))
    with pytest.raises(RuntimeError, match="pip install"):
        executables.path("3DBall")
    script = tmp_path / ("3DBall.exe" if os.name == "nt" else "3DBall")
    script.write_text("")
    assert executables.path("3DBall") == str(script)
    assert os.path.isabs(executables.path("3DBall"))


def test_the_path_of_an_unknown_name_is_refused():
    assert executables.names() == ["CubeMover", "PoleBalancer", "3DBall"]
    with pytest.raises(ValueError, match="did you mean '3DBall'"):
        executables.path("3Dball")
