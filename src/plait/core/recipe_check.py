"""Check a recipe: structure, then each stage's settings, then what stages need of each other.

Each of the three steps reports all it finds; a later step runs only when the earlier ones found nothing, so that one
mistake is not reported three times.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from plait.core.catalog import find
from plait.core.problems import Problems
from plait.core.recipe import Recipe, RecipeStage
from plait.core.recipe_override import apply_overrides, substitute_variables
from plait.core.recipe_settings import explain
from plait.core.references import map_inputs, parse_reference, paths_of, references_of, stage_inputs
from plait.core.stage import Stage
from plait.core.yaml import KeyPath, Located
from plait.errors import MissingExtra, PlaitError, UsageError, nearest

RESERVED = ("name", "use", "needs")
"""Keys of a stage that are not settings of its component."""

_TOP = ("name", "seed", "engine", "vars", "next", "stages")
_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_NAME_RULE = "use small letters, digits, - and _, beginning with a letter"


def check_recipe(located: Located, *, folder: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Check loaded YAML and build the recipe.

    Args:
        located: The YAML with its line numbers.
        folder: What relative paths in the file are relative to.
        overrides: ``key=value`` from the command line; paths among them are relative to the working directory.

    Raises:
        RecipeError: With every problem of the first step that found any.
    """
    problems = Problems(located)
    data = _structure(located.data, problems)
    problems.stop()
    apply_overrides(data, overrides, problems)
    _top_values(data, problems)
    substitute_variables(data, problems)
    problems.stop()
    built = [_stage(index, stage, folder, problems) for index, stage in enumerate(data["stages"])]
    stages = [stage for stage in built if stage is not None]
    names = [stage["name"] for stage in data["stages"]]
    _references(stages, names, problems)
    problems.stop()
    _cycle(stages, problems)
    problems.stop()
    return Recipe(
        name=data.get("name", Path(located.source).stem),
        seed=data.get("seed", 0),
        engine=data.get("engine", "local"),
        stages=tuple(stages),
        next=tuple(data.get("next") or ()),
    )


