"""One way in for every format: files, folders of shards, folders of texts, saved Hugging Face datasets."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from plait.core.io.fitting import Fitter
from plait.core.io.text_formats import Limits, read_csv, read_jsonl, read_text_folder
from plait.core.optional import require
from plait.core.quarantine import Quarantine
from plait.errors import DataError, UsageError, nearest

_COMPRESSED = (".gz", ".zst", ".bz2")
_FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
HF_MARKS = ("state.json", "dataset_dict.json")
"""Files that tell a folder saved by Hugging Face ``datasets``."""
_STRICT_NAME = "quarantine.jsonl"


def read_batches(
    path: Path | Sequence[Path],
    *,
    required: Sequence[str] = (),
    quarantine: Quarantine,
    schema: pa.Schema | None = None,
    batch_bytes: int = 8 << 20,
    max_line_bytes: int = 64 << 20,
) -> Iterator[pa.RecordBatch]:
    r"""Records of one or more files, a batch at a time, all of one schema.

    Args:
        path: ``.jsonl`` ``.csv`` ``.tsv`` (also ``.gz`` ``.zst`` ``.bz2``), ``.parquet``, ``.arrow``, a
            folder of those, a folder of text files (one document each), or a dataset saved with Hugging Face
            ``save_to_disk``.
        required: Fields every record must have, not null.
        quarantine: Where bad records go. Rows given + records quarantined = records read.
        schema: Columns and types to read; other columns are ignored, columns a record lacks are null. Without
            it the first batch decides, and a later record of another type is a bad record.
        batch_bytes: About how much is held at a time, in bytes of the file.
        max_line_bytes: A longer line (or text file) is quarantined, never held as a whole.

    Yields:
        Batches that are never empty.

    Raises:
        DataError: A file is missing, cut off, damaged, of another schema, or there is no record at all.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.jsonl").write_text('{"text": "one"}\n{oops\n')
        >>> q = Quarantine(folder / "quarantine.jsonl")
        >>> [b.to_pylist() for b in read_batches(folder / "a.jsonl", required=["text"], quarantine=q)], q.counts
        ([[{'text': 'one'}]], {'not JSON': 1})
    """
    paths = [path] if isinstance(path, Path) else list(path)
    fitter = Fitter(schema=schema, required=required, quarantine=quarantine)
    limits = Limits(batch_bytes, max_line_bytes)
    before, rows = quarantine.total, 0
    for one in paths:
        for batch in _read_one(one, fitter, limits, quarantine):
            rows += batch.num_rows
            yield batch
    if rows == 0 and quarantine.total == before:
        raise DataError(
            "there is no record to read",
            code="data.empty",
            where=", ".join(map(str, paths[:3])) or None,
            hint="the input is empty; check its path and how it was written",
        )


def read_table(
    path: Path,
    *,
    columns: Sequence[str] | None = None,
    quarantine: Quarantine | None = None,
    schema: pa.Schema | None = None,
) -> pa.Table:
    """A small file as one table.

    Args:
        path: As for `read_batches`.
        columns: Columns to keep, in this order; all of them must be there.
        quarantine: Where bad records go; without one the first bad record is an error.
        schema: As for `read_batches`.

    Raises:
        DataError: As `read_batches`, a column is missing, or a record is bad and there is no quarantine.
    """
    with tempfile.TemporaryDirectory(prefix="plait-") as folder:
        strict = _Strict(Path(folder) / _STRICT_NAME)
        batches = list(read_batches(path, quarantine=quarantine or strict, schema=schema))
    table = pa.Table.from_batches(batches, schema=None if batches else (schema or pa.schema([])))
    if columns is None:
        return table
    for name in columns:
        if name not in table.column_names:
            raise DataError(
                f'there is no column "{name}"',
                code="data.missing-field",
                where=str(path),
                hint=nearest(name, table.column_names),
            )
    return table.select(list(columns))


class _Strict(Quarantine):
    """A quarantine for callers who want none: the first bad record stops the read."""

    def add(self, *, where: str, reason: str, record: object) -> None:
        raise DataError(
            f"bad record: {reason} ({str(record)[:80]})",
            code="data.bad-record",
            where=where,
            hint="mend it or remove it",
        )


def _read_one(path: Path, fitter: Fitter, limits: Limits, quarantine: Quarantine) -> Iterator[pa.RecordBatch]:
    if not path.exists():
        raise DataError("no such file or folder", code="data.not-found", where=str(path))
    if path.is_dir():
        yield from _read_folder(path, fitter, limits, quarantine)
        return
    match format_of(path):
        case "jsonl":
            yield from read_jsonl(path, fitter, limits, quarantine)
        case "csv":
            yield from read_csv(path, fitter, limits, quarantine, delimiter=",")
        case "tsv":
            yield from read_csv(path, fitter, limits, quarantine, delimiter="\t")
        case "parquet":
            yield from _read_parquet(path, fitter, limits)
        case "arrow":
            yield from _read_arrow(path, fitter)
        case _:
            raise UsageError(
                f'no reader for "{path.name}"',
                code="data.unknown-format",
                where=str(path),
                hint=f"known: {' '.join(_FORMATS)} (text formats also with .gz or .zst), or a folder of text files",
            )


def format_of(path: Path) -> str | None:
    """The format that a file's name tells, or ``None`` if it is no file of records."""
    suffixes = [s.lower() for s in path.suffixes]
    compressed = bool(suffixes) and suffixes[-1] in _COMPRESSED
    if compressed:
        suffixes.pop()
    found = _FORMATS.get(suffixes[-1]) if suffixes else None
    return None if compressed and found in ("parquet", "arrow") else found


