"""How likely a model finds given completions, token by token."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from plait.errors import ModelError, UsageError
from plait.models.generation import evaluating
from plait.models.language_model import LanguageModel

_SCORES_AT_ONCE = 256
"""Positions turned into vocabulary scores at a time: 256 x 50k float32 are 50 MB."""


def sequence_logprobs(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    *,
    batch_size: int = 8,
) -> list[list[float]]:
    """Log-probability of every completion token given the prompt and the tokens before it, in nats.

    The network reads everything once; the vocabulary is scored at completion positions only.

    Args:
        lm: The model, with its adapter if it has one.
        prompts: Token ids; at least one each, for the first completion token to be conditioned on.
        completions: Token ids to be scored; one list per prompt, possibly empty.
        batch_size: Rows read together; changes speed and memory, not results.

    Returns:
        One list per completion, as long as it.

    Raises:
        UsageError: The lists do not match, or a prompt is empty.
        ModelError: A row is longer than the model can read.
    """
    _check(prompts, completions, batch_size)
    rows = [[*p, *c] for p, c in zip(prompts, completions, strict=True)]
    longest = max((len(row) for row in rows), default=0)
    if lm.context is not None and longest > lm.context:
        raise ModelError(
            f'a row has {longest} tokens and "{lm.source.name}" reads {lm.context} at most',
            code="model.context-length",
            hint="shorten the prompt or the completion",
        )
    result: list[list[float]] = [[] for _ in rows]
    order = sorted((i for i in range(len(rows)) if completions[i]), key=lambda i: len(rows[i]))
    with torch.no_grad(), evaluating(lm.model):
        plain = bool(order) and _head_is_plain(lm, rows[order[0]][0])
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            score = _score if plain else _score_singly
            scored = score(lm, [rows[i] for i in batch], [len(completions[i]) for i in batch])
            for i, values in zip(batch, scored, strict=True):
                result[i] = values
    return result


def _check(prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], batch_size: int) -> None:
    wrong = None
    if len(prompts) != len(completions):
        wrong = f"{len(prompts)} prompts need as many completions, not {len(completions)}"
    elif any(not p for p in prompts):
        wrong = f"prompt {next(i for i, p in enumerate(prompts) if not p)} is empty"
    elif batch_size < 1:
        wrong = f"batch_size={batch_size} must be at least 1"
    if wrong:
        raise UsageError(wrong, code="model.logprobs-arguments")


def _score(lm: LanguageModel, rows: Sequence[Sequence[int]], counts: Sequence[int]) -> list[list[float]]:
    """Log-probs of the last ``counts[i]`` tokens of each row."""
    # Padding on the right: nothing before it ever looks at it, so neither mask nor positions are needed.
    width = max(len(row) for row in rows)
    ids = torch.tensor([list(row) + [0] * (width - len(row)) for row in rows], device=lm.device)
    hidden = lm.network.base_model(input_ids=ids, use_cache=False).last_hidden_state
    # The state at a position predicts the token after it.
    states = torch.cat(
        [hidden[i, len(row) - n - 1 : len(row) - 1] for i, (row, n) in enumerate(zip(rows, counts, strict=True))]
    )
    targets = torch.tensor([t for row, n in zip(rows, counts, strict=True) for t in row[-n:]], device=lm.device)
    head = lm.network.get_output_embeddings()
    values: list[float] = []
    for part, target in zip(states.split(_SCORES_AT_ONCE), targets.split(_SCORES_AT_ONCE), strict=True):
        values += _picked(head(part), target)
    ends = torch.tensor(counts).cumsum(0).tolist()
    return [values[end - n : end] for end, n in zip(ends, counts, strict=True)]


def _score_singly(lm: LanguageModel, rows: Sequence[Sequence[int]], counts: Sequence[int]) -> list[list[float]]:
    """`_score` through the model's own forward pass, one row at a time."""
    scored: list[list[float]] = []
    for row, n in zip(rows, counts, strict=True):
        ids = torch.tensor([list(row)], device=lm.device)
        scores = lm.network(input_ids=ids, use_cache=False, logits_to_keep=n + 1).logits[0, :-1]
        scored.append(_picked(scores, ids[0, -n:]))
    return scored


def _picked(scores: torch.Tensor, targets: torch.Tensor) -> list[float]:
    scores = scores.float()
    return (scores.gather(-1, targets[:, None])[:, 0] - scores.logsumexp(-1)).tolist()


def _head_is_plain(lm: LanguageModel, token: int) -> bool:
    """Whether scores are the output layer applied to the last states, and nothing more.

    Some models (Gemma 2, Cohere, Granite) scale or cap them afterwards, which only their own forward pass knows.
    """
    ids = torch.tensor([[token]], device=lm.device)
    states = lm.network.base_model(input_ids=ids, use_cache=False).last_hidden_state
    scores = lm.network(input_ids=ids, use_cache=False).logits
    return torch.allclose(lm.network.get_output_embeddings()(states), scores, rtol=1e-3, atol=1e-3)
