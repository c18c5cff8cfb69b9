"""What a configuration file may say, what it means, and what a user reads when something in it is wrong."""

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.config import RunConfig, load_config
from trainers.errors import UsageError

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write `run.yaml` into an empty working folder; returns its relative path, which is what messages show."""
    monkeypatch.chdir(tmp_path)

    def write_file(text: str) -> Path:
        Path("run.yaml").write_text(text, encoding="utf-8")
        return Path("run.yaml")

    return write_file


def message(path: Path | None, overrides: dict[str, Any] | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        load_config(path, overrides or {})
    return str(caught.value)


def test_without_a_file_every_behavior_has_the_defaults_of_ml_agents() -> None:
    config = load_config(None, {})
    assert config.settings_for("Anything?team=0").model_dump() == {
        "trainer_type": "ppo",
        "hyperparameters": {
            "batch_size": 1024,
            "buffer_size": 10240,
            "learning_rate": 3e-4,
            "beta": 5e-3,
            "epsilon": 0.2,
            "lambd": 0.95,
            "num_epoch": 3,
            "shared_critic": False,
            "learning_rate_schedule": "linear",
            "beta_schedule": "linear",
            "epsilon_schedule": "linear",
            "value_clipping": False,
        },
        "network_settings": (
            network := {
                "normalize": False,
                "hidden_units": 128,
                "num_layers": 2,
                "vis_encode_type": "simple",
                "memory": None,
                "goal_conditioning_type": "hyper",
                "deterministic": False,
            }
        ),
        "reward_signals": {"extrinsic": {"gamma": 0.99, "strength": 1.0, "network_settings": network}},
        "init_path": None,
        "keep_checkpoints": 5,
        "checkpoint_interval": 500_000,
        "even_checkpoints": False,
        "max_steps": 500_000,
        "time_horizon": 64,
        "summary_freq": 50_000,
        "threaded": False,
        "self_play": None,
        "behavioral_cloning": None,
    }
    assert config.env_settings.model_dump() == {
        "env_path": None,
        "env_args": None,
        "base_port": 5005,
        "num_envs": 1,
        "num_areas": 1,
        "timeout_wait": 60,
        "seed": -1,
        "max_lifetime_restarts": 10,
        "restarts_rate_limit_n": 1,
        "restarts_rate_limit_period_s": 60,
    }
    assert config.engine_settings.model_dump() == {
        "width": 84,
        "height": 84,
        "quality_level": 5,
        "time_scale": 20.0,
        "target_frame_rate": -1,
        "capture_frame_rate": 60,
        "no_graphics": False,
        "no_graphics_monitor": False,
    }
    assert config.checkpoint_settings.run_id == "ppo"
    assert config.checkpoint_settings.results_dir == "results"


def test_the_built_in_3dball_has_the_values_of_ml_agents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("3DBall", "3DBall.yaml"):
        behavior = load_config(Path(name), {}).settings_for("3DBall")
        assert (behavior.max_steps, behavior.time_horizon, behavior.summary_freq) == (500_000, 1000, 12_000)
        hyperparameters = behavior.hyperparameters
        assert (hyperparameters.batch_size, hyperparameters.buffer_size, hyperparameters.num_epoch) == (64, 12_000, 3)
        assert (hyperparameters.learning_rate, hyperparameters.beta) == (3e-4, 1e-3)
        assert (hyperparameters.epsilon, hyperparameters.lambd) == (0.2, 0.99)
        network = behavior.network_settings
        assert (network.normalize, network.hidden_units, network.num_layers) == (True, 128, 2)
        assert behavior.reward_signals["extrinsic"].gamma == 0.99


def test_a_file_wins_over_a_built_in_name_but_a_folder_does_not(write: Write) -> None:
    Path("3DBall").mkdir()
    assert load_config(Path("3DBall"), {}).settings_for("3DBall").max_steps == 500_000
    write("behaviors: {3DBall: {max_steps: 7}}").rename("3DBall.yaml")
    assert load_config(Path("3DBall.yaml"), {}).settings_for("3DBall").max_steps == 7


def test_default_settings_lie_under_each_behavior_and_serve_unknown_ones(write: Write) -> None:
    config = load_config(
        write("""
default_settings:
  trainer_type: ppo
  max_steps: 100
  hyperparameters: {batch_size: 10, buffer_size: 100}
behaviors:
  Walker:
    hyperparameters: {batch_size: 20}
  Runner:
  Jumper: {hyperparameters: }
