"""Filters of fields: suffixes, values, numbers, conditions."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from plait.data.batch import Batch
from plait.data.op import Filter
from plait.data.ops.filters.expression import GeneralFieldFilter
from plait.data.ops.filters.fields import SpecifiedFieldFilter, SpecifiedNumericFieldFilter, SuffixFilter
from plait.errors import DataError


def kept(op: Filter, frame: dict[str, Any]) -> list[bool]:
    batch = Batch.of(pl.DataFrame(frame))
    return op.keeps(batch, op.measure(batch)).tolist()


def test_suffixes() -> None:
    rows = {"text": ["a", "b", "c"], "__dj__suffix__": [".md", ".py", None]}
    assert kept(SuffixFilter(suffixes=(".md", ".txt")), rows) == [True, False, False]
    assert kept(SuffixFilter(suffixes=".md", reversed_range=True), rows) == [False, True, True]
    assert kept(SuffixFilter(), rows) == [True, True, True]


def test_values_compare_as_in_python() -> None:
    rows = {"n": [1, 2, None], "s": ["1", "x", None], "l": [["x"], ["x", "y"], []], "m": [{"k": 1}, {"k": 2}, {"k": 3}]}
    assert kept(SpecifiedFieldFilter(field_key="n", target_value=(1.0,)), rows) == [True, False, False]
    assert kept(SpecifiedFieldFilter(field_key="n", target_value=("1",)), rows) == [False, False, False]
    assert kept(SpecifiedFieldFilter(field_key="s", target_value=("x", None)), rows) == [False, True, True]
    assert kept(SpecifiedFieldFilter(field_key="l", target_value=("x",)), rows) == [True, False, True]
    assert kept(SpecifiedFieldFilter(field_key="m.k", target_value=(2, 3), reversed_range=True), rows) == [
        True,
        False,
        False,
    ]
    assert kept(SpecifiedFieldFilter(), rows) == [True, True, True]
    with pytest.raises(DataError, match='no field "nn"'):
        kept(SpecifiedFieldFilter(field_key="nn", target_value=(1,)), rows)


def test_numbers() -> None:
    rows = {"n": [0.0, 5.0, None], "s": ["1_0", " 7 ", "seven"], "x": [[1], [2], [3]]}
    assert kept(SpecifiedNumericFieldFilter(field_key="n", max_value=4), rows) == [True, False, False]
    assert kept(SpecifiedNumericFieldFilter(field_key="n", max_value=4, compat="data-juicer"), rows) == [False] * 3
    assert kept(SpecifiedNumericFieldFilter(field_key="s", min_value=7), rows) == [True, True, False]
    assert kept(SpecifiedNumericFieldFilter(field_key="s", min_value=8, reversed_range=True), rows) == [
        False,
        True,
        False,
    ]
    assert kept(SpecifiedNumericFieldFilter(), rows) == [True] * 3
    with pytest.raises(DataError, match="not numbers"):
        kept(SpecifiedNumericFieldFilter(field_key="x"), rows)


ROWS = {
    "num": [None, 0, 3, 10, 30],
    "text": ["", "nothing here", "abc", None, "b"],
    "tags": [[], ["a"], ["b", "a"], None, ["c"]],
    "meta": [{"a": 1}, {"a": 3}, {"a": None}, {"a": 3}, {"a": 2}],
}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("", [1, 1, 1, 1, 1]),
        ("3 <= num < 30", [0, 0, 1, 1, 0]),
        ("num in [3, 10] or not text", [1, 0, 1, 1, 0]),
        ("num not in (3, 10)", [1, 1, 0, 0, 1]),
        ("meta.a == 3 and num != 10", [0, 1, 0, 0, 0]),
        ("'a' in tags", [0, 1, 1, 0, 0]),
        ("text in 'abc'", [1, 0, 1, 0, 1]),
        ("'b' in text", [0, 0, 1, 0, 1]),
        ("nothing == 1 or nothing not in [1]", [1, 1, 1, 1, 1]),
        ("meta.nothing < 1", [0, 0, 0, 0, 0]),
        ("not num", [1, 1, 0, 0, 0]),
        ("num > -1 and 1 < 2", [0, 1, 1, 1, 1]),
        ("2 < 1", [0, 0, 0, 0, 0]),
    ],
)
def test_conditions(condition: str, expected: list[int]) -> None:
    op = GeneralFieldFilter(filter_condition=condition)
    assert kept(op, ROWS) == [bool(e) for e in expected]
    if condition:
        assert kept(op.model_copy(update={"reversed_range": True}), ROWS) == [not e for e in expected]


@pytest.mark.parametrize(
    "condition",
    [
        "__import__('os')",
        "num.bit_length()",
        "num is None",
        "num + 1 > 2",
        "[x for x in tags]",
        "f'{num}'",
        "lambda: 1",
        "num [",
    ],
)
def test_what_is_no_condition_is_refused_at_once(condition: str) -> None:
    with pytest.raises(ValidationError, match="condition"):
        GeneralFieldFilter(filter_condition=condition)


def test_a_condition_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(DataError, match="does not fit the fields"):
        kept(GeneralFieldFilter(filter_condition="text < 3"), ROWS)


numbers = st.lists(st.one_of(st.none(), st.integers(-5, 5)), min_size=1, max_size=6)


@given(numbers, st.integers(-5, 5), st.integers(-5, 5))
@settings(max_examples=50, deadline=None)
def test_chained_comparisons_are_pythons(values: list[int | None], low: int, high: int) -> None:
    op = GeneralFieldFilter(filter_condition=f"{low} <= n < {high}")
    frame = {"n": pl.Series(values, dtype=pl.Int64)}
    assert kept(op, frame) == [v is not None and low <= v < high for v in values]
