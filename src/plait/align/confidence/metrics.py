"""How well stated confidences fit what was right: calibration, ranking, and what selecting by them is worth.

All take ``confidence`` in 0 to 1 and ``correct`` (0 or 1), both ``[samples]``. Calibration and ranking are different
things: a constant confidence equal to the accuracy has no calibration error and ranks nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from plait.align.confidence import counted
from plait.align.confidence.counted import Numbers
from plait.align.evaluate import Interval
from plait.core.seeds import Seeds
from plait.errors import DataError

Metric: TypeAlias = Callable[[Numbers, Numbers], float]

_AT_ONCE = 1_000_000
"""Counts of one block of resamples; bounds memory."""


def accuracy(confidence: Numbers, correct: Numbers) -> float:
    """Share right, whatever the confidences."""
    del confidence
    return float(correct.mean())


def mean_confidence(confidence: Numbers, correct: Numbers) -> float:
    """Mean of what is stated, whatever is right."""
    del correct
    return float(confidence.mean())


def ece(confidence: Numbers, correct: Numbers, *, bins: int = 10, count_zero: bool = True) -> float:
    """Expected calibration error: Σ over bins of n_b/n · |mean confidence - accuracy|, bins of equal width.

    Args:
        confidence: ``[samples]``.
        correct: ``[samples]``.
        bins: Number of bins (lo, hi].
        count_zero: Whether a confidence of exactly 0 is in the first bin. The published code leaves it out of all, so
            that a model that always says 0 looks perfectly calibrated.

    Example:
        >>> float(ece(np.zeros(4), np.array([1.0, 1.0, 0.0, 0.0])))
        0.5

    Source: Guo et al. 2017, equation 3; CONQORD (arXiv 2404.17287) with 10 bins.
    """
    if not count_zero:
        some = confidence > 0
        return ece(confidence[some], correct[some], bins=bins) * some.mean() if some.any() else 0.0
    return float(counted.ece(confidence, correct, _once(correct), bins=bins)[0])


def adaptive_ece(confidence: Numbers, correct: Numbers, *, bins: int = 10) -> float:
    """The same with bins of equal numbers of samples; equal confidences are never parted.

    Source: Nguyen & O'Connor 2015; Nixon et al. 2019, with ties kept together.
    """
    return float(counted.adaptive_ece(confidence, correct, _once(correct), bins=bins)[0])


def brier(confidence: Numbers, correct: Numbers) -> float:
    """Mean of (c - y)². Source: Brier 1950."""
    return float(np.mean((confidence - correct) ** 2))


def nll(confidence: Numbers, correct: Numbers, *, clip: float = 0.01) -> float:
    """Mean of -log of the confidence in what happened, in nats, with confidences moved into [clip, 1 - clip]."""
    return float(counted.log_loss(confidence, correct, clip=clip).mean())


def auroc(confidence: Numbers, correct: Numbers) -> float:
    """Probability that a right answer has more confidence than a wrong one; ties count half. NaN if all are alike."""
    return float(counted.auroc(confidence, correct, _once(correct))[0])


def pearson(confidence: Numbers, correct: Numbers) -> float:
    """Linear correlation; NaN where either does not vary."""
    return float(counted.pearson(confidence, correct, _once(correct))[0])


def spearman(confidence: Numbers, correct: Numbers) -> float:
    """Correlation of ranks, ties at their mean rank; NaN where either does not vary."""
    return float(counted.spearman(confidence, correct, _once(correct))[0])


def risk_coverage(confidence: Numbers, correct: Numbers) -> Numbers:
    """Share wrong among the most confident, at each share answered: ``[samples, 2]``, (coverage, risk) row by row.

    Within a block of equal confidences the risk is that of a random order: in expectation, not by luck of the file.

    Source: El-Yaniv & Wiener 2010; Geifman & El-Yaniv 2017.
    """
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    _, block, sizes = np.unique(-ranked, return_inverse=True, return_counts=True)
    wrong = (np.bincount(block, 1 - correct[order]) / sizes)[block]
    answered = np.arange(1, len(ranked) + 1)
    return np.stack([answered / len(ranked), np.cumsum(wrong) / answered], axis=1)


def aurc(confidence: Numbers, correct: Numbers) -> float:
    """Mean risk over all coverages: lower is better. Source: Geifman et al. 2019."""
    return float(counted.aurc(confidence, correct, _once(correct))[0])


METRICS: Mapping[str, Metric] = {
    "accuracy": accuracy,
    "mean confidence": mean_confidence,
    "ECE": ece,
    "adaptive ECE": adaptive_ece,
    "Brier": brier,
    "NLL": nll,
    "AUROC": auroc,
    "Spearman": spearman,
    "Pearson": pearson,
    "AURC": aurc,
}


def measure(confidence: Numbers, correct: Numbers, *, seeds: Seeds, resamples: int = 1000) -> dict[str, Interval]:
    """Every metric with its 95 % bootstrap interval over samples, by name as in `METRICS`.

    Args:
        confidence: 0 to 1, ``[samples]``; samples without one are left out by the caller, and told as a parse rate.
        correct: 0 or 1, ``[samples]``.
        seeds: Stream of the bootstrap.
        resamples: Of the bootstrap; those in which a metric is not defined are left out of its interval.

    Raises:
        DataError: Nothing to measure; a confidence outside 0 to 1; correctness that is neither 0 nor 1.
    """
    confidence, correct = checked(confidence, correct)
    return bootstrap(
        lambda counts: {n: m(confidence, correct, counts) for n, m in counted.METRICS.items()},
        len(correct),
        seeds=seeds,
        resamples=resamples,
    )


def compare(
    before: Numbers, after: Numbers, correct: Numbers, *, seeds: Seeds, resamples: int = 1000
) -> dict[str, Interval]:
    """After minus before on the same answers, every metric, with 95 % intervals paired by sample.

    Raises:
        DataError: As `measure`.
    """
    before, correct = checked(before, correct)
    after, _ = checked(after, correct)

    def difference(counts: Numbers) -> dict[str, Numbers]:
        return {
            name: metric(after, correct, counts) - metric(before, correct, counts)
            for name, metric in counted.METRICS.items()
            if name != "accuracy"
        }

    return bootstrap(difference, len(correct), seeds=seeds, resamples=resamples)


def checked(confidence: Numbers, correct: Numbers) -> tuple[Numbers, Numbers]:
    """Both as floats.

    Raises:
        DataError: They are empty, of different lengths, or outside their ranges.
    """
    confidence, correct = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if confidence.shape != correct.shape or confidence.ndim != 1 or not len(confidence):
        raise DataError(
            f"{confidence.shape} confidences and {correct.shape} marks: each answer needs one of each",
            code="align.nothing-to-measure",
        )
    if not np.all((confidence >= 0) & (confidence <= 1)):
        raise DataError("a confidence is outside 0 to 1", code="align.confidence-range", hint="see parse_confidence")
    if not np.all((correct == 0) | (correct == 1)):
        raise DataError("correct is neither 0 nor 1", code="align.correctness", hint="choose a threshold for a score")
    return confidence, correct


def bootstrap(
    metrics: Callable[[Numbers], Mapping[str, Numbers]], samples: int, *, seeds: Seeds, resamples: int
) -> dict[str, Interval]:
    """95 % percentile intervals of what `counted` metrics give for ``counts [resamples, samples]``."""
    draw = seeds.child("bootstrap").numpy()
    block = max(1, _AT_ONCE // samples)
    tables: list[Mapping[str, Numbers]] = []
    for start in range(0, resamples, block):
        rows = draw.integers(samples, size=(min(block, resamples - start), samples))
        flat = rows + samples * np.arange(len(rows))[:, None]
        tables.append(metrics(np.bincount(flat.ravel(), minlength=rows.size).reshape(rows.shape).astype(np.float64)))
    found: dict[str, Interval] = {}
    for name, value in metrics(np.ones((1, samples))).items():
        column = np.concatenate([table[name] for table in tables])
        column = column[~np.isnan(column)]
        low, high = np.quantile(column, [0.025, 0.975]) if len(column) else (np.nan, np.nan)
        found[name] = Interval(float(value[0]), float(low), float(high))
    return found


def _once(correct: Numbers) -> Numbers:
    """Every sample once, as one resample."""
    return np.ones((1, len(correct)))
