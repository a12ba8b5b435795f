"""Answer alone where confident enough, else look it up: what each threshold buys, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from plait.align.confidence.metrics import Numbers
from plait.core.figures import Lines
from plait.errors import UsageError


@dataclass(frozen=True)
class Operating:
    """What one threshold gives.

    Args:
        threshold: Answers with at least this confidence are given alone.
        calls: Share of the questions that are looked up.
        accuracy: Share right in all.
        at_random: Accuracy of as many look-ups of questions drawn at random: what the confidence has to beat.
    """

    threshold: float
    calls: float
    accuracy: float
    at_random: float


def sweep_thresholds(
    confidence: Numbers, alone: Numbers, looked_up: Numbers, *, thresholds: Sequence[float] | None = None
) -> list[Operating]:
    """Accuracy and share of look-ups at each threshold.

    Args:
        confidence: Of the answer given alone; NaN where none was stated, which is looked up, ``[questions]``.
        alone: Whether that answer is right, ``[questions]``.
        looked_up: Whether the answer after a look-up is right, ``[questions]``.
        thresholds: Left out, 0 to 1 by 0.1, and one above 1 that looks up all.

    Raises:
        UsageError: The three are not of one length, or empty.

    Example:
        >>> [one] = sweep_thresholds(np.array([0.9, 0.2]), np.array([1.0, 0.0]), np.ones(2), thresholds=[0.5])
        >>> one.calls, one.accuracy, one.at_random
        (0.5, 1.0, 0.75)

    Source: CONQORD (arXiv 2404.17287), section on adaptive retrieval.
    """
    if not len(confidence) or not len(confidence) == len(alone) == len(looked_up):
        raise UsageError("confidence, alone and looked_up need one entry per question", code="align.lengths")
    curve: list[Operating] = []
    for threshold in thresholds if thresholds is not None else [*(i / 10 for i in range(11)), 1.1]:
        answers = np.asarray(confidence) >= threshold  # false for NaN
        calls = 1 - float(answers.mean())
        mixed = float(np.where(answers, alone, looked_up).mean())
        at_random = (1 - calls) * float(np.mean(alone)) + calls * float(np.mean(looked_up))
        curve.append(Operating(float(threshold), calls, mixed, at_random))
    return curve


def retrieval_figure(curve: Sequence[Operating]) -> Lines:
    """Accuracy over the share of look-ups, beside look-ups at random."""
    ordered = sorted(curve, key=lambda one: one.calls)
    return Lines(
        title="Accuracy over look-ups",
        x="share of questions looked up",
        y="share right",
        series={
            "by confidence": [(one.calls, one.accuracy) for one in ordered],
            "at random": [(one.calls, one.at_random) for one in ordered],
        },
        note="The area between the lines is what the stated confidence is worth.",
    )
