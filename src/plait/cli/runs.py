"""Verbs on runs: watch, resume, diff, rm. `RUN` is a folder, the beginning of a run's name, or `last`."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait.cli.output import Json, Root, examples, print_json, print_table

if TYPE_CHECKING:
    from plait.core.folder import RunFolder

RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, the beginning of its name, or `last`.")]


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    panel = "Runs"
    app.command("watch", epilog=_WATCH, rich_help_panel=panel)(watch)
    app.command("resume", epilog=_RESUME, rich_help_panel=panel)(resume)
    app.command("diff", epilog=_DIFF, rich_help_panel=panel)(diff)
    app.command("rm", epilog=_RM, rich_help_panel=panel)(rm)


_WATCH = examples(
    ("plait watch", "the run that was active last"), ("plait watch quickstart-3f2a --once", "its state now")
)
_RESUME = examples(("plait resume last", "after a kill, a full disk or a mended input"))
_DIFF = examples(("plait diff quickstart-3f2a quickstart-91c4", "settings, environment and results"))
_RM = examples(("plait rm quickstart-3f2a --yes", "without being asked"))


def watch(
    run: RunName = "last",
    *,
    once: Annotated[bool, typer.Option("--once", help="Show the state now and leave.")] = False,
    root: Root = Path("runs"),
    json: Json = False,
) -> None:
    """Follow a run from its event log, also one that another process works on."""
    from plait.core.folder import find_run
    from plait.core.progress import RunProgress, terminal_view

    folder = find_run(run, root=root)
    state = RunProgress()
    if json:
        for event in folder.read_events():
            state.feed(event)
        print_json(_summary(folder, state))
        return
    with terminal_view() as show:
        seen = 0
        while True:
            events = folder.read_events()
            for event in events[seen:]:
                show(event)
                state.feed(event)
            seen = len(events)
            if once or state.state in ("done", "failed", "interrupted"):
                break
            time.sleep(0.5)
    typer.echo(f"{folder.path.name}: {state.state}{': ' + state.error if state.error else ''}")
    if state.state == "failed":
        raise typer.Exit(1)


def _summary(folder: RunFolder, state: Any) -> dict[str, Any]:
    return {
        "folder": str(folder.path),
        "recipe": state.recipe,
        "state": state.state,
        "error": state.error or None,
        "warnings": state.warnings,
        "stages": {
            name: {
                "state": s.state,
                "seconds": s.seconds,
                "headline": s.headline,
                "done": s.done,
                "total": s.total,
            }
            for name, s in state.stages.items()
        },
    }


def resume(
    run: RunName = "last",
    *,
    engine: Annotated[str | None, typer.Option(help="local or ray; the recipe's own by default.")] = None,
    address: Annotated[str | None, typer.Option(help="Address of a Ray cluster to join.")] = None,
    root: Root = Path("runs"),
    json: Json = False,
) -> None:
    """Go on with a run that was stopped; what is finished is reused."""
    from plait.cli.recipes import run_in
    from plait.core.folder import find_run
    from plait.core.recipe import load_recipe

    folder = find_run(run, root=root)
    recipe = load_recipe(str(folder.recipe))
    run_in(folder, recipe, engine=engine or recipe.engine, address=address, fresh=False, json=json)


def diff(first: RunName, second: RunName, *, root: Root = Path("runs"), json: Json = False) -> None:
    """What differs between two runs: settings, environment, and the numbers that came out."""
    from plait.core.compare import compare_runs
    from plait.core.folder import find_run

    rows = compare_runs(find_run(first, root=root), find_run(second, root=root))
    if json:
        print_json([{"what": w, "name": n, "first": a, "second": b} for w, n, a, b in rows])
        return
    if not rows:
        typer.echo("no difference")
        return
    print_table(["what", "name", first, second], [list(row) for row in rows])


def rm(
    run: RunName,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    root: Root = Path("runs"),
) -> None:
    """Delete a run's folder."""
    from plait.core.folder import find_run

    folder = find_run(run, root=root)
    if not yes:
        typer.confirm(f"Delete {folder.path}?", abort=True)
    with folder.locked():
        shutil.rmtree(folder.path)
    typer.echo(f"deleted {folder.path}")