"""),
        {},
    )
    walker = config.settings_for("Walker")
    assert (walker.max_steps, walker.hyperparameters.batch_size, walker.hyperparameters.buffer_size) == (100, 20, 100)
    for name in ("Runner", "Jumper", "SomethingElse"):
        assert config.settings_for(name).hyperparameters.batch_size == 10


def test_a_behavior_that_the_file_does_not_have_is_an_error(write: Write) -> None:
    config = load_config(write("behaviors: {3DBall: {}, Walker: {}}"), {})
    with pytest.raises(UsageError) as caught:
        config.settings_for("3Dball?team=1")
    assert str(caught.value) == (
        "the environment's behavior '3Dball' is not in the configuration, did you mean '3DBall'? "
        "(it has 3DBall, Walker); add behaviors.3Dball or default_settings to it"
    )


@pytest.mark.parametrize("text", ["", "# nothing\n", "behaviors:\n", "behaviors: {}"])
def test_an_empty_file_has_no_behaviors(write: Write, text: str) -> None:
    with pytest.raises(UsageError, match="it has no behaviors"):
        load_config(write(text), {}).settings_for("3DBall")


def test_the_schedule_of_the_learning_rate_is_copied_unless_others_are_given(write: Write) -> None:
    config = load_config(
        write("""
behaviors:
  A: {trainer_type: ppo, hyperparameters: {learning_rate_schedule: constant}}
  B: {trainer_type: ppo, hyperparameters: {learning_rate_schedule: constant, beta_schedule: linear}}
  C: {trainer_type: ppo, hyperparameters: {beta_schedule: constant}}
"""),
        {},
    )
    schedules = {
        name: (h.learning_rate_schedule, h.beta_schedule, h.epsilon_schedule)
        for name in "ABC"
        for h in [config.settings_for(name).hyperparameters]
    }
    assert schedules == {
        "A": ("constant", "constant", "constant"),
        "B": ("constant", "linear", "constant"),
        "C": ("linear", "constant", "linear"),
    }


def test_even_checkpoints_spread_over_the_run(write: Write) -> None:
    text = "behaviors: {A: {max_steps: 1000, keep_checkpoints: 4, even_checkpoints: true, checkpoint_interval: 7}}"
    assert load_config(write(text), {}).settings_for("A").checkpoint_interval == 250


@pytest.mark.parametrize(
    ("written", "value"), [("1e-4", 1e-4), ("3E-04", 3e-4), ("5e0", 5.0), (".5", 0.5), ("1", 1.0), ("1_0.5", 10.5)]
)
def test_numbers_are_read_as_people_write_them(write: Write, written: str, value: float) -> None:
    text = f"behaviors: {{A: {{trainer_type: ppo, hyperparameters: {{learning_rate: {written}}}}}}}"
    assert load_config(write(text), {}).settings_for("A").hyperparameters.learning_rate == value


@pytest.mark.parametrize(
    ("written", "steps"), [("5.0e5", 500_000), ("5e5", 500_000), ("20.0", 20), ("010", 10), ("1_000", 1000)]
)
def test_whole_numbers_may_be_written_as_floats(write: Write, written: str, steps: int) -> None:
    max_steps = load_config(write(f"behaviors: {{A: {{max_steps: {written}}}}}"), {}).settings_for("A").max_steps
    assert max_steps == steps
    assert type(max_steps) is int


def test_texts_that_yaml_takes_for_dates_and_times_stay_texts(write: Write) -> None:
    config = load_config(write("checkpoint_settings: {run_id: 2026-01-31, results_dir: 1:30}"), {})
    assert (config.checkpoint_settings.run_id, config.checkpoint_settings.results_dir) == ("2026-01-31", "1:30")


def test_anchors_and_merge_keys(write: Write) -> None:
    config = load_config(
        write("""
behaviors:
  A: &a {max_steps: 10, time_horizon: 5}
  B: {max_steps: 20, <<: *a}
