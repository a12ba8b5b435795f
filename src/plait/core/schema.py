"""The JSON Schema of recipes: editors complete and check YAML with it."""

from __future__ import annotations

import inspect
from typing import Any, cast

from plait.core.catalog import find, table
from plait.core.references import stage_inputs
from plait.core.stage import Stage

_VARIABLE = r"\$\{vars\.[A-Za-z][\w-]*\}"
_OUTPUT = r"\$\{[A-Za-z][\w-]*\.[A-Za-z][\w-]*\}"


def json_schema() -> dict[str, Any]:
    """All stages of the catalog, told apart by ``use``, with the docs and defaults of their settings.

    A stage's own schema applies only where ``use`` names it, so that an editor complains about the wrong key and not
    about every other stage that does not fit.

    Raises:
        MissingExtra: A stage cannot be imported here; ``plait doctor`` says what is missing.
    """
    definitions: dict[str, Any] = {}
    stages = {name: component for name in table("stage") if (component := _stage_class(name)) is not None}
    for name, component in stages.items():
        definitions[name] = _stage_schema(name, component, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Plait recipe",
        "type": "object",
        "required": ["stages"],
        "additionalProperties": False,
        "properties": {
            "name": {"$ref": "#/$defs/name", "description": "Names the run; the file's name when left out."},
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
            "stages": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/stage"}},
        },
        "$defs": {
            "name": {"type": "string", "pattern": "^[a-z][a-z0-9_-]*$"},
            "needs": {"type": "array", "items": {"type": "string"}, "description": "Stages to wait for."},
            "variable": {"type": "string", "pattern": f"^{_VARIABLE}$"},
            "output": {"type": "string", "pattern": f"^{_OUTPUT}$"},
            "stage": {
                "type": "object",
                "required": ["name", "use"],
                "properties": {
                    "name": {"$ref": "#/$defs/name"},
                    "use": {
                        "description": "What the stage runs.",
                        "anyOf": [
                            *({"const": name, "description": _doc(cls)} for name, cls in stages.items()),
                            {"type": "string", "pattern": ":", "description": "Your own: package.module:Class."},
                        ],
                    },
                    "needs": {"$ref": "#/$defs/needs"},
                },
                "allOf": [_where_used(name) for name in stages],
            },
            **definitions,
        },
    }


def _where_used(name: str) -> dict[str, Any]:
    """A stage's own schema, where ``use`` names it."""
    named = {"required": ["use"], "properties": {"use": {"const": name}}}
    return {"if": named, "then": {"$ref": f"#/$defs/{name}"}}


def _stage_class(name: str) -> type[Stage] | None:
    component = find("stage", name)
    return component if isinstance(component, type) and issubclass(component, Stage) else None


def _stage_schema(name: str, component: type[Stage], definitions: dict[str, Any]) -> dict[str, Any]:
    """One stage's settings; the components inside them become definitions of their own."""
    schema = component.model_json_schema(ref_template=f"#/$defs/{name}.{{model}}")
    for model, definition in schema.pop("$defs", {}).items():
        definitions[f"{name}.{model}"] = _with_variables(definition)
    own = _with_variables(schema)
    properties = cast("dict[str, Any]", own.get("properties", {}))
    for field in stage_inputs(component):
        kept, value = _split(properties[field])
        properties[field] = {**kept, "anyOf": [{"$ref": "#/$defs/output"}, value]}
    return {
        "type": "object",
        "description": _doc(component),
        "required": schema.get("required", []),
        "additionalProperties": False,
        "properties": {"name": {}, "use": {}, "needs": {}, **properties},
    }


def _with_variables(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a component, with ``${vars.name}`` allowed wherever a value is not a text anyway."""
    properties = cast("dict[str, Any]", schema.get("properties"))
    if not properties:
        return schema
    allowed: dict[str, Any] = {}
    for field, value in properties.items():
        kept, plain = _split(value)
        free_text = plain.get("type") == "string" and len(plain) == 1
        allowed[field] = value if free_text else {**kept, "anyOf": [plain, {"$ref": "#/$defs/variable"}]}
    return {**schema, "properties": allowed}


def _split(value: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What describes a setting, and what checks its value."""
    kept = {key: value[key] for key in ("title", "description", "default") if key in value}
    return kept, {key: item for key, item in value.items() if key not in kept}


def _doc(component: type[Stage]) -> str:
    return inspect.getdoc(component) or ""
