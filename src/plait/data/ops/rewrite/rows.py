"""Rows as Python sees them: taken from a batch, multiplied, and put back beside the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from plait.data.batch import Batch
from plait.data.names import ROW

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def multiplied(batch: Batch, text_key: str, texts: Sequence[Sequence[str]]) -> Batch:
    """A row for each of a row's new texts, with the row's other fields; none for rows without.

    Example:
        >>> multiplied(Batch.of_texts(["a b", ""]), "text", [["a", "b"], []]).frame.rows()
        [('a', 0), ('b', 0)]
    """
    counts = np.fromiter((len(some) for some in texts), np.int64, len(texts))
    frame = batch.frame[np.repeat(np.arange(len(batch)), counts)]
    return Batch(frame).with_text(text_key, pl.Series([t for some in texts for t in some], dtype=pl.String))


def fields_of(batch: Batch) -> list[dict[str, Any]]:
    """The rows as dicts, without the number of each."""
    return [{k: v for k, v in row.items() if k != ROW} for row in batch.frame.iter_rows(named=True)]


def from_fields(rows: Sequence[Mapping[str, Any]], like: Batch, numbers: Sequence[int] | None = None) -> Batch:
    """A batch of dicts; fields that the batch had before keep their type where the values allow it.

    Args:
        rows: The rows.
        like: What they were made from.
        numbers: Number of each row; ``None`` if they are the batch's, in its order.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    own = like.frame.schema
    columns = list[pl.Series]()
    for name in names or [n for n in own if n != ROW]:
        values = [row.get(name) for row in rows]
        try:
            columns.append(pl.Series(name, values, dtype=own.get(name), strict=True))
        except (TypeError, pl.exceptions.PolarsError):
            # The code has made something else of the field: its new values say what.
            columns.append(pl.Series(name, values, strict=False))
    rownumbers = like.frame[ROW].to_numpy() if numbers is None else np.asarray(numbers, np.int64)
    return Batch(pl.DataFrame([*columns, pl.Series(ROW, rownumbers)]))
