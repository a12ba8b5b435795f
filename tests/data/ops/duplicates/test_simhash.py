"""SimHash: majorities by hand, all pairs within the distance, the same clusters as comparing everybody."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from plait.data.batch import Batch, RowsInMemory
from plait.data.dedup.simhash import block_masks, simhashes
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
