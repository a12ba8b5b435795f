"""Scorers of quality where no reference decides: a reward model, and a chat model as judge.

Both see the question and the answer without its confidence.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from plait.align.confidence.parse import strip_confidence
from plait.errors import LLMError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from plait.llm import ChatModel

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"correct": {"type": "boolean"}},
    "required": ["correct"],
    "additionalProperties": False,
}


def reward_scores(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    answers: Sequence[str],
) -> list[float]:
    """Score of each answer under a sequence classifier with one output, such as TRL's `RewardTrainer` leaves.

    Args:
        model: From `transformers.AutoModelForSequenceClassification` with ``num_labels=1``.
        tokenizer: Its tokenizer.
        prompts: What was asked.
        answers: What was answered; a confidence is taken off.
    """
    import torch

    was_training = model.training
    model.eval()
    scores: list[float] = []
    with torch.no_grad():
        for prompt, answer in zip(prompts, answers, strict=True):
            ids = torch.tensor([tokenizer.encode(prompt + strip_confidence(answer))], device=model.device)
            scores.append(float(model(input_ids=ids).logits[0, 0]))
    model.train(was_training)
    return scores


async def judge_answer(judge: ChatModel, *, question: str, answer: str, reference: str) -> bool:
    """Whether an answer says what the reference says, by a chat model's verdict as JSON.

    Raises:
        LLMError: The reply is not a verdict; it is never read as wrong, as the published evaluation does.
    """
    asked = (
        "Does the answer agree with the reference? Judge what it says, not how. "
        'Reply with JSON: {"correct": true} or {"correct": false}.\n\n'
        f"Question: {question}\nReference: {reference}\nAnswer: {strip_confidence(answer)}"
    )
    [reply] = await judge.chat([{"role": "user", "content": asked}], schema=_SCHEMA)
    try:
        verdict = json.loads(reply.text)
    except json.JSONDecodeError:
        verdict = None
    if not isinstance(verdict, dict) or not isinstance(correct := verdict.get("correct"), bool):
        raise LLMError(
            f"the judge replied {reply.text[:80]!r}", code="align.verdict", hint="use a model that keeps to a schema"
        )
    return correct
