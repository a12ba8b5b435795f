"""Vectors: clusters as by comparing everybody, the graph finds what all pairs find; and a real encoder."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from plait.data.batch import Batch, RowsInMemory
from plait.data.dedup import embeddings
from plait.data.op import Columns
from plait.data.ops.duplicates.semantic import SemanticDeduplicator

RANDOM = np.random.default_rng(0)
BASES = RANDOM.normal(size=(40, 16))
DRAWN = np.concatenate([BASES, BASES[:15] + RANDOM.normal(scale=0.01, size=(15, 16))])
VECTORS = (DRAWN / np.linalg.norm(DRAWN, axis=1, keepdims=True)).astype(np.float32)


class Given(SemanticDeduplicator):
    """Takes the texts for places in `VECTORS`."""

    def keys(self, batch: Batch) -> Columns:
        return {"vector": VECTORS[batch.text().cast(pl.Int64).to_numpy()]}


def test_close_vectors_are_one_cluster_and_the_first_stays() -> None:
    found = Given().find_in([str(i) for i in range(55)])
    assert found.position.tolist() == list(range(40, 55))
    assert found.survivor.tolist() == list(range(15))
    exact = (VECTORS[40:].astype(float) * VECTORS[:15]).sum(axis=1)
    assert found.value == pytest.approx(exact, abs=1e-6)
    assert found.facts["clusters"] == 15


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [str(i) for i in RANDOM.permutation(55)]
    whole = Given().find_in(texts)
    monkeypatch.setattr(embeddings, "_BLOCK", 7)
    assert Given().find_in(texts).position.tolist() == whole.position.tolist()


def test_the_graph_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    texts = [str(i) for i in range(55)]
    whole = Given().find_in(texts)
    monkeypatch.setattr(embeddings, "EXACT_ROWS", 10)
    graph = Given().find_in(texts)
    assert graph.position.tolist() == whole.position.tolist()
    assert graph.survivor.tolist() == whole.survivor.tolist()


def test_the_best_stays() -> None:
    op = Given(keep="best", score_key="score")
    batch = Batch.of(pl.DataFrame({"text": ["0", "40", "1"], "score": [0, 1, 0]}))
    found = op.decide(RowsInMemory(op, batch))
    assert (found.position.tolist(), found.survivor.tolist()) == ([0], [1])


@pytest.mark.model
def test_the_same_in_other_words() -> None:
    texts = [
        "The cat sits on the mat.",
        "A cat is sitting on the mat.",
        "Interest rates rose sharply last year.",
        "",
        " ",
    ]
    found = SemanticDeduplicator(cosine_threshold=0.9).find_in(texts)
    assert (found.position.tolist(), found.survivor.tolist()) == ([1], [0])
