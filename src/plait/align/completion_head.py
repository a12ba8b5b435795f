"""Log-probabilities of completion tokens from logits, with one buffer of the vocabulary's size per state.

Softmax and its gradient written with plain operations hold the logits three or four times. Here the backward pass turns
the logits into their own gradient, in place, and everything else happens in tiles that fit the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

_TILE = 1 << 20  # numbers


def token_logprobs(logits: Tensor, predictors: Tensor, targets: Tensor) -> Tensor:
    """The log-probability of each target token.

    Args:
        logits: ``[states, vocabulary]``. They are spent by the backward pass, which can run once.
        predictors: The state that predicts each token, ``[tokens]``.
        targets: The tokens, ``[tokens]``.

    Returns:
        ``[tokens]`` float32, in nats.

    Example:
        >>> token_logprobs(torch.zeros(1, 2), torch.tensor([0, 0]), torch.tensor([0, 1]))
        tensor([-0.6931, -0.6931])
    """
    return cast("Tensor", _TokenLogprobs.apply(logits, predictors, targets))


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, logits: Tensor, predictors: Tensor, targets: Tensor) -> Tensor:
        precision = torch.promote_types(logits.dtype, torch.float32)
        normalisers = torch.empty(len(logits), dtype=precision, device=logits.device)
        for rows in _tiles(logits):
            normalisers[rows] = logits[rows].to(precision).logsumexp(-1)
        ctx.save_for_backward(logits, normalisers, predictors, targets)
        return logits[predictors, targets].to(precision) - normalisers[predictors]

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor, None, None]:
        logits, normalisers, predictors, targets = cast("tuple[Tensor, ...]", ctx.saved_tensors)
        # The last state of a prompt predicts the first token of both completions.
        by_state = torch.zeros_like(normalisers).index_add_(0, predictors, gradient)
        for rows in _tiles(logits):
            tile = logits[rows].to(normalisers.dtype).sub_(normalisers[rows, None]).exp_().mul_(-by_state[rows, None])
            if tile.data_ptr() != logits[rows].data_ptr():
                logits[rows] = tile.to(logits.dtype)
        logits.index_put_((predictors, targets), gradient.to(logits.dtype), accumulate=True)
        return logits, None, None


def _tiles(logits: Tensor) -> Iterator[slice]:
    rows = max(1, _TILE // logits.shape[-1])
    if logits.is_cuda:  # one kernel over 64 MiB rather than many small ones
        rows = max(1, 16 * _TILE // logits.shape[-1])
    return (slice(start, start + rows) for start in range(0, len(logits), rows))
