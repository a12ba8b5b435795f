"""Mapper of links."""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

import numpy as np
import polars as pl

from plait.core.cache import kept_tables
from plait.core.hashing import hash_code
from plait.data.bits import ONE, among, lowest
from plait.data.loops import compiled, inlined
from plait.data.op import Cost, Need
from plait.data.ops.clean.removal import PatternMapper
from plait.data.ops.clean.splice import without
from plait.data.utf8 import buffers, point, width


class CleanLinksMapper(PatternMapper):
    """Removes links: ``scheme:…``, ``www.…`` and ``host.tld/…``.

    Example:
        - clean_links_mapper: {repl: ""}

        >>> CleanLinksMapper().rewrite_texts(["see https://example.org/a_(b) and www.example.org."])
        ['see  and .']

    Source: Data-Juicer 1.6.1, ``clean_links_mapper``, whose pattern is Gruber's liberal one; here it is a loop that
    finds the same in linear time. A ``pattern`` of your own runs in linear time too: no look-around.
    """

    cost: ClassVar[Cost] = "bytes"
    needs: ClassVar[frozenset[Need]] = frozenset({"bytes"})

    def replace(self, texts: pl.Series, put: str) -> pl.Series:
        """Looks at runs without blanks that hold a colon, a slash or ``www`` where a link could have it."""
        data, starts = buffers(texts)
        spans = _links(data, _runs(data, starts, _breaks(), _kinds()), _kinds())
        return without(data, starts, spans, put) if len(spans) else texts


_SPACE, _LETTER, _WORD, _DIGIT, _HOST, _PUNCTUATION, _BREAK = 1, 2, 4, 8, 16, 32, 64
_SLASH, _COLON, _W = b"/:w"
_LAST = np.uint64(1 << 63)
_END_PUNCTUATION = "`!()[]{};:'\".,<>?«»“”‘’"


@cache
def _kinds() -> np.ndarray:
    """The table of `_built_kinds`, from the cache."""
    made_of = {"polars": pl.__version__, "code": hash_code(__name__)}
    return kept_tables("links", made_of, lambda: {"kinds": _built_kinds()})["kinds"]


def _built_kinds() -> np.ndarray:
    r"""What each code point is in the pattern, uint8 ``[1114112]``.

    ``\\s``, ``[a-z]`` in any case, ``\\w``, ``\\d``, ``[a-z0-9.\\-]`` in any case, ``[^\\s…]`` at the end; for ASCII
    also whether it ends a run.
    """
    kinds = np.zeros(0x110000, np.uint8)
    # The Rust engine's Unicode classes are those of the package `regex`, which Data-Juicer uses, except for
    # letters of its newest Unicode version.
    points = np.delete(np.arange(0x110000), np.s_[0xD800:0xE000])
    characters = pl.Series(list(map(chr, points.tolist())))
    for bit, pattern in ((_SPACE, r"\s"), (_WORD, r"\w"), (_DIGIT, r"\d")):
        kinds[points[characters.str.contains(pattern).to_numpy()]] |= bit
    # K, ſ and İ are letters from a to z when case is ignored.
    letters = [*range(0x41, 0x5B), *range(0x61, 0x7B), 0x130, 0x17F, 0x212A]
    kinds[letters] |= _LETTER
    kinds[[*letters, *map(ord, "0123456789.-")]] |= _HOST
    kinds[[*map(ord, _END_PUNCTUATION)]] |= _PUNCTUATION
    kinds[[*map(ord, "\t\n\x0b\x0c\r <>")]] |= _BREAK
    return kinds


@cache
def _breaks() -> np.ndarray:
    """Which bytes end a run, uint8 ``[256]``; none beyond ASCII."""
    breaks = np.zeros(256, np.uint8)
    breaks[:0x80] = _kinds()[:0x80] & _BREAK
    return breaks


