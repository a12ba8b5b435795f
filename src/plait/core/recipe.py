"""A recipe: a list of stages in YAML, loaded, checked and put in order before any work starts.

    name: my-run
    seed: 7
    vars: {steps: 36}
    stages:
      - {name: curate, use: data.curate}
      - {name: pairs, use: data.pairs, documents: "${curate.documents}"}

Everything that can be wrong is found by `plait.core.recipe_check`, all of it at once, before anything is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from plait.core.references import references_of
from plait.core.stage import Stage
from plait.core.yaml import KeyPath, dump_yaml, load_yaml
from plait.errors import RecipeError, UsageError, nearest


@dataclass(frozen=True)
class RecipeStage:
    """One stage, ready to run: its component is built and its references are known to hold.

    Args:
        needs: Stages that must be finished first: named under ``needs``, or referred to.
        settings: What the recipe says, with variables put in and paths made absolute.
        component: The settings as an object, ready to run.
        lines: Key path below the stage → line in the file.
    """

    name: str
    use: str
    needs: tuple[str, ...]
    settings: Mapping[str, Any]
    component: Stage
    lines: Mapping[KeyPath, int] = field(default_factory=dict[KeyPath, int], compare=False)


@dataclass(frozen=True)
class Recipe:
    """A checked recipe. ``next`` holds commands its report suggests; ``vars`` are already put in."""

    name: str
    seed: int
    engine: str
    stages: tuple[RecipeStage, ...]
    next: tuple[str, ...] = ()
    vars: Mapping[str, Any] = field(default_factory=dict[str, Any], compare=False)

    def ordered(self) -> list[RecipeStage]:
        """Stages so that each comes after what it needs; otherwise as written."""
        placed: list[RecipeStage] = []
        waiting = list(self.stages)
        while waiting:
            names = {stage.name for stage in placed}
            ready = next(stage for stage in waiting if set(stage.needs) <= names)
            placed.append(ready)
            waiting.remove(ready)
        return placed

    def to_yaml(self) -> str:
        """The resolved recipe (overrides and variables applied, paths absolute); it runs again as it is."""
        stages: list[dict[str, Any]] = []
        for stage in self.stages:
            referred = {needed for _, needed, _ in references_of(stage.component)}
            explicit = [needed for needed in stage.needs if needed not in referred]
            needs = {"needs": explicit} if explicit else {}
            stages.append({"name": stage.name, "use": stage.use} | needs | dict(stage.settings))
        suggested = {"next": list(self.next)} if self.next else {}
        return dump_yaml({"name": self.name, "seed": self.seed, "engine": self.engine} | suggested | {"stages": stages})


def load_recipe(source: str | Path, *, overrides: Sequence[str] = ()) -> Recipe:
    """Load and check a recipe.

    Args:
        source: A YAML file, or the name of a shipped recipe.
        overrides: ``key=value`` with a YAML value, e.g. ``align.steps=72``, ``seed=3``, ``vars.steps=5``.

    Raises:
        RecipeError: It cannot run. The error is the first problem; ``.problems`` holds them all.
    """
    from plait.core.recipe_check import check_recipe

    try:
        path = _find_file(str(source))
        return check_recipe(load_yaml(path), folder=path.resolve().parent, overrides=overrides)
    except RecipeError as error:
        # An error of the file itself is the only one there is.
        error.problems = error.problems or (error,)
        raise


def shipped_recipes() -> list[Path]:
    """The recipes that come with Plait."""
    folder = Path(str(resources.files("plait") / "recipes"))
    return sorted(folder.glob("*.yaml"))


def shipped_recipe(name: str) -> Path:
    """One of them by name.

    Raises:
        UsageError: There is none of that name.
    """
    known = {path.stem: path for path in shipped_recipes()}
    if name not in known:
        raise UsageError(f'no shipped recipe is called "{name}"', code="recipe.unknown", hint=nearest(name, _names()))
    return known[name]


def recipe_summary(path: Path) -> str:
    """The first comment line of a recipe file: what it does."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            return line.lstrip("# ").rstrip()
    return ""


def _names() -> list[str]:
    """Names of all shipped recipes, those of operations alone included."""
    return sorted(path.stem for path in Path(str(resources.files("plait") / "recipes")).rglob("*.yaml"))


def _find_file(source: str) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml") or "/" in source:
        near = [str(path.parent / p.name) for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        known = [*near, *_names()]
        raise RecipeError("no such recipe file", code="recipe.not-found", where=source, hint=nearest(source, known))
    return shipped_recipe(source)
