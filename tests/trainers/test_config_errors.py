"""What a user reads when something in a configuration is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainers.config import load_config
from trainers.errors import UsageError

Write = Callable[[str], Path]


def message(path: Path | None, overrides: dict[str, Any] | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        load_config(path, overrides or {})
    return str(caught.value)


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
        "epsilon_schedule, value_clipping, joint_ratio, max_grad_norm, target_kl",
        "run.yaml:14: behaviors.B.normalize: unknown key, it belongs in behaviors.B.network_settings",
        "run.yaml:16: environment_parameters.mass.sampler_parameters: missing; it has to be given",
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
        ("reward_signals: {gail: }", "reward_signals.gail"),
        ("behavioral_cloning: {demo_path: a.demo}", "behavioral_cloning"),
        ("self_play: {window: 10}", "self_play"),
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
    built_in = "(built-in configurations: 3DBall, 3DBallDiscrete, 3DBallHard, Basic, CubeMover, PoleBalancer)"
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
