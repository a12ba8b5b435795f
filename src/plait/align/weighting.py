"""How much each pair counts: β rules, selections and reductions, and the running statistics they read.

The three choices compose freely. All of them see the whole batch at once, so that what they do cannot
depend on how a batch was split into micro-batches; none of them carries a gradient except the reduction.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from plait.core.component import Component
from plait.core.seeds import Seeds

if TYPE_CHECKING:
    from torch import Tensor

_SMALLEST_SPREAD = 1e-6  # nats; below it (policy still equal to the reference) no pair stands out


@dataclass
class GapStatistics:
    """Running mean and spread of the gaps, updated once per training batch.

    Exponential averages start at zero; ``corrected`` divides by ``1 - momentum^t`` as Adam does, so the
    first batch already gives its own mean. Uncorrected is what the official β-DPO code does: 22 batches to
    reach 90 %.

    Source: Wu et al. 2024, β-DPO (arXiv 2407.08639).

    Example:
        >>> import torch
        >>> s = GapStatistics(momentum=0.9)
        >>> s.update(torch.tensor([1.0, 3.0]))
        >>> round(s.mean, 6), round(s.spread, 6)
        (2.0, 1.414214)
    """

    momentum: float = 0.9
    corrected: bool = True
    mean_average: float = 0.0
    mean_updates: int = 0
    spread_average: float = 0.0
    spread_updates: int = 0

    @property
    def mean(self) -> float:
        """M0, in nats."""
        return self.mean_average / self._correction(self.mean_updates)

    @property
    def spread(self) -> float:
        """S, the standard deviation in nats; 0 until a batch of at least two pairs was seen."""
        return self.spread_average / self._correction(self.spread_updates)

    def update(self, gaps: Tensor) -> None:
        """Take in one batch of gaps, ``[batch]``. Gaps that are not finite leave everything as it is."""
        if not bool(gaps.isfinite().all()):
            return
        keep = self.momentum
        self.mean_average = keep * self.mean_average + (1 - keep) * float(gaps.mean())
        self.mean_updates += 1
        if len(gaps) > 1:  # one pair has no spread
            self.spread_average = keep * self.spread_average + (1 - keep) * float(gaps.std())
            self.spread_updates += 1

    def state_dict(self) -> dict[str, float | int]:
        """The four numbers a checkpoint needs."""
        return {
            "mean_average": self.mean_average,
            "mean_updates": self.mean_updates,
            "spread_average": self.spread_average,
            "spread_updates": self.spread_updates,
        }

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        """Continue from `state_dict`."""
        self.mean_average = float(state["mean_average"])
        self.mean_updates = int(state["mean_updates"])
        self.spread_average = float(state["spread_average"])
        self.spread_updates = int(state["spread_updates"])

    def _correction(self, updates: int) -> float:
        return 1 - self.momentum**updates if self.corrected and updates else 1.0


# --- β rules --------------------------------------------------------------------------------------


class BetaRule(Component):
    """How strongly the policy is held to its reference in this batch."""

    needs_statistics: ClassVar[bool] = False

    value: float = Field(default=0.1, gt=0)
    """β0: the β of evaluation, and of training where the rule does not change it; 1 / nats."""

    @abstractmethod
    def beta(self, gaps: Tensor, kept: Tensor, statistics: GapStatistics) -> Tensor:
        """β for a training batch.

        Args:
            gaps: Detached gaps of the whole batch, ``[batch]``.
            kept: Which pairs the selection kept, boolean ``[batch]``.
            statistics: Running mean and spread.

        Returns:
            One β, ``[]``, or one per pair, ``[batch]``; without gradient.
        """


class FixedBeta(BetaRule):
    """The same β always."""

    name: Literal["fixed"] = "fixed"

    def beta(self, gaps: Tensor, kept: Tensor, statistics: GapStatistics) -> Tensor:  # noqa: ARG002, D102
        return gaps.new_tensor(self.value)


class BatchBeta(BetaRule):
    """β-DPO's dynamic β: larger for a batch whose pairs are well separated, smaller for the others.

    ``β = β0 · (1 + α (mean gap - M0))``, at least ``smallest``.

    Source: Wu et al. 2024, β-DPO (arXiv 2407.08639). The official code takes the mean over the kept pairs
    and feeds it raw log-ratio gaps (``scale="raw"``); the paper's M is an implicit reward, which holds β0
    (``scale="beta"``).
    """

    needs_statistics: ClassVar[bool] = True

    name: Literal["batch"] = "batch"
    alpha: float = Field(default=0.6, ge=0)
    """α: how strongly β follows the gap; 0 is a fixed β."""
    scale: Literal["raw", "beta"] = "raw"
    """Whether α multiplies the gap in nats, or the gap times β0."""
    mean_of: Literal["kept", "batch"] = "kept"
    """Whether the batch's mean gap is taken over the kept pairs or over all."""
    smallest: float = Field(default=1e-3, gt=0)
    """The floor below which β never falls."""

    def beta(self, gaps: Tensor, kept: Tensor, statistics: GapStatistics) -> Tensor:  # noqa: D102
        lead = (gaps[kept] if self.mean_of == "kept" else gaps).mean() - statistics.mean
        if self.scale == "beta":
            lead = lead * self.value
        return (self.value * (1 + self.alpha * lead)).clamp(min=self.smallest)


