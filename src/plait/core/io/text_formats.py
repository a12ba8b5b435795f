"""Readers of formats made of lines: JSON Lines, CSV, TSV, and folders of text files."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as arrow_csv

from plait.core.io.fitting import Fitter
from plait.core.io.json_faults import altered_by_parsing, why_not_json, why_unreadable
from plait.core.io.lines import line_chunks
from plait.core.quarantine import Quarantine
from plait.errors import DataError


@dataclass(frozen=True)
class Limits:
    """How much of a file is held at a time, in bytes."""

    batch_bytes: int
    max_line_bytes: int


def read_jsonl(path: Path, fitter: Fitter, limits: Limits, quarantine: Quarantine) -> Iterator[pa.RecordBatch]:
    """JSON Lines: one object per line; blank lines are skipped.

    A chunk is parsed in one go; only when a line in it fails is that chunk gone through line by line.
    """
    import orjson

    names = None if fitter.asked is None else fitter.asked.names
    for chunk in line_chunks(
        path, chunk_bytes=limits.batch_bytes, max_line_bytes=limits.max_line_bytes, quarantine=quarantine
    ):
        lines = [(chunk.first + i, line) for i, line in enumerate(chunk.lines) if line and not line.isspace()]
        if not lines:
            continue
        try:
            values: list[Any] = [orjson.loads(line) for _, line in lines]
            fast = all(
                type(value) is dict and altered_by_parsing(line, value, names) is None
                for value, (_, line) in zip(values, lines, strict=True)
            )
        except orjson.JSONDecodeError:
            values, fast = [], False
        if not fast:
            values, lines = _good_objects(path, lines, names, orjson.loads, quarantine)
        numbers = [number for number, _ in lines]
        if values and (batch := fitter.records(values, lambda i, n=numbers: f"{path}:{n[i]}")):
            yield batch


def _good_objects(
    path: Path, lines: Sequence[tuple[int, bytes]], names: list[str] | None, loads: Any, quarantine: Quarantine
) -> tuple[list[Any], list[tuple[int, bytes]]]:
    values, kept = list[Any](), list[tuple[int, bytes]]()
    for number, line in lines:
        try:
            value = loads(line)
            reason = altered_by_parsing(line, value, names) if type(value) is dict else "not a JSON object"
        except ValueError:
            value, reason = None, why_not_json(line)
        if reason is None:
            values.append(value)
            kept.append((number, line))
        else:
            quarantine.add(where=f"{path}:{number}", reason=reason, record=_shown(line))
    return values, kept


def read_csv(
    path: Path, fitter: Fitter, limits: Limits, quarantine: Quarantine, *, delimiter: str
) -> Iterator[pa.RecordBatch]:
    """CSV or TSV with a header line. Without a schema every column is text: ``007`` stays ``007``.

    Empty and unquoted is null; ``""`` is the empty string.
    """
    header: list[str] | None = None
    for records in _csv_records(path, limits, delimiter, quarantine):
        if header is None:
            header = _header(path, records.pop(0), delimiter)
        if not records:
            continue
        tables = [(t, n) for t, n in _parse_records(path, records, header, delimiter, fitter, quarantine)]
        for table, numbers in tables:
            for batch in table.combine_chunks().to_batches():
                if fitted := fitter.batch(batch, lambda i, n=numbers: f"{path}:{n[i]}", where=str(path)):
                    yield fitted


_Record = tuple[int, list[bytes]]
"""A line number and the lines of one record: more than one if a quoted value holds line ends."""


def _csv_records(path: Path, limits: Limits, delimiter: str, quarantine: Quarantine) -> Iterator[list[_Record]]:
    """Records of about one chunk at a time: lines are joined while a quote is open."""

    def refuse(number: int, line: bytes) -> None:
        quarantine.add(where=f"{path}:{number}", reason="quote not closed", record=_shown(line))

    joiner = _Joiner(delimiter, limits.max_line_bytes, refuse)
    for chunk in line_chunks(
        path, chunk_bytes=limits.batch_bytes, max_line_bytes=limits.max_line_bytes, quarantine=quarantine
    ):
        records = list[_Record]()
        for number, line in enumerate(chunk.lines, chunk.first):
            joiner.feed(number, line, records)
        if records:
            yield records
    records = list[_Record]()
    joiner.end(records)
    if records:
        yield records


class _Joiner:
    """Joins the lines of quoted values. A stray quote is found out where it stops making sense, and costs one line."""

    def __init__(self, delimiter: str, limit: int, refuse: Callable[[int, bytes], None]) -> None:
        self._open: list[tuple[int, bytes]] = []
        self._size = 0
        self._limit = limit
        self._refuse = refuse
        mark = re.escape(delimiter.encode())
        quoted = rb'"[^"]*(?:""[^"]*)*"'
        strict = rb'(?:%b|[^"%b]*)' % (quoted, mark)
        lenient = rb'(?:%b|[^"%b][^%b]*|)' % (quoted, mark, mark)
        self._strict = re.compile(rb"%b(?:%b%b)*" % (strict, mark, strict))
        self._lenient = re.compile(rb"%b(?:%b%b)*" % (lenient, mark, lenient))

    def feed(self, number: int, line: bytes | None, records: list[_Record]) -> None:
        if line is None:
            self.end(records)
            return
        odd = line.count(b'"') % 2 == 1
        if not self._open and not odd:
            if line := line.removesuffix(b"\r"):
                records.append((number, [line]))
            return
        closes = odd and bool(self._open)
        self._open.append((number, line))
        self._size += len(line)
        if not closes and self._size <= self._limit:
            return
        lines = [part for _, part in self._open]
        lines[-1] = lines[-1].removesuffix(b"\r")
        if closes and self._strict.fullmatch(b"\n".join(lines)):
            records.append((self._open[0][0], lines))
            self._open, self._size = [], 0
        else:
            self._give_up(records)

    def end(self, records: list[_Record]) -> None:
        while self._open:
            self._give_up(records)

    def _give_up(self, records: list[_Record]) -> None:
        """The first open line stands alone after all; those after it are looked at afresh."""
        (number, line), *others = self._open
        self._open, self._size = [], 0
        line = line.removesuffix(b"\r")
        if self._lenient.fullmatch(line):
            records.append((number, [line]))
        else:
            self._refuse(number, line)
        for other_number, other in others:
            self.feed(other_number, other, records)


def _header(path: Path, record: _Record, delimiter: str) -> list[str]:
    number, lines = record
    try:
        text = b"\n".join(lines).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError("the header is not UTF-8", code="data.encoding", where=f"{path}:{number}") from error
    names = next(csv.reader([text], delimiter=delimiter))
    if len(set(names)) != len(names):
        raise DataError(f"a column name occurs twice: {', '.join(names)}", code="data.header", where=f"{path}:{number}")
    return names


def _parse_records(
    path: Path,
    records: list[_Record],
    header: list[str],
    delimiter: str,
    fitter: Fitter,
    quarantine: Quarantine,
) -> Iterator[tuple[pa.Table, list[int]]]:
    """Tables of good records with their line numbers; runs of records are halved until the bad ones are alone."""
    types = {name: pa.string() for name in header}
    if fitter.schema is not None:
        types |= {f.name: f.type for f in fitter.schema if f.name in types}
    waiting = [records]
    while waiting:
        run = waiting.pop()
        table = _parse(run, header, delimiter, types)
        if table is not None:
            yield table, [number for number, _ in run]
        elif len(run) > 1:
            waiting += [run[len(run) // 2 :], run[: len(run) // 2]]
        else:
            [(number, lines)] = run
            line = b"\n".join(lines)
            as_text = _parse(run, header, delimiter, {name: pa.string() for name in header})
            reason = why_unreadable(line, otherwise=f"not {len(header)} columns")
            quarantine.add(
                where=f"{path}:{number}",
                reason="value of another type" if as_text is not None else reason,
                record=_shown(line),
            )


def _parse(records: list[_Record], header: list[str], delimiter: str, types: dict[str, pa.DataType]) -> pa.Table | None:
    data = b"\n".join(b"\n".join(lines) for _, lines in records) + b"\n"
    if b"\0" in data:
        return None
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(data),
            read_options=arrow_csv.ReadOptions(
                column_names=header, use_threads=False, block_size=max(len(data) + 1, 1024)
            ),
            parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                column_types=types,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid:
        return None
    # A stray quote or carriage return makes Arrow see other records than we do.
    return table if table.num_rows == len(records) else None


def read_text_folder(
    path: Path, files: Sequence[Path], fitter: Fitter, limits: Limits, quarantine: Quarantine
) -> Iterator[pa.RecordBatch]:
    """A folder of texts, each one document: ``id`` is its path below the folder, ``source`` the folder's name."""
    records, places, held = list[dict[str, str]](), list[str](), 0
    for file in files:
        size = file.stat().st_size
        if size > limits.max_line_bytes:
            quarantine.add(
                where=str(file),
                reason=f"file longer than {limits.max_line_bytes} bytes",
                record=f"({size} bytes in all)",
            )
            continue
        data = file.read_bytes()
        reason = why_unreadable(data, otherwise="")
        if reason:
            quarantine.add(where=str(file), reason=reason, record=_shown(data))
            continue
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
        records.append({"id": file.relative_to(path).as_posix(), "text": text, "source": path.name})
        places.append(str(file))
        held += size
        if held >= limits.batch_bytes:
            if batch := fitter.records(records, places.__getitem__):
                yield batch
            records, places, held = [], [], 0
    if records and (batch := fitter.records(records, places.__getitem__)):
        yield batch


def _shown(line: bytes) -> str:
    # The quarantine cuts long records itself, but decoding 60 MB to show 2 kB would be waste.
    return line[:8_000].removesuffix(b"\r").decode("utf-8", "surrogateescape") + (
        f"… ({len(line)} bytes)" if len(line) > 8_000 else ""
    )