def _structure(root: Any, problems: Problems) -> dict[str, Any]:
    """The recipe is a mapping of known keys with a list of named stages."""
    if not isinstance(root, dict) or not root:
        shown = "empty" if not root else f"a {type(root).__name__}, not a mapping"
        hint = "start with `name:` and `stages:`"
        problems.add(f"the recipe is {shown}", code="not-a-mapping", path=(), hint=hint)
        return {}
    data = cast("dict[str, Any]", root)
    for key in data:
        if key not in _TOP:
            problems.add(
                f'unknown key "{key}"', code="unknown-key", path=(key,), hint=nearest(str(key), _TOP)
            )
    stages = data.get("stages")
    if not isinstance(stages, list) or not stages:
        shown = "has no stages" if not stages else f"has {stages!r} under stages, not a list"
        path: KeyPath = ("stages",) if "stages" in data else ()
        hint = "list them under `stages:`, each beginning with `- name:`"
        problems.add(f"the recipe {shown}", code="no-stages", path=path, hint=hint)
        return data
    lines: dict[str, str] = {}
    for index, stage in enumerate(cast("list[Any]", stages)):
        at: KeyPath = ("stages", index)
        if not isinstance(stage, dict):
            problems.add(f"stage {index + 1} is {stage!r}, not a mapping", code="wrong-type", path=at)
            continue
        name = cast("dict[str, Any]", stage).get("name")
        path = (*at, "name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            shown = "has no name" if name is None else f"is named {name!r}"
            problems.add(f"stage {index + 1} {shown}", code="bad-name", path=path, hint=_NAME_RULE)
        elif name in lines:
            shown = f'two stages are named "{name}", the first at {lines[name]}'
            problems.add(shown, code="duplicate-stage", path=path, hint="rename one")
        else:
            lines[name] = problems.located.where(*path)
    return data


def _top_values(data: dict[str, Any], problems: Problems) -> None:
    """Name, seed, variables and engine have usable values."""
    for key, kind, words in (
        ("name", str, "a word"),
        ("seed", int, "a whole number"),
        ("vars", dict, "a mapping"),
        ("next", list, "a list of commands"),
        ("engine", str, "a word"),
    ):
        value = data.get(key)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            problems.add(f"{key} is {value!r}, not {words}", code="wrong-type", path=(key,))
    name, engine = data.get("name"), data.get("engine", "local")
    if isinstance(name, str) and not _NAME.fullmatch(name):
        problems.add(f'name "{name}" cannot name a folder', code="bad-name", path=("name",), hint=_NAME_RULE)
    if isinstance(engine, str):
        try:
            find("engine", engine)
        except UsageError as error:
            problems.add(error.message, code="unknown-engine", path=("engine",), hint=error.hint)


def _stage(index: int, stage: dict[str, Any], folder: Path, problems: Problems) -> RecipeStage | None:
    """Build one stage's component and check the files it reads."""
    at: KeyPath = ("stages", index)
    name, use = stage["name"], stage.get("use")
    component = _component(name, use, at, problems)
    if component is None:
        return None
    settings = {key: value for key, value in stage.items() if key not in RESERVED}
    try:
        built = component.model_validate(settings)
    except ValidationError as error:
        for detail in error.errors():
            explain(detail, stage=name, use=str(use), component=component, at=at, problems=problems)
        return None
    typed = any(path[: len(at)] == at for path in problems.typed)
    built = map_inputs(built, lambda path: _absolute(path, folder=folder, typed=typed))
    for field in stage_inputs(component):
        for path in paths_of(getattr(built, field)):
            _check_file(path, (*at, field), problems)
        if field in settings:
            value = getattr(built, field)
            paths = [str(path) for path in paths_of(value)]
            settings[field] = paths if isinstance(value, list | tuple) else paths[0] if paths else None
    try:
        built.checkable()
    except PlaitError as error:
        code = "missing-extra" if isinstance(error, MissingExtra) else "cannot-run"
        problems.add(f"stage {name}: {error.message}", code=code, path=(*at, "use"), hint=error.hint)
    explicit = stage.get("needs") or []
    if not isinstance(explicit, list) or not all(isinstance(n, str) for n in cast("list[Any]", explicit)):
        problems.add(
            f"needs is {explicit!r}, not a list of stage names", code="wrong-type", path=(*at, "needs")
        )
        explicit = []
    referred = [needed for _, needed, _ in references_of(built)]
    needs = tuple(dict.fromkeys([*cast("list[str]", explicit), *referred]))
    return RecipeStage(name, str(use), needs, settings, built)


def _component(name: str, use: Any, at: KeyPath, problems: Problems) -> type[Stage] | None:
    """The class a stage names."""
    if not isinstance(use, str):
        hint = "add `use:`; `plait ls stage` lists what there is"
        problems.add(
            f"stage {name} does not say which component it uses", code="missing-key", path=at, hint=hint
        )
        return None
    path = (*at, "use")
    try:
        component = find("stage", use)
    except MissingExtra as error:
        problems.add(error.message, code="missing-extra", path=path, hint=error.hint)
    except UsageError as error:
        problems.add(error.message, code="unknown-component", path=path, hint=error.hint)
    else:
        if isinstance(component, type) and issubclass(component, Stage):
            return component
        hint = "a stage subclasses plait.core.stage.Stage"
        problems.add(f'"{use}" is not a stage', code="not-a-stage", path=path, hint=hint)
    return None


def _absolute(path: Path, *, folder: Path, typed: bool) -> Path:
    if parse_reference(path) is not None or path.is_absolute():
        return path
    # What is typed on the command line is meant from where it is typed.
    here = Path.cwd() / path
    return here if typed and here.exists() else folder / path


def _check_file(path: Path, at: KeyPath, problems: Problems) -> None:
    if parse_reference(path) is not None or path.exists():
        return
    if "${" in path.name:
        hint = "write ${stage.output}, e.g. ${curate.documents}"
        problems.add(f'"{path.name}" is not a reference', code="bad-reference", path=at, hint=hint)
    else:
        near = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = nearest(path.name, near) if near else f"there is no folder {path.parent} either"
        problems.add(f"{path} does not exist", code="missing-file", path=at, hint=hint)


def _references(stages: Sequence[RecipeStage], names: Sequence[str], problems: Problems) -> None:
    """Every stage and output that is needed exists."""
    built = {stage.name: stage for stage in stages}
    for stage in stages:
        at: KeyPath = ("stages", names.index(stage.name))
        references = references_of(stage.component)
        for needed in stage.needs:
            if needed not in names:
                field = next((field for field, name, _ in references if name == needed), "needs")
                problems.add(
                    f'stage {stage.name} needs "{needed}", and there is no such stage',
                    code="dangling-reference",
                    path=(*at, field),
                    hint=nearest(needed, [name for name in names if name != stage.name]),
                )
        for field, needed, output in references:
            outputs = type(built[needed].component).outputs if needed in built else {output: ""}
            if output not in outputs:
                problems.add(
                    f'stage {needed} has no output "{output}"',
                    code="dangling-reference",
                    path=(*at, field),
                    hint=nearest(output, outputs),
                )


def _cycle(stages: Sequence[RecipeStage], problems: Problems) -> None:
    cycle = find_cycle({stage.name: stage.needs for stage in stages})
    if cycle:
        index = [stage.name for stage in stages].index(cycle[0])
        shown = f"stages wait for each other: {' -> '.join(cycle)}"
        problems.add(shown, code="cycle", path=("stages", index), hint="remove one of these references")


def find_cycle(needs: Mapping[str, Iterable[str]]) -> list[str] | None:
    """A cycle as the list of its members with the first one repeated at the end; ``None`` if there is none.

    Example:
        >>> find_cycle({"a": ["b"], "b": ["a"], "c": []})
        ['a', 'b', 'a']
    """
    finished: set[str] = set()

    def visit(name: str, trail: list[str]) -> list[str] | None:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name not in finished:
            for needed in needs[name]:
                cycle = visit(needed, [*trail, name])
                if cycle:
                    return cycle
            finished.add(name)
        return None

    return next((cycle for name in needs if (cycle := visit(name, []))), None)
