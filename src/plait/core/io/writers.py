"""Writing records: the same rows give the same bytes, and a file is either whole or not there."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import zstandard

from plait.errors import DataError, UsageError

_GROUP_ROWS = 8_192
"""Rows of a Parquet row group and of a CSV or JSON block; fixed, so that how rows arrive does not change the
bytes.
"""

Rows = pa.Table | pa.RecordBatch | Iterable[pa.RecordBatch]


def writable(path: Path) -> tuple[str, str]:
    """The format and the compression that a file's suffixes mean.

    Raises:
        UsageError: There is no writer for them.

    Example:
        >>> writable(Path("a.jsonl.gz"))
        ('.jsonl', '.gz')
    """
    suffixes = [s.lower() for s in path.suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in (".gz", ".zst") else ""
    kind = suffixes[-1] if suffixes else ""
    if kind not in (".parquet", ".arrow", ".jsonl", ".csv", ".tsv") or (compression and kind in (".parquet", ".arrow")):
        raise UsageError(
            f'no writer for "{path.name}"',
            code="data.unknown-format",
            where=str(path),
            hint="known: .parquet .arrow .jsonl .csv .tsv, the last three also with .gz or .zst",
        )
    return kind, compression


def write_table(rows: Rows, path: Path, *, schema: pa.Schema | None = None) -> int:
    r"""Write rows to ``.parquet`` (zstd) ``.arrow`` ``.jsonl`` ``.csv`` ``.tsv``; the last three also ``.gz`` ``.zst``.

    The file appears under its name only when it is complete (temporary file, fsync, rename), and equal rows
    in any batching give equal bytes.

    Args:
        rows: A table or batches; batches are not held in memory together.
        path: Where to; the suffix says how. Folders are made.
        schema: Needed only where there may be no batch at all.

    Returns:
        How many rows were written.

    Raises:
        UsageError: The suffix is not known.
        DataError: The rows do not fit the format (lists in CSV, bytes in JSON), or there is neither a batch nor a
            schema.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.jsonl"
        >>> write_table(pa.table({"id": ["x"], "n": [1]}), path), path.read_text()
        (1, '{"id":"x","n":1}\n')
    """
    kind, compression = writable(path)
    batches = _as_batches(rows)
    first = next(batches, None)
    schema = schema or (first.schema if first is not None else getattr(rows, "schema", None))
    if schema is None:
        raise DataError(
            "there is nothing to write, and no schema",
            code="data.empty",
            where=str(path),
            hint="pass schema=",
        )
    check_holds(schema, path)
    blocks = _even_blocks(first, batches, schema)
    with atomic(path) as out:
        if kind == ".parquet":
            return _write_parquet(blocks, schema, out)
        if kind == ".arrow":
            return _write_arrow(blocks, schema, out)
        with compressed(out, compression) as text:
            if kind == ".jsonl":
                return _write_jsonl(blocks, text)
            return _write_csv(blocks, schema, text, path, "," if kind == ".csv" else "\t")


def check_holds(schema: pa.Schema, path: Path, *, texts: Iterable[str] = ()) -> None:
    """Whether a file can hold columns of these types.

    Args:
        schema: The columns.
        path: The file; its suffix tells the format.
        texts: Kinds of values that the writer turns into text: ``decimals``, ``durations``.

    Raises:
        DataError: It cannot; all such columns are named.
    """
    kind = path.suffixes[-2].lower() if path.suffix.lower() in (".gz", ".zst") else path.suffix.lower()
    name, refused = _REFUSED.get(kind, ("", {}))
    for what, (holds, other) in refused.items():
        bad = [field.name for field in schema if _anywhere(field.type, holds)] if what not in texts else []
        if bad:
            raise DataError(
                f"{name} cannot hold {what}: {', '.join(bad)}",
                code="data.wrong-type",
                where=str(path),
                hint=f"write {other}, or leave them out",
            )


def _anywhere(kind: pa.DataType, holds: Callable[[pa.DataType], bool]) -> bool:
    return holds(kind) or any(_anywhere(kind.field(i).type, holds) for i in range(kind.num_fields))


def _is_binary(kind: pa.DataType) -> bool:
    types = pa.types
    told = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary)
    return any(is_one(kind) for is_one in told)


def _has_no_key(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and kind.num_fields == 0


_Refused = dict[str, tuple[Callable[[pa.DataType], bool], str]]
_IN_JSON: _Refused = {
    "bytes": (_is_binary, ".parquet"),
    "decimals": (pa.types.is_decimal, ".parquet"),
    "durations": (pa.types.is_duration, ".parquet"),
}
_IN_CSV: _Refused = {
    "lists or structs": (pa.types.is_nested, ".parquet or .jsonl"),
    "bytes": (_is_binary, ".parquet"),
}
_IN_PARQUET: _Refused = {"objects without any key": (_has_no_key, ".jsonl or .arrow")}
_REFUSED = {
    ".jsonl": ("JSON", _IN_JSON),
    ".json": ("JSON", _IN_JSON),
    ".csv": ("CSV", _IN_CSV),
    ".tsv": ("TSV", _IN_CSV),
    ".parquet": ("Parquet", _IN_PARQUET),
}
"""By suffix the format's name, and what it cannot hold: how that is told, how it is found, and what can."""


