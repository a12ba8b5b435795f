"""Verbs on what exists: ls, show, doctor."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from plait.cli.output import Json, Root, examples, print_json, print_table


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    panel = "Parts"
    app.command("ls", epilog=_LS, rich_help_panel=panel)(ls)
    app.command("show", epilog=_SHOW, rich_help_panel=panel)(show)
    app.command("doctor", epilog=_DOCTOR, rich_help_panel=panel)(doctor)


_LS = examples(
    ("plait ls", "everything"), ("plait ls stage", "what a recipe's `use:` can name"), ("plait ls run", "runs here")
)
_SHOW = examples(
    ("plait show data.curate", "its settings and outputs"), ("plait show my_package.stages:Mine", "your own")
)
_DOCTOR = examples(("plait doctor --json", "for a program"))


def ls(
    kind: Annotated[
        str | None, typer.Argument(help="stage, op, engine, llm, model, recipe or run; all by default.")
    ] = None,
    *,
    root: Root = Path("runs"),
    json: Json = False,
) -> None:
    """List what recipes can use, the shipped recipes, and the runs here."""
    from plait.core.catalog import TABLES
    from plait.errors import UsageError, nearest

    kinds = [*TABLES, "recipe", "run"]
    if kind is not None and kind not in kinds:
        raise UsageError(f'no kind is called "{kind}"', code="catalog.unknown-kind", hint=nearest(kind, kinds))
    rows = [row for k in ([kind] if kind else kinds) for row in _rows(k, root)]
    if json:
        print_json([{"kind": k, "name": n, "summary": s, "extra": e} for k, n, s, e in rows])
        return
    if kind:
        print_table(["name", "what it is", "extra"], [[n, s, e] for _, n, s, e in rows])
    else:
        print_table(["kind", "name", "what it is", "extra"], [list(row) for row in rows])


def _rows(kind: str, root: Path) -> list[tuple[str, str, str, str]]:
    from plait.core.catalog import table
    from plait.core.folder import list_runs
    from plait.core.progress import RunProgress
    from plait.core.recipe import recipe_summary, shipped_recipes

    if kind == "recipe":
        curation = sorted((shipped_recipes()[0].parent / "data").glob("*.yaml"))
        return [("recipe", path.stem, recipe_summary(path), "") for path in [*shipped_recipes(), *curation]]
    if kind == "run":
        rows: list[tuple[str, str, str, str]] = []
        for run in list_runs(root):
            state = RunProgress()
            for event in run.read_events():
                state.feed(event)
            finished = sum(s.state in ("done", "reused") for s in state.stages.values())
            rows.append(("run", run.path.name, f"{state.state}, {finished} of {len(state.stages)} stages", ""))
        return rows
    return [(kind, name, entry.summary, entry.extra) for name, entry in table(kind).items()]


def show(
    name: Annotated[str, typer.Argument(help="A catalog name or a dotted path `package.module:Class`.")],
    *,
    json: Json = False,
) -> None:
    """Describe a component: what it does, its settings with defaults, its outputs."""
    from pydantic import BaseModel

    from plait.core.catalog import TABLES, load, table
    from plait.errors import UsageError, nearest

    entries = {n: e for kind in TABLES for n, e in table(kind).items()}
    if name not in entries and ":" not in name:
        raise UsageError(f'nothing is called "{name}"', code="catalog.unknown", hint=nearest(name, entries))
    path = entries[name].path if name in entries else name
    target = load(path)
    if not (isinstance(target, type) and issubclass(target, BaseModel)):
        typer.echo(f"{name}  ({path})\n\n{inspect.getdoc(target) or ''}")
        return
    settings = target.model_json_schema(mode="validation")
    if json:
        print_json({"name": name, "path": path, "doc": inspect.getdoc(target), "settings": settings})
        return
    typer.echo(f"{name}  ({path})\n\n{inspect.getdoc(target)}\n\nSettings")
    for field, info in target.model_fields.items():
        default = "required" if info.is_required() else f"default {_plain(info.get_default(call_default_factory=True))}"
        typer.echo(f"  {field}  ({default})")
        typer.echo(f"      {(info.description or '').strip()}")
    outputs: dict[str, str] = getattr(target, "outputs", {})
    if outputs:
        typer.echo("\nOutputs")
        for output, file in outputs.items():
            typer.echo(f"  ${{stage.{output}}}  {file}")


def _plain(value: Any) -> str:
    return "none" if value is None else f"{value!r}"


def doctor(*, json: Json = False) -> None:
    """Say what works on this machine: versions, extras, default model, disk and memory."""
    from plait.core.doctor import examine

    findings = examine()
    if json:
        print_json([finding.__dict__ for finding in findings])
    else:
        print_table(["", "what", "found"], [["ok" if f.ok else "!!", f.what, f.found] for f in findings])
        for finding in findings:
            if not finding.ok:
                typer.echo(f"{finding.what}: {finding.advice}")
    if not all(f.ok for f in findings if f.required):
        raise typer.Exit(1)
