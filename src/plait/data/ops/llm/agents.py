"""What agents do: the tools they use most, what they can do, and a short case report of one session."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import polars as pl
from pydantic import NonNegativeInt, PositiveInt

from plait.data.batch import Batch
from plait.data.op import Mapper
from plait.data.ops.llm.ask import TEXT, TEXTS, Answer, AsksEndpoint, Question, Shape, schema_of
from plait.data.ops.llm.mapper import LLMMapper, Row
from plait.data.ops.llm.meta import META, STRINGS, meta_of, with_meta
from plait.data.ops.llm.signals import VERDICTS
from plait.data.ops.llm.turns import language_of

_EVIDENCE = {
    "lineage": ("agent_request_model", "agent_pt", "agent_total_cost_time_ms"),
    "usage_tokens": ("prompt_tokens", "completion_tokens", "total_tokens"),
    "tools": (
        "tool_success_count",
        "tool_fail_count",
        "tool_success_ratio",
        "primary_tool_type",
        "dominant_tool_types",
        "agent_skill_insights",
    ),
    "dialog": ("dialog_intent_labels", "dialog_topic_labels", "dialog_sentiment_labels", "agent_turn_count"),
    "judges": VERDICTS,
    "signals": ("agent_bad_case_signals", "agent_bad_case_tier"),
}
"""What a case report is written from: names in the meta, by group."""


class AgentToolTypeMapper(Mapper):
    """Says which tools an agent used most, from the list of its calls. Asks no model.

    Example:
        - agent_tool_type_mapper: {top_k_dominant: 3}

    Source: Data-Juicer 1.6.1, ``agent_tool_type_mapper``.
    """

    cost = "python"
    needs = frozenset({"fields"})

    tool_types_meta_key: str = "agent_tool_types"
    """Name of the tools in the meta, one per call."""
    primary_key: str = "primary_tool_type"
    """Name of the most used tool in the meta."""
    dominant_key: str = "dominant_tool_types"
    """Name of the most used tools in the meta."""
    top_k_dominant: PositiveInt = 5
    """How many those are at most."""

    def apply(self, batch: Batch) -> Batch:
        """Count the calls of each tool; of tools used as often the first called comes first."""
        metas = [{}] * len(batch) if META not in batch.frame.columns else batch.frame[META].to_list()
        most = list[list[str]]()
        for meta in metas:
            used = [str(tool).strip() for tool in (meta or {}).get(self.tool_types_meta_key) or ()]
            most.append([tool for tool, _ in Counter(filter(None, used)).most_common(self.top_k_dominant)])
        values = {self.primary_key: [tools[0] if tools else None for tools in most], self.dominant_key: most}
        return with_meta(batch, values, {self.primary_key: pl.String, self.dominant_key: STRINGS})


class AgentSkillInsightMapper(LLMMapper, AsksEndpoint):
    """Sums up in a few phrases what an agent can do, from its tools and skills.

    Example:
        - agent_skill_insight_mapper: {model: local}

    Source: Data-Juicer 1.6.1, ``agent_skill_insight_mapper``.
    """

    task: ClassVar[str] = (
        "You are given the tools and skills that an agent used. Name 3 to 5 concrete things it can do, each in 4 to 8 "
        "words; nothing vague such as 'reads files'."
    )
    shape: ClassVar[Shape] = {"insights": TEXTS}

    tool_types_key: str = "agent_tool_types"
    """Name of the tools in the meta."""
    skill_types_key: str = "agent_skill_types"
    """Name of the skills in the meta."""
    insights_key: str = "agent_skill_insights"
    """Name of the phrases in the meta."""
    try_num: PositiveInt = 2
    """How often a question is asked before its row goes without an answer."""
    preferred_output_lang: str = "en"
    """Language of the phrases: ``en`` or ``zh``."""

    def question(self, row: Row) -> Question | None:
        """The first 30 tools and skills; nothing is asked if there are none."""
        meta = meta_of(row)
        tools = ", ".join(map(str, (meta.get(self.tool_types_key) or [])[:30]))
        skills = ", ".join(map(str, (meta.get(self.skill_types_key) or [])[:30]))
        system = f"{self.system()} Write in {language_of(self.preferred_output_lang)}."
        return Question(system, f"Tools: {tools}\nSkills: {skills}") if tools or skills else None

    def meta_types(self) -> Mapping[str, Any]:
        """One list."""
        return {self.insights_key: STRINGS}

    def found(self, row: Row, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The distinct phrases."""
        del row
        return {self.insights_key: list(dict.fromkeys(s.strip() for s in values["insights"] if s.strip()))}