@contextmanager
def atomic(path: Path) -> Generator[IO[bytes]]:
    """A file that appears under ``path`` only when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _as_batches(rows: Any) -> Iterator[pa.RecordBatch]:
    if isinstance(rows, pa.Table):
        return iter(rows.to_batches())
    return iter([rows] if isinstance(rows, pa.RecordBatch) else rows)


def _even_blocks(first: pa.RecordBatch | None, rest: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """The same rows in contiguous blocks of `_GROUP_ROWS`, whatever batches they came in."""
    held = list[pa.RecordBatch]()
    count = 0
    batch = first
    while batch is not None:
        held.append(batch)
        count += batch.num_rows
        while count >= _GROUP_ROWS:
            table = pa.Table.from_batches(held, schema)
            yield table.slice(0, _GROUP_ROWS).combine_chunks()
            held = table.slice(_GROUP_ROWS).to_batches()
            count -= _GROUP_ROWS
        batch = next(rest, None)
    if count:
        yield pa.Table.from_batches(held, schema).combine_chunks()


@contextmanager
def compressed(out: IO[bytes], compression: str) -> Generator[IO[bytes]]:
    """What is written here arrives in ``out``, packed as the suffix says: ``.gz``, ``.zst`` or not at all."""
    if compression == ".gz":
        with gzip.GzipFile(filename="", fileobj=out, mode="wb", compresslevel=6, mtime=0) as packed:
            yield cast("IO[bytes]", packed)
    elif compression == ".zst":
        with zstandard.ZstdCompressor(level=3).stream_writer(out, closefd=False) as packed:
            yield cast("IO[bytes]", packed)
    else:
        yield out


def _write_parquet(blocks: Iterator[pa.Table], schema: pa.Schema, out: IO[bytes]) -> int:
    rows = 0
    with pq.ParquetWriter(out, schema, compression="zstd", compression_level=3) as writer:
        for block in blocks:
            writer.write_table(block, row_group_size=_GROUP_ROWS)
            rows += block.num_rows
    return rows


def _write_arrow(blocks: Iterator[pa.Table], schema: pa.Schema, out: IO[bytes]) -> int:
    rows = 0
    with pa.ipc.new_file(out, schema) as writer:
        for block in blocks:
            writer.write_table(_compact(block))
            rows += block.num_rows
    return rows


def _compact(table: pa.Table) -> pa.Table:
    """A copy in buffers of its own: a slice of a larger buffer would be padded with bytes of its neighbours."""
    columns = [pa.concat_arrays([*column.chunks, column.chunk(0).slice(0, 0)]) for column in table.columns]
    return pa.Table.from_arrays(columns, schema=table.schema)


def _write_jsonl(blocks: Iterator[pa.Table], out: IO[bytes]) -> int:
    from orjson import dumps

    rows = 0
    for block in blocks:
        out.write(b"".join(dumps(record) + b"\n" for record in block.to_pylist()))
        rows += block.num_rows
    return rows


def _write_csv(blocks: Iterator[pa.Table], schema: pa.Schema, out: IO[bytes], path: Path, delimiter: str) -> int:
    rows = 0
    options = arrow_csv.WriteOptions(delimiter=delimiter, include_header=False)
    header = io.BytesIO()
    with_header = arrow_csv.WriteOptions(delimiter=delimiter, include_header=True)
    arrow_csv.write_csv(schema.empty_table(), header, with_header)
    out.write(header.getvalue())
    for block in blocks:
        if len(schema) == 1 and block.column(0).null_count:
            raise DataError(
                "a null in a CSV of one column would be an empty line, which readers skip",
                code="data.wrong-type",
                where=str(path),
                hint="write .parquet or .jsonl",
            )
        buffer = io.BytesIO()
        arrow_csv.write_csv(block, buffer, options)
        out.write(buffer.getvalue())
        rows += block.num_rows
    return rows
