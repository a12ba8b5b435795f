"""Aggregators: a language model sums up each group of rows; what it says goes into the group's own meta.

They come after a grouper. A group without a usable answer has null, and ``<operation>_status`` says why.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import polars as pl
from pydantic import PositiveInt

from plait.data.batch import Batch
from plait.data.names import ROW
from plait.data.op import Reducer
from plait.data.ops.llm.ask import NOT_ASKED, TEXT, TEXTS, Answer, AsksEndpoint, Question, Shape, fill, schema_of
from plait.data.ops.llm.extract import NotUsed
from plait.data.ops.llm.mapper import snake_case
from plait.data.ops.llm.meta import META, STRINGS
from plait.data.ops.select.groupers import BATCH_META
from plait.errors import DataError

_BYTES_PER_TOKEN = 3
"""A token is counted as three bytes, which is on the safe side in English and close in Chinese."""


class Aggregates(Reducer, AsksEndpoint):
    """Base of the aggregators."""

    task: ClassVar[str]
    """The system prompt, where none is set."""

    input_template: str | None = None
    """What the model is given; places in braces are filled."""

    def reduce(self, batches: Iterable[Batch]) -> Iterator[pl.DataFrame]:
        """The groups of each batch, with what is said of them."""
        for batch in batches:
            yield self.told(batch.frame.drop(ROW, strict=False))

    @abstractmethod
    def told(self, groups: pl.DataFrame) -> pl.DataFrame:
        """The groups with what is said of them."""

    def with_said(self, groups: pl.DataFrame, key: str, kind: Any, answers: Sequence[Answer]) -> pl.DataFrame:
        """The groups with the one field of each answer, and what became of the question."""
        said = [None if a.values is None else next(iter(a.values.values())) for a in answers]
        status = f"{snake_case(type(self).__name__).removesuffix('_aggregator')}_status"
        columns = [pl.Series(key, said, dtype=kind), pl.Series(status, [a.status for a in answers], dtype=pl.String)]
        if BATCH_META in groups.columns:
            return groups.with_columns(groups[BATCH_META].struct.unnest().with_columns(columns).to_struct(BATCH_META))
        return groups.with_columns(pl.DataFrame(columns).to_struct(BATCH_META))


class SumsUp(Aggregates):
    """Base of aggregators that read one text of each row's meta."""

    input_key: str = "event_description"
    """Name of the texts in the meta of the rows."""
    max_token_num: PositiveInt | None = None
    """How much is read at a time, in tokens of three bytes; everything by default."""

    def documents(self, groups: pl.DataFrame) -> list[list[str]]:
        """The texts of each group.

        Raises:
            DataError: The rows are not grouped, or their meta has no such text.
        """
        kind = groups.schema.get(META)
        inner = kind.inner if isinstance(kind, pl.List) else None
        if not isinstance(inner, pl.Struct) or inner.to_schema().get(self.input_key) != pl.String:
            raise DataError(
                f'the rows are not grouped, or their {META} has no text "{self.input_key}"',
                code="data.not-grouped",
                hint="put a grouper before it, and what finds the texts before that",
            )
        return [[row[self.input_key] for row in rows or () if row[self.input_key]] for rows in groups[META].to_list()]


class NestedAggregator(SumsUp):
    """Sums up the texts of each group, parts first and then their summaries, until one is left.

    Example:
        - nested_aggregator: {input_key: event_description, model: local}

    Source: Data-Juicer 1.6.1, ``nested_aggregator``.
    """

    task: ClassVar[str] = (
        "You are given pieces of a document. Write one summary of all of them, about as long as one piece, without "
        "opinion, keeping proper names. Use their language."
    )

    output_key: str | None = None
    """Name of the summary in the group's meta; ``input_key`` by default."""
    system_prompt: str | None = None
    """What the model has to do, instead of our own words."""
    sub_doc_template: str | None = None
    """How a piece is shown: ``{text}``."""

    def told(self, groups: pl.DataFrame) -> pl.DataFrame:
        """A summary per group."""
        key = self.output_key or self.input_key
        return self.with_said(groups, key, pl.String, self.summaries(self.documents(groups)))

    def summaries(self, documents: Sequence[Sequence[str]]) -> list[Answer]:
        """A summary of each list of texts; a single text is its own, and where one summary fails the whole does."""
        left = [list(texts) for texts in documents]
        failed = dict[int, Answer]()
        while open_groups := [i for i, texts in enumerate(left) if len(texts) > 1 and i not in failed]:
            parts = [(i, part) for i in open_groups for part in self.parts(left[i])]
            questions = [None if len(part) == 1 else self._question(part) for _, part in parts]
            for i in open_groups:
                left[i] = []
            for (i, part), answer in zip(parts, self.ask(questions, {"summary": TEXT}), strict=True):
                if len(part) == 1:
                    left[i].append(part[0])
                elif answer.values is None:
                    failed[i] = answer
                else:
                    left[i].append(answer.values["summary"])
        done = [Answer({"summary": texts[0]}, "ok") if texts else NOT_ASKED for texts in left]
        return [failed.get(i, answer) for i, answer in enumerate(done)]

    def parts(self, texts: Sequence[str]) -> list[list[str]]:
        """Neighbouring texts, as many as may be read at a time; pairs where that is one, so that there is an end.

        Example:
            >>> NestedAggregator(max_token_num=2).parts(["abc", "def", "ghi", "jklmno"])
            [['abc', 'def'], ['ghi'], ['jklmno']]
            >>> NestedAggregator(max_token_num=1).parts(["abc", "def", "ghi"])
            [['abc', 'def'], ['ghi']]
        """
        if self.max_token_num is None:
            return [list(texts)]
        parts, size = list[list[str]](), 0
        for text in texts:
            size += tokens_in(text)
            if parts and size <= self.max_token_num:
                parts[-1].append(text)
            else:
                parts.append([text])
                size = tokens_in(text)
        if len(parts) < len(texts):
            return parts
        return [list(texts[i : i + 2]) for i in range(0, len(texts), 2)]

    def _question(self, texts: Sequence[str]) -> Question:
        pieces = "\n".join(fill(self.sub_doc_template or "Piece:\n{text}\n", {"text": text}) for text in texts)
        return Question(
            self.system_prompt or self.task, fill(self.input_template or "{sub_docs}", {"sub_docs": pieces})
        )


