"""Operations on preference pairs: by hand, and against the definitions written plainly."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data.batch import Batch, RowsInMemory
from plait.data.ops.pairs.across import PairContradictionSelector, PromptDeduplicator
from plait.data.ops.pairs.leakage import PairLeakageFilter
from plait.data.ops.pairs.pairs import (
    PairLengthBiasFilter,
    PairMarginFilter,
    PairSimilarityFilter,
    PairWeightMapper,
)
from plait.errors import DataError

WORDS = st.lists(st.sampled_from(["ab", "cd", "ef", "gh"]), max_size=9)


def pairs(*rows: tuple[str, str, str]) -> Batch:
    return Batch.of(pl.DataFrame(rows, schema=["prompt", "chosen", "rejected"], orient="row"))


def dropped(op, batch: Batch) -> list[int]:
    return op.decide(RowsInMemory(op, batch)).position.tolist()


def test_the_length_ratio_is_a_logarithm():
    value = PairLengthBiasFilter().value(pairs(("p", "abc", "a"), ("p", "", "ab"), ("p", "x", "x")))
    assert value == pytest.approx([math.log(4 / 2), math.log(1 / 3), 0.0])


def test_messages_count_by_what_they_say():
    said = [[{"role": "assistant", "content": "abc"}]]
    batch = Batch.of(pl.DataFrame({"chosen": said, "rejected": [[{"role": "assistant", "content": "a"}]]}))
    assert PairLengthBiasFilter().value(batch) == pytest.approx([math.log(2)])
    with pytest.raises(DataError, match="neither text nor a list of messages"):
        PairLengthBiasFilter().value(Batch.of(pl.DataFrame({"chosen": [1], "rejected": [2]})))


def test_similarity_by_hand():
    batch = pairs(("p", "one two three", "one two four"), ("p", "same", "Same"), ("p", "", ""), ("p", "a b", ""))
    # {one two, two three} and {one two, two four}: 1 of 3.
    assert PairSimilarityFilter().value(batch) == pytest.approx([1 / 3, 1.0, 1.0, 0.0])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(*[st.lists(st.sampled_from(["ab", "cd", "ef", "gh"]), max_size=9)] * 2), min_size=1, max_size=6)
)
def test_similarity_is_the_jaccard_index_of_sets(rows):
    def grams(words: list[str]) -> set[tuple[str, ...]]:
        if not words:
            return set()
        return {tuple(words)} if len(words) < 2 else set(itertools.pairwise(words))

    batch = pairs(*[("p", " ".join(a), " ".join(b)) for a, b in rows])
    expected = []
    for a, b in rows:
        union = grams(a) | grams(b)
        expected.append(len(grams(a) & grams(b)) / len(union) if union else 1.0)
    assert PairSimilarityFilter().value(batch) == pytest.approx(expected)


def test_margins_and_weights_by_hand():
    frame = pl.DataFrame({"score_chosen": [3.0, 1.0, None], "score_rejected": [1.0, 1.0, 0.0]})
    batch = Batch.of(frame)
    margin = PairMarginFilter(min_margin=1.0)
    value = margin.value(batch)
    assert value[:2].tolist() == [2.0, 0.0]
    assert margin.inside(value).tolist() == [True, False, False]
    sigmoid = PairWeightMapper(temperature=2.0).apply(batch).column("weight").to_list()
    assert sigmoid == pytest.approx([1 / (1 + math.exp(-1)), 0.5, 0.0])
    confidence = PairWeightMapper(rule="confidence").apply(batch).column("weight").to_list()
    assert confidence == pytest.approx([2 / (1 + math.exp(-2)) - 1, 0.0, 0.0])
    length = PairWeightMapper(rule="length").weights(pairs(("p", "abc", "a")))
    assert length == pytest.approx([0.5])


def test_weights_of_huge_margins_are_finite():
    batch = Batch.of(pl.DataFrame({"score_chosen": [1e300, -1e300], "score_rejected": [0.0, 0.0]}))
    assert PairWeightMapper().weights(batch).tolist() == [1.0, 0.0]


def test_of_a_prompt_the_first_or_the_best_stays():
    frame = pl.DataFrame(
        {"prompt": ["Hi  there", "hi there", "other", "HI THERE"], "score_chosen": [1.0, 5.0, None, 5.0]}
    )
    batch = Batch.of(frame)
    assert dropped(PromptDeduplicator(), batch) == [1, 3]
    best = PromptDeduplicator(keep="best")
    decision = best.decide(RowsInMemory(best, batch))
    assert decision.position.tolist() == [0, 3]
    assert decision.survivor.tolist() == [1, 1]


def test_contradictions():
    batch = pairs(("p", "A", "B"), ("p", "B", "A"), ("p", "A", "B"), ("q", "B", "A"), ("p", "A", "C"))
    assert dropped(PairContradictionSelector(), batch) == [0, 1, 2]
    assert dropped(PairContradictionSelector(keep="majority"), batch) == [1]
    assert dropped(PairContradictionSelector(keep="first"), batch) == [1]
    draw = pairs(("p", "A", "B"), ("p", "B", "A"))
    assert dropped(PairContradictionSelector(keep="majority"), draw) == [0, 1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("pq"), st.sampled_from("AB"), st.sampled_from("AB")), min_size=1, max_size=9))
def test_what_majority_leaves_contradicts_nothing(rows):
    rows = [row for row in rows if row[1] != row[2]] or [("p", "A", "B")]
    gone = set(dropped(PairContradictionSelector(keep="majority"), pairs(*rows)))
    left = {row for i, row in enumerate(rows) if i not in gone}
    assert not any((p, b, a) in left for p, a, b in left)


def test_leakage_is_the_share_of_ngrams_seen(tmp_path):
    path = tmp_path / "eval.jsonl"
    path.write_text("".join(json.dumps({"prompt": t}) + "\n" for t in ["what is the capital of France", "Say hi"]))
    op = PairLeakageFilter(evaluation=str(path), ngram=3)
    batch = pairs(
        ("What is the capital of Spain?", "a", "b"),  # 3 of 4 trigrams: "of spain" is new in one
        ("say  HI", "a", "b"),
        ("say", "a", "b"),
        ("nothing of that sort", "a", "b"),
    )
    assert op.value(batch) == pytest.approx([3 / 4, 1.0, 0.0, 0.0])
    assert op.inside(op.value(batch)).tolist() == [False, False, True, True]
    with pytest.raises(DataError, match="no such evaluation set"):
        PairLeakageFilter(evaluation=str(tmp_path / "none.jsonl")).value(batch)


def test_no_row_is_no_trouble():
    batch = Batch.of(pl.DataFrame(schema={"prompt": pl.String, "chosen": pl.String, "rejected": pl.String}))
    assert PairSimilarityFilter().value(batch).tolist() == []
    assert PairLengthBiasFilter().value(batch).tolist() == []
    assert dropped(PairContradictionSelector(), batch) == []
    assert np.asarray(PromptDeduplicator().keys(batch)["prompt"]).tolist() == []
