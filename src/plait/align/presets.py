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

from plait.align.losses import Loss, Sigmoid
from plait.align.objectives import Objective
from plait.align.weighting import (
    BatchBeta,
    Beta,
    FixedBeta,
    GapStatistics,
    GaussianSelection,
    KeepAll,
    LogMeanExp,
    Mean,
    Reduce,
    Select,
)
from plait.core.component import Component
from plait.core.seeds import Seeds


class ObjectiveSettings(Component):
    """Settings that build an objective."""

    loss: Loss = Sigmoid()
    """The loss of one pair."""

    @abstractmethod
    def build(self, *, seeds: Seeds) -> Objective:
        """A fresh objective in training mode, its randomness below ``seeds``."""


class DPO(ObjectiveSettings):
    """Direct preference optimisation, and by ``loss`` its relatives cdpo, rdpo, ipo, hinge and simpo.

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


class BetaDPO(ObjectiveSettings):
    """β-DPO: β follows the mean gap of the batch, and pairs with unusual gaps are left out at random.

    Source: Wu et al. 2024 (arXiv 2407.08639).
    """

    name: Literal["beta_dpo"] = "beta_dpo"
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

    def build(self, *, seeds: Seeds) -> Objective:  # noqa: D102
        return Objective(
            self.loss,
            beta=BatchBeta(value=self.beta, alpha=self.alpha, scale=self.scale),
            select=GaussianSelection(drop=self.drop),
            statistics=GapStatistics(momentum=self.momentum),
            seeds=seeds,
        )


class DrDPO(ObjectiveSettings):
    """Dr. DPO: robust to wrong labels by trusting the pairs that the policy already fits.

    Source: Wu et al. 2024 (arXiv 2407.07880).
    """

    name: Literal["dr_dpo"] = "dr_dpo"
    beta: float = Field(default=0.1, gt=0)
    """β: how strongly the policy is held to its reference; 1 / nats."""
    beta_prime: float = Field(default=1.0, gt=0)
    """β': large is DPO, small listens only to the best-fitted pairs; nats."""

    def build(self, *, seeds: Seeds) -> Objective:  # noqa: D102
        return Objective(
            self.loss,
            beta=FixedBeta(value=self.beta),
            reduce=LogMeanExp(beta_prime=self.beta_prime),
            seeds=seeds,
        )


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


Preset = Annotated[DPO | BetaDPO | DrDPO | Custom, Field(discriminator="name")]
"""Any objective, chosen in a recipe by ``name``."""
