"""What a source turns out to be: files of one kind, a folder of documents, or a dataset of the hub."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pyarrow as pa

from plait.core.io import read_batches
from plait.core.io.readers import HF_MARKS, format_of
from plait.data.read.arrays import array_blocks, array_head, is_lines
from plait.data.read.block import WholeBlock
from plait.data.read.collect import Collected
from plait.data.read.cut import line_pieces, line_ranges, parquet_schema, row_groups
from plait.data.read.documents import SCHEMA, document_blocks, document_files
from plait.data.read.file import File, as_text
from plait.data.read.hub import HUB, hub_blocks, hub_schema, load_hub
from plait.data.read.jsonl import sample_records
from plait.data.read.probe import lines_schema, stream_schema
from plait.data.read.records import schema_of
from plait.data.read.remote import is_remote, local_copy, urls_below
from plait.data.read.settings import Settings
from plait.data.read.sources import Source
from plait.data.read.tables import RowsInMemory
from plait.errors import DataError

Folders = Literal["auto", "records", "documents"]
_PATTERN = frozenset("*?[")
_PLAIN_LINES = (".jsonl", ".ndjson")


@dataclass(frozen=True)
class Part:
    """Something that is read in one way.

    Args:
        kind: How.
        files: The files; a single one unless it is a folder of documents.
        number: Its place among the parts of the read, from 0.
        source: Where it comes from.
        root: The folder of documents.
        dataset: The dataset of the hub.
    """

    kind: Literal["lines", "pieces", "array", "parquet", "ordered", "documents", "hub"]
    files: tuple[File, ...]
    number: int
    source: Source
    root: Path = Path()
    dataset: Any = field(default=None, repr=False)

    def schema(self, required: Sequence[str], max_line_bytes: int) -> pa.Schema:
        """Its columns, from a little of it."""
        match self.kind:
            case "lines":
                return lines_schema(self.files[0], max_line_bytes)
            case "pieces":
                return stream_schema(self.files[0], max_line_bytes)
            case "array":
                return schema_of(sample_records(array_head(self.files[0], max_line_bytes)))
            case "parquet":
                return parquet_schema(self.files[0])
            case "documents":
                return SCHEMA
            case "hub":
                return hub_schema(self.dataset)
            case "ordered":
                with_path = self._batches(required, max_line_bytes, 1 << 20, Collected())
                first = next(with_path, None)
                return first.schema if first is not None else pa.schema([])

    def blocks(self, settings: Settings, block_bytes: int) -> Iterator[WholeBlock]:
        """Its rows."""
        match self.kind:
            case "lines":
                yield from line_ranges(self.files[0], settings, block_bytes)
            case "pieces":
                yield from line_pieces(self.files[0], settings, block_bytes)
            case "array":
                yield from array_blocks(self.files[0], settings, block_bytes)
            case "parquet":
                yield from row_groups(self.files[0], settings, block_bytes)
            case "documents":
                yield from document_blocks(self.root, self.files, settings, block_bytes)
            case "hub":
                yield from hub_blocks(self.source, self.dataset, self.number, settings, block_bytes)
            case "ordered":
                yield from self._ordered(settings, block_bytes)

    def _ordered(self, settings: Settings, block_bytes: int) -> Iterator[RowsInMemory]:
        collected, row, path = Collected(), 0, self.files[0].path
        for batch in self._batches(settings.required, settings.max_line_bytes, block_bytes, collected):
            where = f"{path}:row {row + 1}"
            table = pa.Table.from_batches([batch])
            yield RowsInMemory(table, f"{self.number}.{row}", collected.take(), settings, where)
            row += batch.num_rows
        if rest := collected.take():
            yield RowsInMemory(settings.schema.empty_table(), f"{self.number}.{row}", rest, settings, str(path))

    def _batches(
        self, required: Sequence[str], max_line_bytes: int, batch_bytes: int, quarantine: Collected
    ) -> Iterator[pa.RecordBatch]:
        def read(path: Path) -> Iterator[pa.RecordBatch]:
            try:
                yield from read_batches(
                    path,
                    required=required,
                    quarantine=quarantine,
                    batch_bytes=batch_bytes,
                    max_line_bytes=max_line_bytes,
                )
            except DataError as error:
                # One empty shard among others, such as a CSV of nothing but its header, is no fault.
                if error.code != "data.empty":
                    raise

        path = self.files[0].path
        if isinstance(path, Path):
            yield from read(path)
            return
        with local_copy(path) as copy:
            yield from read(copy)


def parts_of(
    source: Source, number: int, *, suffixes: Sequence[str], folders: Folders, skipped: Counter[str]
) -> Iterator[Part]:
    """What a source turns out to be, in order; files in folders and patterns are sorted by name.

    Args:
        source: The source.
        number: Parts of the read before it.
        suffixes: Suffixes of the files read in a folder; all when empty.
        folders: What files in folders are.
        skipped: Counts files that are left out, by reason.

    Raises:
        DataError: It is not there, or a folder mixes records with documents.
    """
    wanted = tuple(f".{suffix.lower().lstrip('.')}" for suffix in suffixes)
    yield from _parts(source, number, wanted, folders, skipped)


def _parts(
    source: Source, number: int, suffixes: tuple[str, ...], folders: Folders, skipped: Counter[str]
) -> Iterator[Part]:
    if source.path.startswith(HUB) or _is_hub_name(source.path):
        named = source if source.path.startswith(HUB) else Source(HUB + source.path, **_options(source))
        yield Part("hub", (), number, named, dataset=load_hub(named))
        return
    if is_remote(source.path) and not source.path.startswith("file://"):
        for url in urls_below(source.path):
            yield _file_part(File.of(url, number), source)
            number += 1
        return
    given = Path(source.path.removeprefix("file://")).expanduser()
    paths = [given] if given.exists() else _matching(given)
    if not paths:
        raise DataError("no such file or folder", code="data.not-found", where=source.path)
    for path in paths:
        for part in _local(path, source, number, suffixes, folders, skipped):
            yield part
            number = part.number + 1


def _options(source: Source) -> dict[str, Any]:
    return {"weight": source.weight, "split": source.split, "name": source.name, "limit": source.limit}


def _is_hub_name(path: str) -> bool:
    """Whether it can only be a name on the hub: ``owner/name``, not there as a path, and without a file's suffix."""
    parts = path.split("/")
    if len(parts) != 2 or path.startswith((".", "~", "/")) or not all(parts) or _PATTERN.intersection(path):
        return False
    return not Path(path).exists() and not Path(parts[0]).exists() and _kind(Path(path)) is None


