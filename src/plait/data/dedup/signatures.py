"""MinHash signatures, and the keys of their bands.

Two texts agree in each entry of their signatures with a chance equal to the Jaccard similarity of their shingles.
A band is some entries together; texts that agree on all of one are candidates.

Source: Broder 1997, "On the resemblance and containment of documents"; Leskovec et al., Mining of Massive
Datasets, 3.3-3.4.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from plait.data.loops import compiled
from plait.errors import UsageError

_SEED = 42
_MIX = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)
_MOST = np.uint32(0xFFFFFFFF)


def signatures(shingles: np.ndarray, starts: np.ndarray, permutations: int) -> np.ndarray:
    """The least value of every permutation over the shingles of each text.

    Args:
        shingles: Hashes, uint64 ``[shingles]``; repeats change nothing.
        starts: Where each text starts, int64 ``[texts + 1]``.
        permutations: Entries of a signature.

    Returns:
        uint32 ``[texts, permutations]``; all ones for a text without shingles.
    """
    # Permutations of 32 bits, x -> a x + b with a odd: the hashes are mixed already.
    random = np.random.Generator(np.random.PCG64(_SEED))
    factors = random.integers(0, 2**32, permutations, dtype=np.uint32) | np.uint32(1)
    offsets = random.integers(0, 2**32, permutations, dtype=np.uint32)
    return _signatures((shingles >> _SHIFT).astype(np.uint32), starts, factors, offsets)


def band_keys(shingles: np.ndarray, starts: np.ndarray, *, bands: int, rows: int) -> np.ndarray:
    """One key per band of each text, uint64 ``[texts, bands]``; zeros for a text without shingles.

    Args:
        shingles: Hashes, uint64 ``[shingles]``; repeats change nothing.
        starts: Where each text starts, int64 ``[texts + 1]``.
        bands: Bands of the signature.
        rows: Entries per band.
    """
    keys = fold_bands(signatures(shingles, starts, bands * rows), bands, rows)
    keys[np.diff(starts) == 0] = 0
    return keys


def fold_bands(signature: np.ndarray, bands: int, rows: int) -> np.ndarray:
    """Signatures, uint32 ``[texts, bands x rows]``, as a key per band, uint64 ``[texts, bands]``, never 0."""
    return _folded(signature, bands, rows)


@cache
def bands_for_recall(threshold: float, permutations: int, recall: float = 0.99) -> tuple[int, int]:
    """Bands and rows that compare a pair at the threshold with at least some chance, ``1 - (1 - s^rows)^bands``.

    Of those that need no more permutations than given, the one with most rows per band, which has the fewest
    false candidates, and no more bands than needed. Where each candidate is verified, false ones cost time alone.

    Example:
        >>> bands_for_recall(0.7, 256)
        (37, 6)
    """
    for rows in range(permutations, 0, -1):
        chance = threshold**rows
        if chance < 1e-9:  # would need more bands than anybody has
            continue
        bands = 1 if chance >= recall else int(np.ceil(np.log1p(-recall) / np.log1p(-chance)))
        if bands * rows <= permutations:
            return bands, rows
    return permutations, 1


@cache
def bands_of_least_error(threshold: float, permutations: int) -> tuple[int, int]:
    """Bands and rows for which the chance of being compared steps at the threshold.

    They have the least sum of the areas of false positives (below it) and false negatives (above it): the choice
    where candidates are dropped unverified.

    Source: Zhu et al. 2016, "LSH Ensemble", section 4.4; datasketch and Data-Juicer choose so too.

    Example:
        >>> bands_of_least_error(0.7, 256)
        (25, 10)
    """
    low = np.linspace(0, threshold, 513)
    high = np.linspace(threshold, 1, 513)
    best, least = (1, 1), np.inf
    for bands in range(1, permutations + 1):
        for rows in range(1, permutations // bands + 1):
            false_positive = np.trapezoid(1 - (1 - low**rows) ** bands, low)
            false_negative = np.trapezoid((1 - high**rows) ** bands, high)
            error = 0.5 * false_positive + 0.5 * false_negative
            if error < least:
                best, least = (bands, rows), error
    return best


def choose_bands(
    threshold: float, permutations: int, bands: int | None, rows: int | None, *, verified: bool
) -> tuple[int, int]:
    """Bands and rows: those given, or else the best for the threshold.

    Raises:
        UsageError: They need more permutations than there are.
    """
    if bands is None or rows is None:
        return (bands_for_recall if verified else bands_of_least_error)(threshold, permutations)
    if bands * rows > permutations:
        raise UsageError(
            f"{bands} bands of {rows} rows need {bands * rows} permutations, but num_permutations is {permutations}",
            code="data.too-many-bands",
            hint=f"set num_permutations to {bands * rows} or take fewer bands",
        )
    return bands, rows


@compiled
def _less(factor: Any, offset: Any, x: Any, y: Any) -> Any:
    """The lesser of what a permutation makes of two shingles."""
    return min(np.uint32(factor * x + offset), np.uint32(factor * y + offset))


@compiled
def _signatures(shingles: np.ndarray, starts: np.ndarray, factors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Eight shingles at a time go through all permutations, in vectors: nothing is left to sum up for short texts."""
    out = np.full((len(starts) - 1, len(factors)), _MOST)
    for d in range(len(starts) - 1):
        row, last = out[d], starts[d + 1] - 1
        for i in range(starts[d], starts[d + 1], 8):
            # Past the end stands the last one again: repeats change nothing.
            a, b, c = shingles[i], shingles[min(i + 1, last)], shingles[min(i + 2, last)]
            e, f, g = shingles[min(i + 3, last)], shingles[min(i + 4, last)], shingles[min(i + 5, last)]
            h, k = shingles[min(i + 6, last)], shingles[min(i + 7, last)]
            for p in range(len(factors)):
                x, y = factors[p], offsets[p]
                some = min(_less(x, y, a, b), _less(x, y, c, e))
                others = min(_less(x, y, f, g), _less(x, y, h, k))
                row[p] = min(row[p], min(some, others))
    return out


@compiled
def _folded(signature: np.ndarray, bands: int, rows: int) -> np.ndarray:
    out = np.empty((len(signature), bands), np.uint64)
    for d in range(len(signature)):
        for band in range(bands):
            h = np.uint64(band + 1)
            for row in range(rows):
                h = (h ^ np.uint64(signature[d, band * rows + row])) * _MIX
                h ^= h >> _SHIFT
            out[d, band] = max(h, np.uint64(1))
    return out
