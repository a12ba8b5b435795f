"""SimHash: majorities by hand, all pairs within the distance, the same clusters as comparing everybody."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from plait.data.batch import Batch, RowsInMemory
from plait.data.dedup.crowded import parts_of
from plait.data.dedup.groups import Groups
from plait.data.dedup.simhash import block_masks, connect, simhashes
from plait.data.op import Columns
from plait.data.ops.duplicates.simhash import DocumentSimhashDeduplicator


class Given(DocumentSimhashDeduplicator):
    """Takes the texts for hashes."""

    def keys(self, batch: Batch) -> Columns:
        return {"simhash": batch.text().cast(pl.UInt64).to_numpy().reshape(-1, 1)}


def test_bits_go_by_majority_and_a_tie_is_0() -> None:
    shingles = np.array([0b1110, 0b0111, 0b0101, 0b0011, 0b0001], np.uint64)
    found = simhashes(shingles, np.array([0, 3, 3, 5]))
    assert found.tolist() == [0b0111, 0, 0b0001]


@given(st.integers(1, 6), st.integers(1, 5), st.data())
def test_close_hashes_agree_on_a_mask(more: int, distance: int, data: st.DataObject) -> None:
    flips = data.draw(st.lists(st.integers(0, 63), max_size=distance))
    differing = 0
    for bit in flips:
        differing |= 1 << bit
    assert any(not mask & differing for mask in block_masks(distance + more, distance))


@settings(deadline=None)
@given(
    bases=st.lists(st.integers(1, 2**64 - 1), min_size=1, max_size=3),
    rows=st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(0, 63), max_size=4)), max_size=14),
)
def test_clusters_are_those_of_comparing_everybody(bases: list[int], rows: list[tuple[int, list[int]]]) -> None:
    hashes = list[int]()
    for base, flips in rows:
        value = bases[base % len(bases)]
        for bit in flips:
            value ^= 1 << bit
        hashes.append(value or 1)
    cluster = list(range(len(hashes)))
    for i, a in enumerate(hashes):
        for j, b in enumerate(hashes[:i]):
            if (a ^ b).bit_count() <= 4:
                old, new = max(cluster[i], cluster[j]), min(cluster[i], cluster[j])
                cluster = [new if c == old else c for c in cluster]
    found = Given().find_in([str(value) for value in hashes])
    assert found.position.tolist() == [i for i, c in enumerate(cluster) if c != i]
    assert found.survivor.tolist() == [c for i, c in enumerate(cluster) if c != i]
    differing = [(hashes[i] ^ hashes[c]).bit_count() for i, c in enumerate(cluster) if c != i]
    assert found.value.tolist() == [1 - bits / 64 for bits in differing]


def test_near_copies_and_short_texts() -> None:
    random = np.random.default_rng(0)
    words = [f"w{i}" for i in range(500)]
    texts = [" ".join(random.choice(words, 300)) for _ in range(20)]
    texts += [text.replace(" ", "\n", 1) for text in texts[:5]] + ["short", "brief"]
    assert DocumentSimhashDeduplicator().find_in(texts).position.tolist() == [20, 21, 22, 23, 24]
    compat = DocumentSimhashDeduplicator(compat="data-juicer")
    assert compat.find_in(["short", "brief", texts[0]]).position.tolist() == [1]


def test_memory_does_not_matter() -> None:
    op = DocumentSimhashDeduplicator(window_size=1)
    batch = Batch.of_texts([f"a b c d e f g h {i % 7} {i % 5}" for i in range(60)])
    rows = RowsInMemory(op, batch)
    whole = op.decide(rows)
    rows.memory_bytes = 200
    parts = op.decide(rows)
    assert (whole.position.tolist(), whole.survivor.tolist()) == (parts.position.tolist(), parts.survivor.tolist())


def test_the_distance_must_be_below_the_blocks() -> None:
    with pytest.raises(ValidationError, match="below num_blocks"):
        DocumentSimhashDeduplicator(num_blocks=4)


def close_pairs(hashes: np.ndarray, distance: int) -> set[tuple[int, int]]:
    apart = np.bitwise_count(hashes[:, None] ^ hashes)
    return {(int(i), int(j)) for i, j in np.argwhere(apart <= distance) if i < j}


@pytest.mark.parametrize("varying", [14, 20, 43, 64])
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_no_close_pair_of_a_large_group_is_missed(varying: int, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plait.data.dedup.crowded.MANY", 30)
    random = np.random.default_rng(varying)
    bits = random.random((400, varying)) < share
    drawn = (bits * (np.uint64(1) << np.arange(varying, dtype=np.uint64))).sum(axis=1, dtype=np.uint64)
    copies = drawn[:40] ^ (np.uint64(1) << random.integers(0, varying, 40).astype(np.uint64))
    hashes = np.unique(np.concatenate([drawn, copies]))
    parts = list(parts_of(hashes, 4))
    together = {(int(i), int(j)) for part in parts for i in part for j in part if i < j}
    assert close_pairs(hashes, 4) <= together
    assert sum(len(part) ** 2 for part in parts) <= len(hashes) ** 2


def test_pages_of_one_template_are_not_compared_all_with_all() -> None:
    random = np.random.default_rng(1)
    low = np.uint64((1 << 43) - 1)  # the bits of two blocks are equal
    pages = random.integers(1, 1 << 63, 30_000, np.uint64) & low
    copies = pages[:50] ^ (np.uint64(1) << random.integers(0, 43, 50).astype(np.uint64))
    hashes = np.concatenate([pages, copies])
    parent = np.arange(len(hashes))
    compared, _ = connect(hashes, iter([Groups(np.arange(len(hashes)), np.array([0, len(hashes)]))]), 4, parent)
    assert compared < len(hashes) ** 2 / 50
    assert (parent[len(pages) :] < len(pages)).all()
