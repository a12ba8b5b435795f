"""Cuts files into blocks of about one size: by seeking where that is possible, as a stream where it is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from plait.core.io.lines import decompressed, refuse_wide
from plait.data.read.file import File, damaged
from plait.data.read.lines import LineBytes, LineRange
from plait.data.read.settings import Settings
from plait.data.read.tables import RowGroups, RowsInMemory

_PIECE = 1 << 16
_MOST_BLOCKS = 8  # a row group of more blocks than this is not loaded at one go


def line_ranges(file: File, settings: Settings, block_bytes: int) -> Iterator[LineRange]:
    """Ranges of a plain file that end where a line does; only a little around each cut is read."""
    start = 0
    with file.open() as stream:
        refuse_wide(stream.read(4), file.path)
        while start < file.size:
            stop = min(start + block_bytes, file.size)
            if stop < file.size:
                stream.seek(stop - 1)
                while piece := stream.readline(_PIECE):
                    stop = stream.tell()
                    if piece.endswith(b"\n"):
                        break
            yield LineRange(file, start, stop, settings)
            start = stop


def line_pieces(file: File, settings: Settings, block_bytes: int) -> Iterator[LineBytes]:
    """Lines of a compressed file, unpacked as they are asked for."""
    first, held, size = 1, list[bytes](), 0
    rejects = list[tuple[str, str, str]]()
    skipped, head = 0, b""
    for piece in unpacked(file):
        if skipped:
            end = piece.find(b"\n")
            skipped += len(piece) if end < 0 else end
            if end < 0:
                continue
            rejects.append(_too_long(file, first, head, skipped, settings.max_line_bytes))
            skipped = 0
            # An empty line stands in its place, so that the lines after it keep their numbers.
            piece = piece[end:]
        held.append(piece)
        size += len(piece)
        if size < block_bytes:
            continue
        data = b"".join(held)
        cut = data.rfind(b"\n") + 1
        if cut:
            yield LineBytes(file, first, data[:cut], tuple(rejects), settings)
            rejects = []
            first += data.count(b"\n", 0, cut)
            data = data[cut:]
        if len(data) > settings.max_line_bytes:
            skipped, head, data = len(data), data[:200], b""
        held, size = [data], len(data)
    if skipped:
        rejects.append(_too_long(file, first, head, skipped, settings.max_line_bytes))
    data = b"".join(held)
    if data or rejects:
        yield LineBytes(file, first, data, tuple(rejects), settings)


def _too_long(file: File, line: int, head: bytes, size: int, limit: int) -> tuple[str, str, str]:
    shown = f"{head.decode('utf-8', 'surrogateescape')}… ({size} bytes in all)"
    return f"{file.path}:{line}", f"line longer than {limit} bytes", shown


def row_groups(file: File, settings: Settings, block_bytes: int) -> Iterator[RowGroups | RowsInMemory]:
    """Row groups of a Parquet file, several together while they are small.

    A group that is much larger than a block is read in order, and its rows travel with the blocks.
    """
    for groups, row, rows, size, span in _grouped(file, block_bytes):
        if size > _MOST_BLOCKS * block_bytes:
            yield from _pieces_of_group(file, settings, groups, row, max(1, rows * block_bytes // size))
        else:
            yield RowGroups(file, groups, row, rows, span, settings)


def _pieces_of_group(
    file: File, settings: Settings, groups: tuple[int, int], row: int, rows: int
) -> Iterator[RowsInMemory]:
    try:
        with file.open() as stream, pq.ParquetFile(stream) as parquet:
            there = [name for name in settings.schema.names if name in parquet.schema_arrow.names]
            batches = parquet.iter_batches(rows, row_groups=range(*groups), columns=there, use_threads=False)
            for batch in batches:
                where = f"{file.path}:row {row + 1}"
                yield RowsInMemory(pa.Table.from_batches([batch]), f"{file.number}.{row}", (), settings, where)
                row += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise damaged(file.path, "Parquet", error) from error


def _grouped(file: File, block_bytes: int) -> Iterator[tuple[tuple[int, int], int, int, int, tuple[int, int]]]:
    try:
        with file.open() as stream:
            meta = pq.read_metadata(stream)
    except (pa.ArrowException, OSError) as error:
        raise damaged(file.path, "Parquet", error) from error
    first, row, rows, held = 0, 0, 0, 0
    span: tuple[int, int] | None = None
    for number in range(meta.num_row_groups):
        group = meta.row_group(number)
        low, high = _bytes_of(group)
        if span and held + group.total_byte_size > block_bytes:
            yield (first, number), row, rows, held, span
            first, row, rows, held, span = number, row + rows, 0, 0, None
        span = (min(span[0], low), max(span[1], high)) if span else (low, high)
        rows += group.num_rows
        held += group.total_byte_size
    if span and rows:
        yield (first, meta.num_row_groups), row, rows, held, span


def _bytes_of(group: pq.RowGroupMetaData) -> tuple[int, int]:
    starts, stops = list[int](), list[int]()
    for index in range(group.num_columns):
        column = group.column(index)
        start = column.data_page_offset
        if column.has_dictionary_page and column.dictionary_page_offset:
            start = min(start, column.dictionary_page_offset)
        starts.append(start)
        stops.append(start + column.total_compressed_size)
    return min(starts, default=0), max(stops, default=0)


def parquet_schema(file: File) -> pa.Schema:
    """The columns of a Parquet file, from its footer.

    Raises:
        DataError: It is missing, cut off, or not Parquet.
    """
    try:
        with file.open() as stream:
            return pq.read_schema(stream).remove_metadata()
    except (pa.ArrowException, OSError) as error:
        raise damaged(file.path, "Parquet", error) from error


def unpacked(file: File) -> Iterator[bytes]:
    """The bytes of a file that may be compressed."""
    with file.open() as stream:
        yield from decompressed(file.path, None if isinstance(file.path, Path) else stream, suffix=file.suffix)
