"""One way in: any input as blocks of rows, or as batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from plait.core.quarantine import Quarantine
from plait.data.read.block import Block, Picked
from plait.data.read.mixture import rows_by_weight, shared_out, times_taken
from plait.data.read.parts import Folders, Part, parts_of
from plait.data.read.probe import merged
from plait.data.read.settings import Settings
from plait.data.read.sources import Source, parse_paths
from plait.errors import DataError, UsageError

Spec = str | Path | Source | Sequence[str | Path | Source]
"""A path, a pattern such as ``shards/*.jsonl.zst``, an address such as ``s3://bucket/folder``, a name on the
Hugging Face hub, several with weights as in ``0.3 a.jsonl 0.7 b.jsonl``, or a list of those."""

BLOCK_BYTES = 8 << 20


def blocks(
    spec: Spec,
    *,
    block_bytes: int = BLOCK_BYTES,
    columns: Sequence[str] | None = None,
    required: Sequence[str] = (),
    id_key: str = "id",
    text_key: str = "text",
    texts: bool = False,
    max_line_bytes: int = 64 << 20,
    max_rows: int | None = None,
    suffixes: Sequence[str] = (),
    folders: Folders = "auto",
    skipped: Counter[str] | None = None,
) -> Iterator[Block]:
    """The input cut into blocks, all of one schema; memory does not grow with the input.

    Plain JSON Lines and Parquet are cut without being read. What can only be read in order (compressed files,
    CSV, JSON arrays…) is read as blocks are asked for, and its rows travel with them. A folder of files that are no
    records is read as documents, one per file: text, source code, HTML, PDF, Word.

    The schema is learned from samples of every file. Files may lack columns (null) and hold integers where others
    hold fractions; a record that does not fit is quarantined when its block is loaded.

    Args:
        spec: What to read.
        block_bytes: About how large a block is, in bytes of the file.
        columns: Columns to read, in this order; all when not given.
        required: Fields that every record must have, not null.
        id_key: Field to give an id where records have none; see `plait.data.read.ids`. Empty for none.
        text_key: The field whose content decides that id.
        texts: Where there is that field, every record must have it, not null; data without it is read all the same.
        max_line_bytes: A longer line or document is quarantined, never held as a whole.
        max_rows: At most so many rows, shared out among the sources by their weights.
        suffixes: Suffixes of the files read in a folder; all when empty.
        folders: What files in folders are: records, documents, or what their names say.
        skipped: Counts files of document folders that are left out, by reason.

    Raises:
        DataError: A file is missing or damaged, types of columns exclude each other, or there is no record.
        UsageError: Weights that make no sense.
    """
    sources = sources_of(spec)
    left_out = Counter[str]() if skipped is None else skipped
    parts = list[list[Part]]()
    for source in sources:
        number = sum(map(len, parts))
        parts.append(list(parts_of(source, number, suffixes=suffixes, folders=folders, skipped=left_out)))
    schemas = [part.schema(required, max_line_bytes) for own in parts for part in own]
    schema = merged(schemas, columns, required)
    if texts and text_key in schema.names:
        required = tuple(dict.fromkeys([*required, text_key]))
    settings = Settings(schema, tuple(required), columns is None, max_line_bytes, id_key, text_key)
    shares: list[int | None] = [None] * len(sources)
    if max_rows is not None:
        shares = [*shared_out([source.weight for source in sources], max_rows)]
    empty = True
    for source, own, share in zip(sources, parts, shares, strict=True):
        for block in _taken(own, source, share, settings, block_bytes):
            empty = False
            yield block
    if empty:
        raise DataError(
            "there is no record to read",
            code="data.empty",
            where=", ".join(source.path for source in sources[:3]),
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
    max_rows: int | None = None,
    suffixes: Sequence[str] = (),
    folders: Folders = "auto",
    skipped: Counter[str] | None = None,
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
        max_rows=max_rows,
        suffixes=suffixes,
        folders=folders,
        skipped=skipped,
    ):
        for batch in block.load(quarantine).combine_chunks().to_batches():
            if batch.num_rows:
                yield batch


def sources_of(spec: Spec) -> list[Source]:
    """The sources that an input names.

    Raises:
        UsageError: It names none, or weights that make no sense.
    """
    given = [spec] if isinstance(spec, str | Path | Source) else list(spec)
    sources = list[Source]()
    for one in given:
        if isinstance(one, Source):
            sources.append(one)
        elif isinstance(one, Path):
            sources.append(Source(str(one)))
        else:
            sources += parse_paths(one)
    if not sources:
        raise UsageError("there is nothing to read", code="data.no-input", hint="name a file, a folder or an address")
    return sources


def _taken(
    parts: Sequence[Part], source: Source, share: int | None, settings: Settings, block_bytes: int
) -> Iterator[Block]:
    """All blocks of a source, or those rows of them that its weight, share and limit ask for."""
    if share is None and source.weight == 1 and source.limit is None:
        for part in parts:
            yield from part.blocks(settings, block_bytes)
        return
    # Counted first, as the choice depends on how many there are; compressed files are unpacked twice.
    counts = [[block.count() for block in part.blocks(settings, block_bytes)] for part in parts]
    rows = sum(map(sum, counts))
    if source.limit is not None:
        rows = min(rows, source.limit)
    wanted = share if share is not None else rows_by_weight(rows, source.weight)
    times = times_taken(rows, wanted) if rows else np.zeros(0, np.int32)
    at = 0
    for part, sizes in zip(parts, counts, strict=True):
        for block, size in zip(part.blocks(settings, block_bytes), sizes, strict=True):
            own = times[at : at + size]
            if len(own) < size:
                own = np.concatenate((own, np.zeros(size - len(own), np.int32)))
            at += size
            if own.any():
                yield block if (own == 1).all() else Picked(block, own)
