"""What users want, feel and talk about in a dialog: a model labels turn after turn and sees its earlier labels.

Turn ``k`` of all rows of a batch is asked about at once, after turn ``k - 1``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import polars as pl
from pydantic import NonNegativeInt

from plait.data.batch import Batch
from plait.data.ops.llm.ask import TEXT, Answer, AsksEndpoint, Question, Shape, fill
from plait.data.ops.llm.extract import NotUsed
from plait.data.ops.llm.mapper import LLMMapper, Row
from plait.data.ops.llm.meta import STRINGS
from plait.data.ops.llm.turns import clip, language_of, turns_of


class LabelsTurns(LLMMapper, AsksEndpoint):
    """Base of mappers that label what the user says in each turn."""

    label: ClassVar[str] = "label"
    """The field of an answer that holds the label."""

    history_key: str = "history"
    """Field of the earlier turns."""
    query_key: str = "query"
    """Field of what the user said last."""
    response_key: str = "response"
    """Field of the reply."""
    max_round: NonNegativeInt = 10
    """How many earlier turns the model sees; 0 for none."""
    query_template: str | None = None
    """How what the user says is shown: ``{query}``."""
    response_template: str | None = None
    """How a reply is shown: ``{response}``."""
    analysis_template: str | None = None
    """How an earlier analysis is shown: ``{analysis}``."""
    analysis_pattern: NotUsed = None
    """Accepted as null only: answers are JSON."""
    max_query_chars_for_prompt: NonNegativeInt = 0
    """How much is shown of what the user says in a turn, in characters; 0 for all."""
    max_response_chars_for_prompt: NonNegativeInt = 0
    """How much is shown of a reply, in characters; 0 for all."""
    preferred_output_lang: str = "zh"
    """Language of the analysis and the labels: ``en`` or ``zh``."""

    def apply(self, batch: Batch) -> Batch:
        """Label the first turn of all rows, then the second of those that have one, and so on."""
        rows = batch.frame.to_dicts()
        dialogs = [[] if self.known(row) else self.dialog(row) for row in rows]
        given: list[list[Answer]] = [[] for _ in rows]
        for number in range(max(map(len, dialogs), default=0)):
            questions = [
                self.about(dialog[: number + 1], answers) if number < len(dialog) else None
                for dialog, answers in zip(dialogs, given, strict=True)
            ]
            for answers, answer, question in zip(given, self.ask(questions, self.shape), questions, strict=True):
                if question is not None:
                    answers.append(answer)
        joined = [_of_row(answers) for answers in given]
        return self.write(self.with_status(batch, joined), rows, joined)

    def dialog(self, row: Row) -> list[tuple[str, str]]:
        """The turns, as much of each as is shown."""
        turns = turns_of(row, history=self.history_key, query=self.query_key, response=self.response_key)
        most = (self.max_query_chars_for_prompt, self.max_response_chars_for_prompt)
        return [(clip(said, most[0]), clip(reply, most[1])) for said, reply in turns]

    def about(self, dialog: Sequence[tuple[str, str]], answers: Sequence[Answer]) -> Question:
        """The question about the last of some turns, after the labels of those before."""
        seen = [
            self.said(said)
            + fill(self.analysis_template or "Analysis: {analysis}\n", {"analysis": _field(answer, "analysis")})
            + fill(self.label_template(), {self.label: _field(answer, self.label)})
            + fill(self.response_template or "Assistant: {response}\n", {"response": reply})
            for (said, reply), answer in zip(dialog[:-1], answers, strict=True)
        ]
        earlier = "".join(seen[len(seen) - self.max_round :] if len(seen) > self.max_round else seen)
        system = f"{self.system()} Write in {language_of(self.preferred_output_lang)}."
        return Question(system, f"{self.candidates()}{earlier}{self.said(dialog[-1][0])}")

    def said(self, text: str) -> str:
        """What the user says, as the model sees it."""
        return fill(self.query_template or "User: {query}\n", {"query": text})

    def label_template(self) -> str:
        """How an earlier label is shown."""
        return f"{self.label.capitalize()}: {{{self.label}}}\n"

    def candidates(self) -> str:
        """The labels to choose from, if there is a choice."""
        return ""


class _ChoosesLabels(LabelsTurns):
    """Base of mappers whose labels are texts."""

    label: ClassVar[str] = "labels"
    shape: ClassVar[Shape] = {"analysis": TEXT, "labels": TEXT}

    candidate_template: str | None = None
    """How the labels to choose from are shown: ``{candidate_str}``."""
    labels_template: str | None = None
    """How earlier labels are shown: ``{labels}``."""
    labels_pattern: NotUsed = None
    """Accepted as null only: answers are JSON."""

    def label_template(self) -> str:
        """The template, or our own."""
        return self.labels_template or super().label_template()

    def listed(self, candidates: Sequence[str] | None) -> str:
        """Labels to choose from, as the model sees them."""
        if not candidates:
            return ""
        return fill(
            self.candidate_template or "Choose from: {candidate_str}\n", {"candidate_str": ",".join(candidates)}
        )

    def found(self, row: Row, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The distinct labels in order, and an analysis per turn."""
        del row
        labels = [label for label in dict.fromkeys(values["labels"]) if label is not None]
        return dict(zip(self.meta_types(), (labels, values["analysis"]), strict=True))


