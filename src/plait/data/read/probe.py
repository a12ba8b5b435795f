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
_SPOT_LINE = 4 << 20


def merged(schemas: Sequence[pa.Schema], columns: Sequence[str] | None = None) -> pa.Schema:
    """One schema that all files are read in; see `plait.data.read.records.unified`."""
    schema = pa.schema([])
    for one in schemas:
        schema = unified(schema, one)
    if columns is not None:
        schema = pa.schema([schema.field(n) if n in schema.names else pa.field(n, pa.string()) for n in columns])
    return settled(schema)


def lines_schema(file: File) -> pa.Schema:
    """The columns of a plain JSON Lines file: its head is looked at, and some lines at even distances."""
    return schema_of([record for spot in _spots(file) for record in sample_records(spot)])


def _spots(file: File) -> Iterator[bytes]:
    with file.open() as stream:
        for number in range(_SPOTS):
            offset = file.size * number // _SPOTS
            if offset < stream.tell():
                offset = stream.tell()
            stream.seek(offset)
            if number and offset:
                stream.seek(offset - 1)
                stream.readline(_SPOT_LINE)
            lines, size = list[bytes](), 0
            while size < _SPOT_BYTES and (line := stream.readline(_SPOT_LINE)):
                lines.append(line.removeprefix(b"\xef\xbb\xbf"))
                size += len(line)
            yield b"".join(lines)


def stream_schema(file: File) -> pa.Schema:
    """The columns of a compressed JSON Lines file, from its head."""
    held, size = list[bytes](), 0
    for piece in unpacked(file):
        held.append(piece)
        size += len(piece)
        if size >= _HEAD_BYTES:
            break
    return schema_of(sample_records(b"".join(held)))
