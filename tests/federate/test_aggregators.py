from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from plait.errors import StrandError
from plait.federate.aggregators.base import why_refused
from plait.federate.aggregators.coordinate import CoordinateMedian, TrimmedMean, coordinate_median, trimmed_mean
from plait.federate.aggregators.mean import Mean, capped_weights, weighted_mean

TABLES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 9), st.integers(1, 7)),
    elements=st.floats(-1e6, 1e6, width=32),
)


def test_mean_by_hand():
    assert weighted_mean([[0, 2, -1], [4, 2, 3]], [3, 1]).tolist() == [1, 2, 0]


@given(TABLES, st.data())
def test_mean_is_the_same_bits_in_every_order_of_arrival(table, data):
    weights = data.draw(st.lists(st.floats(0.01, 100), min_size=len(table), max_size=len(table)))
    order = data.draw(st.permutations(range(len(table))))
    fold = Mean().open(size=table.shape[1])
    for place in order:
        fold.add(table[place], place=place, weight=weights[place])
    assert fold.result().tobytes() == weighted_mean(table, weights).tobytes()
    np.testing.assert_allclose(
        fold.result(), np.average(table.astype(np.float64), axis=0, weights=weights), rtol=1e-6, atol=1e-6
    )


def test_a_place_left_empty_by_a_refused_row_does_not_weigh():
    fold = Mean().open(size=1)
    fold.add(np.array([9], np.float32), place=2, weight=1)
    fold.add(None, place=0, weight=5)
    fold.add(np.array([3], np.float32), place=1, weight=2)
    assert fold.result().tolist() == [5]


def test_mean_with_a_reply_missing_is_an_error_not_a_guess():
    fold = Mean().open(size=1)
    fold.add(np.array([9], np.float32), place=1, weight=1)
    with pytest.raises(StrandError, match="lacks the reply of task 0"):
        fold.result()


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=30), st.floats(1, 10))
def test_weights_sum_to_one_keep_the_order_of_claims_and_respect_the_cap(claims, cap):
    weights = capped_weights(claims, max_weight=cap)
    assert sum(weights) == pytest.approx(1, abs=1e-9)
    assert max(weights) <= cap / len(claims) * (1 + 1e-9)
    assert all(
        weights[i] <= weights[j] * (1 + 1e-9)
        for i in range(len(claims))
        for j in range(len(claims))
        if claims[i] <= claims[j]
    )


def test_weights_by_hand():
    assert capped_weights([1, 3], max_weight=2) == [0.25, 0.75]
    # Two liars at the cap of 1.5/5 each leave 0.4 for the others, 1:3.
    assert capped_weights([1, 3, 10**9, 10**9], max_weight=1.2) == pytest.approx([0.1, 0.3, 0.3, 0.3])
    assert capped_weights([5, 1, 10**9], max_weight=1) == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize(("claims", "cap"), [([0, 5], 3), ([-4, 5], 3), ([5, 5], 0.5)])
def test_impossible_claims_are_refused(claims, cap):
    with pytest.raises(StrandError, match="cannot be weighed"):
        capped_weights(claims, max_weight=cap)


@given(TABLES)
def test_median_equals_numpy(table):
    expected = np.median(table.astype(np.float64), axis=0).astype(np.float32)
    assert coordinate_median(table).tobytes() == expected.tobytes() or np.array_equal(
        coordinate_median(table), expected
    )


@given(TABLES, st.integers(0, 4))
def test_trimmed_mean_equals_sorting_and_scipy(table, trim):
    n = len(table)
    if n <= 2 * trim:
        with pytest.raises(StrandError, match="leaves none"):
            trimmed_mean(table, trim=trim)
        return
    ours = trimmed_mean(table, trim=trim)
    by_sorting = np.sort(table.astype(np.float64), axis=0)[trim : n - trim].mean(axis=0)
    np.testing.assert_allclose(ours, by_sorting, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        ours, stats.trim_mean(table.astype(np.float64), (trim + 1e-9) / n, axis=0), rtol=1e-6, atol=1e-6
    )


def test_robust_rules_by_hand():
    rows = [[1, 5], [2, 4], [3, 3], [1000, -1000]]
    assert coordinate_median(rows).tolist() == [2.5, 3.5]
    assert trimmed_mean(rows, trim=1).tolist() == [2.5, 3.5]
    assert coordinate_median([[7, -7]]).tolist() == [7, -7]


@given(TABLES, st.randoms())
def test_robust_rules_are_the_same_bits_in_every_order(table, random):
    order = list(range(len(table)))
    random.shuffle(order)
    for rule in (CoordinateMedian(), TrimmedMean(trim=(len(table) - 1) // 2)):
        fold = rule.open(size=table.shape[1])
        straight = rule.open(size=table.shape[1])
        for place in order:
            fold.add(table[place], place=place, weight=1)
        for place, row in enumerate(table[::-1]):  # clients exchange their names, too
            straight.add(row, place=place, weight=1)
        assert np.array_equal(fold.result(), straight.result())


def test_columns_beyond_one_chunk():
    table = np.random.default_rng(0).normal(size=(5, 70_000)).astype(np.float32)
    assert np.array_equal(coordinate_median(table), np.median(table, axis=0))


def test_a_minority_of_liars_stays_between_the_honest():
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(7, 50)).astype(np.float32)
    liars = np.full((3, 50), 1e30, np.float32)
    rows = np.concatenate([honest, liars])
    for out in (coordinate_median(rows), trimmed_mean(rows, trim=3)):
        assert (out >= honest.min(axis=0)).all()
        assert (out <= honest.max(axis=0)).all()
    assert weighted_mean(rows, [1] * 10).max() > 1e29  # and the plain mean does not


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ([1.0, np.nan], "1 of 2 numbers are NaN or infinite"),
        ([np.inf, -np.inf], "2 of 2 numbers are NaN or infinite"),
        ([1.0], r"has shape \[1\], expected \[2\]"),
    ],
)
def test_bad_rows_are_refused_with_the_reason(row, says):
    import re

    assert re.search(says, why_refused(np.array(row, np.float32), size=2) or "")


def test_rules_called_directly_refuse_nan():
    with pytest.raises(StrandError, match="NaN or infinite"):
        coordinate_median([[1, np.nan]])
    with pytest.raises(StrandError, match=r"\[clients, parameters\]"):
        trimmed_mean([1.0, 2.0], trim=0)
