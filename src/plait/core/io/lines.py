"""Lines of a plain or compressed text file, in chunks of bounded memory.

Arrow's streams decompress gzip and zstd (several members in a row too) and say when one is cut off.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO

import pyarrow as pa

from plait.core.quarantine import Quarantine
from plait.errors import DataError

_BLOCK = 1 << 20
_COMPRESSION = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
_UTF8_BOM = b"\xef\xbb\xbf"
_WIDE = {"UTF-32": (b"\xff\xfe\0\0", b"\0\0\xfe\xff"), "UTF-16": (b"\xff\xfe", b"\xfe\xff")}
_SHOWN = 200  # bytes kept of a line that is too long to hold


@dataclass(frozen=True)
class Chunk:
    """Consecutive lines of one file.

    Args:
        first: Number of ``lines[0]`` in the file, counting from 1.
        lines: Lines without the LF at their ends; ``None`` for one that was set aside, so that the number of
            ``lines[i]`` is always ``first + i``.
    """

    first: int
    lines: list[bytes | None]


def line_chunks(path: Path, *, chunk_bytes: int, max_line_bytes: int, quarantine: Quarantine) -> Iterator[Chunk]:
    """The lines of a file, about ``chunk_bytes`` at a time.

    Only LF ends a line: a CR before it stays, because in a quoted value of CSV it belongs to the value. A byte
    order mark is skipped. A line longer than ``max_line_bytes`` is quarantined
    with its size and never held in memory as a whole.

    Raises:
        DataError: The file is missing, is not text in UTF-8 as a whole (UTF-16), or its compressed stream is
        cut off or damaged.
    """
    first, lines, held = 1, list[bytes | None](), 0
    for number, line in _numbered_lines(path, max_line_bytes, quarantine):
        assert number == first + len(lines)
        lines.append(line)
        held += len(line or b"") + 1
        if held >= chunk_bytes:
            yield Chunk(first, lines)
            first, lines, held = number + 1, [], 0
    if lines:
        yield Chunk(first, lines)


def _numbered_lines(path: Path, limit: int, quarantine: Quarantine) -> Iterator[tuple[int, bytes | None]]:
    line = _Line(path, limit, quarantine)
    for block in decompressed(path):
        *ends, rest = block.split(b"\n")
        for end in ends:
            # The usual case, inlined: a whole line inside one block.
            if line.size == 0 and len(end) <= limit:
                yield line.number, end
            else:
                line.add(end)
                yield line.number, line.close()
            line.number += 1
        line.add(rest)
    if line.size:
        yield line.number, line.close()


class _Line:
    """The line being read: its pieces, or only its size once it is too long."""

    def __init__(self, path: Path, limit: int, quarantine: Quarantine) -> None:
        self.number = 1
        self.size = 0
        self._pieces: list[bytes] = []
        self._where = path
        self._limit = limit
        self._quarantine = quarantine

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        self._pieces.append(piece)
        if self.size > self._limit:
            self._pieces = [b"".join(self._pieces)[:_SHOWN]]

    def close(self) -> bytes | None:
        """The whole line, or ``None`` after setting it aside."""
        line, size = b"".join(self._pieces), self.size
        self._pieces, self.size = [], 0
        if size <= self._limit:
            return line
        self._quarantine.add(
            where=f"{self._where}:{self.number}",
            reason=f"line longer than {self._limit} bytes",
            record=f"{line[:_SHOWN].decode('utf-8', 'surrogateescape')}… ({size} bytes in all)",
        )
        return None


def decompressed(path: Path | str, source: IO[bytes] | None = None, *, suffix: str | None = None) -> Iterator[bytes]:
    """The bytes of a plain or compressed file, a piece at a time, without a byte order mark.

    Args:
        path: The file.
        source: The open file, where it is not on this machine's disk.
        suffix: Says how it is compressed; that of the path when not given.

    Raises:
        DataError: The file is missing, cut off, damaged, or in UTF-16.
    """
    compression = _COMPRESSION.get(suffix or PurePath(path).suffix.lower())
    try:
        with pa.input_stream(source or str(path), compression=compression, buffer_size=_BLOCK) as stream:
            block: bytes = stream.read(_BLOCK)
            refuse_wide(block, path)
            yield block.removeprefix(_UTF8_BOM)
            while block := stream.read(_BLOCK):
                yield block
    except FileNotFoundError as error:
        raise DataError("no such file", code="data.not-found", where=str(path)) from error
    except OSError as error:
        raise DataError(
            f"the {compression or 'file'} stream cannot be read to its end: {error}",
            code="data.damaged",
            where=str(path),
            hint="the file was cut off or damaged; fetch or write it again",
        ) from error


def refuse_wide(head: bytes, path: Path | str) -> None:
    """Refuses a file in UTF-16 or UTF-32, of which a byte order mark at its start tells.

    Raises:
        DataError: It is one.
    """
    for name, marks in _WIDE.items():
        if head.startswith(marks):
            raise DataError(
                f"the file starts with a {name} byte order mark",
                code="data.encoding",
                where=str(path),
                hint=f"convert it: iconv -f {name} -t UTF-8",
            )
