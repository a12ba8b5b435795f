"""Lines of JSON whose values are texts, numbers and truth values: parsed by compiled loops, straight into columns.

The loops take a line only if it is right in every respect (UTF-8, escapes, each field once, the types of the columns),
so a line that they take needs no second look. All others are left to a parser that can say what is wrong with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from plait.data.loops import compiled
from plait.data.read.records import column_of
from plait.data.swar import HIGH, below, eight, equal, first, put_eight

_BLANK, _TAKEN, _LEFT, _UNWANTED = 0, 1, 2, 3  # lines
_ABSENT, _NULL, _TEXT, _ESCAPED, _SCALAR = 0, 1, 2, 3, 4  # values
_LONGEST_SCALAR = 18  # bytes: a longer one may not fit into 64 bits
_MOST_TEXT = 2**31 - 1
_QUOTE, _BACKSLASH, _SPACE, _TAB, _NEWLINE, _RETURN, _COMMA, _COLON, _OPEN, _CLOSE = b'"\\ \t\n\r,:{}'
_N, _U, _L = b"nul"

_STANDS_FOR = np.zeros(256, np.uint8)
"""What one character after a backslash stands for."""
for _short, _long in zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True):
    _STANDS_FOR[_short] = _long


@dataclass(frozen=True)
class Flat:
    """What the loops made of some lines.

    Args:
        batch: The records of the lines taken.
        rows: Which lines these are, counting those that are not blank from 0.
        left: Which of the lines that are not blank are left, bool.
    """

    batch: pa.RecordBatch
    rows: np.ndarray
    left: np.ndarray


def parse_flat(
    data: bytes, schema: pa.Schema, required: Sequence[str], max_line_bytes: int, wanted: np.ndarray | None = None
) -> Flat | None:
    """The records of as many lines as possible, or ``None`` where columns hold more than texts and numbers.

    Args:
        data: Lines, each ended by LF but perhaps the last.
        schema: Columns and types.
        required: Fields that must be there and not null.
        max_line_bytes: A longer line is left.
        wanted: Which of the lines that are not blank are looked at, bool; all when not given.
    """
    takes = np.array([_taken(field.type) for field in schema], np.uint8)
    if not len(takes) or not takes.all() or len(data) > _MOST_TEXT:
        return None
    ended = data if data.endswith(b"\n") else data + b"\n"
    raw = np.frombuffer(ended, np.uint8)
    names = [orjson.dumps(name)[1:] for name in schema.names]  # with the quote that ends them
    must = np.array([name in required for name in schema.names])
    state, kinds, start, stop = _lines(
        raw,
        int(np.count_nonzero(raw == _NEWLINE)),  # without the interpreter's lock, unlike bytes.count
        np.frombuffer(b"".join(names), np.uint8),
        np.cumsum([0, *map(len, names)]),
        takes,
        must,
        max_line_bytes,
    )
    if wanted is not None:
        filled = np.flatnonzero(state != _BLANK)
        state[filled[~wanted]] = _UNWANTED
    taken = np.flatnonzero(state == _TAKEN)
    columns = list[pa.Array]()
    for field, kind, begin, end in zip(schema, kinds, start, stop, strict=True):
        make = _texts if pa.types.is_string(field.type) else _scalars
        column = make(raw, field.type, kind[taken], begin[taken], end[taken])
        if column is None:
            return None
        columns.append(column)
    filled = state[state != _BLANK]
    return Flat(pa.RecordBatch.from_arrays(columns, schema=schema), np.flatnonzero(filled == _TAKEN), filled == _LEFT)


def _taken(kind: pa.DataType) -> int:
    if pa.types.is_string(kind):
        return _TEXT
    return _SCALAR if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) else 0


def _texts(raw: np.ndarray, kind: pa.DataType, kinds: np.ndarray, start: np.ndarray, stop: np.ndarray) -> pa.Array:
    out, offsets = _copied(raw, kinds, start, stop)
    nulls = kinds <= _NULL
    valid = pa.array(~nulls).buffers()[1] if nulls.any() else None
    return pa.StringArray.from_buffers(len(kinds), pa.py_buffer(offsets), pa.py_buffer(out), valid).cast(kind)


def _scalars(
    raw: np.ndarray, kind: pa.DataType, kinds: np.ndarray, start: np.ndarray, stop: np.ndarray
) -> pa.Array | None:
    """Numbers and truth values, read by the JSON parser; ``None`` if one is not of the type, or not JSON."""
    given = kinds == _SCALAR
    data = raw.tobytes()
    found = [data[a:b] for a, b in zip(start[given].tolist(), stop[given].tolist(), strict=True)]
    try:
        values = iter(orjson.loads(b"[%b]" % b",".join(found)))
    except orjson.JSONDecodeError:
        return None
    return column_of([next(values) if there else None for there in given.tolist()], kind)


@compiled
def _lines(
    data: np.ndarray,
    count: int,
    names: np.ndarray,
    name_at: np.ndarray,
    takes: np.ndarray,
    required: np.ndarray,
    longest: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What each line is, ``[lines]``; and of each field kind, first byte and end of its value, ``[fields, lines]``."""
    fields = len(takes)
    state = np.zeros(count, np.uint8)
    kinds = np.zeros((fields, count), np.uint8)
    start, stop = np.zeros((fields, count), np.int64), np.zeros((fields, count), np.int64)
    i = 0
    for line in range(count):
        begin = i
        i = _blanks(data, begin)
        if data[i] == _OPEN:
            i = _record(data, i, names, name_at, takes, kinds[:, line], start[:, line], stop[:, line])
            if i >= 0:
                i = _blanks(data, i)
        if i >= 0 and data[i] == _NEWLINE:
            good = i - begin <= longest and data[_blanks(data, begin)] == _OPEN
            for f in range(fields):
                good &= not required[f] or kinds[f, line] > _NULL
            if good:
                state[line] = _TAKEN
                i += 1
                continue
        # Of no use here: find its end, and whether it is blank.
        i = begin
        blank = True
        while data[i] != _NEWLINE:
            blank &= data[i] == _SPACE or _TAB <= data[i] <= _RETURN
            i += 1
        state[line] = _BLANK if blank else _LEFT
        i += 1
    return state, kinds, start, stop


