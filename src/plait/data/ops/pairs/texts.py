"""Texts of conversations and preference pairs, plain or as lists of messages, as columns."""

from __future__ import annotations

import numpy as np
import polars as pl

from plait.data import kernels
from plait.data.batch import Batch
from plait.errors import DataError


def plain(batch: Batch, field: str) -> pl.Series:
    """A field as plain text: of a list of messages, what they say, a line apart.

    Raises:
        DataError: The field is missing, or is neither text nor messages.
    """
    column = batch.column(field)
    if column.dtype == pl.String:
        return batch.text(field)
    messages(column, field)
    said = column.list.eval(pl.element().struct.field("content")).list.join("\n")
    return said.fill_null("")


def messages(column: pl.Series, field: str) -> pl.Series:
    """The column, if it holds lists of messages.

    Raises:
        DataError: It holds something else.
    """
    kind = column.dtype
    inner = kind.inner if isinstance(kind, pl.List) else None
    names = {f.name for f in inner.fields} if isinstance(inner, pl.Struct) else set[str]()
    if not {"role", "content"} <= names:
        raise DataError(
            f'field "{field}" is {kind}, neither text nor a list of messages',
            code="data.wrong-type",
            hint='messages look like [{"role": "user", "content": "…"}]',
        )
    return column


def jaccard(left: pl.Series, right: pl.Series, *, size: int) -> np.ndarray:
    """Jaccard similarity of the sets of word n-grams of two columns, row by row, float64 ``[rows]``.

    Texts shorter than ``size`` words count as one n-gram. Two without any word are alike.
    """
    from plait.data.ops.pairs.sets import jaccard_of_sets

    return jaccard_of_sets(*_sets(left, size), *_sets(right, size))


def _sets(texts: pl.Series, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of each text's word n-grams, and where each text starts; short texts as one n-gram."""
    words = kernels.words(texts)
    hashes, starts = kernels.shingles(words, size)
    short = (words.counts > 0) & (words.counts < size)
    if not short.any():
        return hashes, starts
    whole = texts.str.to_lowercase().hash().to_numpy()
    counts = np.diff(starts) + short
    out_starts = np.concatenate([[0], np.cumsum(counts)])
    out = np.empty(out_starts[-1], np.uint64)
    long = np.repeat(~short, counts)
    out[long] = hashes
    out[~long] = whole[short]
    return out, out_starts
