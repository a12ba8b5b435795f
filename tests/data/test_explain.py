"""What a plan will do, foretold from a sample: also of recipes in which an operation asks a model."""

from __future__ import annotations

import polars as pl
import pytest

from plait.data.explain import Expected, explain
from plait.data.plan import SECONDS_PER_MB

TEXTS = [f"This is an ordinary English sentence, and it is number {n} of those in the sample." for n in range(60)]
SAMPLE = pl.DataFrame({"id": [str(n) for n in range(100)], "text": [*TEXTS, *(["short"] * 20), *(["#$%& " * 20] * 20)]})
LANGUAGE = {"language_id_score_filter": {"lang": "en", "min_score": 0.5}}
LENGTH = {"text_length_filter": {"min_len": 20}}
MODEL = {"toy_ops:LongEnoughByModel": {"least": 20}}
LETTERS = {"alphanumeric_filter": {"min_ratio": 0.5}}


def told(*ops, rows: pl.DataFrame = SAMPLE, scale: float = 10.0) -> dict[str, Expected]:
    return {one.name: one for one in explain(list(ops), rows, scale=scale)[1]}


def test_a_model_of_this_machine_is_tried_and_hides_nothing_else():
    found = told(LENGTH, LANGUAGE, MODEL, LETTERS, "document_deduplicator", "whitespace_normalization_mapper", LENGTH)
    assert found["alphanumeric_filter"].keeps == pytest.approx(60 / 80)
    assert found["language_id_score_filter"].keeps == pytest.approx(1.0)
    assert 0 < found["language_id_score_filter"].seconds < 10
    assert found["toy_ops:LongEnoughByModel"].keeps == 1.0
    assert found["document_deduplicator"].keeps is None
    assert found["text_length_filter"].keeps == 1.0
    assert all(one.seconds > 0 for one in found.values())


def test_what_would_take_long_is_tried_on_a_few_rows_and_multiplied(monkeypatch):
    every = told(MODEL)["toy_ops:LongEnoughByModel"]
    monkeypatch.setattr("plait.data.explain._MOMENTS", 0.0)
    some = told(MODEL)["toy_ops:LongEnoughByModel"]
    assert (every.keeps, some.keeps) == (0.8, 1.0)
    assert some.seconds == pytest.approx(every.seconds, rel=20)


def test_an_endpoint_is_never_asked_and_costs_what_its_kind_does():
    megabytes = SAMPLE.head(80).estimated_size() / 1e6
    found = told("llm_quality_score_filter", LETTERS)
    assert found["llm_quality_score_filter"].keeps is None
    assert found["llm_quality_score_filter"].seconds == pytest.approx(SECONDS_PER_MB["llm"] * megabytes * 10, rel=0.3)
    assert found["alphanumeric_filter"].keeps == pytest.approx(0.8)


def test_nothing_is_tried_after_a_mapper_that_is_not():
    download = {"download_file_mapper": {"download_field": "text", "allow_network": True}}
    found = told(LENGTH, download, LETTERS, "document_deduplicator", "clean_links_mapper", LANGUAGE)
    assert found["text_length_filter"].keeps == 0.8
    untried = ("download_file_mapper", "alphanumeric_filter", "clean_links_mapper", "language_id_score_filter")
    assert all(found[name].keeps is None for name in untried)


def test_no_rows_are_no_reason_to_fail():
    assert told(LENGTH, LANGUAGE, "document_deduplicator", rows=SAMPLE.clear())["text_length_filter"].keeps is None