def _local(
    path: Path, source: Source, number: int, suffixes: tuple[str, ...], folders: Folders, skipped: Counter[str]
) -> Iterator[Part]:
    if path.is_file():
        if folders != "documents" and _kind(path) is not None:
            yield _file_part(File.of(path, number), source)
        else:
            yield Part("documents", (File.of(path, 0),), number, source, root=path)
        return
    if any((path / mark).exists() for mark in HF_MARKS):
        folder = path / source.split if (path / "dataset_dict.json").exists() else path
        yield Part("ordered", (File.of(folder, number),), number, source)
        return
    # Only counted once it is known that the folder is one of documents.
    left_out = Counter[str]()
    files = document_files(path, suffixes, left_out)
    records = sorted((p for p in path.rglob("*") if _is_record(p, path, suffixes)), key=lambda p: p.as_posix())
    others = [file for file in files if file not in set(records)]
    if folders == "auto" and records and others and not (path / ".git").exists():
        raise DataError(
            f"the folder holds both records ({records[0].name}) and other files ({others[0].name})",
            code="data.mixed-folder",
            where=str(path),
            hint='name the files to read, give suffixes=, or folders="documents" to take every file for a text',
        )
    if folders == "records" or (folders == "auto" and records and not (path / ".git").exists()):
        for offset, record in enumerate(records):
            yield _file_part(File.of(record, number + offset), source)
        return
    skipped.update(left_out)
    if files:
        yield Part("documents", tuple(File.of(f, i) for i, f in enumerate(files)), number, source, root=path)


def _is_record(path: Path, root: Path, suffixes: tuple[str, ...]) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    wanted = not suffixes or path.name.lower().endswith(suffixes)
    return path.is_file() and not hidden and wanted and _kind(path) is not None


def _file_part(file: File, source: Source) -> Part:
    shown = as_text(str(file.path))
    if shown != str(file.path):
        # A recipe, a summary and a quarantine, all UTF-8, could not say what was read.
        raise DataError("the name is not UTF-8", code="data.encoding", where=shown, hint="rename the file")
    kind = _kind(PurePosixPath(file.name))
    if kind is None:
        raise DataError(
            f'no reader for "{file.name}"',
            code="data.unknown-format",
            where=str(file.path),
            hint="known there: .jsonl .json .csv .tsv (also .gz .zst .bz2), .parquet, .arrow; copy documents first",
        )
    if kind == "array" and file.suffix == ".json" and is_lines(file):
        kind = "lines"
    return Part(kind, (file,), file.number, source)


def _kind(path: Path | PurePosixPath) -> Literal["lines", "pieces", "array", "parquet", "ordered"] | None:
    """How a file of records is read; ``None`` if its name tells of none."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".json"] or (suffixes[-2:-1] == [".json"] and suffixes[-1] in (".gz", ".zst", ".bz2")):
        return "array"
    match format_of(Path(path)):
        case "jsonl":
            return "lines" if suffixes[-1] in _PLAIN_LINES else "pieces"
        case "parquet":
            return "parquet"
        case None:
            return None
        case _:
            return "ordered"


def _matching(pattern: Path) -> list[Path]:
    parts = pattern.parts
    first = next((number for number, part in enumerate(parts) if _PATTERN.intersection(part)), None)
    if first is None:
        return []
    return sorted(Path(*parts[:first]).glob("/".join(parts[first:])))
