"""YAML with the line of every key, and without YAML's best known traps.

Compared with plain PyYAML: `1e-4` and `5e5` are numbers, `010` is ten, `1:30` and `2026-01-31` are texts, mapping keys
are always texts, and a key that is given twice is a mistake.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from trainers.errors import UsageError

Path = tuple[str | int, ...]

_INT = re.compile(r"^[-+]?(?:[0-9][0-9_]*|0x[0-9a-fA-F][0-9a-fA-F_]*)$")
_FLOAT = re.compile(
    r"""^(?:[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?
        |[-+]?\.(?:inf|Inf|INF)
        |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)
_MERGE = "tag:yaml.org,2002:merge"
_KEPT_TAGS = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:null", _MERGE)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's name; a class attribute on purpose)
        first: [(tag, pattern) for tag, pattern in resolvers if tag in _KEPT_TAGS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = node.value.replace("_", "")
    return int(text, 16 if "0x" in text else 10)


_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


class _Dumper(yaml.SafeDumper):
    """Puts quotes around texts that either this module or plain PyYAML would read as something else."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # PyYAML loses these line ends unless it escapes them.
    style = '"' if any(line_end in text for line_end in "\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))


@dataclass
class Document:
    """What a YAML file says: `data`, the line of each key path, and the keys that were given twice."""

    name: str
    data: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    duplicates: list[tuple[Path, int, int]] = field(default_factory=list)  # key path, line, line of the first one


def read_yaml(content: bytes, name: str) -> Document:
    """Read the content of the file `name`. Raises UsageError with file, line and column if it is not YAML."""
    document = Document(name)
    loader: _Loader | None = None
    try:
        loader = _Loader(content)
        root = loader.get_single_node()
        if root is not None:
            document.data = _construct(loader, root, (), document, ())
    except yaml.MarkedYAMLError as error:
        raise UsageError(_syntax_message(error, name)) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{name}: cannot be read as YAML in UTF-8: {_one_line(error)}") from error
    finally:
        if loader is not None:
            loader.dispose()
    return document


def write_yaml(data: Any) -> str:
    """`data` as YAML that `read_yaml` reads back as the same; keys keep their order."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _construct(loader: _Loader, node: yaml.Node, path: Path, document: Document, parents: tuple[yaml.Node, ...]) -> Any:
    if node in parents:
        raise yaml.MarkedYAMLError(problem="an alias inside of what it stands for", problem_mark=node.start_mark)
    if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
        for index, item in enumerate(node.value):
            document.lines[(*path, index)] = item.start_mark.line + 1
        return [
            _construct(loader, item, (*path, index), document, (*parents, node))
            for index, item in enumerate(node.value)
        ]
    if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
        return _construct_mapping(loader, node, path, document, parents)
    return loader.construct_object(node, deep=True)


def _construct_mapping(
    loader: _Loader, node: yaml.MappingNode, path: Path, document: Document, parents: tuple[yaml.Node, ...]
) -> dict[str, Any]:
    own: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    # Merge keys go first, so that the line of a key that is also given here is the line here.
    for key_node, value_node in sorted(node.value, key=lambda pair: pair[0].tag != _MERGE):
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="expected a plain word as key", problem_mark=key_node.start_mark)
        if key_node.tag == _MERGE:
            sources = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            for source in reversed(sources):  # the first of several wins
                if not isinstance(source, yaml.MappingNode):
                    raise yaml.MarkedYAMLError(problem="expected a mapping after <<", problem_mark=source.start_mark)
                merged |= _construct(loader, source, path, document, (*parents, node))
            continue
        key_path = (*path, key_node.value)
        if key_node.value in own:
            document.duplicates.append((key_path, line, document.lines[key_path]))
            continue
        document.lines[key_path] = line
        own[key_node.value] = _construct(loader, value_node, key_path, document, (*parents, node))
    return merged | own


def _syntax_message(error: yaml.MarkedYAMLError, name: str) -> str:
    mark = error.problem_mark or error.context_mark
    place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
    problem = _one_line(error.problem or error.context or error)
    if "'\\t'" in problem:
        problem += "; indent with spaces instead of tabs"
    context = f" ({_one_line(error.context)})" if error.problem and error.context else ""
    return f"{place}: not valid YAML: {problem}{context}"


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
