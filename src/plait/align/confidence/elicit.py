"""The probability of every confidence a model could state: exact, and cheaper than samples of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from plait.align.confidence.metrics import Numbers
from plait.align.confidence.prompts import GRID, answered, ask, grid_strings
from plait.errors import ModelError

if TYPE_CHECKING:
    from plait.models import LanguageModel


def confidence_distribution(
    lm: LanguageModel, questions: Sequence[str], answers: Sequence[str], *, grid: Sequence[float] = GRID
) -> Numbers:
    """Probability of each confidence after question and answer, among those of the grid.

    The prompt is computed once, all confidences follow it as one batch.

    Returns:
        ``[questions, grid]``; rows sum to 1.

    Raises:
        ModelError: The tokenizer merges a confidence with what stands before it.
    """
    import torch
    from transformers import DynamicCache

    found: list[list[float]] = []
    was_training = lm.model.training
    lm.model.eval()
    with torch.no_grad():
        for question, answer in zip(questions, answers, strict=True):
            prompt = ask(question) + answered(answer)
            start = list(lm.tokenizer.encode(prompt))
            whole = [list(lm.tokenizer.encode(prompt + text)) for text in grid_strings(grid)]
            if any(ids[: len(start)] != start for ids in whole):
                raise ModelError(
                    "the tokenizer merges a confidence with the text before it",
                    code="align.confidence-tokens",
                    hint="use a tokenizer that starts a token at a space",
                )
            branches = [ids[len(start) :] for ids in whole]
            width = max(len(ids) for ids in branches)
            ids = torch.tensor([[*b, *[0] * (width - len(b))] for b in branches], device=lm.device)
            counted = torch.tensor([[1.0] * len(b) + [0.0] * (width - len(b)) for b in branches], device=lm.device)
            first = lm.model(input_ids=torch.tensor([start], device=lm.device), past_key_values=DynamicCache())
            cache = first.past_key_values
            cache.batch_repeat_interleave(len(branches))
            later = lm.model(input_ids=ids, past_key_values=cache).logits
            logits = torch.cat([first.logits[:, -1:].expand(len(branches), 1, -1), later[:, :-1]], dim=1)
            scores = logits.float().log_softmax(-1).gather(-1, ids[..., None])[..., 0]
            found.append(((scores * counted).sum(1)).double().softmax(0).tolist())
    lm.model.train(was_training)
    return np.array(found)


def expected(distribution: Numbers, grid: Sequence[float] = GRID) -> Numbers:
    """Mean confidence of each row, ``[questions]``."""
    return np.clip(distribution @ np.asarray(grid), 0.0, 1.0)


def likeliest(distribution: Numbers, grid: Sequence[float] = GRID) -> Numbers:
    """The confidence greedy decoding would state, ``[questions]``."""
    return np.asarray(grid)[distribution.argmax(1)]
