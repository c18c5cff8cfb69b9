"""trainers/README.md: no flag and no key is without a row, and no row without a flag or key."""

import argparse
import re
from pathlib import Path

from pydantic import BaseModel

import trainers
from trainers.commands import learn
from trainers.config import (
    CheckpointSettings,
    EngineSettings,
    EnvironmentSettings,
    Hyperparameters,
    NetworkSettings,
    TorchSettings,
    TrainerSettings,
)
from trainers.config_network import MemorySettings

TEXT = Path(trainers.__path__[0]).joinpath("README.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
# Of ML-Agents, and not models of ours.
REFUSED = {"reward_signals.gail"}
PARAMETERS = {f"environment_parameters{key}" for key in ("", ".sampler_type", ".sampler_parameters", ".curriculum")}
SIGNALS = {f"reward_signals.{kind}.learning_rate" for kind in ("curiosity", "rnd")} | {
    f"reward_signals.{key}" for key in ("extrinsic", "curiosity", "rnd", "gamma", "strength", "network_settings")
}


def rows(section: str) -> dict[str, tuple[str, ...]]:
    """First cell without quotes and arguments -> the others."""
    lines = [line for line in SECTIONS[section].splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].strip("`").split(" ")[0]: tuple(row[1:]) for row in cells}


def keys(model: type[BaseModel], prefix: str) -> set[str]:
    return {f"{prefix}{name}" for name in model.model_fields}


def test_every_flag_has_a_row() -> None:
    parser = argparse.ArgumentParser()
    learn.add_arguments(parser)
    known = {option for action in parser._actions for option in action.option_strings} - {"-h", "--help"}
    of_ml_agents, ours = rows("Flags"), {name for name in rows("Ours") if name.startswith("--")}
    there = {flag for flag, (here, _) in of_ml_agents.items() if here != "not yet"} - {"CONFIG"}
    assert there | ours == known
    assert not there & ours


def test_every_key_has_a_row() -> None:
    of_behaviors = keys(TrainerSettings, "") - {"hyperparameters", "network_settings", "reward_signals"}
    of_behaviors |= keys(Hyperparameters, "hyperparameters.") | SIGNALS
    of_behaviors |= keys(NetworkSettings, "network_settings.") | keys(MemorySettings, "network_settings.memory.")
    others = (
        keys(EnvironmentSettings, "env_settings.")
        | keys(EngineSettings, "engine_settings.")
        | keys(CheckpointSettings, "checkpoint_settings.")
        | keys(TorchSettings, "torch_settings.")
        | PARAMETERS
        | {"debug"}
    )
    ours = {name for name in rows("Ours") if not name.startswith("--")}
    assert set(rows("Keys of a behavior")) | {key for key in ours if key.startswith("hyper")} == of_behaviors | REFUSED
    assert set(rows("Other keys")) | {key for key in ours if key.startswith(("torch", "env_"))} == others


def test_every_row_says_how_it_is() -> None:
    for section in ("Flags", "Keys of a behavior", "Other keys"):
        for name, (here, _) in rows(section).items():
            assert here in ("same", "better", "not yet"), name


def test_every_tag_of_ours_is_written() -> None:
    source = "".join(path.read_text() for path in Path(trainers.__path__[0]).glob("*.py"))
    tags = re.findall(r"`((?:Policy|Losses|Performance)/[\w ]+)", SECTIONS["TensorBoard"])
    assert len(tags) == 6
    assert all(tag.strip() in source for tag in tags)
