"""Hashes of the words of texts, 64 bits, from one pass over their UTF-8.

A word is what stands between separators, folded (into lower case), without special characters around it. Words of
plain ASCII, which most are, are found and hashed many bytes at a time; others character by character.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from plait.data.bits import ALL, LAST, NONE, ONE, among, end_of, lowest, ones, past, runs_of
from plait.data.loops import compiled, inlined
from plait.data.swar import HIGH, below, eight
from plait.data.utf8 import point, width

SEPARATOR, CONTEXT = -1, -2
"""Entries of a `Folding` that are no characters: what parts words; what is folded by its context, which others do."""

_PRIME, _LENGTH = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_MIX_A, _MIX_B, _MIX_SHIFT = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53), np.uint64(33)
_SHIFT, _TWO, _THREE, _SEVEN = np.uint64(32), np.uint64(2), np.uint64(3), np.uint64(7)


@dataclass(frozen=True)
class Folding:
    """How texts become words.

    Args:
        fold: What each code point becomes, or one of `SEPARATOR` and `CONTEXT`, int32 ``[1114112]``. Of ASCII letters
            either all become lower case or none changes.
        special: Which code points do not count at either end of a word, once folded, bool ``[1114112]``.
    """

    fold: np.ndarray
    special: np.ndarray

    @property
    def separators(self) -> np.ndarray:
        """First and last byte of each run of separators in ASCII, int64 ``[runs, 2]``."""
        return runs_of(self.fold[:0x80] == SEPARATOR)

    @property
    def specials(self) -> np.ndarray:
        """The same of special characters."""
        folded = self.fold[:0x80]
        return runs_of((folded >= 0) & self.special[folded])


@dataclass(frozen=True)
class Hashed:
    """The words of some texts.

    Args:
        hashes: uint64 ``[words]``; equal for equal words.
        starts: Where each text's words start, int64 ``[texts + 1]``.
        by_context: Which texts hold a character of `CONTEXT`, which was left as it is, bool ``[texts]``.
        respecified: Which texts hold a character that folding made special, or no longer special, bool ``[texts]``.
    """

    hashes: np.ndarray
    starts: np.ndarray
    by_context: np.ndarray
    respecified: np.ndarray


def hash_words(data: np.ndarray, starts: np.ndarray, folding: Folding) -> Hashed:
    """Hashes of all words.

    Args:
        data: UTF-8 of all texts, uint8 ``[bytes]``.
        starts: Where each text starts, int64 ``[texts + 1]``.
        folding: What a word is.
    """
    lower = HIGH if folding.fold[65] == 97 else NONE
    return Hashed(
        *_hash_words(data, starts, folding.separators, folding.specials, folding.fold, folding.special, lower)
    )


@inlined
def _fed(h: Any, eight_bytes: Any) -> Any:
    """The hash after eight bytes more; what a string lacks of its last eight is zero."""
    h = (h ^ eight_bytes) * _PRIME
    return h ^ (h >> _SHIFT)


@inlined
def _ended(h: Any, length: int) -> Any:
    """All bits of a hash depending on all: the finaliser of MurmurHash3 (Appleby 2011), a bijection."""
    h += np.uint64(length) * _LENGTH
    h = (h ^ (h >> _MIX_SHIFT)) * _MIX_A
    h = (h ^ (h >> _MIX_SHIFT)) * _MIX_B
    return h ^ (h >> _MIX_SHIFT)


@inlined
def _fed_byte(h: Any, waiting: Any, length: Any, byte: int) -> Any:
    waiting |= np.uint64(byte) << ((length & _SEVEN) << _THREE)
    length += ONE
    if length & _SEVEN == NONE:
        h, waiting = _fed(h, waiting), NONE
    return h, waiting, length


@compiled
def fed_character(h: Any, waiting: Any, length: Any, code: int) -> Any:
    """What is known of a string after the UTF-8 of one character more; of none it is three zeros.

    Returns:
        The hash of whole eights of bytes, the bytes that wait to be eight, and the length.
    """
    if code < 0x80:
        return _fed_byte(h, waiting, length, code)
    if code < 0x800:
        h, waiting, length = _fed_byte(h, waiting, length, 0xC0 | (code >> 6))
    else:
        if code < 0x10000:
            h, waiting, length = _fed_byte(h, waiting, length, 0xE0 | (code >> 12))
        else:
            h, waiting, length = _fed_byte(h, waiting, length, 0xF0 | (code >> 18))
            h, waiting, length = _fed_byte(h, waiting, length, 0x80 | ((code >> 12) & 0x3F))
        h, waiting, length = _fed_byte(h, waiting, length, 0x80 | ((code >> 6) & 0x3F))
    return _fed_byte(h, waiting, length, 0x80 | (code & 0x3F))


@inlined
def hashed(h: Any, waiting: Any, length: Any) -> Any:
    """The hash of what was fed."""
    return _ended(_fed(h, waiting) if length & _SEVEN else h, length)


@compiled
def hash_strings(data: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Hashes of whole strings, uint64 ``[strings]``: that of a word, if it is folded already."""
    out = np.empty(len(starts) - 1, np.uint64)
    for s in range(len(out)):
        h = waiting = length = NONE
        for i in range(starts[s], starts[s + 1]):
            h, waiting, length = _fed_byte(h, waiting, length, data[i])
        out[s] = hashed(h, waiting, length)
    return out


@inlined
def _lowered(x: Any, lower: Any) -> Any:
    """Eight bytes of ASCII, capital letters in lower case where ``lower`` has a mark."""
    return x | (below(x, 91) & ~below(x, 65) & lower) >> _TWO