class EntityAttributeAggregator(SumsUp):
    """Sums up one attribute of an entity from the texts of each group.

    Example:
        - entity_attribute_aggregator: {entity: Holmes, attribute: character, model: local}

    Source: Data-Juicer 1.6.1, ``entity_attribute_aggregator``.
    """

    task: ClassVar[str] = (
        "You are given documents about {entity}. Sum up from them: {attribute} of {entity}, and nothing else, in "
        "{word_limit} words at most. Keep proper names; pass over details that contradict the rest. Use their language."
    )

    entity: str
    """Who or what it is about."""
    attribute: str
    """What is summed up of it."""
    output_key: str = "entity_attribute"
    """Name of the summary in the group's meta."""
    word_limit: PositiveInt = 100
    """Longest summary, in words; the model is told so."""
    system_prompt_template: str | None = None
    """What the model has to do: ``{entity}``, ``{attribute}``, ``{word_limit}``, ``{example}``."""
    example_prompt: str | None = None
    """An example, for the template."""
    output_pattern_template: NotUsed = None
    """Accepted as null only: answers are JSON."""

    def told(self, groups: pl.DataFrame) -> pl.DataFrame:
        """A summary per group: of what can be read at a time, then of the summaries."""
        nested = NestedAggregator(
            model=self.model,
            api_model=self.api_model,
            api_endpoint=self.api_endpoint,
            api_key_env=self.api_key_env,
            try_num=self.try_num,
            max_token_num=self.max_token_num,
            model_params=self.model_params,
            sampling_params=self.sampling_params,
        )
        documents = self.documents(groups)
        parts = [(i, part) for i, texts in enumerate(documents) if texts for part in nested.parts(texts)]
        answers = self.ask([self._question(part) for _, part in parts], {"summary": TEXT})
        found: list[list[str]] = [[] for _ in documents]
        failed = dict[int, Answer]()
        for (i, _), answer in zip(parts, answers, strict=True):
            if answer.values is None:
                failed[i] = answer
            else:
                found[i].append(answer.values["summary"])
        whole = nested.summaries([[] if i in failed else texts for i, texts in enumerate(found)])
        return self.with_said(groups, self.output_key, pl.String, [failed.get(i, a) for i, a in enumerate(whole)])

    def _question(self, texts: Sequence[str]) -> Question:
        about = {"entity": self.entity, "attribute": self.attribute}
        places = about | {"word_limit": self.word_limit, "example": self.example_prompt or ""}
        template = self.input_template or "Documents about {entity}:\n{sub_docs}"
        text = fill(template, about | {"sub_docs": "\n\n".join(texts)})
        return Question(fill(self.system_prompt_template or self.task, places), text)


