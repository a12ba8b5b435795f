"""Aggregators: what they show the model of a group, and where its answers go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest

from plait.data.batch import Batch
from plait.data.ops.llm.line import line_to
from plait.data.ops.llm.meta import META
from plait.data.ops.select.aggregators import (
    EntityAttributeAggregator,
    MetaTagsAggregator,
    MostRelevantEntitiesAggregator,
    NestedAggregator,
)
from plait.data.ops.select.groupers import BATCH_META, NaiveReverseGrouper
from plait.errors import DataError
from plait.llm import Rule, Scripted


def groups(*texts: Sequence[str]) -> Batch:
    kind = pl.List(pl.Struct({"event_description": pl.String}))
    metas = [[{"event_description": text} for text in some] for some in texts]
    return Batch.of(pl.DataFrame({"text": [list(some) for some in texts], META: pl.Series(metas, dtype=kind)}))


def says(*rules: tuple[str, str]) -> Scripted:
    return Scripted(rules=tuple(Rule(pattern=pattern, answer=answer) for pattern, answer in rules))


def said(op: Any, batch: Batch) -> list[Any]:
    [frame] = op.reduce([batch])
    return frame[BATCH_META].to_list()


def test_parts_are_summed_up_first() -> None:
    model = says(
        ("(?s)aaa.*bbb", '{"summary": "ab"}'),
        ("(?s)ccc.*ddd", '{"summary": "cd"}'),
        ("(?s)ab.*cd", '{"summary": "all"}'),
    )
    op = NestedAggregator(model=model, max_token_num=2)
    assert said(op, groups(["aaa", "bbb", "ccc", "ddd"], ["one"], [])) == [
        {"event_description": "all", "nested_status": "ok"},
        {"event_description": "one", "nested_status": "ok"},
        {"event_description": None, "nested_status": "not asked"},
    ]
    assert len(line_to(op.chat()).model.calls) == 3


def test_a_part_without_a_summary_fails_its_group_alone() -> None:
    op = NestedAggregator(model=says(("good", '{"summary": "fine"}'), ("", "no")), output_key="s")
    good, bad = said(op, groups(["good", "x"], ["y", "z"]))
    assert good == {"s": "fine", "nested_status": "ok"}
    assert bad["s"] is None
    assert bad["nested_status"].startswith("unusable: ")


@pytest.mark.parametrize("most", [1, 2, 5, None])
def test_summing_up_comes_to_an_end_however_little_is_read_at_a_time(most: int | None) -> None:
    op = NestedAggregator(model=says(("", '{"summary": "a summary far longer than may be read"}')), max_token_num=most)
    [meta] = said(op, groups([f"text {i}" for i in range(9)]))
    assert meta["nested_status"] == "ok"


def test_an_attribute_of_an_entity() -> None:
    model = says(
        ("(?s)^Documents about Ann.*s1", '{"summary": "calm"}'),
        ("(?s)^Documents", '{"summary": "loud"}'),
        ("(?s)calm.*loud", '{"summary": "both"}'),
    )
    op = EntityAttributeAggregator(entity="Ann", attribute="mood", model=model, max_token_num=1)
    [meta] = said(op, groups(["s1", "s2", "s3", "s4"]))
    assert meta == {"entity_attribute": "both", "entity_attribute_status": "ok"}


def test_entities_that_are_related() -> None:
    op = MostRelevantEntitiesAggregator(
        entity="Ann", query_entity_type="person", max_token_num=1, model=says(("aaa$", '{"entities": ["Bob", "Cy"]}'))
    )
    assert said(op, groups(["aaa", "bbb"])) == [
        {"most_relevant_entities": ["Bob", "Cy"], "most_relevant_entities_status": "ok"}
    ]


def test_tags_are_merged_and_what_is_not_named_stays() -> None:
    answer = '{"merged": [{"tag": "glad", "merged": "joy"}, {"tag": "merry", "merged": "joy"}]}'
    op = MetaTagsAggregator(model=says(("glad: 2\nmerry: 1\nsad: 1", answer)))
    metas = [[{"dialog_sentiment_labels": ["glad", "merry"]}, {"dialog_sentiment_labels": ["glad", "sad"]}]]
    [frame] = op.reduce([Batch.of(pl.DataFrame({META: metas}))])
    assert frame[META].to_list() == [
        [{"dialog_sentiment_labels": ["joy", "joy"]}, {"dialog_sentiment_labels": ["joy", "sad"]}]
    ]
    single = Batch.of(
        pl.DataFrame(
            {
                META: [
                    [{"dialog_sentiment_labels": "glad"}] * 2
                    + [{"dialog_sentiment_labels": "merry"}, {"dialog_sentiment_labels": "sad"}]
                ]
            }
        )
    )
    [frame] = op.reduce([single])
    assert [meta["dialog_sentiment_labels"] for meta in frame[META][0]] == ["joy", "joy", "joy", "sad"]


def test_what_is_said_of_groups_adds_up_and_goes_when_they_are_split() -> None:
    model = says(("", '{"summary": "s"}'))
    [once] = NestedAggregator(model=model).reduce([groups(["a", "b"])])
    [twice] = EntityAttributeAggregator(entity="Ann", attribute="mood", model=model).reduce([Batch.of(once)])
    assert set(twice[BATCH_META][0]) == {
        "event_description",
        "nested_status",
        "entity_attribute",
        "entity_attribute_status",
    }
    [rows] = NaiveReverseGrouper().reduce([Batch.of(twice)])
    assert rows["text"].to_list() == ["a", "b"]


def test_rows_that_are_not_grouped_are_an_error() -> None:
    with pytest.raises(DataError, match="not grouped"):
        list(NestedAggregator().reduce([Batch.of_texts(["a"])]))
    with pytest.raises(DataError, match="not grouped"):
        list(MetaTagsAggregator().reduce([Batch.of_texts(["a"])]))
