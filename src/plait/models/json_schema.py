"""Which parts of a JSON Schema a grammar over tokens can enforce. What it cannot is refused, never dropped."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, combinations
from types import MappingProxyType
from typing import Any

_NEVER = frozenset(
    {"not", "if", "then", "else", "contains", "minContains", "maxContains", "uniqueItems", "dependencies"}
    | {"dependentRequired", "dependentSchemas", "$dynamicRef", "$recursiveRef", "contentSchema"}
)

_KINDS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "object": frozenset({"properties", "required", "additionalProperties", "patternProperties", "propertyNames"})
        | {"minProperties", "maxProperties", "unevaluatedProperties"},
        "array": frozenset({"items", "prefixItems", "minItems", "maxItems", "unevaluatedItems"}),
        "string": frozenset({"pattern", "minLength", "maxLength"}),
        "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
    }
)
"""Keywords that restrict values of one type. Unknown keywords restrict nothing (JSON Schema core, 6.5)."""

_RANGE = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})

_BEYOND_PATTERNS = re.compile(r'"|\\\\|\\x(22|5c)|\\u00(22|5c)|\(\?(?!:)', re.IGNORECASE)
"""What in a regular expression would be written into the JSON unescaped, or ignored."""

_ALONE = ("$ref", "const", "enum", "anyOf", "oneOf", "allOf")
"""Keywords beside which the grammar ignores every other restriction."""


def unenforceable(schema: Mapping[str, Any] | bool, *, at: str = "#") -> list[str]:
    """What in a schema cannot be enforced while generating, each with its place; empty if all can.

    Example:
        >>> unenforceable({"type": "array", "items": {"type": "integer"}, "uniqueItems": True})
        ['uniqueItems at #']
        >>> unenforceable({"type": "object", "properties": {"age": {"type": "integer", "minimum": 0}}})
        []
    """
    if isinstance(schema, bool):
        return []
    found = [f"{key} at {at}" for key in sorted(_NEVER & schema.keys()) if schema[key] is not False]
    found += _ignored_siblings(schema, at)
    found += _untyped(schema, at)
    found += _tangled_properties(schema, at)
    if "pattern" in schema and schema.keys() & {"minLength", "maxLength"}:
        found.append(f"pattern together with a length at {at}")
    if "multipleOf" in schema and (schema.get("type") != "integer" or schema.keys() & _RANGE):
        found.append(f"multipleOf other than of an integer without range at {at}")
    for pattern in [*schema.get("patternProperties", ()), *([schema["pattern"]] if "pattern" in schema else ())]:
        if _BEYOND_PATTERNS.search(pattern):
            found.append(f"the pattern {pattern} (quotes, backslashes, look-around) at {at}")
    if len(schema.get("allOf", ())) > 1:
        found.append(f"allOf of several schemas at {at}")
    if not _disjoint(schema.get("oneOf", ())):
        found.append(f"oneOf whose branches may overlap at {at} (anyOf can be enforced)")
    unnamed = sorted(set(schema.get("required", ())) - set(schema.get("properties", ())))
    if unnamed:
        found.append(f"required {', '.join(unnamed)}, not among the properties, at {at}")
    for place, inner in _subschemas(schema):
        found += unenforceable(inner, at=f"{at}/{place}")
    return found


def _ignored_siblings(schema: Mapping[str, Any], at: str) -> list[str]:
    alone = next((key for key in _ALONE if key in schema), None)
    if alone is None:
        return []
    beside = (schema.keys() & {*_ALONE, "type", *chain(*_KINDS.values())}) - {alone}
    if alone in ("const", "enum"):
        values = [schema["const"]] if alone == "const" else schema["enum"]
        if "type" in beside and all(_is_type(v, schema["type"]) for v in values):
            beside -= {"type"}
    return [f"{key} beside {alone} at {at}" for key in sorted(beside)]


def _untyped(schema: Mapping[str, Any], at: str) -> list[str]:
    """Limits that the grammar only knows for a stated type."""
    if "type" in schema or any(key in schema for key in _ALONE):
        return []
    counts = {"minProperties", "maxProperties", "minItems", "maxItems"}
    limits = schema.keys() & (counts | _KINDS["string"] | _KINDS["number"])
    return [f"{key} without a type at {at}" for key in sorted(limits)]


def _tangled_properties(schema: Mapping[str, Any], at: str) -> list[str]:
    """Rules that may meet on one property, of which the grammar would follow the first."""
    patterns = schema.get("patternProperties", {})
    rest = schema.get("additionalProperties", False)
    found: list[str] = []
    if patterns and ("properties" in schema or len(patterns) > 1 or rest is not False):
        found.append(f"patternProperties with other properties at {at}")
    if "propertyNames" in schema and (patterns or "properties" in schema):
        found.append(f"propertyNames with named properties at {at}")
    return found


def _subschemas(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any] | bool]]:
    for key in ("properties", "patternProperties", "$defs", "definitions"):
        for name, inner in schema.get(key, {}).items():
            yield f"{key}/{name}", inner
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for i, inner in enumerate(schema.get(key, ())):
            yield f"{key}/{i}", inner
    for key in ("items", "additionalProperties", "propertyNames", "unevaluatedItems", "unevaluatedProperties"):
        inner = schema.get(key)
        if isinstance(inner, Mapping):
            yield key, inner


def _disjoint(branches: Sequence[Any]) -> bool:
    """Whether no value can satisfy two of the branches, as far as types, constants and tags tell."""
    return all(
        isinstance(a, Mapping) and isinstance(b, Mapping) and _two_disjoint(a, b) for a, b in combinations(branches, 2)
    )


def _two_disjoint(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    if not _types(a) & _types(b):
        return True
    values_a, values_b = _values(a), _values(b)
    if values_a is not None and values_b is not None:
        return not any(x == y for x in values_a for y in values_b)
    tags = set(a.get("required", ())) & set(b.get("required", ()))
    properties_a, properties_b = a.get("properties", {}), b.get("properties", {})
    return any(
        isinstance(properties_a.get(tag), Mapping)
        and isinstance(properties_b.get(tag), Mapping)
        and (values_a := _values(properties_a[tag])) is not None
        and (values_b := _values(properties_b[tag])) is not None
        and not any(x == y for x in values_a for y in values_b)
        for tag in tags
    )


_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
    "integer": (int,),
    "number": (int, float),
}


def _types(schema: Mapping[str, Any]) -> set[str]:
    named = schema.get("type")
    if named is None:
        values = _values(schema)
        if values is None:
            return set(_TYPES)
        return {kind for kind in _TYPES if any(_is_type(v, kind) for v in values)}
    kinds = {named} if isinstance(named, str) else set(named)
    return kinds | ({"integer"} if "number" in kinds else set())


def _values(schema: Mapping[str, Any]) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    return list(schema["enum"]) if "enum" in schema else None


def _is_type(value: object, kinds: str | Sequence[str]) -> bool:
    names = [kinds] if isinstance(kinds, str) else kinds
    return any(
        isinstance(value, _TYPES.get(name, ())) and (name == "boolean" or not isinstance(value, bool)) for name in names
    )
