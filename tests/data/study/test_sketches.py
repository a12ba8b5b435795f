"""Sketches: merging is as sketching everything at once, and estimates stay within their stated error."""

from __future__ import annotations

from collections import Counter
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from plait.data.study.bins import ACCURACY, TINY, Bins
from plait.data.study.bottom import Bottom
from plait.data.study.drops import Drops
from plait.data.study.keyed import key_of, sip_hash
from plait.data.study.moments import Moments
from plait.data.study.sketch import MOST_WORDS, OTHER_WORDS, CorpusSketch, Sketch
from plait.errors import DataError, StrandError

VALUES = hnp.arrays(np.float64, st.integers(0, 60), elements=st.floats(-1e9, 1e9, allow_nan=False))


@settings(deadline=None)
@given(VALUES, VALUES, VALUES)
def test_bins_of_parts_add_up_in_any_order(a, b, c):
    whole = Bins.of(np.concatenate([a, b, c]))
    for merged in (
        Bins.of(a).merge(Bins.of(b)).merge(Bins.of(c)),
        Bins.of(a).merge(Bins.of(b).merge(Bins.of(c))),
        Bins.of(c).merge(Bins.of(a)).merge(Bins.of(b)),
    ):
        assert merged.keys.tolist() == whole.keys.tolist()
        assert merged.counts.tolist() == whole.counts.tolist()


@settings(deadline=None)
@given(VALUES.filter(len), st.floats(0, 1))
def test_percentiles_are_within_the_stated_error(values, share):
    exact = np.quantile(values, share, method="lower")
    # The rank itself is computed in floating point by both; a neighbour of it is right too.
    near = [
        np.sort(values)[min(max(int(np.floor(share * (len(values) - 1))) + d, 0), len(values) - 1)] for d in (-1, 0, 1)
    ]
    found = Bins.of(values).quantile(share)
    assert any(abs(found - v) <= ACCURACY * abs(v) * (1 + 1e-6) + TINY for v in (exact, *near))


def test_a_percentile_by_hand():
    bins = Bins.of(np.arange(1.0, 101.0))
    assert [round(bins.quantile(q)) for q in (0, 0.25, 0.5, 1)] == [1, 25, 50, 100]
    assert bins.below(50) == pytest.approx(0.495)  # 49 values below, the 50 itself counted half


def test_coarser_bins_hold_the_same_values_in_the_same_order():
    values = np.random.default_rng(1).lognormal(5, 3, 5000) * np.where(np.arange(5000) % 3, 1, -1)
    coarse = Bins.of(values).coarsened(20)
    assert coarse.total == 5000
    assert coarse.accuracy == pytest.approx(0.02, rel=0.01)
    for share in (0.01, 0.3, 0.5, 0.99):
        exact = np.quantile(values, share, method="lower")
        assert coarse.quantile(share) == pytest.approx(exact, rel=coarse.accuracy * 1.01)


@settings(deadline=None)
@given(
    hnp.arrays(np.float64, st.tuples(st.integers(0, 20), st.just(3)), elements=st.floats(-1e3, 1e3)),
    hnp.arrays(np.float64, st.tuples(st.integers(0, 20), st.just(3)), elements=st.floats(-1e3, 1e3)),
)
def test_moments_of_parts_are_those_of_the_whole(a, b):
    names = ("x", "y", "z")
    merged, whole = Moments.of(names, a).merge(Moments.of(names, b)), Moments.of(names, np.concatenate([a, b]))
    np.testing.assert_array_equal(merged.counts, whole.counts)
    np.testing.assert_allclose(merged.means, whole.means, atol=1e-9)
    np.testing.assert_allclose(merged.products, whole.products, atol=1e-5, rtol=1e-9)
    np.testing.assert_allclose(merged.squares, whole.squares, atol=1e-5, rtol=1e-9)


def test_moments_are_numpys():
    rows = np.random.default_rng(2).normal(size=(500, 3)) @ np.array([[1, 0.5, 0], [0, 1, 0], [0, 0, 2]])
    moments = Moments.of(("a", "b", "c"), rows)
    np.testing.assert_allclose(moments.std(), rows.std(axis=0, ddof=1))
    np.testing.assert_allclose(moments.correlation(), np.corrcoef(rows.T))


