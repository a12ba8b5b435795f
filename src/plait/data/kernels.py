"""Compiled loops over the buffers of Arrow strings: one pass for all counts, one for all words.

Numba compiles them once per machine and caches them on disk. They see UTF-8 bytes; what a character is (a
letter, special, the end of a line, its lower case) stands in `plait.data.characters`. All run without the
interpreter's lock, so that several chunks are worked on at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
from numba import njit

from plait.data import characters

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import polars as pl

_FNV_OFFSET = np.uint64(0xCBF29CE484222325)
_FNV_PRIME = np.uint64(0x100000001B3)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_BASE = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)
_ONE = np.uint64(1)


@dataclass(frozen=True)
class Scan:
    """Counts of each text, int64 ``[texts]``, from one pass.

    Args:
        chars: Characters (code points).
        alnum: Those of which ``str.isalnum`` is true.
        alpha: Those of which ``str.isalpha`` is true.
        special: Special characters as Data-Juicer lists them.
        blank: Those of which ``str.isspace`` is true.
        lines: Lines, as ``str.splitlines`` counts them.
        longest_line: Characters of the longest line.
    """

    chars: np.ndarray
    alnum: np.ndarray
    alpha: np.ndarray
    special: np.ndarray
    blank: np.ndarray
    lines: np.ndarray
    longest_line: np.ndarray


@dataclass(frozen=True)
class Words:
    """Words of each text: what stands between spaces, tabs and newlines, lower case, without special characters
    around it; empty ones left out.

    Args:
        hashes: 64-bit hashes, uint64 ``[words]``; equal for equal words, see `hash_strings`.
        starts: Where each text's words start, int64 ``[texts + 1]``.
        cased: Number of words before they were lowered, int64 ``[texts]``. Differs from that of ``hashes`` in
            the rare case that lowering makes a special character of a word's end (Г, Ⓜ).
        split: Number of words as split, the empty ones and those of special characters alone included,
            int64 ``[texts]``.
    """

    hashes: np.ndarray
    starts: np.ndarray
    cased: np.ndarray
    split: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Words per text, int64 ``[texts]``."""
        return np.diff(self.starts)

    def count_in(self, vocabulary: np.ndarray) -> np.ndarray:
        """How many of each text's words are in a vocabulary of hashes, int64 ``[texts]``."""
        return _count_in(self.hashes, self.starts, np.unique(vocabulary))


