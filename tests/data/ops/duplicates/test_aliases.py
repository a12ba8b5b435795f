"""Other names take Data-Juicer's settings and decide as the operation they stand for."""

from __future__ import annotations

import polars as pl
import pytest

from plait.data.batch import Batch, RowsInMemory
from plait.data.op import Barrier
from plait.data.ops.duplicates.catalog import OPS
from plait.data.plan import read_ops

TEXT = " ".join(f"w{i}" for i in range(30))


@pytest.mark.parametrize(
    "setting",
    [
        {"ray_document_deduplicator": {"backend": "redis", "redis_address": "redis://localhost:1", "lowercase": True}},
        {"ray_bts_minhash_deduplicator": {"union_find_parallel_num": 4, "minhash_batch_size": "auto"}},
        {"ray_bts_minhash_cpp_deduplicator": {"merge_batch_size": 10}},
    ],
)
def test_the_first_row_stays(setting: dict[str, dict[str, object]]) -> None:
    [(_, op)] = read_ops([setting])
    assert isinstance(op, Barrier)
    found = op.find_in([TEXT, "other", TEXT])
    assert (found.position.tolist(), found.survivor.tolist()) == ([2], [0])


@pytest.mark.parametrize("name", ["document_minhash_deduplicator_with_uid", "ray_bts_minhash_deduplicator_with_uid"])
def test_the_lowest_number_stays(name: str) -> None:
    [(_, op)] = read_ops([name])
    assert isinstance(op, Barrier)
    batch = Batch.of(pl.DataFrame({"text": [TEXT, "other", TEXT, TEXT], "__dj__uid": [12, 0, 3, 20]}))
    found = op.decide(RowsInMemory(op, batch))
    assert (found.position.tolist(), found.survivor.tolist()) == ([0, 3], [2, 2])


def test_names_are_sorted() -> None:
    assert list(OPS) == sorted(OPS)
