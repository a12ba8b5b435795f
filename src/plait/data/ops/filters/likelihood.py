"""Filters that ask a language model how likely it finds texts.

Losses are means over the tokens of an answer, in nats, given what stands before it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from plait.data.batch import session
from plait.data.op import Bounds, Op, RangeFilter
from plait.data.ops.filters.tokens import check_language_model, local_model
from plait.data.ops.llm.ask import fill
from plait.errors import UsageError, nearest

if TYPE_CHECKING:
    from plait.data.batch import Batch
    from plait.models.language_model import LanguageModel

Conversation = list[str]
"""What was said, turn by turn; the last turn is the answer that is scored."""

_MODEL_PARAMS = ("max_length", "torch_dtype", "device")


class LLMPerplexityFilter(RangeFilter):
    """Keeps texts by a language model's perplexity.

    Example:
        - llm_perplexity_filter: {hf_model: smollm2-135m, max_score: 80}

    Source: Data-Juicer 1.6.1, ``llm_perplexity_filter``. The model must be on this machine. The first token of an
    answer counts unless the tokenizer did start the answer with a token of its own; Data-Juicer leaves it out
    whenever the tokenizer knows such a token (``compat: data-juicer``).
    """

    stat = "llm_perplexity"
    cost = "model"
    needs = frozenset({"model"})

    hf_model: str = "Qwen/Qwen2.5-0.5B"
    """A known model (``smollm2-135m``), a folder, or a Hub id that is on this machine."""
    model_params: Mapping[str, str | int] | None = None
    """``max_length`` (the last tokens that are read), ``torch_dtype`` (``bfloat16``), ``device``."""
    min_score: float = 1.0
    """Smallest value kept."""
    max_score: float = 100.0
    """Largest value kept."""
    query_template: str | None = None
    """What stands before the answer; places in braces are fields of the row. By default nothing."""
    response_template: str | None = None
    """The answer; by default the text. Rows with ``messages`` are taken as those say."""
    compat: Literal["plait", "data-juicer"] = "plait"
    """Reproduce Data-Juicer's known bugs: the first token left out, whole texts scored for empty answers."""

    def ready(self) -> None:
        """Looks for the model."""
        check_language_model(self.hf_model, setting="hf_model")

    def value(self, batch: Batch) -> np.ndarray:
        """The exponential of the mean loss of the answer's tokens; NaN where there is none."""
        return np.exp(self.losses([self.conversation(row) for row in batch.frame.to_dicts()]))

    def bounds(self) -> Bounds:
        """Smallest and largest value."""
        return self.min_score, self.max_score

    def conversation(self, row: Mapping[str, Any]) -> Conversation:
        """A row's question and answer."""
        messages = row.get("messages")
        if messages is not None:
            return [str(message["content"]) for message in messages]
        response = self.response_template or f"{{{self.text_key}}}"
        return [fill(self.query_template or "", row), fill(response, row)]

    def losses(self, conversations: Sequence[Conversation]) -> np.ndarray:
        """Mean loss of the answers' tokens, float64 ``[conversations]``."""
        params = dict(self.model_params or {})
        unknown = sorted(set(params) - set(_MODEL_PARAMS))
        if unknown:
            raise UsageError(
                f"model_params cannot hold {unknown[0]}",
                code="data.bad-settings",
                hint=nearest(unknown[0], _MODEL_PARAMS),
            )
        scorer = Scorer(
            name=self.hf_model,
            dtype=str(params.get("torch_dtype", "float32")),
            device=str(params.get("device", "cpu")),
            max_length=int(params["max_length"]) if "max_length" in params else None,
            leaves_first_out=self.compat == "data-juicer",
        )
        return scorer.losses(conversations)


class InstructionFollowingDifficultyFilter(LLMPerplexityFilter):
    """Keeps answers by how much their question helps a model to foresee them: near 1, it does not.

    Example:
        - instruction_following_difficulty_filter:
            {hf_model: smollm2-135m, query_template: "{question}", response_template: "{answer}", max_score: 1.0}

    Source: Li et al. 2023 (2308.12032), instruction-following difficulty; Data-Juicer 1.6.1,
    ``instruction_following_difficulty_filter``: the loss with the question over the loss without.
    """

    stat = "ifd_score"

    def value(self, batch: Batch) -> np.ndarray:
        """Loss of the answer after the question, over its loss alone; NaN where there is no answer."""
        turns = [self.conversation(row) for row in batch.frame.to_dicts()]
        return self.losses(turns) / self.losses([turn[-1:] for turn in turns])


