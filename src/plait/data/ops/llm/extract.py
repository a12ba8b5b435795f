"""What a text says, as data: attributes of entities, events, keywords, nicknames, passages, relations, own fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import polars as pl

from plait.data.batch import Batch
from plait.data.ops.llm.ask import TEXT, TEXTS, Answer, AsksEither, AsksEndpoint, Question, Shape, fill, schema_of
from plait.data.ops.llm.mapper import LLMMapper, Row
from plait.data.ops.llm.meta import STRINGS, meta_of, with_meta

NotUsed: TypeAlias = None
"""Type of a setting of Data-Juicer that says how free text is read: answers are JSON here, so it can only be null."""


class Extracts(LLMMapper, AsksEndpoint):
    """Base of mappers that put what a text says into its meta."""

    template: ClassVar[str] = "Text:\n{text}"

    drop_text: bool = False
    """Leave the text out of the result."""
    output_pattern: NotUsed = None
    """Accepted as null only: answers are JSON."""

    def write(self, batch: Batch, rows: Sequence[Row], answers: Sequence[Answer]) -> Batch:
        """The answers in the meta, and the text left out where that is asked for."""
        batch = super().write(batch, rows, answers)
        return batch.without(self.text_key) if self.drop_text else batch


class ExtractKeywordMapper(Extracts):
    """Finds the keywords of a text.

    Example:
        - extract_keyword_mapper: {model: local}

    Source: Data-Juicer 1.6.1, ``extract_keyword_mapper``; without an answer the meta holds null, not an empty list.
    """

    task: ClassVar[str] = (
        "Find the key words that sum up the main concepts, themes and topics of the text. Use its language."
    )
    shape: ClassVar[Shape] = {"keywords": TEXTS}

    keyword_key: str = "keyword"
    """Name in the meta."""
    prompt_template: str | None = None
    """The whole prompt, with a place ``{input_text}``, instead of our own words."""
    completion_delimiter: NotUsed = None
    """Accepted as null only: answers are JSON."""

    def question(self, row: Row) -> Question | None:
        """The text."""
        if self.prompt_template is None or not self.text_of(row).strip():
            return super().question(row)
        places = {"input_text": self.text_of(row), "completion_delimiter": ""}
        return Question("", fill(self.prompt_template, places))

    def problem(self, values: Mapping[str, Any]) -> str | None:
        """A text has keywords."""
        return None if values["keywords"] else "there are no keywords"

    def meta_types(self) -> Mapping[str, Any]:
        """One list."""
        return {self.keyword_key: STRINGS}


class ExtractEventMapper(Extracts):
    """Cuts a text into events, a row each, with the characters that take part.

    Example:
        - extract_event_mapper: {model: local}

    Source: Data-Juicer 1.6.1, ``extract_event_mapper``; there a text without events is left out where its batch has
    others with events, here it stays, with null in the meta.
    """

    task: ClassVar[str] = (
        "List the events that the text tells, in order. Describe each with its causes and effects as far as the text "
        "tells them, without opinion, keeping proper names; and name the main characters who take part in it. Leave "
        "nothing out and add nothing. Use the text's language."
    )
    shape: ClassVar[Shape] = {
        "events": {
            "type": "array",
            "items": schema_of({"description": TEXT, "characters": TEXTS}),
        }
    }

    event_desc_key: str = "event_description"
    """Name of the description in the meta."""
    relevant_char_key: str = "relevant_characters"
    """Name of the list of characters in the meta."""

    def problem(self, values: Mapping[str, Any]) -> str | None:
        """There are events, and somebody takes part in each."""
        return None if any(e["characters"] for e in values["events"]) else "there is no event with characters"

    def meta_types(self) -> Mapping[str, Any]:
        """A text and a list."""
        return {self.event_desc_key: pl.String, self.relevant_char_key: STRINGS}

    def write(self, batch: Batch, rows: Sequence[Row], answers: Sequence[Answer]) -> Batch:
        """A row per event."""
        place, events = list[int](), list[Mapping[str, Any]]()
        for number, (row, answer) in enumerate(zip(rows, answers, strict=True)):
            here = [
                {self.event_desc_key: event["description"], self.relevant_char_key: event["characters"]}
                for event in (answer.values or {"events": []})["events"]
                if event["characters"]
            ] or [meta_of(row)]
            place += [number] * len(here)
            events += here
        types = self.meta_types()
        batch = Batch(batch.frame[place])
        batch = with_meta(batch, {name: [event.get(name) for event in events] for name in types}, types)
        return batch.without(self.text_key) if self.drop_text else batch


class ExtractSupportTextMapper(Extracts):
    """Finds the passage of a text that a summary in its meta is about.

    Example:
        - extract_support_text_mapper: {model: local}

    Source: Data-Juicer 1.6.1, ``extract_support_text_mapper``; there the summary stands in for a passage that was not
    found, here null does.
    """

    task: ClassVar[str] = (
        "You are given a text and a summary of a part of it. Copy, word by word, the passage of the text that the "
        "summary is about; if several could be meant, the closest one."
    )
    template: ClassVar[str] = "Text:\n{text}\n\nSummary:\n{summary}"
    shape: ClassVar[Shape] = {"passage": TEXT}

    summary_key: str = "event_description"
    """Name of the summary in the meta."""
    support_text_key: str = "support_text"
    """Name of the passage in the meta."""

    def question(self, row: Row) -> Question | None:
        """The text and its summary; nothing where there is none."""
        summary = meta_of(row).get(self.summary_key)
        if not isinstance(summary, str) or not summary:
            return None
        return Question(self.system(), fill(self.user_template(), {"text": self.text_of(row), "summary": summary}))

    def meta_types(self) -> Mapping[str, Any]:
        """One text."""
        return {self.support_text_key: pl.String}


class RelationIdentityMapper(Extracts):
    """Says what one person or thing is to another, by a text.

    Example:
        - relation_identity_mapper: {source_entity: Holmes, target_entity: Watson, model: local}

    Source: Data-Juicer 1.6.1, ``relation_identity_mapper``; there missing entities give an empty answer, here they are
    an error.
    """

    task: ClassVar[str] = (
        "Say by the text what {entity2} is to {entity1} (not the other way round), in one or a few words without "
        "punctuation, after a short analysis. If both are the same person, the relation is: another identity. Use the "
        "text's language."
    )
    template: ClassVar[str] = "Text about {entity1} and {entity2}:\n{text}"
    shape: ClassVar[Shape] = {"analysis": TEXT, "relation": TEXT}

    source_entity: str
    """To whom."""
    target_entity: str
    """Who."""
    output_key: str = "role_relation"
    """Name in the meta."""
    system_prompt_template: str | None = None
    """What the model has to do, with places ``{entity1}`` and ``{entity2}``."""
    output_pattern_template: NotUsed = None
    """Accepted as null only: answers are JSON."""

    def question(self, row: Row) -> Question | None:
        """The text and both entities."""
        who = {"entity1": self.source_entity, "entity2": self.target_entity}
        system = fill(self.system_prompt_template or self.system(), who)
        text = self.text_of(row)
        return Question(system, fill(self.user_template(), who | {"text": text})) if text.strip() else None

    def found(self, row: Row, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The relation."""
        del row
        return {self.output_key: values["relation"]}

    def meta_types(self) -> Mapping[str, Any]:
        """One text."""
        return {self.output_key: pl.String}


