"""Tags of texts and queries: one label out of a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import polars as pl
from pydantic import Field

from plait.data.batch import Batch
from plait.data.ops.llm.ask import Answer, Asks, AsksLocal, Question, Shape, fill
from plait.data.ops.llm.mapper import LLMMapper, Row
from plait.data.ops.llm.meta import STRINGS
from plait.errors import UsageError
from plait.llm import ChatComponent

TEXT_TAGS = "__dj__text_tags__"
"""Column of a text's tags, as in Data-Juicer."""


class TextTaggingByPromptMapper(LLMMapper, AsksLocal):
    """Sorts each text into one of some classes.

    Example:
        - text_tagging_by_prompt_mapper: {tag_list: [news, fiction, other], model: local}

    Source: Data-Juicer 1.6.1, ``text_tagging_by_prompt_mapper``; the model can answer with a class alone.
    """

    task: ClassVar[str] = "Say which of these classes the text belongs to: {tag_list}."

    prompt: str | None = None
    """The whole prompt, with places ``{text}`` and ``{tag_list}``, instead of our own words."""
    tag_list: tuple[str, ...] = Field(
        default=(
            "数学",
            "代码",
            "翻译",
            "角色扮演",
            "开放领域问答",
            "特定领域问答",
            "提取",
            "生成",
            "头脑风暴",
            "分类",
            "总结",
            "改写",
            "其他",
        ),
        min_length=1,
    )
    """The classes; by default the kinds of tasks that Data-Juicer tells apart."""
    enable_vllm: bool = True
    """Accepted; the model runs in transformers. For vLLM's speed serve the model with it and set ``model`` to its
    endpoint."""
    trust_remote_code: bool = False
    """Accepted; code that comes with a model is never run."""
    tensor_parallel_size: int | None = None
    """Accepted; a setting of vLLM."""
    max_model_len: int | None = None
    """Accepted; a setting of vLLM."""
    max_num_seqs: int = 256
    """Accepted; a setting of vLLM."""

    def question(self, row: Row) -> Question | None:
        """The text and the classes."""
        text, tags = self.text_of(row), ", ".join(self.tag_list)
        if not text.strip():
            return None
        if self.prompt is not None:
            return Question(
                self.system_prompt or "", fill(self.prompt, {"text": text, "tag_list": list(self.tag_list)})
            )
        return Question(fill(self.system(), {"tag_list": tags}), fill(self.user_template(), {"text": text}))

    def answer_shape(self) -> Shape:
        """One of the classes."""
        return {"tag": {"type": "string", "enum": list(self.tag_list)}}

    def write(self, batch: Batch, rows: Sequence[Row], answers: Sequence[Answer]) -> Batch:
        """A list of one tag in a column of its own."""
        del rows
        tags = [None if answer.values is None else [answer.values["tag"]] for answer in answers]
        return batch.with_column(TEXT_TAGS, pl.Series(tags, dtype=STRINGS))


class LabelsQuery(LLMMapper, Asks):
    """Base of mappers that label a query.

    Data-Juicer asks a classifier for English here, after a translation from Chinese; both are files to download. Here
    a chat model answers, in any language, and says how sure it is.
    """

    zh_to_en_hf_model: str | None = "Helsinki-NLP/opus-mt-zh-en"
    """Accepted; a chat model needs no translation."""
    zh_to_en_model_params: Mapping[str, Any] = {}
    """Accepted; see above."""
    query_key: str = "query"
    """Field of the query."""
    labels: tuple[str, ...]
    """The labels to choose from."""

    def chat(self) -> ChatComponent:
        """The chat model; there is no classifier to fall back on."""
        if self.model is None:
            raise UsageError(
                f"{type(self).__name__} asks a chat model, and none is set",
                code="llm.no-model",
                hint="set model: local, or model: {use: endpoint, base_url: …, model: …}",
            )
        return self.model

    def question(self, row: Row) -> Question | None:
        """The query and the labels."""
        query = str(row.get(self.query_key) or "")
        return Question(fill(self.system(), {"labels": "; ".join(self.labels)}), query) if query.strip() else None

    def answer_shape(self) -> Shape:
        """A label, and how sure the model says it is."""
        return {
            "label": {"type": "string", "enum": list(self.labels)},
            # Tenths, because a small model held to "a number" may never come to the end of its digits.
            "score": {"type": "number", "enum": [tenth / 10 for tenth in range(11)]},
        }


class QueryIntentDetectionMapper(LabelsQuery):
    """Says whether a query is a question, a command, or something else.

    Example:
        - query_intent_detection_mapper: {model: local}

    Source: Data-Juicer 1.6.1, ``query_intent_detection_mapper``; a chat model in place of a classifier.
    """

    task: ClassVar[str] = "Say what the message is ({labels}), and how sure you are, from 0 to 1."

    hf_model: str = "bespin-global/klue-roberta-small-3i4k-intent-classification"
    """Accepted; a chat model answers."""
    labels: tuple[str, ...] = (
        "fragment",
        "statement",
        "question",
        "command",
        "rhetorical question",
        "rhetorical command",
        "intonation-dependent utterance",
    )
    """The labels to choose from."""
    label_key: str = "query_intent_label"
    """Name of the label in the meta."""
    score_key: str = "query_intent_label_score"
    """Name of the score in the meta."""

    def meta_types(self) -> Mapping[str, Any]:
        """A text and a number."""
        return {self.label_key: pl.String, self.score_key: pl.Float64}


class QuerySentimentDetectionMapper(LabelsQuery):
    """Says whether a query is negative, neutral or positive.

    Example:
        - query_sentiment_detection_mapper: {model: local}

    Source: Data-Juicer 1.6.1, ``query_sentiment_detection_mapper``; a chat model in place of a classifier.
    """

    task: ClassVar[str] = "Say which mood the message is in ({labels}), and how sure you are, from 0 to 1."

    hf_model: str = "mrm8488/distilroberta-finetuned-financial-news-sentiment-analysis"
    """Accepted; a chat model answers."""
    labels: tuple[str, ...] = ("negative", "neutral", "positive")
    """The labels to choose from."""
    label_key: str = "query_sentiment_label"
    """Name of the label in the meta."""
    score_key: str = "query_sentiment_label_score"
    """Name of the score in the meta."""

    def meta_types(self) -> Mapping[str, Any]:
        """A text and a number."""
        return {self.label_key: pl.String, self.score_key: pl.Float64}


class QueryTopicDetectionMapper(LabelsQuery):
    """Says what a query is about.

    Example:
        - query_topic_detection_mapper: {labels: [billing, delivery, other], model: local}

    Source: Data-Juicer 1.6.1, ``query_topic_detection_mapper``; a chat model in place of a classifier.
    """

    task: ClassVar[str] = "Say what the message is about ({labels}), and how sure you are, from 0 to 1."

    hf_model: str = "dstefa/roberta-base_topic_classification_nyt_news"
    """Accepted; a chat model answers."""
    labels: tuple[str, ...] = (
        "Sports",
        "Arts, Culture, and Entertainment",
        "Business and Finance",
        "Health and Wellness",
        "Lifestyle and Fashion",
        "Science and Technology",
        "Politics",
        "Crime",
    )
    """The labels to choose from."""
    label_key: str = "query_topic_label"
    """Name of the label in the meta."""
    score_key: str = "query_topic_label_score"
    """Name of the score in the meta."""

    def meta_types(self) -> Mapping[str, Any]:
        """A text and a number."""
        return {self.label_key: pl.String, self.score_key: pl.Float64}
