"""The published methods by name, each a fixed composition with its few settings.

objective: {name: dr_dpo, beta: 0.1, beta_prime: 1.0}
objective: {name: beta_dpo, alpha: 0.6, drop: 0.2, loss: {name: ipo}}
objective: {name: custom, loss: {name: hinge}, beta: {name: batch}, reduce: {name: log_mean_exp}}

``custom`` is any composition of the parts.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import Field

from plait.align.beta_rules import BatchBeta, Beta, FixedBeta
from plait.align.losses import IPO, Conservative, ExoPair, Hinge, Robust, Sigmoid, SimPO
from plait.align.objectives import Objective
from plait.align.reduction import GroupMean, LogMeanExp, Mean, Reduce, Reduction, RunningLogMeanExp
from plait.align.selection import GaussianSelection, KeepAll, Select
from plait.align.side_losses import BCO, NCA, ORPO, SPPO, APODown, APOZero, KTOPair
from plait.align.statistics import GapStatistics
from plait.core.component import Component
from plait.core.seeds import Seeds

Loss = Annotated[
    Sigmoid | Conservative | Robust | IPO | Hinge | SimPO | ExoPair
    | NCA | BCO | SPPO | APOZero | APODown | KTOPair | ORPO,
    Field(discriminator="name"),
]  # fmt: skip
"""Any of the base losses, chosen in a recipe by ``name``."""

Compat = Literal["plait", "official"]
"""``official`` does what the authors' code does, also where that parts from the paper or from good sense."""

Scope = Literal["step", "micro_batch", "running"]
"""Over which pairs Dr. DPO's normaliser is taken; see `plait.align.reduction`."""


class ObjectiveSettings(Component):
    """Settings that build an objective."""

    loss: Loss = Sigmoid()
    """The loss of one pair."""

    @abstractmethod
    def build(self, *, seeds: Seeds) -> Objective:
        """A fresh objective in training mode, its randomness below ``seeds``."""


class DPO(ObjectiveSettings):
    """Direct preference optimisation, and by ``loss`` its relatives: cdpo, rdpo, ipo, hinge, simpo, orpo and others.

    Source: Rafailov et al. 2023 (arXiv 2305.18290).

    Example:
        >>> DPO(beta=0.2).build(seeds=Seeds(0)).beta.value
        0.2
    """

    name: Literal["dpo"] = "dpo"
    beta: float = Field(default=0.1, gt=0)
    """β: how strongly the policy is held to its reference; 1 / nats."""

    def build(self, *, seeds: Seeds) -> Objective:  # noqa: D102
        return Objective(self.loss, beta=FixedBeta(value=self.beta), seeds=seeds)


class _DynamicBeta(ObjectiveSettings):
    """What β-DPO is made of, whatever its losses are reduced to; see `BetaDPO`."""

    beta: float = Field(default=0.1, gt=0)
    """β0: the β that the rule scales up and down; 1 / nats."""
    alpha: float = Field(default=0.6, ge=0)
    """α: how strongly β follows the mean gap; 0 leaves only the filter."""
    drop: float = Field(default=0.2, ge=0, lt=1)
    """Share of each batch left out (1 - ρ of the paper)."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """How slowly the running mean and spread follow."""
    scale: Literal["raw", "beta"] = "raw"
    """``raw`` is the official code; ``beta`` the paper, where α acts on β0 × gap and is weaker by β0."""
    statistics: Literal["after", "before"] = "after"
    """Whether the running statistics hold this batch already (as published), or only those before it."""
    compat: Compat = "plait"
    """``official``: as the authors' code; see the class."""

    def _objective(self, reduce: Reduction, seeds: Seeds) -> Objective:
        return Objective(
            self.loss,
            beta=BatchBeta(value=self.beta, alpha=self.alpha, scale=self.scale),
            select=GaussianSelection(drop=self.drop),
            reduce=reduce,
            statistics=GapStatistics(momentum=self.momentum, corrected=self.compat == "plait"),
            seeds=seeds,
            statistics_from=self.statistics,
            official=self.compat == "official",
        )


