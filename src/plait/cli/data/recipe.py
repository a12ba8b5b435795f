"""A Data-Juicer recipe where a recipe of stages may stand: `plait run` and `plait check` take both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.errors import DataError, RecipeError, UsageError, nearest

if TYPE_CHECKING:
    from plait.data.juicer import JuicerRecipe
    from plait.data.plan import OpSetting
    from plait.data.read import Source

_TYPED = "command line"
_SETTINGS = "known: dataset_path, export_path, np, process.OPERATION.SETTING, and whatever else such a recipe sets"


def juicer_path(recipe: str) -> Path | None:
    """Where `read_juicer_recipe` finds it, if it is a recipe of Data-Juicer's form: a file, or a shipped one."""
    from plait.core.recipe import shipped_recipes
    from plait.core.yaml import load_yaml
    from plait.data.juicer import is_juicer_recipe, shipped_juicer_recipes

    path = Path(recipe)
    if path.is_file():
        try:
            data = load_yaml(path).data
        except RecipeError:
            return None  # whoever loads it as a recipe of stages says the same
        return path if isinstance(data, dict) and is_juicer_recipe(data) else None
    staged = {shipped.stem for shipped in shipped_recipes()}
    return shipped_juicer_recipes().get(recipe) if recipe not in staged else None


def read(path: Path, overrides: Sequence[str] = ()) -> JuicerRecipe:
    """A recipe with some settings changed.

    Args:
        path: As `juicer_path` found it.
        overrides: Settings of the recipe such as ``dataset_path=…``, ``np=…`` or ``text_keys=…``, and
            ``process.OPERATION.SETTING=…``; an operation that stands there more than once is ``OPERATION@PLACE``,
            counting from 0 as in the lineage.

    Raises:
        RecipeError: The recipe is wrong, or an override.
    """
    from plait.core.yaml import parse_value
    from plait.data.juicer import read_juicer_recipe
    from plait.data.juicer.flags import IGNORED, MAPPED, REFUSED

    instead, of_operations = dict[str, Any](), list[tuple[str, str]]()
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise _refused(f'"{text}" has no value', "write key=value, e.g. process.text_length_filter.min_len=100")
        if key.startswith("process."):
            of_operations.append((key.removeprefix("process."), value))
        elif key != "process" and (key in MAPPED or key.split(".")[0] in (*IGNORED, *REFUSED)):
            # A path may look like something else to YAML.
            instead[key] = value if key.endswith("_path") else parse_value(value)
        else:
            close = nearest(key, MAPPED - {"process"})
            hint = close if close.startswith("did you mean") else _SETTINGS
            raise _refused(f'"{key}" cannot be set here', hint)
    found = read_juicer_recipe(path, instead=instead)
    for rest, value in of_operations:
        found = replace(found, ops=_with_setting(found.ops, rest, value))
    return found


def check(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Check a recipe without any work: operations, their settings, and whether the files to read are there.

    Returns:
        Its name, its operations in order, what it reads and writes, and what has no effect here.

    Raises:
        RecipeError: The first problem; ``.problems`` holds them all.
    """
    from plait.cli.data.curate import without_effect
    from plait.core.yaml import load_yaml

    found = read(path, overrides)
    located = load_yaml(path)
    key = "dataset_path" if located.data.get("dataset_path") else "dataset"
    where = _TYPED if any(text.startswith("dataset_path=") for text in overrides) else located.where(key)
    problems = [problem for source in found.sources for problem in _missing(source, found.suffixes, where)]
    if problems:
        problems[0].problems = tuple(problems)
        raise problems[0]
    return {
        "name": found.project,
        "operations": [name for op in found.ops for name in op],
        "reads": [source.path for source in found.sources],
        "writes": str(found.export_path) if found.export_path else None,
        "without_effect": without_effect(found),
    }


def _with_setting(ops: Sequence[OpSetting], rest: str, value: str) -> tuple[OpSetting, ...]:
    """Operations with one setting changed, ``OPERATION.SETTING``."""
    from plait.core.yaml import parse_value
    from plait.data.plan import read_ops

    named = [next(iter(dict(op))) if not isinstance(op, str) else op for op in ops]
    # The name of an operation of one's own may hold dots, so names are looked for, not cut off.
    exact = [at for at, name in enumerate(named) if rest.startswith(f"{name}@{at}.")]
    plain = [at for at, name in enumerate(named) if rest.startswith(f"{name}.")]
    if not exact and not plain:
        raise _refused(
            f'"process.{rest}" names no setting of an operation here', nearest(rest.rsplit(".", 1)[0], named)
        )
    if not exact and len(plain) > 1:
        name = named[plain[0]]
        raise _refused(
            f"{name} stands in the recipe {len(plain)} times",
            f"say which by its place: {', '.join(f'process.{name}@{at}.…' for at in plain)}",
        )
    at = (exact or plain)[0]
    name = named[at]
    key = rest.removeprefix(f"{name}@{at}." if exact else f"{name}.")
    given = ops[at]
    before = {} if isinstance(given, str) else given[name] or {}
    changed = {name: {**before, key: parse_value(value)}}
    try:
        read_ops([changed])
    except UsageError as error:
        raise _refused(error.message, error.hint) from error
    return (*ops[:at], changed, *ops[at + 1 :])


def _missing(source: Source, suffixes: Sequence[str], where: str) -> list[RecipeError]:
    """What is wrong with an input on this machine; addresses elsewhere are not asked."""
    from plait.data.read.parts import parts_of

    if _elsewhere(source.path):
        return []
    message, hint = f"{source.path}: there is no file to read", "check the path, and suffixes"
    try:
        if any(True for _ in parts_of(source, 0, suffixes=suffixes, folders="auto", skipped=Counter())):
            return []
    except DataError as error:
        message, hint = f"{error.where}: {error.message}", error.hint
    return [RecipeError(message, code="recipe.missing-file", where=where, hint=hint)]


def _elsewhere(path: str) -> bool:
    """Whether it is an address, or ``owner/name`` on the hub rather than a file."""
    from plait.core.io.readers import format_of
    from plait.data.read.remote import is_remote

    if path.startswith("file://") or Path(path).expanduser().exists():
        return False
    named = len(Path(path).parts) == 2 and not path.startswith((".", "~", "/")) and not Path(path).parent.exists()
    hub = named and not set("*?[") & set(path) and format_of(Path(path)) is None and ".json" not in Path(path).suffixes
    return path.startswith("hf://") or is_remote(path) or hub


def _refused(message: str, hint: str | None) -> RecipeError:
    return RecipeError(message, code="recipe.bad-override", where=_TYPED, hint=hint)
