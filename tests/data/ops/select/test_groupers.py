"""Groupers and their way back."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from plait.data.batch import Batch
from plait.data.ops.select.groupers import BATCH_META, KeyValueGrouper, NaiveGrouper, NaiveReverseGrouper
from plait.errors import DataError

ROWS = pl.DataFrame({"text": ["a", "b", "c"], "meta": [{"k": 2}, {"k": 1}, {"k": 2}]})


def test_one_row_of_all_and_back() -> None:
    [grouped] = NaiveGrouper().reduce([Batch.of(ROWS[:1]), Batch.of(ROWS[1:])])
    assert grouped.to_dicts() == [{"text": ["a", "b", "c"], "meta": [{"k": 2}, {"k": 1}, {"k": 2}]}]
    [back] = NaiveReverseGrouper().reduce([Batch.of(grouped)])
    assert back.equals(ROWS)


def test_groups_come_in_the_order_of_their_first_rows() -> None:
    [grouped] = KeyValueGrouper(group_by_keys=("meta.k",)).reduce([Batch.of(ROWS)])
    assert grouped["text"].to_list() == [["a", "c"], ["b"]]
    assert grouped.columns == ROWS.columns


def test_no_rows_make_no_group() -> None:
    empty = Batch.of(ROWS.clear())
    assert list(NaiveGrouper().reduce([empty])) == []
    assert list(KeyValueGrouper().reduce([empty])) == []


def test_what_was_said_of_groups_is_written_or_left_out(tmp_path: Path) -> None:
    grouped = pl.DataFrame({"text": [["a", "b"], ["c"]], BATCH_META: [{"topic": "é"}, {"topic": "x"}]})
    path = tmp_path / "out" / "groups.jsonl"
    [rows] = NaiveReverseGrouper(batch_meta_export_path=path).reduce([Batch.of(grouped)])
    assert rows.to_dict(as_series=False) == {"text": ["a", "b", "c"]}
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"topic": "é"}, {"topic": "x"}]


def test_an_empty_group_makes_no_row() -> None:
    [rows] = NaiveReverseGrouper().reduce([Batch.of(pl.DataFrame({"text": [[], ["a"]]}))])
    assert rows["text"].to_list() == ["a"]


def test_rows_that_are_not_grouped_are_an_error() -> None:
    with pytest.raises(DataError, match='"text" is no list'):
        list(NaiveReverseGrouper().reduce([Batch.of(ROWS)]))
    uneven = pl.DataFrame({"a": [["x", "y"]], "b": [["x"]]})
    with pytest.raises(DataError, match="differ in length"):
        list(NaiveReverseGrouper().reduce([Batch.of(uneven)]))
