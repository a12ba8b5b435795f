"""How verbs print: text for people, one JSON document for programs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from plait.core.figures import Table

_NUMBER = re.compile(r"(-?[\d,.]+(e[+-]?\d+)?( %)?)?")  # or nothing

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Root = Annotated[Path, typer.Option("--runs", help="Folder that holds the runs.", envvar="PLAIT_RUNS")]


def examples(*commands: tuple[str, str]) -> str:
    """The end of a verb's help: commands that work as they are, each with what it does."""
    return "**Examples**\n\n" + "\n".join(f"* `{command}`: {what}" for command, what in commands)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, default=str))


def print_table(columns: list[str], rows: list[list[Any]], *, header: bool = False) -> None:
    """Aligned columns; plain tabs when the output is not a terminal.

    Args:
        columns: Their names.
        rows: What stands in them.
        header: Whether the names are printed where the output is not a terminal too.
    """
    import sys

    if not sys.stdout.isatty():
        for row in [columns, *rows] if header else rows:
            typer.echo("\t".join("" if v is None else str(v) for v in row))
        return
    from rich.console import Console
    from rich.table import Table as Grid

    table = Grid(box=None, pad_edge=False, header_style="dim")
    shown = [["" if v is None else str(v) for v in row] for row in rows]
    for index, column in enumerate(columns):
        right = all(_NUMBER.fullmatch(cell) for row in shown for cell in row[index : index + 1])
        style = "bold" if index == 0 else None
        table.add_column(column, no_wrap=index == 0, style=style, justify="right" if right else "left")
    for row in shown:
        table.add_row(*row)
    Console().print(table)


def print_tables(tables: Iterable[Table]) -> None:
    """Tables of a report, each below its title."""
    for table in tables:
        typer.echo(f"\n{table.title}")
        print_table(table.columns, table.rows, header=True)
        if table.note:
            typer.echo(table.note)
