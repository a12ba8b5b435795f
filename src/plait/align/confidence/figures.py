"""What the metrics look like: reliability diagram, confidences, risk over coverage, accuracy over look-ups."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

import numpy as np

from plait.align.confidence.counted import bin_of
from plait.align.confidence.metrics import Numbers, risk_coverage
from plait.core.figures import Histogram, Lines

_Z = 1.959964  # of a 95 % interval


def reliability_diagram(models: Mapping[str, Numbers], correct: Numbers, *, bins: int = 10) -> Lines:
    """Accuracy over stated confidence, one point per bin of equal width that is not empty.

    Args:
        models: Name → confidences, ``[samples]``.
        correct: 0 or 1, ``[samples]``.
        bins: Number of bins.

    Source: DeGroot & Fienberg 1983; bands are Wilson's 95 % intervals.
    """
    series: dict[str, list[tuple[float, float]]] = {"perfect": [(0.0, 0.0), (1.0, 1.0)]}
    bands: dict[str, list[tuple[float, float, float]]] = {}
    for name, confidence in models.items():
        at = bin_of(confidence, bins)
        series[name], bands[name] = [], []
        for index in np.unique(at):
            inside = at == index
            x, right = float(confidence[inside].mean()), float(correct[inside].mean())
            series[name].append((x, right))
            bands[name].append((x, *_wilson(right, int(inside.sum()))))
    return Lines(
        title="Reliability",
        x="stated confidence",
        y="share right",
        series=series,
        bands=bands,
        note="On the line, what is said is what is so; below it, the model is too sure of itself.",
    )


def confidence_histogram(models: Mapping[str, Numbers], *, bins: int = 10) -> Histogram:
    """How often each confidence is stated, in the bins of the reliability diagram."""
    return Histogram(
        title="Stated confidences",
        x="stated confidence",
        edges=[index / bins for index in range(bins + 1)],
        counts={
            name: np.bincount(bin_of(c, bins), minlength=bins).astype(float).tolist() for name, c in models.items()
        },
    )


def risk_coverage_figure(models: Mapping[str, Numbers], correct: Numbers, *, points: int = 200) -> Lines:
    """Share wrong among the answers that are given, the most confident first."""
    series: dict[str, list[tuple[float, float]]] = {}
    for name, confidence in models.items():
        curve = risk_coverage(confidence, correct)
        rows = np.unique(np.linspace(0, len(curve) - 1, min(points, len(curve))).round().astype(int))
        series[name] = [(float(x), float(y)) for x, y in curve[rows]]
    return Lines(title="Risk over coverage", x="share answered", y="share wrong of those", series=series)


def _wilson(share: float, n: int) -> tuple[float, float]:
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)
