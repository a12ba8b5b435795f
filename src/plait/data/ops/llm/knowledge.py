"""Knowledge in a text as a graph: entities and their relations, attributes of entities, who calls whom what."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import polars as pl
from pydantic import NonNegativeInt

from plait.data.batch import Batch
from plait.data.ops.llm.ask import TEXT, TEXTS, Answer, Question, Shape, fill, schema_of
from plait.data.ops.llm.extract import Extracts, NotUsed
from plait.data.ops.llm.mapper import Row
from plait.data.ops.llm.meta import STRINGS

_ENTITY = ("entity_name", "entity_type", "entity_entity_description")
_RELATION = ("relation_source_entity", "relation_target_entity", "relation_description")
ENTITY = pl.Struct(dict.fromkeys(_ENTITY, pl.String))
"""Type of an entity, fields named as in Data-Juicer."""
RELATION = pl.Struct(
    {**dict.fromkeys(_RELATION, pl.String), "relation_keywords": STRINGS, "relation_strength": pl.Float64}
)
"""Type of a relation, fields named as in Data-Juicer."""


class ExtractNicknameMapper(Extracts):
    """Finds by which nicknames the characters of a text call each other.

    Example:
        - extract_nickname_mapper: {model: local}

    Source: Data-Juicer 1.6.1, ``extract_nickname_mapper``; a text without nicknames gives an empty list, there one
    relation of empty texts.
    """

    task: ClassVar[str] = (
        "Find the nicknames by which people in the text call each other: who speaks, who is addressed, and the "
        "nickname. Give at most one per pair of speaker and addressed, the most used. A plain name is no nickname."
    )
    shape: ClassVar[Shape] = {
        "nicknames": {
            "type": "array",
            "items": schema_of({"speaker": TEXT, "addressed": TEXT, "nickname": TEXT}),
        }
    }

    nickname_key: str = "nickname"
    """Name in the meta."""

    def meta_types(self) -> Mapping[str, Any]:
        """A list of relations."""
        return {self.nickname_key: pl.List(RELATION)}

    def found(self, row: Row, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Each pair's nickname, unless it is the name itself."""
        del row
        named = {
            (n["speaker"].strip(), n["addressed"].strip(), n["nickname"].strip()): None for n in values["nicknames"]
        }
        relations = [
            dict(zip(_RELATION, names, strict=True)) | {"relation_keywords": ["nickname"], "relation_strength": None}
            for names in named
            if all(names) and names[1] != names[2]
        ]
        return {self.nickname_key: relations}


