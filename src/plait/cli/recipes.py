"""Verbs on recipes: run, check, new, schema. Recipes of Data-Juicer's form are run and checked as they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait.cli.output import Json, Root, examples, print_json, print_tables

if TYPE_CHECKING:
    from plait.core.folder import RunFolder
    from plait.core.recipe import Recipe
    from plait.errors import UsageError

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
    ("plait run juicer.yaml export_path=b.jsonl process.words_num_filter.min_num=40", "a Data-Juicer recipe"),
    ("plait run my.yaml --json", "for a program: folder, headlines and facts"),
)
_CHECK = examples(
    ("plait check my.yaml", "every problem at once, each with file:line"),
    ("plait check my.yaml align.steps=72 --json", "with an override, for a program"),
    ("plait check juicer.yaml dataset_path=pages.jsonl", "a Data-Juicer recipe: operations, settings, files to read"),
)
_NEW = examples(
    ("plait new quickstart my.yaml", "then edit my.yaml and `plait run my.yaml`"),
    ("plait new web pages.yaml", "a shipped recipe of operations, for `plait data run pages.yaml -d DATA`"),
)
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
    from plait.cli.data.recipe import juicer_path

    if (path := juicer_path(recipe)) is not None:
        if out is not None or fresh:
            raise _without_stages("--out" if out is not None else "--fresh")
        _curate(path, overrides or [], engine=engine, address=address, json=json)
        return
    from plait.core.folder import RunFolder
    from plait.core.recipe import load_recipe
    from plait.core.run import run_folder

    loaded = load_recipe(recipe, overrides=overrides or [])
    folder = RunFolder(out) if out else run_folder(loaded, root=root)
    run_in(folder, loaded, engine=engine or loaded.engine, address=address, fresh=fresh, json=json)


def _curate(path: Path, overrides: list[str], *, engine: str | None, address: str | None, json: bool) -> None:
    from plait.cli.data.curate import carry_out, job_of_recipe, recipe_of

    typer.echo(f"{path.stem} is a Data-Juicer recipe: done as by `plait data run`", err=True)
    found = recipe_of(path, overrides=overrides)
    carry_out(job_of_recipe(found), found, engine=engine, address=address, workers=None, report=False, json=json)


def _without_stages(option: str) -> UsageError:
    from plait.errors import UsageError

    hints = {
        "--out": "the explanation lies beside the export: write export_path=FILE",
        "--fresh": "delete the .run folder beside the export",
    }
    return UsageError(
        f"{option} is for recipes of stages, and this is a Data-Juicer recipe", code="run.no-stages", hint=hints[option]
    )


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
    for number, stage in enumerate(recipe.ordered(), 1):
        if getattr(stage.component, "prints", False):
            print_tables(folder.read_report(folder.stage(number, stage.name)).tables)
    typer.echo(f"\n{len(recipe.stages)} stages finished in {duration(result.seconds)}, {len(result.reused)} reused.")
    typer.echo(f"Report: {folder.path / 'report.html'} (or report.md)")
    for command in recipe.next:
        typer.echo(f"Next:   {command}")


def _open_engine(name: str, address: str | None) -> object:
    from plait.engines import open_engine

    return open_engine(name, address=address)


def check(recipe: RecipeName, overrides: Overrides = None, *, json: Json = False) -> None:
    """Check a recipe without running it: names, types, files, references; no GPU, no network."""
    from plait.errors import RecipeError

    try:
        found = _checked(recipe, overrides or [])
    except RecipeError as error:
        if not json:
            raise
        problems = getattr(error, "problems", None) or [error]
        print_json(
            {
                "ok": False,
                "problems": [{"where": p.where, "code": p.code, "message": str(p)} for p in problems],
            }
        )
        raise typer.Exit(2) from error
    if json:
        print_json({"ok": True, **found})
        return
    if "stages" in found:
        typer.echo(f"{found['name']}: fine. Stages in order: {', '.join(found['stages'])}")
        return
    typer.echo(f"{found['name']}: fine. Operations in order: {', '.join(found['operations']) or 'none'}")
    typer.echo(f"reads:  {', '.join(found['reads']) or 'nothing yet; say dataset_path=FILE'}")
    typer.echo(f"writes: {found['writes'] or 'nothing yet; say export_path=FILE'}")
    for setting in found["without_effect"]:
        typer.echo(f"without effect here: {setting}")


def _checked(recipe: str, overrides: list[str]) -> dict[str, Any]:
    from plait.cli.data.recipe import check as check_operations
    from plait.cli.data.recipe import juicer_path
    from plait.core.recipe import load_recipe

    if (path := juicer_path(recipe)) is not None:
        return check_operations(path, overrides)
    loaded = load_recipe(recipe, overrides=overrides)
    return {"name": loaded.name, "stages": [stage.name for stage in loaded.ordered()]}


def new(
    template: Annotated[str, typer.Argument(help="A shipped recipe to start from; see `plait ls recipe`.")],
    path: Annotated[Path | None, typer.Argument(help="Where to write it; NAME.yaml here by default.")] = None,
) -> None:
    """Copy a shipped recipe to edit."""
    from plait.core.recipe import shipped_recipe
    from plait.data.juicer import shipped_juicer_recipes
    from plait.errors import UsageError

    operations = shipped_juicer_recipes().get(template)
    source = operations or shipped_recipe(template)
    target = path or Path(source.name)
    if target.exists():
        raise UsageError("the file exists already", code="new.exists", where=str(target), hint="name another path")
    target.write_bytes(source.read_bytes())
    verb = "run" if operations is None else "data run"
    data = "" if operations is None else " -d DATA"
    typer.echo(f"wrote {target}; edit it, then: plait {verb} {target}{data}")


def schema() -> None:
    """Print the JSON Schema of recipes, for editors that complete YAML."""
    from plait.core.schema import json_schema

    print_json(json_schema())
