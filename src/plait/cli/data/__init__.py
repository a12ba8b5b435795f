"""`plait data`: curate files directly, and look at what became of every row."""

from __future__ import annotations

import typer

from plait.cli.data import curate, index, look, study
from plait.cli.output import examples

app = typer.Typer(
    help="Curate data.",
    epilog=examples(
        ("plait data run web -d pages.jsonl -o clean.jsonl", "a shipped recipe on your pages"),
        ("plait data why clean.jsonl ID", "who dropped a row, and by how much"),
        ("plait data suggest clean.run --keep 0.6", "bounds that keep 60 %, after a run with --study"),
    ),
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
for part in (curate, look, study, index):
    part.register(app)
