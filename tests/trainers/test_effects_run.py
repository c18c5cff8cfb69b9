"""What flags and keys of a whole run change: which run it is, what it starts from, its seed, its device, what it says.

`mlbridge learn --in-process` in this process; each is asked for by a flag and by a key.
"""

import functools
import json
import logging
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import trainers.run
from bridge.in_process import InProcessEnvironment
from trainers.behavior_trainer import BehaviorTrainer
from trainers.checkpoint import load_state
from trainers.commands import learn, main

BOTH = pytest.mark.parametrize("how", ["flags", "keys"])
TOY = {
    "trainer_type": "ppo",
    "hyperparameters": {"batch_size": 16, "buffer_size": 64},
    "network_settings": {"hidden_units": 8, "num_layers": 1},
    "max_steps": 100,
    "summary_freq": 50,
}


@dataclass
class Outcome:
    code: int
    output: str
    error: str

    @staticmethod
    def network(run: str = "results/ppo") -> dict[str, torch.Tensor]:
        return load_state(Path(run, "Toy", "checkpoint.pt"))["network"]

    @staticmethod
    def step(run: str = "results/ppo") -> int:
        return int(load_state(Path(run, "Toy", "checkpoint.pt"))["step"])


@dataclass
class Started:
    """What the run's worlds were made with, and its trainers."""

    seeds: list[int] = field(default_factory=list)
    trainers: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture
def started() -> Started:
    return Started()