@inlined
def _marks(data: np.ndarray, i: int) -> Any:
    """Which of the 64 bytes from ``i`` on are a slash, a colon with no blank after it, or a w with another after it.

    What the next 64 decide is marked.
    """
    w = among(data, i, _W, _W) | among(data, i, _W - 32, _W - 32)
    colon = among(data, i, _COLON, _COLON) & ~(among(data, i, 0, 32) >> ONE)
    return among(data, i, _SLASH, _SLASH) | colon | (w & (w >> ONE | _LAST))


@compiled
def _runs(data: np.ndarray, starts: np.ndarray, breaks: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Runs without ASCII blanks and angle brackets that may hold a link, int64 ``[runs, 2]``, ascending."""
    # Runs have breaks between them; pages never written to cost nothing.
    found = np.empty(((starts[-1] - starts[0]) // 2 + len(starts), 2), np.int64)
    n, d, end = 0, 0, starts[0]
    for i in range(starts[0], starts[-1], 64):
        marks = _marks(data, i)
        while marks:
            at = i + lowest(marks)
            marks &= marks - ONE
            if at < end or at >= starts[-1]:
                continue
            while starts[d + 1] <= at:
                d += 1
            if not _may_be(data, starts[d], at, starts[d + 1], kinds):
                continue
            begin, end = at, at + 1
            while begin > starts[d] and not breaks[data[begin - 1]]:
                begin -= 1
            while end < starts[d + 1] and not breaks[data[end]]:
                end += 1
            found[n, 0], found[n, 1] = begin, end
            n += 1
    return found[:n].copy()


@compiled
def _links(data: np.ndarray, runs: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Spans of all links in some runs; each takes three bytes at least."""
    spans = np.empty(((runs[:, 1] - runs[:, 0]).sum() // 3, 2), np.int64)
    n = 0
    for r in range(len(runs)):
        n = _links_of_run(data, runs[r, 0], runs[r, 1], kinds, spans, n)
    return spans[:n].copy()


@compiled
def _may_be(data: np.ndarray, start: int, i: int, end: int, kinds: np.ndarray) -> bool:
    """Whether the colon, slash or w at ``i`` can be one that makes a link; true more often than not too rarely."""
    b = data[i]
    if i + 1 >= end:
        return b == 47
    after = data[i + 1]
    if b == 58:
        if i == start or not (after >= 0x80 or after == 47 or after == 37 or kinds[after] & (_LETTER | _DIGIT)):
            return False
        before = data[i - 1]
        return before >= 0x80 or before == 45 or kinds[before] & _WORD != 0
    if b == 47:
        j = i - 1
        while j >= start and i - j <= 12 and (data[j] >= 0x80 or kinds[data[j]] & _LETTER):
            j -= 1
        return j >= start and i - j > 2 and data[j] == 46
    return after | 32 == 119 and i + 2 < end and data[i + 2] | 32 == 119


@compiled
def _links_of_run(data: np.ndarray, start: int, end: int, kinds: np.ndarray, spans: np.ndarray, n: int) -> int:
    """Writes the leftmost matches in a run to ``spans``, from the ``n``-th on; the number of all afterwards.

    What follows a colon or a host is looked at once, however many words could start a link that ends there; so
    the time is linear.
    """
    i = start
    word_before = False
    scheme_end = host_end = np.int64(-1)
    scheme_link = host_link = host_dot = np.int64(-1)
    while i < end:
        kind = kinds[point(data, i)]
        word = kind & _WORD != 0
        if word == word_before:
            i += width(data[i])
            continue
        link = np.int64(-1)
        if kind & _LETTER:
            # [a-z][\w-]+:(?:/{1,3}|[a-z0-9%])
            first = i + width(data[i])
            if first > scheme_end:
                scheme_end = first
                while scheme_end < end and (data[scheme_end] == 45 or kinds[point(data, scheme_end)] & _WORD):
                    scheme_end += width(data[scheme_end])
                # One letter before the colon is no scheme.
                scheme_link = _after_scheme(data, scheme_end, end, kinds) if scheme_end > first else np.int64(-1)
            if scheme_end > first:
                link = scheme_link
            if link < 0 and data[i] | 32 == 119:
                link = _after_www(data, i, end, kinds)
        if link < 0 and kind & _HOST:
            # [a-z0-9.\-]+[.][a-z]{2,4}/
            if i >= host_end:
                host_end = i
                while host_end < end and kinds[point(data, host_end)] & _HOST:
                    host_end += width(data[host_end])
                host_dot = _last_dot(data, i, host_end, end, kinds)
                host_link = _body(data, host_end + 1, end, kinds) if host_dot >= 0 else np.int64(-1)
            if host_dot > i:
                link = host_link
        if link >= 0:
            spans[n, 0], spans[n, 1] = i, link
            n += 1
            i = link
            last = i - 1
            while (data[last] & 0xC0) == 0x80:
                last -= 1
            word_before = kinds[point(data, last)] & _WORD != 0
        else:
            i += width(data[i])
            word_before = word
    return n


@compiled
def _after_scheme(data: np.ndarray, i: int, end: int, kinds: np.ndarray) -> int:
    """End of the link whose scheme ends at ``i``, or -1."""
    if i >= end or data[i] != 58 or i + 1 >= end:
        return -1
    i += 1
    if data[i] != 47:
        kind = kinds[point(data, i)]
        if not (kind & _LETTER or data[i] == 37 or (data[i] < 0x80 and kind & _DIGIT)):
            return -1
        return _body(data, i + width(data[i]), end, kinds)
    slashes = 1
    while slashes < 3 and i + slashes < end and data[i + slashes] == 47:
        slashes += 1
    while slashes > 0:
        link = _body(data, i + slashes, end, kinds)
        if link >= 0:
            return link
        slashes -= 1
    return -1


@compiled
def _after_www(data: np.ndarray, i: int, end: int, kinds: np.ndarray) -> int:
    """End of the link that starts with ``www`` at ``i``, or -1."""
    if i + 3 >= end or data[i + 1] | 32 != 119 or data[i + 2] | 32 != 119:
        return -1
    i += 3
    digits = 0
    while digits < 3 and i < end and kinds[point(data, i)] & _DIGIT:
        i += width(data[i])
        digits += 1
    return _body(data, i + 1, end, kinds) if i < end and data[i] == 46 else -1


@compiled
def _last_dot(data: np.ndarray, start: int, host_end: int, end: int, kinds: np.ndarray) -> int:
    """The dot before the last two to four letters of a host that a slash follows, or -1."""
    if host_end >= end or data[host_end] != 47:
        return -1
    letters = 0
    i = host_end
    while i > start:
        i -= 1
        while (data[i] & 0xC0) == 0x80:
            i -= 1
        if data[i] == 46:
            return i if 2 <= letters <= 4 else -1
        if not kinds[point(data, i)] & _LETTER:
            return -1
        letters += 1
        if letters > 4:
            return -1
    return -1


@compiled
def _body(data: np.ndarray, i: int, end: int, kinds: np.ndarray) -> int:
    """End of what follows the head of a link, or -1.

    It is as many characters and balanced parentheses as there are, at least two, cut after the last that is not
    punctuation.
    """
    link = np.int64(-1)
    parts = 0
    while i < end:
        b = data[i]
        if b == 40:
            i = _parenthesis(data, i, end, kinds)
            if i < 0:
                break
            parts += 1
            good = True
        else:
            kind = kinds[point(data, i)]
            if b == 41 or b == 60 or b == 62 or kind & _SPACE:
                break
            i += width(b)
            parts += 1
            good = kind & _PUNCTUATION == 0
        if good and parts > 1:
            link = i
    return int(link)


@compiled
def _parenthesis(data: np.ndarray, i: int, end: int, kinds: np.ndarray) -> int:
    """End of balanced parentheses at ``i``, two deep at most and the inner ones not empty, or -1."""
    inner = np.int64(-1)
    i += 1
    while i < end:
        b = data[i]
        if b == 40:
            if inner >= 0:
                return -1
            inner = i
        elif b == 41:
            if inner < 0:
                return i + 1
            if inner == i - 1:
                return -1
            inner = -1
        elif b == 60 or b == 62 or kinds[point(data, i)] & _SPACE:
            return -1
        i += width(b)
    return -1
