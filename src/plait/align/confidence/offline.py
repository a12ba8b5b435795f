"""Preference pairs that differ in the stated confidence alone, for training without sampling.

The pair's weight is what the better confidence earns more than the other. Without it the trained log-odds of two
confidences would be logit(p)/β whichever two they are, p the probability of being right: an order objective that
saturates, made of a proper score. With it they are positive exactly where the chosen one is nearer to p.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from plait.align.confidence.metrics import Numbers
from plait.align.confidence.prompts import GRID, answered, ask, said
from plait.align.confidence.rewards import brier_reward, log_reward
from plait.core.seeds import Seeds
from plait.errors import UsageError


@dataclass(frozen=True)
class Graded:
    """One answer of the model.

    Args:
        question: What was asked.
        answer: What the model answered.
        quality: 0 to 1 for a proper score, any scale for the order reward.
    """

    question: str
    answer: str
    quality: float


def confidence_rewards(
    quality: Numbers, *, kind: Literal["order", "brier", "log", "hybrid"], order_weight: float = 0.3
) -> Numbers:
    """What each confidence of `GRID` would earn each answer, ``[answers, grid]``.

    The order reward of answer i at confidence c is, up to what does not depend on c, c · (q_i - mean of the other q):
    the same whatever confidences the others state.

    Raises:
        UsageError: The order reward of one answer; a proper score of a quality outside 0 to 1.
    """
    grid = np.asarray(GRID)
    shape = (len(quality), len(grid))
    c, q = np.broadcast_to(grid, shape), np.broadcast_to(quality[:, None], shape)
    if kind != "order" and np.any((quality < 0) | (quality > 1)):
        raise UsageError("a proper score needs quality in 0 to 1", code="align.correctness", hint='use kind="order"')
    if kind == "log":
        return log_reward(q, c)
    if kind == "brier":
        return brier_reward(q, c)
    if len(quality) < 2:
        raise UsageError("the order reward compares answers, and there is only one", code="align.order-alone")
    spread = float(quality.std()) or 1.0
    others = (quality.sum() - quality) / (len(quality) - 1)
    order = c * ((quality - others) / spread)[:, None]
    return order if kind == "order" else order_weight * order + brier_reward(q, c)


def confidence_pairs(
    graded: Sequence[Graded],
    *,
    kind: Literal["order", "brier", "log", "hybrid"] = "brier",
    per_answer: int = 4,
    seeds: Seeds,
) -> list[dict[str, Any]]:
    """Preference records with prompt, chosen, rejected and weight, for `train_pairs`.

    The prompt holds question, answer and marker; weights have mean 1.

    Args:
        graded: The model's own answers.
        kind: Which reward decides; see `ConfidenceReward`.
        per_answer: Pairs of confidences drawn for each answer.
        seeds: Their stream.
    """
    rewards = confidence_rewards(np.array([one.quality for one in graded], dtype=np.float64), kind=kind)
    draw = seeds.child("confidence-pairs").numpy()
    records: list[dict[str, Any]] = []
    for number, (one, earned) in enumerate(zip(graded, rewards, strict=True)):
        for turn in range(per_answer):
            first, second = (int(index) for index in draw.choice(len(GRID), size=2, replace=False))
            if earned[first] < earned[second]:
                first, second = second, first
            if (weight := float(earned[first] - earned[second])) > 0:
                records.append(
                    {
                        "id": f"{number}-{turn}",
                        "prompt": ask(one.question) + answered(one.answer),
                        "chosen": said(GRID[first]),
                        "rejected": said(GRID[second]),
                        "weight": weight,
                    }
                )
    mean = float(np.mean([record["weight"] for record in records])) if records else 1.0
    return [record | {"weight": record["weight"] / mean} for record in records]
