"""`plait data why`, `diff` and `sample`: look at rows and at what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from plait.cli.output import Json, examples, print_json, print_table

Run = Annotated[Path, typer.Argument(help="A curation: its .run folder, or the file it wrote.")]


def register(app: typer.Typer) -> None:
    """Add these verbs to the group."""
    app.command("why", epilog=_WHY)(why)
    app.command("diff", epilog=_DIFF)(diff)
    app.command("sample", epilog=_SAMPLE)(sample)


_WHY = examples(("plait data why clean.jsonl d0035052", "who dropped it, by how much, and what mappers changed"))
_DIFF = examples(("plait data diff clean-1.run clean-2.run", "what two recipes do differently, with an example each"))
_SAMPLE = examples(
    ("plait data sample clean.jsonl -n 3", "rows of a file"),
    ("plait data sample clean.run --dropped-by words_num_filter", "fates of rows a run dropped; `why` tells more"),
)


def why(
    run: Run, name: Annotated[str, typer.Argument(metavar="ID", help="The row's id.")], *, json: Json = False
) -> None:
    """Say what became of a row, and why."""
    from plait.data.why import why as find

    found = find(run, name)
    if json:
        print_json(
            [
                {"fate": w.fate, "keeps": w.keeps, "changes": [vars(c) for c in w.changes], "unseen": w.unseen}
                for w in found
            ]
        )
        return
    for one in found:
        fate = one.fate
        if fate["kept"]:
            typer.echo(f"{name}: kept")
        else:
            copy = f", like {fate['duplicate_of']}{_through(fate, run)}" if fate.get("duplicate_of") else ""
            number = f": {fate['stat']} = {fate['value']:.4g}" if "value" in fate else ""
            typer.echo(f"{name}: dropped by {fate['dropped_by']}{number}{copy}; it keeps {one.keeps}")
        for key, value in fate.items():
            if key not in ("id", "kept", "dropped_by", "stat", "value", "duplicate_of", "changed_by"):
                typer.echo(f"  {key}: {value:.6g}" if isinstance(value, float) else f"  {key}: {value}")
        if one.unseen is not None:
            typer.echo(f"changed by {fate['changed_by']}; what they did cannot be shown: {one.unseen}")
        for change in one.changes:
            typer.echo(f"changed by {change.op}:")
            for sign, text in (("-", change.before), ("+", change.after)):
                for line in text.splitlines():
                    typer.echo(f"  {sign} {_visible(line)}")


def _through(fate: Mapping[str, Any], run: Path) -> str:
    """What to add where a row is not as similar to the one kept as the threshold asks."""
    from plait.data.curation import Summary

    facts = next((op["facts"] for op in Summary.open(run).ops if op["name"] == fate["dropped_by"]), {})
    chained = fate["stat"] == "jaccard" and fate["value"] < facts.get("threshold", 0.0)
    return " through others that are like both" if chained else ""


def _visible(line: str) -> str:
    r"""A line in which blanks and marks that look like others, or like nothing, are spelled out: ``\xa0``."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def diff(before: Run, after: Run, *, json: Json = False) -> None:
    """Compare what became of each row in two curations."""
    from plait.data.why import diff as compare

    found = compare(before, after)
    if json:
        print_json(found.to_dicts())
        return
    if not found.height:
        typer.echo("every row has the same fate in both")
        return
    print_table(["before", "after", "rows", "example"], [list(row) for row in found.rows()], header=True)


def sample(
    source: Annotated[Path, typer.Argument(help="A file or folder of rows, or a .run folder with --dropped-by.")],
    *,
    count: Annotated[int, typer.Option("-n", "--count", help="How many rows.", min=1)] = 5,
    seed: Annotated[int, typer.Option(help="Other rows for another number.")] = 0,
    dropped_by: Annotated[str | None, typer.Option(help="Rows of a run that this operation dropped.")] = None,
    json: Json = False,
) -> None:
    """Show some rows, chosen at random in one pass."""
    from plait.data.samples import dropped_rows, some_rows
    from plait.errors import UsageError

    if dropped_by is None and (source / "summary.json").exists():
        raise UsageError(
            "this is the folder of a run, which holds no rows",
            code="data.a-run",
            where=str(source),
            hint="name the file it wrote, or --dropped-by OPERATION for rows it dropped",
        )
    rows = dropped_rows(source, dropped_by, count, seed=seed) if dropped_by else some_rows(source, count, seed=seed)
    if json:
        print_json(rows)
        return
    for row in rows:
        fields = {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items() if k != "text" and v is not None}
        typer.secho(" ".join(f"{name}={value}" for name, value in fields.items()), bold=True)
        if "text" in row:
            typer.echo(f"{row['text']}\n")
