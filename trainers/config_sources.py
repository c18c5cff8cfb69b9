"""Where settings come from: a file or a built-in configuration, its default_settings, and the command line on top."""

import logging
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from trainers.errors import UsageError, near_names
from trainers.yaml_lines import Document, read_yaml

logger = logging.getLogger(__name__)

_PART = r'"[^"]+"|[^."]+'  # of a key that is written with dots
_KEY = re.compile(rf"(?:{_PART})(?:\.(?:{_PART}))*")


def built_in_configurations() -> list[str]:
    """The names of the configurations that come with this package."""
    files = (resources.files("trainers") / "configs").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def read_configuration(path: Path) -> Document:
    """Read the YAML file `path`, or the built-in configuration of that name if there is no such file.

    Raises UsageError if there is neither, or if the file is not a mapping in YAML.
    """
    document = _read(path)
    if document.data is None:
        document.data = {}
    if not isinstance(document.data, Mapping):
        raise UsageError(f"{document.name}: expected a mapping with keys such as 'behaviors:', found something else")
    return document


def merge_sources(document: Document, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """One nested mapping of all that is given: default_settings under each behavior, `overrides` on top."""
    merged: dict[str, Any] = override(document.data, {**overrides, "behaviors": {}})
    of_behaviors = dict(overrides.get("behaviors", {}))
    of_every_behavior = of_behaviors.pop("*", None)
    defaults, behaviors = merged.get("default_settings"), merged["behaviors"]
    if isinstance(defaults, Mapping):
        defaults = merged["default_settings"] = override(defaults, of_every_behavior or {})
    if isinstance(behaviors, Mapping):
        merged["behaviors"] = {
            name: override(merge(defaults, behaviors.get(name)), of_every_behavior or {}, of_behaviors.get(name, {}))
            for name in {**behaviors, **of_behaviors}
        }
    if isinstance(merged.get("checkpoint_settings"), Mapping):
        given = set(overrides.get("checkpoint_settings", {}))
        merged["checkpoint_settings"] = _resume_or_initialize(merged["checkpoint_settings"], given)
    return merged


def read_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """`["a.b.c=1"]` as `{"a": {"b": {"c": 1}}}`: values are YAML, keys with dots in them stand in double quotes.

    Raises UsageError for a text that is none.
    """
    given: Any = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not _KEY.fullmatch(key):
            raise UsageError(f"--set {assignment}: expected KEY=VALUE, such as behaviors.3DBall.max_steps=1000")
        nested = read_yaml(value.encode(), f"--set {assignment}").data
        for part in reversed(re.findall(_PART, key)):
            nested = {part.strip('"'): nested}
        given = merge(given, nested)
    result: dict[str, Any] = given
    return result


def behaviors_without_trainer_type(data: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The paths of the sections that have hyperparameters, but no trainer_type that these could belong to."""
    paths: list[tuple[str, ...]] = [("default_settings",)]
    if isinstance(data.get("behaviors"), Mapping):
        paths += [("behaviors", name) for name in data["behaviors"]]
    missing = []
    for path in paths:
        settings: Any = data
        for key in path:
            settings = settings.get(key)
        if isinstance(settings, Mapping) and "hyperparameters" in settings and "trainer_type" not in settings:
            missing.append(path)
    return missing


def merge(*layers: Any) -> Any:
    """Mappings put together: later layers win, key by key.

    An empty section changes nothing; what is no section stays, to be reported.
    """
    result: Any = None
    for layer in layers:
        if not isinstance(layer, Mapping):
            if layer is not None or not isinstance(result, Mapping):
                result = layer
        elif result is None or isinstance(result, Mapping):
            base = result or {}
            result = {**base, **{key: merge(base.get(key), value) for key, value in layer.items()}}
    return result


def override(*layers: Any) -> Any:
    """As `merge`, but nothing (null) where a section was takes the section away."""
    result: Any = None
    for layer in layers:
        if not isinstance(layer, Mapping):
            result = layer
        elif result is None or isinstance(result, Mapping):
            base = result or {}
            result = {**base, **{key: override(base.get(key), value) for key, value in layer.items()}}
    return result


def _resume_or_initialize(settings: Mapping[str, Any], given: set[str]) -> dict[str, Any]:
    """`resume` and `initialize_from` exclude each other: the one on the command line (`given`) wins, else `resume`."""
    settings = dict(settings)
    if settings.get("load_model") is True:
        logger.warning("checkpoint_settings.load_model (--load) is deprecated; taken as resume (--resume).")
        settings["resume"] = True
    if settings.get("train_model") is True:
        logger.warning("checkpoint_settings.train_model (--train) is deprecated; it changes nothing.")
    if settings.get("resume") is True and settings.get("initialize_from") is not None:
        if "initialize_from" in given and not given & {"resume", "load_model"}:
            logger.warning("initialize_from is given on the command line: the run is not resumed.")
            settings["resume"] = False
        else:
            logger.warning("The run is resumed: initialize_from has no effect.")
            settings["initialize_from"] = None
    return settings


def _read(path: Path) -> Document:
    try:
        if path.exists() and not path.is_dir():
            return read_yaml(path.read_bytes(), str(path))
        name = path.name.removesuffix(".yaml")
        if path.name == str(path) and name in built_in_configurations():
            file = resources.files("trainers") / "configs" / f"{name}.yaml"
            return read_yaml(file.read_bytes(), file.name)
        raise UsageError(_not_found(path))
    except OSError as error:
        raise UsageError(f"configuration '{path}' cannot be read: {error.strerror}") from error


def _not_found(path: Path) -> str:
    built_in = built_in_configurations()
    problem = "is a folder, expected a YAML file" if path.is_dir() else "not found"
    neighbours = [str(file) for file in path.parent.glob("*.y*ml")]
    near = near_names(str(path), neighbours) or near_names(path.stem, built_in)
    question = f", did you mean '{near[0]}'?" if near else ""
    return f"configuration '{path}' {problem}{question} (built-in configurations: {', '.join(built_in)})"
