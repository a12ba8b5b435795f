"""Blocks of rows that have types already: row groups of Parquet, and rows in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh3_128

from plait.core.quarantine import Quarantine
from plait.data.read.collect import Reject
from plait.data.read.file import File, damaged, pieces
from plait.data.read.records import cast_batch
from plait.data.read.settings import Settings


@dataclass(frozen=True)
class RowGroups:
    """Row groups of a Parquet file, read when needed.

    Args:
        file: The file.
        groups: Numbers of the first group and after the last.
        row: Rows before them.
        rows: How many rows they have.
        span: Their bytes in the file.
        settings: How records are read.
    """

    file: File
    groups: tuple[int, int]
    row: int
    rows: int
    span: tuple[int, int]
    settings: Settings

    @property
    def where(self) -> str:
        """The place in words."""
        return f"{self.file.path}:row {self.row + 1}"

    @cached_property
    def key(self) -> str:
        """Hash of the bytes and the settings; with ids, also of the place in the input."""
        digest = xxh3_128(self.settings.name.encode())
        if self.settings.id_key:
            digest.update(repr((self.file.number, self.row)).encode())
        with self.file.open() as stream:
            for piece in pieces(stream, *self.span):
                digest.update(piece)
        return digest.hexdigest()

    def count(self) -> int:
        """How many rows it has, good and bad."""
        return self.rows

    def load(self, quarantine: Quarantine, times: np.ndarray | None = None) -> pa.Table:
        """The records; those without a required field go to the quarantine."""
        names = self.settings.schema.names
        try:
            with self.file.open() as stream, pq.ParquetFile(stream) as file:
                there = [name for name in names if name in file.schema_arrow.names]
                table = file.read_row_groups(range(*self.groups), columns=there, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise damaged(self.file.path, "Parquet", error) from error
        batch, rows = cast_batch(
            table,
            self.settings.schema,
            self.settings.required,
            place=lambda row: f"{self.file.path}:row {self.row + row + 1}",
            quarantine=quarantine,
        )
        return self.settings.finished(batch, rows, f"{self.file.number}.{self.row}", times)


@dataclass(frozen=True)
class RowsInMemory:
    """Rows of a format that can only be read in order, such as CSV; they travel with the block.

    Args:
        table: The rows.
        position: Their place in the input.
        rejects: Records set aside while they were read: place, reason, record.
        settings: How records are read.
        where: The place in words.
    """

    table: pa.Table = field(repr=False)
    position: str
    rejects: tuple[Reject, ...]
    settings: Settings
    where: str

    @cached_property
    def key(self) -> str:
        """Hash of the rows and the settings; with ids, also of the place in the input."""
        digest = xxh3_128(self.settings.name.encode())
        digest.update(repr(self.rejects).encode("utf-8", "surrogateescape"))
        if self.settings.id_key:
            digest.update(self.position.encode())
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.table.schema) as writer:
            writer.write_table(self.table.combine_chunks())
        digest.update(sink.getvalue())
        return digest.hexdigest()

    def count(self) -> int:
        """How many rows it has."""
        return self.table.num_rows

    def load(self, quarantine: Quarantine, times: np.ndarray | None = None) -> pa.Table:
        """The rows; what could not be read goes to the quarantine."""
        for where, reason, record in self.rejects:
            quarantine.add(where=where, reason=reason, record=record)
        batch, rows = cast_batch(
            self.table,
            self.settings.schema,
            self.settings.required,
            place=lambda row: f"{self.where}, row {row + 1}",
            quarantine=quarantine,
        )
        return self.settings.finished(batch, rows, self.position, times)
