"""References between stages: ``${stage.output}`` in a setting that is an input path."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from plait.core.stage import Input, Stage

_REFERENCE = re.compile(r"\$\{([A-Za-z][\w-]*)\.([A-Za-z][\w-]*)\}")


def parse_reference(value: object) -> tuple[str, str] | None:
    """The ``(stage, output)`` a value refers to, or ``None`` when it is a plain value.

    Example:
        >>> parse_reference("${curate.documents}")
        ('curate', 'documents')
        >>> parse_reference("data/documents.parquet") is None
        True
    """
    match = _REFERENCE.fullmatch(str(value)) if isinstance(value, str | Path) else None
    return (match[1], match[2]) if match else None


def stage_inputs(stage: type[Stage]) -> list[str]:
    """Names of the settings of a stage that are input paths (also optional ones and lists of them)."""
    return [name for name, field in stage.model_fields.items() if _holds_input(field.annotation, field.metadata)]


def _holds_input(annotation: Any, metadata: list[Any]) -> bool:
    if any(isinstance(m, Input) or m is Input for m in metadata):
        return True
    arguments = get_args(annotation)
    return any(_holds_input(a, list(getattr(a, "__metadata__", ()))) for a in arguments)


def map_inputs(stage: Stage, change: Callable[[Path], Path]) -> Stage:
    """A copy of the stage with every input path replaced by ``change(path)``."""
    updates: dict[str, Any] = {}
    for name in stage_inputs(type(stage)):
        value = getattr(stage, name)
        if isinstance(value, Path):
            updates[name] = change(value)
        elif isinstance(value, list | tuple):
            updates[name] = type(value)(change(p) for p in value)
    return stage.model_copy(update=updates)


def references_of(stage: Stage) -> list[tuple[str, str, str]]:
    """``(setting, stage, output)`` for every reference in a stage's inputs."""
    return [
        (name, *reference)
        for name in stage_inputs(type(stage))
        for path in paths_of(getattr(stage, name))
        if (reference := parse_reference(path)) is not None
    ]


def paths_of(value: Any) -> list[Path]:
    """The paths held by an input setting: one, several or none."""
    if isinstance(value, Path):
        return [value]
    return [item for item in value if isinstance(item, Path)] if isinstance(value, list | tuple) else []
