"""Compiled loops of `plait.data.ops.clean.unicode`: which lines ftfy may change, and the simple changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from plait.data.ops.clean.mojibake import ASK, SIMPLE
from plait.data.utf8 import compiled, point, width

if TYPE_CHECKING:
    from plait.data.ops.clean.mojibake import Tables

_ONE, _NONE = np.uint64(1), np.uint64(0)
_NEWLINE, _RETURN, _AMPERSAND, _LESS = 10, 13, 38, 60


def judge_lines(
    data: np.ndarray, starts: np.ndarray, tables: Tables, longest: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The lines that may change.

    Args:
        data: UTF-8 of all texts, uint8 ``[bytes]``.
        starts: Where each text starts, int64 ``[texts + 1]``.
        tables: What characters mean.
        longest: Texts with a line of more bytes that may change are told apart.

    Returns:
        Spans int64 ``[lines, 2]``, what each needs uint8 ``[lines]``, whether entities are resolved in it bool
        ``[lines]``; and which texts have too long a line, bool ``[texts]``, of which there are no spans.
    """
    t = tables
    return _judge_lines(data, starts, _signs(t), t.kinds, t.needs, t.masks, t.start, t.end, longest)


def judge_strings(data: np.ndarray, starts: np.ndarray, tables: Tables, unescape: np.ndarray) -> np.ndarray:
    """What each string needs as one line, whatever newlines it holds, uint8 ``[strings]``."""
    t = tables
    return _judge_strings(data, starts, unescape, _signs(t), t.kinds, t.needs, t.masks, t.start, t.end)


def replace_characters(
    data: np.ndarray, spans: np.ndarray, change: np.ndarray, tables: Tables
) -> tuple[np.ndarray, np.ndarray]:
    """Spans with their simple characters replaced, one after the other: UTF-8, and where each starts.

    Args:
        data: UTF-8.
        spans: Start and end of each, int64 ``[spans, 2]``.
        change: Not 0 where there is something to replace; others are copied.
        tables: What to put.
    """
    t = tables
    return _replace_characters(data, spans, change, t.kinds, t.needs, t.replacement, t.strings, t.string_starts)


def _signs(tables: Tables) -> np.ndarray:
    """Bytes that a loop must look at more closely, uint8 ``[256]``; plain ASCII is 0."""
    signs = np.ones(256, np.uint8)
    signs[:0x80] = tables.needs[tables.kinds[:0x80]] != 0
    signs[[_NEWLINE, _AMPERSAND, _LESS]] = 1
    return signs


@compiled
def _is_entity(data: np.ndarray, i: int, end: int) -> bool:
    """Whether ``&#?[0-9A-Za-z]{1,24};`` matches at the ampersand at ``i``."""
    i += 1
    if i < end and data[i] == 35:
        i += 1
    first = i
    while i < end and i - first < 24:
        b = data[i]
        if not (48 <= b <= 57 or 65 <= b <= 90 or 97 <= b <= 122):
            break
        i += 1
    return i > first and i < end and data[i] == 59


@compiled
def _judge(
    data: np.ndarray,
    i: int,
    end: int,
    lines: bool,
    unescape: bool,
    signs: np.ndarray,
    kinds: np.ndarray,
    needs: np.ndarray,
    masks: np.ndarray,
    first: int,
    last: int,
) -> tuple[int, int, bool]:
    """What the line that starts at ``i`` needs, where it ends, and whether it holds a less-than sign."""
    state = _NONE
    need = 0
    entity = less = False
    while i < end:
        b = data[i]
        if signs[b] == 0:
            if state != _NONE:
                state = ((state << _ONE) | first) & masks[kinds[b]]
                if state & last:
                    need |= ASK
            i += 1
            continue
        if b < 0x80:
            kind = kinds[b]
            if b == _AMPERSAND:
                entity = entity or _is_entity(data, i, end)
            elif b == _LESS:
                less = True
        else:
            kind = kinds[point(data, i)]
        need |= needs[kind]
        state = ((state << _ONE) | first) & masks[kind]
        if state & last:
            need |= ASK
        i += width(b)
        if b == _NEWLINE and lines:
            break
    if entity and unescape and not (less and lines):
        need |= ASK
    return need, i, less


