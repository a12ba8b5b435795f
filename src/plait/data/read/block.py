"""Blocks of rows that are read where they are worked on: ranges of files, pieces of streams, and rows in memory.

Each is plain values, so that it travels to any worker, and has a ``key`` that its content and settings decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh3_128

from plait.core.quarantine import Quarantine
from plait.data.read.ids import with_ids
from plait.data.read.jsonl import parse_lines
from plait.data.read.records import cast_batch
from plait.errors import DataError

_BOM = b"\xef\xbb\xbf"
_PIECE = 1 << 20
_COUNTED = 64 << 20  # lines are counted to say where a bad one is, if the file's start is no further away
_HEAD = 200  # bytes kept of a line that is too long to hold


@dataclass(frozen=True)
class Settings:
    """How records are read.

    Args:
        schema: Columns and types of every block of a read.
        required: Fields that must be there and not null.
        exclusive: Whether a field that the schema does not have makes a record bad; otherwise it is left out.
        max_line_bytes: A longer line is bad, and never held as a whole.
        id_key: Field to give an id where the records have none; empty for none.
        text_key: The field whose content is hashed for it.
    """

    schema: pa.Schema
    required: tuple[str, ...] = ()
    exclusive: bool = True
    max_line_bytes: int = 64 << 20
    id_key: str = ""
    text_key: str = "text"

    @property
    def name(self) -> str:
        """The settings as text, for hashing."""
        columns = ",".join(f"{f.name!r}:{f.type}" for f in self.schema)
        return repr((columns, self.required, self.exclusive, self.max_line_bytes, self.id_key, self.text_key))

    def finished(self, batch: pa.RecordBatch, position: str) -> pa.Table:
        """The rows as they are handed on."""
        table = pa.Table.from_batches([batch])
        return with_ids(table, self.id_key, self.text_key, position) if self.id_key else table


@dataclass(frozen=True)
class File:
    """A file as it was when the read began, so that one that changes meanwhile is found out.

    Args:
        path: Where it is.
        number: Its place among the files of the read, from 0.
        size: Its bytes.
        changed: When it was last written, in nanoseconds.
    """

    path: Path
    number: int
    size: int
    changed: int

    @classmethod
    def of(cls, path: Path, number: int) -> File:
        """A file that is there.

        Raises:
            DataError: It is not there.
        """
        try:
            status = path.stat()
        except OSError as error:
            raise DataError("no such file", code="data.not-found", where=str(path)) from error
        return cls(path, number, status.st_size, status.st_mtime_ns)

    def open(self) -> IO[bytes]:
        """The file, for reading.

        Raises:
            DataError: It is gone, cannot be read, or is another one by now.
        """
        now = File.of(self.path, self.number)
        if now != self:
            raise DataError(
                f"the file changed while it was read: it had {self.size} bytes and has {now.size}",
                code="data.changed",
                where=str(self.path),
                hint="start again when it is written to no more",
            )
        try:
            return self.path.open("rb")
        except OSError as error:
            raise DataError(
                f"the file cannot be read: {error.strerror}", code="data.unreadable", where=str(self.path)
            ) from error


@dataclass(frozen=True)
class LineRange:
    """Whole lines of a plain JSON Lines file, read when needed.

    Args:
        file: The file.
        start: Offset of the first byte.
        stop: Offset after the last byte.
        settings: How records are read.
    """

    file: File
    start: int
    stop: int
    settings: Settings

    @property
    def where(self) -> str:
        """The place in words."""
        return f"{self.file.path}:bytes {self.start}-{self.stop}"

    @cached_property
    def key(self) -> str:
        """Hash of the bytes and the settings; with ids, also of the place in the input."""
        digest = xxh3_128(self.settings.name.encode())
        if self.settings.id_key:
            digest.update(repr((self.file.number, self.start)).encode())
        with self.file.open() as stream:
            for piece in _pieces(stream, self.start, self.stop):
                digest.update(piece)
        return digest.hexdigest()

    def load(self, quarantine: Quarantine) -> pa.Table:
        """The records; bad ones go to the quarantine."""
        left_out = list[tuple[int, int]]()
        with self.file.open() as stream:
            if self.stop - self.start <= self.settings.max_line_bytes:
                stream.seek(self.start)
                data = stream.read(self.stop - self.start)
            else:
                data = b"".join(self._lines(stream, quarantine, left_out))
        if self.start == 0 and data.startswith(_BOM):
            # Blanks in its place keep all offsets.
            data = b"   " + data[len(_BOM) :]
        batch = parse_lines(
            data,
            self.settings.schema,
            required=self.settings.required,
            exclusive=self.settings.exclusive,
            max_line_bytes=self.settings.max_line_bytes,
            place=lambda offset: self._place(offset + sum(size for at, size in left_out if at < offset)),
            quarantine=quarantine,
        )
        return self.settings.finished(batch, f"{self.file.number}.{self.start}")

    def _lines(self, stream: IO[bytes], quarantine: Quarantine, left_out: list[tuple[int, int]]) -> Iterator[bytes]:
        """The lines, with an empty one instead of each that is too long to hold."""
        limit = self.settings.max_line_bytes
        stream.seek(self.start)
        at, held = self.start, 0
        while at < self.stop:
            line = stream.readline(limit + 1)
            size = len(line)
            if size > limit and not line.endswith(b"\n"):
                while piece := stream.readline(_PIECE):
                    size += len(piece)
                    if piece.endswith(b"\n"):
                        break
                quarantine.add(
                    where=self._place(at - self.start),
                    reason=f"line longer than {limit} bytes",
                    record=f"{line[:_HEAD].decode('utf-8', 'surrogateescape')}… ({size} bytes in all)",
                )
                line = b"\n"
                left_out.append((held, size - 1))
            yield line
            at += size
            held += len(line)

    def _place(self, offset: int) -> str:
        at = self.start + offset
        if at > _COUNTED:
            return f"{self.file.path}:byte {at}"
        with self.file.open() as stream:
            line = 1 + sum(piece.count(b"\n") for piece in _pieces(stream, 0, at))
        return f"{self.file.path}:{line}"


@dataclass(frozen=True)
class LineBytes:
    """Whole lines of a stream that can only be read from its start; they travel with the block.

    Args:
        file: The file.
        first: Number of the first line, from 1.
        data: The lines.
        rejects: Lines set aside while they were cut: place, reason, record.
        settings: How records are read.
    """

    file: File
    first: int
    data: bytes = field(repr=False)
    rejects: tuple[tuple[str, str, str], ...]
    settings: Settings

    @property
    def where(self) -> str:
        """The place in words."""
        return f"{self.file.path}:{self.first}"

    @cached_property
    def key(self) -> str:
        """Hash of the lines and the settings; with ids, also of the place in the input."""
        digest = xxh3_128(self.settings.name.encode())
        digest.update(repr(self.rejects).encode("utf-8", "surrogateescape"))
        if self.settings.id_key:
            digest.update(repr((self.file.number, self.first)).encode())
        digest.update(self.data)
        return digest.hexdigest()

    def load(self, quarantine: Quarantine) -> pa.Table:
        """The records; bad ones go to the quarantine."""
        for where, reason, record in self.rejects:
            quarantine.add(where=where, reason=reason, record=record)
        batch = parse_lines(
            self.data,
            self.settings.schema,
            required=self.settings.required,
            exclusive=self.settings.exclusive,
            max_line_bytes=self.settings.max_line_bytes,
            place=self._place,
            quarantine=quarantine,
        )
        return self.settings.finished(batch, f"{self.file.number}.{self.first}")

    def _place(self, offset: int) -> str:
        line = self.first + self.data.count(b"\n", 0, offset)
        return f"{self.file.path}:{line}"


@dataclass(frozen=True)
class RowGroups:
    """Row groups of a Parquet file, read when needed.

    Args:
        file: The file.
        groups: Numbers of the first group and after the last.
        row: Rows before them.
        span: Their bytes in the file.
        settings: How records are read.
    """

    file: File
    groups: tuple[int, int]
    row: int
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
            for piece in _pieces(stream, *self.span):
                digest.update(piece)
        return digest.hexdigest()

    def load(self, quarantine: Quarantine) -> pa.Table:
        """The records; those without a required field go to the quarantine."""
        names = self.settings.schema.names
        try:
            with self.file.open() as stream, pq.ParquetFile(stream) as file:
                there = [name for name in names if name in file.schema_arrow.names]
                table = file.read_row_groups(range(*self.groups), columns=there, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise damaged(self.file.path, "Parquet", error) from error
        batch = cast_batch(
            table,
            self.settings.schema,
            self.settings.required,
            place=lambda row: f"{self.file.path}:row {self.row + row + 1}",
            quarantine=quarantine,
        )
        return self.settings.finished(batch, f"{self.file.number}.{self.row}")


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
    rejects: tuple[tuple[str, str, str], ...]
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

    def load(self, quarantine: Quarantine) -> pa.Table:
        """The rows; what could not be read goes to the quarantine."""
        for where, reason, record in self.rejects:
            quarantine.add(where=where, reason=reason, record=record)
        batch = cast_batch(
            self.table,
            self.settings.schema,
            self.settings.required,
            place=lambda row: f"{self.where}, row {row + 1}",
            quarantine=quarantine,
        )
        return self.settings.finished(batch, self.position)


Block = LineRange | LineBytes | RowGroups | RowsInMemory


def damaged(path: Path, what: str, error: Exception) -> DataError:
    """The error for a file that ends too early or holds something else."""
    return DataError(
        f"the {what} file cannot be read: {str(error).splitlines()[0]}",
        code="data.damaged",
        where=str(path),
        hint="the file was cut off or damaged; fetch or write it again",
    )


def _pieces(stream: IO[bytes], start: int, stop: int) -> Iterator[bytes]:
    stream.seek(start)
    while start < stop and (piece := stream.read(min(_PIECE, stop - start))):
        yield piece
        start += len(piece)
