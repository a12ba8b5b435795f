"""Putting rewritten parts back into texts: what mappers of short stretches share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa

from plait.data.loops import compiled

if TYPE_CHECKING:
    from collections.abc import Callable


def rewrite_where(texts: pl.Series, gate: pl.Series, change: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """The texts with those that pass a gate rewritten.

    Args:
        texts: The texts.
        gate: Whether each may change, bool ``[texts]``.
        change: Rewrites some of them.

    Example:
        >>> texts = pl.Series(["one", "two"])
        >>> rewrite_where(texts, texts == "two", lambda some: some.str.to_uppercase()).to_list()
        ['one', 'TWO']
    """
    count = gate.sum()
    if count == 0:
        return texts
    if count == len(texts):
        return change(texts)
    # A clone, because scatter writes into the series it is called on.
    return texts.clone().scatter(gate.arg_true(), change(texts.filter(gate)))


def strings(data: np.ndarray, starts: np.ndarray) -> pl.Series:
    """A series over UTF-8 bytes and where each string starts, int64 ``[strings + 1]``; no copy.

    Example:
        >>> strings(np.frombuffer(b"onetwo", np.uint8), np.array([0, 3, 6])).to_list()
        ['one', 'two']
    """
    offsets = pa.py_buffer(np.ascontiguousarray(starts, np.int64))
    array = pa.LargeStringArray.from_buffers(len(starts) - 1, offsets, pa.py_buffer(np.ascontiguousarray(data)))
    return pl.Series(array, dtype=pl.String)


def without(data: np.ndarray, starts: np.ndarray, spans: np.ndarray, put: str = "") -> pl.Series:
    """Texts with the same string put in place of each span.

    Args:
        data: UTF-8 of all texts, uint8 ``[bytes]``.
        starts: Where each text starts, int64 ``[texts + 1]``.
        spans: First byte and end of each span, int64 ``[spans, 2]``; ascending, none reaching over two texts.
        put: What stands there instead.
    """
    new = np.frombuffer(put.encode(), np.uint8)
    return strings(*_replace(data, starts, spans, new, np.zeros(len(spans), np.int64), np.full(len(spans), len(new))))


def splice(
    data: np.ndarray, starts: np.ndarray, spans: np.ndarray, new: np.ndarray, new_starts: np.ndarray
) -> pl.Series:
    """Texts with another string in place of each span; ``new`` and ``new_starts`` hold one per span."""
    return strings(*_replace(data, starts, spans, new, new_starts[:-1], np.diff(new_starts)))


@compiled
def _replace(
    data: np.ndarray,
    starts: np.ndarray,
    spans: np.ndarray,
    new: np.ndarray,
    new_at: np.ndarray,
    new_length: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    size = starts[-1] - starts[0]
    for s in range(len(spans)):
        size += new_length[s] - (spans[s, 1] - spans[s, 0])
    out = np.empty(size, np.uint8)
    out_starts = np.zeros(len(starts), np.int64)
    s = k = 0
    for d in range(len(starts) - 1):
        i, end = starts[d], starts[d + 1]
        while s < len(spans) and spans[s, 0] < end:
            gap = spans[s, 0] - i
            out[k : k + gap] = data[i : spans[s, 0]]
            k += gap
            for j in range(new_length[s]):
                out[k + j] = new[new_at[s] + j]
            k += new_length[s]
            i = spans[s, 1]
            s += 1
        out[k : k + end - i] = data[i:end]
        k += end - i
        out_starts[d + 1] = k
    return out, out_starts
