"""Reading UTF-8 in compiled loops: the buffers of Arrow strings, and one character at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from plait.data.loops import inlined

if TYPE_CHECKING:
    import polars as pl


def buffers(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """UTF-8 of all texts, uint8 ``[bytes]``, and where each starts, int64 ``[texts + 1]``; no copy where possible."""
    found: Any = texts.rechunk().to_arrow()
    array = found.cast(pa.large_string()) if found.type != pa.large_string() else found
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    starts = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
    data = array.buffers()[2]
    return np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(0, np.uint8), starts


def starts_of(lengths: np.ndarray) -> np.ndarray:
    """Where each of several runs starts when they stand one after the other, int64 ``[runs + 1]``."""
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


@inlined
def point(data: np.ndarray, i: int) -> Any:
    """Code point that starts at byte ``i``; its length follows from the first byte."""
    b = np.int64(data[i])
    if b < 0x80:
        return b
    if b < 0xE0:
        return ((b & 0x1F) << 6) | (np.int64(data[i + 1]) & 0x3F)
    if b < 0xF0:
        return ((b & 0x0F) << 12) | ((np.int64(data[i + 1]) & 0x3F) << 6) | (np.int64(data[i + 2]) & 0x3F)
    return (
        ((b & 0x07) << 18)
        | ((np.int64(data[i + 1]) & 0x3F) << 12)
        | ((np.int64(data[i + 2]) & 0x3F) << 6)
        | (np.int64(data[i + 3]) & 0x3F)
    )


@inlined
def width(b: int) -> int:
    """Bytes of the character whose first byte is ``b``."""
    return 1 if b < 0x80 else (2 if b < 0xE0 else (3 if b < 0xF0 else 4))
