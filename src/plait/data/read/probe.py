"""The columns of an input, learned from a little of each file before any block is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from plait.data.read.cut import unpacked
from plait.data.read.file import File
from plait.data.read.jsonl import sample_records
from plait.data.read.records import schema_of, settled, unified

_SPOTS = 16
_SPOT_BYTES = 64 << 10
_HEAD_BYTES = 1 << 20
_LONGEST_LINES = 4  # so many lines of the greatest length are looked through for a record


def merged(
    schemas: Sequence[pa.Schema], columns: Sequence[str] | None = None, required: Sequence[str] = ()
) -> pa.Schema:
    """One schema that all files are read in; see `plait.data.read.records.unified`."""
    schema = pa.schema([])
    for one in schemas:
        schema = unified(schema, one)
    if not schema.names:
        # Not one record can be read: all are set aside, each with its reason.
        schema = pa.schema([(name, pa.string()) for name in required])
    if columns is not None:
        schema = pa.schema([schema.field(n) if n in schema.names else pa.field(n, pa.string()) for n in columns])
    return settled(schema)


def lines_schema(file: File, max_line_bytes: int) -> pa.Schema:
    """The columns of a plain JSON Lines file: its head is looked at, and some lines at even distances."""
    return schema_of([record for spot in _spots(file, max_line_bytes) for record in sample_records(spot)])


def _spots(file: File, max_line_bytes: int) -> Iterator[bytes]:
    longest = max_line_bytes + 1  # with its end
    with file.open() as stream:
        for number in range(_SPOTS):
            offset = file.size * number // _SPOTS
            if offset < stream.tell():
                offset = stream.tell()
            stream.seek(offset)
            if number and offset:
                stream.seek(offset - 1)
                stream.readline(longest)
            lines, size = list[bytes](), 0
            while size < _SPOT_BYTES and (line := stream.readline(longest)):
                lines.append(line.removeprefix(b"\xef\xbb\xbf"))
                size += len(line)
            yield b"".join(lines)


def stream_schema(file: File, max_line_bytes: int) -> pa.Schema:
    """The columns of a compressed JSON Lines file, from its head: as much of it as it takes to find a record."""
    held, size, seen, ends = list[bytes](), 0, 0, False
    for piece in unpacked(file):
        held.append(piece)
        size += len(piece)
        seen += len(piece)
        ends |= b"\n" in piece
        if size < _HEAD_BYTES:
            continue
        if ends:
            data = b"".join(held)
            cut = data.rfind(b"\n") + 1
            if records := sample_records(data[:cut]):
                return schema_of(records)
            held, size, ends = [data[cut:]], len(data) - cut, False
        elif size > max_line_bytes:
            held, size = [], 0  # the rest of this line will be no record either
        if seen > _HEAD_BYTES + _LONGEST_LINES * max_line_bytes:
            break
    return schema_of(sample_records(b"".join(held)))
