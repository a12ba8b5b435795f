"""Turn what pydantic says about a stage's settings into lines a person can act on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast, get_args

from pydantic import BaseModel

from plait.core.problems import Problems
from plait.core.stage import Stage
from plait.core.yaml import KeyPath
from plait.errors import nearest


def explain(
    detail: Mapping[str, Any],
    *,
    stage: str,
    use: str,
    component: type[Stage],
    at: KeyPath,
    problems: Problems,
) -> None:
    """Add one of pydantic's error details as a problem.

    Args:
        detail: An item of ``ValidationError.errors()``.
        stage: The stage's name.
        use: What it uses, as the recipe says.
        component: The class behind that.
        at: Key path of the stage in the recipe.
        problems: Where it is added.
    """
    location = cast("KeyPath", detail["loc"])
    setting = ".".join(str(part) for part in location) or "the settings"
    path = (*at, *location)
    kind, message = str(detail["type"]), str(detail["msg"])
    if kind == "extra_forbidden":
        problems.add(
            f'unknown key "{location[-1]}" in stage {stage} ({use})',
            code="unknown-key",
            path=path,
            hint=nearest(str(location[-1]), _fields_at(component, location[:-1])),
        )
    elif kind == "missing":
        problems.add(
            f'stage {stage} ({use}) needs the key "{setting}"',
            code="missing-key",
            path=path,
            hint=f"`plait show {use}` describes it",
        )
    else:
        problems.add(
            f"{setting} of stage {stage} is {_short(detail.get('input'))}: {message[0].lower()}{message[1:]}",
            code="wrong-type" if kind.endswith(("_type", "_parsing", "_from_float")) else "bad-value",
            path=path,
            hint=f"`plait show {use}` lists what it takes",
        )


def _fields_at(component: type[Stage], location: KeyPath) -> list[str]:
    """Names allowed at a nested place of a component."""
    models: list[type[BaseModel]] = [component]
    for step in location:
        fields = [model.model_fields[step].annotation for model in models if step in model.model_fields]
        # A step that is no field is a list index or the tag of a union: the models stay the same.
        models = [model for annotation in fields for model in _models_in(annotation)] if fields else models
    return [name for model in models for name in model.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"
