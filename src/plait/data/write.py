"""Writing curated rows: JSON straight from the columns, other formats through `plait.core.io`."""

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

from plait.core.io import writable, write_table

_THREADS = 2


def write_rows(frames: Iterable[pl.DataFrame], path: Path) -> int:
    """Write frames one after the other; the file appears when it is whole.

    Args:
        frames: All of the same columns; not held in memory together.
        path: Where to; ``.jsonl`` is fastest, ``.json`` is one array, see `plait.core.io.write_table` for the others.

    Returns:
        How many rows were written.
    """
    if path.suffix not in (".jsonl", ".json"):
        return write_table(_batches(frames), path)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = 0
    # One name, so that what a killed run left is overwritten by the next.
    partial = path.with_name(f".{path.name}.partial")
    # Frames are read here, turned into lines beside, and written by a third, in order.
    with partial.open("wb") as out, ThreadPoolExecutor(_THREADS) as pool, ThreadPoolExecutor(1) as writer:
        put = _put_array if path.suffix == ".json" else _put_lines
        waiting = deque[Future[int]]()
        for frame in frames:
            waiting.append(writer.submit(put, pool.submit(_lines, frame), out))
            if len(waiting) > _THREADS:
                rows += waiting.popleft().result()
        rows += sum(written.result() for written in waiting)
        if path.suffix == ".json":
            out.write(b"\n]\n" if rows else b"[]\n")
        out.flush()
        os.fsync(out.fileno())
    partial.replace(path)
    return rows


def check_writable(path: Path) -> None:
    """Whether `write_rows` can write a path.

    Raises:
        UsageError: There is no writer for its suffix.
    """
    if path.suffix != ".json":
        writable(path)


def _put_lines(future: Future[tuple[int, bytes]], out: io.BufferedWriter) -> int:
    rows, lines = future.result()
    out.write(lines)
    return rows


def _put_array(future: Future[tuple[int, bytes]], out: io.BufferedWriter) -> int:
    """As elements of an array; a line break inside of a value is escaped, so each that is found ends a row."""
    rows, lines = future.result()
    if rows:
        out.write(b",\n" if out.tell() else b"[\n")
        out.write(lines.removesuffix(b"\n").replace(b"\n", b",\n"))
    return rows


def _lines(frame: pl.DataFrame) -> tuple[int, bytes]:
    with io.BytesIO() as out:
        frame.write_ndjson(out)
        return frame.height, out.getvalue()


def _batches(frames: Iterable[pl.DataFrame]) -> Iterator[pa.RecordBatch]:
    schema: pa.Schema | None = None
    written = False
    for frame in frames:
        table = cast("pa.Table", frame.to_arrow(compat_level=pl.CompatLevel.oldest()))
        narrow = pa.schema(
            [pa.field(f.name, pa.string() if pa.types.is_large_string(f.type) else f.type) for f in table.schema]
        )
        schema = narrow
        for batch in table.cast(narrow).combine_chunks().to_batches():
            written = True
            yield batch
    if not written and schema is not None:
        # A file of no row still says what its columns are.
        yield pa.RecordBatch.from_pylist([], schema=schema)