@inlined
def _low_bytes(count: int) -> Any:
    """A mask of so many of eight bytes, one at least."""
    return ALL >> np.uint64((64 - 8 * count) & 63)


@compiled
def _hash_long(data: np.ndarray, first: int, last: int, lower: Any) -> Any:
    h = NONE
    i = first
    while i + 8 <= last:
        h = _fed(h, _lowered(eight(data, i), lower))
        i += 8
    waiting = NONE
    for j in range(i, last):
        waiting |= np.uint64(data[j]) << np.uint64(8 * (j - i))
    return _ended(_fed(h, _lowered(waiting, lower)) if i < last else h, last - first)


@inlined
def _hash_short(data: np.ndarray, i: int, length: int, lower: Any) -> Any:
    """Up to sixteen bytes, without a branch: how long the next word is cannot be guessed."""
    rest = max(length - 8, 0)
    short = _fed(NONE, _lowered(eight(data, i) & _low_bytes(min(length, 8)), lower))
    is_long = NONE - np.uint64(rest > 0)
    long = _fed(short, _lowered(eight(data, i + 8) & _low_bytes(rest) & is_long, lower))
    return _ended((long & is_long) | (short & ~is_long), length)


@inlined
def _hash_ascii(data: np.ndarray, first: int, last: int, lower: Any) -> Any:
    if last - first > 16 or first + 16 > len(data):
        return _hash_long(data, first, last, lower)
    return _hash_short(data, first, last - first, lower)


@inlined
def _among_any(data: np.ndarray, i: int, runs: np.ndarray) -> Any:
    found = NONE
    for r in range(len(runs)):
        found |= among(data, i, runs[r, 0], runs[r, 1])
    return found


@compiled
def _most(data: np.ndarray, start: int, stop: int, separators: np.ndarray) -> Any:
    """No fewer than the words in some bytes: those begun after ASCII, and one for each character beyond."""
    count, after = ONE, ONE
    for i in range(start, stop, 64):
        apart = past(stop, i) | _among_any(data, i, separators)
        count += ones(~apart & (apart << ONE | after)) + ones(among(data, i, 0xC0, 0xFF))
        after = apart >> LAST
    return np.int64(count)


@compiled
def _hash_words(
    data: np.ndarray,
    starts: np.ndarray,
    separators: np.ndarray,
    specials: np.ndarray,
    fold: np.ndarray,
    special: np.ndarray,
    lower: Any,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    n = len(starts) - 1
    at = np.zeros(n + 1, np.int64)
    by_context, respecified = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    out = np.empty(_most(data, starts[0], starts[n], separators) + n + 1, np.uint64)
    k: Any = 0
    for d in range(n):
        i, end = starts[d], starts[d + 1]
        first, after, wide = i, ONE, False
        # The end of a text is a separator, and may be the first byte of the next 64.
        while i <= end:
            apart = past(end, i) | _among_any(data, i, separators)
            plain = ~_among_any(data, i, specials)
            beyond = among(data, i, 0x80, 0xFF) & ~apart
            before = apart << ONE | after
            begins, ends = before & ~apart, apart & ~before
            if after:
                first = i + lowest(begins)
                begins &= begins - ONE
            after = apart >> LAST
            while ends:
                last = i + lowest(ends)
                until = (ends & (~ends + ONE)) - ONE
                inside = beyond & until
                if wide or inside:
                    k = _hash_characters(data, first, last, fold, special, out, k, d, by_context, respecified)
                    beyond ^= inside
                    wide = False
                else:
                    if first >= i:
                        word = plain & until & (ALL << np.uint64(first - i))
                        first, last = i + lowest(word), i + end_of(word)
                    else:
                        first, last = _stripped(data, first, last, special)
                    # Written whether it is a word or not, and left behind if it is.
                    out[k] = _hash_ascii(data, first, last, lower)
                    k += first < last
                first = i + lowest(begins)
                begins &= begins - ONE
                ends &= ends - ONE
            wide = wide or beyond != 0
            i += 64
        at[d + 1] = k
    return out[:k], at, by_context, respecified


@compiled
def _stripped(data: np.ndarray, first: int, last: int, special: np.ndarray) -> tuple[int, int]:
    """A word of ASCII without special characters at its ends."""
    while first < last and special[data[first]]:
        first += 1
    while first < last and special[data[last - 1]]:
        last -= 1
    return first, last


@compiled
def _hash_characters(
    data: np.ndarray,
    i: int,
    last: int,
    fold: np.ndarray,
    special: np.ndarray,
    out: np.ndarray,
    k: Any,
    text: int,
    by_context: np.ndarray,
    respecified: np.ndarray,
) -> Any:
    """Hash the words between two separators of ASCII character by character; how many there are then."""
    h = waiting = length = NONE
    # What it was after the last character that is not special.
    kept_h = kept_waiting = kept_length = NONE
    while i < last:
        code = point(data, i)
        i += width(data[i])
        folded = np.int64(fold[code])
        if folded == SEPARATOR:
            out[k] = hashed(kept_h, kept_waiting, kept_length)
            k += kept_length > NONE
            h = waiting = length = kept_h = kept_waiting = kept_length = NONE
            continue
        if folded == CONTEXT:
            by_context[text] = True
            folded = code
        respecified[text] |= special[folded] != special[code]
        if not special[folded]:
            h, waiting, length = fed_character(h, waiting, length, folded)
            kept_h, kept_waiting, kept_length = h, waiting, length
        elif length > NONE:
            h, waiting, length = fed_character(h, waiting, length, folded)
    out[k] = hashed(kept_h, kept_waiting, kept_length)
    return k + (kept_length > NONE)