"""),
        {},
    )
    assert (config.settings_for("B").max_steps, config.settings_for("B").time_horizon) == (20, 5)


def test_environment_parameters_and_arguments_of_the_player(write: Write) -> None:
    config = load_config(
        write("environment_parameters: {mass: 2, scale: 0.5}\nenv_settings: {env_args: [--agents, 12, --x]}"), {}
    )
    assert config.environment_parameters == {"mass": 2.0, "scale": 0.5}
    assert config.env_settings.env_args == ["--agents", "12", "--x"]


def test_the_command_line_wins_over_the_file(write: Write) -> None:
    path = write("behaviors: {A: {max_steps: 10}}\nenv_settings: {seed: 1, base_port: 6000}\ndebug: false")
    overrides = {
        "env_settings": {"seed": 2},
        "debug": True,
        "behaviors": {"*": {"network_settings": {"deterministic": True}}},
    }
    config = load_config(path, overrides)
    assert (config.env_settings.seed, config.env_settings.base_port, config.debug) == (2, 6000, True)
    assert config.settings_for("A").network_settings.deterministic
    assert config.settings_for("A").max_steps == 10
    assert load_config(None, overrides).settings_for("Any").network_settings.deterministic


def test_resume_and_initialize_from_exclude_each_other(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    def outcome(text: str, given: dict[str, Any]) -> tuple[bool, str | None]:
        config = load_config(write(f"checkpoint_settings: {{{text}}}"), {"checkpoint_settings": given})
        return config.checkpoint_settings.resume, config.checkpoint_settings.initialize_from

    assert outcome("resume: true, initialize_from: a", {}) == (True, None)
    assert outcome("resume: true", {"initialize_from": "a"}) == (False, "a")
    assert outcome("initialize_from: a", {"resume": True}) == (True, None)
    assert outcome("", {"resume": True, "initialize_from": "a"}) == (True, None)
    assert outcome("load_model: true", {}) == (True, None)
    assert "initialize_from has no effect" in caplog.text


def test_threaded_is_accepted_with_a_warning(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load_config(write("behaviors: {A: {threaded: true}}"), {})
    assert "behaviors.A.threaded has no effect" in caplog.text


def test_the_effective_settings_load_again_as_the_same(write: Write) -> None:
    config = load_config(
        write("""
default_settings: {max_steps: 7e4, init_path: a.pt}
behaviors:
  Bäll: {trainer_type: ppo, hyperparameters: {learning_rate: 1e-7, learning_rate_schedule: constant}, init_path: null}
  "123": {even_checkpoints: true}
environment_parameters: {mass: 1}
"""),
        {"env_settings": {"env_args": ["-x", "1e5"]}},
    )
    assert load_config(write(config.to_yaml()), {}) == config
    plain = yaml.safe_load(config.to_yaml())  # as other programs read it
    assert plain["behaviors"]["Bäll"]["hyperparameters"]["learning_rate"] == 1e-7
    assert plain["env_settings"]["env_args"] == ["-x", "1e5"]
    without_file = load_config(None, {})
    assert load_config(write(without_file.to_yaml()), {}) == without_file


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cs"])))
def test_any_text_survives_writing_and_reading(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    config = RunConfig.model_validate({"checkpoint_settings": {"run_id": text, "results_dir": "1e5"}})
    path.write_bytes(config.to_yaml().encode())
    assert load_config(path, {}) == config
    assert yaml.safe_load(path.read_bytes())["checkpoint_settings"]["run_id"] == text


# What is wrong with a file


def test_a_typo_is_one_line_with_place_key_and_proposal(write: Write) -> None:
    path = write("behaviors:\n  3DBall:\n    trainer_type: ppo\n    hyperparameters:\n      learning_rat: 0.1\n")
    assert message(path) == (
        "run.yaml:5: behaviors.3DBall.hyperparameters.learning_rat: unknown key, did you mean 'learning_rate'?"
    )


def test_all_errors_are_listed_at_once_in_the_order_of_the_file(write: Write) -> None:
    path = write("""\
default_settings:
  trainer_type: ppo
  hyperparameters:
    beta: "1e-4"
behaviors:
  A:
    max_steps: -5
    network_settings: {normalize: "true", vis_encode_type: resnett}
    hyperparameters:
      batch_size: 64
      buffer_size: 32
      gamma: .inf
  B:
    normalize: true
environment_parameters:
  mass: {sampler_type: uniform}