def _read_folder(path: Path, fitter: Fitter, limits: Limits, quarantine: Quarantine) -> Iterator[pa.RecordBatch]:
    if any((path / mark).exists() for mark in HF_MARKS):
        yield from _read_saved_dataset(path, fitter, limits)
        return
    files = sorted(
        (f for f in path.rglob("*") if f.is_file() and not _hidden(f.relative_to(path))),
        key=lambda f: f.relative_to(path).as_posix(),
    )
    shards = [f for f in files if format_of(f)]
    texts = [f for f in files if not format_of(f)]
    if shards and texts:
        raise DataError(
            f"the folder holds both records ({shards[0].name}) and other files ({texts[0].name})",
            code="data.mixed-folder",
            where=str(path),
            hint="name the files to read, or keep one kind in the folder",
        )
    for shard in shards:
        yield from _read_one(shard, fitter, limits, quarantine)
    if texts:
        yield from read_text_folder(path, texts, fitter, limits, quarantine)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _read_parquet(path: Path, fitter: Fitter, limits: Limits) -> Iterator[pa.RecordBatch]:
    row = 0
    try:
        with pq.ParquetFile(path) as file:
            names = set(file.schema_arrow.names)
            wanted = None if fitter.asked is None else [n for n in fitter.asked.names if n in names]
            meta = file.metadata
            size = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
            rows = max(1, limits.batch_bytes * max(meta.num_rows, 1) // max(size, 1))
            for batch in file.iter_batches(batch_size=min(rows, 65_536), columns=wanted):
                if fitted := fitter.batch(batch, lambda i, at=row: f"{path}:row {at + i + 1}", where=str(path)):
                    yield fitted
                row += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, "Parquet", error) from error


def _read_arrow(path: Path, fitter: Fitter) -> Iterator[pa.RecordBatch]:
    row = 0
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
            for index in range(file.num_record_batches):
                batch = file.get_batch(index)
                if fitted := fitter.batch(batch, lambda i, at=row: f"{path}:row {at + i + 1}", where=str(path)):
                    yield fitted
                row += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, "Arrow", error) from error


def _damaged(path: Path, what: str, error: Exception) -> DataError:
    return DataError(
        f"the {what} file cannot be read: {str(error).splitlines()[0]}",
        code="data.damaged",
        where=str(path),
        hint="the file was cut off or damaged; fetch or write it again",
    )


def _read_saved_dataset(path: Path, fitter: Fitter, limits: Limits) -> Iterator[pa.RecordBatch]:
    datasets = require("datasets", extra="data", feature="reading a saved Hugging Face dataset")
    try:
        dataset = datasets.load_from_disk(str(path))
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise _damaged(path, "saved dataset", error) from error
    if isinstance(dataset, datasets.DatasetDict):
        raise DataError(
            f"the dataset has splits: {', '.join(sorted(dataset))}",
            code="data.which-split",
            where=str(path),
            hint=f"name one: {path.name}/{min(dataset)}" if dataset else "it is empty",
        )
    rows = max(1, limits.batch_bytes * max(len(dataset), 1) // max(dataset.data.nbytes, 1))
    row = 0
    for table in dataset.with_format("arrow").iter(batch_size=min(rows, 65_536)):
        for batch in table.combine_chunks().to_batches():
            if fitted := fitter.batch(batch, lambda i, at=row: f"{path}:row {at + i + 1}", where=str(path)):
                yield fitted
            row += batch.num_rows
