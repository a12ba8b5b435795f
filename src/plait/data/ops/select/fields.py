"""Values of a field as something that all rows can be ordered or counted by."""

from __future__ import annotations

import sys

import numpy as np
import polars as pl
from xxhash import xxh3_128_digest

from plait.data.batch import Batch
from plait.errors import DataError

MISSING = float(sys.maxsize)
"""Stands for a value that is no number: smaller than all others as ``-MISSING``, larger as ``MISSING``."""


def field(batch: Batch, name: str) -> pl.Series:
    """A field; a dot leads into a struct.

    Raises:
        DataError: There is no such field.
    """
    try:
        return batch.column(name)
    except (pl.exceptions.StructFieldNotFoundError, pl.exceptions.SchemaError) as error:
        raise DataError(f'there is no field "{name}"', code="data.missing-field") from error


def numbers(values: pl.Series, *, missing: float) -> np.ndarray:
    """One number per row: texts are read as numbers, lists count as their mean, ``[rows]``.

    Args:
        values: A field.
        missing: Stands for null, for what is no number, and for an empty list.

    Example:
        >>> numbers(pl.Series(["2", "x", None]), missing=-1.0)
        array([ 2., -1., -1.])
        >>> numbers(pl.Series([[1, 2], []]), missing=-1.0)
        array([ 1.5, -1. ])
    """
    if values.dtype.is_integer() and not values.null_count():
        # Not through float64, which merges integers beyond 2**53.
        return values.cast(pl.Int64).to_numpy() if values.dtype != pl.UInt64 else values.to_numpy()
    if values.dtype == pl.String:
        values = values.str.strip_chars().cast(pl.Float64, strict=False)
    elif isinstance(values.dtype, pl.List) and (values.dtype.inner.is_numeric() or values.dtype.inner == pl.Boolean):
        values = values.list.mean()
    elif not (values.dtype.is_numeric() or values.dtype == pl.Boolean):
        return np.full(len(values), missing)
    return values.cast(pl.Float64).fill_nan(None).fill_null(missing).to_numpy()


def digests(values: pl.Series) -> np.ndarray:
    """128 bits of each value, uint64 ``[rows, 2]``, equal where Python calls the values equal.

    Raises:
        DataError: The values are neither texts nor numbers.

    Example:
        >>> a, b = digests(pl.Series([1, 2])), digests(pl.Series([1.0, None]))
        >>> bool((a[0] == b[0]).all()), bool((a[1] == b[1]).any())
        (True, False)
    """
    kind = values.dtype
    if kind == pl.Boolean:
        values = values.cast(pl.Int64)
    elif kind.is_float():
        whole = (values == values.floor()) & (values.abs() < 2.0**53)
        exact = values.cast(pl.Int64, strict=False).cast(pl.String)
        values = pl.select(pl.when(whole).then(exact).otherwise(values.cast(pl.String))).to_series()
    elif not (kind == pl.String or kind == pl.Null or kind.is_integer()):
        raise DataError(
            f'the values of "{values.name}" are {kind}, neither texts nor numbers',
            code="data.field-type",
            hint="name a field inside it, with a dot",
        )
    mark = "s" if kind == pl.String else "n"
    named = (mark + values.cast(pl.String)).fill_null("")
    distinct = named.unique()
    each = b"".join(xxh3_128_digest(text.encode()) for text in distinct)
    found = np.frombuffer(each, np.uint64).reshape(len(distinct), 2)
    places = named.replace_strict(distinct, np.arange(len(distinct)), return_dtype=pl.Int64)
    return found[places.to_numpy()]


def ordered(values: np.ndarray, *, descending: bool) -> np.ndarray:
    """Positions in order of their values; equal values in order of position, int64 ``[rows]``.

    Example:
        >>> ordered(np.array([1, 3, 3, 2]), descending=True)
        array([1, 2, 3, 0])
    """
    if values.dtype == object:
        ranks = pl.Series(values.tolist(), dtype=pl.String).rank("dense").cast(pl.Int64)
        values = ranks.fill_null(-1 if descending else len(values) + 1).to_numpy()
    if not descending:
        return np.argsort(values, kind="stable")
    return len(values) - 1 - np.argsort(values[::-1], kind="stable")[::-1]


def how_many(total: int, ratio: float | None, number: int | None) -> int | None:
    """The smaller of a share of all and a number, or ``None`` if neither is given (0 counts as not given).

    Example:
        >>> how_many(10, 0.25, None), how_many(10, 0.25, 1), how_many(10, None, None)
        (2, 1, None)
    """
    counts = [int(ratio * total)] if ratio else []
    counts += [number] if number else []
    return min(counts) if counts else None