def buffers(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """UTF-8 of all texts, uint8 ``[bytes]``, and where each starts, int64 ``[texts + 1]``; no copy where possible."""
    found: Any = texts.rechunk().to_arrow()
    array = found.cast(pa.large_string()) if found.type != pa.large_string() else found
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    starts = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
    data = array.buffers()[2]
    return np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(0, np.uint8), starts


def scan(texts: pl.Series) -> Scan:
    """All counts of characters and lines, from one pass."""
    data, starts = buffers(texts)
    return Scan(*_scan(data, starts, characters.classes()))


def words(texts: pl.Series) -> Words:
    """Hashes of the words of all texts."""
    data, starts = buffers(texts)
    tables = characters.classes(), characters.lower()
    split, cased, odd = _count_words(data, starts, tables[0])
    at = _starts(split)
    hashes, found = _hash_words(data, starts, at, *tables)
    if odd.any():
        _exactly(texts, np.flatnonzero(odd), hashes, found, at)
    return Words(_packed(hashes, at, found), _starts(found), cased, split)


def hash_strings(strings: Sequence[str]) -> np.ndarray:
    """Hashes of strings, uint64 ``[strings]``, the same that `words` gives to words."""
    import polars as pl

    return _hash_strings(*buffers(pl.Series(list(strings), dtype=pl.String)))


def character_codes(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Code points of all texts, uint64 ``[characters]``, and where each text starts, int64 ``[texts + 1]``."""
    data, starts = buffers(texts)
    return _decode(data, starts, _starts(_count_characters(data, starts)))


def shingles(words: Words, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of every run of ``size`` words, uint64 ``[shingles]``, and where each text starts, ``[texts + 1]``."""
    starts = _starts(np.maximum(words.counts - size + 1, 0))
    return _shingles(words.hashes, words.starts, size, starts), starts


def repetition(values: np.ndarray, starts: np.ndarray, size: int, *, top: bool) -> np.ndarray:
    """Share of n-grams that repeat, float64 ``[texts]``.

    Args:
        values: Items of all texts, uint64 ``[items]``.
        starts: Where each text starts, int64 ``[texts + 1]``.
        size: Items per n-gram.
        top: Count only the ⌊√distinct⌋ most frequent of the repeated n-grams (Data-Juicer's rule for
            characters); otherwise all repeated ones (its rule for words).
    """
    return _repetition(values, starts, size, top)


def repetition_bound(values: np.ndarray, starts: np.ndarray, size: int) -> np.ndarray:
    """An upper bound on `repetition` at a third of its cost, float64 ``[texts]``.

    Every n-gram goes to a slot of a small table by its hash; one that is alone in its slot is alone in the text.
    """
    return _repetition_bound(values, starts, size)


def _starts(lengths: np.ndarray) -> np.ndarray:
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


def _exactly(
    texts: pl.Series, rows: np.ndarray, hashes: np.ndarray, found: np.ndarray, at: np.ndarray
) -> None:
    """Words of texts whose lower case depends on the context (Σ) or on more than one character (İ)."""
    special = characters.special()
    for row, text in zip(rows, texts.gather(rows).to_list(), strict=True):
        split = text.replace("\n", " ").replace("\t", " ").split(" ")
        kept = [word for word in (w.lower().strip(special) for w in split) if word]
        hashes[at[row] : at[row] + len(kept)] = hash_strings(kept)
        found[row] = len(kept)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return cast("Callable[..., Any]", njit(function, cache=True, nogil=True))


@_compiled
def _point(data: np.ndarray, i: int) -> int:
    """Code point that starts at byte ``i``; its length follows from the first byte."""
    b = np.int64(data[i])
    if b < 0x80:
        return b
    if b < 0xE0:
        return ((b & 0x1F) << 6) | (np.int64(data[i + 1]) & 0x3F)
    if b < 0xF0:
        return ((b & 0x0F) << 12) | ((np.int64(data[i + 1]) & 0x3F) << 6) | (np.int64(data[i + 2]) & 0x3F)
    return (
        ((b & 0x07) << 18)
        | ((np.int64(data[i + 1]) & 0x3F) << 12)
        | ((np.int64(data[i + 2]) & 0x3F) << 6)
        | (np.int64(data[i + 3]) & 0x3F)
    )


@_compiled
def _width(b: int) -> int:
    """Bytes of the character whose first byte is ``b``."""
    return 1 if b < 0x80 else (2 if b < 0xE0 else (3 if b < 0xF0 else 4))


@_compiled
def _scan(data: np.ndarray, starts: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, ...]:
    n = len(starts) - 1
    chars, alnum, alpha = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
    special, blank = np.zeros(n, np.int64), np.zeros(n, np.int64)
    lines, longest = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for d in range(n):
        i, end = starts[d], starts[d + 1]
        c_chars = c_alnum = c_alpha = c_special = c_blank = c_lines = 0
        line = most = 0
        after_return = False
        while i < end:
            b = data[i]
            if b < 0x80:
                kind = classes[b]
                i += 1
            else:
                kind = classes[_point(data, i)]
                i += _width(b)
            c_chars += 1
            c_alnum += kind & 1
            c_alpha += (kind >> 1) & 1
            c_special += (kind >> 2) & 1
            c_blank += (kind >> 3) & 1
            if kind & 16:
                if not (b == 10 and after_return):
                    c_lines += 1
                    most = max(most, line)
                after_return = b == 13
                line = 0
            else:
                line += 1
                after_return = False
        if line > 0:
            c_lines += 1
            most = max(most, line)
        chars[d], alnum[d], alpha[d], special[d], blank[d] = c_chars, c_alnum, c_alpha, c_special, c_blank
        lines[d], longest[d] = c_lines, most
    return chars, alnum, alpha, special, blank, lines, longest


@_compiled
def _count_words(data: np.ndarray, starts: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, ...]:
    """Words as split, those with a character that is not special, and which texts need the exact way."""
    n = len(starts) - 1
    split, cased, odd = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.bool_)
    for d in range(n):
        i, end = starts[d], starts[d + 1]
        c_split, c_cased = 1, 0
        plain = False
        while i < end:
            b = data[i]
            if b == 32 or b == 10 or b == 9:
                c_split += 1
                c_cased += plain
                plain = False
                i += 1
            elif b < 0x80:
                plain |= (classes[b] & 4) == 0
                i += 1
            else:
                kind = classes[_point(data, i)]
                plain |= (kind & 4) == 0
                if kind & 32:
                    odd[d] = True
                i += _width(b)
        split[d], cased[d] = c_split, c_cased + plain
    return split, cased, odd


@_compiled
def _hash_words(
    data: np.ndarray, starts: np.ndarray, at: np.ndarray, classes: np.ndarray, lower: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """FNV-1a over the UTF-8 of each word in lower case, from its first to its last character not special."""
    n = len(starts) - 1
    hashes, found = np.empty(at[-1], np.uint64), np.zeros(n, np.int64)
    for d in range(n):
        i, end, k = starts[d], starts[d + 1], at[d]
        while i < end:
            # h runs over all characters since the first plain one; kept is its value after the last plain one.
            h = kept = _FNV_OFFSET
            open_word = False
            while i < end:
                b = data[i]
                if b == 32 or b == 10 or b == 9:
                    break
                if b < 0x80:
                    low = np.int64(b) + 32 if 65 <= b <= 90 else np.int64(b)
                    i += 1
                else:
                    low = np.int64(lower[_point(data, i)])
                    i += _width(b)
                plain = (classes[low] & 4) == 0
                if plain or open_word:
                    open_word = True
                    if low < 0x80:
                        h = (h ^ np.uint64(low)) * _FNV_PRIME
                    elif low < 0x800:
                        h = (h ^ np.uint64(0xC0 | (low >> 6))) * _FNV_PRIME
                        h = (h ^ np.uint64(0x80 | (low & 0x3F))) * _FNV_PRIME
                    elif low < 0x10000:
                        h = (h ^ np.uint64(0xE0 | (low >> 12))) * _FNV_PRIME
                        h = (h ^ np.uint64(0x80 | ((low >> 6) & 0x3F))) * _FNV_PRIME
                        h = (h ^ np.uint64(0x80 | (low & 0x3F))) * _FNV_PRIME
                    else:
                        h = (h ^ np.uint64(0xF0 | (low >> 18))) * _FNV_PRIME
                        h = (h ^ np.uint64(0x80 | ((low >> 12) & 0x3F))) * _FNV_PRIME
                        h = (h ^ np.uint64(0x80 | ((low >> 6) & 0x3F))) * _FNV_PRIME
                        h = (h ^ np.uint64(0x80 | (low & 0x3F))) * _FNV_PRIME
                    if plain:
                        kept = h
            if open_word:
                h = (kept ^ (kept >> _SHIFT)) * _MIX
                hashes[k] = h ^ (h >> _SHIFT)
                k += 1
            i += 1
        found[d] = k - at[d]
    return hashes, found


@_compiled
def _packed(hashes: np.ndarray, at: np.ndarray, found: np.ndarray) -> np.ndarray:
    out = np.empty(found.sum(), np.uint64)
    k = 0
    for d in range(len(found)):
        out[k : k + found[d]] = hashes[at[d] : at[d] + found[d]]
        k += found[d]
    return out


@_compiled
def _hash_strings(data: np.ndarray, starts: np.ndarray) -> np.ndarray:
    out = np.empty(len(starts) - 1, np.uint64)
    for i in range(len(out)):
        h = _FNV_OFFSET
        for j in range(starts[i], starts[i + 1]):
            h = (h ^ np.uint64(data[j])) * _FNV_PRIME
        h = (h ^ (h >> _SHIFT)) * _MIX
        out[i] = h ^ (h >> _SHIFT)
    return out


@_compiled
def _count_in(hashes: np.ndarray, starts: np.ndarray, vocabulary: np.ndarray) -> np.ndarray:
    out = np.zeros(len(starts) - 1, np.int64)
    size = 16
    while size < 4 * len(vocabulary):
        size *= 2
    table, used = np.zeros(size, np.uint64), np.zeros(size, np.bool_)
    mask = np.uint64(size - 1)
    for word in vocabulary:
        slot = word & mask
        while used[slot]:
            slot = (slot + _ONE) & mask
        used[slot] = True
        table[slot] = word
    for d in range(len(out)):
        count = 0
        for k in range(starts[d], starts[d + 1]):
            slot = hashes[k] & mask
            while used[slot] and table[slot] != hashes[k]:
                slot = (slot + _ONE) & mask
            count += used[slot]
        out[d] = count
    return out


@_compiled
def _count_characters(data: np.ndarray, starts: np.ndarray) -> np.ndarray:
    out = np.zeros(len(starts) - 1, np.int64)
    for d in range(len(out)):
        count = 0
        for i in range(starts[d], starts[d + 1]):
            count += (data[i] & 0xC0) != 0x80
        out[d] = count
    return out


@_compiled
def _decode(data: np.ndarray, starts: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    out = np.empty(at[-1], np.uint64)
    k = 0
    i, end = starts[0], starts[-1]
    while i < end:
        out[k] = _point(data, i)
        i += _width(data[i])
        k += 1
    return out, at


@_compiled
def _shingles(values: np.ndarray, starts: np.ndarray, size: int, out_starts: np.ndarray) -> np.ndarray:
    out = np.empty(out_starts[-1], np.uint64)
    for d in range(len(starts) - 1):
        at = out_starts[d]
        for i in range(out_starts[d + 1] - at):
            h = np.uint64(0)
            for j in range(size):
                h = h * _BASE + values[starts[d] + i + j]
            h = (h ^ (h >> _SHIFT)) * _MIX
            out[at + i] = h ^ (h >> _SHIFT)
    return out


@_compiled
def _repetition_bound(values: np.ndarray, starts: np.ndarray, size: int) -> np.ndarray:
    out = np.zeros(len(starts) - 1, np.float64)
    power = np.uint64(1)
    for _ in range(size):
        power *= _BASE
    seen = np.zeros(1 << 14, np.uint8)
    for d in range(len(out)):
        start = starts[d]
        length = starts[d + 1] - start
        total = length - size + 1
        if total <= 0:
            continue
        slots = 1 << 14
        while slots < 8 * total:
            slots *= 2
        if slots > len(seen):
            seen = np.zeros(slots, np.uint8)
        seen[:slots] = 0
        mask = np.uint64(slots - 1)
        h = np.uint64(0)
        shared = 0
        for i in range(length):
            h = h * _BASE + values[start + i] + _ONE
            if i >= size:
                h -= power * (values[start + i - size] + _ONE)
            if i < size - 1:
                continue
            slot = ((h ^ (h >> _SHIFT)) * _MIX >> _SHIFT) & mask
            count = seen[slot]
            if count == 0:
                seen[slot] = 1
            else:
                shared += 1 + (count == 1)
                seen[slot] = 2
        out[d] = shared / total
    return out


@_compiled
def _repetition(values: np.ndarray, starts: np.ndarray, size: int, top: bool) -> np.ndarray:
    out = np.zeros(len(starts) - 1, np.float64)
    power = np.uint64(1)
    for _ in range(size):
        power *= _BASE
    key = np.empty(1024, np.uint64)
    count = np.empty(1024, np.int64)
    owner = np.full(1024, -1, np.int64)
    for d in range(len(out)):
        start = starts[d]
        length = starts[d + 1] - start
        total = length - size + 1
        if total <= 0:
            continue
        slots = 1024
        while slots < 2 * total:
            slots *= 2
        if slots > len(key):
            key = np.empty(slots, np.uint64)
            count = np.empty(slots, np.int64)
            owner = np.full(slots, -1, np.int64)
        mask = slots - 1
        h = np.uint64(0)
        distinct = 0
        repeated = 0
        repeats = 0
        for i in range(length):
            h = h * _BASE + values[start + i] + _ONE
            if i >= size:
                h -= power * (values[start + i - size] + _ONE)
            if i < size - 1:
                continue
            mixed = (h ^ (h >> _SHIFT)) * _MIX
            slot = np.int64(mixed >> _SHIFT) & mask
            while owner[slot] == d and key[slot] != h:
                slot = (slot + 1) & mask
            if owner[slot] != d:
                owner[slot] = d
                key[slot] = h
                count[slot] = 1
                distinct += 1
            else:
                count[slot] += 1
                if count[slot] == 2:
                    repeated += 1
                    repeats += 2
                else:
                    repeats += 1
        most = min(int(np.sqrt(distinct)), repeated)
        if not top or most == repeated:
            out[d] = repeats / total
        else:
            counts = np.empty(repeated, np.int64)
            n = 0
            for slot in range(slots):
                if owner[slot] == d and count[slot] > 1:
                    counts[n] = count[slot]
                    n += 1
            counts.sort()
            out[d] = counts[repeated - most :].sum() / total
    return out
