"""The probability of every confidence a model could state: exact, and cheaper than samples of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from plait.align.confidence.metrics import Numbers
from plait.align.confidence.prompts import GRID, answered, ask, grid_strings
from plait.errors import ModelError

Branches: TypeAlias = "tuple[tuple[int, ...], ...]"
"""The tokens of each confidence."""

if TYPE_CHECKING:
    from plait.models import LanguageModel


def confidence_distribution(
    lm: LanguageModel,
    questions: Sequence[str],
    answers: Sequence[str],
    *,
    grid: Sequence[float] = GRID,
    batch_size: int = 16,
) -> Numbers:
    """Probability of each confidence after question and answer, among those of the grid.

    The prompt is computed once. What confidences begin with ("0." and "1.") follows it once each, and the last token of
    none has to be read.

    Args:
        lm: The model, with its adapter if it has one.
        questions: What was asked.
        answers: What was answered, one for each question.
        grid: The confidences that could be stated.
        batch_size: Questions read together, where their prompts are of one length; changes speed, not results.

    Returns:
        ``[questions, grid]``; rows sum to 1.

    Raises:
        ModelError: The tokenizer merges a confidence with what stands before it.
    """
    import torch

    from plait.models.generation import evaluating

    alike: dict[tuple[int, Branches], list[tuple[int, list[int]]]] = {}
    for number, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        start, branches = _tokens(lm, ask(question) + answered(answer), grid)
        alike.setdefault((len(start), branches), []).append((number, start))
    found = np.zeros((len(questions), len(grid)))
    with torch.no_grad(), evaluating(lm.model):
        for (_, branches), rows in alike.items():
            for first in range(0, len(rows), batch_size):
                numbers, prompts = zip(*rows[first : first + batch_size], strict=True)
                found[list(numbers)] = _distributions(lm, prompts, branches)
    return found


def expected(distribution: Numbers, grid: Sequence[float] = GRID) -> Numbers:
    """Mean confidence of each row, ``[questions]``."""
    return np.clip(distribution @ np.asarray(grid), 0.0, 1.0)


def likeliest(distribution: Numbers, grid: Sequence[float] = GRID) -> Numbers:
    """The confidence greedy decoding would state, ``[questions]``."""
    return np.asarray(grid)[distribution.argmax(1)]


def _tokens(lm: LanguageModel, prompt: str, grid: Sequence[float]) -> tuple[list[int], Branches]:
    start = list(lm.tokenizer.encode(prompt))
    whole = [list(lm.tokenizer.encode(prompt + text)) for text in grid_strings(grid)]
    if any(ids[: len(start)] != start for ids in whole):
        raise ModelError(
            "the tokenizer merges a confidence with the text before it",
            code="align.confidence-tokens",
            hint="use a tokenizer that starts a token at a space",
        )
    return start, tuple(tuple(ids[len(start) :]) for ids in whole)


def _distributions(lm: LanguageModel, prompts: Sequence[Sequence[int]], branches: Branches) -> Numbers:
    """Of prompts of one length, ``[prompts, branches]``."""
    import torch
    from transformers import DynamicCache

    stems = _stems(branches)
    ids = torch.tensor([list(prompt) for prompt in prompts], device=lm.device)
    first = lm.model(input_ids=ids, past_key_values=DynamicCache(), logits_to_keep=1)
    before = first.logits.float().log_softmax(-1)[:, 0]
    after = before.new_empty(0)  # and not looked at where every confidence is one token
    if width := max(len(stem) for stem in stems):
        cache = first.past_key_values
        cache.batch_repeat_interleave(len(stems))
        # Padding on the right: nothing before it looks at it.
        padded = [[*stem, *[0] * (width - len(stem))] for stem in stems]
        later = lm.model(input_ids=torch.tensor(padded * len(prompts), device=lm.device), past_key_values=cache)
        after = later.logits.float().log_softmax(-1).unflatten(0, (len(prompts), len(stems)))
    scores: list[torch.Tensor] = []
    for branch in branches:
        score = before[:, branch[0]].double()
        stem = next(n for n, stem in enumerate(stems) if stem[: len(branch) - 1] == branch[:-1])
        for place, token in enumerate(branch[1:]):
            score = score + after[:, stem, place, token]
        scores.append(score)
    return torch.stack(scores, dim=1).softmax(1).cpu().numpy()


def _stems(branches: Branches) -> list[tuple[int, ...]]:
    """Every branch without its last token, each once, and none that another begins with."""
    stems = {branch[:-1] for branch in branches}
    return sorted(one for one in stems if not any(one != other and other[: len(one)] == one for other in stems))
