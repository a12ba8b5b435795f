"""Questions and answers made better by a language model: calibrated by a reference, or more detailed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from plait.data.batch import Batch
from plait.data.ops.llm.ask import TEXT, Answer, AsksEither, AsksEndpoint, Question, Shape, fill
from plait.data.ops.llm.mapper import LLMMapper, Row, with_answers

_BOTH: Shape = {"query": TEXT, "response": TEXT}


class RewritesPair(LLMMapper):
    """Base of mappers that rewrite a question, its answer, or both."""

    query_key: str = "query"
    """Field of the question."""
    response_key: str = "response"
    """Field of the answer."""
    qa_pair_template: str | None = None
    """How a question and its answer are shown to the model: two places ``{}``."""
    output_pattern: str | None = None
    """Regular expression (Rust syntax) whose groups are what is rewritten; JSON is asked for without one."""

    def pattern(self) -> str | None:
        """The pattern, if one is given."""
        return self.output_pattern

    def pair(self, row: Row) -> str:
        """A question and its answer as the model sees them."""
        template = self.qa_pair_template or "Question:\n{}\nAnswer:\n{}"
        return fill(template, {}, row.get(self.query_key) or "", row.get(self.response_key) or "")

    @abstractmethod
    def shown(self, row: Row) -> str:
        """All the model is given."""

    def question(self, row: Row) -> Question | None:
        """Nothing is asked about a row without a question and an answer."""
        empty = not (row.get(self.query_key) or row.get(self.response_key))
        return None if empty else Question(self.system(), self.shown(row))

    def write(self, batch: Batch, rows: Sequence[Row], answers: Sequence[Answer]) -> Batch:
        """The rewritten fields in the place of the old ones."""
        del rows
        places = {"query": self.query_key, "response": self.response_key}
        return with_answers(batch, answers, {places[name]: name for name in self.shape})


class CalibrateQaMapper(RewritesPair, AsksEndpoint):
    """Makes a question and its answer more exact by a reference text.

    Example:
        - calibrate_qa_mapper: {model: local}

    Source: Data-Juicer 1.6.1, ``calibrate_qa_mapper``; there an answer that cannot be read leaves no trace, here the
    meta says so.
    """

    task: ClassVar[str] = (
        "You are given a reference text, a question and its answer. Rewrite the question and the answer so that both "
        "are more exact and more detailed, and agree with the reference. Write in the language of the question."
    )
    template: ClassVar[str] = "{reference}\n{qa_pair}"
    shape: ClassVar[Shape] = _BOTH

    reference_template: str | None = None
    """How the reference text is shown to the model: one place ``{}``."""

    def shown(self, row: Row) -> str:
        """The reference, the question and the answer."""
        reference = fill(self.reference_template or "Reference:\n{}", {}, self.text_of(row))
        return fill(self.user_template(), {"reference": reference, "qa_pair": self.pair(row)})


class CalibrateQueryMapper(CalibrateQaMapper):
    """Makes a question more exact by a reference text; its answer stays.

    Example:
        - calibrate_query_mapper: {model: local}

    Source: Data-Juicer 1.6.1, ``calibrate_query_mapper``.
    """

    task: ClassVar[str] = (
        "You are given a reference text, a question and its answer. Rewrite the question so that it is more exact and "
        "more detailed, agrees with the reference, and the answer still answers it. Keep its language."
    )
    shape: ClassVar[Shape] = {"query": TEXT}


class CalibrateResponseMapper(CalibrateQaMapper):
    """Makes an answer more exact by a reference text; its question stays.

    Example:
        - calibrate_response_mapper: {model: local}

    Source: Data-Juicer 1.6.1, ``calibrate_response_mapper``.
    """

    task: ClassVar[str] = (
        "You are given a reference text, a question and its answer. Rewrite the answer so that it is more exact and "
        "more detailed, agrees with the reference, and still answers the question. Keep its language."
    )
    shape: ClassVar[Shape] = {"response": TEXT}


class OptimizeQaMapper(RewritesPair, AsksEither):
    """Makes a question and its answer more detailed.

    Example:
        - optimize_qa_mapper: {model: local}

    Source: Data-Juicer 1.6.1, ``optimize_qa_mapper``; there an answer that cannot be read leaves no trace, here the
    meta says so.
    """

    task: ClassVar[str] = (
        "You are given a question and its answer. Rewrite both so that they are more detailed and more accurate. "
        "Keep the language."
    )
    template: ClassVar[str] = "{}"
    shape: ClassVar[Shape] = _BOTH

    def shown(self, row: Row) -> str:
        """The question and the answer."""
        return fill(self.user_template(), {}, self.pair(row))


class OptimizeQueryMapper(OptimizeQaMapper):
    """Makes a question more detailed; its answer stays.

    Example:
        - optimize_query_mapper: {model: local}

    Source: Data-Juicer 1.6.1, ``optimize_query_mapper``.
    """

    task: ClassVar[str] = (
        "You are given a question and its answer. Rewrite the question so that it is more specific and more detailed, "
        "and the answer still answers it. Keep its language."
    )
    shape: ClassVar[Shape] = {"query": TEXT}


class OptimizeResponseMapper(OptimizeQaMapper):
    """Makes an answer more detailed; its question stays.

    Example:
        - optimize_response_mapper: {model: local}

    Source: Data-Juicer 1.6.1, ``optimize_response_mapper``.
    """

    task: ClassVar[str] = (
        "You are given a question and its answer. Rewrite the answer so that it is more detailed and more specific, "
        "and still answers the question. Keep its language."
    )
    shape: ClassVar[Shape] = {"response": TEXT}
