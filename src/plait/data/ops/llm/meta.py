"""What mappers find out about a row goes into one struct column, under Data-Juicer's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from plait.data.batch import Batch

META = "__dj__meta__"
"""Column of what mappers found out, as in Data-Juicer."""

STRINGS = pl.List(pl.String)


def meta_of(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is known of a row so far.

    Example:
        >>> meta_of({"text": "a"}), meta_of({"__dj__meta__": {"topic": "b"}})
        ({}, {'topic': 'b'})
    """
    return row.get(META) or {}


FINE = ("ok", "not asked", "pending")
"""What a field ``…_status`` says where nothing went wrong."""


def failures(batch: Batch, status: str) -> int:
    """How many rows a field of their meta says of that something went wrong.

    Example:
        >>> failures(with_meta(Batch.of_texts(["a", "b"]), {"s": ["ok", "unusable: no"]}, {"s": pl.String}), "s")
        1
    """
    return int((~batch.column(f"{META}.{status}").is_in(FINE)).sum())


def with_meta(batch: Batch, values: Mapping[str, Sequence[Any]], types: Mapping[str, Any]) -> Batch:
    """A batch that knows more of its rows.

    Args:
        batch: The rows.
        values: By name, one value per row.
        types: By name, the Polars type, so that all chunks agree.

    Example:
        >>> batch = with_meta(Batch.of_texts(["a"]), {"topic": ["b"]}, {"topic": pl.String})
        >>> batch.column("__dj__meta__.topic").to_list()
        ['b']
    """
    columns = [pl.Series(name, values[name], dtype=kind, strict=False) for name, kind in types.items()]
    if isinstance(batch.frame.schema.get(META), pl.Struct):
        known = batch.frame[META].struct.unnest()
        return batch.with_column(META, known.with_columns(columns).to_struct(META))
    return batch.with_column(META, pl.DataFrame(columns).to_struct(META))
