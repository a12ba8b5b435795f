"""A quarantine for verbs that look without writing: counted, shown, and gone afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import typer

from plait.core.quarantine import Quarantine


@contextmanager
def temporary() -> Generator[Quarantine]:
    """Records that could not be read; the counts are what matters."""
    with tempfile.TemporaryDirectory(prefix="plait-") as folder:
        yield Quarantine(Path(folder) / "rejects.jsonl")


def tell(counts: Mapping[str, int]) -> None:
    """Say how many records were left out, by reason."""
    for reason, count in counts.items():
        typer.echo(f"left out {count:,}: {reason}", err=True)
