"""Clusters of duplicates: candidates that share a key, verified, connected; one of each cluster stays.

    candidates = Candidates(count, spill)
    for groups in groups_of_each(rows, "bands", bands):
        candidates.add(groups)
    decision = cluster(candidates, order, sets, threshold)

Candidates stand in an order of preference (of the rows, of their ids, of a score), and the first of each cluster
stays. How the rows of a group are compared says `plait.data.dedup.pairs`; rows already connected are not. Two rows
that both stay have been compared wherever they share a key, or cannot be similar, so finding duplicates among the
survivors again finds none; and nothing depends on how the input was cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from plait.data.dedup.groups import Groups, Spill
from plait.data.dedup.pairs import ALL_ROUNDS, connect
from plait.data.dedup.sets import SETS_AT_ONCE, SetStore, room_for
from plait.data.dedup.unions import root_of, roots
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

    def places(self, preferred: np.ndarray) -> np.ndarray:
        """The place of each row among those preferred, uint32 ``[rows]``; any number for rows that are in no group."""
        found = np.zeros(len(self._marked), np.uint32)
        found[preferred] = np.arange(len(preferred), dtype=np.uint32)
        return found


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
    parent = np.arange(len(preferred))
    place_of = candidates.places(preferred)
    compared = _Comparison(sets, threshold, parent)
    for groups in candidates.groups:
        for part in groups.parts(SETS_AT_ONCE):
            # Most groups were connected by an earlier key: their sets need not be read again.
            places, starts = _unconnected(place_of, part.members, part.starts, parent)
            if len(places) > SETS_AT_ONCE:  # one group
                places = compared.thinned(places)
                starts = np.array([0, len(places)])
            if len(places):
                compared.connect(places, starts)
    root = roots(parent, np.arange(len(parent)))
    dropped = np.flatnonzero(root != np.arange(len(root)))
    dropped = dropped[np.argsort(root[dropped], kind="stable")]
    similarity = sets.similarity(root[dropped], dropped) if sets else np.full(len(dropped), np.nan)
    sizes = np.unique(root[dropped], return_counts=True)[1]
    facts = {
        "candidate_rows": len(preferred),
        **compared.facts(),
        "clusters": len(sizes),
        "largest_cluster": int(sizes.max()) + 1 if len(sizes) else 0,
        # Clusters are connected by pairs; ends of a long chain may be unlike each other.
        "linked_below_threshold": int((similarity < threshold).sum()),
        **about,
    }
    return sorted_decision(preferred[dropped], preferred[root[dropped]], similarity, facts)


class _Comparison:
    """Compares rows of groups, and joins the similar ones in a union-find that all comparisons share."""

    def __init__(self, sets: SetStore | None, threshold: float, parent: np.ndarray) -> None:
        nothing = np.zeros(0, np.int64)
        self._sets = sets or SetStore(np.zeros(0, np.uint64), nothing, nothing)
        self._threshold = threshold if sets else -1.0
        self._parent = parent
        self._table = np.zeros(room_for(self._sets.size), np.uint64)
        self._counts = np.zeros(3, np.int64)

    def connect(self, places: np.ndarray, starts: np.ndarray, rounds: int = ALL_ROUNDS) -> None:
        """Join the similar rows of each group."""
        near = self._sets.gathered(places)
        arguments = (near.values, near.start, near.size, self._threshold, self._parent, self._counts, self._table)
        connect(places, starts, *arguments, rounds)

    def thinned(self, places: np.ndarray) -> np.ndarray:
        """What is left of a large group, without those like one of its first rows; some sets at a time are in memory.

        Copies of one page by the hundred thousand are found so; each round halves what is left, or is the last.
        """
        left = np.sort(places)
        while len(left) > SETS_AT_ONCE:
            leader, others = left[:1], left[1:]
            for begin in range(0, len(others), SETS_AT_ONCE):
                some = np.concatenate([leader, others[begin : begin + SETS_AT_ONCE]])
                self.connect(some, np.array([0, len(some)]), rounds=1)
            left = others[roots(self._parent, others) != roots(self._parent, leader)]
            if 2 * len(left) > len(others):
                break
        return left

    def facts(self) -> dict[str, int]:
        """How many pairs were compared."""
        return dict(zip(("compared", "verified", "rejected"), self._counts.tolist(), strict=True))


def sorted_decision(
    position: np.ndarray, survivor: np.ndarray, value: np.ndarray, facts: Mapping[str, Any]
) -> Decision:
    """A decision with its rows in order."""
    order = np.argsort(position)
    return Decision(
        position[order].astype(np.int64), survivor[order].astype(np.int64), value[order].astype(np.float64), facts
    )


@compiled
def _unconnected(
    place_of: np.ndarray, members: np.ndarray, starts: np.ndarray, parent: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The groups that are not in one cluster yet, as places."""
    left, left_starts = np.empty(len(members), np.int64), np.zeros(len(starts), np.int64)
    k = g = 0
    for group in range(len(starts) - 1):
        first = root_of(parent, np.int64(place_of[members[starts[group]]]))
        for i in range(starts[group] + 1, starts[group + 1]):
            if root_of(parent, np.int64(place_of[members[i]])) != first:
                for member in members[starts[group] : starts[group + 1]]:
                    left[k] = place_of[member]
                    k += 1
                g += 1
                left_starts[g] = k
                break
    return left[:k], left_starts[: g + 1]
