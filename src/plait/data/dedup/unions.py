"""Union-find over rows in order of preference: the lowest of each cluster is its root."""

from __future__ import annotations

import numpy as np

from plait.data.loops import compiled


def components(parent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that are not alone, int64 ascending, and the first of the cluster of each.

    Example:
        >>> components(np.array([0, 1, 0, 3]))
        (array([0, 2]), array([0, 0]))
    """
    found = roots(parent, np.arange(len(parent)))
    joined = np.zeros(len(parent), np.bool_)
    joined[found[found != np.arange(len(found))]] = True
    members = np.flatnonzero(joined[found])
    return members, found[members]


@compiled
def root_of(parent: np.ndarray, i: int) -> int:
    """The first of the cluster of ``i``; paths are halved on the way."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@compiled
def join(parent: np.ndarray, i: int, j: int) -> None:
    """Make one cluster of two; the lower root stays."""
    a, b = root_of(parent, i), root_of(parent, j)
    parent[max(a, b)] = min(a, b)


@compiled
def join_pairs(parent: np.ndarray, first: np.ndarray, second: np.ndarray) -> None:
    """Make one cluster of each pair."""
    for i in range(len(first)):
        join(parent, first[i], second[i])


@compiled
def roots(parent: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The first of the cluster of each of some rows, int64 ``[rows]``."""
    out = np.empty(len(rows), np.int64)
    for i in range(len(rows)):
        out[i] = root_of(parent, rows[i])
    return out
