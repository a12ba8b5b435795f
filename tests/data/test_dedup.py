"""Duplicates: verified, the lowest id stays, whatever the order; finding them twice finds nothing new."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data.dedup import band_keys, best_bands, find_equal, find_near, jaccard
from plait.data.op import Duplicates
from plait.data.ops.duplicates import DocumentDeduplicator, DocumentMinhashDeduplicator

WORDS = [f"w{i}" for i in range(30)]
documents = st.lists(st.lists(st.sampled_from(WORDS[:6]), max_size=14).map(" ".join), max_size=14)


def survivors(texts: list[str], found: Duplicates) -> list[str]:
    dropped = set(found.position.tolist())
    return [t for i, t in enumerate(texts) if i not in dropped]


def shingles(text: str, size: int = 5) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}


def similarity(a: str, b: str, size: int = 5) -> float:
    x, y = shingles(a, size), shingles(b, size)
    return len(x & y) / len(x | y) if x and y else 0.0


# ---- exact --------------------------------------------------------------------------------------------------------


@given(texts=st.lists(st.sampled_from(["a", "a ", "\na", "b", "B", "", " "]), max_size=12))
def test_exact_keeps_the_first_of_each_stripped_text(texts: list[str]) -> None:
    found = DocumentDeduplicator().find_in(texts)
    first = {}
    for i, text in enumerate(texts):
        first.setdefault(text.strip(), i)
    assert found.position.tolist() == [i for i, t in enumerate(texts) if first[t.strip()] != i]
    assert found.survivor.tolist() == [first[texts[i].strip()] for i in found.position]


def test_exact_with_lower_case_and_without_non_characters() -> None:
    texts = ["One, two 3", "one two", "ONETWO!", "other"]
    assert DocumentDeduplicator().find_in(texts).position.tolist() == []
    assert DocumentDeduplicator(lowercase=True).find_in([*texts, "ONE TWO"]).position.tolist() == [4]
    loose = DocumentDeduplicator(lowercase=True, ignore_non_character=True)
    assert loose.find_in(texts).position.tolist() == [1, 2]


def test_rows_of_zeros_are_nobodys_duplicates() -> None:
    keys = np.array([[0, 0], [0, 0], [0, 1], [0, 1]], np.uint64)
    assert find_equal(keys).position.tolist() == [3]


# ---- near ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("threshold", "permutations"), [(0.5, 32), (0.8, 64)])
def test_bands_are_the_best_by_an_independent_integration(threshold: float, permutations: int) -> None:
    from scipy.integrate import quad

    def error(bands: int, rows: int) -> float:
        false_positive, _ = quad(lambda s: 1 - (1 - s**rows) ** bands, 0, threshold)
        false_negative, _ = quad(lambda s: (1 - s**rows) ** bands, threshold, 1)
        return 0.5 * false_positive + 0.5 * false_negative

    tried = {(b, r): error(b, r) for b in range(1, permutations + 1) for r in range(1, permutations // b + 1)}
    assert best_bands(threshold, permutations) == min(tried, key=lambda shape: tried[shape])


def test_bands_of_data_juicers_defaults() -> None:
    assert best_bands(0.7, 256) == (25, 10)


def test_jaccard_by_hand() -> None:
    assert jaccard(np.array([1, 2, 3, 4]), np.array([3, 4, 5])) == 2 / 5
    assert jaccard(np.array([]), np.array([])) == 0.0


@settings(max_examples=100, deadline=None)
@given(texts=documents, threshold=st.sampled_from([0.3, 0.5, 0.8]))
def test_every_drop_is_connected_by_verified_pairs(texts: list[str], threshold: float) -> None:
    found = DocumentMinhashDeduplicator(window_size=2, jaccard_threshold=threshold).find_in(texts)
    parent = list(range(len(texts)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for i in range(len(texts)):
        for j in range(i):
            if similarity(texts[i], texts[j], 2) >= threshold:
                a, b = sorted((root(i), root(j)))
                parent[b] = a
    for position, survivor, measured in zip(found.position, found.survivor, found.similarity, strict=True):
        assert root(position) == root(survivor)
        assert survivor < position
        assert survivor not in found.position
        assert measured == pytest.approx(similarity(texts[position], texts[survivor], 2))


@settings(max_examples=100, deadline=None)
@given(texts=documents)
def test_near_duplicates_are_found_once_and_for_all(texts: list[str]) -> None:
    op = DocumentMinhashDeduplicator(window_size=2, jaccard_threshold=0.5)
    left = survivors(texts, op.find_in(texts))
    assert op.find_in(left).position.tolist() == []


def test_short_texts_are_not_duplicates_of_each_other() -> None:
    texts = ["one", "two", "three four", "", "five\tsix\nseven"]
    assert DocumentMinhashDeduplicator().find_in(texts).position.tolist() == []


def test_near_copies_are_found_and_others_left_alone() -> None:
    random = np.random.default_rng(3)
    base = [" ".join(random.choice(WORDS, 120)) for _ in range(60)]
    copies = []
    for text in base[:30]:
        words = text.split()
        words[int(random.integers(len(words)))] = "changed"
        copies.append(" ".join(words))
    found = DocumentMinhashDeduplicator(window_size=5).find_in([*base, *copies])
    assert found.position.tolist() == list(range(60, 90))
    assert found.survivor.tolist() == list(range(30))
    assert found.similarity.min() >= 0.9


def test_verification_drops_nothing_that_only_shares_a_key() -> None:
    sets = [np.array([1, 2, 3]), np.array([1, 2, 3]), np.array([7, 8]), np.array([7, 8])]
    keys = np.full((4, 3), 5, np.uint64)
    found = find_near(keys, lambda ps: [sets[p] for p in ps], threshold=0.9)
    assert found.position.tolist() == [1, 3]
    assert found.survivor.tolist() == [0, 2]


def test_signatures_estimate_jaccard() -> None:
    """The keys' agreement follows (1 - (1 - s^r)^b): with one row per band, the share of equal keys is s."""
    random = np.random.default_rng(0)
    pool = random.integers(1, 2**63, 3_000, dtype=np.int64).astype(np.uint64)
    first, second = pool[:2_000], pool[1_000:]  # 1,000 shared of 3,000
    flat = np.concatenate([first, second])
    keys = band_keys(flat, np.array([0, 2_000, 4_000]), permutations=512, bands=512, rows=1)
    assert (keys[0] == keys[1]).mean() == pytest.approx(1 / 3, abs=4 * np.sqrt(2 / 9 / 512))


def test_too_many_rows_for_the_permutations_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        band_keys(np.zeros(0, np.uint64), np.array([0]), permutations=8, bands=3, rows=3)


def test_ignore_pattern_and_case() -> None:
    text = " ".join(WORDS)
    op = DocumentMinhashDeduplicator(ignore_pattern=r"\p{P}")
    assert op.find_in([text, text.upper().replace(" ", ", ")]).position.tolist() == [1]
    assert DocumentMinhashDeduplicator(lowercase=False).find_in([text, text.upper()]).position.tolist() == []


def test_keys_do_not_depend_on_their_batch() -> None:
    texts = [" ".join(WORDS[i : i + 12]) for i in range(12)]
    op = DocumentMinhashDeduplicator()
    together = op.keys(pl.Series(texts))
    alone = np.concatenate([op.keys(pl.Series([t])) for t in texts])
    assert (together == alone).all()
