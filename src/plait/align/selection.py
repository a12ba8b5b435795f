"""Selections: which pairs of a training batch are learnt from. Evaluation always keeps all."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from plait.core.component import Component
from plait.core.seeds import Seeds

if TYPE_CHECKING:
    from torch import Tensor

    from plait.align.statistics import GapStatistics

_SMALLEST_SPREAD = 1e-6  # nats; below it (policy still equal to the reference) no pair stands out


class Selection(Component):
    """Which pairs of a training batch are learnt from. Evaluation always keeps all."""

    needs_statistics: ClassVar[bool] = False

    @abstractmethod
    def keep(self, gaps: Tensor, statistics: GapStatistics, *, seeds: Seeds) -> Tensor:
        """A boolean mask ``[batch]`` with at least one pair kept.

        Args:
            gaps: Detached gaps of the whole batch, ``[batch]``.
            statistics: Running mean and spread.
            seeds: The stream of this step.
        """


class KeepAll(Selection):
    """Every pair."""

    name: Literal["all"] = "all"

    def keep(self, gaps: Tensor, statistics: GapStatistics, *, seeds: Seeds) -> Tensor:  # noqa: ARG002, D102
        import torch

        return torch.ones_like(gaps, dtype=torch.bool)


class GaussianSelection(Selection):
    """β-DPO's filter: pairs whose gap is far from the running mean are the likeliest to be left out.

    Draws ``⌊n (1-drop)⌋`` pairs (at least one) without replacement with probability ∝
    ``exp(-(gap-M0)²/(2S²))``. Drawn as the top k of log-weight plus Gumbel noise, which is the same law as
    a multinomial draw but never divides by zero, works where the weights underflow, and is the same on
    every machine for the same seed.

    Source: Wu et al. 2024, β-DPO (arXiv 2407.08639); Gumbel top-k: Kool et al. 2019 (arXiv 1903.06059).
    """

    needs_statistics: ClassVar[bool] = True

    name: Literal["gaussian"] = "gaussian"
    drop: float = Field(default=0.2, ge=0, lt=1)
    """The share of each batch left out (1 - ρ of the paper)."""

    def keep(self, gaps: Tensor, statistics: GapStatistics, *, seeds: Seeds) -> Tensor:  # noqa: D102
        count = max(1, int(len(gaps) * (1 - self.drop) + 1e-9))
        everything = KeepAll().keep(gaps, statistics, seeds=seeds)
        if statistics.spread < _SMALLEST_SPREAD or not bool(gaps.isfinite().all()) or count == len(gaps):
            return everything
        log_weight = -((gaps - statistics.mean) ** 2) / (2 * statistics.spread**2)
        noise = gaps.new_tensor(seeds.numpy().gumbel(size=len(gaps)))
        kept = (log_weight + noise).topk(count).indices
        return everything.logical_not().index_fill(0, kept, value=True)


class QuantileSelection(Selection):
    """Leaves out the pairs of each batch with the smallest and with the largest gaps, a fixed share of each.

    Source: Wu et al. 2024, β-DPO (arXiv 2407.08639): cutting the head, the tail or both, compared with the Gaussian
    filter.
    """

    name: Literal["quantile"] = "quantile"
    lowest: float = Field(default=0.1, ge=0, lt=1)
    """Share of the batch left out because its gaps are the smallest."""
    highest: float = Field(default=0.1, ge=0, lt=1)
    """Share of the batch left out because its gaps are the largest."""

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if self.lowest + self.highest >= 1:
            raise ValueError(f"lowest + highest = {self.lowest + self.highest:g} leaves no pair")
        return self

    def keep(self, gaps: Tensor, statistics: GapStatistics, *, seeds: Seeds) -> Tensor:  # noqa: ARG002, D102
        n = len(gaps)
        below, above = int(n * self.lowest + 1e-9), int(n * self.highest + 1e-9)
        # Stable, so that of equal gaps the first of the batch are the smaller ones on every machine.
        order = gaps.argsort(stable=True)
        kept = gaps.new_zeros(n).bool()
        kept[order[below : max(below + 1, n - above)]] = True
        return kept


class CutSelection(Selection):
    """Leaves out pairs whose gap is further from the running mean than so many spreads.

    Nothing is left out before a spread is known; where all pairs of a batch are that far off, the nearest stays.
    """

    needs_statistics: ClassVar[bool] = True

    name: Literal["cut"] = "cut"
    below: float | None = Field(default=2.0, gt=0)
    """Spreads below the mean that are kept; ``null`` cuts nothing there."""
    above: float | None = Field(default=None, gt=0)
    """Spreads above the mean that are kept; ``null`` cuts nothing there."""

    def keep(self, gaps: Tensor, statistics: GapStatistics, *, seeds: Seeds) -> Tensor:  # noqa: D102
        kept = KeepAll().keep(gaps, statistics, seeds=seeds)
        if statistics.spread < _SMALLEST_SPREAD:
            return kept
        distance = (gaps - statistics.mean) / statistics.spread
        if self.below is not None:
            kept &= distance >= -self.below
        if self.above is not None:
            kept &= distance <= self.above
        if not bool(kept.any()):
            kept[distance.abs().argmin()] = True
        return kept


Select = Annotated[KeepAll | GaussianSelection | QuantileSelection | CutSelection, Field(discriminator="name")]
"""Any selection, chosen in a recipe by ``name``."""
