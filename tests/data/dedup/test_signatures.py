"""Shingles, signatures, bands: by hand, and against independent integration."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data.dedup.signatures import band_keys, bands_for_recall, bands_of_least_error, choose_bands, signatures
from plait.data.dedup.tokens import Shingling
from plait.data.utf8 import starts_of
from plait.errors import UsageError

texts = st.lists(st.text(st.sampled_from("aAbB \t\n.,ΣσİI中\xa0"), max_size=24), max_size=6)


def words_of(text: str) -> list[str]:
    return text.lower().split()


@settings(deadline=None)
@given(texts=texts, window=st.integers(1, 3))
def test_shingles_are_equal_where_runs_of_words_are(texts: list[str], window: int) -> None:
    hashes, starts = Shingling(window=window).shingles(pl.Series(texts, dtype=pl.String))
    runs = [tuple(w[i : i + window]) for w in map(words_of, texts) for i in range(len(w) - window + 1)]
    assert np.diff(starts).tolist() == [max(0, len(words_of(text)) - window + 1) for text in texts]
    assert len({*zip(runs, hashes.tolist(), strict=True)}) == len(set(runs)) == len(set(hashes.tolist()))


@settings(deadline=None)
@given(texts=texts)
def test_sets_hold_each_shingle_once(texts: list[str]) -> None:
    series = pl.Series(texts, dtype=pl.String)
    hashes, starts = Shingling(window=1).shingles(series)
    values, at = Shingling(window=1).sets(series)
    for i in range(len(texts)):
        own = values[at[i] : at[i + 1]].tolist()
        assert sorted(own) == sorted(set(hashes[starts[i] : starts[i + 1]].tolist()))


@pytest.mark.parametrize(
    ("tokenization", "text", "count"), [("punctuation", "one, two. three!", 4), ("character", "中文 ab", 5)]
)
def test_other_tokens(tokenization: str, text: str, count: int) -> None:
    shingling = Shingling(tokenization=tokenization, window=1)
    assert len(shingling.shingles(pl.Series([text]))[0]) == count


def test_lower_case_and_what_is_left_out() -> None:
    pair = pl.Series(["One, TWO", "one two"])
    first, second = Shingling(window=1, ignored=r"\p{P}").shingles(pair)[0].reshape(2, 2).tolist()
    assert first == second
    first, second = Shingling(window=1, lowercase=False).shingles(pair)[0].reshape(2, 2).tolist()
    assert not set(first) & set(second)


@pytest.mark.parametrize(("threshold", "permutations"), [(0.5, 32), (0.8, 64)])
def test_bands_are_the_best_by_an_independent_integration(threshold: float, permutations: int) -> None:
    from scipy.integrate import quad

    def error(bands: int, rows: int) -> float:
        false_positive, _ = quad(lambda s: 1 - (1 - s**rows) ** bands, 0, threshold)
        false_negative, _ = quad(lambda s: (1 - s**rows) ** bands, threshold, 1)
        return 0.5 * false_positive + 0.5 * false_negative

    tried = {(b, r): error(b, r) for b in range(1, permutations + 1) for r in range(1, permutations // b + 1)}
    assert bands_of_least_error(threshold, permutations) == min(tried, key=lambda shape: tried[shape])


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.9, 1.0])
def test_bands_for_recall_miss_one_in_a_hundred_and_one_fewer_misses_more(threshold: float) -> None:
    bands, rows = bands_for_recall(threshold, 256)
    assert bands * rows <= 256
    assert (1 - threshold**rows) ** bands <= 0.01
    assert bands == 1 or (1 - threshold**rows) ** (bands - 1) > 0.01
    more = next(b for b in range(1, 10_000) if (1 - threshold ** (rows + 1)) ** b <= 0.01) if threshold < 1 else 0
    assert threshold == 1 or more * (rows + 1) > 256


def test_low_thresholds_take_all_permutations_one_by_one() -> None:
    assert bands_for_recall(0.001, 16) == (16, 1)
    assert bands_for_recall(0.0, 16) == (16, 1)


def test_bands_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="9 permutations"):
        choose_bands(0.7, 8, 3, 3, verified=True)
    assert choose_bands(0.7, 256, 3, None, verified=False) == (25, 10)


def test_signatures_estimate_jaccard() -> None:
    random = np.random.default_rng(0)
    pool = random.integers(1, 2**63, 3_000, dtype=np.int64).astype(np.uint64)
    flat = np.concatenate([pool[:2_000], pool[1_000:]])  # 1,000 shared of 3,000
    first, second = signatures(flat, np.array([0, 2_000, 4_000]), 512)
    assert (first == second).mean() == pytest.approx(1 / 3, abs=4 * np.sqrt(2 / 9 / 512))


def test_a_signature_is_the_least_of_each_permutation() -> None:
    random = np.random.default_rng(1)
    flat = random.integers(1, 2**63, 50, dtype=np.int64).astype(np.uint64)
    each = signatures(flat, np.arange(51), 7)
    assert (signatures(flat, np.array([0, 50]), 7)[0] == each.min(axis=0)).all()


def test_keys_do_not_depend_on_their_batch_and_are_zero_without_shingles() -> None:
    series = pl.Series([" ".join(f"w{j}" for j in range(i, i + 12)) for i in range(12)] + ["too short"])
    shingling = Shingling()
    together = band_keys(*shingling.shingles(series), bands=9, rows=4)
    alone = [band_keys(*shingling.shingles(series[i : i + 1]), bands=9, rows=4) for i in range(len(series))]
    assert (together == np.concatenate(alone)).all()
    assert not together[-1].any()
    assert together[:-1].all()


@pytest.mark.parametrize("permutations", [1, 7, 16, 37])
def test_texts_of_any_length_have_the_least_of_each_permutation(permutations: int) -> None:
    counts = [*range(19), 100]
    flat = np.random.default_rng(3).integers(0, 2**64, sum(counts), dtype=np.uint64)
    starts = starts_of(np.array(counts))
    found = signatures(flat, starts, permutations)
    alone = signatures(flat, np.arange(len(flat) + 1), permutations)
    for row, (first, end) in enumerate(pairwise(starts)):
        least = alone[first:end].min(axis=0) if end > first else np.full(permutations, 0xFFFFFFFF)
        assert (found[row] == least).all()
