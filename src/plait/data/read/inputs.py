"""One way in: any input as blocks of rows, or as batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from plait.core.io import read_batches
from plait.core.io.readers import HF_MARKS, format_of
from plait.core.quarantine import Quarantine
from plait.data.read.block import Block, File, RowsInMemory, Settings
from plait.data.read.collect import Collected
from plait.data.read.cut import line_pieces, line_ranges, parquet_schema, row_groups
from plait.data.read.probe import lines_schema, merged, stream_schema
from plait.errors import DataError

Spec = str | Path | Sequence[str | Path]
"""A path, a pattern such as ``shards/*.jsonl.zst``, or several."""

BLOCK_BYTES = 8 << 20
_PATTERN = frozenset("*?[")


def blocks(
    spec: Spec,
    *,
    block_bytes: int = BLOCK_BYTES,
    columns: Sequence[str] | None = None,
    required: Sequence[str] = (),
    id_key: str = "id",
    text_key: str = "text",
    max_line_bytes: int = 64 << 20,
) -> Iterator[Block]:
    """The input cut into blocks, all of one schema; memory does not grow with the input.

    Plain JSON Lines and Parquet are cut without being read. What can only be read in order (compressed files,
    CSV, JSON arrays…) is read as blocks are asked for, and its rows travel with them.

    The schema is learned from samples of every file. Files may lack columns (null) and hold integers where others
    hold fractions; a record that does not fit is quarantined when its block is loaded.

    Args:
        spec: What to read.
        block_bytes: About how large a block is, in bytes of the file.
        columns: Columns to read, in this order; all when not given.
        required: Fields that every record must have, not null.
        id_key: Field to give an id where records have none; see `plait.data.read.ids`. Empty for none.
        text_key: The field whose content decides that id.
        max_line_bytes: A longer line is quarantined, never held as a whole.

    Raises:
        DataError: A file is missing or damaged, types of columns exclude each other, or there is no record.
    """
    files = [File.of(path, number) for number, path in enumerate(paths_of(spec))]
    schema = merged([_schema(file, required) for file in files], columns)
    settings = Settings(schema, tuple(required), columns is None, max_line_bytes, id_key, text_key)
    empty = True
    for file in files:
        for block in _cut(file, settings, block_bytes):
            empty = False
            yield block
    if empty:
        raise DataError(
            "there is no record to read",
            code="data.empty",
            where=", ".join(str(file.path) for file in files[:3]) or str(spec),
            hint="the input is empty; check its path and how it was written",
        )


def split(spec: Spec, block_bytes: int = BLOCK_BYTES) -> list[Block]:
    """`blocks` as a list; see there for its settings."""
    return list(blocks(spec, block_bytes=block_bytes))


def open_dataset(
    spec: Spec,
    *,
    quarantine: Quarantine,
    block_bytes: int = BLOCK_BYTES,
    columns: Sequence[str] | None = None,
    required: Sequence[str] = (),
    id_key: str = "id",
    text_key: str = "text",
    max_line_bytes: int = 64 << 20,
) -> Iterator[pa.RecordBatch]:
    r"""The records of an input in batches; settings as for `blocks`.

    Yields:
        Batches of one schema that are never empty. Rows given + records quarantined = records read.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.jsonl").write_text('{"id": "x", "text": "one"}\n{oops\n')
        >>> q = Quarantine(folder / "quarantine.jsonl")
        >>> [b.to_pylist() for b in open_dataset(folder / "a.jsonl", quarantine=q)], q.counts
        ([[{'id': 'x', 'text': 'one'}]], {'not JSON': 1})
    """
    for block in blocks(
        spec,
        block_bytes=block_bytes,
        columns=columns,
        required=required,
        id_key=id_key,
        text_key=text_key,
        max_line_bytes=max_line_bytes,
    ):
        for batch in block.load(quarantine).combine_chunks().to_batches():
            if batch.num_rows:
                yield batch


def paths_of(spec: Spec) -> list[Path]:
    """The files of an input, in order: those given, and those in folders and patterns sorted by name.

    Raises:
        DataError: One is not there, or a folder mixes records with other files.
    """
    given = [spec] if isinstance(spec, str | Path) else list(spec)
    return [path for one in given for path in _expanded(one)]


def _expanded(one: str | Path) -> list[Path]:
    path = Path(one).expanduser()
    if path.is_dir() and not any((path / mark).exists() for mark in HF_MARKS):
        below = [p.relative_to(path) for p in path.rglob("*") if p.is_file()]
        names = sorted(p.as_posix() for p in below if not any(part.startswith(".") for part in p.parts))
        shards = [name for name in names if format_of(path / name)]
        if shards and len(shards) < len(names):
            other = next(name for name in names if name not in shards)
            raise DataError(
                f"the folder holds both records ({shards[0]}) and other files ({other})",
                code="data.mixed-folder",
                where=str(path),
                hint="name the files to read, or keep one kind in the folder",
            )
        return [path / name for name in shards] or [path]
    if path.exists():
        return [path]
    found = _matching(path)
    if not found:
        raise DataError("no such file or folder", code="data.not-found", where=str(one))
    return [inner for name in found for inner in _expanded(name)]


def _matching(pattern: Path) -> list[Path]:
    parts = pattern.parts
    first = next((number for number, part in enumerate(parts) if _PATTERN.intersection(part)), None)
    if first is None:
        return []
    return sorted(Path(*parts[:first]).glob("/".join(parts[first:])))


def _schema(file: File, required: Sequence[str]) -> pa.Schema:
    match _kind(file.path):
        case "lines":
            return lines_schema(file)
        case "pieces":
            return stream_schema(file.path)
        case "parquet":
            return parquet_schema(file.path)
        case _:
            first = next(read_batches(file.path, required=required, quarantine=Collected()), None)
            return first.schema if first is not None else pa.schema([])


def _cut(file: File, settings: Settings, block_bytes: int) -> Iterator[Block]:
    match _kind(file.path):
        case "lines":
            yield from line_ranges(file, settings, block_bytes)
        case "pieces":
            yield from line_pieces(file, settings, block_bytes)
        case "parquet":
            yield from row_groups(file, settings, block_bytes)
        case _:
            yield from _rows(file, settings, block_bytes)


def _rows(file: File, settings: Settings, block_bytes: int) -> Iterator[RowsInMemory]:
    collected = Collected()
    row = 0
    batches = read_batches(
        file.path,
        required=settings.required,
        quarantine=collected,
        batch_bytes=block_bytes,
        max_line_bytes=settings.max_line_bytes,
    )
    for batch in batches:
        table = pa.Table.from_batches([batch])
        where = f"{file.path}:row {row + 1}"
        yield RowsInMemory(table, f"{file.number}.{row}", collected.take(), settings, where)
        row += batch.num_rows
    if rest := collected.take():
        yield RowsInMemory(settings.schema.empty_table(), f"{file.number}.{row}", rest, settings, str(file.path))


def _kind(path: Path) -> str:
    found = format_of(path) if path.is_file() else None
    if found == "jsonl":
        return "lines" if path.suffix.lower() in (".jsonl", ".ndjson") else "pieces"
    return found or "rows"
