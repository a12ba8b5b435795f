"""β rules: how strongly the policy is held to its reference, in this batch or for each pair."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from plait.core.component import Component

if TYPE_CHECKING:
    from torch import Tensor

    from plait.align.statistics import GapStatistics


class BetaRule(Component):
    """How strongly the policy is held to its reference in this batch."""

    needs_statistics: ClassVar[bool] = False
    value: float = Field(default=0.1, gt=0)
    """β0: the β of evaluation, and of training where the rule does not change it; 1 / nats."""

    @abstractmethod
    def beta(self, gaps: Tensor, kept: Tensor, statistics: GapStatistics, *, step: int) -> Tensor:
        """β for a training batch.

        Args:
            gaps: Detached gaps of the whole batch, ``[batch]``.
            kept: Which pairs the selection kept, boolean ``[batch]``.
            statistics: Running mean and spread.
            step: Training batches before this one.

        Returns:
            One β, ``[]``, or one per pair, ``[batch]``; without gradient.
        """

    def clamped(self, beta: Tensor) -> float:  # noqa: ARG002
        """The share of the βs that stand at a bound instead of where the rule would put them."""
        return 0.0


class FixedBeta(BetaRule):
    """The same β always."""

    name: Literal["fixed"] = "fixed"

    def beta(self, gaps: Tensor, kept: Tensor, statistics: GapStatistics, *, step: int) -> Tensor:  # noqa: ARG002, D102
        return gaps.new_tensor(self.value)


class ScheduledBeta(BetaRule):
    """β moves from its value to another one over the first steps, then stays.

    Source: ours, for β annealing as in many published runs; a later, smaller β lets the policy go further.
    """

    name: Literal["scheduled"] = "scheduled"
    end: float = Field(default=0.02, gt=0)
    """β after the last step of the schedule; 1 / nats."""
    steps: int = Field(default=1000, ge=1)
    """Training batches until then."""
    shape: Literal["linear", "cosine", "geometric"] = "linear"
    """How it moves: in equal steps, slowly at both ends, or by equal factors."""

    def beta(self, gaps: Tensor, kept: Tensor, statistics: GapStatistics, *, step: int) -> Tensor:  # noqa: ARG002, D102
        done = min(1.0, step / self.steps)
        if self.shape == "geometric":
            return gaps.new_tensor(self.value * (self.end / self.value) ** done)
        share = done if self.shape == "linear" else (1 - math.cos(math.pi * done)) / 2
        return gaps.new_tensor(self.value + (self.end - self.value) * share)


class DynamicBeta(BetaRule):
    """β that follows how well pairs are separated: ``β0 · (1 + α (M - M0))`` between two bounds.

    Source: Wu et al. 2024, β-DPO (arXiv 2407.08639). The official code feeds it raw log-ratio gaps (``scale="raw"``);
    the paper's M is an implicit reward, which holds β0 (``scale="beta"``).
    """

    needs_statistics: ClassVar[bool] = True

    alpha: float = Field(default=0.6, ge=0)
    """α: how strongly β follows the gap; 0 is a fixed β."""
    scale: Literal["raw", "beta"] = "raw"
    """Whether α multiplies the gap in nats, or the gap times β0."""
    smallest: float = Field(default=1e-3, gt=0)
    """The floor below which β never falls."""
    largest: float | None = Field(default=None, gt=0)
    """The ceiling above which β never rises; none in the paper and its code."""

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.largest is not None and self.largest < self.smallest:
            raise ValueError(f"largest {self.largest:g} is below smallest {self.smallest:g}")
        return self

    def clamped(self, beta: Tensor) -> float:  # noqa: D102
        # The bounds in the precision of the tensor, which 1e-3 in float32 is not equal to.
        hit = beta == beta.new_tensor(self.smallest)
        if self.largest is not None:
            hit = hit | (beta == beta.new_tensor(self.largest))
        return float(hit.to(beta).mean())

    def _follow(self, lead: Tensor) -> Tensor:
        """β for a lead over the running mean, in nats."""
        if self.scale == "beta":
            lead = lead * self.value
        return (self.value * (1 + self.alpha * lead)).clamp(min=self.smallest, max=self.largest)


class BatchBeta(DynamicBeta):
    """β-DPO's dynamic β: larger for a batch whose pairs are well separated, smaller for the others.

    Source: Wu et al. 2024, β-DPO (arXiv 2407.08639), whose official code takes the mean over the kept pairs.
    """

    name: Literal["batch"] = "batch"
    mean_of: Literal["kept", "batch"] = "kept"
    """Whether the batch's mean gap is taken over the kept pairs or over all."""

    def beta(self, gaps: Tensor, kept: Tensor, statistics: GapStatistics, *, step: int) -> Tensor:  # noqa: ARG002, D102
        return self._follow((gaps[kept] if self.mean_of == "kept" else gaps).mean() - statistics.mean)


class InstanceBeta(DynamicBeta):
    """A β for each pair by its own gap: the form that the β-DPO paper tries and leaves.

    Source: Wu et al. 2024, β-DPO (arXiv 2407.08639), instance-level ablation.
    """

    name: Literal["instance"] = "instance"

    def beta(self, gaps: Tensor, kept: Tensor, statistics: GapStatistics, *, step: int) -> Tensor:  # noqa: ARG002, D102
        return self._follow(gaps - statistics.mean)


Beta = Annotated[FixedBeta | ScheduledBeta | BatchBeta | InstanceBeta, Field(discriminator="name")]
"""Any β rule, chosen in a recipe by ``name``."""
