"""Chunks, workers, engines and kills change nothing; every row is accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.core.io import write_table
from plait.core.quarantine import Quarantine
from plait.data.execute import Curated, execute
from plait.engines import LocalEngine
from plait.errors import DataError
from plait.records import DOCUMENT

OPS = [
    "whitespace_normalization_mapper",
    {"text_length_filter": {"min_len": 20}},
    {"words_num_filter": {"min_num": 4}},
    "document_deduplicator",
    {"document_minhash_deduplicator": {"window_size": 3, "jaccard_threshold": 0.6}},
    {"alphanumeric_filter": {"min_ratio": 0.8}},
]


def documents(count: int, *, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    words = [f"word{i}" for i in range(40)] + ["--", "!!!", "\t"]
    rows = list[dict[str, str]]()
    for i in range(count):
        text = " ".join(random.choice(words, int(random.integers(1, 20))))
        if i % 7 == 3 and rows:
            text = rows[int(random.integers(len(rows)))]["text"] + (" more" if i % 2 else "")
        rows.append({"id": f"doc-{int(random.integers(10**9)):09d}-{i}", "text": text, "source": "s", "group": "g"})
    return pa.Table.from_pylist(rows, DOCUMENT)


class Serial:
    """The engine protocol's map, counting what it was asked to do."""

    name = "serial"

    def __init__(self, fail_after: int | None = None) -> None:
        self.done = 0
        self.fail_after = fail_after

    def map(self, function: Callable, shards: Sequence, *, workers: int | None = None, on_done=None) -> list:
        results = []
        for shard in shards:
            if self.done == self.fail_after:
                raise KeyboardInterrupt
            results.append(function(shard))
            self.done += 1
        return results


def run(table: pa.Table, folder: Path, *, chunk: int, engine=None, workers: int | None = None) -> Curated:
    return execute(
        OPS,
        table.to_batches(max_chunksize=chunk),
        folder=folder / "chunks",
        engine=engine or Serial(),
        quarantine=Quarantine(folder / "q.jsonl"),
        workers=workers,
    )


def written(curated: Curated, folder: Path) -> tuple[bytes, bytes]:
    write_table(curated.documents(), folder / "d.parquet", schema=DOCUMENT)
    write_table(curated.lineage(), folder / "l.parquet", schema=curated.lineage_schema)
    return (folder / "d.parquet").read_bytes(), (folder / "l.parquet").read_bytes()


def test_every_row_is_accounted_for(tmp_path: Path) -> None:
    table = documents(300)
    curated = run(table, tmp_path, chunk=64)
    lineage = pa.Table.from_batches(curated.lineage()).to_pylist()
    kept = pa.Table.from_batches(curated.documents()).to_pylist()
    assert [r["id"] for r in lineage] == sorted(table["id"].to_pylist())
    assert [r["id"] for r in kept] == [r["id"] for r in lineage if r["kept"]]
    assert all((r["dropped_by"] is None) == r["kept"] for r in lineage)
    by_op = Counter(r["dropped_by"] for r in lineage)
    assert set(by_op) == {
        None,
        "text_length_filter",
        "words_num_filter",
        "document_deduplicator",
        "document_minhash_deduplicator",
        "alphanumeric_filter",
    }
    original = {r["id"]: r["text"] for r in table.to_pylist()}
    for row in lineage:
        assert row["text_len"] == len(" ".join(original[row["id"]].strip().replace("\t", " ").split(" ")))
        if row["dropped_by"] == "text_length_filter":
            assert row["stat"] == "text_len"
            assert row["value"] == row["text_len"] < 20
        if row["dropped_by"] in ("document_deduplicator", "document_minhash_deduplicator"):
            assert row["duplicate_of"] < row["id"]
            assert 0 < row["value"] <= 1
        else:
            assert row["duplicate_of"] is None


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), chunk=st.integers(9, 90), shuffle=st.integers(0, 10**6))
def test_neither_chunking_nor_order_matters(
    tmp_path_factory: pytest.TempPathFactory, seed: int, chunk: int, shuffle: int
) -> None:
    table = documents(80, seed=seed)
    folder = tmp_path_factory.mktemp("whole")
    expected = written(run(table, folder, chunk=200), folder)
    shuffled = table.take(np.random.default_rng(shuffle).permutation(len(table)))
    folder = tmp_path_factory.mktemp("parts")
    assert written(run(shuffled, folder, chunk=chunk), folder) == expected


def test_finished_chunks_are_found_again(tmp_path: Path) -> None:
    table = documents(200)
    expected = written(run(table, tmp_path / "a", chunk=40), tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        run(table, tmp_path / "b", chunk=40, engine=Serial(fail_after=7))
    again = Serial()
    assert written(run(table, tmp_path / "b", chunk=40, engine=again), tmp_path / "b") == expected
    assert again.done == 3  # two passes over five chunks, seven of the ten visits were done


def test_settings_that_change_are_worked_anew(tmp_path: Path) -> None:
    table = documents(50)
    run(table, tmp_path, chunk=25)
    again = Serial()
    execute(
        ["whitespace_normalization_mapper"],
        table.to_batches(max_chunksize=25),
        folder=tmp_path / "chunks",
        engine=again,
        quarantine=Quarantine(tmp_path / "q.jsonl"),
    )
    assert again.done == 2


def test_equal_chunks_are_told_apart_and_repeated_ids_set_aside(tmp_path: Path) -> None:
    table = documents(20)
    quarantine = Quarantine(tmp_path / "q.jsonl")
    curated = execute(
        ["whitespace_normalization_mapper"],
        [*table.to_batches(), *table.to_batches()],
        folder=tmp_path / "chunks",
        engine=Serial(),
        quarantine=quarantine,
    )
    assert sum(b.num_rows for b in curated.documents()) == 20
    assert quarantine.counts == {"id was seen before": 20}


def test_nothing_to_do_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.empty"):
        execute(OPS, [], folder=tmp_path, engine=Serial(), quarantine=Quarantine(tmp_path / "q.jsonl"))


@pytest.mark.parametrize("workers", [1, 2])
def test_local_workers_give_the_same_bytes(tmp_path: Path, workers: int) -> None:
    table = documents(150)
    expected = written(run(table, tmp_path / "serial", chunk=200), tmp_path / "serial")
    with LocalEngine(workers=workers) as engine:
        curated = run(table, tmp_path / "local", chunk=40, engine=engine, workers=workers)
        assert written(curated, tmp_path / "local") == expected


@pytest.mark.ray
@pytest.mark.slow
def test_ray_gives_the_same_bytes(tmp_path: Path) -> None:
    from plait.engines import open_engine

    table = documents(150)
    expected = written(run(table, tmp_path / "serial", chunk=200), tmp_path / "serial")
    with open_engine("ray") as engine:
        curated = run(table, tmp_path / "ray", chunk=40, engine=engine, workers=2)
        assert written(curated, tmp_path / "ray") == expected
