"""Base of mappers that ask a language model: a prompt, the fields of the answer, and where they go.

    class ExtractMoodMapper(LLMMapper, AsksEndpoint):
        '''Says which mood a text is in.'''

        task = "Say in one word which mood the text is in."
        shape = {"mood": TEXT}
        types = {"mood": pl.String}

What is found goes into the struct column ``__dj__meta__``, beside ``<operation>_status``: ``ok``, ``not asked``,
``unusable: why`` or ``failed: why``. A row without a usable answer has null there; its text stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import polars as pl

from plait.data.batch import Batch
from plait.data.op import Mapper
from plait.data.ops.llm.ask import Answer, Asks, Question, Shape, fill
from plait.data.ops.llm.meta import failures, meta_of, with_meta

Row = Mapping[str, Any]
"""The fields of a row by name."""


class LLMMapper(Mapper, Asks):
    """Asks one question per row and puts the answer into the row's meta."""

    task: ClassVar[str] = ""
    """The system prompt, where none is set."""
    template: ClassVar[str] = "{text}"
    """What the model is given, where nothing else is set; places in braces are fields of the row."""
    shape: ClassVar[Shape] = {}
    """The fields of an answer."""
    types: ClassVar[Mapping[str, Any]] = {}
    """Polars types of what is put into the meta, by name; empty for mappers that write fields alone."""

    system_prompt: str | None = None
    """What the model has to do, instead of our own words."""
    input_template: str | None = None
    """What the model is given; places in braces are filled."""

    def apply(self, batch: Batch) -> Batch:
        """Ask, and write down what was answered."""
        rows = batch.frame.to_dicts()
        questions = [None if self.known(row) else self.question(row) for row in rows]
        answers = self.ask(questions, self.answer_shape(), pattern=self.pattern(), check=self.problem)
        return self.write(self.with_status(batch, answers), rows, answers)

    def question(self, row: Row) -> Question | None:
        """What is asked about a row; ``None`` to ask nothing."""
        text = fill(self.user_template(), {"text": self.text_of(row)})
        return Question(self.system(), text) if self.text_of(row).strip() else None

    def system(self) -> str:
        """What the model has to do."""
        return self.system_prompt or self.task

    def user_template(self) -> str:
        """How a row is shown to the model."""
        return self.input_template or self.template

    def pattern(self) -> str | None:
        """Regular expression to read free text with, instead of JSON."""
        return None

    def answer_shape(self) -> Shape:
        """The fields of an answer."""
        return self.shape

    def problem(self, values: Mapping[str, Any]) -> str | None:
        """What is wrong with an answer of the right shape."""
        del values
        return None

    def meta_types(self) -> Mapping[str, Any]:
        """Polars types of what goes into the meta, by name."""
        return self.types

    def known(self, row: Row) -> bool:
        """Whether the row has been answered before, so that it is not asked about again."""
        meta = meta_of(row)
        return bool(self.meta_types()) and all(meta.get(name) is not None for name in self.meta_types())

    def found(self, row: Row, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """What goes into the meta, by name; the fields of the answer in order unless overridden."""
        del row
        return dict(zip(self.meta_types(), (values[name] for name in self.answer_shape()), strict=True))

    def write(self, batch: Batch, rows: Sequence[Row], answers: Sequence[Answer]) -> Batch:
        """The batch with the answers in its meta."""
        types = self.meta_types()
        found = [
            meta_of(row) if answer.values is None else self.found(row, answer.values)
            for row, answer in zip(rows, answers, strict=True)
        ]
        return with_meta(batch, {name: [values.get(name) for values in found] for name in types}, types)

    def with_status(self, batch: Batch, answers: Sequence[Answer]) -> Batch:
        """The batch with what became of each question in its meta."""
        return with_meta(batch, {self.status: [answer.status for answer in answers]}, {self.status: pl.String})

    @property
    def status(self) -> str:
        """Field of the meta that says what became of each question."""
        return f"{snake_case(type(self).__name__).removesuffix('_mapper')}_status"

    def failures(self, after: Batch) -> int:
        """Rows without a usable answer."""
        return failures(after, self.status)

    def text_of(self, row: Row) -> str:
        """The row's text."""
        value: Any = row
        for part in [self.text_key] if self.text_key in row else self.text_key.split("."):
            value = (value or {}).get(part)
        return "" if value is None else str(value)


def snake_case(name: str) -> str:
    """The name of a class as the name of an operation.

    Example:
        >>> snake_case("CalibrateQaMapper")
        'calibrate_qa_mapper'
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def with_answers(batch: Batch, answers: Sequence[Answer], fields: Mapping[str, str]) -> Batch:
    """The batch with fields of the answers as texts; rows without an answer keep what they have.

    Args:
        batch: The rows.
        answers: One per row.
        fields: By name of a field of the data, the field of the answer.
    """
    for name, key in fields.items():
        old = batch.frame[name].to_list() if name in batch.frame.columns else [None] * len(batch)
        new = [before if a.values is None else a.values[key] for before, a in zip(old, answers, strict=True)]
        batch = batch.with_text(name, pl.Series(name, new, dtype=pl.String))
    return batch
