"""Change a recipe's data before it is checked: ``key=value`` from a command line, and ``${vars.name}``."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any, cast

from plait.core.problems import Problems, shorten
from plait.core.yaml import KeyPath, parse_value
from plait.errors import RecipeError, nearest

_VARIABLE = re.compile(r"\$\{vars\.([A-Za-z][\w-]*)\}")


def put_in_values(data: dict[str, Any], overrides: Sequence[str], problems: Problems) -> None:
    """Put the overrides and then the variables into a recipe's data, in place.

    Args:
        data: The recipe; a value that is nothing but ``${vars.name}`` takes the variable's type.
        overrides: ``key=value``; a key is ``stage.setting``, ``name``, ``seed``, ``engine`` or ``vars.name``.
        problems: What is wrong is added here.
    """
    # Variables first, and then put in, so that an override reaches into a mapping that came from one.
    _apply(data, [text for text in overrides if text.startswith("vars.")], problems)
    _substitute_variables(data, problems)
    _apply(data, [text for text in overrides if not text.startswith("vars.")], problems)
    _substitute_variables(data, problems)


def _apply(data: dict[str, Any], overrides: Sequence[str], problems: Problems) -> None:
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            problems.add_typed(f'"{text}" has no value', hint="write key=value, e.g. align.steps=72")
            continue
        path = _find(key, data, problems)
        if path is None:
            continue
        try:
            path = _set(data, path, parse_value(value))
        except RecipeError as error:
            problems.add_typed(f'"{text}": {error.message}', hint=error.hint)
        except (TypeError, ValueError, IndexError):
            problems.add_typed(f'"{text}": there is nothing at {key} to set', hint="check the path of the setting")
        else:
            problems.typed.add(path)


def _substitute_variables(data: dict[str, Any], problems: Problems) -> None:
    variables = _mapping(data.get("vars"))
    for name, value in variables.items():
        if isinstance(value, str) and "${" in value:
            shown = f"the variable {name} is {shorten(value)}, and variables refer to nothing"
            problems.add(shown, code="bad-reference", path=("vars", name), hint="write the value itself")

    def substitute(value: Any, path: KeyPath) -> Any:
        if isinstance(value, dict):
            return {key: substitute(item, (*path, key)) for key, item in _mapping(value).items()}
        if isinstance(value, list):
            return [substitute(item, (*path, index)) for index, item in enumerate(cast("list[Any]", value))]
        if not isinstance(value, str) or "${vars." not in value:
            return value
        unknown = [name for name in _VARIABLE.findall(value) if name not in variables]
        if unknown or not _VARIABLE.search(value):
            shown = f"{shorten(value)} refers to a variable that is not under `vars:`"
            hint = nearest(unknown[0], variables) if unknown else "write ${vars.name}"
            problems.add(shown, code="dangling-reference", path=path, hint=hint)
            return value
        if any(("vars", name) in problems.typed for name in _VARIABLE.findall(value)):
            problems.typed.add(path)
        whole = _VARIABLE.fullmatch(value)
        return copy.deepcopy(variables[whole[1]]) if whole else _VARIABLE.sub(lambda m: _text(variables[m[1]]), value)

    data["stages"] = substitute(data["stages"], ("stages",))


def _find(key: str, data: dict[str, Any], problems: Problems) -> KeyPath | None:
    """The key path an override means, or ``None`` after a complaint."""
    stages = {
        str(stage["name"]): index
        for index, stage in enumerate(_mapping(stage) for stage in data["stages"])
        if "name" in stage
    }
    variables = _mapping(data.get("vars"))
    first, *rest = key.removeprefix("stages.").split(".")
    if first in stages and rest and all(rest):
        return ("stages", stages[first], *rest)
    if first in ("name", "seed", "engine") and not rest:
        return (first,)
    if first == "vars" and len(rest) == 1 and rest[0] in variables:
        return ("vars", rest[0])
    if first in stages:
        problems.add_typed(f'"{key}" is a stage, not a setting', hint=f"write {first}.setting=value")
    else:
        known = [*stages, "name", "seed", "engine", *(f"vars.{name}" for name in variables)]
        problems.add_typed(
            f'"{key}" names nothing in this recipe', hint=nearest(key if first == "vars" else first, known)
        )
    return None


def _set(data: dict[str, Any], path: KeyPath, value: Any) -> KeyPath:
    """Set a nested value, making mappings on the way; returns the path with list indices as numbers."""
    holder: Any = data
    done: KeyPath = ()
    for step in path:
        key, holder = _slot(holder, step)
        done = (*done, key)
        if len(done) == len(path):
            holder[key] = value
        elif isinstance(key, str) and holder.get(key) is None:
            # `lora:` with nothing after it is an empty mapping to whoever sets lora.rank.
            inner: dict[str, Any] = {}
            holder[key] = inner
            holder = inner
        else:
            holder = holder[key]
    return done


def _slot(holder: Any, step: str | int) -> tuple[str | int, Any]:
    """The key or index that a step of a path means in a mapping or list."""
    if not isinstance(holder, dict | list):
        raise TypeError(step)
    return int(step) if isinstance(holder, list) else step, cast("Any", holder)


def _text(value: Any) -> str:
    """A variable inside a longer text, written as YAML writes it."""
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def _mapping(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