class AgentInsightLlmMapper(LLMMapper, AsksEndpoint):
    """Writes a short case report of one session from what other operations found out about it.

    Example:
        - agent_insight_llm_mapper: {run_for_tiers: [high_precision], model: local}

    Source: Data-Juicer 1.6.1, ``agent_insight_llm_mapper``; what filters measured is not part of the evidence here, and
    there is no made-up report where an answer cannot be read.
    """

    task: ClassVar[str] = (
        "You are given what is known of one session of an agent, as JSON. Weigh the numbers and the words against each "
        "other, say where they agree or contradict, and name causes for what went wrong by the given fields alone. If "
        "in doubt, say that confidence is low."
    )
    shape: ClassVar[Shape] = {
        "headline": TEXT,
        "root_causes": {
            "type": "array",
            "items": schema_of(
                {
                    "factor": TEXT,
                    "confidence": {"type": "string", "enum": ["high", "medium", "low"]},
                    "cited_fields": TEXTS,
                    "rationale_one_line": TEXT,
                }
            ),
        },
        "narrative_alignment": {"type": "string", "enum": ["aligned", "mixed", "conflict"]},
        "human_review_priority": {"type": "string", "enum": ["P0", "P1", "P2", "P3"]},
        "viz_facets": TEXTS,
        "audit_notes": {"type": "string"} | {"description": "may be empty"},
    }
    types: ClassVar[Mapping[str, Any]] = {
        "agent_insight_llm": pl.Struct(
            {
                "headline": pl.String,
                "root_causes": pl.List(
                    pl.Struct(
                        {
                            "factor": pl.String,
                            "confidence": pl.String,
                            "cited_fields": STRINGS,
                            "rationale_one_line": pl.String,
                        }
                    )
                ),
                "narrative_alignment": pl.String,
                "human_review_priority": pl.String,
                "viz_facets": STRINGS,
                "audit_notes": pl.String,
            }
        )
    }

    query_key: str = "query"
    """Field of the request."""
    response_key: str = "response"
    """Field of the reply."""
    query_preview_max_chars: NonNegativeInt = 500
    """How much is shown of the request, in characters."""
    response_preview_max_chars: NonNegativeInt = 500
    """How much is shown of the reply, in characters."""
    run_for_tiers: tuple[str, ...] | None = None
    """Only for rows whose ``agent_bad_case_tier`` is one of these; for all by default."""
    try_num: PositiveInt = 2
    """How often a question is asked before its row goes without an answer."""
    preferred_output_lang: str = "en"
    """Language of the report: ``en`` or ``zh``."""

    def question(self, row: Row) -> Question | None:
        """What is known of the session."""
        meta = meta_of(row)
        if self.run_for_tiers is not None and meta.get("agent_bad_case_tier") not in self.run_for_tiers:
            return None
        known = {
            group: {name: meta[name] for name in names if meta.get(name) is not None}
            for group, names in _EVIDENCE.items()
        }
        shown = {
            "query_preview": str(row.get(self.query_key) or "").strip()[: self.query_preview_max_chars],
            "response_preview": str(row.get(self.response_key) or "").strip()[: self.response_preview_max_chars],
        }
        system = f"{self.system()} Write in {language_of(self.preferred_output_lang)}."
        return Question(system, json.dumps(known | shown, ensure_ascii=False, default=str))

    def found(self, row: Row, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The report."""
        del row
        return {"agent_insight_llm": dict(values)}

    def write(self, batch: Batch, rows: Sequence[Row], answers: Sequence[Answer]) -> Batch:
        """The report, and the language it was asked for in."""
        name = "agent_pipeline_output_lang"
        code = "zh" if language_of(self.preferred_output_lang) == "Chinese" else "en"
        codes = [None if answer.status == "not asked" else code for answer in answers]
        return with_meta(super().write(batch, rows, answers), {name: codes}, {name: pl.String})