@compiled
def _blanks(data: np.ndarray, i: int) -> int:
    """The first place from ``i`` on that is no blank within a line."""
    while data[i] == _SPACE or data[i] == _TAB or data[i] == _RETURN:
        i += 1
    return i


@compiled
def _record(
    data: np.ndarray,
    i: int,
    names: np.ndarray,
    name_at: np.ndarray,
    takes: np.ndarray,
    kinds: np.ndarray,
    start: np.ndarray,
    stop: np.ndarray,
) -> int:
    """The end of the object that begins at ``i``, or -1 if it is not one of the fields, once each, of their types."""
    fields = len(takes)
    i = _blanks(data, i + 1)
    if data[i] == _CLOSE:
        return i + 1
    likely = 0
    while data[i] == _QUOTE:
        f = _field(data, i + 1, names, name_at, likely)
        if f < 0 or kinds[f] != _ABSENT:
            return -1
        likely = f + 1 if f + 1 < fields else 0
        i = _blanks(data, i + 1 + name_at[f + 1] - name_at[f])
        if data[i] != _COLON:
            return -1
        i = _blanks(data, i + 1)
        begin = i
        if data[i] == _QUOTE:
            i, escaped = _string(data, i + 1)
            if i < 0 or takes[f] != _TEXT:
                return -1
            kinds[f], start[f], stop[f] = _ESCAPED if escaped else _TEXT, begin + 1, i
            i += 1
        elif data[i] == _N and data[i + 1] == _U and data[i + 2] == _L and data[i + 3] == _L:
            kinds[f] = _NULL
            i += 4
        else:
            while _in_scalar(data[i]):
                i += 1
            if takes[f] != _SCALAR or i == begin or i - begin > _LONGEST_SCALAR:
                return -1
            kinds[f], start[f], stop[f] = _SCALAR, begin, i
        i = _blanks(data, i)
        if data[i] == _CLOSE:
            return i + 1
        if data[i] != _COMMA:
            return -1
        i = _blanks(data, i + 1)
    return -1


@compiled
def _in_scalar(b: int) -> bool:
    return 48 <= b <= 57 or 97 <= b <= 122 or b == 43 or b == 45 or b == 46 or b == 69


@compiled
def _field(data: np.ndarray, i: int, names: np.ndarray, name_at: np.ndarray, likely: int) -> int:
    """Which field's name stands at ``i``, or -1; records mostly have them in the same order."""
    fields = len(name_at) - 1
    for k in range(fields):
        f = likely + k if likely + k < fields else likely + k - fields
        j = name_at[f]
        # A name ends by its quote, so no comparison reaches over the end of the line.
        while j < name_at[f + 1] and data[i + j - name_at[f]] == names[j]:
            j += 1
        if j == name_at[f + 1]:
            return f
    return -1


