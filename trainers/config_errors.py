"""Turns what pydantic finds wrong with a configuration into lines that a user can act on."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, NoReturn, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails, PydanticCustomError

from trainers.errors import UsageError, did_you_mean
from trainers.yaml_lines import Document, Path

_FLAGS = {"env_path": "--env", "device": "--torch-device"}  # the others are spelled like their keys
_DEFAULT = " (the default)"
_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a text",
    "list_type": "a list",
    "too_short": "{min_length} or more entries",
    "too_long": "{max_length} entries at most",
    "model_type": "a mapping of keys to values",
    "dict_type": "a mapping of keys to values",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "expected": "{expected}",
}


def expected(what: str) -> PydanticCustomError:
    """The error of a validator: the value is not `what`."""
    return PydanticCustomError("expected", "expected {expected}", {"expected": what})


def complete(text: str) -> PydanticCustomError:
    """The error of a validator, in words that need nothing more."""
    return PydanticCustomError("complete", "{text}", {"text": text})


def not_supported(what: str, remedy: str) -> PydanticCustomError:
    """The error of a validator: ML-Agents has `what`, this package has not yet."""
    return complete(f"{what} is not supported yet; {remedy}")


def raise_problems(
    model: type[BaseModel],
    document: Document,
    overrides: Mapping[str, Any],
    assigned: Mapping[str, Any],
    errors: Iterable[ErrorDetails],
    without_trainer_type: Iterable[Path],
) -> NoReturn:
    """Raise a UsageError that names every problem, each in one line, in the order of the file.

    errors: pydantic's, from the merged settings. without_trainer_type: the paths of behaviors whose hyperparameters
    have no trainer_type to belong to. overrides, assigned: what came from flags, and from --set.
    """
    by_flag, by_set = set(_leaves(overrides)), set(_leaves(assigned))
    problems: set[tuple[int, str]] = set()  # line, text; the same default_settings are found wrong in every behavior

    def add(location: Path, text: str) -> None:
        location = tuple(part for part in location if part != "[key]")
        of_every_behavior = (*location[:1], "*", *location[2:])
        given = of_every_behavior if of_every_behavior in by_flag | by_set else location
        if any(path[: len(given)] == given for path in by_set):
            problems.add((0, f"--set {'.'.join(map(str, given))}: {text.replace(_DEFAULT, '')}"))
            return
        if given in by_flag:
            key = str(location[-1])
            flag = _FLAGS.get(key, "--" + key.replace("_", "-"))
            problems.add((0, f"{flag}: {text.replace(_DEFAULT, '')}"))
            return
        location, line = _in_file(location, document)
        place = f"{document.name}:{line}" if line else document.name
        problems.add((line, f"{place}: {'.'.join(map(str, location))}: {text}"))

    for path, line, first_line in document.duplicates:
        text = (
            f"{document.name}:{line}: {'.'.join(map(str, path))}: given twice, first in line {first_line}; remove one"
        )
        problems.add((line, text))
    for path in without_trainer_type:
        add((*path, "trainer_type"), "missing, but needed with hyperparameters; add 'trainer_type: ppo'")
    errors = list(errors)
    # What is in a section that is refused as a whole, or belongs to a trainer that is, does not matter.
    refused = {error["loc"][:-1] for error in errors if error["loc"][-1:] == ("[key]",)}
    refused |= {
        (*error["loc"][:-1], "hyperparameters")
        for error in errors
        if error["loc"][-1:] == ("trainer_type",) and error["type"] == "complete"
    }
    for error in errors:
        location = error["loc"]
        if location[-1:] == ("[key]",) or not any(location[: len(section)] == section for section in refused):
            add(location, _explain(model, document, error))

    lines = [text for _, text in sorted(problems)]
    if len(lines) > 1:
        lines.insert(0, f"{len(lines)} errors in {document.name}:")
    raise UsageError("\n".join(lines))


def _explain(model: type[BaseModel], document: Document, error: ErrorDetails) -> str:
    kind, context, found = error["type"], error.get("ctx", {}), error["input"]
    if kind == "complete":
        return error["msg"]
    if kind == "extra_forbidden":
        return _explain_unknown_key(model, error["loc"])
    if kind == "missing":
        return "missing; it has to be given"
    text = f"expected {_EXPECTED[kind].format(**context)}" if kind in _EXPECTED else error["msg"]
    if kind == "literal_error":
        known = [option.strip("' ") for option in context["expected"].replace(" or ", ",").split(",")]
        return f"{text}, found {_show(found)}{did_you_mean(str(found), known)}"
    origin = "" if _in_file(error["loc"], document)[0] in document.lines else _DEFAULT
    return f"{text}, found {_show(found)}{origin}{_hint(kind, found)}"


def _hint(kind: str, found: Any) -> str:
    if kind in ("int_type", "float_type") and isinstance(found, str):
        try:
            float(found)
        except ValueError:
            return ""
        return "; write the number without quotes"
    if kind == "bool_type" and isinstance(found, str) and found.lower() in ("true", "false"):
        return "; write it without quotes"
    if kind == "string_type" and isinstance(found, bool | int | float):
        return "; write it in quotes if it is meant as a text"
    return ""


def _explain_unknown_key(model: type[BaseModel], location: Path) -> str:
    key = str(location[-1])
    parent = _model_at(model, location[:-1])
    suggestion = did_you_mean(key, parent.model_fields)
    if not suggestion:
        # A key of another section was most likely indented wrongly.
        homes = [path for path in _sections(model, location[:-1]) if key in _model_at(model, path).model_fields]
        if homes:
            suggestion = f", it belongs in {'.'.join(map(str, homes[0])) or 'the top level'}"
    return f"unknown key{suggestion or '; known are ' + ', '.join(parent.model_fields)}"


def _sections(model: type[BaseModel], location: Path) -> Iterator[Path]:
    """The paths of the sections around `location`, the nearest first, each followed by the sections in it."""
    for length in range(len(location), -1, -1):
        path = location[:length]
        if (section := _model_or_none(model, path)) is not None:
            yield path
            for name in section.model_fields:
                if _model_or_none(model, (*path, name)) is not None:
                    yield (*path, name)


def _model_at(model: type[BaseModel], location: Path) -> type[BaseModel]:
    found = _model_or_none(model, location)
    assert found is not None, f"no section at {location}"
    return found


def _model_or_none(model: type[BaseModel], location: Path) -> type[BaseModel] | None:
    """The model of the section at `location`, or None if there is none, as for a plain value or a dict of sections."""
    annotation: Any = model
    for part in location:
        annotation = _without_none(annotation)
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        if get_origin(annotation) in (dict, list):
            annotation = get_args(annotation)[-1]
        elif _is_model(annotation) and part in annotation.model_fields:
            annotation = annotation.model_fields[part].annotation
        else:
            return None
    annotation = _without_none(annotation)
    return annotation if _is_model(annotation) else None


def _without_none(annotation: Any) -> Any:
    options = [option for option in get_args(annotation) if option is not type(None)]
    is_optional = type(None) in get_args(annotation) and len(options) == 1
    return options[0] if is_optional else annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _in_file(location: Path, document: Document) -> tuple[Path, int]:
    """Where a value of the merged settings was written: its path and line in the file, 0 if nowhere.

    A value that is not in a behavior itself comes from default_settings; one that is nowhere has the line of the
    nearest section around it.
    """
    lines = document.lines
    # A parameter that is a number or a sampler is checked as the value of its only lesson, a number as a sampler.
    if location[2:5] == ("curriculum", 0, "value") and (*location[:2], "curriculum") not in lines:
        location = (*location[:2], *location[5:])
    if location[-2:] == ("sampler_parameters", "value") and location not in lines:
        location = location[:-2]
    if location not in lines and location[:1] == ("behaviors",):
        in_defaults = ("default_settings", *location[2:])
        if in_defaults in lines and len(location) > 2:
            return in_defaults, lines[in_defaults]
    nearest = next((location[:length] for length in range(len(location), 0, -1) if location[:length] in lines), None)
    return location, lines[nearest] if nearest else 0


def _leaves(settings: Mapping[str, Any], path: Path = ()) -> Iterator[Path]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key)


def _show(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        text = value if len(value) <= 60 else value[:57] + "..."
        return f"the text {text!r}"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list) else str(value)
