"""Mappers that ask a model: what it is shown, and where its answers go."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from plait.data.batch import Batch
from plait.data.names import ROW
from plait.data.op import Mapper
from plait.data.ops.llm.agents import AgentInsightLlmMapper, AgentSkillInsightMapper, AgentToolTypeMapper
from plait.data.ops.llm.annotate import HumanPreferenceAnnotationMapper
from plait.data.ops.llm.answers import (
    CalibrateQaMapper,
    CalibrateQueryMapper,
    CalibrateResponseMapper,
    OptimizeQaMapper,
    OptimizeQueryMapper,
    OptimizeResponseMapper,
)
from plait.data.ops.llm.extract import (
    ExtractEventMapper,
    ExtractKeywordMapper,
    ExtractSupportTextMapper,
    LlmExtractMapper,
    RelationIdentityMapper,
)
from plait.data.ops.llm.generate import (
    GenerateQaFromExamplesMapper,
    GenerateQaFromTextMapper,
    OptimizePromptMapper,
    PairPreferenceMapper,
    SentenceAugmentationMapper,
    rouge_l,
)
from plait.data.ops.llm.knowledge import (
    ExtractEntityAttributeMapper,
    ExtractEntityRelationMapper,
    ExtractNicknameMapper,
)
from plait.data.ops.llm.line import line_to
from plait.data.ops.llm.mapper import LLMMapper
from plait.data.ops.llm.meta import META
from plait.data.ops.llm.privacy import PiiLlmSuspectMapper
from plait.data.ops.llm.tags import (
    TEXT_TAGS,
    QueryIntentDetectionMapper,
    QuerySentimentDetectionMapper,
    QueryTopicDetectionMapper,
    TextTaggingByPromptMapper,
)
from plait.errors import DataError, ReplayMiss, UsageError
from plait.llm import Replay, Scripted

Says = Callable[..., Scripted]
PAIR = {"text": "Paris is the capital.", "query": "capital?", "response": "Paris"}
BOTH = {"query": "What is the capital?", "response": "It is Paris."}


def run(op: Mapper, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    after = op.apply(Batch.of(pl.DataFrame(list(rows), infer_schema_length=None)))
    told = after.frame.drop(ROW).to_dicts()
    if isinstance(op, LLMMapper):
        failed = [str(row[META][op.status]).startswith(("unusable", "failed")) for row in told]
        assert op.failures(after) == sum(failed)
    return told


def asked(op: Any) -> str:
    """The last message of the last call."""
    return line_to(op.chat()).model.calls[-1].messages[-1]["content"]


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        (CalibrateQaMapper, {"query", "response"}),
        (CalibrateQueryMapper, {"query"}),
        (CalibrateResponseMapper, {"response"}),
        (OptimizeQaMapper, {"query", "response"}),
        (OptimizeQueryMapper, {"query"}),
        (OptimizeResponseMapper, {"response"}),
    ],
)
def test_pairs_are_rewritten_in_place(kind: Any, changed: set[str], says: Says) -> None:
    op = kind(model=says(("capital", {name: BOTH[name] for name in changed})))
    [row] = run(op, PAIR)
    assert {name for name in PAIR if row[name] != PAIR[name]} == changed
    assert {name: row[name] for name in changed} == {name: BOTH[name] for name in changed}
    assert ("Paris is the capital" in asked(op)) == kind.__name__.startswith("Calibrate")


def test_a_pair_without_a_usable_answer_stays_and_says_so(says: Says) -> None:
    good, bad = run(
        CalibrateQaMapper(model=says(("capital", BOTH), ("", "no"))), PAIR, {**PAIR, "query": "x", "text": ""}
    )
    assert good[META]["calibrate_qa_status"] == "ok"
    assert (bad["query"], bad["response"]) == ("x", "Paris")
    assert bad[META]["calibrate_qa_status"].startswith("unusable: ")


def test_data_juicers_templates_and_patterns_work(says: Says) -> None:
    op = CalibrateQaMapper(
        model=says(("REF Paris.*Q capital. A Paris", "[Q] q2 [A] a2")),
        reference_template="REF {}",
        qa_pair_template="Q {} A {}",
        output_pattern=r"\[Q\]\s*(.*?)\s*\[A\]\s*(.*)",
    )
    [row] = run(op, PAIR)
    assert (row["query"], row["response"]) == ("q2", "a2")


def test_a_worse_answer_and_its_reason(says: Says) -> None:
    [row] = run(PairPreferenceMapper(model=says(("", {"rejected": "Rome", "reason": "wrong city"}))), PAIR)
    assert (row["response"], row["rejected_response"], row["reason"]) == ("Paris", "Rome", "wrong city")


def test_a_worse_answer_that_is_not_found_is_null(says: Says) -> None:
    [row] = run(PairPreferenceMapper(model=says(("", {"rejected": "", "reason": ""}))), PAIR)
    assert (row["rejected_response"], row["reason"]) == (None, None)
    assert row[META]["pair_preference_status"] == "unusable: rejected is empty"


def test_sentences_go_to_another_field(says: Says) -> None:
    op = SentenceAugmentationMapper(
        model=says(('Here is a sentence: "go". Be polite.', {"sentence": "please go"})),
        task_sentence="Be polite.",
        text_key_second="polite",
    )
    assert [(row["text"], row["polite"]) for row in run(op, {"text": "go"}, {"text": " "})] == [
        ("go", "please go"),
        (" ", None),
    ]
    assert line_to(op.chat()).model.calls[-1].temperature == 0.2


def test_a_row_per_question(says: Says) -> None:
    pairs = [{"query": f"q{i}", "response": f"a{i}"} for i in range(3)]
    op = GenerateQaFromTextMapper(model=says(("two", {"pairs": pairs}), ("", {"pairs": []})), max_num=2)
    batch = op.apply(Batch.of_texts(["two", "none"]))
    assert batch.frame.select(ROW, "text", "query", "response").rows() == [
        (0, "two", "q0", "a0"),
        (0, "two", "q1", "a1"),
        (1, "none", None, None),
    ]
    statuses = batch.column(f"{META}.generate_qa_from_text_status").to_list()
    assert statuses == ["ok", "ok", "unusable: there are no questions"]


@pytest.fixture
def seed_file(tmp_path: Path) -> Path:
    path = tmp_path / "seed.jsonl"
    lines = [[("user", f"how many legs has animal {i}"), ("assistant", "four legs")] for i in range(4)]
    path.write_text(
        "".join(json.dumps({"messages": [{"role": r, "content": c} for r, c in line]}) + "\n" for line in lines)
    )
    return path


def test_new_questions_after_examples(seed_file: Path, says: Says) -> None:
    pairs = [{"query": "q0", "response": "a0"}, {"query": "what colour is the sky", "response": "blue"}]
    op = GenerateQaFromExamplesMapper(model=says(("legs", {"pairs": pairs})), seed_file=seed_file)
    [row] = run(op, {"id": "x"})
    assert (row["query"], row["response"], row["history"]) == ("what colour is the sky", "blue", [["q0", "a0"]])
    assert asked(op).count("how many legs") == 3


def test_the_examples_of_a_row_do_not_depend_on_its_chunk(seed_file: Path, says: Says) -> None:
    op = GenerateQaFromExamplesMapper(model=says(("", "no")), seed_file=seed_file)
    alone = op.question({"id": "x", ROW: 0})
    assert alone == op.question({"id": "x", ROW: 7})
    assert any(alone != op.question({"id": str(i), ROW: 0}) for i in range(5))


def test_a_question_too_much_like_an_example_is_refused(seed_file: Path, says: Says) -> None:
    pairs = [{"query": "how many legs has animal 9", "response": "four legs"}]
    op = GenerateQaFromExamplesMapper(model=says(("", {"pairs": pairs})), seed_file=seed_file)
    [row] = run(op, {"id": "x"})
    assert row["query"] is None
    assert row[META]["generate_qa_from_examples_status"] == "unusable: too much like an example"


def test_examples_that_cannot_be_read_are_an_error(tmp_path: Path, says: Says) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "no messages"}\n')
    with pytest.raises(DataError, match="the examples cannot be read"):
        run(GenerateQaFromExamplesMapper(model=says(("", "")), seed_file=path), {"id": "x"})


def test_rouge_by_hand() -> None:
    assert rouge_l(["a", "b", "c", "d"], ["a", "c", "x"]) == 2 * 2 / 7
    assert rouge_l([], ["a"]) == 0.0


def test_each_new_prompt_is_an_example_for_the_next(says: Says) -> None:
    model = says(
        ("(?s)new 1.*new 2|new 2", {"prompt": "new 3"}), ("new 1", {"prompt": "new 2"}), ("", {"prompt": "new 1"})
    )
    rows = run(OptimizePromptMapper(model=model, gen_num=3), {"prompt": "p", "n": 1}, {"prompt": "q", "n": 2})
    assert [(row["prompt"], row["n"]) for row in rows] == [("p", 1), ("q", 2), ("new 1", 1), ("new 2", 1), ("new 3", 1)]
    rows = run(OptimizePromptMapper(model=model, gen_num=1, keep_original_sample=False), {"prompt": "p"})
    assert [row["prompt"] for row in rows] == ["new 1"]


def test_keywords(says: Says) -> None:
    op = ExtractKeywordMapper(
        model=says(("sea", {"keywords": ["ships", "sea"]}), ("", {"keywords": []})), drop_text=True
    )
    sea, other, empty = run(op, {"text": "the sea"}, {"text": "x"}, {"text": ""})
    assert sea == {META: {"extract_keyword_status": "ok", "keyword": ["ships", "sea"]}}
    assert other[META] == {"extract_keyword_status": "unusable: there are no keywords", "keyword": None}
    assert empty[META] == {"extract_keyword_status": "not asked", "keyword": None}


def test_what_is_known_is_not_asked_again(says: Says) -> None:
    op = ExtractKeywordMapper(model=says(("", {"keywords": ["new"]})))
    known = {"text": "a", META: {"keyword": ["old"], "other": 1}}
    unknown = {"text": "b", META: {"keyword": None, "other": 2}}
    first, second = run(op, known, unknown)
    assert first[META] == {"keyword": ["old"], "other": 1, "extract_keyword_status": "not asked"}
    assert second[META] == {"keyword": ["new"], "other": 2, "extract_keyword_status": "ok"}


def test_a_row_per_event(says: Says) -> None:
    events = [{"description": "d1", "characters": ["A"]}, {"description": "d2", "characters": []}]
    rows = run(
        ExtractEventMapper(model=says(("tale", {"events": events}), ("", "no"))), {"text": "tale"}, {"text": "x"}
    )
    assert [row[META]["event_description"] for row in rows] == ["d1", None]
    assert rows[0][META]["relevant_characters"] == ["A"]


def test_the_passage_of_a_summary(says: Says) -> None:
    op = ExtractSupportTextMapper(model=says(("Summary:\ns1", {"passage": "p"})))
    rows = run(
        op, {"text": "a p b", META: {"event_description": "s1"}}, {"text": "c", META: {"event_description": None}}
    )
    assert [row[META]["support_text"] for row in rows] == ["p", None]
    assert rows[1][META]["extract_support_text_status"] == "not asked"


def test_a_relation(says: Says) -> None:
    model = says(("about Ann and Bob", {"analysis": "a", "relation": "brother"}))
    [row] = run(RelationIdentityMapper(source_entity="Ann", target_entity="Bob", model=model), {"text": "t"})
    assert row[META]["role_relation"] == "brother"


def test_own_fields_and_what_they_cost(says: Says) -> None:
    model = says(("(?s)text: in 1900.*- year: the year", {"year": "1900"}))
    op = LlmExtractMapper(input_keys=("text",), output_schema={"year": "the year"}, model=model)
    [row] = run(op, {"text": "in 1900"})
    assert row[META]["llm_extract"] == {"year": "1900"}
    usage = row[META]["llm_semantic_usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 2
    again = LlmExtractMapper(
        input_keys=("text",), output_schema={"year": "the year"}, meta_output_key=None, model=model
    )
    [row] = run(again, row)
    assert row[META]["year"] == "1900"
    assert row[META]["llm_semantic_usage"]["total_tokens"] == 2 * usage["total_tokens"]


def test_thinking_before_reading(says: Says) -> None:
    model = says(("(?s)Good to know:\nwars.*Examples:\ne.*Input", {"thoughts": "t", "year": None}))
    op = LlmExtractMapper(
        input_keys=("text",),
        output_schema={"year": "the year"},
        strategy="cot_shot",
        examples="e",
        knowledge_grounding_fixed="wars",
        model=model,
    )
    assert run(op, {"text": "x"})[0][META]["llm_extract"] == {"year": None}


def test_nicknames_that_are_names_do_not_count(says: Says) -> None:
    found = [("Ann", "Bob", "Bobby"), ("Ann", "Bob", "Bobby"), ("Bob", "Ann", "Ann")]
    names = [dict(zip(("speaker", "addressed", "nickname"), f, strict=True)) for f in found]
    [row] = run(ExtractNicknameMapper(model=says(("", {"nicknames": names}))), {"text": "t"})
    assert row[META]["nickname"] == [
        {
            "relation_source_entity": "Ann",
            "relation_target_entity": "Bob",
            "relation_description": "Bobby",
            "relation_keywords": ["nickname"],
            "relation_strength": None,
        }
    ]


def test_a_graph_and_what_was_missed(says: Says) -> None:
    def entity(name: str) -> dict[str, str]:
        return {"name": name, "type": "person", "description": name.lower()}

    relation = {"source": "Ann", "target": "Bob", "description": "kin", "keywords": ["family"], "strength": 7}
    model = says(
        ("Found so far", {"entities": [entity("Ann"), entity("Bob")], "relations": [relation]}),
        ("", {"entities": [entity("Ann")], "relations": []}),
    )
    [row] = run(ExtractEntityRelationMapper(model=model), {"text": "t"})
    assert [e["entity_name"] for e in row[META]["entity"]] == ["Ann", "Bob"]
    assert [(r["relation_target_entity"], r["relation_strength"]) for r in row[META]["relation"]] == [("Bob", 7.0)]
    [row] = run(ExtractEntityRelationMapper(model=model, max_gleaning=0), {"text": "t"})
    assert [e["entity_name"] for e in row[META]["entity"]] == ["Ann"]


def test_looking_again_ends_when_nothing_new_is_found(says: Says) -> None:
    model = says(("", {"entities": [{"name": "A", "type": "t", "description": "d"}], "relations": []}))
    op = ExtractEntityRelationMapper(model=model, max_gleaning=50, entity_types=("ends-here",))
    run(op, {"text": "t"})
    assert len(line_to(op.chat()).model.calls) == 2


def test_attributes_of_entities(says: Says) -> None:
    model = says(("", {"description": "calm", "passages": ["he sat"]}))
    op = ExtractEntityAttributeMapper(query_entities=("Ann", "Bob"), query_attributes=("mood",), model=model)
    [row] = run(op, {"text": "t"})
    assert row[META] == {
        "extract_entity_attribute_status": "ok",
        "main_entities": ["Ann", "Bob"],
        "attributes": ["mood", "mood"],
        "attribute_descriptions": ["calm", "calm"],
        "attribute_support_texts": [["he sat"], ["he sat"]],
    }


def test_attributes_need_passages_unless_told_otherwise(says: Says) -> None:
    settings: dict[str, Any] = {"query_entities": ("Ann",), "query_attributes": ("age",)}
    model = says(("", {"description": "old", "passages": []}))
    [row] = run(ExtractEntityAttributeMapper(model=model, **settings), {"text": "t"})
    assert row[META]["extract_entity_attribute_status"] == "unusable: there is no passage"
    [row] = run(ExtractEntityAttributeMapper(model=model, require_support_demos=False, **settings), {"text": "t"})
    assert row[META]["attribute_descriptions"] == ["old"]


def test_a_tag_is_one_of_the_list(says: Says) -> None:
    model = says(("goal", {"tag": "sports"}), ("", {"tag": "weather"}))
    op = TextTaggingByPromptMapper(tag_list=("sports", "news"), model=model)
    assert [row[TEXT_TAGS] for row in run(op, {"text": "goal"}, {"text": "rain"})] == [["sports"], None]


@pytest.mark.parametrize(
    ("op", "label", "kind"),
    [
        (QueryIntentDetectionMapper, "question", "intent"),
        (QuerySentimentDetectionMapper, "positive", "sentiment"),
        (QueryTopicDetectionMapper, "sports", "topic"),
    ],
)
def test_a_query_gets_a_label_and_a_score(op: Any, label: str, kind: str, says: Says) -> None:
    chosen = op(model=says(("", {"label": label, "score": 0.8})), labels=(label, "other"))
    [row] = run(chosen, {"query": "great"})
    assert row[META][f"query_{kind}_label"] == label
    assert row[META][f"query_{kind}_label_score"] == 0.8
    with pytest.raises(UsageError, match="asks a chat model, and none is set"):
        run(op(), {"query": "great"})


def test_the_tools_used_most() -> None:
    tools = ["web", "code", "code ", "mail"]
    first, second = run(AgentToolTypeMapper(top_k_dominant=2), {META: {"agent_tool_types": tools}}, {META: None})
    assert first[META]["primary_tool_type"] == "code"
    assert first[META]["dominant_tool_types"] == ["code", "web"]
    assert (second[META]["primary_tool_type"], second[META]["dominant_tool_types"]) == (None, [])


def test_what_an_agent_can_do(says: Says) -> None:
    op = AgentSkillInsightMapper(model=says(("Tools: web, code\nSkills: $", {"insights": ["reads", "reads", " "]})))
    first, second = run(op, {META: {"agent_tool_types": ["web", "code"]}}, {META: {"agent_tool_types": []}})
    assert first[META]["agent_skill_insights"] == ["reads"]
    assert second[META]["agent_skill_insight_status"] == "not asked"


def test_a_case_report_for_some_tiers(says: Says) -> None:
    report = {
        "headline": "slow tool",
        "root_causes": [{"factor": "f", "confidence": "low", "cited_fields": ["tools"], "rationale_one_line": "r"}],
        "narrative_alignment": "mixed",
        "human_review_priority": "P2",
        "viz_facets": [],
        "audit_notes": "",
    }
    op = AgentInsightLlmMapper(model=says(('"tool_fail_count": 3', report)), run_for_tiers=("bad",))
    bad = {"query": "q", META: {"agent_bad_case_tier": "bad", "tool_fail_count": 3}}
    good = {"query": "q", META: {"agent_bad_case_tier": "good", "tool_fail_count": 0}}
    first, second = run(op, bad, good)
    assert first[META]["agent_insight_llm"] == report
    assert first[META]["agent_pipeline_output_lang"] == "en"
    assert (second[META]["agent_insight_llm"], second[META]["agent_pipeline_output_lang"]) == (None, None)


FOUND = {"suspected": [{"field": "text", "category": "name", "evidence": "Ann Lee"}], "likely_clean": False}


@pytest.mark.parametrize(
    ("mode", "text"), [("none", "mail Ann Lee @ home"), ("evidence", "mail X @ home"), ("whole_field", "X")]
)
def test_personal_data_is_found_and_blotted_out(mode: Any, text: str, says: Says) -> None:
    op = PiiLlmSuspectMapper(model=says(("Ann", FOUND)), redaction_mode=mode, redaction_placeholder="X")
    first, second = run(op, {"text": "mail Ann Lee @ home"}, {"text": "a fine day"})
    assert first["text"] == text
    assert first[META]["pii_llm_suspect"]["suspected"] == FOUND["suspected"]
    assert second["text"] == "a fine day"
    assert second[META]["pii_llm_suspect_status"] == "not asked"


def test_evidence_that_is_made_up_does_not_count(says: Says) -> None:
    op = PiiLlmSuspectMapper(model=says(("", FOUND)), redaction_mode="whole_field")
    [row] = run(op, {"text": "mail bob@example.org"})
    assert row["text"] == "mail bob@example.org"
    assert row[META]["pii_llm_suspect"]["suspected"] == []


def test_messages_are_blotted_out_too(says: Says) -> None:
    found = {"suspected": [{"field": "messages", "category": "key", "evidence": "123456"}], "likely_clean": False}
    op = PiiLlmSuspectMapper(model=says(("", found)), redaction_mode="evidence", redaction_placeholder="X")
    [row] = run(op, {"messages": [{"role": "user", "content": "it is 123456"}]})
    assert row["messages"] == [{"role": "user", "content": "it is X"}]


def test_people_choose_in_label_studio(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{i}", "answer1": "yes", "answer2": "no"} for i in range(3)]
    folder = tmp_path / "tasks"
    first = run(HumanPreferenceAnnotationMapper(tasks_folder=folder), *rows)
    assert {row["chosen"] for row in first} == {None}
    assert "<Pairwise" in (folder / "label-config.xml").read_text()
    [file] = folder.glob("*.json")
    tasks = json.loads(file.read_text())
    assert [task["data"]["prompt"] for task in tasks] == ["p0", "p1", "p2"]

    def says(*selected: str) -> list[dict[str, Any]]:
        return [{"result": [{"type": "pairwise", "value": {"selected": side}}]} for side in selected]

    votes = [says("left"), says("right", "right", "left"), says("left", "right")]
    export = tmp_path / "export.json"
    export.write_text(json.dumps([{**task, "annotations": v} for task, v in zip(tasks, votes, strict=True)]))
    done = run(HumanPreferenceAnnotationMapper(annotations=export), *reversed(rows))
    assert [(row["chosen"], row["rejected"]) for row in done] == [(None, None), ("no", "yes"), ("yes", "no")]
    assert [row[META]["human_preference_annotation_status"] for row in done] == ["pending", "ok", "ok"]


def test_annotations_that_are_none_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_text('{"data": 1}')
    with pytest.raises(DataError, match="the annotations cannot be read"):
        run(HumanPreferenceAnnotationMapper(annotations=path), {"prompt": "p", "answer1": "a", "answer2": "b"})


def test_recorded_answers_are_replayed(tmp_path: Path, says: Says) -> None:
    path = tmp_path / "calls.jsonl"
    model = says(("", {"keywords": ["sea"]}))
    first = run(ExtractKeywordMapper(model=Replay(inner=model, path=path)), {"text": "a"}, {"text": "b"})
    replayed = ExtractKeywordMapper(model=Replay(inner=model, path=path, mode="replay"))
    assert run(replayed, {"text": "b"}, {"text": "a"}) == first[::-1]
    with pytest.raises(ReplayMiss):
        run(replayed, {"text": "c"}, {"text": "a"})
