"""Build one stage of a recipe: find its component, check its settings, and find the files it reads."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from plait.core.catalog import find, table
from plait.core.extras import missing_packages
from plait.core.problems import Problems, shorten
from plait.core.recipe import RecipeStage
from plait.core.recipe_settings import explain
from plait.core.references import parse_reference, references_of, stage_inputs
from plait.core.stage import Stage
from plait.core.yaml import KeyPath
from plait.errors import MissingExtra, PlaitError, UsageError, nearest

RESERVED = ("name", "use", "needs")
"""Keys of a stage that are not settings of its component."""

_STAGE_OUTPUT = re.compile(r"\$\{([A-Za-z][\w-]*)\.[A-Za-z][\w-]*\}")


def build_stage(
    name: str, stage: dict[str, Any], *, index: int, names: Collection[str], folder: Path, problems: Problems
) -> RecipeStage | None:
    """Build one stage's component and check the files it reads.

    Args:
        name: The stage's name.
        stage: All its keys, with variables put in.
        index: Its place in the recipe, for line numbers.
        names: All stages of the recipe.
        folder: What relative paths in the file are relative to.
        problems: What is wrong is added here.

    Returns:
        The stage, or ``None`` if it cannot be built.
    """
    at: KeyPath = ("stages", index)
    needs = _explicit_needs(stage, at, problems)
    use = stage.get("use")
    component = _component(name, use, at, problems)
    if component is None:
        return None
    settings = {key: value for key, value in stage.items() if key not in RESERVED}
    _refuse_misplaced_references(name, settings, stage_inputs(component), names, at, problems)
    settings = _absolute_inputs(settings, stage_inputs(component), folder, at, problems)
    try:
        # As JSON, strictly: "40" is no number and yes is no truth, while a text is still a path and a list a tuple.
        built = component.model_validate_json(json.dumps(settings), strict=True)
    except ValidationError as error:
        explain(error, name=name, use=str(use), component=component, settings=settings, at=at, problems=problems)
        return None
    except PlaitError as error:
        problems.add(f"stage {name}: {error.message}", code="bad-value", path=at, hint=error.hint)
        return None
    if not problems.touch(at):
        _check_runs_here(name, built, at, problems)
    needs += [needed for _, needed, _ in references_of(built)]
    lines = {path[2:]: line for path, line in problems.located.lines.items() if path[:2] == at}
    return RecipeStage(name, str(use), tuple(dict.fromkeys(needs)), settings, built, lines)


def _explicit_needs(stage: dict[str, Any], at: KeyPath, problems: Problems) -> list[str]:
    needs = stage.get("needs")
    if needs is None:
        return []
    if not isinstance(needs, list) or not all(isinstance(n, str) for n in cast("list[Any]", needs)):
        shown = f"needs is {shorten(needs)}, not a list of stage names"
        problems.add(shown, code="wrong-type", path=(*at, "needs"), hint="write needs: [stage, stage]")
        return []
    return list(cast("list[str]", needs))


def _component(name: str, use: Any, at: KeyPath, problems: Problems) -> type[Stage] | None:
    """The class a stage names."""
    path = (*at, "use")
    if not isinstance(use, str):
        shown = f"stage {name} does not say what it uses" if use is None else f"use is {shorten(use)}, not a name"
        code = "missing-key" if use is None else "wrong-type"
        problems.add(shown, code=code, path=path, hint="add `use:`; `plait ls stage` lists what there is")
        return None
    entry = table("stage").get(use)
    missing = missing_packages(entry.extra) if entry and entry.extra else []
    if entry and missing:
        shown = f"stage {name} ({use}) needs {', '.join(missing)}, not installed"
        problems.add(shown, code="missing-extra", path=path, hint=f'pip install "plait[{entry.extra}]"')
        return None
    try:
        component = find("stage", use)
    except MissingExtra as error:
        problems.add(error.message, code="missing-extra", path=path, hint=error.hint)
    except UsageError as error:
        problems.add(error.message, code="unknown-component", path=path, hint=error.hint)
    except (ImportError, SyntaxError) as error:
        shown = f'"{use}" cannot be imported: {type(error).__name__}: {error}'
        problems.add(shown, code="unknown-component", path=path, hint="import it in Python to see the whole error")
    else:
        if not (isinstance(component, type) and issubclass(component, Stage)):
            hint = "a stage subclasses plait.core.stage.Stage"
            problems.add(f'"{use}" is not a stage', code="not-a-stage", path=path, hint=hint)
        elif taken := [key for key in RESERVED if key in component.model_fields]:
            shown = f'{use} has a setting "{taken[0]}", a key that recipes use themselves'
            problems.add(shown, code="not-a-stage", path=path, hint="rename the setting in the class")
        else:
            return component
    return None


def _check_runs_here(name: str, stage: Stage, at: KeyPath, problems: Problems) -> None:
    try:
        stage.checkable()
    except PlaitError as error:
        code = "missing-extra" if isinstance(error, MissingExtra) else "cannot-run"
        problems.add(f"stage {name}: {error.message}", code=code, path=(*at, "use"), hint=error.hint)


def _refuse_misplaced_references(
    name: str,
    settings: dict[str, Any],
    inputs: Collection[str],
    names: Collection[str],
    at: KeyPath,
    problems: Problems,
) -> None:
    """A reference where none is possible would otherwise be taken as the text it is written with."""

    def look(value: Any, path: KeyPath) -> None:
        if isinstance(value, dict):
            for key, item in cast("dict[str, Any]", value).items():
                look(item, (*path, key))
        elif isinstance(value, list):
            for index, item in enumerate(cast("list[Any]", value)):
                look(item, (*path, index))
        elif isinstance(value, str) and _refers(value, names):
            shown = ".".join(str(step) for step in path[2:])
            hint = f"inputs of this stage: {', '.join(inputs)}" if inputs else "this stage has no inputs"
            problems.add(
                f"{shown} of stage {name} is {shorten(value)}, but it takes no output of a stage",
                code="misplaced-reference",
                path=path,
                hint=hint,
            )

    for key, value in settings.items():
        if key not in inputs:
            look(value, (*at, key))


def _refers(text: str, names: Collection[str]) -> bool:
    """Whether a text is meant as a reference to a stage; in a longer text only a stage that exists shows that."""
    whole = parse_reference(text)
    if whole is not None:
        return whole[0] != "vars"
    return any(found in names for found in _STAGE_OUTPUT.findall(text))


def _absolute_inputs(
    settings: dict[str, Any], inputs: Collection[str], folder: Path, at: KeyPath, problems: Problems
) -> dict[str, Any]:
    """The settings with input paths made absolute; each must exist or be a whole reference."""

    def resolve(value: Any, path: KeyPath) -> Any:
        if isinstance(value, list):
            return [resolve(item, (*path, index)) for index, item in enumerate(cast("list[Any]", value))]
        if not isinstance(value, str) or parse_reference(value) is not None:
            return value
        if "${" in value:
            hint = "write the whole value as ${stage.output}, e.g. ${curate.documents}"
            problems.add(f"{shorten(value)} is not a reference", code="bad-reference", path=path, hint=hint)
            return value
        # What is typed on the command line is meant from where it is typed.
        full = (Path.cwd() if problems.is_typed(path) else folder) / value
        if not value:
            problems.add("the path is empty", code="missing-file", path=path, hint="give a file or ${stage.output}")
        elif not full.exists():
            near = [other.name for other in full.parent.iterdir()] if full.parent.is_dir() else []
            hint = nearest(full.name, near) if near else f"there is no folder {full.parent} either"
            problems.add(f"{full} does not exist", code="missing-file", path=path, hint=hint)
        return str(full)

    return {key: resolve(value, (*at, key)) if key in inputs else value for key, value in settings.items()}
