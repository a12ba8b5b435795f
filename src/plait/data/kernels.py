"""Compiled loops over Arrow buffers, for what Polars expressions cannot say.

They are compiled once per machine, then cached on disk. Only the operations that use them import this module, because
importing numba takes half a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import pyarrow as pa
from numba import njit

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import polars as pl

_FNV_OFFSET = np.uint64(0xCBF29CE484222325)
_FNV_PRIME = np.uint64(0x100000001B3)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_BASE = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)


def character_codes(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Code points of all texts, uint64 ``[characters]``, and where each text starts, int64 ``[texts + 1]``."""
    joined = "".join(texts.to_list())
    codes = np.frombuffer(joined.encode("utf-32-le"), np.uint32).astype(np.uint64)
    return codes, _starts(texts.str.len_chars().to_numpy())


def word_hashes(words: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the words of all texts, uint64 ``[words]``, and where each text starts, int64 ``[texts + 1]``."""
    array = cast("Any", words.to_arrow()).cast(pa.large_list(pa.large_string()))
    flat = array.flatten()
    if len(flat) == 0:
        return np.zeros(0, np.uint64), np.zeros(len(words) + 1, np.int64)
    offsets = np.frombuffer(flat.buffers()[1], np.int64)[flat.offset : flat.offset + len(flat) + 1]
    data = np.frombuffer(flat.buffers()[2] or b"", np.uint8)
    return _hash_strings(data, offsets), _starts(words.list.len().to_numpy())


def shingle_hashes(words: pl.Series, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of every run of ``size`` words, uint64 ``[shingles]``, and where each text starts, ``[texts + 1]``."""
    hashes, starts = word_hashes(words)
    counts = np.maximum(np.diff(starts) - size + 1, 0)
    out_starts = _starts(counts)
    return _shingles(hashes, starts, size, out_starts), out_starts


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


def _starts(lengths: np.ndarray) -> np.ndarray:
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return cast("Callable[..., Any]", njit(function, cache=True, nogil=True))


@_compiled
def _hash_strings(data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """FNV-1a of each string, finished by a mixing step."""
    out = np.empty(len(offsets) - 1, np.uint64)
    for i in range(len(out)):
        h = _FNV_OFFSET
        for j in range(offsets[i], offsets[i + 1]):
            h = (h ^ np.uint64(data[j])) * _FNV_PRIME
        h = (h ^ (h >> _SHIFT)) * _MIX
        out[i] = h ^ (h >> _SHIFT)
    return out


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
            h = h * _BASE + values[start + i] + np.uint64(1)
            if i >= size:
                h -= power * (values[start + i - size] + np.uint64(1))
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
