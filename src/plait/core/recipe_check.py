"""Check a recipe: its shape, then each stage's settings, then what stages need of each other.

A check goes on past what it finds wrong, so that everything is reported at once; what hangs on a broken part is left
alone, so that one mistake is not reported twice.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from plait.core.catalog import find
from plait.core.problems import Problems, shorten
from plait.core.recipe import Recipe
from plait.core.recipe_links import check_links
from plait.core.recipe_override import put_in_values
from plait.core.recipe_stage import build_stage
from plait.core.yaml import KeyPath, Located
from plait.errors import UsageError, nearest

_TOP = ("name", "seed", "engine", "vars", "next", "stages")
_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_NAME_RULE = "use small letters, digits, - and _, beginning with a letter"
_KINDS: tuple[tuple[str, type, str], ...] = (
    ("name", str, "a word"),
    ("seed", int, "a whole number"),
    ("engine", str, "a word"),
    ("vars", dict, "a mapping"),
    ("next", list, "a list of commands"),
)


def check_recipe(located: Located, *, folder: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Check loaded YAML and build the recipe.

    Args:
        located: The YAML with its line numbers.
        folder: What relative paths in the file are relative to.
        overrides: ``key=value`` from the command line; paths among them are relative to the working directory.

    Raises:
        RecipeError: The first problem; its ``problems`` are all of them.
    """
    problems = Problems(located)
    data = _recipe_mapping(copy.deepcopy(located.data), problems)
    problems.stop()
    put_in_values(data, overrides, problems)
    _check_top(data, located, problems)
    named = _named_stages(cast("list[Any]", data["stages"]), problems)
    # Names that stand in the file exist for references, also where the stage itself is broken.
    names = {name for name, _ in named}
    built = {
        name: build_stage(name, data["stages"][index], index=index, names=names, folder=folder, problems=problems)
        for name, index in named
    }
    stages = check_links(built, dict(named), problems)
    problems.stop()
    return Recipe(
        name=data.get("name") or Path(located.source).stem,
        seed=data.get("seed") or 0,
        engine=data.get("engine") or "local",
        stages=tuple(stages),
        next=tuple(data.get("next") or ()),
        vars=data.get("vars") or {},
    )


def _recipe_mapping(root: Any, problems: Problems) -> dict[str, Any]:
    """The recipe as a mapping that has a list of stages; otherwise nothing further can be said."""
    if not isinstance(root, dict) or not root:
        shown = "the recipe is empty" if not root else f"the recipe is {shorten(root)}, not a mapping"
        problems.add(shown, code="not-a-mapping", path=(), hint="begin with `name:` and `stages:`")
        return {}
    data = cast("dict[str, Any]", root)
    stages = data.get("stages")
    if not isinstance(stages, list) or not stages:
        shown = "the recipe has no stages" if not stages else f"stages is {shorten(stages)}, not a list"
        hint = "list them under `stages:`, each beginning with `- name:`"
        near = [key for key in data if key not in _TOP and nearest(key, ["stages"]).startswith("did")]
        if near:
            hint = f'"{near[0]}" should be "stages"'
        problems.add(shown, code="no-stages", path=(*(near or ["stages"]),), hint=hint)
    return data


def _check_top(data: dict[str, Any], located: Located, problems: Problems) -> None:
    """Known keys with usable values."""
    for key in data:
        if key not in _TOP:
            problems.add(f'unknown key "{key}"', code="unknown-key", path=(key,), hint=nearest(key, _TOP))
    for key, kind, words in _KINDS:
        value = data.get(key)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            shown = f"{key} is {shorten(value)}, not {words}"
            problems.add(shown, code="wrong-type", path=(key,), hint=f"give {words}, or leave it out")
    for index, command in enumerate(_list(data.get("next"))):
        if not isinstance(command, str):
            shown = f"next holds {shorten(command)}, not a command"
            problems.add(shown, code="wrong-type", path=("next", index), hint="put the command in quotes")
    name = data.get("name") or Path(located.source).stem
    if isinstance(name, str) and not _NAME.fullmatch(name):
        problems.add(f'name "{name}" cannot name a folder', code="bad-name", path=("name",), hint=_NAME_RULE)
    engine = data.get("engine") or "local"
    if isinstance(engine, str):
        try:
            find("engine", engine)
        except UsageError as error:
            problems.add(error.message, code="unknown-engine", path=("engine",), hint=error.hint)


def _named_stages(stages: list[Any], problems: Problems) -> list[tuple[str, int]]:
    """``(name, index)`` of every stage that is a mapping with a name of its own."""
    named: dict[str, int] = {}
    for index, stage in enumerate(stages):
        at: KeyPath = ("stages", index)
        if not isinstance(stage, dict):
            shown = f"stage {index + 1} is {shorten(stage)}, not a mapping"
            problems.add(shown, code="wrong-type", path=at, hint="begin it with `- name:`")
            continue
        name = cast("dict[str, Any]", stage).get("name")
        path = (*at, "name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            shown = "has no name" if name is None else f"is named {shorten(name)}"
            problems.add(f"stage {index + 1} {shown}", code="bad-name", path=path, hint=_NAME_RULE)
        elif name in ("vars", "stages"):
            shown = f'a stage cannot be named "{name}", which means something else in references and overrides'
            problems.add(shown, code="bad-name", path=path, hint="rename it")
        elif name in named:
            first = problems.located.line("stages", named[name], "name")
            shown = f'two stages are named "{name}", the first on line {first}'
            problems.add(shown, code="duplicate-stage", path=path, hint="rename one")
        else:
            named[name] = index
    return list(named.items())


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
