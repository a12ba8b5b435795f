"""Weights: the number of rows and the rows themselves are Data-Juicer's, in the order of the input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.core.quarantine import Quarantine
from plait.data.read import Source, blocks
from plait.data.read.mixture import shared_out, times_taken
from plait.errors import UsageError


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, count in (("a", 10), ("b", 7)):
        rows = [{"id": f"{name}{i}", "text": name * i} for i in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n\n" for row in rows))
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet", row_group_size=3)
    return tmp_path


def ids(spec, folder: Path, **how) -> list[str]:
    quarantine = Quarantine(folder / "q" / "quarantine.jsonl")
    found = [str(i) for b in blocks(spec, block_bytes=60, **how) for i in b.load(quarantine)["id"].to_pylist()]
    assert quarantine.total == 0
    return found


def by_hand(rows: int, taken: int) -> list[int]:
    """What Data-Juicer takes: whole rounds, then the first of a shuffle with seed 42."""
    order = np.random.default_rng(42).permutation(rows)
    return sorted([*list(range(rows)) * (taken // rows), *order[: taken % rows].tolist()])


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_share_of_each(files, kind):
    found = ids(f"0.25 {files}/a.{kind} 0.5 {files}/b.{kind}", files)
    assert found == [f"a{i}" for i in by_hand(10, 3)] + [f"b{i}" for i in by_hand(7, 4)]
    assert found == ids([Source(f"{files}/a.{kind}", weight=0.25), Source(f"{files}/b.{kind}", weight=0.5)], files)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_weights_above_one_repeat_rows_under_ids_of_their_own(files, kind):
    found = ids(f"2.5 {files}/b.{kind}", files)
    assert len(found) == len(set(found)) == 18
    assert sorted(int(one[1:].split("#")[0]) for one in found) == by_hand(7, 18)
    assert found[:2] == ["b0", "b0#2"]


def test_weight_0_takes_nothing(files):
    assert ids(f"0 {files}/a.jsonl 1 {files}/b.jsonl", files) == [f"b{i}" for i in range(7)]


def test_at_most_so_many_rows_are_shared_out(files):
    found = ids([Source(f"{files}/a.jsonl", weight=3), Source(f"{files}/b.jsonl", weight=1)], files, max_rows=6)
    assert found == [f"a{i}" for i in by_hand(10, 5)] + [f"b{i}" for i in by_hand(7, 1)]
    with pytest.raises(UsageError, match="all weights are 0"):
        ids(Source(f"{files}/a.jsonl", weight=0), files, max_rows=5)


def test_a_limit_takes_the_first_rows(files):
    assert ids(Source(f"{files}/a.jsonl", limit=4), files) == ["a0", "a1", "a2", "a3"]
    assert ids(Source(f"{files}/a.parquet", limit=400), files) == [f"a{i}" for i in range(10)]


def test_bad_lines_count_as_rows_and_only_those_taken_are_set_aside(files):
    path = files / "bad.jsonl"
    path.write_text("\n".join(["{oops"] * 5 + ['{"id": "x", "text": "a"}'] * 5))
    quarantine = Quarantine(files / "q" / "quarantine.jsonl")
    given_rows = sum(block.load(quarantine).num_rows for block in blocks(f"0.6 {path}"))
    assert given_rows + quarantine.total == 6
    taken = by_hand(10, 6)
    assert quarantine.total == sum(i < 5 for i in taken)
    lines = [json.loads(line)["where"] for line in quarantine.path.read_text().splitlines()]
    assert lines == [f"{path}:{i + 1}" for i in taken if i < 5]


def test_keys_tell_choices_apart(files):
    keys = [block.key for spec in ("0.3", "0.5", "1") for block in blocks(f"{spec} {files}/a.jsonl")]
    assert len(set(keys)) == len(keys) == 3


@given(st.integers(1, 200), st.integers(0, 700))
def test_as_many_are_taken_as_asked_and_evenly(rows, taken):
    times = times_taken(rows, taken)
    assert times.sum() == taken
    assert times.max() - times.min() <= 1


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=6), st.integers(1, 1000))
def test_shares_make_the_whole(weights, most):
    shares = shared_out(weights, most)
    assert sum(shares) == most
    assert min(shares) >= 0
