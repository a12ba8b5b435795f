"""Filters by the marks a language model gives.

Each asks for whole marks from 1 to 5 in several dimensions, as JSON; the score is their mean over 5. A row without a
usable answer has no score, and its record says why.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from plait.data.op import Bounds, Columns, RangeFilter
from plait.data.ops.llm.ask import TEXTS, Answer, AsksEither, Question, Shape, fill
from plait.errors import DataError, UsageError, nearest

if TYPE_CHECKING:
    from plait.data.batch import Batch

_MARK: Mapping[str, Any] = {"type": "integer", "minimum": 1, "maximum": 5}
_SENTENCE: Mapping[str, Any] = {"type": "string", "description": "one or two sentences"}
_ADVICE: Mapping[str, Any] = {"type": "array", "items": {"enum": ["keep", "review", "discard"]}}
_LANGUAGES = {"en": "English", "zh": "Simplified Chinese"}


class LLMAnalysisFilter(AsksEither, RangeFilter):
    """Keeps texts by a language model's marks for clarity, relevance, usefulness, fluency.

    Rows without a usable answer stay.

    Example:
        - llm_analysis_filter: {model: {use: endpoint, base_url: "http://127.0.0.1:8000/v1", model: m}, min_score: 0.6}

    Source: Data-Juicer 1.6.1, ``llm_analysis_filter``. The words of the prompts are our own, and the answer is held
    to a JSON schema; a missing score is NaN, not 0.
    """

    stats = ("llm_analysis_record", "llm_analysis_tags", "llm_analysis_score")
    dimensions: ClassVar[Mapping[str, str]] = {
        "clarity": "how easily the sample is understood",
        "relevance": "how well it keeps to its topic or task",
        "usefulness": "how much a reader or a model can learn from it",
        "fluency": "how natural and correct its language is",
    }
    """What is marked, and what it means."""
    task: ClassVar[str] = (
        "You judge samples of data for training language models. Give each dimension a whole mark from 1 (worst) to "
        "5 (best), by what the text shows; mark invented facts down hard. Name topic and style in the tags, and what "
        "is wrong in the flags; recommend review where you are not sure."
    )
    """What the model has to do, before the list of dimensions."""
    more: ClassVar[Shape] = {
        "tags": {
            "type": "object",
            "properties": {"topic": {"type": "string"}, "style": {"type": "string"}},
            "required": ["topic", "style"],
            "additionalProperties": False,
        },
        "flags": TEXTS,
        "rationale": _SENTENCE,
        "recommendation": _ADVICE,
    }
    """What is asked for beside the marks."""
    stays_unmarked: ClassVar[bool] = True
    """Whether a row without a usable answer stays."""

    api_or_hf_model: str = "gpt-4o"
    """Name of the model on the server; or, with ``is_hf_model``, a model on this machine."""
    is_hf_model: bool = False
    """Whether the model runs on this machine."""
    min_score: float = 0.5
    """Smallest score kept, 0.2 to 1."""
    max_score: float = 1.0
    """Largest score kept."""
    input_keys: tuple[str, ...] = ("text",)
    """Fields shown to the model."""
    field_names: tuple[str, ...] = ("Text",)
    """What the fields are called in the prompt, one for each."""
    system_prompt: str | None = None
    """What the model has to do, instead of our own words."""
    input_template: str | None = None
    """The message, with ``{data}`` for the fields."""
    field_template: str | None = None
    """One field in it, with ``{field_name}`` and ``{field_data}``."""
    dim_required_keys: tuple[str, ...] | None = None
    """Dimensions that are marked and make the score, instead of ours."""
    preferred_output_lang: str | None = None
    """Language of what the model writes: ``en`` or ``zh``."""

    def measure(self, batch: Batch) -> Columns:
        """Record, tags and score."""
        answers = self.ask([self._question(row) for row in batch.frame.to_dicts()], self._shape())
        marks = [a.values["dimension_scores"] if a.values else None for a in answers]
        scores = [np.nan if m is None else sum(m.values()) / len(m) / 5 for m in marks]
        records = [_json(a.values) if a.values else _json({"status": a.status}) for a in answers]
        tags = [_tags(a) for a in answers]
        columns = pl.Series(records, dtype=pl.String), pl.Series(tags, dtype=pl.String), np.array(scores, np.float64)
        return dict(zip(self.stats, columns, strict=True))

    def value(self, batch: Batch) -> np.ndarray:
        """Mean mark over 5, NaN without a usable answer."""
        return self.measure(batch)[self.stats[-1]]

    def keeps(self, batch: Batch, stats: Columns) -> np.ndarray:
        """Whether the score lies in the range, or there is none and such rows stay."""
        del batch
        score = np.asarray(stats[self.stats[-1]])
        return np.where(np.isnan(score), self.stays_unmarked, self.inside(score))

    def bounds(self) -> Bounds:
        """Smallest and largest score."""
        return self.min_score, self.max_score

    def before(self) -> str:
        """What stands before the data in the message."""
        return ""

    def fields(self, row: Mapping[str, Any]) -> str:
        """A row as the model sees it."""
        if len(self.input_keys) != len(self.field_names):
            raise UsageError(
                f"{len(self.input_keys)} input_keys need as many field_names, not {len(self.field_names)}",
                code="data.bad-settings",
            )
        template = self.field_template or "**{field_name}**\n{field_data}"
        named = [(key, name) for key, name in zip(self.input_keys, self.field_names, strict=True) if key in row]
        if not named:
            raise DataError(
                f"a row has none of the fields {', '.join(self.input_keys)}",
                code="data.missing-field",
                hint=nearest(self.input_keys[0] if self.input_keys else "", row),
            )
        return "\n\n".join(fill(template, {"field_name": name, "field_data": row[key]}) for key, name in named)

    def _question(self, row: Mapping[str, Any]) -> Question:
        data = fill(self.input_template or "# Data\n'''\n{data}\n'''", {"data": self.fields(row)})
        return Question(self._system(), self.before() + data)

    def _system(self) -> str:
        system = self.system_prompt
        if not system:
            meant = "\n".join(f"- {key}: {self.dimensions.get(key, key)}" for key in self._keys())
            system = f"{self.task}\n\nDimensions:\n{meant}"
        if self.preferred_output_lang:
            language = _LANGUAGES.get(self.preferred_output_lang, self.preferred_output_lang)
            system += f"\n\nWrite rationale, tags and flags in {language}; leave the names of the fields as they are."
        return system

    def _keys(self) -> tuple[str, ...]:
        return self.dim_required_keys or tuple(self.dimensions)

    def _shape(self) -> Shape:
        keys = self._keys()
        marks = {
            "type": "object",
            "properties": {key: dict(_MARK) for key in keys},
            "required": list(keys),
            "additionalProperties": False,
        }
        return {"dimension_scores": marks, **self.more}


class LLMQualityScoreFilter(LLMAnalysisFilter):
    """Keeps texts by a language model's marks for quality: accuracy, grammar, informativeness, coherence.

    Rows without a usable answer are dropped, as in Data-Juicer.

    Example:
        - llm_quality_score_filter: {model: local, min_score: 0.6}

    Source: Data-Juicer 1.6.1, ``llm_quality_score_filter``; see ``llm_analysis_filter`` for what differs.
    """

    stats = ("llm_quality_record", "llm_quality_tags", "llm_quality_score")
    dimensions: ClassVar[Mapping[str, str]] = {
        "accuracy": "whether what it says is true and can be checked",
        "grammar": "how correct and fluent its language is",
        "informativeness": "how much it says, and how deep",
        "coherence": "whether its parts follow from each other without contradiction",
    }
    task = (
        "You judge the quality of samples of data for training language models. Give each dimension a whole mark from "
        "1 (worst) to 5 (best), by what the text shows. Facts count for more than style; claims on medicine or law "
        "that nothing supports count as risks. Name what is wrong in the flags; recommend review when not sure."
    )
    more: ClassVar[Shape] = {"flags": TEXTS, "rationale": _SENTENCE, "recommendation": _ADVICE}
    stays_unmarked = False


class LLMDifficultyScoreFilter(LLMAnalysisFilter):
    """Keeps texts by a language model's marks for difficulty.

    Rows without a usable answer are dropped, as in Data-Juicer.

    Example:
        - llm_difficulty_score_filter: {model: local, min_score: 0.4}

    Source: Data-Juicer 1.6.1, ``llm_difficulty_score_filter``; see ``llm_analysis_filter`` for what differs.
    """

    stats = ("llm_difficulty_record", "llm_difficulty_tags", "llm_difficulty_score")
    dimensions: ClassVar[Mapping[str, str]] = {
        "linguistic_complexity": "how demanding its words and sentences are",
        "conceptual_depth": "how abstract and theoretical it is",
        "prior_knowledge": "how much special knowledge it takes for granted",
        "step_complexity": "how many steps of reasoning it takes",
        "ambiguity": "how many readings it allows",
    }
    task = (
        "You judge how difficult samples of data for training language models are. Give each dimension a whole mark "
        "from 1 (easy for a beginner) over 3 (takes some training) to 5 (for experts). Judge the matter itself, not "
        "how badly it is put, and name the sources of difficulty in the flags."
    )
    more: ClassVar[Shape] = {"flags": TEXTS, "rationale": _SENTENCE}
    stays_unmarked = False


class LLMTaskRelevanceFilter(LLMAnalysisFilter):
    """Keeps texts by a language model's marks for how they bear on a task.

    Rows without a usable answer stay.

    Example:
        - llm_task_relevance_filter: {model: local, task_desc: "Answer questions on German tax law.", min_score: 0.6}

    Source: Data-Juicer 1.6.1, ``llm_task_relevance_filter``; see ``llm_analysis_filter`` for what differs. The task
    must be given; there another program may hand it over later.
    """

    stats = ("llm_task_relevance_record", "llm_task_relevance_tags", "llm_task_relevance")
    dimensions: ClassVar[Mapping[str, str]] = {
        "topical_relevance": "whether it is about what the task is about",
        "linguistic_style_match": "whether style, tone and complexity are those of the task's examples",
        "task_match": "whether it solves the same kind of problem",
        "knowledge_alignment": "whether it takes the same knowledge or reasoning",
        "potential_utility": "whether training on it would help with the task",
    }
    task = (
        "You judge whether samples of data would help a language model with a task, which is described or shown by "
        "examples before the sample. Give each dimension a whole mark from 1 (not at all) to 5 (very much). Judge how "
        "it fits the task, not how good it is otherwise; where nothing fits, every mark is 1. Be careful where the "
        "examples leave room."
    )
    more: ClassVar[Shape] = {"flags": TEXTS, "rationale": _SENTENCE}

    valid_dataset: tuple[Mapping[str, Any], ...] | None = None
    """Examples of the task, with the same fields as the rows."""
    task_desc: str | None = None
    """What the task is."""
    n_shot: int | None = None
    """How many of the examples are shown; by default all."""

    def before(self) -> str:
        """The task and its examples."""
        if not self.valid_dataset and not self.task_desc:
            raise UsageError(
                "neither valid_dataset nor task_desc is set", code="data.bad-settings", hint="say what the task is"
            )
        task = f"# Task\n{self.task_desc}\n\n" if self.task_desc else ""
        shown = [f"'''\n{self.fields(row)}\n'''" for row in (self.valid_dataset or ())[: self.n_shot]]
        return task + ("# Examples\n" + "\n\n".join(shown) + "\n\n" if shown else "")

    def bounds(self) -> Bounds:
        """Smallest score; there is no largest."""
        return self.min_score, None


def _tags(answer: Answer) -> str:
    tags = answer.values.get("tags") if answer.values else None
    return "" if tags is None else _json(tags)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
