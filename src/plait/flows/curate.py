"""Stage ``data.curate``: raw text in, clean documents out, and the fate of every row."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from xxhash import xxh3_128

from plait.core.hashing import hash_code, hash_json
from plait.core.io import read_batches, write_table
from plait.core.optional import check_installed
from plait.core.quarantine import Quarantine
from plait.core.stage import InputPath, Stage, StageContext
from plait.data.blocks import TableBlock
from plait.data.execute import Curated, execute, files_of
from plait.data.lineage import lineage, lineage_schema
from plait.data.op import Reducer
from plait.data.plan import read_ops
from plait.data.report import describe
from plait.data.sources import python_documents
from plait.errors import DataError, UsageError
from plait.records import DOCUMENT

_DOCS_PER_CHUNK = 2_000

DEFAULT_OPS: tuple[str | dict[str, dict[str, Any] | None], ...] = (
    "fix_unicode_mapper",
    "whitespace_normalization_mapper",
    {"text_length_filter": {"min_len": 120, "max_len": 100_000}},
    {"words_num_filter": {"min_num": 15}},
    {"alphanumeric_filter": {"min_ratio": 0.5}},
    {"special_characters_filter": {"max_ratio": 0.4}},
    {"average_line_length_filter": {"min_len": 12}},
    {"maximum_line_length_filter": {"max_len": 2_000}},
    {"character_repetition_filter": {"max_ratio": 0.4}},
    {"word_repetition_filter": {"max_ratio": 0.4}},
    "document_deduplicator",
    "document_minhash_deduplicator",
)
"""Operations for prose with some code in it, such as documentation."""


class Curate(Stage):
    """Cleans, filters and deduplicates documents; operations and their settings are Data-Juicer's.

    Example:
        - name: curate
          use: data.curate
          source: python-docs
          ops: [{text_length_filter: {min_len: 120}}, document_deduplicator]
    """

    outputs: ClassVar[Mapping[str, str]] = {"documents": "documents.parquet", "lineage": "lineage.parquet"}

    source: Literal["python-docs"] = "python-docs"
    """What to read when there is no ``input``: the documentation inside Python's own standard library."""
    input: InputPath | None = None
    """File or folder of documents, in any format of `plait.core.io`."""
    text_key: str = "text"
    """Field that holds the text."""
    id_key: str = "id"
    """Field that names a document; without it, documents are numbered in their order."""
    ops: tuple[str | dict[str, dict[str, Any] | None], ...] = DEFAULT_OPS
    """Operations in order, each a name or ``{name: {setting: value}}``; see ``plait ls op``."""
    max_bad_fraction: float = Field(default=0.01, ge=0, le=1)
    """Stop if more than this share of the records is bad."""

    def checkable(self) -> None:
        """Raises UsageError for a wrong operation or setting, or one that makes no documents; MissingExtra."""
        check_installed("polars", extra="data", feature="data.curate")
        for name, op in read_ops(self.ops):
            if isinstance(op, Reducer):
                raise UsageError(
                    f"{name} makes rows that are no documents",
                    code="data.no-documents",
                    hint="leave it out here; `plait data run` takes it",
                )

    def fingerprint(self) -> Mapping[str, str]:
        """Also the code of the operations and the files they name, and the Python whose documentation is read."""
        ops = read_ops(self.ops)
        code = {name: hash_code(type(op).__module__) for name, op in ops}
        code |= {f"files of {number}": hash_json(files_of(op)) for number, (_, op) in enumerate(ops) if files_of(op)}
        if self.input is None:
            code["python"] = sys.version
        return code

    def run(self, context: StageContext) -> None:
        """Read, run the plan over chunks, write what is kept and why the rest is not."""
        self.checkable()
        curated = execute(
            self.ops,
            (TableBlock(table) for table in _first_of_each_id(self._batches(context), context.quarantine)),
            folder=context.scratch / "chunks",
            engine=context.engine,
            quarantine=context.quarantine,
            max_bad_fraction=self.max_bad_fraction,
            where=str(self.input or self.source),
            on_progress=context.progress,
        )
        kept = write_table(_documents(curated), context.output("documents"), schema=DOCUMENT)
        write_table(lineage(curated), context.output("lineage"), schema=lineage_schema(curated))
        describe(curated, context.output("lineage"), context.report)
        context.report.facts["records quarantined"] = context.quarantine.total
        context.metric("documents kept", kept)
        if kept == 0:
            raise DataError(
                f"no document is left of {curated.read}",
                code="data.nothing-kept",
                hint="loosen the operation that drops most: "
                + str(max(context.report.tables[0].rows, key=lambda row: float(row[3] or 0))[0]),
            )

    def _batches(self, context: StageContext) -> Iterator[pa.RecordBatch]:
        if self.input is None:
            documents = python_documents()
            while some := list(islice(documents, _DOCS_PER_CHUNK)):
                yield pa.RecordBatch.from_pylist(some, DOCUMENT)
            return
        known = _first_schema(self.input)
        if self.text_key not in known.names:
            raise DataError(
                f'there is no field "{self.text_key}"; fields: {", ".join(known.names)}',
                code="data.missing-field",
                where=str(self.input),
                hint="set text_key",
            )
        wanted = [pa.field(self.text_key, pa.string())]
        wanted += [known.field(name) for name in (self.id_key, "source", "group") if name in known.names]
        named = self.id_key in known.names
        rows = 0
        for batch in read_batches(
            self.input,
            schema=pa.schema(wanted),
            required=[self.text_key, *([self.id_key] if named else [])],
            quarantine=context.quarantine,
        ):
            yield self._document_batch(batch, first=rows, named=named, source=self.input.name)
            rows += batch.num_rows

    def _document_batch(self, batch: pa.RecordBatch, *, first: int, named: bool, source: str) -> pa.RecordBatch:
        count = batch.num_rows
        numbered = [f"{first + i:012d}" for i in range(count)]
        nothing = pa.nulls(count, pa.string())
        columns = {
            "id": batch.column(self.id_key).cast(pa.string()) if named else pa.array(numbered),
            "text": batch.column(self.text_key),
            "source": batch.column("source") if "source" in batch.schema.names else nothing,
            "group": batch.column("group").cast(pa.string()) if "group" in batch.schema.names else nothing,
        }
        columns["source"] = pc.fill_null(columns["source"].cast(pa.string()), source)
        return pa.record_batch([columns[name] for name in DOCUMENT.names], schema=DOCUMENT)