@pytest.fixture
def run(
    toy_world: Any,
    started: Started,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Callable[..., Outcome]]:
    """`run(how, flags..., section={key: value})`: the command, with `how` it is told the values of the sections.

    Of every world the toy world stands in; a section of the name `top` is the top of the configuration.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(learn, "_preload", lambda: None)  # everything is loaded, and garbage stays collected here
    loggers = [logging.getLogger(name) for name in ("bridge", "trainers", "unity_envs")]
    before = torch.get_num_threads(), [logger.level for logger in loggers]

    def command(
        how: str,
        *more: str,
        world: Callable[..., Any] = toy_world,
        config: str | None = "run.yaml",
        behaviors: Mapping[str, Any] | None = None,
        **sections: Mapping[str, Any],
    ) -> Outcome:
        def make_world(seed: int, num_areas: int, parameters: Any) -> Any:
            started.seeds.append(seed)
            return world(seed, num_areas, parameters)

        def open_environment(_env: str | None, *, seed: int, side_channels: Any, **_: Any) -> InProcessEnvironment:
            return InProcessEnvironment(make_world, seed=seed, side_channels=side_channels)

        monkeypatch.setattr(learn, "open_environment", open_environment)
        configuration: dict[str, Any] = {"behaviors": behaviors or {"Toy": TOY}}
        flags = []
        for section, values in sections.items():
            if how == "keys":
                configuration |= values if section == "top" else {section: dict(values)}
            else:
                for key, value in values.items():
                    flag = "--torch-device" if key == "device" else "--" + key.replace("_", "-")
                    flags += [flag] if value is True else [flag, str(value)]
        Path("run.yaml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
        code = main(["learn", *([] if config is None else [config]), "--in-process", *flags, *more])
        return Outcome(code, *capsys.readouterr())

    yield command
    torch.set_num_threads(before[0])
    for logger, level in zip(loggers, before[1], strict=True):
        logger.setLevel(level)


def ctrl_c(message: int) -> None:
    if message == 60:
        signal.raise_signal(signal.SIGINT)


# ---- which run ----


@BOTH
def test_run_id_and_results_dir_name_the_folder(run: Callable[..., Outcome], how: str) -> None:
    assert run(how, checkpoint_settings={"run_id": "mine", "results_dir": "elsewhere"}).code == 0
    assert Path("elsewhere/mine/Toy.onnx").is_file()
    assert not Path("results").exists()


@pytest.mark.parametrize("key", ["resume", "load_model"])
def test_a_run_is_resumed(run: Callable[..., Outcome], key: str) -> None:
    assert run("keys").code == 0
    before = Outcome.step()
    again = run("keys", "--set", "behaviors.Toy.max_steps=200", checkpoint_settings={key: True})
    assert f"Resuming 'Toy' from step {before} " in again.output
    assert 200 < Outcome.step() < 220


@pytest.mark.parametrize("flag", ["--resume", "--load"])
def test_a_run_is_resumed_by_a_flag(run: Callable[..., Outcome], flag: str) -> None:
    assert run("keys").code == 0
    before = Outcome.step()
    assert f"Resuming 'Toy' from step {before} " in run("keys", flag, "--set", "behaviors.Toy.max_steps=200").output
    assert 200 < Outcome.step() < 220


@BOTH
def test_force_begins_anew_in_a_folder_that_exists(run: Callable[..., Outcome], how: str) -> None:
    assert run(how).code == 0
    refused = run(how)
    assert refused.code == 2 and "overwrite it with --force" in refused.error
    assert run(how, "--set", "behaviors.Toy.max_steps=20", checkpoint_settings={"force": True}).code == 0
    assert 20 < Outcome.step() < 40


@BOTH
def test_initialize_from_takes_the_networks_and_not_the_steps(run: Callable[..., Outcome], how: str) -> None:
    assert run(how).code == 0
    of_other = {"run_id": "second", "initialize_from": "ppo"}
    assert run(how, "--set", "behaviors.Toy.max_steps=3", checkpoint_settings=of_other).code == 0
    assert Outcome.step("results/second") < 20
    taken, first = Outcome.network("results/second"), Outcome.network()
    assert all(torch.equal(taken[name], tensor) for name, tensor in first.items())


def test_train_model_has_no_effect(run: Callable[..., Outcome]) -> None:
    assert run("keys", "--seed", "1", checkpoint_settings={"run_id": "with", "train_model": True}).code == 0
    assert run("keys", "--seed", "1", checkpoint_settings={"run_id": "without"}).code == 0
    left, right = Outcome.network("results/with"), Outcome.network("results/without")
    assert all(torch.equal(right[name], tensor) for name, tensor in left.items())


@BOTH
def test_inference_plays_and_learns_nothing(run: Callable[..., Outcome], toy_world: Any, how: str) -> None:
    assert run(how).code == 0
    before, step = Path("results/ppo/Toy/checkpoint.pt").read_bytes(), Outcome.step()

    endless = functools.partial(toy_world, at_message=ctrl_c)
    played = run(how, world=endless, checkpoint_settings={"resume": True, "inference": True})
    assert played.code == 0
    assert Path("results/ppo/Toy/checkpoint.pt").read_bytes() == before
    steps = [int(step) for step in re.findall(r"Step: (\d+)\. .*Not Training\.", played.output)]
    assert len(steps) >= 3 and max(steps) > step + 100 > 200  # beyond max_steps
    assert "Exported" not in played.output


# ---- seed, device, threads ----


@BOTH
def test_the_seed_decides_on_the_run(run: Callable[..., Outcome], started: Started, how: str) -> None:
    """On its worlds, and on the first weights: no update changes them in 3 steps."""
    for run_id, seed in (("first", 5), ("second", 5), ("other", 6)):
        begun = "--run-id", run_id, "--set", "behaviors.Toy.max_steps=3"
        assert run(how, *begun, env_settings={"seed": seed}).code == 0
    assert started.seeds == [5, 5, 6]
    first, second, other = (Outcome.network(f"results/{name}") for name in ("first", "second", "other"))
    assert all(torch.equal(second[name], tensor) for name, tensor in first.items())
    assert not torch.equal(other["actor.body.0.weight"], first["actor.body.0.weight"])


@BOTH
def test_a_seed_of_minus_one_is_drawn_and_told(
    run: Callable[..., Outcome], started: Started, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("random.randrange", lambda most: most - 1)
    assert run(how, env_settings={"seed": -1}).code == 0
    assert started.seeds == [9999]
    assert yaml.safe_load(Path("results/ppo/configuration.yaml").read_text())["env_settings"]["seed"] == 9999


@pytest.fixture
def noting_trainers(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(*arguments: Any, **options: Any) -> BehaviorTrainer:
        trainer = BehaviorTrainer(*arguments, **options)
        started.trainers.append(options | {"torch_threads": torch.get_num_threads()})
        return trainer

    monkeypatch.setattr(trainers.run, "BehaviorTrainer", make)


@BOTH
def test_the_device_is_that_of_the_networks(
    run: Callable[..., Outcome], started: Started, noting_trainers: None, how: str
) -> None:
    """`--torch-device`, and `device` in the configuration."""
    assert run(how, torch_settings={"device": "cpu:0"}).code == 0
    assert started.trainers[0]["device"] == torch.device("cpu:0")
    refused = run(how, "--force", torch_settings={"device": "abacus"})
    assert refused.code == 2 and "abacus cannot be used here" in refused.error


def test_threads_are_those_of_torch_and_of_the_kernels(
    run: Callable[..., Outcome], started: Started, noting_trainers: None
) -> None:
    assert run("keys", torch_settings={"threads": 2}).code == 0
    assert (started.trainers[0]["torch_threads"], started.trainers[0]["threads"]) == (2, 2)


def test_the_backend_that_is_asked_for_is_insisted_on(run: Callable[..., Outcome]) -> None:
    on_torch = "--set", "behaviors.Toy.hyperparameters.joint_ratio=true"  # which the kernels do not have
    refused = run("keys", *on_torch, torch_settings={"backend": "openmined"})
    assert refused.code == 2 and "torch_settings.backend: openmined" in refused.error
    for backend in ("torch", "auto"):
        assert run("keys", *on_torch, "--force", torch_settings={"backend": backend}).code == 0


# ---- what holds for every behavior ----


def test_without_a_configuration_every_behavior_has_the_defaults_of_ppo(
    run: Callable[..., Outcome], toy_world: Any
) -> None:
    """CONFIG may be left out."""
    without = run("keys", world=functools.partial(toy_world, at_message=ctrl_c), config=None)
    assert without.code == 0
    assert "[WARNING] No CONFIG was given: every behavior is trained with PPO's defaults." in without.output
    assert Outcome.network()["actor.body.1.weight"].shape == (128, 128)


def test_default_settings_are_those_of_behaviors_with_and_without_a_section(
    run: Callable[..., Outcome], toy_world: Any
) -> None:
    two = functools.partial(toy_world, behaviors={"Toy?team=0": 0, "Other?team=0": 0})
    own = {"network_settings": {"hidden_units": 9}}
    defaults = TOY | {"network_settings": {"hidden_units": 5, "num_layers": 2}, "max_steps": 20}
    assert run("keys", world=two, behaviors={"Toy": own}, top={"default_settings": defaults}).code == 0
    for name, units in (("Toy", 9), ("Other", 5)):
        state = load_state(Path("results/ppo", name, "checkpoint.pt"))
        assert 20 < state["step"] < 40
        assert state["network"]["actor.body.1.weight"].shape == (units, units)


def test_a_section_of_a_behavior_is_for_that_behavior_alone(run: Callable[..., Outcome], toy_world: Any) -> None:
    two = functools.partial(toy_world, behaviors={"Toy?team=0": 0, "Other?team=0": 0})
    other = TOY | {"network_settings": {"hidden_units": 3, "num_layers": 1}}
    assert run("keys", world=two, behaviors={"Toy": TOY, "Other": other}).code == 0
    for name, units in (("Toy", 8), ("Other", 3)):
        state = load_state(Path("results/ppo", name, "checkpoint.pt"))
        assert state["network"]["actor.body.0.weight"].shape == (units, 1)


def test_deterministic_is_for_every_behavior(run: Callable[..., Outcome], toy_world: Any) -> None:
    """Agents that see the same do the same."""

    def differences(*flags: str) -> set[int]:
        found: set[int] = set()

        class Watched(toy_world):
            def reset(self) -> Any:
                self.shown = super().reset()
                return self.shown

            def step(self, actions: Any) -> Any:
                for name, action in actions.items():
                    seen = self.shown[name][0].obs[0][:, 0].tolist()
                    said = set(zip(seen, action.discrete[:, 0].tolist(), strict=True))
                    found.add(len(said) - len(set(seen)))
                self.shown = super().step(actions)
                return self.shown

        two = functools.partial(Watched, behaviors={"Toy?team=0": 0, "Other?team=0": 0})
        assert run("keys", "--force", *flags, world=two, behaviors={"Toy": TOY, "Other": TOY}).code == 0
        return found

    assert differences("--deterministic") == {0}
    assert differences() > {0}


@BOTH
def test_debug_says_more_with_times(run: Callable[..., Outcome], how: str) -> None:
    lines = run(how, top={"debug": True}).output.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in lines if "[INFO]" in line)
    assert any("[DEBUG] Hyperparameters for behavior name Toy" in line for line in lines)
    quiet = run(how, "--force").output
    assert quiet.startswith("[INFO] ") and "[DEBUG]" not in quiet


# ---- ours ----


def test_set_wins_over_the_file_and_the_flags(run: Callable[..., Outcome]) -> None:
    assert run("keys", "--run-id", "flag", "--set", "checkpoint_settings.run_id=set").code == 0
    assert [path.name for path in Path("results").iterdir()] == ["set"]


def test_stop_at_reward_ends_the_run(run: Callable[..., Outcome]) -> None:
    assert run("keys", "--stop-at-reward", "0.01", "--set", "behaviors.Toy.max_steps=100000").code == 0
    assert 50 <= Outcome.step() < 100  # the first summary


def test_profile_writes_where_each_steps_time_went(run: Callable[..., Outcome]) -> None:
    assert run("keys").code == 0
    trace = Path("results/ppo/run_logs/trace.json")
    assert not trace.exists()
    assert run("keys", "--profile", "--force").code == 0
    events = json.loads(trace.read_text())["traceEvents"]
    phases = json.loads(trace.with_name("timers.json").read_text())["children"]
    for name in ("act", "environment", "process", "update"):
        durations = [event["dur"] for event in events if event["name"] == name and event["ph"] == "X"]
        assert len(durations) == phases[name]["count"]
        assert sum(durations) / 1e6 == pytest.approx(phases[name]["total"], rel=1e-6)
