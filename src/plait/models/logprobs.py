"""How likely a model finds given completions, token by token."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from plait.errors import ModelError, UsageError
from plait.models.batch import can_pad
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

    The vocabulary is scored at completion positions only; the network itself reads everything once.

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
    if len(prompts) != len(completions):
        raise UsageError(f"{len(prompts)} prompts and {len(completions)} completions", code="model.logprobs-arguments")
    if any(not p for p in prompts) or batch_size < 1:
        raise UsageError("every prompt needs a token, and batch_size at least 1", code="model.logprobs-arguments")
    rows = [[*p, *c] for p, c in zip(prompts, completions, strict=True)]
    _check_context(lm, rows)
    result: list[list[float]] = [[] for _ in rows]
    padded = can_pad(lm)
    waiting = sorted((i for i in range(len(rows)) if completions[i]), key=lambda i: len(rows[i]))
    with torch.no_grad(), evaluating(lm.model):
        while waiting:
            size = batch_size if padded else _equal(rows, waiting, batch_size)
            batch, waiting = waiting[:size], waiting[size:]
            scored = _score(lm, [rows[i] for i in batch], [len(completions[i]) for i in batch])
            for i, values in zip(batch, scored, strict=True):
                result[i] = values
    return result


def _score(lm: LanguageModel, rows: Sequence[Sequence[int]], counts: Sequence[int]) -> list[list[float]]:
    # Padding on the right: causal attention never looks at it, so no mask and no positions are needed.
    width = max(len(row) for row in rows)
    ids = torch.tensor([list(row) + [0] * (width - len(row)) for row in rows], device=lm.device)
    network = lm.model.get_base_model() if hasattr(lm.model, "get_base_model") else lm.model
    hidden = network.base_model(input_ids=ids, use_cache=False).last_hidden_state
    # The state at a position predicts the token after it.
    states = torch.cat(
        [hidden[i, len(row) - n - 1 : len(row) - 1] for i, (row, n) in enumerate(zip(rows, counts, strict=True))]
    )
    targets = torch.tensor([t for row, n in zip(rows, counts, strict=True) for t in row[-n:]], device=lm.device)
    head = network.get_output_embeddings()
    values: list[float] = []
    for part, target in zip(states.split(_SCORES_AT_ONCE), targets.split(_SCORES_AT_ONCE), strict=True):
        scores = head(part).float()
        values += (scores.gather(-1, target[:, None])[:, 0] - scores.logsumexp(-1)).tolist()
    ends = torch.tensor(counts).cumsum(0).tolist()
    return [values[end - n : end] for end, n in zip(ends, counts, strict=True)]


def _equal(rows: Sequence[Sequence[int]], waiting: Sequence[int], limit: int) -> int:
    """How many rows at the front are equally long."""
    length = len(rows[waiting[0]])
    return next((n for n, i in enumerate(waiting) if n == limit or len(rows[i]) != length), len(waiting))


def _check_context(lm: LanguageModel, rows: Sequence[Sequence[int]]) -> None:
    context = getattr(lm.model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    longest = max((len(row) for row in rows), default=0)
    if context is not None and longest > context:
        raise ModelError(
            f'a row has {longest} tokens and "{lm.source.name}" reads {context} at most',
            code="model.context-length",
            hint="shorten the prompt or the completion",
        )
