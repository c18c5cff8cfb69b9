"""`reward_signals` of the configuration: ML-Agents' keys, defaults and what it says about old ones."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
import yaml

from trainers.commands import main
from trainers.config import RunConfig, load_config
from trainers.config_reward_signals import Curiosity, RandomNetworkDistillation, RewardSignal
from trainers.errors import UsageError

Write = Callable[[str], Path]

ALL = """
behaviors:
  A:
    reward_signals:
      rnd: {network_settings: {normalize: true}}
      extrinsic: {gamma: 0.9}
      curiosity: {strength: 0.02, learning_rate: 1e-3, encoding_size: 64}
"""


@pytest.fixture
def signals(write: Write) -> Callable[[str], dict[str, RewardSignal]]:
    """What becomes of the text behind `reward_signals:` of behavior A."""

    def load(text: str) -> dict[str, RewardSignal]:
        return load_config(write(f"behaviors: {{A: {{reward_signals: {text}}}}}"), {}).behaviors["A"].reward_signals

    return load


Signals = Callable[[str], dict[str, RewardSignal]]


def test_the_defaults_are_those_of_ml_agents(signals: Signals) -> None:
    found = signals("{extrinsic: , curiosity: , rnd: }")
    assert [type(signal) for signal in found.values()] == [RewardSignal, Curiosity, RandomNetworkDistillation]
    assert [(signal.gamma, signal.strength) for signal in found.values()] == [(0.99, 1.0)] * 3
    assert (found["curiosity"].learning_rate, found["rnd"].learning_rate) == (3e-4, 1e-4)
    for signal in found.values():
        network = signal.network_settings
        assert (network.normalize, network.hidden_units, network.num_layers, network.memory) == (False, 128, 2, None)


@pytest.mark.parametrize("text", ["", "{}"])
def test_without_any_the_extrinsic_reward_is_learned_from(signals: Signals, text: str) -> None:
    assert list(signals(text)) == ["extrinsic"]


def test_the_extrinsic_reward_is_not_learned_from_when_only_others_are_given(signals: Signals) -> None:
    assert list(signals("{curiosity: {strength: 0.1}}")) == ["curiosity"]


def test_behaviors_add_signals_to_those_of_the_default_settings(write: Write) -> None:
    text = """
default_settings: {reward_signals: {extrinsic: {gamma: 0.9}}}
behaviors: {A: {reward_signals: {curiosity: {gamma: 0.5}}}}
"""
    found = load_config(write(text), {}).behaviors["A"].reward_signals
    assert {name: signal.gamma for name, signal in found.items()} == {"extrinsic": 0.9, "curiosity": 0.5}


def test_what_is_in_effect_loads_back(write: Write) -> None:
    config = load_config(write(ALL), {})
    found = yaml.safe_load(config.to_yaml())["behaviors"]["A"]["reward_signals"]
    assert {name: list(signal) for name, signal in found.items()} == {
        "extrinsic": ["gamma", "strength", "network_settings"],
        "curiosity": ["gamma", "strength", "network_settings", "learning_rate"],
        "rnd": ["gamma", "strength", "network_settings", "learning_rate"],
    }
    again = load_config(write(config.to_yaml()), {})
    assert again.to_yaml() == config.to_yaml()
    assert again.behaviors["A"].reward_signals["curiosity"].network_settings.hidden_units == 64


def test_dry_run_prints_it(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["learn", str(write(ALL)), "--dry-run"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    curiosity = printed["behaviors"]["A"]["reward_signals"]["curiosity"]
    assert (curiosity["strength"], curiosity["network_settings"]["hidden_units"]) == (0.02, 64)
    assert RunConfig.model_validate(printed)


@pytest.mark.parametrize("name", ["curiosity", "rnd"])
@pytest.mark.parametrize("network, units", [("", 64), (", network_settings: {hidden_units: 32}", 32)])
def test_encoding_size_means_hidden_units_unless_there_are_network_settings(
    signals: Signals, name: str, network: str, units: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = signals(f"{{{name}: {{encoding_size: 64{network}}}}}")
    assert found[name].network_settings.hidden_units == units
    assert caplog.messages == [
        f"behaviors.A.reward_signals.{name}.encoding_size is deprecated; use network_settings.hidden_units, which wins "
        "over it."
    ]


@pytest.mark.parametrize("name", ["curiosity", "rnd"])
def test_a_memory_is_ignored_with_a_warning(signals: Signals, name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        signals(f"{{{name}: {{network_settings: {{memory: {{memory_size: 8}}}}}}}}")
    assert caplog.messages == [
        f"behaviors.A.reward_signals.{name}.network_settings.memory has no effect: the networks of reward signals have "
        "no memory."
    ]


def test_other_signals_give_no_warning(signals: Signals, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        signals("{extrinsic: {network_settings: {memory: {memory_size: 8}}}, curiosity: {}, rnd: {}}")
    assert not caplog.messages


@pytest.mark.parametrize(
    "text, message",
    [
        ("{curiousity: {}}", "curiousity: unknown key, did you mean 'curiosity'?"),
        ("{novelty: {}}", "novelty: unknown key; known are extrinsic, curiosity, rnd, gail"),
        ("{extrinsic: {learning_rate: 1e-3}}", "extrinsic.learning_rate: unknown key, it belongs in "
         "behaviors.A.reward_signals.curiosity"),
        ("{extrinsic: {encoding_size: 3}}", "extrinsic.encoding_size: unknown key, it belongs in "
         "behaviors.A.reward_signals.curiosity"),
        ("{rnd: {learning_rat: 1e-3}}", "rnd.learning_rat: unknown key, did you mean 'learning_rate'?"),
        ("{rnd: {learning_rate: 0}}", "rnd.learning_rate: expected more than 0.0, found 0"),
        ("{curiosity: {encoding_size: 0}}", "curiosity.encoding_size: expected at least 1, found 0"),
        ("{curiosity: {strength: -1}}", "curiosity.strength: expected at least 0.0, found -1"),
        ("{rnd: 3}", "rnd: expected a mapping of keys to values, found 3"),
        ("{gail: {demo_path: a.demo}}", "gail: the reward signal gail is not supported yet; extrinsic, curiosity and "
         "rnd are"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_one_line(signals: Signals, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        signals(text)
    assert str(caught.value) == f"run.yaml:1: behaviors.A.reward_signals.{message}"


def test_something_else_than_a_mapping_is_told(signals: Signals) -> None:
    with pytest.raises(
        UsageError, match=r"behaviors\.A\.reward_signals: expected a mapping of keys to values, found 3"
    ):
        signals("3")


@pytest.mark.parametrize(
    "text, fits",
    [
        (ALL, True),
        ("behaviors: {A: {reward_signals: {rnd: }}}", True),
        ("behaviors: {A: {reward_signals: {gail: {}}}}", False),
        ("behaviors: {A: {reward_signals: {gail: }}}", False),
        ("behaviors: {A: {reward_signals: {fun: {}}}}", False),
        ("behaviors: {A: {reward_signals: {rnd: {learning_rate: 0}}}}", False),
        ("behaviors: {A: {reward_signals: {extrinsic: {encoding_size: 3}}}}", False),
    ],
)
def test_the_schema_takes_and_marks_the_same(text: str, fits: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    validator = jsonschema.Draft202012Validator(json.loads(capsys.readouterr().out))
    content = yaml.safe_load(text.replace("1e-3", "0.001"))
    assert validator.is_valid(content) == fits