class LlmExtractMapper(LLMMapper, AsksEither):
    """Reads fields of one's own out of a text.

    Example:
        - llm_extract_mapper: {input_keys: [text], output_schema: {year: the year it happened}, model: local}

    Source: Data-Juicer 1.6.1, ``llm_extract_mapper``; values are texts or null.
    """

    task: ClassVar[str] = (
        "Read the asked fields out of the input, as it gives them. A field that the input does not tell is null."
    )

    input_keys: tuple[str, ...]
    """Fields that are read."""
    output_schema: Mapping[str, str]
    """What to read, by the name it gets: in words."""
    api_or_hf_model: str = "gpt-4o"
    """Name of the model on the server, or a model as in ``hf_model`` of other operations."""
    is_hf_model: bool = False
    """Whether the model runs on this machine."""
    meta_output_key: str | None = "llm_extract"
    """Name of all fields together in the meta; if null each stands there by itself."""
    knowledge_grounding_key: str | None = None
    """Field with what the model should know to read a row."""
    knowledge_grounding_fixed: str | None = None
    """What the model should know to read any row."""
    strategy: Literal["direct", "cot", "few_shot", "cot_shot"] | None = None
    """``cot`` thinks before it answers, ``few_shot`` sees ``examples``, ``cot_shot`` does both."""
    examples: str | None = None
    """Texts and what to read out of them."""

    def question(self, row: Row) -> Question | None:
        """The fields that are read, and what to read."""
        text = "\n".join(f"{key}: {row[key]}" for key in self.input_keys if row.get(key) is not None)
        known = self.knowledge_grounding_fixed or row.get(self.knowledge_grounding_key or "")
        fields = "\n".join(f"- {name}: {what}" for name, what in self.output_schema.items())
        parts = [
            f"Good to know:\n{known}" if known else "",
            f"Examples:\n{self.examples}" if self.examples and "shot" in (self.strategy or "") else "",
            f"Input:\n{text}",
            f"Fields:\n{fields}",
        ]
        return Question(self.system(), "\n\n".join(part for part in parts if part)) if text else None

    def answer_shape(self) -> Shape:
        """A text or null per field, after thoughts where the strategy has any."""
        thoughts: Shape = {"thoughts": TEXT} if (self.strategy or "").startswith("cot") else {}
        return {**thoughts, **{name: {"type": ["string", "null"]} for name in self.output_schema}}

    def meta_types(self) -> Mapping[str, Any]:
        """All fields together, or each by itself."""
        own = dict.fromkeys(self.output_schema, pl.String)
        return {self.meta_output_key: pl.Struct(own)} if self.meta_output_key else own

    def found(self, row: Row, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """What was read."""
        del row
        own = {name: values[name] for name in self.output_schema}
        return {self.meta_output_key: own} if self.meta_output_key else own

    def write(self, batch: Batch, rows: Sequence[Row], answers: Sequence[Answer]) -> Batch:
        """What was read, and what reading it cost, added to what was spent before."""
        types = {"prompt_tokens": pl.Int64, "completion_tokens": pl.Int64, "total_tokens": pl.Int64}
        spent = list[Mapping[str, Any]]()
        for row, answer in zip(rows, answers, strict=True):
            before = meta_of(row).get("llm_semantic_usage") or {}
            own = (answer.prompt_tokens, answer.completion_tokens, answer.prompt_tokens + answer.completion_tokens)
            sums = {name: (before.get(name) or 0) + value for name, value in zip(types, own, strict=True)}
            spent.append(sums | {"cost_estimate": (before.get("cost_estimate") or 0.0) + answer.money})
        usage = pl.Struct({**types, "cost_estimate": pl.Float64})
        batch = super().write(batch, rows, answers)
        return with_meta(batch, {"llm_semantic_usage": spent}, {"llm_semantic_usage": usage})