class MostRelevantEntitiesAggregator(SumsUp):
    """Lists who or what is most closely related to an entity by the texts of each group, the most important first.

    Example:
        - most_relevant_entities_aggregator: {entity: Holmes, query_entity_type: person, model: local}

    Source: Data-Juicer 1.6.1, ``most_relevant_entities_aggregator``.
    """

    task: ClassVar[str] = (
        "You are given documents about {entity}. List what is most closely related to {entity} of the type "
        "{entity_type}, the most important first, without {entity} under any other name. Use their language."
    )

    entity: str
    """Who or what it is about."""
    query_entity_type: str
    """What is listed: person, place, …"""
    output_key: str = "most_relevant_entities"
    """Name of the list in the group's meta."""
    system_prompt_template: str | None = None
    """What the model has to do: ``{entity}``, ``{entity_type}``."""
    output_pattern: NotUsed = None
    """Accepted as null only: answers are JSON."""

    def told(self, groups: pl.DataFrame) -> pl.DataFrame:
        """A list per group."""
        questions = [self._question(texts) if texts else None for texts in self.documents(groups)]
        answers = self.ask(
            questions, {"entities": TEXTS}, check=lambda v: None if v["entities"] else "it lists nothing"
        )
        return self.with_said(groups, self.output_key, STRINGS, answers)

    def _question(self, texts: Sequence[str]) -> Question:
        about = {"entity": self.entity, "entity_type": self.query_entity_type}
        shown, size = list[str](), 0
        for text in texts:
            size += tokens_in(text)
            if self.max_token_num is not None and size > self.max_token_num:
                break
            shown.append(text)
        template = self.input_template or "Documents about {entity}:\n{sub_docs}"
        text = fill(template, about | {"sub_docs": "\n\n".join(shown)})
        return Question(fill(self.system_prompt_template or self.task, about), text)


class MetaTagsAggregator(Aggregates):
    """Merges tags of like meaning in the meta of each group's rows.

    Example:
        - meta_tags_aggregator: {meta_tag_key: dialog_topic_labels, target_tags: [travel, food, other], model: local}

    Source: Data-Juicer 1.6.1, ``meta_tags_aggregator``.
    """

    task: ClassVar[str] = (
        "You are given tags and how often each occurs. Merge tags of like meaning: say for each by which tag it is "
        "replaced. Rare tags that fit nowhere go to a tag such as 'other'. Use the tags' language."
    )

    meta_tag_key: str = "dialog_sentiment_labels"
    """Name of the tags in the meta: a text, or a list of texts."""
    target_tags: tuple[str, ...] | None = None
    """The tags that are left; free words by default."""
    system_prompt: str | None = None
    """What the model has to do, instead of our own words."""
    target_tag_template: str | None = None
    """How the tags that are left are shown: ``{target_tags}``."""
    tag_template: str | None = None
    """How a tag is shown: ``{tag}``, ``{cnt}``."""
    output_pattern: NotUsed = None
    """Accepted as null only: answers are JSON."""

    def told(self, groups: pl.DataFrame) -> pl.DataFrame:
        """The groups with merged tags; what the model does not name stays."""
        if not isinstance(groups.schema.get(META), pl.List):
            raise DataError(f"the rows are not grouped, or have no {META}", code="data.not-grouped")
        metas = groups[META].to_list()
        counts = [Counter(tag for meta in rows or () for tag in self._tags(meta)) for rows in metas]
        answers = self.ask([self._question(count) if count else None for count in counts], self._shape())
        merged = [
            [self._merged(meta, answer) for meta in rows or ()] for rows, answer in zip(metas, answers, strict=True)
        ]
        groups = groups.with_columns(pl.Series(META, merged, dtype=groups.schema[META]))
        kind = pl.List(pl.Struct({"tag": pl.String, "merged": pl.String}))
        return self.with_said(groups, f"{self.meta_tag_key}_merged", kind, answers)

    def _tags(self, meta: Mapping[str, Any]) -> list[str]:
        tags = meta.get(self.meta_tag_key)
        return [tags] if isinstance(tags, str) else list(tags or ())

    def _shape(self) -> Shape:
        merged = {"type": "string", "enum": list(self.target_tags)} if self.target_tags else TEXT
        return {"merged": {"type": "array", "items": schema_of({"tag": TEXT, "merged": merged})}}

    def _question(self, counts: Mapping[str, int]) -> Question:
        tags = "\n".join(
            fill(self.tag_template or "{tag}: {cnt}", {"tag": tag, "cnt": count}) for tag, count in counts.items()
        )
        template = self.target_tag_template or "Tags that are left: {target_tags}\n"
        left = fill(template, {"target_tags": ", ".join(self.target_tags)}) if self.target_tags else ""
        shown = fill(self.input_template or "{target_tag_str}{tag_strs}", {"target_tag_str": left, "tag_strs": tags})
        return Question(self.system_prompt or self.task, shown)

    def _merged(self, meta: Mapping[str, Any], answer: Answer) -> Mapping[str, Any]:
        if answer.values is None:
            return meta
        new = {pair["tag"]: pair["merged"] for pair in answer.values["merged"]}
        tags = meta.get(self.meta_tag_key)
        left = new.get(tags, tags) if isinstance(tags, str) else [new.get(tag, tag) for tag in tags or ()]
        return {**meta, self.meta_tag_key: left}


def tokens_in(text: str) -> int:
    """About how many tokens a text has.

    Example:
        >>> tokens_in("abcdefg")
        3
    """
    return -(-len(text.encode()) // _BYTES_PER_TOKEN)
