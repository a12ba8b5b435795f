"""Lines of JSON as Arrow columns: one parse and one copy for records without fault, a closer look at the others."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from plait.core.quarantine import Quarantine
from plait.data.read.records import Record, fitting, select

Place = Callable[[int, int], str]
"""Number of a line in the data, from 0, and its offset → where it is found again."""

_SHOWN = 8_000  # bytes of a bad line that are decoded; the quarantine cuts them further
_LONG_NUMBER = re.compile(rb"(?<![\d.eE+])\d{19,}(?![\d.eE])")
_BLANKS = 4  # blanks looked past between a key and its colon
_COLON, _QUOTE, _BACKSLASH, _SPACE = 58, 34, 92, 32


def parse_lines(
    data: bytes,
    schema: pa.Schema,
    *,
    required: Sequence[str],
    exclusive: bool,
    max_line_bytes: int,
    place: Place,
    quarantine: Quarantine,
    wanted: np.ndarray | None = None,
) -> tuple[pa.RecordBatch, np.ndarray]:
    """Records of whole lines, one JSON object each; blank lines are skipped.

    Args:
        data: Lines, each ended by LF but perhaps the last.
        schema: Columns and types.
        required: Fields that must be there and not null.
        exclusive: Whether a field that the schema does not have makes a record bad; otherwise it is left out.
        max_line_bytes: A longer line is bad.
        place: Names a line for the quarantine.
        quarantine: Where bad records go.
        wanted: Which of the lines that are not blank are looked at, bool; all when not given.

    Returns:
        The records, and which line each comes from, counting those that are not blank from 0.
    """
    from plait.data.read.flat import parse_flat

    flat = parse_flat(data, schema, required, max_line_bytes, wanted)
    if flat is None:
        return parse_any(data, schema, required, exclusive, max_line_bytes, place, quarantine, wanted)
    if not flat.left.any():
        return flat.batch, flat.rows
    rest, rows = parse_any(data, schema, required, exclusive, max_line_bytes, place, quarantine, flat.left)
    both = pa.Table.from_batches([flat.batch, rest]).combine_chunks().to_batches()
    places = np.concatenate([flat.rows, rows])
    order = np.argsort(places)
    return both[0].take(pa.array(order)) if both else rest, places[order]


def parse_any(
    data: bytes,
    schema: pa.Schema,
    required: Sequence[str],
    exclusive: bool,
    max_line_bytes: int,
    place: Place,
    quarantine: Quarantine,
    wanted: np.ndarray | None,
) -> tuple[pa.RecordBatch, np.ndarray]:
    """The same, whatever the columns hold, by a general parser; what is wrong with a line is found here."""
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    filled: np.ndarray | None = None
    if wanted is not None:
        filled = _filled(lines)
        looked_at = np.zeros(len(lines), np.bool_)
        looked_at[filled[wanted]] = True
        # Blank lines in their place, so that all offsets stay.
        lines = [line if look else b" " * len(line) for line, look in zip(lines, looked_at.tolist(), strict=True)]
        data = b"\n".join(lines)
    try:
        records: list[Any] = list(map(orjson.loads, lines))
        clean = set(map(type, records)) <= {dict} and (
            len(data) <= max_line_bytes or max(map(len, lines)) <= max_line_bytes
        )
    except orjson.JSONDecodeError:
        records, clean = [], False
    starts = _starts(lines)
    positions = np.arange(len(lines))
    if not clean:
        filled = _filled(lines) if filled is None else filled
        records, positions = _good_objects(lines, starts, max_line_bytes, place, quarantine)
    flat = exclusive and not any(pa.types.is_nested(field.type) for field in schema)
    bad = _repeated_keys(data, lines, records, starts, positions, flat) | _rounded_integers(
        lines, records, positions, schema
    )
    for index in sorted(bad):
        _refuse(lines, starts, int(positions[index]), bad[index], place, quarantine)
    if bad:
        records = [record for index, record in enumerate(records) if index not in bad]
        positions = np.delete(positions, sorted(bad))
    if not exclusive:
        records = select(records, schema.names)
    misfits = list[int]()

    def refuse(index: int, reason: str) -> None:
        misfits.append(index)
        _refuse(lines, starts, int(positions[index]), reason, place, quarantine)

    batch = fitting(records, schema, required, refuse)
    positions = np.delete(positions, misfits)
    if filled is not None:
        return batch, np.searchsorted(filled, positions)
    return batch, positions


def count_lines(data: bytes) -> int:
    """How many lines are not blank."""
    return sum(map(_is_filled, data.split(b"\n")))


def _filled(lines: Sequence[bytes]) -> np.ndarray:
    """Which lines are not blank, int64."""
    return np.flatnonzero(np.fromiter(map(_is_filled, lines), np.bool_, len(lines)))


def _is_filled(line: bytes) -> bool:
    return bool(line) and not line.isspace()


def sample_records(data: bytes) -> list[Record]:
    """The records among some lines, to learn the columns from; what is bad is left for the read itself to find."""
    records = list[Record]()
    for line in data.split(b"\n"):
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if type(value) is dict:
            records.append(value)
    return records


def _starts(lines: Sequence[bytes]) -> np.ndarray:
    lengths = np.fromiter(map(len, lines), np.int64, len(lines)) + 1
    return np.concatenate(([0], np.cumsum(lengths)))


def _good_objects(
    lines: Sequence[bytes], starts: np.ndarray, max_line_bytes: int, place: Place, quarantine: Quarantine
) -> tuple[list[Record], np.ndarray]:
    records, positions = list[Record](), list[int]()
    for index, line in enumerate(lines):
        if not _is_filled(line):
            continue
        reason = f"line longer than {max_line_bytes} bytes" if len(line) > max_line_bytes else None
        value: Any = None
        if reason is None:
            try:
                value = orjson.loads(line)
                reason = None if type(value) is dict else "not a JSON object"
            except orjson.JSONDecodeError:
                reason = why_unreadable(line, otherwise="not JSON")
        if reason is None:
            records.append(value)
            positions.append(index)
        else:
            _refuse(lines, starts, index, reason, place, quarantine)
    return records, np.array(positions, np.int64)


def _refuse(
    lines: Sequence[bytes], starts: np.ndarray, index: int, reason: str, place: Place, quarantine: Quarantine
) -> None:
    quarantine.add(where=place(index, int(starts[index])), reason=reason, record=shown(lines[index]))


def _repeated_keys(
    data: bytes,
    lines: Sequence[bytes],
    records: Sequence[Record],
    starts: np.ndarray,
    positions: np.ndarray,
    flat: bool,
) -> dict[int, str]:
    """Records in which a key stands twice: the parser would keep the last one without a word.

    A closing quote, perhaps blanks, and a colon make a key, so that there are as many of those as keys, unless one
    stands twice. An opening quote before a colon adds to the count and an escaped quote hides whether it is one;
    lines where either may be are parsed again, with care.
    """
    keys, doubtful = _key_colons(np.frombuffer(data, np.uint8))
    expected = np.fromiter(map(len if flat else _count_keys, records), np.int64, len(records))
    counts = np.diff(np.searchsorted(keys, starts))[positions]
    suspicious = counts != expected
    if len(doubtful):
        suspicious |= (np.diff(np.searchsorted(doubtful, starts)) > 0)[positions]
    return {
        int(index): "a key stands twice"
        for index in np.flatnonzero(suspicious)
        if _has_repeated_key(lines[int(positions[index])])
    }


def _key_colons(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where colons follow a closing quote, and where that cannot be told."""
    colons = np.flatnonzero(raw == _COLON)
    before = colons - 1
    blank = np.flatnonzero(raw[before] <= _SPACE)
    for _ in range(_BLANKS):
        if not len(blank):
            break
        before[blank] -= 1
        blank = blank[raw[before[blank]] <= _SPACE]
    quoted = raw[before] == _QUOTE
    escaped = quoted & (raw[before - 1] == _BACKSLASH)
    doubtful = escaped & (raw[before - 2] == _BACKSLASH)
    doubtful[blank] = True
    return colons[quoted & ~escaped], colons[doubtful]