def test_a_number_that_is_not_known_for_some_rows_leaves_the_others_as_they_are():
    generator = np.random.default_rng(3)
    rows = generator.normal(1e6, 1, size=(600, 4))
    rows[generator.random((600, 4)) < 0.3] = np.nan
    rows[:, 3] = np.nan  # known nowhere
    names = ("a", "b", "c", "d")
    moments = Moments.of(names, rows[:250]).merge(Moments.of(names, rows[250:300])).merge(Moments.of(names, rows[300:]))
    assert moments.count().tolist() == np.isfinite(rows).sum(axis=0).tolist()
    np.testing.assert_allclose(moments.mean()[:3], np.nanmean(rows[:, :3], axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.std()[:3], np.nanstd(rows[:, :3], axis=0, ddof=1), rtol=1e-9)
    correlation = moments.correlation()
    for i, j in ((0, 1), (0, 2), (1, 2)):
        both = rows[np.isfinite(rows[:, [i, j]]).all(axis=1)][:, [i, j]]
        assert correlation[i, j] == pytest.approx(np.corrcoef(both.T)[0, 1], abs=1e-9)
    assert np.isnan([*correlation[3], moments.mean()[3], moments.std()[3]]).all()


def test_a_number_that_never_varies_has_no_correlation():
    moments = Moments.of(("a", "b"), np.array([[1.0, 5.0], [2.0, 5.0]]))
    assert np.isnan(moments.correlation()[0, 1])
    # The mean of many equal numbers is off by rounding; that is no spread.
    parts = [Moments.of(("a", "b"), np.column_stack([np.arange(n), np.full(n, 0.1)])) for n in (7, 1000, 33)]
    assert np.isnan(reduce(Moments.merge, parts).correlation()[0, 1])


@settings(deadline=None)
@given(hnp.arrays(np.uint64, st.integers(0, 80)), hnp.arrays(np.uint64, st.integers(0, 80)))
def test_the_smallest_hashes_of_parts_are_those_of_the_whole(a, b):
    merged = Bottom.of(a, 8).merge(Bottom.of(b, 8))
    assert merged.hashes.tolist() == sorted(set(a.tolist()) | set(b.tolist()))[:8]


def test_large_batches_take_the_short_way_to_the_same_hashes():
    hashes = sip_hash(np.arange(50_000) // 3, key_of("k"))
    assert Bottom.of(hashes, 100).hashes.tolist() == sorted(set(hashes.tolist()))[:100]
    same = np.full(50_000, 7, np.uint64)  # as skewed as can be: the short way does not do
    assert Bottom.of(same, 100).hashes.tolist() == [7]


def test_distinct_counts_and_overlap_are_within_five_standard_deviations():
    key = key_of("k")
    a, b = Bottom.of(sip_hash(np.arange(100_000), key)), Bottom.of(sip_hash(np.arange(80_000, 150_000), key))
    assert a.distinct() == pytest.approx(100_000, rel=5 / 4096**0.5)
    assert a.jaccard(b) == pytest.approx(20 / 150, abs=5 * 0.5 / 4096**0.5)
    assert a.shared(b) == pytest.approx(20_000, rel=0.25)


def test_siphash_gives_the_published_vectors():
    key = bytes(range(16))
    # Reference implementation, vectors_sip64[8]: the bytes 0 to 7 under the key 0 to 15.
    assert hex(sip_hash(np.frombuffer(bytes(range(8)), np.uint64), key)[0]) == "0x93f5f5799a932462"
    assert sip_hash(np.array([1], np.uint64), key_of("a")) != sip_hash(np.array([1], np.uint64), key_of("b"))


def _sketch(rng, rows, stat="text_len"):
    numbers = {stat: rng.lognormal(6, 1, rows), "ratio": rng.uniform(size=rows)}
    hashes = rng.integers(0, 2**63, rows, dtype=np.uint64)
    return Sketch.of(numbers, words={"lang": {"en": rows}}, chars=rows * 7, documents=hashes, shingles=hashes)


def test_a_sketch_survives_its_bytes_and_equal_sketches_give_equal_bytes():
    a = CorpusSketch("clinic", {"x": _sketch(np.random.default_rng(1), 200)}, "check")
    b = CorpusSketch.from_bytes(a.to_bytes())
    assert b.to_bytes() == a.to_bytes()
    assert b.overall.bins["text_len"].counts.tolist() == a.overall.bins["text_len"].counts.tolist()
    assert b.overall.extremes == a.overall.extremes
    assert b.owner == "clinic"


def test_merged_sketches_know_the_sum():
    rng = np.random.default_rng(3)
    a, b = _sketch(rng, 100), _sketch(rng, 50)
    merged = a.merge(b)
    assert (merged.rows, merged.chars, merged.words, merged.shingle_count) == (150, 1050, {"lang": {"en": 150}}, 150)
    assert merged.extremes["ratio"][1] == max(a.extremes["ratio"][1], b.extremes["ratio"][1])
    assert merged.bins["ratio"].total == 150


def test_whole_numbers_have_whole_percentiles():
    a, b = (Sketch.of({"n": v, "x": v + 0.5}) for v in (np.arange(400.0), np.array([3.0, 9.0])))
    assert a.whole == a.merge(b).whole == Sketch.unpack(a.pack()).whole == {"n"}
    assert a.quantiles("n", np.array([0.1, 0.5])).tolist() == [39.0, 199.0]
    assert not a.merge(Sketch.of({"n": np.array([0.5]), "x": np.array([1.0])})).whole


def test_few_words_are_counted_and_always_the_same_ones():
    rng = np.random.default_rng(5)
    seen = [f"w{i}" for i in rng.zipf(1.3, 3000) if i < 5000]
    counts = [dict(Counter(seen[at : at + 100])) for at in range(0, len(seen), 100)]
    parts = [Sketch.of({}, words={"tag": c | {"a text " * 9: 1}}, rows=100) for c in counts]
    whole = Sketch.of({}, words={"tag": Counter(seen) + Counter({"a text " * 9: len(parts)})}, rows=1)
    forth, back = reduce(Sketch.merge, parts), reduce(Sketch.merge, parts[::-1])
    assert forth.words == back.words == whole.words
    assert len(forth.words["tag"]) == MOST_WORDS + 1
    assert sum(forth.words["tag"].values()) == len(seen) + len(parts)
    assert all(n == seen.count(word) for word, n in forth.words["tag"].items() if word != OTHER_WORDS)


def test_unlike_sketches_do_not_add_up():
    rng = np.random.default_rng(3)
    with pytest.raises(StrandError, match="do not add up"):
        _sketch(rng, 10).merge(_sketch(rng, 10, stat="num_words"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"format": "other", "owner": "a", "key_check": "", "privacy": null, "sources": {}}',
        b'{"format": "plait-sketch-1", "owner": "a", "key_check": "", "privacy": null, "sources": {"": {"rows": 1}}}',
    ],
)
def test_what_is_no_sketch_is_refused(data):
    with pytest.raises(DataError, match=r"study\.bad-sketch"):
        CorpusSketch.from_bytes(data)


@pytest.mark.parametrize(
    "packed",
    [
        {"accuracy": 0.001, "above": [[1], [-5]], "zero": 0, "below": [[], []]},
        {"accuracy": 0.001, "above": [[1], [1 << 60]], "zero": 0, "below": [[], []]},
        {"accuracy": 2.0, "above": [[1], [5]], "zero": 0, "below": [[], []]},
        {"accuracy": 0.001, "above": [[1 << 45], [5]], "zero": 0, "below": [[], []]},
        {"accuracy": 0.001, "above": [[1, 2, 3]], "zero": 0, "below": [[], []]},
    ],
)
def test_bins_that_no_data_gives_are_refused(packed):
    with pytest.raises(DataError, match=r"study\.bad-sketch"):
        Bins.unpack(packed)


def test_drops_of_parts_add_up():
    rng = np.random.default_rng(4)
    fails = {name: rng.random(300) < 0.3 for name in "abc"}
    chars = rng.integers(1, 99, 300)
    parts = [Drops.of({n: f[s] for n, f in fails.items()}, chars[s]) for s in (slice(0, 120), slice(120, 300))]
    merged, whole = parts[0].merge(parts[1]), Drops.of(fails, chars)
    assert (merged.kept, merged.chars_kept, merged.rows) == (whole.kept, whole.chars_kept, 300)
    assert merged.both.tolist() == whole.both.tolist()
    assert whole.both[0][1] == np.count_nonzero(fails["a"] & fails["b"])
    assert whole.alone[2] == np.count_nonzero(fails["c"] & ~fails["a"] & ~fails["b"])


def test_a_filter_that_another_covers_is_redundant():
    fails = {"small": np.arange(100) < 30, "large": np.arange(100) < 60, "other": np.arange(100) > 80}
    assert Drops.of(fails, np.ones(100, int)).redundant() == [("small", "large", 1.0)]
