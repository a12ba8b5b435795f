"""Verbs on recipes: run, check, new, schema."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plait.cli.output import Json, Root, examples, print_json

if TYPE_CHECKING:
    from plait.core.folder import RunFolder
    from plait.core.recipe import Recipe

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, or the name of a shipped recipe.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change, e.g. `align.steps=72`."),
]


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    panel = "Recipes"
    app.command("run", epilog=_RUN, rich_help_panel=panel)(run)
    app.command("check", epilog=_CHECK, rich_help_panel=panel)(check)
    app.command("new", epilog=_NEW, rich_help_panel=panel)(new)
    app.command("schema", epilog=_SCHEMA, rich_help_panel=panel)(schema)


_RUN = examples(
    ("plait run quickstart", "a shipped recipe"),
    ("plait run my.yaml align.steps=72 seed=3", "a file, with two settings changed"),
    ("plait run my.yaml --engine ray --address head:6379", "on a Ray cluster"),
    ("plait run my.yaml --json", "for a program: folder, headlines and facts"),
)
_CHECK = examples(
    ("plait check my.yaml", "every problem at once, each with file:line"),
    ("plait check my.yaml align.steps=72 --json", "with an override, for a program"),
)
_NEW = examples(("plait new quickstart my.yaml", "then edit my.yaml and `plait run my.yaml`"))
_SCHEMA = examples(("plait schema > plait.schema.json", "point your editor's YAML plug-in at it"))


def run(
    recipe: RecipeName,
    overrides: Overrides = None,
    *,
    engine: Annotated[str | None, typer.Option(help="local or ray; the recipe's own by default.")] = None,
    address: Annotated[str | None, typer.Option(help="Address of a Ray cluster to join.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run in this folder instead of one named after the recipe.")] = None,
    root: Root = Path("runs"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Do all the work again, reuse nothing.")] = False,
    json: Json = False,
) -> None:
    """Run a recipe; finished stages are reused and a killed run goes on where it stopped."""
    from plait.core.folder import RunFolder
    from plait.core.recipe import load_recipe
    from plait.core.run import run_folder

    loaded = load_recipe(recipe, overrides=overrides or [])
    folder = RunFolder(out) if out else run_folder(loaded, root=root)
    run_in(folder, loaded, engine=engine or loaded.engine, address=address, fresh=fresh, json=json)


def run_in(folder: RunFolder, recipe: Recipe, *, engine: str, address: str | None, fresh: bool, json: bool) -> None:
    """Run a loaded recipe in a folder, with a view of it on the terminal."""
    from plait.core.catalog import find
    from plait.core.progress import terminal_view
    from plait.core.report import duration
    from plait.core.run import run as run_recipe

    find("engine", engine)  # a wrong name is an error now, not after minutes of other stages
    try:
        with terminal_view() as listener:
            result = run_recipe(
                recipe,
                folder=folder,
                open_engine=lambda: _open_engine(engine, address),
                listeners=[listener],
                fresh=fresh,
            )
    except KeyboardInterrupt:
        typer.echo(f"interrupted; go on with: plait resume {folder.path}", err=True)
        raise typer.Exit(130) from None
    if json:
        stages = {s.name: folder.read_report(folder.stage(n, s.name)) for n, s in enumerate(recipe.ordered(), 1)}
        print_json(
            {
                "folder": str(folder.path),
                "seconds": round(result.seconds, 2),
                "reused": result.reused,
                "stages": {name: {"headline": r.headline, "facts": r.facts} for name, r in stages.items()},
            }
        )
        return
    typer.echo(f"\n{len(recipe.stages)} stages finished in {duration(result.seconds)}, {len(result.reused)} reused.")
    typer.echo(f"Report: {folder.path / 'report.html'} (or report.md)")
    for command in recipe.next:
        typer.echo(f"Next:   {command}")


def _open_engine(name: str, address: str | None) -> object:
    from plait.engines import open_engine

    return open_engine(name, address=address)


def check(recipe: RecipeName, overrides: Overrides = None, *, json: Json = False) -> None:
    """Check a recipe without running it: names, types, files, references; no GPU, no network."""
    from plait.core.recipe import load_recipe
    from plait.errors import RecipeError

    try:
        loaded = load_recipe(recipe, overrides=overrides or [])
    except RecipeError as error:
        if not json:
            raise
        problems = getattr(error, "problems", [error])
        print_json(
            {
                "ok": False,
                "problems": [{"where": p.where, "code": p.code, "message": str(p)} for p in problems],
            }
        )
        raise typer.Exit(2) from error
    if json:
        print_json({"ok": True, "name": loaded.name, "stages": [s.name for s in loaded.ordered()]})
        return
    typer.echo(f"{loaded.name}: fine. Stages in order: {', '.join(s.name for s in loaded.ordered())}")


def new(
    template: Annotated[str, typer.Argument(help="A shipped recipe to start from; see `plait ls recipe`.")],
    path: Annotated[Path | None, typer.Argument(help="Where to write it; NAME.yaml here by default.")] = None,
) -> None:
    """Copy a shipped recipe to edit."""
    from plait.core.recipe import shipped_recipe
    from plait.errors import UsageError

    source = shipped_recipe(template)
    target = path or Path(source.name)
    if target.exists():
        raise UsageError("the file exists already", code="new.exists", where=str(target), hint="name another path")
    target.write_bytes(source.read_bytes())
    typer.echo(f"wrote {target}; edit it, then: plait run {target}")


def schema() -> None:
    """Print the JSON Schema of recipes, for editors that complete YAML."""
    from plait.core.schema import json_schema

    print_json(json_schema())
