"""Rewards for a stated confidence: the order-preserving one, proper scores, and their sum.

The order reward needs only a scalar quality, and teaches ranking; it is linear in the confidence, so that its optimum
is 1 above the mean quality and 0 below. A proper score needs answers marked right or wrong, and its optimum is the
probability of being right: where there are such marks, use it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from plait.core.component import Component
from plait.errors import UsageError

Numbers: TypeAlias = "NDArray[np.float64]"


def order_reward(
    quality: Numbers,
    confidence: Numbers,
    *,
    groups: Sequence[Hashable] | None = None,
    normalise: Literal["mean", "sum"] = "mean",
    standardise: bool = True,
    rank: bool = False,
) -> Numbers:
    """R_i = Σ_j (q_i - q_j)(c_i - c_j): positive where confidence and quality order a sample alike.

    Equal to N[(q_i - q̄)(c_i - c̄) + Cov(q, c)]: no reward for a sample alone, and one that grows with N and with the
    scale of the quality; hence the mean over j ≠ i and the standardised quality.

    Args:
        quality: Of each answer, ``[samples]``, on any scale.
        confidence: As stated, 0 to 1; NaN where none was, ``[samples]``.
        groups: Samples are compared within a group (the prompt they answer); left out, all with all. Comparing across
            prompts mixes how hard a question is with how good its answer is.
        normalise: ``mean`` over the other samples with a confidence, or the published code's ``sum``.
        standardise: Divide the quality by its standard deviation over all samples; the published code does not.
        rank: Compare qualities by sign alone.

    Returns:
        ``[samples]``; NaN where the confidence is.

    Raises:
        UsageError: A group has fewer than two samples: the reward would be 0 for any confidence.

    Example:
        >>> order_reward(np.array([0.0, 1.0]), np.array([0.2, 0.9]), normalise="sum", standardise=False).tolist()
        [0.7, 0.7]

    Source: CONQORD (arXiv 2404.17287) and its ppo_trainer.py (``sum``, not standardised).
    """
    quality, confidence = _same_length(quality, confidence)
    if standardise and (spread := float(quality.std())) > 0:
        quality = quality / spread
    reward = np.full(len(quality), np.nan)
    for rows in _groups(groups, len(quality)):
        if len(rows) < 2:
            raise UsageError(
                "the order reward compares samples, and a group has only one",
                code="align.order-alone",
                hint="sample several answers per prompt, or compare over the whole batch",
            )
        rows = rows[~np.isnan(confidence[rows])]
        differences = quality[rows, None] - quality[None, rows]
        if rank:
            differences = np.sign(differences)
        sums = (differences * (confidence[rows, None] - confidence[None, rows])).sum(1)
        reward[rows] = sums if normalise == "sum" else sums / max(len(rows) - 1, 1)
    return reward


def brier_reward(correct: Numbers, confidence: Numbers) -> Numbers:
    """-(c - y)²: largest in expectation where c is the probability of being right.

    Example:
        >>> brier_reward(np.array([1.0, 0.0]), np.array([0.5, 1.0])).tolist()
        [-0.25, -1.0]

    Source: Brier 1950; as a reward RLCR.
    """
    correct, confidence = _same_length(correct, confidence)
    return -((confidence - correct) ** 2)


def log_reward(correct: Numbers, confidence: Numbers, *, clip: float = 0.01) -> Numbers:
    """The log score: y log c + (1 - y) log(1 - c), in nats, with c moved into [clip, 1 - clip].

    Without the clip one certain error would cost infinitely much.

    Source: Good 1952.
    """
    correct, confidence = _same_length(correct, confidence)
    inside = np.clip(confidence, clip, 1 - clip)
    return correct * np.log(inside) + (1 - correct) * np.log1p(-inside)


class ConfidenceReward(Component):
    """Which reward a stated confidence earns."""

    kind: Literal["order", "brier", "log", "hybrid"] = "brier"
    """``order`` compares samples; ``brier`` and ``log`` are proper scores; ``hybrid`` is ``brier`` and some order."""
    scope: Literal["prompt", "batch"] = "batch"
    """Which samples the order reward compares: those of one prompt, or all."""
    normalise: Literal["mean", "sum"] = "mean"
    """Of the order reward: over the other samples, or the published code's sum, which grows with the batch."""
    standardise: bool = True
    """Of the order reward: quality in standard deviations of the batch; the published code takes it as it is."""
    rank: bool = False
    """Of the order reward: compare qualities by sign alone."""
    order_weight: float = Field(default=0.3, ge=0)
    """Share of the order reward in ``hybrid``."""
    log_clip: float = Field(default=0.01, gt=0, lt=0.5)
    """How near to 0 and 1 the log score looks."""
    missing: float = -1.0
    """Reward of a sample that states no confidence: fixed, and never that of some number."""

    def __call__(
        self,
        confidence: Sequence[float | None],
        *,
        quality: Sequence[float],
        correct: Sequence[float] | None = None,
        prompts: Sequence[Hashable] | None = None,
    ) -> Numbers:
        """The reward of each sample.

        Args:
            confidence: As stated; None where none was.
            quality: On any scale; read by the order reward.
            correct: 0 to 1; read by the proper scores. Left out, it is the quality.
            prompts: What each sample answers; needed for ``scope="prompt"``.

        Raises:
            UsageError: Fewer than two samples to compare; prompts are missing; correctness is outside 0 to 1.
        """
        stated = np.array([np.nan if one is None else one for one in confidence], dtype=np.float64)
        qualities = np.asarray(quality, dtype=np.float64)
        right = qualities if correct is None else np.asarray(correct, dtype=np.float64)
        total = np.zeros(len(stated))
        if self.kind in ("order", "hybrid"):
            if self.scope == "prompt" and prompts is None:
                raise UsageError('scope="prompt" needs the prompts', code="align.no-prompts")
            weight = 1.0 if self.kind == "order" else self.order_weight
            total = total + weight * order_reward(
                qualities,
                stated,
                groups=prompts if self.scope == "prompt" else None,
                normalise=self.normalise,
                standardise=self.standardise,
                rank=self.rank,
            )
        if self.kind != "order":
            if np.any((right < 0) | (right > 1)):
                raise UsageError(
                    f"a proper score needs correctness in 0 to 1, not {right.min():g} to {right.max():g}",
                    code="align.correctness",
                    hint="pass correct=, or use the order reward, which takes any scale",
                )
            total = total + (
                log_reward(right, stated, clip=self.log_clip) if self.kind == "log" else brier_reward(right, stated)
            )
        return np.where(np.isnan(stated), self.missing, total)


def _same_length(first: Numbers, second: Numbers) -> tuple[Numbers, Numbers]:
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if first.shape != second.shape:
        raise UsageError(
            f"{len(first)} and {len(second)} samples: one confidence for each is needed", code="align.lengths"
        )
    return first, second


def _groups(groups: Sequence[Hashable] | None, samples: int) -> list[NDArray[np.int64]]:
    if groups is None:
        return [np.arange(samples)]
    rows: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        rows.setdefault(group, []).append(row)
    return [np.array(found) for found in rows.values()]