Beta = Annotated[FixedBeta | BatchBeta, Field(discriminator="name")]
"""Any β rule, chosen in a recipe by ``name``."""


# --- selections -----------------------------------------------------------------------------------


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


Select = Annotated[KeepAll | GaussianSelection, Field(discriminator="name")]
"""Any selection, chosen in a recipe by ``name``."""


# --- reductions -----------------------------------------------------------------------------------


class Reduction(Component):
    """How the losses of the kept pairs become the one number that is minimised."""

    separable: ClassVar[bool] = False
    """Whether the result is a plain sum over pairs, so that a batch can be worked through pair by pair."""

    @abstractmethod
    def reduce(self, losses: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and what each pair contributed.

        Args:
            losses: One loss per kept pair, ``[kept]``; carries the gradient.
            weight: How much each counts, ``[kept]``, positive.

        Returns:
            The loss, ``[]``; and the share of each pair in its gradient, ``[kept]``, detached, summing to 1.
        """


class Mean(Reduction):
    """The weighted mean."""

    separable: ClassVar[bool] = True

    name: Literal["mean"] = "mean"

    def reduce(self, losses: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        share = weight / weight.sum()
        return (share * losses).sum(), share


class LogMeanExp(Reduction):
    """Dr. DPO: ``-β' log mean exp(-loss/β')``, which trusts the pairs that are already fitted.

    β' → ∞ is the mean (DPO), β' → 0 the smallest loss; a batch of one pair is exactly DPO. Its gradient is
    that of the mean with weights ``softmax(-loss/β')``. Computed from the smallest loss upwards with
    ``expm1``/``log1p``, so that neither end of β' loses its digits (the official code overflows at 0.1).

    Source: Wu et al. 2024, Dr. DPO (arXiv 2407.07880).
    """

    name: Literal["log_mean_exp"] = "log_mean_exp"
    beta_prime: float = Field(default=1.0, gt=0)
    """β': how much a pair that is badly fitted still counts; in units of loss (nats)."""

    def reduce(self, losses: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        prior = weight / weight.sum()
        smallest = losses.detach().min()
        excess = (smallest - losses) / self.beta_prime
        loss = smallest - self.beta_prime * (prior * excess.expm1()).sum().log1p()
        tilted = (prior * excess.exp()).detach()
        return loss, tilted / tilted.sum()


Reduce = Annotated[Mean | LogMeanExp, Field(discriminator="name")]
"""Any reduction, chosen in a recipe by ``name``."""
