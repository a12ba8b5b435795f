"""Similarity of two sets of hashes per row, compiled."""

from __future__ import annotations

import numpy as np

from plait.data.loops import compiled


def jaccard_of_sets(
    left: np.ndarray, left_starts: np.ndarray, right: np.ndarray, right_starts: np.ndarray
) -> np.ndarray:
    """Jaccard similarity row by row, float64 ``[rows]``; 1 for two empty sets.

    Args:
        left: Hashes of all rows, uint64; repeats count once.
        left_starts: Where each row starts, int64 ``[rows + 1]``.
        right: The same for the other side.
        right_starts: Where each row starts.
    """
    return _jaccard(left, left_starts, right, right_starts)


def contained(values: np.ndarray, starts: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Share of each row's hashes that are among the known ones, float64 ``[rows]``; 0 for rows without any.

    Args:
        values: Hashes of all rows, uint64.
        starts: Where each row starts, int64 ``[rows + 1]``.
        known: Sorted, uint64.
    """
    if not len(known):
        return np.zeros(len(starts) - 1)
    place = np.minimum(np.searchsorted(known, values), len(known) - 1)
    hit = np.concatenate([[0], np.cumsum(known[place] == values)])
    return (hit[starts[1:]] - hit[starts[:-1]]) / np.maximum(np.diff(starts), 1)


@compiled
def _jaccard(left: np.ndarray, left_starts: np.ndarray, right: np.ndarray, right_starts: np.ndarray) -> np.ndarray:
    out = np.ones(len(left_starts) - 1, np.float64)
    for row in range(len(out)):
        a = np.unique(left[left_starts[row] : left_starts[row + 1]])
        b = np.unique(right[right_starts[row] : right_starts[row + 1]])
        i = j = both = 0
        while i < len(a) and j < len(b):
            if a[i] == b[j]:
                both += 1
                i += 1
                j += 1
            elif a[i] < b[j]:
                i += 1
            else:
                j += 1
        total = len(a) + len(b) - both
        if total:
            out[row] = both / total
    return out
