"""The settings of a network's memory: ML-Agents' keys, defaults and limits."""

from collections.abc import Callable
from pathlib import Path

import pytest

from trainers.config import RunConfig, load_config
from trainers.config_network import MemorySettings
from trainers.errors import UsageError

Load = Callable[[str], RunConfig]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    monkeypatch.chdir(tmp_path)

    def load_text(text: str) -> RunConfig:
        Path("run.yaml").write_text(text, encoding="utf-8")
        return load_config(Path("run.yaml"), {})

    return load_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", (64, 128)),
        ("{sequence_length: 16, memory_size: 2}", (16, 2)),
        ("{sequence_length: 1024}", (1024, 128)),  # the default of batch_size
    ],
)
def test_a_memory_has_ml_agents_defaults(load: Load, text: str, expected: tuple[int, int]) -> None:
    memory = load(f"behaviors: {{A: {{network_settings: {{memory: {text}}}}}}}").behaviors["A"].network_settings.memory
    assert memory == MemorySettings(sequence_length=expected[0], memory_size=expected[1])


@pytest.mark.parametrize("text", ["null", "", "null, hidden_units: 8"])
def test_there_is_no_memory_unless_it_is_asked_for(load: Load, text: str) -> None:
    config = load(f"behaviors: {{A: {{network_settings: {{memory: {text}}}}}}}")
    assert config.behaviors["A"].network_settings.memory is None


def test_the_settings_survive_being_written(load: Load) -> None:
    config = load("behaviors: {A: {network_settings: {memory: {sequence_length: 8, memory_size: 6}}}}")
    assert load(config.to_yaml()) == config


@pytest.mark.parametrize(
    ("text", "path", "problem"),
    [
        ("{memory_size: 7}", "memory.memory_size", "expected an even number, half for .*, found 7"),
        ("{memory_size: 0}", "memory.memory_size", "expected at least 1, found 0"),
        ("{sequence_length: 0}", "memory.sequence_length", "expected at least 1, found 0"),
        ("{sequences: 3}", "memory.sequences", ".*"),
        ("3", "memory", "expected a mapping of keys to values, found 3"),
    ],
)
def test_what_no_memory_can_have_is_named(load: Load, text: str, path: str, problem: str) -> None:
    with pytest.raises(UsageError, match=rf"^run.yaml:1: behaviors.A.network_settings.{path}: {problem}$"):
        load(f"behaviors: {{A: {{network_settings: {{memory: {text}}}}}}}")


@pytest.mark.parametrize("section", ["behaviors: {A: ", "default_settings: {network_settings: {}}\nbehaviors: {A: "])
def test_a_sequence_is_no_longer_than_a_batch(load: Load, section: str) -> None:
    settings = (
        "{{trainer_type: ppo, hyperparameters: {{batch_size: 32}}, "
        "network_settings: {{memory: {{sequence_length: {}}}}}}}}}"
    )
    with pytest.raises(
        UsageError,
        match=r"^run.yaml:\d: behaviors.A.network_settings: memory.sequence_length \(33\) must be at most "
        r"hyperparameters.batch_size \(32\)$",
    ):
        load(section + settings.format(33))
    load(section + settings.format(32))
