"""Clusters of duplicates: candidates that share a key, verified, connected; one of each cluster stays.

    candidates = Candidates(count, spill)
    for groups in groups_of_each(rows, "bands", bands):
        candidates.add(groups)
    decision = cluster(candidates, order, sets, threshold)

Candidates stand in an order of preference (of the rows, of their ids, of a score), and the first of each cluster
stays. In each group the others are compared with the first, those that are not similar to it with the first among
themselves, and so on; rows already connected are not compared. Two rows that both stay have therefore been compared
wherever they share a key, so finding duplicates among the survivors again finds none; and nothing depends on how the
input was cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from plait.data.dedup.groups import Groups, Spill
from plait.data.dedup.sets import SETS_AT_ONCE, SetStore, fill, room_for, shared_with
from plait.data.loops import compiled
from plait.data.op import Decision


class Candidates:
    """All groups of rows that share a key, and which rows are in one: a byte per row, and the groups on disk.

    Args:
        count: Number of rows.
        spill: Where groups go.
    """

    def __init__(self, count: int, spill: Spill) -> None:
        self.groups = list[Groups]()
        self._marked = np.zeros(count, np.bool_)
        self._spill = spill

    def add(self, groups: Groups) -> None:
        """Some groups more; they are looked at in the order they come."""
        if len(groups):
            self._marked[groups.members] = True
            self.groups.append(Groups(self._spill.keep(groups.members), self._spill.keep(groups.starts)))

    @property
    def memory_bytes(self) -> int:
        """What the groups take of memory."""
        arrays = [array for groups in self.groups for array in (groups.members, groups.starts)]
        return sum(array.nbytes for array in arrays if not isinstance(array, np.memmap))

    @property
    def positions(self) -> np.ndarray:
        """Rows in at least one group, int64, ascending."""
        return np.flatnonzero(self._marked)


def cluster(
    candidates: Candidates, preferred: np.ndarray, sets: SetStore | None, threshold: float, about: Mapping[str, Any]
) -> Decision:
    """Drop all but the first of each cluster.

    Args:
        candidates: Rows that share a key.
        preferred: Their positions, the best first, int64 ``[candidates]``.
        sets: Their shingles in the same order, or ``None`` to take every candidate for a duplicate.
        threshold: Least Jaccard similarity of a pair.
        about: What else the facts tell.
    """
    by_position = np.argsort(preferred)
    ascending = preferred[by_position]
    parent = np.arange(len(preferred))
    counts = np.zeros(3, np.int64)
    nothing = SetStore(np.zeros(0, np.uint64), parent, parent)
    for groups in candidates.groups:
        for part in groups.parts(SETS_AT_ONCE):
            # Most groups were connected by an earlier key: their sets need not be read again.
            places, starts = _unconnected(by_position[np.searchsorted(ascending, part.members)], part.starts, parent)
            near = sets.gathered(places) if sets else nothing
            least = threshold if sets else -1.0
            _connect(places, starts, near.values, near.start, near.size, least, parent, counts)
    roots = _roots(parent)
    dropped = np.flatnonzero(roots != np.arange(len(roots)))
    dropped = dropped[np.argsort(roots[dropped], kind="stable")]
    similarity = sets.similarity(roots[dropped], dropped) if sets else np.full(len(dropped), np.nan)
    sizes = np.unique(roots[dropped], return_counts=True)[1]
    facts = {
        "candidate_rows": len(preferred),
        "compared": int(counts[0]),
        "verified": int(counts[1]),
        "rejected": int(counts[2]),
        "clusters": len(sizes),
        "largest_cluster": int(sizes.max()) + 1 if len(sizes) else 0,
        # Clusters are connected by pairs; ends of a long chain may be unlike each other.
        "linked_below_threshold": int((similarity < threshold).sum()),
        **about,
    }
    return sorted_decision(preferred[dropped], preferred[roots[dropped]], similarity, facts)


def components(parent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that are not alone, int64 ascending, and the first of the cluster of each.

    Example:
        >>> components(np.array([0, 1, 0, 3]))
        (array([0, 2]), array([0, 0]))
    """
    roots = _roots(parent)
    joined = np.zeros(len(parent), np.bool_)
    joined[roots[roots != np.arange(len(roots))]] = True
    members = np.flatnonzero(joined[roots])
    return members, roots[members]


def sorted_decision(
    position: np.ndarray, survivor: np.ndarray, value: np.ndarray, facts: Mapping[str, Any]
) -> Decision:
    """A decision with its rows in order."""
    order = np.argsort(position)
    return Decision(
        position[order].astype(np.int64), survivor[order].astype(np.int64), value[order].astype(np.float64), facts
    )


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
def _roots(parent: np.ndarray) -> np.ndarray:
    out = np.empty(len(parent), np.int64)
    for i in range(len(parent)):
        out[i] = root_of(parent, i)
    return out


@compiled
def _unconnected(places: np.ndarray, starts: np.ndarray, parent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The groups that are not in one cluster yet."""
    left, left_starts = np.empty(len(places), np.int64), np.zeros(len(starts), np.int64)
    k = g = 0
    for group in range(len(starts) - 1):
        first = root_of(parent, places[starts[group]])
        for i in range(starts[group] + 1, starts[group + 1]):
            if root_of(parent, places[i]) != first:
                size = starts[group + 1] - starts[group]
                left[k : k + size] = places[starts[group] : starts[group + 1]]
                k += size
                g += 1
                left_starts[g] = k
                break
    return left[:k], left_starts[: g + 1]


@compiled
def _connect(
    places: np.ndarray,
    starts: np.ndarray,
    values: np.ndarray,
    start: np.ndarray,
    size: np.ndarray,
    threshold: float,
    parent: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Compare within groups; a threshold below 0 takes every pair. Counts pairs compared, verified, rejected."""
    table = np.zeros(room_for(size) if threshold >= 0 else 0, np.uint64)
    for g in range(len(starts) - 1):
        waiting = np.sort(places[starts[g] : starts[g + 1]])
        left = len(waiting)
        while left > 1:
            leader, used, kept = waiting[0], 0, 0
            for j in range(1, left):
                other = waiting[j]
                if root_of(parent, leader) == root_of(parent, other):
                    continue
                counts[0] += 1
                similar = threshold < 0
                if not similar:
                    a, b = size[leader], size[other]
                    # Shared values needed for the threshold; one less, so that rounding decides nothing.
                    need = np.int64(threshold * (a + b) / (1 + threshold)) - 1
                    if min(a, b) >= max(need, 1):
                        if used == 0:
                            used = fill(table, values[start[leader] : start[leader] + a])
                        shared = shared_with(table, used, values[start[other] : start[other] + b], b - max(need, 0))
                        similar = shared >= 0 and shared / (a + b - shared) >= threshold
                if similar:
                    join(parent, leader, other)
                    counts[1] += 1
                else:
                    waiting[kept] = other
                    kept += 1
                    counts[2] += 1
            left = kept
