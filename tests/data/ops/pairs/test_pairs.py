"""Operations on preference pairs: by hand, and against the definitions written plainly."""

from __future__ import annotations

import itertools
import json
import math
from importlib.resources import files

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.core.quarantine import Quarantine
from plait.core.yaml import parse_yaml
from plait.data.batch import Batch, RowsInMemory
from plait.data.blocks import TableBlock
from plait.data.execute import execute
from plait.data.ops.pairs.across import PairContradictionSelector, PromptDeduplicator
from plait.data.ops.pairs.leakage import PairLeakageFilter
from plait.data.ops.pairs.pairs import (
    PairLengthBiasFilter,
    PairMarginFilter,
    PairSimilarityFilter,
    PairWeightMapper,
)
from plait.data.ops.pairs.texts import pair_texts, prompts
from plait.engines import LocalEngine
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


MESSAGE = pl.Struct({"role": pl.String, "content": pl.String})


def talk(*said: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(said)]


def split(chosen: str, rejected: str) -> tuple[str, str, str]:
    """TRL's ``extract_prompt`` of plain text, but for texts that differ from the start."""
    shorter = min(len(chosen), len(rejected))
    shared = next((n for n in range(shorter) if chosen[n] != rejected[n]), None)
    if shared is None:
        shared = max(shorter - 1, 0)
    elif shared and chosen[shared - 1] == " ":
        shared -= 1
    return chosen[:shared], chosen[shared:], rejected[shared:]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.text("a é漢😀", max_size=6), st.text("a é漢😀", max_size=6)), min_size=1, max_size=6))
def test_an_implicit_prompt_is_what_both_texts_begin_with(rows):
    batch = Batch.of(pl.DataFrame(rows, schema={"chosen": pl.String, "rejected": pl.String}, orient="row"))
    texts = pair_texts(batch, "prompt", "chosen", "rejected")
    found = list(zip(texts.prompt, texts.chosen, texts.rejected, strict=True))
    assert found == [split(*row) for row in rows]


def test_implicit_prompts_give_what_explicit_ones_give():
    rows = [("Hi?", "hello there", "go away now"), ("Why so?", "because", "no idea, sorry")]
    explicit = pairs(*rows)
    text = Batch.of(pl.DataFrame([(p + c, p + r) for p, c, r in rows], schema=["chosen", "rejected"], orient="row"))
    said = {
        "chosen": [talk("Say", "yes?", p, c) for p, c, _ in rows],
        "rejected": [talk("Say", "yes?", p, r) for p, _, r in rows],
    }
    messages = Batch.of(pl.DataFrame(said, schema=dict.fromkeys(said, pl.List(MESSAGE))))
    # As in data sets that repeat the prompt as text beside conversations that begin with it.
    repeated = Batch.of(messages.frame.with_columns(explicit.frame["prompt"]))
    for op in (PairLengthBiasFilter(), PairSimilarityFilter(ngram=1)):
        expected = op.value(explicit)
        for batch in (text, messages, repeated):
            assert op.value(batch) == pytest.approx(expected)
    weights = PairWeightMapper(rule="length").weights(explicit)
    assert PairWeightMapper(rule="length").weights(messages) == pytest.approx(weights)
    assert prompts(text, "prompt").to_list() == ["Hi?", "Why so?"]
    assert prompts(messages, "prompt").to_list() == ["Say\nyes?\nHi?", "Say\nyes?\nWhy so?"]
    assert prompts(repeated, "prompt").to_list() == ["Hi?", "Why so?"]
    both = [text.frame.select("chosen", "rejected"), text.frame.select(chosen="rejected", rejected="chosen")]
    twice = Batch.of(pl.concat(both))
    assert dropped(PromptDeduplicator(), twice) == [2, 3]
    assert dropped(PairContradictionSelector(), twice) == [0, 1, 2, 3]


def test_a_prompt_of_another_name_must_be_there():
    batch = Batch.of(pl.DataFrame({"chosen": ["a"], "rejected": ["b"]}))
    with pytest.raises(DataError, match='no field "question"'):
        PairSimilarityFilter(prompt_key="question").value(batch)
    with pytest.raises(DataError, match='no field "prompt"'):
        PromptDeduplicator().keys(Batch.of(pl.DataFrame({"chosen": ["a"]})))