def _count_keys(record: Record) -> int:
    count = len(record)
    for value in record.values():
        if type(value) is dict:
            count += _count_keys(value)
        elif type(value) is list:
            count += _count_keys_in(value)
    return count


def _count_keys_in(values: list[Any]) -> int:
    count = 0
    for value in values:
        if type(value) is dict:
            count += _count_keys(value)
        elif type(value) is list:
            count += _count_keys_in(value)
    return count


class _RepeatedKeyError(Exception):
    """A key stands twice."""


def _has_repeated_key(line: bytes) -> bool:
    def distinct(pairs: list[tuple[str, Any]]) -> None:
        if len({name for name, _ in pairs}) != len(pairs):
            raise _RepeatedKeyError

    try:
        json.loads(line, object_pairs_hook=distinct)
    except _RepeatedKeyError:
        return True
    return False


def _rounded_integers(
    lines: Sequence[bytes], records: Sequence[Record], positions: np.ndarray, schema: pa.Schema
) -> dict[int, str]:
    """Records with an integer of more than 64 bits, which the parser gives as the nearest float."""
    bad = dict[int, str]()
    for name in (field.name for field in schema if pa.types.is_floating(field.type)):
        for index, record in enumerate(records):
            value = record.get(name)
            if type(value) is float and abs(value) >= 2**63 and _LONG_NUMBER.search(lines[int(positions[index])]):
                bad[index] = "an integer of more than 64 bits"
    return bad


def why_unreadable(line: bytes, *, otherwise: str) -> str:
    """What is wrong with bytes that could not be read."""
    if b"\0" in line:
        return "NUL byte"
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return "not UTF-8"
    return otherwise


def shown(line: bytes) -> str:
    """The beginning of a bad line, for the quarantine."""
    text = line[:_SHOWN].removesuffix(b"\r").decode("utf-8", "surrogateescape")
    return text if len(line) <= _SHOWN else f"{text}… ({len(line)} bytes)"
