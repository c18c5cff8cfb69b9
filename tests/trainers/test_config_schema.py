"""`mlbridge schema`: editors accept by it what `mlbridge learn` accepts, and mark what it refuses."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from trainers.commands import main
from trainers.config import load_config


@pytest.fixture
def validator(tmp_path: Path) -> Any:
    assert main(["schema", "--output", str(tmp_path / "schema.json")]) == 0
    schema = json.loads((tmp_path / "schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_it_accepts_the_built_in_configurations_and_what_is_in_effect(validator: Any) -> None:
    files = [file for file in (resources.files("trainers") / "configs").iterdir() if file.name.endswith(".yaml")]
    assert len(files) >= 3
    for file in files:
        validator.validate(yaml.safe_load(file.read_text()))
        validator.validate(yaml.safe_load(load_config(Path(file.name), {}).to_yaml()))


SAMPLER = "{sampler_type: uniform, sampler_parameters: {min_value: 0}}"


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "behaviors: {A: {trainer_type: ppo, hyperparameters: }}",
        f"environment_parameters: {{a: 1, b: {SAMPLER}, c: {{curriculum: [{{name: x, value: 2}}]}}}}",
    ],
)
def test_it_accepts(validator: Any, text: str) -> None:
    validator.validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    "text",
    [
        "behaviours: {}",
        "behaviors: {A: {max_steps: 0}}",
        "behaviors: {A: {hyperparameters: {lambd: 1.5}}}",
        "behaviors: {A: {network_settings: {vis_encode_type: big}}}",
        "environment_parameters: {a: big}",
        "environment_parameters: {a: {sampler_type: uniform}}",
        "environment_parameters: {a: {curriculum: []}}",
        "env_settings: {seed: -2}",
    ],
)
def test_it_marks(validator: Any, text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(yaml.safe_load(text))


def test_it_is_printed_without_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "mlagents-bridge run"


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--output", str(tmp_path / "none" / "schema.json")]) == 2
    assert "cannot be written" in capsys.readouterr().err
