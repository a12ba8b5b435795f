"""Compiled loops over the buffers of Arrow strings: one pass for all counts, one for all words.

Numba compiles them once per machine and caches them on disk. They see UTF-8 bytes; what a character is (a
letter, special, the end of a line, its lower case) stands in `plait.data.characters`. All run without the
interpreter's lock, so that several chunks are worked on at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from plait.data import characters, word_hashes
from plait.data.bits import NONE, ONE, among, lowest, ones, past, runs_of
from plait.data.loops import compiled
from plait.data.ngrams import character_repetition, character_repetition_bound, repetition, repetition_bound
from plait.data.utf8 import buffers, point, starts_of, width
from plait.data.word_hashes import CONTEXT, SEPARATOR, Folding

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

__all__ = [
    "Scan",
    "Words",
    "buffers",
    "character_codes",
    "character_repetition",
    "character_repetition_bound",
    "hash_strings",
    "repetition",
    "repetition_bound",
    "scan",
    "shingles",
    "words",
]

_MIX = np.uint64(0xBF58476D1CE4E5B9)
_BASE = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)
_SPACE = 32
_LINE_END = 4  # the bit of `plait.data.characters.LINE_END`


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

    def where(self, kept: np.ndarray) -> Scan:
        """The counts of some texts, bool ``[texts]``."""
        return Scan(*(values[kept] for values in vars(self).values()))


@dataclass(frozen=True)
class Words:
    """Words of each text: between spaces, tabs and newlines, lower case, without special characters around them.

    Empty ones are left out.

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

    def where(self, kept: np.ndarray) -> Words:
        """The words of some texts, bool ``[texts]``."""
        counts = self.counts[kept]
        return Words(
            _packed(self.hashes, self.starts[:-1][kept], counts), starts_of(counts), self.cased[kept], self.split[kept]
        )

    def count_in(self, vocabulary: np.ndarray) -> np.ndarray:
        """How many of each text's words are in a vocabulary of hashes, int64 ``[texts]``."""
        return _count_in(self.hashes, self.starts, np.unique(vocabulary))


def scan(texts: pl.Series) -> Scan:
    """All counts of characters and lines, from one pass."""
    data, starts = buffers(texts)
    return Scan(*_scan(data, starts, characters.classes(), _runs_of_classes()))


def words(texts: pl.Series) -> Words:
    """Hashes of the words of all texts."""
    data, starts = buffers(texts)
    folded = word_hashes.hash_words(data, starts, _folding())
    found = Words(folded.hashes, folded.starts, np.diff(folded.starts), _count_split(data, starts))
    for row in np.flatnonzero(folded.respecified).tolist():
        found.cased[row] = _count_cased(data, starts[row], starts[row + 1], characters.classes())
    if folded.by_context.any():
        _lower_by_context(data, starts, np.flatnonzero(folded.by_context), found)
    return found


@cache
def _folding() -> Folding:
    """Words in lower case, apart at spaces, tabs and newlines, without special characters around them."""
    fold = characters.lower().copy()
    fold[(characters.classes() & characters.CONTEXT) != 0] = CONTEXT
    fold[[9, 10, _SPACE]] = SEPARATOR
    return Folding(fold, (characters.classes() & characters.SPECIAL) != 0)


def hash_strings(strings: Sequence[str] | pl.Series) -> np.ndarray:
    """Hashes of strings, uint64 ``[strings]``, the same that `words` gives to words."""
    import polars as pl

    return word_hashes.hash_strings(*buffers(pl.Series(strings, dtype=pl.String)))


