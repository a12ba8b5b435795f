"""Selectors: by hand, against Data-Juicer's rule written out with its own heaps, and however rows are cut."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.data.batch import Batch, RowsInMemory
from plait.data.op import Selector
from plait.data.ops.select.fields import digests, numbers
from plait.data.ops.select.selectors import (
    FrequencySpecifiedFieldSelector,
    RandomSelector,
    RangeSpecifiedFieldSelector,
    TagsSpecifiedFieldSelector,
    TopkSpecifiedFieldSelector,
)
from plait.errors import DataError

FEW = st.lists(st.integers(0, 5), min_size=2, max_size=30)


def kept(op: Selector, values: Any, name: str = "n") -> list[int]:
    frame = pl.DataFrame({"text": ["t"] * len(values), name: values}, strict=False)
    dropped = op.decide(RowsInMemory(op, Batch.of(frame))).position.tolist()
    return sorted(set(range(len(values))) - set(dropped))


@given(FEW, st.integers(1, 30), st.booleans())
def test_topk_takes_what_a_heap_takes(values: list[int], topk: int, reverse: bool) -> None:
    heap = heapq.nlargest if reverse else heapq.nsmallest
    wanted = heap(topk, range(len(values)), values.__getitem__)
    assert kept(TopkSpecifiedFieldSelector(field_key="n", topk=topk, reverse=reverse), values) == sorted(wanted)


@given(FEW, st.integers(1, 10), st.integers(1, 30))
def test_range_takes_what_two_heaps_take(values: list[int], low: int, high: int) -> None:
    high = max(low, min(high, len(values)))
    below = heapq.nsmallest(high, range(len(values)), values.__getitem__)
    wanted = heapq.nlargest(high - low, below, values.__getitem__)
    assert kept(RangeSpecifiedFieldSelector(field_key="n", lower_rank=low, upper_rank=high), values) == sorted(wanted)


def test_topk_counts_the_smaller_of_share_and_number_and_rounds_down() -> None:
    assert kept(TopkSpecifiedFieldSelector(field_key="n", top_ratio=0.5), [1, 2, 3]) == [2]
    assert kept(TopkSpecifiedFieldSelector(field_key="n", top_ratio=1.0, topk=2), [1, 2, 3]) == [1, 2]


def test_topk_reads_numbers_inside_structs() -> None:
    values = [{"a": "10"}, {"a": "9"}, {"a": "none"}, {"a": None}]
    assert kept(TopkSpecifiedFieldSelector(field_key="n.a", topk=2), values) == [0, 1]
    assert kept(TopkSpecifiedFieldSelector(field_key="n.a", topk=1, reverse=False), values) == [1]


def test_topk_orders_texts_as_texts_and_null_last() -> None:
    assert kept(TopkSpecifiedFieldSelector(field_key="n", topk=2), ["10", None, "9", "8"]) == [2, 3]
    assert kept(TopkSpecifiedFieldSelector(field_key="n", topk=2, reverse=False), ["10", None, "9", "8"]) == [0, 3]


def test_large_integers_are_not_merged() -> None:
    assert kept(TopkSpecifiedFieldSelector(field_key="n", topk=1), [2**53, 2**53 + 1]) == [1]


def test_the_rank_of_a_dropped_row_is_told() -> None:
    op = TopkSpecifiedFieldSelector(field_key="n", topk=1)
    decision = op.decide(RowsInMemory(op, Batch.of(pl.DataFrame({"n": [5, 7, 6]}))))
    assert decision.position.tolist() == [0, 2]
    assert decision.value.tolist() == [3.0, 2.0]
    assert decision.facts == {"rows": 3, "kept": 1}


def test_frequency_keeps_all_rows_of_the_most_frequent_values() -> None:
    values = ["b", "a", "c", "a", "c", "d"]
    assert kept(FrequencySpecifiedFieldSelector(field_key="n", topk=1), values) == [1, 3]
    assert kept(FrequencySpecifiedFieldSelector(field_key="n", topk=2), values) == [1, 2, 3, 4]
    assert kept(FrequencySpecifiedFieldSelector(field_key="n", top_ratio=0.25, reverse=False), values) == [0]


def test_frequency_counts_null_as_a_value() -> None:
    assert kept(FrequencySpecifiedFieldSelector(field_key="n", topk=1), [None, 1, None]) == [0, 2]


def test_tags_tell_texts_from_numbers() -> None:
    assert kept(TagsSpecifiedFieldSelector(field_key="n", target_tags=("1", "a")), [1, 2]) == []
    assert kept(TagsSpecifiedFieldSelector(field_key="n", target_tags=(1,)), [1.0, 2.0]) == [0]
    assert kept(TagsSpecifiedFieldSelector(field_key="n", target_tags=("a", None)), ["A", "a", None]) == [1, 2]


def test_the_sample_is_that_of_a_shuffle_with_the_seed() -> None:
    wanted = np.random.default_rng(42).permutation(20)[:5]
    assert kept(RandomSelector(select_ratio=0.25), range(20)) == sorted(wanted.tolist())
    assert kept(RandomSelector(select_ratio=0.25, seed=1), range(20)) != sorted(wanted.tolist())


def test_a_share_below_one_row_keeps_none_unless_asked_to_do_as_data_juicer() -> None:
    assert kept(RandomSelector(select_ratio=0.01), range(20)) == []
    assert kept(RandomSelector(select_ratio=0.01, compat="data-juicer"), range(20)) == list(range(20))


@pytest.mark.parametrize(
    "op",
    [
        TopkSpecifiedFieldSelector(topk=1),
        TopkSpecifiedFieldSelector(field_key="n"),
        FrequencySpecifiedFieldSelector(field_key="n"),
        RangeSpecifiedFieldSelector(field_key="n", upper_rank=1),
        RandomSelector(),
    ],
)
def test_settings_that_ask_for_nothing_drop_nothing(op: Selector) -> None:
    assert kept(op, [3, 1, 2]) == [0, 1, 2]


def test_a_single_row_is_left_alone() -> None:
    assert kept(TagsSpecifiedFieldSelector(field_key="n", target_tags=("a",)), ["b"]) == [0]


@pytest.mark.parametrize("name", ["m", "n.m"])
def test_a_field_that_does_not_exist_is_an_error(name: str) -> None:
    with pytest.raises(DataError, match=f'there is no field "{name}"'):
        kept(TopkSpecifiedFieldSelector(field_key=name, topk=1), [{"a": 1}, {"a": 2}])


def test_values_that_cannot_be_counted_are_an_error() -> None:
    with pytest.raises(DataError, match="neither texts nor numbers"):
        digests(pl.Series("n", [[1], [2]]))


@given(st.lists(st.one_of(st.none(), st.integers(-(2**62), 2**62)), min_size=1))
def test_digests_are_equal_exactly_where_values_are(values: list[int | None]) -> None:
    keys = digests(pl.Series(values, dtype=pl.Int64))
    for value, key in zip(values, keys, strict=True):
        assert [v == value for v in values] == (keys == key).all(axis=1).tolist()


def test_numbers_of_what_is_no_number() -> None:
    assert numbers(pl.Series([float("nan"), 1.0]), missing=-7.0).tolist() == [-7.0, 1.0]
    assert numbers(pl.Series([{"a": 1}]), missing=-7.0).tolist() == [-7.0]