engine_settings: [1]
env_settings: {num_envs: 2}
checkpoint_settings: {run_id: 12, resume: null}
""")
    assert message(path, {"env_settings": {"num_areas": 0}}).splitlines() == [
        "13 errors in run.yaml:",
        "--num-areas: expected at least 1, found 0",
        "run.yaml:4: default_settings.hyperparameters.beta: expected a number, found the text '1e-4'; "
        "write the number without quotes",
        "run.yaml:7: behaviors.A.max_steps: expected at least 1, found -5",
        "run.yaml:8: behaviors.A.network_settings.normalize: expected true or false, found the text 'true'; "
        "write it without quotes",
        "run.yaml:8: behaviors.A.network_settings.vis_encode_type: expected 'fully_connected', 'match3', 'simple', "
        "'nature_cnn' or 'resnet', found the text 'resnett', did you mean 'resnet'?",
        "run.yaml:11: behaviors.A.hyperparameters.buffer_size: expected at least batch_size (64), found 32",
        "run.yaml:12: behaviors.A.hyperparameters.gamma: unknown key; known are batch_size, buffer_size, "
        "learning_rate, beta, epsilon, lambd, num_epoch, shared_critic, learning_rate_schedule, beta_schedule, "
        "epsilon_schedule, value_clipping",
        "run.yaml:14: behaviors.B.normalize: unknown key, it belongs in behaviors.B.network_settings",
        "run.yaml:16: environment_parameters.mass: a sampler or a curriculum is not supported yet; give a number",
        "run.yaml:17: engine_settings: expected a mapping of keys to values, found a list",
        "run.yaml:18: env_settings.num_envs: expected 1, because without env_path (--env) the Editor is the only "
        "environment, found 2",
        "run.yaml:19: checkpoint_settings.resume: expected true or false, found nothing",
        "run.yaml:19: checkpoint_settings.run_id: expected a text, found 12; write it in quotes if it is meant as a "
        "text",
    ]


@pytest.mark.parametrize(
    ("section", "setting", "expectation"),
    [
        ("hyperparameters", "batch_size: 0", "at least 1, found 0"),
        ("hyperparameters", "batch_size: 1.5", "a whole number, found 1.5"),
        ("hyperparameters", "batch_size: true", "a whole number, found true"),
        ("hyperparameters", "learning_rate: 0", "more than 0.0, found 0"),
        ("hyperparameters", "learning_rate: .nan", "a finite number, found nan"),
        ("hyperparameters", "epsilon: 0.0", "more than 0.0, found 0.0"),
        ("hyperparameters", "beta: -1e-3", "at least 0.0, found -0.001"),
        ("hyperparameters", "lambd: 1.01", "at most 1.0, found 1.01"),
        ("hyperparameters", "num_epoch: 0", "at least 1, found 0"),
        ("hyperparameters", "batch_size: 20000", "at least batch_size (20000), found 10240 (the default)"),
        ("network_settings", "hidden_units: 0", "at least 1, found 0"),
        ("network_settings", "num_layers: 0", "at least 1, found 0"),
        ("reward_signals", "extrinsic: {gamma: -0.1}", "at least 0.0, found -0.1"),
    ],
)
def test_values_out_of_range(write: Write, section: str, setting: str, expectation: str) -> None:
    text = f"behaviors: {{A: {{trainer_type: ppo, {section}: {{{setting}}}}}}}"
    assert message(write(text)).endswith(f"expected {expectation}")


@pytest.mark.parametrize("key", ["time_horizon", "summary_freq", "keep_checkpoints", "max_steps"])
def test_counts_are_at_least_one(write: Write, key: str) -> None:
    found = message(write(f"behaviors:\n  A:\n    {key}: 0"))
    assert found == f"run.yaml:3: behaviors.A.{key}: expected at least 1, found 0"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("trainer_type: sac, hyperparameters: {tau: 0.1}", "trainer_type"),
        ("trainer_type: poca", "trainer_type"),
        ("reward_signals: {gail: {demo_path: a.demo}}", "reward_signals.gail"),
        ("reward_signals: {curiosity: {strength: 0.1, encoding_size: 3}}", "reward_signals.curiosity"),
        ("reward_signals: {rnd: {}}", "reward_signals.rnd"),
        ("behavioral_cloning: {demo_path: a.demo}", "behavioral_cloning"),
        ("self_play: {window: 10}", "self_play"),
        ("network_settings: {memory: {memory_size: 64}}", "network_settings.memory"),
    ],
)
def test_what_ml_agents_can_and_this_cannot_is_refused_by_name(write: Write, text: str, path: str) -> None:
    found = message(write(f"behaviors: {{A: {{{text}}}}}"))
    assert found.startswith(f"run.yaml:1: behaviors.A.{path}: ")
    assert "not supported yet" in found
    assert "\n" not in found


def test_a_file_that_ml_agents_wrote_with_such_parts_empty_is_accepted(write: Write) -> None:
    text = """behaviors: {A: {self_play: null, behavioral_cloning: null, network_settings:
        {memory: null, goal_conditioning_type: hyper}}}