class BetaDPO(_DynamicBeta):
    """β-DPO: β follows the mean gap of the batch, and pairs with unusual gaps are left out at random.

    With ``compat: official``: the running statistics start at zero without correction; they move once per micro-batch,
    of all processes, and so β and the filter are those of a micro-batch; every process divides by its own number of
    kept pairs; evaluation moves the statistics and leaves out pairs. What the official code cannot do, stop on a first
    batch whose gaps are all equal, is not reproduced. Its ``mode_weight`` is `drop` here.

    Source: Wu et al. 2024 (arXiv 2407.08639).
    """

    name: Literal["beta_dpo"] = "beta_dpo"

    def build(self, *, seeds: Seeds) -> Objective:  # noqa: D102
        return self._objective(Mean() if self.compat == "plait" else GroupMean(), seeds)


class DrDPO(ObjectiveSettings):
    """Dr. DPO: robust to wrong labels by trusting the pairs that the policy already fits.

    With ``compat: official`` the normaliser is that of each process's micro-batch, which makes micro-batches of one
    pair plain DPO, and it overflows where a loss is many times β'.

    Source: Wu et al. 2024 (arXiv 2407.07880).
    """

    name: Literal["dr_dpo"] = "dr_dpo"
    beta: float = Field(default=0.1, gt=0)
    """β: how strongly the policy is held to its reference; 1 / nats."""
    beta_prime: float = Field(default=1.0, gt=0)
    """β': large is DPO, small listens only to the best-fitted pairs; nats."""
    scope: Scope = "step"
    """``step`` is exact however a step is split; ``micro_batch`` as published; ``running`` needs no second forward pass
    where a step has several micro-batches."""
    compat: Compat = "plait"
    """``official``: as the authors' code; see the class."""

    def build(self, *, seeds: Seeds) -> Objective:  # noqa: D102
        reduce = _dr_dpo(self.beta_prime, self.scope, self.compat)
        return Objective(self.loss, beta=FixedBeta(value=self.beta), reduce=reduce, seeds=seeds)


class BetaDrDPO(_DynamicBeta):
    """β-DPO's β and filter with Dr. DPO's reduction: one for the spread of gaps, one for wrong labels.

    ``compat: official`` is that of both.

    Source: ours; the parts are Wu et al. 2024 (arXiv 2407.08639) and Wu et al. 2024 (arXiv 2407.07880).
    """

    name: Literal["beta_dr_dpo"] = "beta_dr_dpo"
    beta_prime: float = Field(default=1.0, gt=0)
    """β': large is β-DPO, small listens only to the best-fitted pairs; nats."""
    scope: Scope = "step"
    """As that of ``dr_dpo``."""

    def build(self, *, seeds: Seeds) -> Objective:  # noqa: D102
        return self._objective(_dr_dpo(self.beta_prime, self.scope, self.compat), seeds)


class Custom(ObjectiveSettings):
    """Any composition of base loss, β rule, selection and reduction."""

    name: Literal["custom"] = "custom"
    beta: Beta = FixedBeta()
    """How β follows the batch."""
    select: Select = KeepAll()
    """Which pairs are learnt from."""
    reduce: Reduce = Mean()
    """How losses become one number."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """How slowly the running mean and spread follow, for rules that read them."""

    def build(self, *, seeds: Seeds) -> Objective:  # noqa: D102
        return Objective(
            self.loss,
            beta=self.beta,
            select=self.select,
            reduce=self.reduce,
            statistics=GapStatistics(momentum=self.momentum),
            seeds=seeds,
        )


def _dr_dpo(beta_prime: float, scope: Scope, compat: Compat) -> Reduction:
    if compat == "official":
        return LogMeanExp(beta_prime=beta_prime, scope="micro_batch", stable=False)
    if scope == "running":
        return RunningLogMeanExp(beta_prime=beta_prime)
    return LogMeanExp(beta_prime=beta_prime, scope=scope)


Preset = Annotated[DPO | BetaDPO | DrDPO | BetaDrDPO | Custom, Field(discriminator="name")]
"""Any objective, chosen in a recipe by ``name``."""
