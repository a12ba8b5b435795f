"""The metrics of many resamples at once.

A resample is told by how often it holds each sample, ``counts [resamples, samples]``. So samples are sorted by
confidence once for all resamples, and a metric is a handful of products over them instead of a call for each. All take
``confidence`` and ``correct``, ``[samples]``, and give ``[resamples]``; what each metric means is said in `metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Numbers: TypeAlias = "NDArray[np.float64]"
Counted: TypeAlias = Callable[[Numbers, Numbers, Numbers], Numbers]


def mean(values: Numbers, counts: Numbers) -> Numbers:
    """Of ``[samples]`` values."""
    return counts @ values / counts.sum(1)


def ece(confidence: Numbers, correct: Numbers, counts: Numbers, *, bins: int = 10) -> Numbers:
    """Expected calibration error, bins of equal width."""
    inside = bin_of(confidence, bins)[:, None] == np.arange(bins)
    return np.abs(counts @ (inside * (confidence - correct)[:, None])).sum(1) / counts.sum(1)


def bin_of(confidence: Numbers, bins: int) -> NDArray[np.int64]:
    """Index of the bin (lo, hi] of equal width that each confidence is in; 0 is in the first."""
    # Rounded: 0.7 · 10 is 7.000000000000001, which is not in the eighth bin.
    return np.clip(np.ceil(np.round(confidence * bins, 9)).astype(np.int64) - 1, 0, bins - 1)


def adaptive_ece(confidence: Numbers, correct: Numbers, counts: Numbers, *, bins: int = 10) -> Numbers:
    """The same with bins of equal numbers of samples."""
    sizes = _ties(confidence, counts)
    last = sizes.cumsum(1)
    # A tied block goes where its middle falls.
    at = np.minimum((2 * last - sizes) * bins // (2 * last[:, -1:]), bins - 1).astype(np.int64)
    rows = np.arange(len(counts))[:, None] * bins
    gaps = _ties(confidence, counts * (confidence - correct))
    summed = np.bincount((rows + at).ravel(), gaps.ravel(), len(counts) * bins)
    return np.abs(summed.reshape(-1, bins)).sum(1) / last[:, -1]


def auroc(confidence: Numbers, correct: Numbers, counts: Numbers) -> Numbers:
    """Probability that a right answer has more confidence than a wrong one."""
    right, wrong = _ties(confidence, counts * correct), _ties(confidence, counts * (1 - correct))
    below = wrong.cumsum(1) - wrong / 2
    return _ratio((right * below).sum(1), right.sum(1) * wrong.sum(1))


def pearson(first: Numbers, second: Numbers, counts: Numbers) -> Numbers:
    """Linear correlation of ``[samples]``, or of ``[resamples, samples]``."""
    total = counts.sum(1, keepdims=True)
    first = first - (counts * first).sum(1, keepdims=True) / total
    second = second - (counts * second).sum(1, keepdims=True) / total
    norm = np.sqrt((counts * first**2).sum(1) * (counts * second**2).sum(1))
    return _ratio((counts * first * second).sum(1), norm)


def spearman(confidence: Numbers, correct: Numbers, counts: Numbers) -> Numbers:
    """Correlation of ranks."""
    return pearson(_ranks(confidence, counts), _ranks(correct, counts), counts)


def aurc(confidence: Numbers, correct: Numbers, counts: Numbers) -> Numbers:
    """Mean risk over all coverages."""
    sizes, wrong = _ties(-confidence, counts), _ties(-confidence, counts * (1 - correct))
    last = sizes.cumsum(1).astype(np.int64)
    first = last - sizes.astype(np.int64)
    rate = np.divide(wrong, sizes, out=np.zeros_like(wrong), where=sizes > 0)
    # Within a block the risk after k answers is rate + (wrong before - rate · first) / k; summed over its k:
    harmonic = np.r_[0.0, np.cumsum(1 / np.arange(1, int(last[0, -1]) + 1))]
    excess = (wrong.cumsum(1) - wrong - rate * first) * (harmonic[last] - harmonic[first])
    return (excess + rate * sizes).sum(1) / last[:, -1]


METRICS: Mapping[str, Counted] = {
    "accuracy": lambda _, y, counts: mean(y, counts),
    "mean confidence": lambda c, _, counts: mean(c, counts),
    "ECE": ece,
    "adaptive ECE": adaptive_ece,
    "Brier": lambda c, y, counts: mean((c - y) ** 2, counts),
    "NLL": lambda c, y, counts: mean(log_loss(c, y), counts),
    "AUROC": auroc,
    "Spearman": spearman,
    "Pearson": pearson,
    "AURC": aurc,
}


def log_loss(confidence: Numbers, correct: Numbers, *, clip: float = 0.01) -> Numbers:
    """-log of the confidence in what happened, in nats, of each sample."""
    inside = np.clip(confidence, clip, 1 - clip)
    return -(correct * np.log(inside) + (1 - correct) * np.log1p(-inside))


def _ranks(values: Numbers, counts: Numbers) -> Numbers:
    """Of each sample in each resample, from 1, ties at their mean: ``[resamples, samples]``."""
    sizes = _ties(values, counts)
    ranks = sizes.cumsum(1) - (sizes - 1) / 2
    return ranks[:, np.unique(values, return_inverse=True)[1]]


def _ties(values: Numbers, amounts: Numbers) -> Numbers:
    """Amounts ``[resamples, samples]`` summed over samples of equal values, in their order: ``[resamples, blocks]``."""
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    return np.add.reduceat(amounts[:, order], starts, axis=1)


def _ratio(above: Numbers, below: Numbers) -> Numbers:
    """NaN where there is nothing below."""
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 1e-12)