environment_parameters: null
torch_settings: {device: null}"""
    load_config(write(text), {})


def test_hyperparameters_need_a_trainer_type(write: Write) -> None:
    assert message(write("behaviors:\n  A:\n    hyperparameters: {}")) == (
        "run.yaml:2: behaviors.A.trainer_type: missing, but needed with hyperparameters; add 'trainer_type: ppo'"
    )
    text = "default_settings: {trainer_type: ppo}\nbehaviors: {A: {hyperparameters: {}}}"
    assert load_config(write(text), {}).settings_for("A").trainer_type == "ppo"


def test_a_key_that_is_given_twice(write: Write) -> None:
    assert message(write("behaviors:\n  A: {max_steps: 1}\n  A: {max_steps: 2}")) == (
        "run.yaml:3: behaviors.A: given twice, first in line 2; remove one"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("behaviors:\n  A: {max_steps: 1", "run.yaml:2:"),
        ("behaviors:\n\tA: 1", "indent with spaces instead of tabs"),
        ("a: &x {b: *x}", "an alias inside of what it stands for"),
        ("a: !!python/object/apply:os.getcwd []", "run.yaml:1:4: not valid YAML: could not determine a constructor"),
        ("a: 1\n---\nb: 1", "run.yaml:2:1: not valid YAML"),
        ("? [a, b]\n: 1", "expected a plain word as key"),
        ("- behaviors", "run.yaml: expected a mapping with keys such as 'behaviors:'"),
        ("[" * 1500, "run.yaml: cannot be read as YAML"),
    ],
)
def test_what_is_no_yaml_or_no_mapping_is_one_line(write: Write, text: str, expected: str) -> None:
    found = message(write(text))
    assert expected in found
    assert "\n" not in found


def test_a_file_in_another_encoding(write: Write) -> None:
    path = write("")
    path.write_bytes("behaviors: {Bäll: {}}".encode("latin-1"))
    assert message(path).startswith("run.yaml: cannot be read as YAML in UTF-8: ")
    path.write_bytes("behaviors: {Bäll: {}}".encode("utf-8-sig"))
    assert load_config(path, {}).behaviors.keys() == {"Bäll"}


def test_a_file_that_is_not_there(write: Write) -> None:
    write("").rename("Walker.yaml")
    built_in = "(built-in configurations: 3DBall)"
    assert message(Path("walker.yml")) == (
        f"configuration 'walker.yml' not found, did you mean 'Walker.yaml'? {built_in}"
    )
    assert message(Path("3dball")) == f"configuration '3dball' not found, did you mean '3DBall'? {built_in}"
    assert message(Path("nowhere/x.yaml")) == f"configuration '{Path('nowhere/x.yaml')}' not found {built_in}"
    assert message(Path()) == f"configuration '.' is a folder, expected a YAML file {built_in}"


def test_a_wrong_value_on_the_command_line_names_the_flag() -> None:
    assert message(None, {"env_settings": {"num_envs": 2}}) == (
        "--num-envs: expected 1, because without env_path (--env) the Editor is the only environment, found 2"
    )
    assert message(None, {"torch_settings": {"device": "cuda 1"}}) == (
        "--torch-device: expected a torch device such as cpu, cuda, cuda:1 or mps, found the text 'cuda 1'"
    )
    assert message(None, {"env_settings": {"base_port": 70000, "seed": -2}}).splitlines() == [
        "2 errors in command line:",
        "--base-port: expected at most 65535, found 70000",
        "--seed: expected at least -1, found -2",
    ]


def test_a_section_of_the_wrong_kind_is_not_hidden_by_the_command_line(write: Write) -> None:
    assert message(write("env_settings: 3"), {"env_settings": {"seed": 1}}) == (
        "run.yaml:1: env_settings: expected a mapping of keys to values, found 3"
    )
    assert message(write("behaviors: [A]"), {"behaviors": {"*": {"network_settings": {"deterministic": True}}}}) == (
        "run.yaml:1: behaviors: expected a mapping of keys to values, found a list"
    )


def test_reading_a_configuration_does_not_import_torch() -> None:
    code = "import sys, trainers.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
