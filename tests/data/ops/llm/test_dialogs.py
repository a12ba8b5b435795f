"""Dialogs: labels turn after turn, and judges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from plait.data.batch import Batch
from plait.data.ops.llm.dialogs import (
    DialogIntentDetectionMapper,
    DialogSentimentDetectionMapper,
    DialogSentimentIntensityMapper,
    DialogTopicDetectionMapper,
)
from plait.data.ops.llm.judges import (
    AgentToolRelevanceMapper,
    AgentTraceCoherenceMapper,
    DialogClarificationQualityMapper,
    DialogCoreferenceMapper,
    DialogErrorRecoveryMapper,
    DialogMemoryConsistencyMapper,
    DialogNonRepetitionMapper,
    DialogProactivityMapper,
    DialogTopicShiftMapper,
    Judges,
)
from plait.data.ops.llm.line import line_to
from plait.data.ops.llm.meta import META
from plait.data.ops.llm.turns import turns_of
from plait.llm import Scripted

Says = Callable[..., Scripted]
HISTORY = [["hi", "hello"], ["bad!", "sorry"], ["fine", "good"]]


def metas(op: Any, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    return op.apply(Batch.of(pl.DataFrame(list(rows), infer_schema_length=None))).column(META).to_list()


def test_each_turn_sees_the_labels_before_it(says: Says) -> None:
    seen = "User: hi\nAnalysis: greets\nLabels: greeting\nAssistant: hello\n"
    model = says(
        (f"^Choose from: greeting,complaint\n{seen}User: bad!\n$", {"analysis": "is cross", "labels": "complaint"}),
        ("User: hi\n$", {"analysis": "greets", "labels": "greeting"}),
        ("Labels: complaint\nAssistant: sorry\nUser: fine\n$", {"analysis": "greets again", "labels": "greeting"}),
    )
    op = DialogIntentDetectionMapper(model=model, intent_candidates=("greeting", "complaint"))
    long, short = metas(op, {"history": HISTORY}, {"history": HISTORY[:1]})
    assert long == {
        "dialog_intent_detection_status": "ok",
        "dialog_intent_labels": ["greeting", "complaint"],
        "dialog_intent_labels_analysis": ["greets", "is cross", "greets again"],
    }
    assert short["dialog_intent_labels"] == ["greeting"]


def test_a_turn_without_an_answer_has_null_and_the_row_says_so(says: Says) -> None:
    model = says(("User: bad!\n$", "no"), ("", {"analysis": "a", "intensity": 3}))
    op = DialogSentimentIntensityMapper(model=model, try_num=1)
    [meta] = metas(op, {"history": HISTORY})
    assert meta["dialog_sentiment_intensity"] == [3, None, 3]
    assert meta["dialog_sentiment_intensity_analysis"] == ["a", None, "a"]
    assert meta["dialog_sentiment_intensity_status"].startswith("unusable: ")


@pytest.mark.parametrize("most", [0, 1])
def test_only_the_last_rounds_are_shown(most: int, says: Says) -> None:
    op = DialogTopicDetectionMapper(model=says(("", {"analysis": f"a{most}", "labels": "t"})), max_round=most)
    metas(op, {"history": HISTORY})
    last = line_to(op.chat()).model.calls[-1].messages
    assert last[-1]["content"].count("Assistant:") == most
    assert "Write in Chinese." in last[0]["content"]


def test_a_row_without_a_dialog_is_not_asked_about(says: Says) -> None:
    op = DialogSentimentDetectionMapper(model=says(("", {"analysis": "a", "labels": "calm"})))
    without, with_query = metas(op, {"query": None}, {"query": "well"})
    assert without["dialog_sentiment_detection_status"] == "not asked"
    assert with_query["dialog_sentiment_labels"] == ["calm"]


def test_the_last_turn_is_not_shown_twice() -> None:
    keys = {"history": "h", "query": "q", "response": "r"}
    assert turns_of({"h": [["a", "b"]], "q": "a", "r": "b"}, **keys) == [("a", "b")]
    assert turns_of({"h": [["a", "b"]], "q": "c", "r": None}, **keys) == [("a", "b"), ("c", "")]
    assert turns_of({"h": None, "q": None}, **keys) == []


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (DialogClarificationQualityMapper, "dialog_clarification_quality"),
        (DialogCoreferenceMapper, "dialog_coreference"),
        (DialogErrorRecoveryMapper, "dialog_error_recovery"),
        (DialogMemoryConsistencyMapper, "dialog_memory_consistency"),
        (DialogNonRepetitionMapper, "dialog_non_repetition"),
        (DialogProactivityMapper, "dialog_proactivity"),
        (DialogTopicShiftMapper, "dialog_topic_shift"),
    ],
)
def test_judges_of_a_reply(kind: type[Judges], key: str, says: Says) -> None:
    shown = "Earlier turns:\nUser: hi\nAssistant: hello\n\n\nUser now:\nbad!\n\nReply to judge .only this.:\nsorry$"
    op = kind(model=says((shown, {"score": 4, "reason": "polite"})))
    first, second = metas(op, {"dialog_history": HISTORY[:2]}, {"dialog_history": []})
    assert first[key] == {"score": 4.0, "reason": "polite", "eval_kind": "dialog_turn"}
    assert second == {f"{key}_status": "not asked", key: None}


def test_a_score_out_of_range_is_asked_for_again(says: Says) -> None:
    op = DialogCoreferenceMapper(
        model=says(("earlier answer", {"score": 5, "reason": "r"}), ("", {"score": 9, "reason": "r"}))
    )
    assert metas(op, {"query": "q", "response": "a"})[0]["dialog_coreference"]["score"] == 5.0


def test_a_verdict_stays_unless_told_otherwise(says: Says) -> None:
    row = {"query": "q", META: {"dialog_coreference": {"score": 1.0, "reason": "old", "eval_kind": "dialog_turn"}}}
    model = says(("", {"score": 5, "reason": "new"}))
    assert metas(DialogCoreferenceMapper(model=model), row)[0]["dialog_coreference"]["reason"] == "old"
    assert metas(DialogCoreferenceMapper(model=model, overwrite=True), row)[0]["dialog_coreference"]["reason"] == "new"


def test_judges_of_a_trace(says: Says) -> None:
    op = AgentTraceCoherenceMapper(
        model=says(("^abc…$", {"score": 2, "reason": "drifts"})), trajectory_text_max_chars=3
    )
    [meta] = metas(op, {"text": "abcdef"})
    assert meta["agent_trace_coherence"] == {"score": 2.0, "reason": "drifts", "eval_kind": "agent_trace"}
    op = AgentToolRelevanceMapper(model=says(("Tools: web, code\nMost used tool: web", {"score": 5, "reason": "apt"})))
    row = {"query": "q", META: {"agent_tool_types": ["web", "code"], "primary_tool_type": "web"}}
    assert metas(op, row)[0]["agent_tool_relevance"]["eval_kind"] == "agent_tool"
