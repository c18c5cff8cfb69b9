"""The suites of `mlbridge bench` that need processes of their own: which rows there are, and what they are made of."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.messages import UnityMessageProto
from trainers.benchmarks import Context, bridge_alone, growth, players, programs, rivals, startup
from trainers.benchmarks.bridge_alone import Host
from trainers.benchmarks.canned_player import BEHAVIOR, DIFFERENT, greetings, step_messages
from trainers.benchmarks.goals import GOALS
from trainers.benchmarks.official import Official
from trainers.benchmarks.programs import Missing, Recipe, answer_of, environment_of, on_cores
from trainers.benchmarks.trainer_process import SummaryLine, TrainerRun
from trainers.benchmarks.training_probe import Lines
from trainers.errors import UsageError

OFFICIAL = Official("official-python", {"Python": "3.10.13", "grpcio": "1.48.2", "protobuf": "3.20.3"})


@pytest.fixture
def context(tmp_path):
    """`context(official)` for one round."""
    return lambda official=None, **options: Context(official, 1, 24000, False, tmp_path, 0.05, **options)


def run_at(pace: float) -> TrainerRun:
    lines = [SummaryLine("3DBall", step, 1.0, step / pace) for step in (12000, 24000)]
    return TrainerRun(lines, seconds=1.0, exit_code=0)


# ---- the canned player and its hosts ----


def test_the_canned_player_sends_messages_of_one_size_which_only_at_first_describe_the_behavior():
    first, *others = step_messages(12)
    assert len(others) == DIFFERENT
    assert len({len(one) for one in others}) == 1
    assert len(set(others)) == DIFFERENT
    parsed = [UnityMessageProto.FromString(one).unity_output for one in (first, *others)]
    assert [len(one.rl_initialization_output.brain_parameters) for one in parsed] == [1, 0, 0, 0, 0]
    assert all(len(one.rl_output.agentInfos[BEHAVIOR].value) == 12 for one in parsed)
    assert not any(agent.done for one in parsed for agent in one.rl_output.agentInfos[BEHAVIOR].value)
    assert UnityMessageProto.FromString(greetings()[0]).unity_output.HasField("rl_initialization_output")


@pytest.mark.parametrize("mode", ["floor", "fleet", "environment"])
def test_each_side_of_the_wire_counts_exchanges_when_asked(mode):
    with bridge_alone.host(mode, 3, 0.05) as host:
        assert host.greeting == "ready"
        assert host(1) > 1
        assert host(2) > 1
    assert host._process.returncode == 0


def test_a_fleet_counts_the_exchanges_of_all_its_players():
    with bridge_alone.host("fleet", 2, 0.05, players=2) as host:
        assert host(1) > 1


def test_a_host_that_fails_is_told_and_not_left_running():
    with pytest.raises(UsageError, match="ended with exit code 3"):
        Host([sys.executable, "-c", "raise SystemExit(3)"], 0.1)
    dies = Host([sys.executable, "-c", "print('ready', flush=True); input(); raise SystemExit(4)"], 0.1)
    with contextlib.closing(dies), pytest.raises(UsageError, match="ended with exit code 4"):
        dies(1)


# ---- the suite bridge ----


@pytest.fixture
def made_up_hosts(monkeypatch):
    """Hosts that take no time: the floor makes 1,000 exchanges/s, the fleet 800, an environment 600, the peer 100."""

    class MadeUp:
        def __init__(self, speed, greeting="ready"):
            self.speed, self.greeting = speed, greeting

        def __call__(self, turn):
            return self.speed

    speeds = {"floor": 1000.0, "fleet": 800.0, "environment": 600.0}
    hosted = contextlib.contextmanager(lambda mode, agents, seconds, players=1: iter([MadeUp(speeds[mode] * players)]))
    official = contextlib.contextmanager(lambda *_: iter([MadeUp(100.0, "ready cpp")]))
    monkeypatch.setattr(bridge_alone, "host", hosted)
    monkeypatch.setattr(growth, "host", hosted)
    monkeypatch.setattr(bridge_alone, "_official_host", official)


def test_the_bridge_is_compared_with_bare_grpcio_and_with_mlagents_envs(made_up_hosts, context):
    rows = {row.name: row for row in bridge_alone.run(context(OFFICIAL))}
    for agents in (1, 12, 100, 1000):
        assert rows[f"share of grpc floor, {agents} agents"].ratio == 0.8
        assert rows[f"share of grpc floor, {agents} agents, get_steps and set_actions"].ratio == 0.6
    row = rows["bridge vs mlagents_envs, 100 agents"]
    assert (row.ours[0], row.peer[0], row.ratio) == (60_000, 10_000, 6)
    assert row.beside == "mlagents_envs 1.1.0, Python 3.10.13, grpcio 1.48.2, protobuf 3.20.3 in C++"
    assert len(row.ours) == bridge_alone.SLICES
    assert "bridge vs mlagents_envs, 1 agents" not in rows


def test_without_mlagents_envs_the_rows_say_why(made_up_hosts, context, monkeypatch):
    def missing(*_, **__):
        raise Missing("it cannot be installed: no network")

    monkeypatch.setattr(bridge_alone, "environment_of", missing)
    rows = {row.name: row for row in bridge_alone.run(context())}
    row = rows["bridge vs mlagents_envs, 12 agents"]
    assert (row.peer_source, row.ratio, row.beside) == (None, None, "it cannot be installed: no network")
    assert row.ours == [7200.0] * bridge_alone.SLICES


# ---- the suite training: rivals and players ----


@pytest.fixture
def made_up_trainings(monkeypatch):
    """Ours makes 40,000 agent-steps/s, 30,000 on one core; JAX 20,000, the other programs 2,000. Returns what ran."""
    ran = []

    def ours(program, configuration, results, *, seed, limit, flags=(), players=1, player=(), **_):
        ran.append(("ours", tuple(flags), players, tuple(player)))
        return run_at({1: 30_000.0 if flags else 40_000.0, 4: 60_000.0}[players])

    def other(command, *, limit, environment):
        ran.append((Path(next(word for word in command if word.endswith("_ppo.py"))).name, tuple(command[-4:])))
        return run_at(20_000.0 if "jax_ppo.py" in ran[-1][0] else 2000.0)

    for suite in (rivals, players):
        monkeypatch.setattr(suite, "train_3dball", ours)
    monkeypatch.setattr(rivals, "watch", other)
    versions = {"stable-baselines3": "2.9", "torch": "2.13", "jax": "0.10"}
    monkeypatch.setattr(rivals, "environment_of", lambda *_, **__: ("other-python", versions))
    return ran


def test_rivals_are_asked_in_turn_with_ours(made_up_trainings, context):
    rows = {row.name: row for row in rivals.run(context())}
    assert {name: row.ratio for name, row in rows.items()} == {
        "train in process vs Stable-Baselines3, 12 agents": 20,
        "train in process vs a plain torch loop, 12 agents": 20,
        "train in process vs jitted JAX, 12 agents, one core each": 1.5,
        "train in process vs jitted JAX, 12 agents, all cores": 2,
    }
    assert rows["train in process vs jitted JAX, 12 agents, one core each"].threads == 1
    assert [one[0] for one in made_up_trainings] == [
        "ours",
        "stable_baselines3_ppo.py",
        "torch_loop_ppo.py",
        *["ours", "ours", "jax_ppo.py", "jax_ppo.py"],
    ]
    assert made_up_trainings[1][1] == ("12", "24000", "1", "1")  # agents, steps, threads, seed
    assert made_up_trainings[5][1][1:] == ("12", str(rivals.LONGER * 24000), "1")


def test_a_rival_that_is_not_here_leaves_its_rows_with_the_reason(made_up_trainings, context, monkeypatch):
    def missing(recipe, *_, **__):
        raise Missing(f"{recipe.name} is not installed")

    monkeypatch.setattr(rivals, "environment_of", missing)
    rows = {row.name: row for row in rivals.run(context())}
    assert rows["train in process vs Stable-Baselines3, 12 agents"].beside == "bench-sb3 is not installed"
    assert rows["train in process vs jitted JAX, 12 agents, all cores"].ratio is None
    assert rows["train in process vs a plain torch loop, 12 agents"].ratio == 20


def test_a_rival_that_fails_is_told_with_its_last_words(context):
    with pytest.raises(UsageError, match="ended with exit code 1: no such thing"):
        rivals._speed([sys.executable, "-c", "import sys; sys.exit('no such thing')"], {}, 1)


def test_four_players_are_compared_with_one_with_and_without_waiting(made_up_trainings, context):
    rows = players.run(context())
    assert [(row.name, row.ratio) for row in rows] == [
        ("4 players against 1, 12 agents each", 1.5),
        ("4 players against 1, 12 agents each, 5 ms a step", 1.5),
    ]
    _, _, (_, _, count, player), _ = made_up_trainings
    assert count == 4
    assert Path(player[0]).is_file()
    assert player[1:] == ("--wait-ms", "5")


def test_every_goal_is_one_of_a_row_that_there_is(made_up_hosts, made_up_trainings, context):
    names = {
        row.name for row in [*bridge_alone.run(context(OFFICIAL)), *rivals.run(context()), *players.run(context())]
    }
    whole_trainings = {name for name in GOALS if "3DBall" in name}  # tested with that suite
    assert set(GOALS) - whole_trainings <= names


# ---- the suites startup and growth ----


def test_short_programs_are_timed_beside_the_official_ones(context, monkeypatch):
    monkeypatch.setattr(startup, "_seconds", lambda command, *_: 2.0 if command[0] == "official-python" else 1.0)
    monkeypatch.setattr(startup, "our_program", lambda: ("mlbridge", "learn"))
    rows = startup._short_programs(context(OFFICIAL))
    names = ["the trainer's --help", "import of UnityEnvironment", "import of the trainer"]
    assert [(row.name, row.ratio) for row in rows] == [(name, 2) for name in names]
    assert all("was not found" in row.beside for row in startup._short_programs(context()))


def test_growth_has_a_row_for_each_size(made_up_hosts, context, monkeypatch):
    def probed(context, what, agents, in_process, turn):
        found = {"mebibytes": 400 + agents / 64, "messages": 10, "lines": {"all": 1000, "trainers/run.py:1": 100}}
        return found, run_at(1000.0 * agents)

    monkeypatch.setattr(growth, "_probe", probed)
    monkeypatch.setattr(growth, "status", lambda: type("Status", (), {"native": False}))
    rows = {row.name: row for row in growth.run(context())}
    assert rows["an exchange, 10,000 agents"].ours[0] == 1250  # us
    assert rows["an exchange, 10,000 agents"].ratio == 0.8
    assert rows["the fleet, 16 canned players of 12 agents"].ratio == 16
    assert rows["the fleet, 1 canned players of 12 agents"].ratio == 1
    assert rows["training in process, 5,000 agents"].ours == [5_000_000]
    assert rows["memory of a training in process, 100 agents"].unit == "MiB"
    assert rows["memory that an agent adds, 5,000 to 10,000 agents"].ours == [16]  # KiB
    assert rows["memory that an agent adds, 5,000 to 10,000 agents"].ratio == 1
    assert rows["lines of Python a message, 10,000 agents"].ratio == 1


def test_lines_of_a_loop_over_agents_are_named():
    few = {"messages": 10, "lines": {"all": 3000, "trainers/run.py:7": 1000, "trainers/run.py:9": 10}}
    many = {"messages": 10, "lines": {"all": 102_000, "trainers/run.py:7": 100_000, "trainers/run.py:9": 10}}
    row = growth.lines_row(few, many, (100, 10_000))
    assert (row.ours, row.peer) == ([10_200], [300])
    assert row.beside == "100 agents; most grown: trainers/run.py:7, 100.0 to 10000.0"


def test_lines_of_our_packages_are_counted_from_the_ninth_message_on():
    from bridge.in_process import InProcessEnvironment
    from unity_envs.worlds import make_world_factory

    lines = Lines()
    environment = InProcessEnvironment(make_world_factory("3DBall", 2), seed=1)
    lines.start()
    try:
        environment.reset()
        for _ in range(20):
            environment.step()
    finally:
        found = lines.stop()
    assert found["messages"] == 21 - 8
    assert any(name.startswith("bridge/in_process.py:") for name in found["lines"])
    assert found["lines"]["all"] > found["messages"]


@pytest.mark.parametrize("size", [(32, 8), (128, 64)])
def test_an_update_is_measured_at_any_size(context, monkeypatch, size):
    from trainers.benchmarks import kernels

    if not kernels.status().native:
        pytest.skip(kernels.status().reason)
    monkeypatch.setattr(kernels, "_SECONDS", 0.01)
    row = kernels.size_row(context(), *size)
    assert row.name == f"ppo_step {size[0]}x2 b64, {size[1]} observations vs default_adam"
    assert row.ratio > 0


# ---- programs beside this one ----


def test_an_environment_is_made_once_and_then_found(monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(programs, "cache_folder", lambda: tmp_path)

    def install(recipe, folder, python):
        made.append(recipe.name)
        python.parent.mkdir(parents=True)
        python.symlink_to(sys.executable)

    monkeypatch.setattr(programs, "_install", install)
    recipe = Recipe("nothing", (), False, 'print(\'{"nothing": "1"}\')')
    with pytest.raises(Missing, match=r"nothing is not installed .*--no-install"):
        environment_of(recipe, print, install=False)
    for _ in range(2):
        python, versions = environment_of(recipe, print)
        assert Path(python).is_file()
        assert versions == {"nothing": "1"}
    assert made == ["nothing"]
    with pytest.raises(Missing, match="does not import: ModuleNotFoundError: No module named 'no_such_module'"):
        environment_of(Recipe("nothing", (), False, "import no_such_module"), print)


def test_an_environment_that_cannot_be_installed_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(programs, "cache_folder", lambda: tmp_path)

    def install(*_):
        raise subprocess.CalledProcessError(1, ["pip"], stderr="ERROR: a\nERROR: no network\n")

    monkeypatch.setattr(programs, "_install", install)
    with pytest.raises(Missing, match="nothing cannot be installed: ERROR: no network"):
        environment_of(Recipe("nothing", (), False, ""), print)
    assert not list(tmp_path.glob("*/.complete"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can bind a program from outside")
def test_a_program_gets_as_many_cores_as_it_is_given():
    code = "import os; print(len(os.sched_getaffinity(0)))"
    done = subprocess.run(on_cores([sys.executable, "-c", code], 1), capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "1"
    assert on_cores(["program"], None) == ["program"]


def test_the_answer_of_a_program_is_its_line_of_json():
    code = "print('hello'); print('{\"figure\": 3}')"
    assert answer_of([sys.executable, "-c", code], 30)[0] == {"figure": 3}
    with pytest.raises(UsageError, match="ended with exit code 2: sorry"):
        answer_of([sys.executable, "-c", "print('sorry'); raise SystemExit(2)"], 30)


def test_programs_of_peers_are_in_the_checkout():
    for name in ("mlagents_envs_host.py", "stable_baselines3_ppo.py", "torch_loop_ppo.py", "jax_ppo.py"):
        compile(Path(programs.peer_program(name)).read_text(encoding="utf-8"), name, "exec")
    with pytest.raises(Missing, match="is in the checkout's"):
        programs.peer_program("no_such.py")
