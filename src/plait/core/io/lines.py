"""Lines of a plain or compressed text file, in chunks of bounded memory.

Arrow's streams decompress gzip and zstd (several members in a row too) and say when one is cut off.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from plait.core.quarantine import Quarantine
from plait.errors import DataError

_BLOCK = 1 << 20
_COMPRESSION = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
_UTF8_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_SHOWN = 200  # bytes kept of a line that is too long to hold


@dataclass(frozen=True)
class Chunk:
    """Consecutive lines of one file.

    Args:
        first: Number of ``lines[0]`` in the file, counting from 1.
        lines: Lines without their line ends. A line that was set aside is left here as ``b""``, so that the
            number of ``lines[i]`` is always ``first + i``.
    """

    first: int
    lines: list[bytes]


def line_chunks(path: Path, *, chunk_bytes: int, max_line_bytes: int, quarantine: Quarantine) -> Iterator[Chunk]:
    """The lines of a file, about ``chunk_bytes`` at a time.

    LF and CRLF end a line; a byte order mark is skipped. A line longer than ``max_line_bytes`` is quarantined
    with its size and never held in memory as a whole.

    Raises:
        DataError: The file is missing, is not text in UTF-8 as a whole (UTF-16), or its compressed stream is
        cut off or damaged.
    """
    first, lines, held = 1, list[bytes](), 0
    for number, line in _numbered_lines(path, max_line_bytes, quarantine):
        assert number == first + len(lines)
        lines.append(line)
        held += len(line) + 1
        if held >= chunk_bytes:
            yield Chunk(first, lines)
            first, lines, held = number + 1, [], 0
    if lines:
        yield Chunk(first, lines)


def _numbered_lines(path: Path, limit: int, quarantine: Quarantine) -> Iterator[tuple[int, bytes]]:
    number = 1
    pending = b""
    dropped = 0  # bytes already let go of a line that is too long
    sample = b""
    for block in _blocks(path):
        *complete, rest = block.split(b"\n")
        for piece in complete:
            size = dropped + len(pending) + len(piece)
            if size > limit:
                _too_long(path, number, size, sample or pending + piece, limit, quarantine)
                line = b""
            else:
                line = pending + piece if pending else piece
                if line.endswith(b"\r"):
                    line = line[:-1]
            yield number, line
            number, pending, dropped, sample = number + 1, b"", 0, b""
        pending += rest
        if dropped + len(pending) > limit:
            sample = sample or pending[:_SHOWN]
            dropped, pending = dropped + len(pending), b""
    if dropped:
        _too_long(path, number, dropped + len(pending), sample, limit, quarantine)
        yield number, b""
    elif pending:
        yield number, pending.removesuffix(b"\r")


def _blocks(path: Path) -> Iterator[bytes]:
    compression = _COMPRESSION.get(path.suffix.lower())
    try:
        with pa.input_stream(str(path), compression=compression, buffer_size=_BLOCK) as stream:
            block: bytes = stream.read(_BLOCK)
            if block.startswith(_UTF16_BOMS):
                raise DataError(
                    "the file starts with a UTF-16 byte order mark",
                    code="data.encoding",
                    where=str(path),
                    hint="convert it: iconv -f UTF-16 -t UTF-8",
                )
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


def _too_long(path: Path, number: int, size: int, sample: bytes, limit: int, quarantine: Quarantine) -> None:
    shown = sample[:_SHOWN].decode("utf-8", "surrogateescape")
    quarantine.add(
        where=f"{path}:{number}",
        reason=f"line longer than {limit} bytes",
        record=f"{shown}… ({size} bytes in all)",
    )
