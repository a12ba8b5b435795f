"""`plait data`: curate files directly, and look at what became of every row."""

from __future__ import annotations

import typer

from plait.cli.data import curate, look, study

app = typer.Typer(
    help="Curate data.", no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False
)
for part in (curate, look, study):
    part.register(app)
