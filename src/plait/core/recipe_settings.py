"""Turn what pydantic says about a stage's settings into lines a person can act on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

from pydantic import BaseModel, ValidationError

from plait.core.problems import Problems, shorten
from plait.core.stage import Stage
from plait.core.yaml import KeyPath
from plait.errors import nearest


def explain(
    error: ValidationError,
    *,
    name: str,
    use: str,
    component: type[Stage],
    settings: Mapping[str, Any],
    at: KeyPath,
    problems: Problems,
) -> None:
    """Add what is wrong with a stage's settings, each at the line of its own key.

    Args:
        error: What pydantic found.
        name: The stage's name.
        use: What it uses, as the recipe says.
        component: The class behind that.
        settings: The settings as they stand.
        at: Key path of the stage in the recipe.
        problems: Where they are added.
    """
    details = [_locate(item["loc"], str(item["type"]), dict(item), settings) for item in error.errors()]
    for detail in _most_likely(details):
        _add(detail, name, use, component, at, problems)


@dataclass(frozen=True)
class _Detail:
    """One finding.

    Args:
        path: Its key path below the stage.
        branches: Where on the way pydantic chose among the members of a union: ``(key path there, member)``.
        item: Pydantic's own description.
    """

    path: KeyPath
    branches: tuple[tuple[KeyPath, str], ...]
    item: Mapping[str, Any]


def _locate(location: KeyPath, kind: str, item: Mapping[str, Any], settings: Mapping[str, Any]) -> _Detail:
    """Tell keys from union members in pydantic's location by walking the settings along it."""
    path: KeyPath = ()
    branches: list[tuple[KeyPath, str]] = []
    here: Any = settings
    for number, step in enumerate(location):
        inside = (isinstance(here, dict) and step in here) or (
            isinstance(here, list) and isinstance(step, int) and step < len(cast("list[Any]", here))
        )
        if inside:
            path, here = (*path, step), cast("Any", here)[step]
        elif kind == "missing" and number == len(location) - 1:
            path = (*path, step)
        else:
            branches.append((path, str(step)))
    return _Detail(path, tuple(branches), item)


def _most_likely(details: Sequence[_Detail], level: int = 0) -> list[_Detail]:
    """Of a union, only what the member says that came furthest with the value; all members where none did."""
    chosen = [detail for detail in details if len(detail.branches) <= level]
    unions: dict[KeyPath, dict[str, list[_Detail]]] = {}
    for detail in details:
        if len(detail.branches) > level:
            place, member = detail.branches[level]
            unions.setdefault(place, {}).setdefault(member, []).append(detail)
    for place, members in unions.items():
        deep = [found for found in members.values() if all(len(d.path) > len(place) for d in found)]
        if deep:
            chosen += _most_likely(min(deep, key=len), level + 1)
        else:
            flat = [detail for found in members.values() for detail in found if len(detail.path) == len(place)]
            chosen.append(_merged(flat))
    return chosen


def _merged(details: Sequence[_Detail]) -> _Detail:
    """One finding for a value that fits no member of a union."""
    # Names to choose from say more than a type.
    first = next((d for d in details if d.item["type"] in ("literal_error", "enum")), details[0])
    message = " or ".join(dict.fromkeys(_lower(str(detail.item["msg"])) for detail in details))
    return _Detail(first.path, first.branches, {**first.item, "msg": message})


def _add(detail: _Detail, name: str, use: str, component: type[Stage], at: KeyPath, problems: Problems) -> None:
    path = (*at, *detail.path)
    if detail.path and problems.touch(path):
        return  # a variable that is missing there is no wrong type as well
    setting = ".".join(str(step) for step in detail.path) or "the settings"
    kind, message = str(detail.item["type"]), _lower(str(detail.item["msg"]))
    if kind == "extra_forbidden":
        problems.add(
            f'unknown key "{detail.path[-1]}" in stage {name} ({use})',
            code="unknown-key",
            path=path,
            hint=nearest(str(detail.path[-1]), _fields_at(component, detail)),
        )
    elif kind == "missing":
        problems.add(
            f'stage {name} ({use}) needs the key "{setting}"',
            code="missing-key",
            path=path,
            hint=f"`plait show {use}` describes it",
        )
    else:
        names = re.findall(r"'([^']*)'", _expected(detail.item)) if isinstance(detail.item.get("input"), str) else []
        shown = shorten(detail.item.get("input"))
        problems.add(
            f"{setting} of stage {name} is {shown}: {message}" if detail.path else f"stage {name}: {message}",
            code="wrong-type" if kind.endswith(("_type", "_parsing", "_from_float")) else "bad-value",
            path=path,
            hint=nearest(str(detail.item["input"]), names) if names else f"`plait show {use}` lists what it takes",
        )


def _expected(item: Mapping[str, Any]) -> str:
    context = cast("Mapping[str, Any]", item.get("ctx") or {})
    return str(context.get("expected", ""))


def _lower(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _fields_at(component: type[Stage], detail: _Detail) -> list[str]:
    """Names allowed where an unknown key stands."""
    members = {member for _, member in detail.branches}
    models: list[type[BaseModel]] = [component]
    for step in detail.path[:-1]:
        fields = [model.model_fields[step].annotation for model in models if step in model.model_fields]
        if fields:  # a step that is no field is the index of a list or a key of a mapping: the models stay the same
            models = [model for annotation in fields for model in _models_in(annotation)]
            models = [model for model in models if model.__name__ in members] or models
    return [field for model in models for field in model.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]
