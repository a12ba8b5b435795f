"""How well confidences fit as they are stated, in expectation over what the model could say.

A mean over the distribution can order questions by differences that no reader of one stated number would see: then it
ranks well, and what is said does not. Here each question counts for every confidence with its probability, as if it
were asked infinitely often.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from plait.align.confidence import counted
from plait.align.confidence.counted import Numbers
from plait.align.confidence.metrics import bootstrap
from plait.align.confidence.prompts import GRID
from plait.align.evaluate import Interval
from plait.core.seeds import Seeds

_NAMES = ("mean confidence", "ECE", "Brier", "NLL", "AUROC", "Spearman", "Pearson")


def measure_stated(
    distribution: Numbers, correct: Numbers, *, seeds: Seeds, grid: Sequence[float] = GRID, resamples: int = 1000
) -> dict[str, Interval]:
    """Metrics by name as in `metrics.METRICS`, with 95 % bootstrap intervals over questions.

    Args:
        distribution: From `elicit.confidence_distribution`, ``[questions, grid]``.
        correct: 0 or 1, ``[questions]``.
        seeds: Stream of the bootstrap.
        grid: The confidences.
        resamples: Of the bootstrap.

    Example:
        >>> sure = np.array([[0.5, 0.5], [0.0, 1.0]])
        >>> measure_stated(sure, np.array([0.0, 1.0]), seeds=Seeds(0), grid=(0.0, 1.0))["AUROC"].value
        0.75
    """
    return bootstrap(
        lambda counts: _metrics(distribution, correct, counts, grid), len(correct), seeds=seeds, resamples=resamples
    )


def compare_stated(
    before: Numbers,
    after: Numbers,
    correct: Numbers,
    *,
    seeds: Seeds,
    grid: Sequence[float] = GRID,
    resamples: int = 1000,
) -> dict[str, Interval]:
    """After minus before on the same answers, with 95 % intervals paired by question; arguments as above."""

    def difference(counts: Numbers) -> dict[str, Numbers]:
        first, second = (_metrics(one, correct, counts, grid) for one in (before, after))
        return {name: second[name] - first[name] for name in _NAMES}

    return bootstrap(difference, len(correct), seeds=seeds, resamples=resamples)


def _metrics(distribution: Numbers, correct: Numbers, counts: Numbers, grid: Sequence[float]) -> dict[str, Numbers]:
    """A question and a confidence are a sample, held as often as the question times the probability."""
    # All right answers with one confidence are alike, and so are all wrong ones: two samples for each confidence.
    right, wrong = counts @ (distribution * correct[:, None]), counts @ (distribution * (1 - correct)[:, None])
    held = np.concatenate([right, wrong], axis=1)
    confidence = np.tile(np.asarray(grid, dtype=np.float64), 2)
    marks = np.repeat([1.0, 0.0], len(grid))
    return {name: counted.METRICS[name](confidence, marks, held) for name in _NAMES}
