"""Lines of JSON as Arrow columns: one parse and one copy for records without fault, a closer look at the others."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from plait.core.io.json_faults import why_not_json
from plait.core.quarantine import Quarantine
from plait.data.read.records import TOO_DEEP, Record, fitting, select, too_deep

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
    bad = _bad_keys(data, lines, records, starts, positions, flat) | _rounded_integers(data, lines, positions, schema)
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
    """The records among some lines, to learn the columns from; what is bad is left for the read itself to find.

    Of a text only the first character is kept, so that long ones do not add up.
    """
    records = list[Record]()
    for line in data.split(b"\n"):
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if type(value) is dict:
            fields = {name: one[:1] if type(one) is str else one for name, one in value.items()}
            records.append({name: one for name, one in fields.items() if not too_deep(one)})
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
                reason = why_not_json(line)
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


def _bad_keys(
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
    lines where either may be are parsed again, with care. So are those of which counting them takes too long a stack.
    """
    keys, doubtful = _key_colons(np.frombuffer(data, np.uint8))
    expected = np.fromiter(map(len if flat else _key_count, records), np.int64, len(records))
    counts = np.diff(np.searchsorted(keys, starts))[positions]
    suspicious = counts != expected
    if len(doubtful):
        suspicious |= (np.diff(np.searchsorted(doubtful, starts)) > 0)[positions]
    found = {int(index): _fault_of_keys(lines[int(positions[index])]) for index in np.flatnonzero(suspicious)}
    return {index: reason for index, reason in found.items() if reason is not None}


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


def _key_count(record: Record) -> int:
    """How many keys it has, nested ones too; -1 if it is nested too deep to tell."""
    try:
        return _count_keys(record)
    except RecursionError:
        return -1


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


def _fault_of_keys(line: bytes) -> str | None:
    def distinct(pairs: list[tuple[str, Any]]) -> None:
        if len({name for name, _ in pairs}) != len(pairs):
            raise _RepeatedKeyError

    try:
        json.loads(line, object_pairs_hook=distinct)
    except _RepeatedKeyError:
        return "a key stands twice"
    except RecursionError:
        return TOO_DEEP
    return None


def _rounded_integers(data: bytes, lines: Sequence[bytes], positions: np.ndarray, schema: pa.Schema) -> dict[int, str]:
    """Records with an integer of more than 64 bits, which the parser gives as the nearest float."""
    names = [field.name for field in schema if _holds_floats(field.type)]
    if not names or not _LONG_NUMBER.search(data):
        return {}
    return {
        index: "an integer of more than 64 bits"
        for index, position in enumerate(positions.tolist())
        if _LONG_NUMBER.search(lines[position]) and _has_long_integer(lines[position], names)
    }


def _holds_floats(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind):
        return _holds_floats(kind.value_type)
    if pa.types.is_struct(kind):
        return any(_holds_floats(kind.field(index).type) for index in range(kind.num_fields))
    return pa.types.is_floating(kind)


def _has_long_integer(line: bytes, names: Sequence[str]) -> bool:
    try:
        record = json.loads(line)  # whose integers are exact
    except RecursionError:
        return False  # no column is that deep: it is found bad for that
    level = [record.get(name) for name in names]
    while level:
        if any(type(one) is int and not -(2**63) <= one < 2**64 for one in level):
            return True
        nested = [one.values() if type(one) is dict else one for one in level if type(one) in (dict, list)]
        level = [inner for one in nested for inner in one]
    return False


def shown(line: bytes) -> str:
    """The beginning of a bad line, for the quarantine."""
    text = line[:_SHOWN].removesuffix(b"\r").decode("utf-8", "surrogateescape")
    return text if len(line) <= _SHOWN else f"{text}… ({len(line)} bytes)"
