"""Reductions: how the losses of the kept pairs become the one number that is minimised."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from plait.align.statistics import LogNormaliser
from plait.core.component import Component

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Context:
    """What a reduction may look at beside losses and weights.

    Args:
        group: Whole numbers that say which pairs belong together, ``[kept]``.
        normaliser: Dr. DPO's running normaliser; it moves while training.
        training: Whether the batch is trained on.
    """

    group: Tensor | None = None
    normaliser: LogNormaliser = field(default_factory=LogNormaliser)
    training: bool = True


class Reduction(Component):
    """How the losses of the kept pairs become the one number that is minimised."""

    separable: ClassVar[bool] = False
    """Whether the result is a plain sum over pairs, so that a batch can be worked through pair by pair."""
    needs_statistics: ClassVar[bool] = False
    """Whether it remembers something from batch to batch."""

    @property
    def by_micro_batch(self) -> bool:
        """Whether it is meant to see one micro-batch at a time instead of an optimiser step's whole batch."""
        return False

    @abstractmethod
    def reduce(self, losses: Tensor, weight: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """The loss, and what each pair contributed.

        Args:
            losses: One loss per kept pair, ``[kept]``; carries the gradient.
            weight: How much each counts, ``[kept]``, positive.
            context: What else there is.

        Returns:
            The loss, ``[]``; and the share of each pair in its gradient, ``[kept]``, detached, summing to 1.
        """


class Mean(Reduction):
    """The weighted mean."""

    separable: ClassVar[bool] = True

    name: Literal["mean"] = "mean"

    def reduce(self, losses: Tensor, weight: Tensor, context: Context) -> tuple[Tensor, Tensor]:  # noqa: ARG002, D102
        share = weight / weight.sum()
        return (share * losses).sum(), share


class GroupMean(Reduction):
    """The mean over groups of each group's own weighted mean, so that small groups count as much as large ones.

    Groups are those of `PairBatch.group`; without any, all pairs are one. Also what data parallelism makes of losses
    that every process divides by its own number of kept pairs, as the official β-DPO code does.
    """

    name: Literal["group_mean"] = "group_mean"

    def reduce(self, losses: Tensor, weight: Tensor, context: Context) -> tuple[Tensor, Tensor]:  # noqa: D102
        import torch

        group = losses.new_zeros(len(losses)).long() if context.group is None else context.group
        names, index = torch.unique(group, return_inverse=True)
        totals = weight.new_zeros(len(names)).index_add(0, index, weight)
        share = weight / totals[index] / len(names)
        return (share * losses).sum(), share


class TopMean(Reduction):
    """The weighted mean over only the share of pairs with the largest losses, or with the smallest.

    The largest are the pairs not fitted yet (average top-k loss); the smallest leave out what looks mislabelled
    (trimmed loss), harder than Dr. DPO does.

    Source: Fan et al. 2017, "Learning with Average Top-k Loss" (arXiv 1705.08826); Shen & Sanghavi 2019, trimmed loss
    (arXiv 1810.11874).
    """

    name: Literal["top"] = "top"
    of: Literal["largest", "smallest"] = "smallest"
    """Which losses count."""
    share: float = Field(default=0.8, gt=0, le=1)
    """The share of the pairs kept by the selection that count; at least one pair does."""

    def reduce(self, losses: Tensor, weight: Tensor, context: Context) -> tuple[Tensor, Tensor]:  # noqa: ARG002, D102
        count = max(1, int(len(losses) * self.share + 1e-9))
        # Stable, so that of equal losses the same count on every machine.
        order = losses.detach().argsort(stable=True, descending=self.of == "largest")
        chosen = weight.new_zeros(len(weight)).index_fill(0, order[:count], 1.0)
        share = weight * chosen
        share = share / share.sum()
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
    scope: Literal["step", "micro_batch"] = "step"
    """Over which pairs the mean is taken: those of the whole optimiser step, or, as the official code does, those of
    each process's micro-batch by themselves; with one pair in it that is plain DPO."""
    stable: bool = True
    """Shift by the smallest loss first; without, as in the official code, a loss of some 90 β' overflows."""

    @property
    def by_micro_batch(self) -> bool:
        """With the scope of the official code."""
        return self.scope == "micro_batch"

    def reduce(self, losses: Tensor, weight: Tensor, context: Context) -> tuple[Tensor, Tensor]:  # noqa: ARG002, D102
        prior = weight / weight.sum()
        if not self.stable:
            exponential = (-losses / self.beta_prime).exp()
            loss = -self.beta_prime * (prior * exponential).sum().log()
            tilted = (prior * exponential).detach()
            return loss, tilted / tilted.sum()
        smallest = losses.detach().min()
        excess = (smallest - losses) / self.beta_prime
        loss = smallest - self.beta_prime * (prior * excess.expm1()).sum().log1p()
        tilted = (prior * excess.exp()).detach()
        return loss, tilted / tilted.sum()


class RunningLogMeanExp(Reduction):
    """Dr. DPO with a normaliser that runs over batches, so that it works where one pair fits into memory.

    Each pair counts ``exp(-loss/β') / Z``, where Z is the running mean of ``exp(-loss/β')`` over the batches before
    (the first batch takes its own). The weights are known without other pairs of the step, and no second forward pass
    is needed; they follow the exact ones as closely as Z follows the mean of the step. The number returned is ``Σ
    weight · loss``, not Dr. DPO's own.

    Source: ours; the objective is that of Wu et al. 2024, Dr. DPO (arXiv 2407.07880).
    """

    needs_statistics: ClassVar[bool] = True

    name: Literal["running_log_mean_exp"] = "running_log_mean_exp"
    beta_prime: float = Field(default=1.0, gt=0)
    """β': how much a pair that is badly fitted still counts; in units of loss (nats)."""
    largest_weight: float = Field(default=5.0, gt=1)
    """A pair never counts more than this many times its part of the batch."""

    @property
    def by_micro_batch(self) -> bool:
        """It is made for that."""
        return True

    def reduce(self, losses: Tensor, weight: Tensor, context: Context) -> tuple[Tensor, Tensor]:  # noqa: D102
        prior = weight / weight.sum()
        logits = -losses.detach() / self.beta_prime
        log_mean = float((logits + prior.log()).logsumexp(0))
        normaliser = context.normaliser.value if context.normaliser.updates else log_mean
        if context.training and math.isfinite(log_mean):
            context.normaliser.update(log_mean)
        counted = prior * (logits - normaliser).exp().clamp(max=self.largest_weight)
        total = counted.sum()
        return (counted * losses).sum(), counted / total if float(total) > 0 else prior


Reduce = Annotated[Mean | GroupMean | TopMean | LogMeanExp | RunningLogMeanExp, Field(discriminator="name")]
"""Any reduction, chosen in a recipe by ``name``."""
