"""Writing curated rows: JSON lines straight from the columns, other formats through `plait.core.io`."""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import cast

import polars as pl
import pyarrow as pa

from plait.core.io import write_table

_THREADS = 2


def write_rows(frames: Iterable[pl.DataFrame], path: Path) -> int:
    """Write frames one after the other; the file appears when it is whole.

    Args:
        frames: All of the same columns; not held in memory together.
        path: Where to; ``.jsonl`` is fastest, see `plait.core.io.write_table` for the others.

    Returns:
        How many rows were written.
    """
    if path.suffix != ".jsonl":
        return write_table(_batches(frames), path)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = 0
    # One name, so that what a killed run left is overwritten by the next.
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as out, ThreadPoolExecutor(_THREADS) as pool:
        waiting = deque[Future[tuple[int, bytes]]]()
        for frame in frames:
            waiting.append(pool.submit(_lines, frame))
            if len(waiting) > _THREADS:
                rows += _append(waiting.popleft(), out)
        while waiting:
            rows += _append(waiting.popleft(), out)
        out.flush()
        os.fsync(out.fileno())
    partial.replace(path)
    return rows


def _append(future: Future[tuple[int, bytes]], out: io.BufferedWriter) -> int:
    rows, lines = future.result()
    out.write(lines)
    return rows


def _lines(frame: pl.DataFrame) -> tuple[int, bytes]:
    with io.BytesIO() as out:
        frame.write_ndjson(out)
        return frame.height, out.getvalue()


def _batches(frames: Iterable[pl.DataFrame]) -> Iterator[pa.RecordBatch]:
    for frame in frames:
        table = cast("pa.Table", frame.to_arrow(compat_level=pl.CompatLevel.oldest()))
        narrow = pa.schema(
            [pa.field(f.name, pa.string() if pa.types.is_large_string(f.type) else f.type) for f in table.schema]
        )
        yield from table.cast(narrow).combine_chunks().to_batches()
