"""Clusters for a report: largest first, the least similar shown."""

from __future__ import annotations

import polars as pl
import pytest

from plait.data.batch import Batch, RowsInMemory
from plait.data.dedup.report import clusters, size_counts
from plait.data.ops.duplicates.minhash import DocumentMinhashDeduplicator

WORDS = " ".join(f"w{i}" for i in range(24))
OTHER = " ".join(f"v{i}" for i in range(24))
TEXTS = [OTHER, WORDS, "alone in the world of words", f"{WORDS} x", OTHER, f"{WORDS} x y", WORDS]


def test_largest_first_and_least_similar_first() -> None:
    op = DocumentMinhashDeduplicator()
    batch = Batch.of(pl.DataFrame({"text": TEXTS, "id": list("abcdefg")}))
    rows = RowsInMemory(op, batch)
    decision = op.decide(rows)
    large, small = clusters(decision, rows, shown=2)
    assert (large.size, large.survivor.id, small.size, small.survivor.id) == (4, "b", 2, "a")
    # 20 shingles of 5 words; each word more adds one.
    assert [(m.id, m.similarity) for m in large.members] == [("f", 20 / 22), ("d", 20 / 21)]
    assert large.lowest == pytest.approx(20 / 22)
    assert large.survivor.text == WORDS
    assert [m.id for m in small.members] == ["e"]
    assert size_counts(decision) == {2: 1, 4: 1}
    assert clusters(decision, rows, most=1) == [clusters(decision, rows)[0]]


def test_similarity_that_was_not_measured_is_none() -> None:
    op = DocumentMinhashDeduplicator(verify=False)
    rows = RowsInMemory(op, Batch.of_texts([WORDS, WORDS]))
    [found] = clusters(op.decide(rows), rows, id_key=None)
    assert (found.lowest, found.members[0].similarity) == (None, None)