@compiled
def _string(data: np.ndarray, i: int) -> tuple[int, bool]:
    """The quote that ends the string whose first character is at ``i``, or -1, and whether it has escapes."""
    escaped = False
    while True:
        while i + 8 <= len(data):
            x = eight(data, i)
            marks = below(x, _SPACE) | equal(x, _QUOTE) | equal(x, _BACKSLASH) | (x & HIGH)
            if marks:
                i += first(marks)
                break
            i += 8  # a step that is guessed lets the processor go on before it has looked
        b = data[i]
        if b == _QUOTE:
            return i, escaped
        if b == _BACKSLASH:
            escaped = True
            if _STANDS_FOR[data[i + 1]]:
                i += 2
            else:
                i = _after_code(data, i + 2) if data[i + 1] == _U else -1
        elif b >= 0x80:
            i = _after_character(data, i)
        elif b < _SPACE:
            return -1, False
        else:
            i += 1
        if i < 0:
            return -1, False


@compiled
def _after_code(data: np.ndarray, i: int) -> int:
    """The end of the one or two codes (a surrogate pair) whose hexadecimal digits begin at ``i``, or -1."""
    code = _hexadecimal(data, i)
    if code < 0 or 0xDC00 <= code < 0xE000:
        return -1
    if code < 0xD800 or code >= 0xE000:
        return i + 4
    if data[i + 4] != _BACKSLASH or data[i + 5] != _U:
        return -1
    return i + 10 if 0xDC00 <= _hexadecimal(data, i + 6) < 0xE000 else -1


@compiled
def _hexadecimal(data: np.ndarray, i: int) -> Any:
    """The value of four hexadecimal digits, or -1."""
    code = np.int64(0)
    for k in range(i, i + 4):
        b = np.int64(data[k])
        if 48 <= b <= 57:
            code = 16 * code + b - 48
        elif 97 <= b | 32 <= 102:
            code = 16 * code + (b | 32) - 87
        else:
            return -1
    return code


@compiled
def _after_character(data: np.ndarray, i: int) -> int:
    """The end of a character beyond ASCII, or -1 if it is not UTF-8 (Unicode 17, table 3-7)."""
    b, c = data[i], data[i + 1]
    if 0xC2 <= b < 0xE0:
        return i + 2 if c & 0xC0 == 0x80 else -1
    low, high = 0x80, 0xBF
    if b == 0xE0:
        low = 0xA0
    elif b == 0xED:
        high = 0x9F
    elif b == 0xF0:
        low = 0x90
    elif b == 0xF4:
        high = 0x8F
    if b < 0xE0 or b > 0xF4 or c < low or c > high or data[i + 2] & 0xC0 != 0x80:
        return -1
    if b < 0xF0:
        return i + 3
    return i + 4 if data[i + 3] & 0xC0 == 0x80 else -1


@compiled
def _copied(data: np.ndarray, kinds: np.ndarray, start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """UTF-8 of some strings without escapes, and where each starts; what is no string is empty."""
    # No escape is shorter than what it stands for; room for what is written eight bytes at a time.
    out = np.empty((stop - start).sum() + 8, np.uint8)
    at = np.zeros(len(kinds) + 1, np.int32)
    k = 0
    for row in range(len(kinds)):
        i, end = start[row], stop[row]
        while i < end:
            run = min(8, end - i)
            if i + 8 <= len(data):
                x = eight(data, i)
                put_eight(out, k, x)
                if kinds[row] == _ESCAPED:
                    run = min(first(equal(x, _BACKSLASH)), run)
            else:
                out[k] = data[i]
                run = np.int64(kinds[row] != _ESCAPED or data[i] != _BACKSLASH)
            i += run
            k += run
            if run < 8 and i < end and data[i] == _BACKSLASH:
                stands = _STANDS_FOR[data[i + 1]]
                if stands:
                    out[k] = stands
                    k += 1
                    i += 2
                else:
                    k += _put_code(data, i + 2, out, k)
                    i = _after_code(data, i + 2)
        at[row + 1] = k
    return out[:k], at


@compiled
def _put_code(data: np.ndarray, i: int, out: np.ndarray, k: int) -> int:
    """Write the character whose hexadecimal digits begin at ``i``; how many bytes it takes."""
    code = _hexadecimal(data, i)
    if 0xD800 <= code < 0xDC00:
        code = 0x10000 + ((code - 0xD800) << 10) + _hexadecimal(data, i + 6) - 0xDC00
    if code < 0x80:
        out[k] = code
        return 1
    if code < 0x800:
        out[k] = 0xC0 | code >> 6
        out[k + 1] = 0x80 | code & 0x3F
        return 2
    if code < 0x10000:
        out[k] = 0xE0 | code >> 12
        out[k + 1] = 0x80 | code >> 6 & 0x3F
        out[k + 2] = 0x80 | code & 0x3F
        return 3
    out[k] = 0xF0 | code >> 18
    out[k + 1] = 0x80 | code >> 12 & 0x3F
    out[k + 2] = 0x80 | code >> 6 & 0x3F
    out[k + 3] = 0x80 | code & 0x3F
    return 4
