"""What a configuration file may say and what it means."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trainers.config import RunConfig, load_config
from trainers.errors import UsageError

Write = Callable[[str], Path]


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
            "joint_ratio": False,
            "max_grad_norm": None,
            "target_kl": None,
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
        "lockstep": False,
        "listen": None,
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
    assert config.model_dump()["environment_parameters"] == {"mass": 2.0, "scale": 0.5}
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


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("default_settings: {reward_signals: {curiosity: {encoding_size: 16}}}", "default_settings.*encoding_size"),
        ("checkpoint_settings: {train_model: true}", "train_model"),
        ("checkpoint_settings: {load_model: true}", "load_model"),
    ],
)
def test_former_spellings_are_taken_with_a_warning(
    write: Write, caplog: pytest.LogCaptureFixture, text: str, word: str
) -> None:
    load_config(write(text), {})
    assert re.search(word, caplog.text)


def test_an_assignment_of_nothing_takes_a_section_away(write: Write) -> None:
    path = write("behaviors: {A: {network_settings: {num_layers: 3, memory: {memory_size: 16}}}}")
    settings = load_config(path, {}, ["behaviors.A.network_settings.memory=null"]).behaviors["A"].network_settings
    assert settings.memory is None
    assert settings.num_layers == 3


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
@example("\x85")
@example("1e5")
@example("2026-01-31")
@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cs"])))
def test_any_text_survives_writing_and_reading(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    config = RunConfig.model_validate({"checkpoint_settings": {"run_id": text, "results_dir": "1e5"}})
    path.write_bytes(config.to_yaml().encode())
    assert load_config(path, {}) == config
    assert yaml.safe_load(path.read_bytes())["checkpoint_settings"]["run_id"] == text


def test_reading_a_configuration_does_not_import_torch() -> None:
    code = "import sys, trainers.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


# ---- --set ----


def test_assignments_win_over_everything(write: Write) -> None:
    path = write("behaviors: {A: {trainer_type: ppo, max_steps: 10}, My.Ball: {trainer_type: ppo}}")
    config = load_config(
        path,
        {"env_settings": {"seed": 1}},
        [
            "behaviors.A={max_steps: 1e3}",
            "behaviors.A.reward_signals.extrinsic.gamma=0.98",
            'behaviors."My.Ball".time_horizon=7',
            "behaviors.*.summary_freq=9",
            "env_settings.seed=2",
            "environment_parameters.size={sampler_type: uniform, sampler_parameters: {max_value: 3}}",
        ],
    )
    one, other = config.settings_for("A"), config.settings_for("My.Ball")
    assert (one.max_steps, one.reward_signals["extrinsic"].gamma, one.summary_freq) == (1000, 0.98, 9)
    assert (other.time_horizon, other.summary_freq, config.env_settings.seed) == (7, 9, 2)
    assert config.environment_parameters["size"].curriculum[0].value.sampler_parameters.max_value == 3.0


@pytest.mark.parametrize("text", ["max_steps", "=3", "a..b=1", ".a=1", "a.=1", 'a."b=1'])
def test_what_is_no_assignment_is_told(text: str) -> None:
    with pytest.raises(UsageError, match=r"expected KEY=VALUE, such as behaviors.3DBall.max_steps=1000"):
        load_config(None, {}, [text])


def test_a_mistake_in_an_assignment_names_it(write: Write) -> None:
    path = write("behaviors: {A: {trainer_type: ppo}}")
    wrong = ["behaviors.A.max_steps=0", "behaviors.A.gama=1", "behaviors.*.summary_freq=x"]
    with pytest.raises(UsageError) as error:
        load_config(path, {}, wrong)
    lines = str(error.value).splitlines()
    assert lines[0] == "3 errors in run.yaml:"
    assert lines[1].startswith("--set behaviors.*.summary_freq: expected a whole number, found the text 'x'")
    assert lines[2].startswith("--set behaviors.A.gama: unknown key")
    assert lines[3] == "--set behaviors.A.max_steps: expected at least 1, found 0"