def test_what_is_null_has_no_number_and_never_stays():
    batch = pairs(("p", "a b", "a c"), ("p", "a", None), ("p", None, "b"), (None, "x", "y"))
    assert np.isnan(PairLengthBiasFilter().value(batch)).tolist() == [False, True, True, False]
    for reverse in (False, True):
        op = PairSimilarityFilter(min_similarity=-1, reversed_range=reverse)
        assert op.inside(op.value(batch)).tolist() == [not reverse, False, False, not reverse]
    assert PairWeightMapper(rule="length").apply(batch).column("weight").to_list() == [1.0, 0.0, 0.0, 1.0]
    scored = Batch.of(pl.DataFrame({"score_chosen": [None, 2.0], "score_rejected": [1.0, 1.0]}))
    outside = PairMarginFilter(min_margin=5.0, reversed_range=True)
    assert outside.inside(outside.value(scored)).tolist() == [False, True]


def test_rows_without_a_prompt_are_no_duplicates_and_contradict_nothing():
    rows = pairs((None, "a", "b"), (None, "b", "a"), ("p", "a", None), ("p", None, "a"))
    assert dropped(PromptDeduplicator(), rows) == [3]
    assert dropped(PairContradictionSelector(), rows) == []


def test_a_score_that_is_not_a_number_is_the_worst():
    frame = pl.DataFrame({"prompt": ["p", "p", "p"], "score_chosen": [math.nan, 1.0, None]})
    assert dropped(PromptDeduplicator(keep="best"), Batch.of(frame)) == [0, 2]


def test_scores_must_be_numbers():
    batch = Batch.of(pl.DataFrame({"prompt": ["p"], "score_chosen": ["high"], "score_rejected": [1.0]}))
    for use in (PairMarginFilter().value, PairWeightMapper().weights, PromptDeduplicator(keep="best").keys):
        with pytest.raises(DataError, match='"score_chosen" is String, no number'):
            use(batch)


def test_confidence_is_never_negative():
    batch = Batch.of(pl.DataFrame({"score_chosen": [0.0], "score_rejected": [2.0]}))
    assert PairWeightMapper(rule="confidence").weights(batch).tolist() == [0.0]


def test_what_messages_say_may_come_in_parts():
    def parts(*texts: str | None):
        return [{"role": "assistant", "content": [{"type": "text", "text": text} for text in texts]}]

    batch = Batch.of(pl.DataFrame({"chosen": [parts("ab", None, "c")], "rejected": [parts("d")]}))
    assert PairLengthBiasFilter().value(batch) == pytest.approx([math.log(5 / 2)])
    odd = Batch.of(pl.DataFrame({"chosen": [[{"role": "user", "content": 1}]], "rejected": ["a"]}))
    with pytest.raises(DataError, match="content that is Int64"):
        pair_texts(odd, "prompt", "chosen", "chosen")
    with pytest.raises(DataError, match="is text, the other is messages"):
        pair_texts(odd, "prompt", "chosen", "rejected")


def test_an_empty_question_of_an_evaluation_set_makes_no_prompt_leak(tmp_path):
    path = tmp_path / "eval.jsonl"
    path.write_text('{"prompt": "Say hi"}\n{"prompt": " "}\n{"prompt": null}\n')
    value = PairLeakageFilter(evaluation=str(path)).value(pairs(("", "a", "b"), ("say hi", "a", "b"), (None, "a", "b")))
    assert value[:2].tolist() == [0.0, 1.0]
    assert math.isnan(value[2])


@pytest.mark.parametrize("said", [lambda role, text: text, lambda role, text: [{"role": role, "content": text}]])
def test_the_shipped_recipe_runs_on_text_and_on_messages(said, tmp_path):
    rows = [("Hi?", "hello there", "go away now"), ("Hi?", "good day", "away with you"), ("Why?", "because", "")]
    record = [
        {"id": str(i), "prompt": said("user", p), "chosen": said("assistant", c), "rejected": said("assistant", r)}
        for i, (p, c, r) in enumerate(rows)
    ]
    ops = parse_yaml((files("plait.recipes.data") / "pairs.yaml").read_text("utf-8"), source="pairs").data["process"]
    block = TableBlock(pl.DataFrame(record).to_arrow())
    with LocalEngine(workers=1) as engine:
        done = execute(ops, [block], folder=tmp_path, engine=engine, quarantine=Quarantine(tmp_path / "q.jsonl"))
    assert [i for frame in done.frames() for i in frame["id"]] == ["0"]