@compiled
def _judge_lines(
    data: np.ndarray,
    starts: np.ndarray,
    signs: np.ndarray,
    kinds: np.ndarray,
    needs: np.ndarray,
    masks: np.ndarray,
    first: int,
    last: int,
    longest: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    room = 1024
    spans, found, entities = np.empty((room, 2), np.int64), np.empty(room, np.uint8), np.empty(room, np.bool_)
    long = np.zeros(len(starts) - 1, np.bool_)
    n = 0
    for d in range(len(starts) - 1):
        i, end = starts[d], starts[d + 1]
        unescape = True
        before = n
        while i < end:
            need, stop, less = _judge(data, i, end, True, unescape, signs, kinds, needs, masks, first, last)
            unescape = unescape and not less
            if need:
                if n == room:
                    room *= 2
                    spans, found, entities = _grown(spans, found, entities, room)
                spans[n, 0], spans[n, 1] = i, stop
                found[n] = need
                entities[n] = unescape
                n += 1
                long[d] |= stop - i > longest
            i = stop
        if long[d]:
            n = before
    return spans[:n], found[:n], entities[:n], long


@compiled
def _grown(
    spans: np.ndarray, found: np.ndarray, entities: np.ndarray, room: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    more = np.empty((room, 2), np.int64), np.empty(room, np.uint8), np.empty(room, np.bool_)
    more[0][: len(spans)] = spans
    more[1][: len(spans)] = found
    more[2][: len(spans)] = entities
    return more


@compiled
def _judge_strings(
    data: np.ndarray,
    starts: np.ndarray,
    unescape: np.ndarray,
    signs: np.ndarray,
    kinds: np.ndarray,
    needs: np.ndarray,
    masks: np.ndarray,
    first: int,
    last: int,
) -> np.ndarray:
    out = np.empty(len(starts) - 1, np.uint8)
    for s in range(len(out)):
        out[s], _, _ = _judge(
            data, starts[s], starts[s + 1], False, unescape[s], signs, kinds, needs, masks, first, last
        )
    return out


@compiled
def _replace_characters(
    data: np.ndarray,
    spans: np.ndarray,
    change: np.ndarray,
    kinds: np.ndarray,
    needs: np.ndarray,
    replacement: np.ndarray,
    strings: np.ndarray,
    string_starts: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    size = np.int64(0)
    for s in range(len(spans)):
        size += spans[s, 1] - spans[s, 0]
    # No replacement is longer than four times what it stands for; pages never written to cost nothing.
    out = np.empty(4 * size, np.uint8)
    out_starts = np.zeros(len(spans) + 1, np.int64)
    k = 0
    for s in range(len(spans)):
        i, end = spans[s, 0], spans[s, 1]
        if change[s] == 0:
            out[k : k + end - i] = data[i:end]
            k += end - i
            i = end
        while i < end:
            b = data[i]
            if b < 0x80:
                if needs[kinds[b]] & SIMPLE == 0:
                    out[k] = b
                    k += 1
                elif b == _RETURN and not (i + 1 < end and data[i + 1] == _NEWLINE):
                    out[k] = _NEWLINE  # with a newline after it, that one stands for both
                    k += 1
                i += 1
                continue
            code = point(data, i)
            w = width(b)
            if needs[kinds[code]] & SIMPLE:
                number = replacement[code]
                for j in range(string_starts[number], string_starts[number + 1]):
                    out[k] = strings[j]
                    k += 1
            else:
                for j in range(w):
                    out[k + j] = data[i + j]
                k += w
            i += w
        out_starts[s + 1] = k
    return out[:k].copy(), out_starts
