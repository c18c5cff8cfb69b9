"""The configuration as a JSON schema, for editors that complete and check YAML by one."""

from typing import Any

from trainers.config import RunConfig

# Limits that pydantic writes by its own names where a value is converted before it is checked.
_LIMITS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_NUMBER = {"type": "number"}


def json_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12."""
    schema = RunConfig.model_json_schema()
    for section in (schema, *schema["$defs"].values()):
        if section.get("type") == "object":
            section["type"] = ["object", "null"]  # an empty section has its defaults
    definitions = schema["$defs"]
    sampler, curriculum = definitions["Sampler"], definitions["EnvironmentParameter"]
    definitions["Sampler"] = {"title": "Sampler", "anyOf": [_NUMBER, sampler | {"type": "object"}]}
    definitions["EnvironmentParameter"] = {
        "title": "EnvironmentParameter",
        "anyOf": [{"$ref": "#/$defs/Sampler"}, curriculum | {"type": "object"}],
    }
    renamed: dict[str, Any] = _renamed(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | renamed | {"title": "mlagents-bridge run"}


def _renamed(node: Any) -> Any:
    if isinstance(node, dict):
        is_type = "type" in node or "anyOf" in node
        return {_LIMITS.get(key, key) if is_type else key: _renamed(value) for key, value in node.items()}
    return [_renamed(item) for item in node] if isinstance(node, list) else node