class ExtractEntityRelationMapper(Extracts):
    """Finds the entities of a text and how they are related: a knowledge graph.

    Example:
        - extract_entity_relation_mapper: {entity_types: [person, place], model: local}

    Source: Data-Juicer 1.6.1, ``extract_entity_relation_mapper`` (after LightRAG, 2410.05779). Where it asks whether
    to look once more, here looking ends when nothing new was found.
    """

    task: ClassVar[str] = (
        "Find all entities of these types in the text: {entity_types}. Give the name, the type and a description of "
        "each. Then find all pairs of them that are clearly related: how, by which key words, and how strongly, from "
        "1 to 10. Use the text's language."
    )
    shape: ClassVar[Shape] = {
        "entities": {"type": "array", "items": schema_of({"name": TEXT, "type": TEXT, "description": TEXT})},
        "relations": {
            "type": "array",
            "items": schema_of(
                {"source": TEXT, "target": TEXT, "description": TEXT, "keywords": TEXTS, "strength": {"type": "number"}}
            ),
        },
    }

    entity_types: tuple[str, ...] | None = None
    """Types of entities; organization, person, geo and event by default."""
    entity_key: str = "entity"
    """Name of the entities in the meta."""
    relation_key: str = "relation"
    """Name of the relations in the meta."""
    prompt_template: str | None = None
    """The whole prompt, with places ``{entity_types}`` and ``{input_text}``, instead of our own words."""
    max_gleaning: NonNegativeInt = 1
    """How often the model is asked at most for what it missed."""
    continue_prompt: str | None = None
    """The words it is then asked with."""
    tuple_delimiter: NotUsed = None
    """Accepted as null only: answers are JSON."""
    record_delimiter: NotUsed = None
    """Accepted as null only: answers are JSON."""
    completion_delimiter: NotUsed = None
    """Accepted as null only: answers are JSON."""
    if_loop_prompt: NotUsed = None
    """Accepted as null only: see above where looking ends."""
    entity_pattern: NotUsed = None
    """Accepted as null only: answers are JSON."""
    relation_pattern: NotUsed = None
    """Accepted as null only: answers are JSON."""

    def question(self, row: Row) -> Question | None:
        """The text and the types."""
        text = self.text_of(row)
        types = ", ".join(self.entity_types or ("organization", "person", "geo", "event"))
        if not text.strip():
            return None
        if self.prompt_template is not None:
            return Question("", fill(self.prompt_template, {"entity_types": types, "input_text": text}))
        return Question(fill(self.system(), {"entity_types": types}), fill(self.user_template(), {"text": text}))

    def problem(self, values: Mapping[str, Any]) -> str | None:
        """There are entities."""
        return None if values["entities"] else "there are no entities"

    def meta_types(self) -> Mapping[str, Any]:
        """Two lists."""
        return {self.entity_key: pl.List(ENTITY), self.relation_key: pl.List(RELATION)}

    def write(self, batch: Batch, rows: Sequence[Row], answers: Sequence[Answer]) -> Batch:
        """What was found at once, and what was missed at first."""
        growing = [answer.values is not None for answer in answers]
        for _ in range(self.max_gleaning):
            again = [
                self._once_more(row, answer) if more else None
                for row, answer, more in zip(rows, answers, growing, strict=True)
            ]
            joined = [_joined(*both) for both in zip(answers, self.ask(again, self.shape), strict=True)]
            growing = [new.values != old.values for new, old in zip(joined, answers, strict=True)]
            answers = joined
        return super().write(batch, rows, answers)

    def found(self, row: Row, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Entities and relations under Data-Juicer's names."""
        del row
        entities = [
            dict(zip(_ENTITY, (e["name"], e["type"], e["description"]), strict=True)) for e in values["entities"]
        ]
        relations = [
            dict(zip(_RELATION, (r["source"], r["target"], r["description"]), strict=True))
            | {"relation_keywords": r["keywords"], "relation_strength": r["strength"]}
            for r in values["relations"]
        ]
        return {self.entity_key: entities, self.relation_key: relations}

    def _once_more(self, row: Row, answer: Answer) -> Question | None:
        asked = self.question(row)
        if asked is None:
            return None
        known = json.dumps(answer.values, ensure_ascii=False)
        words = self.continue_prompt or "Some entities and relations may have been missed. Give only those."
        return Question(asked.system, f"{asked.user}\n\nFound so far:\n{known}\n\n{words}")


class ExtractEntityAttributeMapper(Extracts):
    """Sums up attributes of entities from a text, with the passages that show them.

    Example:
        - extract_entity_attribute_mapper: {query_entities: [Holmes], query_attributes: [character], model: local}

    Source: Data-Juicer 1.6.1, ``extract_entity_attribute_mapper``.
    """

    task: ClassVar[str] = (
        "Sum up from the text: {attribute} of {entity}. Then copy the short passages of the text that show it best. "
        "Use the text's language."
    )
    shape: ClassVar[Shape] = {"description": TEXT, "passages": TEXTS}

    query_entities: tuple[str, ...] = ()
    """Entities that are asked about."""
    query_attributes: tuple[str, ...] = ()
    """Attributes that are asked for, of each entity."""
    entity_key: str = "main_entities"
    """Name of the entities in the meta, one per question."""
    attribute_key: str = "attributes"
    """Name of the attributes in the meta, one per question."""
    attribute_desc_key: str = "attribute_descriptions"
    """Name of the descriptions in the meta, one per question."""
    support_text_key: str = "attribute_support_texts"
    """Name of the passages in the meta, a list per question."""
    system_prompt_template: str | None = None
    """What the model has to do, with places ``{entity}`` and ``{attribute}``."""
    require_support_demos: bool = True
    """Refuse answers without a passage."""
    attr_pattern_template: NotUsed = None
    """Accepted as null only: answers are JSON."""
    demo_pattern: NotUsed = None
    """Accepted as null only: answers are JSON."""

    def apply(self, batch: Batch) -> Batch:
        """Ask about each attribute of each entity of each row at once."""
        rows = batch.frame.to_dicts()
        about = [(entity, attribute) for entity in self.query_entities for attribute in self.query_attributes]
        questions = [self._about(row, *which) for row in rows for which in about]
        answers = self.ask(questions, self.shape, check=self.problem)
        own = [answers[i * len(about) : (i + 1) * len(about)] for i in range(len(rows))]
        joined = [_row_answer(some, about) for some in own]
        return self.write(self.with_status(batch, joined), rows, joined)

    def problem(self, values: Mapping[str, Any]) -> str | None:
        """There is a passage, if one is required."""
        return None if values["passages"] or not self.require_support_demos else "there is no passage"

    def meta_types(self) -> Mapping[str, Any]:
        """Four lists, an entry per question."""
        names = (self.entity_key, self.attribute_key, self.attribute_desc_key)
        return {**dict.fromkeys(names, STRINGS), self.support_text_key: pl.List(STRINGS)}

    def found(self, row: Row, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The four lists."""
        del row
        return dict(zip(self.meta_types(), values["lists"], strict=True))

    def _about(self, row: Row, entity: str, attribute: str) -> Question | None:
        text = self.text_of(row)
        if self.known(row) or not text.strip():
            return None
        system = fill(self.system_prompt_template or self.system(), {"entity": entity, "attribute": attribute})
        return Question(system, fill(self.user_template(), {"text": text}))


def _joined(first: Answer, second: Answer) -> Answer:
    """Two answers as one; what occurs in both counts once."""
    if first.values is None or second.values is None:
        return first
    values = {
        name: [*old, *(new for new in second.values[name] if new not in old)] for name, old in first.values.items()
    }
    return Answer(values, first.status)


def _row_answer(answers: Sequence[Answer], about: Sequence[tuple[str, str]]) -> Answer:
    """The answers about one row as one: null where a question has none, and why."""
    bad = [answer.status for answer in answers if answer.values is None]
    if not answers or len(bad) == len(answers):
        return Answer(None, bad[0] if bad else "not asked")
    lists = (
        [entity for entity, _ in about],
        [attribute for _, attribute in about],
        [a.values["description"] if a.values else None for a in answers],
        [a.values["passages"] if a.values else None for a in answers],
    )
    return Answer({"lists": lists}, bad[0] if bad else "ok")