def character_codes(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Code points of all texts, uint64 ``[characters]``, and where each text starts, int64 ``[texts + 1]``."""
    data, starts = buffers(texts)
    return _decode(data, starts, starts_of(_count_characters(data, starts)))


def shingles(words: Words, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of every run of ``size`` words, uint64 ``[shingles]``, and where each text starts, ``[texts + 1]``."""
    starts = starts_of(np.maximum(words.counts - size + 1, 0))
    return _shingles(words.hashes, words.starts, size, starts), starts


def _lower_by_context(data: np.ndarray, starts: np.ndarray, rows: np.ndarray, found: Words) -> None:
    """Hashes again the words whose lower case depends on the context (Σ) or is more than one character (İ)."""
    special = characters.special()
    at_an_end = frozenset(special)
    places, spans = _words_with_context(data, starts, rows, found.starts, characters.classes(), characters.lower())
    exact = list[str]()
    for first, end in spans.tolist():
        # No context reaches across a space.
        word = data[first:end].tobytes().decode().lower()
        # Stripping of so many characters is slow, and few words need it.
        exact.append(word.strip(special) if word[0] in at_an_end or word[-1] in at_an_end else word)
    found.hashes[places] = hash_strings(exact)


@cache
def _runs_of_classes() -> np.ndarray:
    """Runs of ASCII of each bit of `plait.data.characters.classes`: first byte, last byte, bit; int64 ``[runs, 3]``."""
    ascii_classes = characters.classes()[:0x80]
    runs = [(bit, runs_of((ascii_classes >> bit & 1).astype(np.bool_))) for bit in range(5)]
    return np.concatenate([np.insert(some, 2, bit, axis=1) for bit, some in runs])


@compiled
def _scan(data: np.ndarray, starts: np.ndarray, classes: np.ndarray, runs: np.ndarray) -> tuple[np.ndarray, ...]:
    n = len(starts) - 1
    chars, lines, longest = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
    counts = np.zeros((n, 5), np.int64)  # the last is not asked for: lines end otherwise than characters of a kind
    sums = np.empty(len(runs), np.uint64)
    for d in range(n):
        end = starts[d + 1]
        c_chars = c_lines = line = most = 0  # line: characters before the line
        after_return = False
        sums[:] = NONE
        for i in range(starts[d], end, 64):
            inside = ~past(end, i)
            begins = inside & ~among(data, i, 0x80, 0xBF)
            line_ends = NONE
            for r in range(len(runs)):
                found = among(data, i, runs[r, 0], runs[r, 1]) & inside
                sums[r] += ones(found)
                line_ends |= found if runs[r, 2] == _LINE_END else NONE
            beyond = among(data, i, 0xC0, 0xFF) & inside
            while beyond:
                kind = classes[point(data, i + lowest(beyond))]
                if kind:
                    for bit in range(4):
                        counts[d, bit] += (kind >> bit) & 1
                    if kind >> _LINE_END & 1:
                        line_ends |= beyond & (~beyond + ONE)
                beyond &= beyond - ONE
            while line_ends:
                place = lowest(line_ends)
                before = c_chars + np.int64(ones(begins & ((ONE << np.uint64(place)) - ONE)))
                b = data[i + place]
                if not (b == 10 and after_return and before == line):
                    c_lines += 1
                    most = max(most, before - line)
                after_return = b == 13
                line = before + 1
                line_ends &= line_ends - ONE
            c_chars += np.int64(ones(begins))
        for r in range(len(runs)):
            counts[d, runs[r, 2]] += np.int64(sums[r])
        if c_chars > line:
            c_lines += 1
            most = max(most, c_chars - line)
        chars[d], lines[d], longest[d] = c_chars, c_lines, most
    return chars, counts[:, 0], counts[:, 1], counts[:, 2], counts[:, 3], lines, longest


@compiled
def _count_split(data: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Pieces between spaces, tabs and newlines, empty ones included."""
    out = np.ones(len(starts) - 1, np.int64)
    for d in range(len(out)):
        for i in range(starts[d], starts[d + 1], 64):
            apart = among(data, i, 9, 10) | among(data, i, _SPACE, _SPACE)
            out[d] += np.int64(ones(apart & ~past(starts[d + 1], i)))
    return out


@compiled
def _words_with_context(
    data: np.ndarray, starts: np.ndarray, rows: np.ndarray, at: np.ndarray, classes: np.ndarray, lower: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Words of some texts that hold a character of `plait.data.characters.CONTEXT`.

    Their places among all words, and first byte and end of what stands between blanks.
    """
    most = 0
    for row in rows:
        most += at[row + 1] - at[row]
    places, spans = np.empty(most, np.int64), np.empty((most, 2), np.int64)
    n = 0
    for row in rows:
        i, end = starts[row], starts[row + 1]
        place, first = at[row], i
        plain = by_context = False
        while i <= end:
            if i == end or data[i] == 32 or data[i] == 10 or data[i] == 9:
                if by_context:
                    places[n], spans[n, 0], spans[n, 1] = place, first, i
                    n += 1
                place += plain
                plain = by_context = False
                i += 1
                first = i
                continue
            code = point(data, i)
            by_context |= classes[code] & 32 != 0
            plain |= classes[lower[code]] & 4 == 0
            i += width(data[i])
    return places[:n].copy(), spans[:n].copy()


@compiled
def _count_cased(data: np.ndarray, i: int, end: int, classes: np.ndarray) -> int:
    """Words that have a character that is not special, as it stands."""
    count = 0
    plain = False
    while i < end:
        b = data[i]
        if b == 32 or b == 10 or b == 9:
            count += plain
            plain = False
        else:
            plain |= classes[point(data, i)] & 4 == 0
        i += width(b)
    return count + plain


@compiled
def _packed(hashes: np.ndarray, at: np.ndarray, found: np.ndarray) -> np.ndarray:
    out = np.empty(found.sum(), np.uint64)
    k = 0
    for d in range(len(found)):
        out[k : k + found[d]] = hashes[at[d] : at[d] + found[d]]
        k += found[d]
    return out


@compiled
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
            slot = (slot + ONE) & mask
        used[slot] = True
        table[slot] = word
    for d in range(len(out)):
        count = 0
        for k in range(starts[d], starts[d + 1]):
            slot = hashes[k] & mask
            while used[slot] and table[slot] != hashes[k]:
                slot = (slot + ONE) & mask
            count += used[slot]
        out[d] = count
    return out


@compiled
def _count_characters(data: np.ndarray, starts: np.ndarray) -> np.ndarray:
    out = np.zeros(len(starts) - 1, np.int64)
    for d in range(len(out)):
        count = 0
        for i in range(starts[d], starts[d + 1]):
            count += (data[i] & 0xC0) != 0x80
        out[d] = count
    return out


@compiled
def _decode(data: np.ndarray, starts: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    out = np.empty(at[-1], np.uint64)
    k = 0
    i, end = starts[0], starts[-1]
    while i < end:
        out[k] = point(data, i)
        i += width(data[i])
        k += 1
    return out, at


@compiled
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
