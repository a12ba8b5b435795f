"""A filter by a condition in plain words, of which a language model says whether it holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from plait.data.op import Columns
from plait.data.ops.filters.fields import FieldFilter
from plait.data.ops.llm.ask import AsksEither, Question, Shape

if TYPE_CHECKING:
    from plait.data.batch import Batch

_TASK = "You decide whether a text meets a condition. Go by what the text says, and by the notes if there are any."


class LLMConditionFilter(AsksEither, FieldFilter):
    """Keeps texts of which a language model says that a condition holds.

    Empty texts are dropped without asking; without a condition all others stay; rows without a usable answer are
    dropped.

    Example:
        - llm_condition_filter: {model: local, condition: "The text explains how something works."}

    Source: Data-Juicer 1.6.1, ``llm_condition_filter``. The words of the prompts are our own, and the answer is JSON
    with a truth value instead of a yes or no that is searched for; the stat is 1 or 0, NaN without a usable answer.
    """

    stats = ("llm_semantic_usage", "llm_condition_filter_result")

    condition: str = ""
    """The condition."""
    api_or_hf_model: str = "gpt-4o"
    """Name of the model on the server; or, with ``is_hf_model``, a model on this machine."""
    is_hf_model: bool = False
    """Whether the model runs on this machine."""
    knowledge_grounding_key: str | None = None
    """Field with notes on each row that the model may use."""
    knowledge_grounding_fixed: str | None = None
    """Notes for all rows; go before those of the field."""
    strategy: Literal["direct", "cot", "few_shot", "cot_shot"] | None = None
    """``cot`` lets the model write its reasons first, ``few_shot`` shows the examples, ``cot_shot`` does both."""
    examples: str | None = None
    """Examples with their answers."""

    def measure(self, batch: Batch) -> Columns:
        """1 where the condition holds, else 0, and the tokens it took."""
        rows = batch.frame.to_dicts()
        texts = [text.strip() for text in batch.text(self.text_key).to_list()]
        asks = bool(self.condition)
        questions = [
            self._question(text, row) if text and asks else None for text, row in zip(texts, rows, strict=True)
        ]
        answers = self.ask(questions, self._shape())
        unasked = [float(bool(text) and not asks) for text in texts]
        result = [
            float(a.values["satisfied"]) if a.values else (np.nan if q else value)
            for a, q, value in zip(answers, questions, unasked, strict=True)
        ]
        usage = [
            json.dumps(
                {
                    "prompt_tokens": a.prompt_tokens,
                    "completion_tokens": a.completion_tokens,
                    "total_tokens": a.prompt_tokens + a.completion_tokens,
                    "cost_estimate": a.money,
                }
            )
            for a in answers
        ]
        return {self.stats[0]: pl.Series(usage, dtype=pl.String), self.stats[1]: np.array(result, np.float64)}

    def keeps(self, batch: Batch, stats: Columns) -> np.ndarray:
        """Whether the condition holds."""
        del batch
        holds = np.asarray(stats[self.stats[-1]]) == 1
        return ~holds if self.reversed_range else holds

    def _question(self, text: str, row: Mapping[str, Any]) -> Question:
        notes = self.knowledge_grounding_fixed or row.get(self.knowledge_grounding_key or "")
        shown = self.examples if self.strategy in ("few_shot", "cot_shot") else None
        parts = [("Notes", notes), ("Examples", shown), ("Text", text), ("Condition", self.condition)]
        user = "\n\n".join(f"# {title}\n{body}" for title, body in parts if body)
        thinks = "\nThink step by step in reasons, then decide." if self._thinks() else ""
        return Question(_TASK + thinks, user)

    def _shape(self) -> Shape:
        decision = {"satisfied": {"type": "boolean"}}
        return {"reasons": {"type": "string"}, **decision} if self._thinks() else decision

    def _thinks(self) -> bool:
        return self.strategy in ("cot", "cot_shot")
