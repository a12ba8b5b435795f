"""The mathematics of duplicates: digests, MinHash signatures, bands, verified clusters.

Positions are places of texts in order of their ids, so "the first" always means the lowest id, whatever order
texts came in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from plait.core.optional import require
from plait.data.op import Duplicates

if TYPE_CHECKING:
    import polars as pl

ShingleSets = Callable[[list[int]], list[np.ndarray]]
"""Positions → the sorted distinct shingle hashes of each text, uint64."""

_SEED = 1
_HELD_SETS = 20_000  # shingle sets kept while clusters are verified
_MIX = np.uint64(0x9E3779B97F4A7C15)


def text_digests(texts: pl.Series) -> np.ndarray:
    """128-bit xxHash of each text, uint64 ``[texts, 2]``."""
    import xxhash

    digests = b"".join(xxhash.xxh3_128_digest(text.encode()) for text in texts)
    return np.frombuffer(digests, np.uint64).reshape(len(texts), 2)


def find_equal(keys: np.ndarray) -> Duplicates:
    """Positions whose whole row of keys occurs at an earlier position.

    Args:
        keys: uint64 ``[texts, columns]`` in order of id; rows of zeros are left alone.

    Example:
        >>> keys = np.array([[1, 2], [3, 4], [1, 2]], np.uint64)
        >>> find_equal(keys).position, find_equal(keys).survivor
        (array([2]), array([0]))
    """
    rows = np.flatnonzero(keys.any(axis=1))
    if not len(rows):
        return _duplicates([], [], [])
    _, first, inverse = np.unique(keys[rows], axis=0, return_index=True, return_inverse=True)
    survivor = rows[first[inverse.reshape(-1)]]
    dropped = survivor != rows
    return _duplicates(rows[dropped], survivor[dropped], np.ones(int(dropped.sum())))


def band_keys(shingles: np.ndarray, starts: np.ndarray, *, permutations: int, bands: int, rows: int) -> np.ndarray:
    """One key per band of each text's MinHash signature; zeros for a text without shingles.

    Args:
        shingles: Shingle hashes of all texts, uint64 ``[shingles]``.
        starts: Where each text starts, int64 ``[texts + 1]``.
        permutations: Length of the signatures; ``bands × rows`` of it are used.
        bands: Bands: two texts are candidates if they agree on all rows of one.
        rows: Rows per band.

    Returns:
        uint64 ``[texts, bands]``.

    Returns:
        uint64 ``[texts, bands]``.

    Source: Broder 1997; Leskovec et al., Mining of Massive Datasets, 3.4.
    """
    rensa = require("rensa", extra="data", feature="near-duplicate detection")
    if bands * rows > permutations:
        raise ValueError(f"{bands} bands of {rows} rows do not fit in {permutations} permutations")
    count = len(starts) - 1
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(
        np.ascontiguousarray(shingles), starts.astype(np.uint64), permutations, _SEED
    )
    digests = np.asarray(matrix.to_rows(), np.uint64).reshape(count, permutations)[:, : bands * rows]
    keys = np.zeros((count, bands), np.uint64)
    grouped = digests.reshape(count, bands, rows)
    for row in range(rows):
        keys = (keys ^ grouped[:, :, row]) * _MIX
        keys ^= keys >> np.uint64(32)
    keys[keys == 0] = 1
    keys[np.diff(starts) == 0] = 0
    return keys


@cache
def best_bands(threshold: float, permutations: int) -> tuple[int, int]:
    """Bands and rows for which the chance of being compared, ``1 - (1 - s^rows)^bands``, steps at the threshold.

    They have the least sum of the areas of false positives (below it) and false negatives (above it).

    Source: Zhu et al. 2016, "LSH Ensemble", section 4.4; datasketch and Data-Juicer choose so too.

    Example:
        >>> best_bands(0.7, 256)
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


def find_near(keys: np.ndarray, shingle_sets: ShingleSets, *, threshold: float) -> Duplicates:
    """Clusters of texts connected by verified pairs; the first of each stays.

    Texts that share a band key are compared with the first of them, those that are not similar to it with the
    first among themselves, and so on. Two texts that both stay have therefore been compared wherever they
    share a key, and finding duplicates among the survivors again finds none.

    Args:
        keys: uint64 ``[texts, bands]`` in order of id, from `band_keys`.
        shingle_sets: Gives the texts' shingles, to verify a pair by its exact Jaccard similarity.
        threshold: Least similarity of a pair, 0 to 1.

    Example:
        >>> sets = [np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5]), np.array([7])]
        >>> keys = np.array([[9], [9], [9]], np.uint64)
        >>> near = find_near(keys, lambda ps: [sets[p] for p in ps], threshold=0.6)
        >>> near.position, near.survivor, near.similarity
        (array([1]), array([0]), array([0.6]))
    """
    parent = np.arange(len(keys))

    @lru_cache(maxsize=_HELD_SETS)
    def shingles(position: int) -> np.ndarray:
        return shingle_sets([position])[0]

    for band in range(keys.shape[1]):
        for bucket in _buckets(keys[:, band]):
            waiting = [int(position) for position in bucket]
            while len(waiting) > 1:
                leader, *others = waiting
                waiting = []
                for position in others:
                    if _root(parent, position) == _root(parent, leader):
                        continue
                    if jaccard(shingles(leader), shingles(position)) >= threshold:
                        _join(parent, leader, position)
                    else:
                        waiting.append(position)
    roots = np.array([_root(parent, position) for position in range(len(keys))], np.int64)
    dropped = np.flatnonzero(roots != np.arange(len(keys)))
    similarity = [jaccard(shingles(int(roots[p])), shingles(int(p))) for p in dropped]
    return _duplicates(dropped, roots[dropped], similarity)


def jaccard(first: np.ndarray, second: np.ndarray) -> float:
    """Shared over all distinct items of two sorted arrays without repeats.

    Example:
        >>> jaccard(np.array([1, 2, 3]), np.array([2, 3, 4]))
        0.5
    """
    if not len(first) or not len(second):
        return 0.0
    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared / (len(first) + len(second) - shared)


def _buckets(keys: np.ndarray) -> list[np.ndarray]:
    """Ascending positions of each key that occurs more than once; zero is no key."""
    order = np.argsort(keys, kind="stable")
    order = order[keys[order] != 0]
    edges = np.flatnonzero(np.diff(keys[order])) + 1
    return [bucket for bucket in np.split(order, edges) if len(bucket) > 1]


def _root(parent: np.ndarray, position: int) -> int:
    while parent[position] != position:
        parent[position] = parent[parent[position]]
        position = int(parent[position])
    return position


def _join(parent: np.ndarray, first: int, second: int) -> None:
    a, b = _root(parent, first), _root(parent, second)
    parent[max(a, b)] = min(a, b)


def _duplicates(
    position: Sequence[int] | np.ndarray,
    survivor: Sequence[int] | np.ndarray,
    similarity: Sequence[float] | np.ndarray,
) -> Duplicates:
    return Duplicates(
        np.asarray(position, np.int64), np.asarray(survivor, np.int64), np.asarray(similarity, np.float64)
    )
