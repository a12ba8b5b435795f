"""All rows that reached a barrier, read from the files of their chunks as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl
import pyarrow as pa

from plait.data.chunks import Chunk

_OPEN = 8  # columns of chunks, some megabytes each, mapped at a time


class ChunkRows:
    """See `plait.data.op.Rows`.

    Args:
        barrier: Index of the barrier that asks.
        chunks: Results of the pass that ended at it.
        kept: For each chunk, which of its rows are left, bool ``[rows]``.
        scratch: A folder of its own.
        memory_bytes: How much the barrier may hold.
    """

    def __init__(
        self, barrier: int, chunks: Sequence[Chunk], kept: Sequence[np.ndarray], *, scratch: Path, memory_bytes: int
    ) -> None:
        self._barrier = barrier
        self._chunks = chunks
        self._kept = kept
        self.starts = np.cumsum([0, *(int(mask.sum()) for mask in kept)])
        """Position of each chunk's first row, int64 ``[chunks + 1]``."""
        self.count = int(self.starts[-1])
        self.scratch = scratch
        self.memory_bytes = memory_bytes
        self._open = dict[tuple[int, str], pa.ChunkedArray]()

    def key(self, name: str, columns: slice | None = None) -> np.ndarray:
        """A column of keys over all rows."""
        return np.concatenate([part for _, part in self.parts(name, columns)])

    def parts(self, name: str, columns: slice | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """The same chunk by chunk."""
        for number, (chunk, mask) in enumerate(zip(self._chunks, self._kept, strict=True)):
            part = chunk.key(self._barrier, name, columns)
            yield int(self.starts[number]), part if mask.all() else part[mask]

    def fetch(self, name: str, positions: np.ndarray) -> pl.Series:
        """A field of some rows, in the order asked."""
        positions = np.asarray(positions, np.int64)
        owner = np.searchsorted(self.starts, positions, side="right") - 1
        order = np.argsort(owner, kind="stable")
        # Taken by Arrow, which copies texts: Polars would refer to the mapped files as long as a text is held.
        found = [
            self._column(number, name).take(_indices(self._place(number, positions[order][owner[order] == number])))
            for number in np.unique(owner)
        ]
        if not found:
            return pl.Series(name, [], pl.String)
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        rows = pa.chunked_array([array for part in found for array in part.chunks], found[0].type)
        return cast("pl.Series", pl.from_arrow(rows)).gather(back)

    def names(self, positions: np.ndarray) -> pl.Series:
        """The ids of some rows; the positions of rows that a grouper made, which have several."""
        ids = self.fetch("id", positions) if len(positions) else pl.Series("id", [], pl.String)
        return pl.Series(positions).cast(pl.String) if ids.dtype.is_nested() else ids.cast(pl.String)

    def _place(self, number: int, positions: np.ndarray) -> np.ndarray:
        """Positions over all rows as places in one chunk."""
        return np.flatnonzero(self._kept[number])[positions - self.starts[number]]

    def _column(self, number: int, name: str) -> pa.ChunkedArray:
        """A column of one chunk; the last few are kept open, as rows are fetched some at a time from all chunks."""
        if (number, name) not in self._open:
            if len(self._open) >= _OPEN:
                del self._open[next(iter(self._open))]
            self._open[number, name] = self._chunks[number].column(name)
        return self._open[number, name]


def _indices(places: np.ndarray) -> pa.Array:
    """The same numbers for Arrow, which imports pandas to look at an array that it is given as it is."""
    data = np.ascontiguousarray(places, np.int64)
    return pa.Array.from_buffers(pa.int64(), len(data), [None, pa.py_buffer(data)])
