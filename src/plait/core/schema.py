"""The JSON Schema of recipes: editors complete and check YAML with it."""

from __future__ import annotations

import inspect
from typing import Any, cast

from plait.core.catalog import find, table
from plait.core.references import stage_inputs
from plait.core.stage import Stage


def json_schema() -> dict[str, Any]:
    """All stages of the catalog as alternatives told apart by ``use``; settings with their docs and defaults."""
    definitions: dict[str, Any] = {}
    for name in table("stage"):
        component = find("stage", name)
        if isinstance(component, type) and issubclass(component, Stage):
            definitions[name] = _stage_schema(name, component, definitions)
    own = {
        "type": "object",
        "required": ["name", "use"],
        "properties": {
            "name": {"$ref": "#/$defs/name"},
            "use": {"type": "string", "pattern": ":", "description": "Your own stage: package.module:Class."},
            "needs": {"$ref": "#/$defs/needs"},
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Plait recipe",
        "type": "object",
        "required": ["stages"],
        "additionalProperties": False,
        "properties": {
            "name": {"$ref": "#/$defs/name"},
            "seed": {"type": "integer", "default": 0, "description": "Root of every random stream."},
            "engine": {
                "type": "string",
                "default": "local",
                "description": "Where work runs; see `plait ls engine`.",
            },
            "vars": {"type": "object", "description": "Values for ${vars.name}."},
            "next": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Commands the report suggests.",
            },
            "stages": {
                "type": "array",
                "minItems": 1,
                "items": {"anyOf": [*({"$ref": f"#/$defs/{n}"} for n in table("stage")), own]},
            },
        },
        "$defs": {
            "name": {"type": "string", "pattern": "^[a-z][a-z0-9_-]*$"},
            "needs": {"type": "array", "items": {"type": "string"}, "description": "Stages to wait for."},
            "reference": {"type": "string", "pattern": r"^\$\{[A-Za-z][\w-]*\.[A-Za-z][\w-]*\}$"},
            **definitions,
        },
    }


def _stage_schema(name: str, component: type[Stage], definitions: dict[str, Any]) -> dict[str, Any]:
    schema = component.model_json_schema(ref_template=f"#/$defs/{name}.{{model}}")
    for model, definition in schema.pop("$defs", {}).items():
        definitions[f"{name}.{model}"] = definition
    properties = cast("dict[str, Any]", schema.get("properties", {}))
    inputs = stage_inputs(component)
    for field, value in properties.items():
        if field not in inputs and value.get("type") in ("integer", "number", "boolean"):
            kept = {k: value.pop(k) for k in ("title", "description", "default") if k in value}
            properties[field] = {**kept, "anyOf": [dict(value), {"$ref": "#/$defs/reference"}]}
    return {
        "type": "object",
        "description": inspect.getdoc(component) or "",
        "required": ["name", "use", *schema.get("required", [])],
        "additionalProperties": False,
        "properties": {
            "name": {"$ref": "#/$defs/name"},
            "use": {"const": name},
            "needs": {"$ref": "#/$defs/needs"},
            **properties,
        },
    }
