"""A mapper that removes tables from texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from pydantic import Field

from plait.data.loops import compiled
from plait.data.op import Cost, Mapper, Need
from plait.data.ops.clean.splice import strings
from plait.data.utf8 import buffers, point, width

if TYPE_CHECKING:
    import polars as pl

    from plait.data.batch import Batch

_NARROW = 0x3100  # no blank lies beyond it


class RemoveTableTextMapper(Mapper):
    r"""Removes runs of two or more lines that all split into the same number of columns.

    Columns stand one space, tab or ``|`` apart. The first line of a text, and a last one without a newline, stay.

    Example:
        - remove_table_text_mapper: {min_col: 2, max_col: 20}

        >>> RemoveTableTextMapper().rewrite_texts(["Prices:\na 1\nb 2\n\nThat was all there is.\n"])
        ['Prices:\nThat was all there is.\n']

    Source: Data-Juicer 1.6.1, ``remove_table_text_mapper``; its up to 19 patterns, run one after the other over
    the text, are here one pass over the bytes and then passes over what it found of the lines.
    """

    cost: ClassVar[Cost] = "scan"
    needs: ClassVar[frozenset[Need]] = frozenset({"lines"})

    min_col: Annotated[int, Field(ge=2, le=20)] = 2
    """Fewest columns of a table."""
    max_col: Annotated[int, Field(ge=2, le=20)] = 20
    """Most columns of a table."""

    def rewrite(self, batch: Batch) -> pl.Series:
        """Measures each line once, then takes away runs, for ever more columns."""
        texts = batch.text(self.text_key)
        data, starts = buffers(texts)
        out, out_starts, changed = _without_tables(data, starts, _blanks(), self.min_col - 1, self.max_col - 1)
        return strings(out, out_starts) if changed else texts


def _blanks() -> np.ndarray:
    r"""Whether ``\s`` matches each character, bool ``[12544]``: Unicode's White_Space."""
    out = np.zeros(_NARROW, np.bool_)
    out[[*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]] = (
        True
    )
    return out


@compiled
def _separators(data: np.ndarray, start: int, end: int, blanks: np.ndarray) -> tuple[int, int]:
    """Fewest and most separators that a line can be split at; (1, 0) if it is no row of a table.

    Spaces and tabs must be separators, each with something on both sides. Pipes may be, or may belong to a cell;
    as many of them as possible are when each is taken that has something before it and after it.
    """
    fewest = pipes = 0
    last = start - 1  # the last separator
    i = start
    while i < end:
        b = data[i]
        if b == 32 or b == 9:
            if i - last < 2 or i + 1 == end:
                return 1, 0
            fewest += 1
            last = i
            i += 1
        elif b == 124:
            after = i + 1 < end and data[i + 1] != 32 and data[i + 1] != 9
            if i - last >= 2 and after:
                pipes += 1
                last = i
            i += 1
        elif b < 0x80:
            if blanks[b]:
                return 1, 0
            i += 1
        else:
            code = point(data, i)
            if code < len(blanks) and blanks[code]:
                return 1, 0
            i += width(b)
    return fewest, fewest + pipes


@compiled
def _without_tables(
    data: np.ndarray, starts: np.ndarray, blanks: np.ndarray, least: int, most: int
) -> tuple[np.ndarray, np.ndarray, bool]:
    out = np.empty(starts[-1] - starts[0], np.uint8)
    out_starts = np.zeros(len(starts), np.int64)
    longest = 1
    for d in range(len(starts) - 1):
        lines = 1
        for i in range(starts[d], starts[d + 1]):
            lines += data[i] == 10
        longest = max(longest, lines + 1)
    at = np.empty(longest + 1, np.int64)
    low, high = np.empty(longest, np.int64), np.empty(longest, np.int64)
    k = 0
    changed = False
    for d in range(len(starts) - 1):
        i, end = starts[d], starts[d + 1]
        n = 0
        candidate = False
        while i < end:
            # A line and the empty lines after it go or stay together.
            at[n] = i
            while i < end and data[i] != 10:
                i += 1
            line_end = i
            while i < end and data[i] == 10:
                i += 1
            low[n], high[n] = 1, 0
            if n > 0 and line_end < end:
                fewest, highest = _separators(data, at[n], line_end, blanks)
                low[n], high[n] = max(fewest, least), min(highest, most)
            candidate |= n > 0 and max(low[n - 1], low[n]) <= min(high[n - 1], high[n])
            n += 1
        at[n] = end
        if candidate:
            left = _kept(low, high, n, least, most)
            changed |= left.sum() < n
            for row in range(n):
                if left[row]:
                    size = at[row + 1] - at[row]
                    out[k : k + size] = data[at[row] : at[row + 1]]
                    k += size
        else:
            out[k : k + end - starts[d]] = data[starts[d] : end]
            k += end - starts[d]
        out_starts[d + 1] = k
    return out[:k], out_starts, changed


@compiled
def _kept(low: np.ndarray, high: np.ndarray, n: int, least: int, most: int) -> np.ndarray:
    """Which lines stay when runs go for ever more separators: what a run parted can form a run later."""
    rows = np.arange(n)
    for count in range(least, most + 1):
        alive = 0
        i = 0
        while i < len(rows):
            j = i
            while j < len(rows) and low[rows[j]] <= count <= high[rows[j]]:
                j += 1
            if j - i >= 2:
                i = j
                continue
            stop = max(j, i + 1)
            while i < stop:
                rows[alive] = rows[i]
                alive += 1
                i += 1
        rows = rows[:alive]
    kept = np.zeros(n, np.bool_)
    kept[rows] = True
    return kept
