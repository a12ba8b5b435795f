"""Change a recipe's data before it is checked: ``key=value`` from a command line, and ``${vars.name}``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

from plait.core.problems import Problems
from plait.core.yaml import KeyPath, parse_value
from plait.errors import RecipeError, nearest

_VARIABLE = re.compile(r"\$\{vars\.([A-Za-z][\w-]*)\}")


def apply_overrides(data: dict[str, Any], overrides: Sequence[str], problems: Problems) -> None:
    """Set each ``key=value``: ``stage.setting``, ``name``, ``seed``, ``engine`` or ``vars.name``; in place."""
    stages = {stage["name"]: index for index, stage in enumerate(data["stages"])}
    variables = cast("dict[str, Any]", data.get("vars") or {})
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            problems.add_typed(f'"{text}" has no value', hint="write key=value, e.g. align.steps=72")
            continue
        first, *rest = key.removeprefix("stages.").split(".")
        if first in stages and rest:
            path: KeyPath = ("stages", stages[first], *rest)
        elif first in ("name", "seed", "engine") and not rest:
            path = (first,)
        elif first == "vars" and len(rest) == 1 and rest[0] in variables:
            path = ("vars", rest[0])
        else:
            known = [*stages, "name", "seed", "engine", *(f"vars.{name}" for name in variables)]
            wanted = key if first == "vars" else first
            problems.add_typed(f'"{key}" names nothing in this recipe', hint=nearest(wanted, known))
            continue
        try:
            _set(data, path, parse_value(value))
        except RecipeError as error:
            problems.add_typed(f'"{text}": {error.message}', hint=error.hint)
        except (TypeError, ValueError, IndexError, KeyError):
            problems.add_typed(
                f'"{text}": there is nothing at {key} to set', hint="check the path of the setting"
            )
        else:
            problems.typed.add(path)


def substitute_variables(data: dict[str, Any], problems: Problems) -> None:
    """Put the values under ``vars`` in place of ``${vars.name}``; a value that is nothing else keeps its type."""
    variables = cast("dict[str, Any]", data.get("vars") or {})

    def substitute(value: Any, path: KeyPath) -> Any:
        if isinstance(value, dict):
            mapping = cast("dict[Any, Any]", value)
            return {key: substitute(item, (*path, key)) for key, item in mapping.items()}
        if isinstance(value, list):
            return [substitute(item, (*path, index)) for index, item in enumerate(cast("list[Any]", value))]
        if not isinstance(value, str):
            return value
        for name in _VARIABLE.findall(value):
            if name not in variables:
                problems.add(
                    f'"{value}" refers to a variable that is not under `vars:`',
                    code="dangling-reference",
                    path=path,
                    hint=nearest(name, variables),
                )
                return value
        whole = _VARIABLE.fullmatch(value)
        return variables[whole[1]] if whole else _VARIABLE.sub(lambda m: str(variables[m[1]]), value)

    data["stages"] = substitute(data["stages"], ("stages",))


def _set(data: dict[str, Any], path: KeyPath, value: Any) -> None:
    """Set a nested value, making mappings on the way; numbers in the path index lists."""
    target: Any = data
    for step in path[:-1]:
        if isinstance(target, list):
            target = cast("list[Any]", target)[int(step)]
        elif isinstance(target, dict):
            target = cast("dict[Any, Any]", target).setdefault(step, {})
        else:
            raise TypeError(step)
    if isinstance(target, list):
        cast("list[Any]", target)[int(path[-1])] = value
    elif isinstance(target, dict):
        target[path[-1]] = value
    else:
        raise TypeError(path[-1])