class InContextInfluenceFilter(LLMPerplexityFilter):
    """Keeps texts by how they help a model with a task's examples: above 1, they do.

    Example:
        - in_context_influence_filter:
            hf_model: smollm2-135m
            query_template: "{question}"
            response_template: "{answer}"
            valid_dataset: [{question: "2 + 2 = ?", answer: "4"}]

    Source: Data-Juicer 1.6.1, ``in_context_influence_filter``. ``valid_dataset`` must be given; there another program
    may hand it over later.
    """

    stat = "in_context_influence"

    valid_dataset: tuple[Mapping[str, Any], ...] | None = None
    """Examples of the task, with the same fields as the rows."""
    task_desc: str | None = None
    """What the task is; stands before each example."""
    valid_as_demo: bool = False
    """Let the example stand before the row, and score the row; otherwise the other way round."""
    n_shot: int | None = None
    """How many of the examples are used; by default all."""

    def value(self, batch: Batch) -> np.ndarray:
        """Mean over the examples of: loss without the other before it, over the loss with it."""
        examples, alone = session(self, self._examples)
        rows = [self.conversation(row) for row in batch.frame.to_dicts()]
        if self.valid_as_demo:
            together = self.losses([[*example, *row] for row in rows for example in examples])
            return (self.losses(rows)[:, None] / together.reshape(len(rows), -1)).mean(1)
        together = self.losses([[*row, *example] for row in rows for example in examples])
        return (alone / together.reshape(len(rows), -1)).mean(1)

    def ready(self) -> None:
        """Looks for the model and the examples."""
        super().ready()
        self._given()

    def _given(self) -> Sequence[Mapping[str, Any]]:
        rows = (self.valid_dataset or ())[: self.n_shot]
        if not rows:
            raise UsageError("valid_dataset is empty", code="data.bad-settings", hint="give examples of the task")
        return rows

    def _examples(self) -> tuple[list[Conversation], np.ndarray]:
        """The examples as conversations, and the loss of each alone."""
        rows = self._given()
        task = [] if self.task_desc is None else [self.task_desc]
        found = [self.conversation(row) if "messages" in row else [*task, *self.conversation(row)] for row in rows]
        return found, self.losses(found)


class Scorer(Op):
    """A causal language model that scores answers; what uses the same one shares it."""

    name: str
    """A known model, a folder, or a Hub id."""
    dtype: str = "float32"
    """Type of the weights."""
    device: str = "cpu"
    """Where the model runs."""
    max_length: int | None = None
    """Most tokens read; the last ones of longer texts."""
    leaves_first_out: bool = False
    """Leave out the first token of answers, as Data-Juicer does."""

    def losses(self, conversations: Sequence[Conversation]) -> np.ndarray:
        """Mean loss of the answers' tokens in nats, NaN where there is none, float64 ``[conversations]``."""
        from plait.models import sequence_logprobs

        lm, lock = session(self, self._open)
        # One at a time: tokenizers change their settings while they work, and torch has threads of its own.
        with lock:
            cut = [self._cut(lm, turns) for turns in conversations]
            scored = sequence_logprobs(lm, [p or [0] for p, _ in cut], [c if p else [] for p, c in cut])
        return np.array([-np.mean(values) if values else np.nan for values in scored], np.float64)

    def _open(self) -> tuple[LanguageModel, threading.Lock]:
        from plait.models import load

        local_model(self.name, setting="hf_model")
        return load(self.name, dtype=self.dtype, device=self.device), threading.Lock()

    def _cut(self, lm: LanguageModel, turns: Conversation) -> tuple[list[int], list[int]]:
        """Token ids before the answer, and those of the answer.

        As published, the answer is as many tokens from the end as it has by itself: the tokens at its start may
        differ after what stands before it.
        """
        tokenizer: Any = lm.tokenizer
        limit = min(n for n in (self.max_length, lm.context, 1 << 30) if n)
        ids = list(tokenizer(" ".join(turns).strip())["input_ids"])[-limit:]
        answer = list(tokenizer(turns[-1].strip())["input_ids"])[-limit:]
        first = tokenizer.bos_token_id
        count = len(answer) - int(first is not None and (self.leaves_first_out or answer[:1] == [first]))
        if count <= 0:
            count = len(ids) if self.leaves_first_out else 0
        # The first token of all is never scored: nothing foretells it.
        count = min(count, len(ids) - 1)
        return (ids[:-count], ids[-count:]) if count > 0 else ([], [])