class DialogIntentDetectionMapper(_ChoosesLabels):
    """Says what the user wants in each turn of a dialog.

    Example:
        - dialog_intent_detection_mapper: {intent_candidates: [ask, complain], preferred_output_lang: en, model: local}

    Source: Data-Juicer 1.6.1, ``dialog_intent_detection_mapper``; a turn without a usable answer has null.
    """

    task: ClassVar[str] = "Analyse what the user wants with the last message, then name the intent in a few words."

    intent_candidates: tuple[str, ...] | None = None
    """Intents to choose from; free words without any."""
    labels_key: str = "dialog_intent_labels"
    """Name of the labels in the meta."""
    analysis_key: str = "dialog_intent_labels_analysis"
    """Name of the analyses in the meta."""

    def candidates(self) -> str:
        """The intents."""
        return self.listed(self.intent_candidates)

    def meta_types(self) -> Mapping[str, Any]:
        """Two lists."""
        return {self.labels_key: STRINGS, self.analysis_key: STRINGS}


class DialogSentimentDetectionMapper(_ChoosesLabels):
    """Says what the user feels in each turn of a dialog.

    Example:
        - dialog_sentiment_detection_mapper: {preferred_output_lang: en, model: local}

    Source: Data-Juicer 1.6.1, ``dialog_sentiment_detection_mapper``; a turn without a usable answer has null.
    """

    task: ClassVar[str] = "Analyse what the user feels in the last message, then name the feelings in a few words."

    sentiment_candidates: tuple[str, ...] | None = None
    """Feelings to choose from; free words without any."""
    labels_key: str = "dialog_sentiment_labels"
    """Name of the labels in the meta."""
    analysis_key: str = "dialog_sentiment_labels_analysis"
    """Name of the analyses in the meta."""

    def candidates(self) -> str:
        """The feelings."""
        return self.listed(self.sentiment_candidates)

    def meta_types(self) -> Mapping[str, Any]:
        """Two lists."""
        return {self.labels_key: STRINGS, self.analysis_key: STRINGS}


class DialogTopicDetectionMapper(_ChoosesLabels):
    """Says what the user talks about in each turn of a dialog.

    Example:
        - dialog_topic_detection_mapper: {topic_candidates: [travel, food], preferred_output_lang: en, model: local}

    Source: Data-Juicer 1.6.1, ``dialog_topic_detection_mapper``; a turn without a usable answer has null.
    """

    task: ClassVar[str] = "Analyse what the user's last message is about, then name the topic in a few words."

    topic_candidates: tuple[str, ...] | None = None
    """Topics to choose from; free words without any."""
    labels_key: str = "dialog_topic_labels"
    """Name of the labels in the meta."""
    analysis_key: str = "dialog_topic_labels_analysis"
    """Name of the analyses in the meta."""

    def candidates(self) -> str:
        """The topics."""
        return self.listed(self.topic_candidates)

    def meta_types(self) -> Mapping[str, Any]:
        """Two lists."""
        return {self.labels_key: STRINGS, self.analysis_key: STRINGS}


class DialogSentimentIntensityMapper(LabelsTurns):
    """Says how content the user is in each turn of a dialog, from -5 to 5.

    Example:
        - dialog_sentiment_intensity_mapper: {preferred_output_lang: en, model: local}

    Source: Data-Juicer 1.6.1, ``dialog_sentiment_intensity_mapper``; there a turn without a usable answer has 0, here
    null.
    """

    label: ClassVar[str] = "intensity"
    shape: ClassVar[Shape] = {
        "analysis": TEXT,
        "intensity": {"type": "integer", "minimum": -5, "maximum": 5},
    }
    task: ClassVar[str] = (
        "Analyse the mood of the user's last message, then rate it from -5 (very negative) over 0 (neutral) to 5 (very "
        "positive)."
    )

    intensities_key: str = "dialog_sentiment_intensity"
    """Name of the ratings in the meta."""
    analysis_key: str = "dialog_sentiment_intensity_analysis"
    """Name of the analyses in the meta."""
    intensity_template: str | None = None
    """How an earlier rating is shown: ``{intensity}``."""
    intensity_pattern: NotUsed = None
    """Accepted as null only: answers are JSON."""

    def label_template(self) -> str:
        """The template, or our own."""
        return self.intensity_template or super().label_template()

    def meta_types(self) -> Mapping[str, Any]:
        """Two lists."""
        return {self.intensities_key: pl.List(pl.Int64), self.analysis_key: STRINGS}

    def found(self, row: Row, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """A rating and an analysis per turn."""
        del row
        return {self.intensities_key: values["intensity"], self.analysis_key: values["analysis"]}


def _field(answer: Answer, name: str) -> Any:
    return "" if answer.values is None else answer.values[name]


def _of_row(answers: Sequence[Answer]) -> Answer:
    """The answers about the turns of a row as one: a list per field, null where a turn has no answer."""
    bad = [answer.status for answer in answers if answer.values is None]
    if not answers or len(bad) == len(answers):
        return Answer(None, bad[0] if bad else "not asked")
    names = next(answer.values for answer in answers if answer.values is not None)
    values = {name: [None if a.values is None else a.values[name] for a in answers] for name in names}
    return Answer(values, bad[0] if bad else "ok")
