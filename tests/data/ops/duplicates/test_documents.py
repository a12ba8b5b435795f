"""Exact and near copies: verified, the preferred row stays, found once and for all, in any order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from plait.data.batch import Batch, RowsInMemory
from plait.data.op import Decision
from plait.data.ops.duplicates.documents import DocumentDeduplicator
from plait.data.ops.duplicates.keeping import KeepOne
from plait.data.ops.duplicates.minhash import DocumentMinhashDeduplicator
from plait.data.ops.duplicates.simhash import DocumentSimhashDeduplicator
from plait.errors import DataError

WORDS = [f"w{i}" for i in range(30)]
documents = st.lists(st.lists(st.sampled_from(WORDS[:6]), max_size=14).map(" ".join), max_size=14)


def survivors(texts: list[str], found: Decision) -> list[str]:
    dropped = set(found.position.tolist())
    return [t for i, t in enumerate(texts) if i not in dropped]


def shingles(text: str, size: int) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}


def similarity(a: str, b: str, size: int) -> float:
    x, y = shingles(a, size), shingles(b, size)
    return len(x & y) / len(x | y) if x and y else 0.0


def decide(op: KeepOne, **columns: Sequence[object]) -> Decision:
    return op.decide(RowsInMemory(op, Batch.of(pl.DataFrame(columns))))


# ---- exact --------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(texts=st.lists(st.sampled_from(["a", "a ", "\na", "\x1fa\u2003", "b", "B", "", " "]), max_size=12))
def test_exact_keeps_the_first_of_each_stripped_text(texts: list[str]) -> None:
    found = DocumentDeduplicator().find_in(texts)
    first = dict[str, int]()
    for i, text in enumerate(texts):
        first.setdefault(text.strip(), i)
    assert found.position.tolist() == [i for i, t in enumerate(texts) if first[t.strip()] != i]
    assert found.survivor.tolist() == [first[texts[i].strip()] for i in found.position]
    assert (found.value == 1).all()


def test_exact_with_lower_case_and_without_non_characters() -> None:
    texts = ["One, two 3", "one two", "ONETWO!", "other"]
    assert DocumentDeduplicator().find_in(texts).position.tolist() == []
    assert DocumentDeduplicator(lowercase=True).find_in([*texts, "ONE TWO"]).position.tolist() == [4]
    loose = DocumentDeduplicator(lowercase=True, ignore_non_character=True)
    assert loose.find_in(texts).position.tolist() == [1, 2]


def test_which_one_stays() -> None:
    texts, ids, scores = ["a", "a", "a", "b"], ["z", "m", "x", "a"], [0.1, None, 0.9, 5.0]
    found = decide(DocumentDeduplicator(keep="lowest_id"), text=texts, id=ids)
    assert (found.position.tolist(), found.survivor.tolist()) == ([0, 2], [1, 1])
    found = decide(DocumentDeduplicator(keep="best", score_key="score"), text=texts, score=scores)
    assert (found.position.tolist(), found.survivor.tolist()) == ([0, 1], [2, 2])
    with pytest.raises(ValidationError, match="score_key"):
        DocumentDeduplicator(keep="best")


@pytest.mark.parametrize(("scores", "kept"), [([9, 10], 1), ([True, False], 0), ([date(2026, 5, 1), None], 0)])
def test_scores_are_numbers_or_dates(scores: list[object], kept: int) -> None:
    found = decide(DocumentDeduplicator(keep="best", score_key="score"), text=["a", "a"], score=scores)
    assert found.survivor.tolist() == [kept]


@pytest.mark.parametrize("scores", [["9", "10"], [[9], [10]]])
def test_scores_that_are_no_numbers_are_refused(scores: list[object]) -> None:
    """As text, "9" comes after "10"."""
    with pytest.raises(DataError, match="the scores in score are"):
        decide(DocumentDeduplicator(keep="best", score_key="score"), text=["a", "a"], score=scores)


# ---- near ---------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
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
    for position, survivor, measured in zip(found.position, found.survivor, found.value, strict=True):
        assert root(position) == root(survivor)
        assert survivor < position
        assert survivor not in found.position
        assert measured == similarity(texts[position], texts[survivor], 2)


@settings(max_examples=60, deadline=None)
@given(texts=documents)
def test_near_duplicates_are_found_once_and_for_all(texts: list[str]) -> None:
    op = DocumentMinhashDeduplicator(window_size=2, jaccard_threshold=0.5)
    left = survivors(texts, op.find_in(texts))
    assert op.find_in(left).position.tolist() == []


@settings(max_examples=60, deadline=None)
@given(texts=documents, data=st.data())
def test_with_the_lowest_id_the_order_of_rows_does_not_matter(texts: list[str], data: st.DataObject) -> None:
    ids = [f"id-{i:02}" for i in range(len(texts))]
    order = data.draw(st.permutations(range(len(texts))))
    op = DocumentMinhashDeduplicator(window_size=2, jaccard_threshold=0.5, keep="lowest_id")

    def dropped(order: list[int]) -> list[tuple[str, str, float]]:
        found = decide(op, text=[texts[i] for i in order], id=[ids[i] for i in order])
        named = [(ids[order[p]], ids[order[s]]) for p, s in zip(found.position, found.survivor, strict=True)]
        return sorted((*pair, value) for pair, value in zip(named, found.value.tolist(), strict=True))

    assert dropped(list(order)) == dropped(list(range(len(texts))))


def test_short_texts_are_not_duplicates_of_each_other_but_are_in_data_juicer() -> None:
    texts = ["one", "two", "three four", "", "five\tsix\nseven"]
    assert DocumentMinhashDeduplicator().find_in(texts).position.tolist() == []
    assert DocumentMinhashDeduplicator(compat="data-juicer").find_in(texts).position.tolist() == [1, 2, 3, 4]


def test_near_copies_are_found_and_others_left_alone() -> None:
    random = np.random.default_rng(3)
    base = [" ".join(random.choice(WORDS, 120)) for _ in range(60)]
    copies = [" ".join([*text.split()[:50], "changed", *text.split()[51:]]) for text in base[:30]]
    for op in (DocumentMinhashDeduplicator(), DocumentMinhashDeduplicator(compat="data-juicer")):
        found = op.find_in([*base, *copies])
        assert found.position.tolist() == list(range(60, 90))
        assert found.survivor.tolist() == list(range(30))
    assert DocumentMinhashDeduplicator().find_in([*base, *copies]).value.min() >= 0.9


def test_the_best_of_a_cluster_stays() -> None:
    text = " ".join(WORDS)
    found = decide(
        DocumentMinhashDeduplicator(keep="best", score_key="score"),
        text=[text, text + " more", text + " and", "another"],
        score=[1.0, 3.0, 2.0, 0.0],
    )
    assert (found.position.tolist(), found.survivor.tolist()) == ([0, 2], [1, 1])


def test_ignore_pattern_and_case() -> None:
    text = " ".join(WORDS)
    op = DocumentMinhashDeduplicator(ignore_pattern=r"\p{P}")
    assert op.find_in([text, text.upper().replace(" ", ", ")]).position.tolist() == [1]
    assert DocumentMinhashDeduplicator(lowercase=False).find_in([text, text.upper()]).position.tolist() == []


def test_a_sentencepiece_model_must_be_named() -> None:
    with pytest.raises(ValidationError, match="tokenizer_model"):
        DocumentMinhashDeduplicator(tokenization="sentencepiece")


def test_a_pattern_that_cannot_be_run_is_told_with_the_recipe() -> None:
    for op in (DocumentMinhashDeduplicator, DocumentSimhashDeduplicator):
        with pytest.raises(ValidationError, match="no regular expression"):
            op(ignore_pattern="(")
