"""Writing curated rows: JSON straight from the columns, other formats through `plait.core.io`."""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, cast

import polars as pl
import pyarrow as pa

from plait.core.io import writable, write_table
from plait.core.io.writers import check_holds, compressed
from plait.data.read.records import plain

_THREADS = 2


def write_rows(frames: Iterable[pl.DataFrame], path: Path) -> int:
    """Write frames one after the other; the file appears when it is whole.

    Args:
        frames: All of the same columns; not held in memory together.
        path: Where to; ``.jsonl`` is fastest, ``.json`` is one array, see `plait.core.io.write_table` for the others.
            In JSON, which has no infinities and no NaN, those are null.

    Returns:
        How many rows were written.

    Raises:
        UsageError: The suffix is not known.
        DataError: A column is of a type that the format cannot hold.
    """
    kind, compression = (".json", "") if path.suffix == ".json" else writable(path)
    if kind not in (".jsonl", ".json"):
        return write_table(_batches(frames), path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # One name, so that what a killed run left is overwritten by the next.
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as out:
            with compressed(out, compression) as packed:
                rows = _write_json(frames, path, packed, array=kind == ".json")
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return rows


def _write_json(frames: Iterable[pl.DataFrame], path: Path, out: IO[bytes], *, array: bool) -> int:
    rows = 0
    # Frames are read here, turned into lines beside, and written by a third, in order.
    with ThreadPoolExecutor(_THREADS) as pool, ThreadPoolExecutor(1) as writer:
        waiting = deque[Future[int]]()
        for frame in frames:
            waiting.append(
                writer.submit(_put_array if array else _put_lines, pool.submit(_counted_lines, frame, path), out)
            )
            if len(waiting) > _THREADS:
                rows += waiting.popleft().result()
        rows += sum(written.result() for written in waiting)
    if array:
        out.write(b"\n]\n" if rows else b"[]\n")
    return rows


def check_writable(path: Path) -> None:
    """Whether `write_rows` can write a path.

    Raises:
        UsageError: There is no writer for its suffix.
    """
    if path.suffix != ".json":
        writable(path)


def _put_lines(future: Future[tuple[int, bytes]], out: IO[bytes]) -> int:
    rows, lines = future.result()
    out.write(lines)
    return rows


def _put_array(future: Future[tuple[int, bytes]], out: IO[bytes]) -> int:
    """As elements of an array; a line break inside of a value is escaped, so each that is found ends a row."""
    rows, lines = future.result()
    if rows:
        out.write(b",\n" if out.tell() else b"[\n")
        out.write(lines.removesuffix(b"\n").replace(b"\n", b",\n"))
    return rows


def _counted_lines(frame: pl.DataFrame, path: Path) -> tuple[int, bytes]:
    return frame.height, lines_of(frame, path)


def lines_of(frame: pl.DataFrame, path: Path) -> bytes:
    """Rows as lines of JSON.

    Args:
        frame: The rows.
        path: Where they will be written, for the error.

    Raises:
        DataError: A column is of a type that JSON cannot hold.
    """
    check_holds(frame.head(0).to_arrow().schema, path, texts=("decimals", "durations"))
    with io.BytesIO() as out:
        frame.write_ndjson(out)
        return out.getvalue()


def _batches(frames: Iterable[pl.DataFrame]) -> Iterator[pa.RecordBatch]:
    schema: pa.Schema | None = None
    written = False
    for frame in frames:
        table = cast("pa.Table", frame.to_arrow(compat_level=pl.CompatLevel.oldest()))
        # Types as others have them: lists and texts of 64-bit offsets keep datasets from being put together.
        schema = pa.schema([(f.name, plain(f.type)) for f in table.schema])
        for batch in table.cast(schema).combine_chunks().to_batches():
            written = True
            yield batch
    if not written and schema is not None:
        # A file of no row still says what its columns are.
        yield pa.RecordBatch.from_pylist([], schema=schema)
