"""Blocks of lines: ranges of plain files, and pieces of streams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO

import numpy as np
import pyarrow as pa
from xxhash import xxh3_128

from plait.core.quarantine import Quarantine
from plait.data.read.collect import Collected, Reject
from plait.data.read.file import PIECE, File, pieces
from plait.data.read.jsonl import count_lines, parse_lines
from plait.data.read.settings import Settings

_BOM = b"\xef\xbb\xbf"
_COUNTED = 64 << 20  # lines are counted to say where a bad one is, unless that much of the file comes before
_HEAD = 200  # bytes kept of a line that is too long to hold


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
            for piece in pieces(stream, self.start, self.stop):
                digest.update(piece)
        return digest.hexdigest()

    def load(self, quarantine: Quarantine, times: np.ndarray | None = None) -> pa.Table:
        """The records; bad ones go to the quarantine.

        Args:
            quarantine: Where bad records go.
            times: How often each row that is not blank is taken; once each when not given.
        """
        left_out = list[tuple[int, int]]()
        data = self._read(quarantine, left_out)
        batch, rows = parse_lines(
            data,
            self.settings.schema,
            required=self.settings.required,
            exclusive=self.settings.exclusive,
            max_line_bytes=self.settings.max_line_bytes,
            place=lambda line, offset: self._place(line, offset + sum(size for at, size in left_out if at < offset)),
            quarantine=quarantine,
            wanted=None if times is None else times > 0,
        )
        return self.settings.finished(batch, rows, f"{self.file.number}.{self.start}", times)

    def count(self) -> int:
        """How many rows it has, good and bad."""
        return count_lines(self._read(Collected(), []))

    def _read(self, quarantine: Quarantine, left_out: list[tuple[int, int]]) -> bytes:
        with self.file.open() as stream:
            if self.stop - self.start <= self.settings.max_line_bytes:
                stream.seek(self.start)
                data = stream.read(self.stop - self.start)
            else:
                data = b"".join(self._lines(stream, quarantine, left_out))
        if self.start == 0 and data.startswith(_BOM):
            # Blanks in its place keep all offsets.
            data = b"   " + data[len(_BOM) :]
        return data

    def _lines(self, stream: IO[bytes], quarantine: Quarantine, left_out: list[tuple[int, int]]) -> Iterator[bytes]:
        """The lines, with an empty one instead of each that is too long to hold."""
        limit = self.settings.max_line_bytes
        stream.seek(self.start)
        at, held, number = self.start, 0, 0
        while at < self.stop:
            line = stream.readline(limit + 1)
            size = len(line)
            if size > limit and not line.endswith(b"\n"):
                while piece := stream.readline(PIECE):
                    size += len(piece)
                    if piece.endswith(b"\n"):
                        break
                quarantine.add(
                    where=self._place(number, at - self.start),
                    reason=f"line longer than {limit} bytes",
                    record=f"{line[:_HEAD].decode('utf-8', 'surrogateescape')}… ({size} bytes in all)",
                )
                line = b"\n"
                left_out.append((held, size - 1))
            yield line
            at += size
            held += len(line)
            number += 1

    def _place(self, line: int, offset: int) -> str:
        if self.start > _COUNTED:
            return f"{self.file.path}:byte {self.start + offset}"
        return f"{self.file.path}:{self._first_line + line}"

    @cached_property
    def _first_line(self) -> int:
        with self.file.open() as stream:
            return 1 + sum(piece.count(b"\n") for piece in pieces(stream, 0, self.start))


@dataclass(frozen=True)
class LineBytes:
    """Whole lines of a stream that can only be read from its start; they travel with the block.

    Args:
        file: The file.
        first: Number of the first line, from 1.
        data: The lines.
        rejects: Lines set aside while they were cut: place, reason, record.
        settings: How records are read.
        unit: What a line is, if it is none of the file's: ``record `` for the elements of an array.
    """

    file: File
    first: int
    data: bytes = field(repr=False)
    rejects: tuple[Reject, ...]
    settings: Settings
    unit: str = ""

    @property
    def where(self) -> str:
        """The place in words."""
        return f"{self.file.path}:{self.unit}{self.first}"

    @cached_property
    def key(self) -> str:
        """Hash of the lines and the settings; with ids, also of the place in the input."""
        digest = xxh3_128(self.settings.name.encode())
        digest.update(repr(self.rejects).encode("utf-8", "surrogateescape"))
        if self.settings.id_key:
            digest.update(repr((self.file.number, self.first)).encode())
        digest.update(self.data)
        return digest.hexdigest()

    def load(self, quarantine: Quarantine, times: np.ndarray | None = None) -> pa.Table:
        """The records; bad ones go to the quarantine."""
        for where, reason, record in self.rejects:
            quarantine.add(where=where, reason=reason, record=record)
        batch, rows = parse_lines(
            self.data,
            self.settings.schema,
            required=self.settings.required,
            exclusive=self.settings.exclusive,
            max_line_bytes=self.settings.max_line_bytes,
            place=self._place,
            quarantine=quarantine,
            wanted=None if times is None else times > 0,
        )
        return self.settings.finished(batch, rows, f"{self.file.number}.{self.first}", times)

    def count(self) -> int:
        """How many rows it has, good and bad."""
        return count_lines(self.data)

    def _place(self, line: int, offset: int) -> str:
        del offset
        return f"{self.file.path}:{self.unit}{self.first + line}"
