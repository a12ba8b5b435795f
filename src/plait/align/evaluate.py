"""How well a model prefers the chosen texts of pairs it was not trained on, with honest intervals.

Three views of the same log-probabilities: *per token* and *summed* ask whether the model itself finds the chosen
text likelier, and have a value before training too; the *implicit reward* asks how far the model moved from its
reference, and is 0 for every pair before training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from plait.align.pairs import TokenPair
from plait.align.reference import PairLogprobs
from plait.align.shared_prefix import Layout, lay_out, pair_logprobs
from plait.core.seeds import Seeds
from plait.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    Numbers = np.ndarray[tuple[int], np.dtype[np.float64]]


_NORMAL = 1.959963984540054  # of a standard normal, 95 % lie within


@dataclass(frozen=True)
class Interval:
    """An estimate with the range it could have had with other pairs: a 95 % interval."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 2) -> str:
        """As ``0.78 (0.62 to 0.91)``."""
        return f"{self.value:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


@dataclass(frozen=True)
class PairScores:
    """Log-probabilities of pairs under one model.

    Args:
        chosen: Summed over the completion, in nats, ``[pairs]``.
        rejected: The same of the rejected completion, ``[pairs]``.
        chosen_length: Completion tokens, ``[pairs]``.
        rejected_length: Completion tokens, ``[pairs]``.
    """

    chosen: Numbers
    rejected: Numbers
    chosen_length: Numbers
    rejected_length: Numbers

    @classmethod
    def of(cls, pairs: Sequence[TokenPair], logprobs: Sequence[PairLogprobs]) -> PairScores:
        """From pairs and their log-probabilities, in the same order.

        Example:
            >>> pair = TokenPair("a", prompt=(1,), chosen=(2, 3), rejected=(4,))
            >>> PairScores.of([pair], [(-4.0, -3.0)]).per_token().tolist()
            [1.0]
        """
        import numpy as np

        if not pairs or len(pairs) != len(logprobs):
            raise UsageError(
                f"{len(pairs)} pairs and {len(logprobs)} log-probabilities cannot be scored",
                code="align.scores",
                hint="give at least one pair, and one entry for each",
            )
        values = np.asarray(logprobs, dtype=np.float64)
        lengths = np.asarray([[len(p.chosen), len(p.rejected)] for p in pairs], dtype=np.float64)
        return cls(values[:, 0], values[:, 1], lengths[:, 0], lengths[:, 1])

    def summed(self) -> Numbers:
        """Log-probability of chosen minus rejected, in nats, ``[pairs]``."""
        return self.chosen - self.rejected

    def per_token(self) -> Numbers:
        """The same of the mean log-probabilities, in nats per token, ``[pairs]``: blind to length."""
        return self.chosen / self.chosen_length - self.rejected / self.rejected_length

    def implicit(self, reference: PairScores) -> Numbers:
        """Difference of log-ratios to the reference (the implicit reward over β), in nats, ``[pairs]``."""
        return self.summed() - reference.summed()


def score_pairs(
    model: nn.Module,
    pairs: Sequence[TokenPair],
    *,
    layout: Layout = "shared_prefix",
    on_progress: Callable[[int, int], None] | None = None,
) -> PairScores:
    """Score pairs under a model as it is, adapter included.

    Args:
        model: In any mode; dropout is off while scoring.
        pairs: At least one.
        layout: See `plait.align.shared_prefix.choose_layout`.
        on_progress: Called with (done, total) after each pair.
    """
    import torch

    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    logprobs: list[PairLogprobs] = []
    try:
        with torch.no_grad():
            for pair in pairs:
                chosen, rejected = pair_logprobs(model, lay_out([pair], layout=layout).to(device))
                logprobs.append((float(chosen), float(rejected)))
                if on_progress is not None:
                    on_progress(len(logprobs), len(pairs))
    finally:
        model.train(was_training)
    return PairScores.of(pairs, logprobs)


def accuracy(margins: Numbers) -> Interval:
    """The share of pairs whose chosen text wins, with Wilson's 95 % interval; a tie is half a win.

    Unlike a bootstrap the interval has a width where all pairs agree: 4 of 4 is no proof of 1.

    Args:
        margins: Chosen minus rejected, ``[pairs]``.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    Example:
        >>> import numpy as np
        >>> accuracy(np.array([1.0, 2.0, 0.0, -1.0])).value
        0.625
        >>> accuracy(np.ones(4)).text()
        '1.00 (0.51 to 1.00)'
    """
    import numpy as np

    count, share = len(margins), float(cast("Numbers", (np.sign(margins) + 1) / 2).mean())
    spread = _NORMAL**2 / count
    centre = (share + spread / 2) / (1 + spread)
    half = (share * (1 - share) * spread + spread**2 / 4) ** 0.5 / (1 + spread)
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def bootstrap(values: Numbers, *, seeds: Seeds, resamples: int = 4000) -> Interval:
    """The mean of ``[pairs]`` values and its 95 % percentile interval over resampled pairs.

    With few pairs it is too narrow, and it says nothing where all values are equal: it covers the choice of pairs,
    not of training seeds.

    Source: Efron & Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13.
    """
    import numpy as np

    rows = seeds.child("bootstrap").numpy().integers(len(values), size=(resamples, len(values)))
    means = values[rows].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


def bootstrap_ratio(above: Numbers, below: Numbers, *, seeds: Seeds, resamples: int = 4000) -> Interval:
    """``Σ above / Σ below`` and its 95 % percentile interval over resampled entries, ``[entries]`` each.

    Example:
        >>> import numpy as np
        >>> bootstrap_ratio(np.array([1.0, 3.0]), np.array([2.0, 2.0]), seeds=Seeds(0)).value
        1.0
    """
    import numpy as np

    rows = seeds.child("bootstrap").numpy().integers(len(above), size=(resamples, len(above)))
    low, high = np.quantile(above[rows].sum(axis=1) / below[rows].sum(axis=1), [0.025, 0.975])
    return Interval(float(above.sum() / below.sum()), float(low), float(high))


def rank_correlation(first: Numbers, second: Numbers) -> float:
    """Spearman's rank correlation; 0 where one side does not vary.

    Args:
        first: ``[pairs]``.
        second: ``[pairs]``.

    Example:
        >>> import numpy as np
        >>> rank_correlation(np.array([1.0, 2.0, 9.0]), np.array([5.0, 4.0, 3.0]))
        -1.0
    """
    import numpy as np

    ranks = [_ranks(first), _ranks(second)]
    spreads = [float(rank.std()) for rank in ranks]
    if min(spreads) == 0:
        return 0.0
    centred = [rank - rank.mean() for rank in ranks]
    return round(float(np.mean(centred[0] * centred[1])) / (spreads[0] * spreads[1]), 12)


def _ranks(values: Numbers) -> Numbers:
    """Ranks from 0, equal values sharing their mean rank."""
    import numpy as np

    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return cast("Numbers", (ends - (counts + 1) / 2)[where])
