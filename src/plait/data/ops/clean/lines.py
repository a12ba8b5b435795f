"""Compiled loops of `plait.data.ops.clean.unicode`: which lines ftfy may change, and the simple changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from plait.data.loops import compiled
from plait.data.ops.clean.mojibake import ASK, ENTITY, SIMPLE
from plait.data.swar import HIGH, below, eight, equal
from plait.data.utf8 import point, starts_of, width

if TYPE_CHECKING:
    from plait.data.ops.clean.mojibake import Tables

_ONE, _NONE = np.uint64(1), np.uint64(0)
_NEWLINE, _RETURN, _SPACE, _AMPERSAND, _LESS, _DELETE = 10, 13, 32, 38, 60, 127


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
    resolved = np.ones(len(starts) - 1, np.bool_)
    spans, owner, needs, unescape = _judge(
        data, starts, resolved, True, _signs(t), t.kinds, t.needs, t.masks, t.start, t.end
    )
    long = np.zeros(len(starts) - 1, np.bool_)
    long[owner[spans[:, 1] - spans[:, 0] > longest]] = True
    kept = ~long[owner]
    return spans[kept], needs[kept], unescape[kept], long


def judge_strings(data: np.ndarray, starts: np.ndarray, tables: Tables, unescape: np.ndarray) -> np.ndarray:
    """What each string needs as one line, whatever newlines it holds, uint8 ``[strings]``.

    Entities count where ``unescape`` is true, bool ``[strings]``.
    """
    t = tables
    _, owner, found, _ = _judge(data, starts, unescape, False, _signs(t), t.kinds, t.needs, t.masks, t.start, t.end)
    needs = np.zeros(len(starts) - 1, np.uint8)
    needs[owner] = found
    return needs


def replace_characters(
    data: np.ndarray, starts: np.ndarray, change: np.ndarray, tables: Tables
) -> tuple[np.ndarray, np.ndarray]:
    """Strings with their simple characters replaced, as UTF-8 and starts again.

    Args:
        data: UTF-8 of all strings.
        starts: Where each starts, int64 ``[strings + 1]``.
        change: Whether there is something to replace, bool ``[strings]``; others are copied.
        tables: What to put.
    """
    t = tables
    return _replace_characters(data, starts, change, t.kinds, t.needs, t.replacement, t.strings, t.string_starts)


def cut(data: np.ndarray, spans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The strings in some spans, one after the other: UTF-8, and where each starts."""
    return _cut(data, spans, starts_of(spans[:, 1] - spans[:, 0]))


def _signs(tables: Tables) -> np.ndarray:
    """Bytes that a loop must look at more closely, uint8 ``[256]``; plain ASCII is 0."""
    signs = np.ones(256, np.uint8)
    signs[:0x80] = tables.needs[tables.kinds[:0x80]] != 0
    told = {*range(_SPACE), _AMPERSAND, _DELETE}
    assert told.issuperset(np.flatnonzero(signs[:0x80]).tolist()), "_is_plain does not see some of these"
    signs[[_NEWLINE, _AMPERSAND, _LESS]] = 1
    return signs


@compiled
def _is_entity(data: np.ndarray, i: int, end: int) -> bool:
    """Whether ``#?[0-9A-Za-z]{1,24};`` matches at ``i``, after an ampersand."""
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
def _is_plain(data: np.ndarray, i: int, end: int) -> bool:
    """Whether a text is ASCII without ampersands and control characters but newlines."""
    odd = np.uint64(0)
    while i + 8 <= end:
        x = eight(data, i)
        odd |= (below(x, _SPACE) & ~equal(x, _NEWLINE)) | equal(x, _AMPERSAND) | equal(x, _DELETE) | (x & HIGH)
        i += 8
    while i < end and odd == 0:
        b = data[i]
        odd |= np.uint64((b < _SPACE and b != _NEWLINE) or b == _AMPERSAND or b >= _DELETE)
        i += 1
    return odd == 0


@compiled
def _judge(
    data: np.ndarray,
    starts: np.ndarray,
    unescape: np.ndarray,
    split: bool,
    signs: np.ndarray,
    kinds: np.ndarray,
    needs: np.ndarray,
    masks: np.ndarray,
    first: int,
    last: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Lines that need something: their spans, texts, needs, and whether entities are resolved in them.

    With ``split``, a text ends a line at each newline and resolves no entities from its first less-than sign on.
    One loop for all, because a call for each line costs more than most lines do.
    """
    most = len(starts)
    if split:
        for i in range(starts[0], starts[-1]):
            most += data[i] == _NEWLINE
    spans, owner = np.empty((most, 2), np.int64), np.empty(most, np.int64)
    found, entities = np.empty(most, np.uint8), np.empty(most, np.bool_)
    n = 0
    for d in range(len(starts) - 1):
        i, end = starts[d], starts[d + 1]
        resolved = unescape[d]
        if split and _is_plain(data, i, end):
            continue
        while i < end:
            line = i
            state = _NONE
            need = 0
            entity = False
            while i < end:
                if state == _NONE:
                    # Plain ASCII starts no alternative of the automaton.
                    while i < end and signs[data[i]] == 0:
                        i += 1
                    if i == end:
                        break
                b = data[i]
                if b < 0x80:
                    kind = kinds[b]
                    i += 1
                    if b == _AMPERSAND:
                        entity = entity or _is_entity(data, i, end)
                    elif b == _LESS and split:
                        resolved = False
                else:
                    kind = kinds[point(data, i)]
                    i += width(b)
                need |= needs[kind]
                state = ((state << _ONE) | first) & masks[kind]
                if state & last:
                    need |= ASK
                if b == _NEWLINE and split:
                    break
            if entity and resolved:
                need |= ENTITY
            if need:
                spans[n, 0], spans[n, 1] = line, i
                owner[n] = d
                found[n] = need
                entities[n] = resolved
                n += 1
    return spans[:n].copy(), owner[:n].copy(), found[:n].copy(), entities[:n].copy()


@compiled
def _replace_characters(
    data: np.ndarray,
    starts: np.ndarray,
    change: np.ndarray,
    kinds: np.ndarray,
    needs: np.ndarray,
    replacement: np.ndarray,
    strings: np.ndarray,
    string_starts: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    # No replacement is longer than four times what it stands for; pages never written to cost nothing.
    out = np.empty(4 * (starts[-1] - starts[0]), np.uint8)
    out_starts = np.zeros(len(starts), np.int64)
    k = 0
    for s in range(len(starts) - 1):
        i, end = starts[s], starts[s + 1]
        if not change[s]:
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


@compiled
def _cut(data: np.ndarray, spans: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    out = np.empty(starts[-1], np.uint8)
    for s in range(len(spans)):
        out[starts[s] : starts[s + 1]] = data[spans[s, 0] : spans[s, 1]]
    return out, starts
