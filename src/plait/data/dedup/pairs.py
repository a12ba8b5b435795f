"""Rows that share a key, compared: similar ones are joined, and few of the others are looked at.

A group of rows has a leader, the first; all others are compared with it, those that are not similar to it with the
first among themselves, and so on. Where many are left that are alike but not enough (pages of one template), all
pairs would be compared so. Then a pair is compared only if it shares a *rare* shingle: two sets that share at least
``need`` values share one of the ``size - need + 1`` rarest of each, whatever "rare" means, as long as it is the same
order for both. None that is similar is missed.

Source: Chaudhuri et al. 2006, "A primitive operator for similarity joins in data cleaning"; Xiao et al. 2008,
"Efficient similarity joins for near duplicate detection" (the bound by what is left of both).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from plait.data.dedup.sets import fill, shared_with
from plait.data.dedup.unions import join, root_of
from plait.data.loops import compiled, inlined

ALL_ROUNDS = np.iinfo(np.int64).max
_LEADERS = 32
"""Leaders compared with all that are left, before rare shingles are looked at."""
_MANY = 64
"""Rows left for which that pays."""
_COUNTERS = 1 << 24
"""Counters of shingles at most: how rare they are is counted by some of their bits."""
_ALL_BITS, _KEPT, _OFTEN, _ONE = np.uint64(64), np.uint64(40), np.uint64((1 << 24) - 1), np.uint64(1)


@compiled
def connect(
    places: np.ndarray,
    starts: np.ndarray,
    values: np.ndarray,
    start: np.ndarray,
    size: np.ndarray,
    threshold: float,
    parent: np.ndarray,
    counts: np.ndarray,
    table: np.ndarray,
    rounds: int,
) -> None:
    """Join the similar rows of each group.

    Args:
        places: Rows, group by group, int64 ``[members]``.
        starts: Where each group starts, int64 ``[groups + 1]``.
        values: Sets of all rows, uint64.
        start: Where the set of each row starts, int64 ``[rows]``.
        size: How many values it has, int64 ``[rows]``.
        threshold: Least Jaccard similarity; below 0 every pair is similar, and no set is looked at.
        parent: Union-find over rows, changed.
        counts: Pairs compared, similar, not similar; added to.
        table: Room for the largest set; see `plait.data.dedup.sets.room_for`.
        rounds: Leaders of a group at most, to look at a part of it.
    """
    for g in range(len(starts) - 1):
        waiting = np.sort(places[starts[g] : starts[g + 1]])
        left, round_ = len(waiting), 0
        while left > 1 and round_ < rounds:
            if round_ >= _LEADERS and left > _MANY and threshold > 0:
                _by_rare_values(waiting[:left], values, start, size, threshold, parent, counts, table)
                break
            round_ += 1
            leader, used, kept = waiting[0], 0, 0
            for j in range(1, left):
                other = waiting[j]
                if root_of(parent, leader) == root_of(parent, other):
                    continue
                similar = threshold < 0
                if not similar:
                    need = _needed(size[leader], size[other], threshold)
                    if min(size[leader], size[other]) >= need:
                        if used == 0:
                            used = fill(table, values[start[leader] : start[leader] + size[leader]])
                        similar = _similar(leader, other, need, values, start, size, threshold, table, used)
                counts[0] += 1
                if similar:
                    join(parent, leader, other)
                    counts[1] += 1
                else:
                    waiting[kept] = other
                    kept += 1
                    counts[2] += 1
            left = kept


@inlined
def _needed(a: int, b: int, threshold: float) -> Any:
    """Shared values needed for the threshold, at least one; else one less, so that rounding decides nothing."""
    return max(np.int64(threshold * (a + b) / (1 + threshold)) - 1, 1)


@compiled
def _similar(
    leader: int,
    other: int,
    need: int,
    values: np.ndarray,
    start: np.ndarray,
    size: np.ndarray,
    threshold: float,
    table: np.ndarray,
    used: int,
) -> bool:
    a, b = size[leader], size[other]
    shared = shared_with(table, used, values[start[other] : start[other] + b], b - need)
    return shared >= 0 and shared / (a + b - shared) >= threshold


@compiled
def _by_rare_values(
    rows: np.ndarray,
    values: np.ndarray,
    start: np.ndarray,
    size: np.ndarray,
    threshold: float,
    parent: np.ndarray,
    counts: np.ndarray,
    table: np.ndarray,
) -> None:
    """Join the similar rows of one group, ascending as given."""
    first, found, tokens, owner, rest = _rare_values(rows, values, start, size, threshold)
    # Entries of equal tokens stand together, smaller sets first.
    order = np.argsort(tokens, kind="mergesort")
    begin, end = _runs(tokens, order)
    # An entry is done with when its row has been a leader or is in the cluster of one; the next that is not follows.
    following = np.arange(len(order) + 1)
    done, seen = np.zeros(len(rows), np.bool_), np.full(len(rows), -1, np.int64)
    for i in range(len(rows)):
        if done[i]:
            continue
        done[i] = True
        leader, a, used = rows[i], size[rows[i]], 0
        least = np.int64(threshold * a) - 1
        for k in range(first[i], first[i] + found[i]):
            e = root_of(following, _first_of_size(begin[k], end[k], least, order, owner, rows, size))
            while e < end[k]:
                j = owner[order[e]]
                if done[j]:
                    following[e] = e + 1
                    e = root_of(following, e)
                    continue
                other = rows[j]
                need = _needed(a, size[other], threshold)
                if min(a, rest[k]) < need:
                    break  # and for larger ones even more
                if seen[j] != i and min(size[other], rest[order[e]]) >= need:
                    seen[j] = i
                    if root_of(parent, leader) == root_of(parent, other):
                        done[j] = True
                    else:
                        if used == 0:
                            used = fill(table, values[start[leader] : start[leader] + a])
                        done[j] = _similar(leader, other, need, values, start, size, threshold, table, used)
                        counts[0] += 1
                        if done[j]:
                            join(parent, leader, other)
                            counts[1] += 1
                        else:
                            counts[2] += 1
                e = root_of(following, e + 1)


@compiled
def _rare_values(
    rows: np.ndarray, values: np.ndarray, start: np.ndarray, size: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The rarest values of each set, of which similar sets share one; those that no other set has are left out.

    Returns:
        Where the entries of each row start, and how many there are ``[rows]``. Of each entry, smaller sets first: a
        token, which is the value after how often it is there; whose it is; and how many values of that set are not
        rarer ``[entries]``.
    """
    total, most = 0, 0
    for row in rows:
        total += size[row]
        most += size[row] - max(np.int64(threshold * size[row]) - 1, 1) + 1
    room = 16
    while room < 2 * total and room < _COUNTERS:
        room *= 2
    mask, often = np.uint64(room - 1), np.zeros(room, np.uint32)
    for row in rows:
        for value in values[start[row] : start[row] + size[row]]:
            often[value & mask] += np.uint32(1)
    first, found = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    tokens, owner, rest = np.empty(most, np.uint64), np.empty(most, np.int32), np.empty(most, np.int32)
    n = 0
    for i in np.argsort(size[rows], kind="mergesort"):
        a = size[rows[i]]
        own = values[start[rows[i]] : start[rows[i]] + a].copy()
        for k in range(a):
            own[k] = (min(np.uint64(often[own[k] & mask]), _OFTEN) << _KEPT) | (own[k] >> (_ALL_BITS - _KEPT))
        own.sort()
        first[i] = n
        for k in range(min(a, a - max(np.int64(threshold * a) - 1, 1) + 1)):
            if own[k] >> _KEPT > _ONE:
                tokens[n], owner[n], rest[n] = own[k], i, a - k
                n += 1
        found[i] = n - first[i]
    return first, found, tokens[:n].copy(), owner[:n].copy(), rest[:n].copy()


@compiled
def _runs(tokens: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each entry, where those of its token begin and end in order."""
    begin, end = np.empty(len(order), np.int64), np.empty(len(order), np.int64)
    i = 0
    while i < len(order):
        j = i
        while j < len(order) and tokens[order[j]] == tokens[order[i]]:
            j += 1
        for e in range(i, j):
            begin[order[e]], end[order[e]] = i, j
        i = j
    return begin, end


@inlined
def _first_of_size(
    low: int, high: int, least: int, order: np.ndarray, owner: np.ndarray, rows: np.ndarray, size: np.ndarray
) -> int:
    """The first of some entries, smaller sets first, whose set has at least so many values."""
    while low < high:
        middle = (low + high) // 2
        if size[rows[owner[order[middle]]]] < least:
            low = middle + 1
        else:
            high = middle
    return low
