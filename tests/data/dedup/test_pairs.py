"""Comparing many rows that share a key: nothing similar is missed, and few of the others are looked at."""

from __future__ import annotations

import numpy as np
import pytest

from plait.data.dedup import clusters
from plait.data.dedup.clusters import Candidates, cluster
from plait.data.dedup.groups import Groups, Spill
from plait.data.dedup.pairs import ALL_ROUNDS, connect
from plait.data.dedup.sets import SetStore, room_for
from plait.data.dedup.unions import join, roots

TEMPLATE = frozenset(range(1, 61))


def made(rows: int, seed: int) -> list[frozenset[int]]:
    """Pages of one template, copies of them with changes, and others."""
    random = np.random.default_rng(seed)
    pool = np.arange(100, 400)
    found = list[frozenset[int]]()
    for _ in range(rows):
        own = frozenset(random.choice(pool, random.integers(1, 40)).tolist())
        kind = random.random()
        if found and kind < 0.3:
            copied = found[random.integers(len(found))]
            own = (copied | frozenset(random.choice(pool, 2).tolist())) - frozenset(random.choice(pool, 30).tolist())
        elif kind < 0.8:
            own |= TEMPLATE
        found.append(own)
    return found


def stored(sets: list[frozenset[int]]) -> SetStore:
    mixed = [[value * 0x9E3779B97F4A7C15 % 2**64 for value in sorted(own)] for own in sets]
    starts = np.cumsum([0, *map(len, mixed)])
    return SetStore.of(np.array([value for own in mixed for value in own], np.uint64), starts)


def jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    return len(a & b) / len(a | b) if a and b else 0.0


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 0.7, 0.9, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_nothing_similar_is_missed_and_nothing_else_joined(threshold: float, seed: int) -> None:
    sets = made(150, seed)
    store, parent, counts = stored(sets), np.arange(len(sets)), np.zeros(3, np.int64)
    earlier = [(3, 90), (70, 149)]  # joined by another key
    components = np.arange(len(sets))
    for a, b in earlier:
        join(parent, a, b)
        join(components, a, b)
    everyone, table = np.arange(len(sets)), np.zeros(room_for(store.size), np.uint64)
    starts = np.array([0, len(sets)])
    connect(everyone, starts, store.values, store.start, store.size, threshold, parent, counts, table, ALL_ROUNDS)
    similar = [(i, j) for i in everyone for j in everyone[:i] if jaccard(sets[i], sets[j]) >= threshold]
    for i, j in similar:
        join(components, i, j)
    root = roots(parent, everyone)
    assert (roots(components, root) == roots(components, everyone)).all()
    assert not [(i, j) for i, j in similar if root[i] == i and root[j] == j]


def pages(rows: int) -> list[frozenset[int]]:
    """A third of each page is its own: pages are half alike."""
    random = np.random.default_rng(1)
    return [TEMPLATE | frozenset(random.integers(10**6, 10**12, 30).tolist()) for _ in range(rows)]


def decided(sets: list[frozenset[int]]) -> tuple[list[int], list[int], int]:
    candidates = Candidates(len(sets), Spill(None, 0))
    candidates.add(Groups(np.arange(len(sets)), np.array([0, len(sets)])))
    found = cluster(candidates, np.arange(len(sets)), stored(sets), 0.7, {})
    return found.position.tolist(), found.survivor.tolist(), int(found.facts["compared"])


def test_pages_of_one_template_are_not_all_compared_with_each_other() -> None:
    """All pairs would be two millions."""
    sets = pages(2_000)
    sets[1_500] = sets[700]
    position, survivor, compared = decided(sets)
    assert (position, survivor) == ([1_500], [700])
    assert compared < 50 * len(sets)


def test_copies_of_one_page_are_compared_with_the_first_alone() -> None:
    position, _, compared = decided([TEMPLATE] * 3_000)
    assert position == list(range(1, 3_000))
    assert compared == 2_999


def test_how_many_sets_are_in_memory_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = [*made(200, 7), *[TEMPLATE] * 100, *pages(100)]
    whole = decided(sets)
    for some in (2, 16, 250):
        monkeypatch.setattr(clusters, "SETS_AT_ONCE", some)
        assert decided(sets)[:2] == whole[:2]
