"""How well a model expects texts it was not trained on: loss per token and perplexity, with honest intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from plait.align.evaluate import Interval
from plait.align.sft.packing import pack, token_losses
from plait.align.sft.texts import TokenText
from plait.core.seeds import Seeds

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    Numbers = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True)
class TextScores:
    """Losses of texts under one model.

    Args:
        loss: Summed over the learnt tokens of each text, in nats, ``[texts]``.
        tokens: Learnt tokens of each text, ``[texts]``.
    """

    loss: Numbers
    tokens: Numbers

    @property
    def per_token(self) -> float:
        """The mean loss over all learnt tokens, in nats."""
        return float(self.loss.sum() / self.tokens.sum())

    @property
    def perplexity(self) -> float:
        """``exp`` of `per_token`."""
        return math.exp(self.per_token)


def score_texts(
    model: nn.Module,
    texts: Sequence[TokenText],
    *,
    packed: bool = True,
    batch_size: int = 8,
    on_progress: Callable[[int, int], None] | None = None,
) -> TextScores:
    """Score texts under a model as it is, adapter included.

    Args:
        model: In any mode; dropout is off while scoring.
        texts: At least one.
        packed: See `plait.align.sft.packing`.
        batch_size: Texts per forward pass.
        on_progress: Called with (done, total) after each pass.
    """
    import torch

    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    # Alike in length together, so that rows are full; the order of the result is that of the texts.
    order = sorted(range(len(texts)), key=lambda n: -len(texts[n].tokens))
    sums = torch.zeros(len(texts), dtype=torch.float64)
    try:
        with torch.no_grad():
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                batch = pack([texts[n] for n in rows], packed=packed).to(device)
                losses = token_losses(model, batch).double().cpu()
                sums[rows] = torch.zeros(len(rows), dtype=torch.float64).index_add(0, batch.owners.cpu(), losses)
                if on_progress is not None:
                    on_progress(min(start + batch_size, len(order)), len(order))
    finally:
        model.train(was_training)
    tokens = torch.tensor([float(text.learnt) for text in texts], dtype=torch.float64)
    return TextScores(cast("Numbers", sums.numpy()), cast("Numbers", tokens.numpy()))


def loss_interval(scores: TextScores, *, seeds: Seeds, resamples: int = 4000) -> Interval:
    """`TextScores.per_token` and its 95 % percentile interval over resampled texts, in nats.

    Tokens of one text go together: they are not independent. The interval covers the choice of texts, not of training
    seeds; with few texts it is too narrow.

    Source: Efron & Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13, of a ratio of sums.

    Example:
        >>> import numpy as np
        >>> one = TextScores(np.array([2.0, 6.0]), np.array([1.0, 3.0]))
        >>> loss_interval(one, seeds=Seeds(0)).text()
        '2.00 (2.00 to 2.00)'
    """
    return _ratio(scores.loss, scores.tokens, seeds=seeds, resamples=resamples)


def change_interval(before: TextScores, after: TextScores, *, seeds: Seeds, resamples: int = 4000) -> Interval:
    """How much `TextScores.per_token` changed on the same texts, with its 95 % interval, in nats; below 0 is better."""
    return _ratio(cast("Numbers", after.loss - before.loss), before.tokens, seeds=seeds, resamples=resamples)


def _ratio(sums: Numbers, tokens: Numbers, *, seeds: Seeds, resamples: int) -> Interval:
    import numpy as np

    rows = seeds.child("bootstrap").numpy().integers(len(sums), size=(resamples, len(sums)))
    ratios = sums[rows].sum(axis=1) / tokens[rows].sum(axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Interval(float(sums.sum() / tokens.sum()), float(low), float(high))