def _first_of_each_id(batches: Iterator[pa.RecordBatch], quarantine: Quarantine) -> Iterator[pa.Table]:
    """Batches without rows whose id was seen before: what reads the documents later tells them apart by it."""
    seen = set[bytes]()
    for batch in batches:
        fresh = list[bool]()
        for index, name in enumerate(batch.column("id").to_pylist()):
            digest = xxh3_128(name.encode()).digest()
            fresh.append(digest not in seen)
            if digest in seen:
                record = batch.slice(index, 1).to_pylist()[0]
                quarantine.add(where=f"id {name}", reason="id was seen before", record=record)
            seen.add(digest)
        yield pa.Table.from_batches([batch]).filter(pa.array(fresh))


def _documents(curated: Curated) -> Iterator[pa.RecordBatch]:
    for frame in curated.frames():
        table = cast("pa.Table", frame.select(DOCUMENT.names).to_arrow())
        yield from table.cast(DOCUMENT).combine_chunks().to_batches()


def _first_schema(path: Path) -> pa.Schema:
    """Fields and types of the first good records."""
    with tempfile.TemporaryDirectory(prefix="plait-") as folder:
        ignored = Quarantine(Path(folder) / "quarantine.jsonl")
        for batch in read_batches(path, quarantine=ignored, batch_bytes=1 << 16):
            return batch.schema
    raise DataError(f"no record is good: {', '.join(ignored.counts)}", code="data.too-many-bad", where=str(path))
