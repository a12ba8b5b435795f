"""TRL's `DPOConfig` with the settings of an objective.

``loss_type`` names the loss of one pair, of those in `LOSSES`; more types after the first (TRL's own, such as ``sft``)
are added to it as TRL does. ``label_smoothing`` with ``sigmoid`` is conservative DPO again, which TRL itself ignores
in silence since 0.29.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from trl.trainer.dpo_config import DPOConfig

from plait.align.losses import IPO, Conservative, Hinge, Robust, Sigmoid
from plait.align.objectives import Objective
from plait.align.presets import DPO, BetaDPO, DrDPO, Preset
from plait.core.seeds import Seeds
from plait.errors import UsageError

LOSSES = ("sigmoid", "hinge", "ipo", "robust")
"""The values of TRL's ``loss_type`` that an objective can be built on; each equals TRL's."""


@dataclass
class ObjectiveConfig(DPOConfig):
    """What the configurations below share.

    Args:
        scope: Whose pairs the objective sees together. ``step`` is all micro-batches of a step on all processes, exact
            whatever the split, for one forward pass more where there are several; ``micro_batch`` is each by itself,
            as the official codes do (β-DPO's over all processes, Dr. DPO's over one).

    Raises:
        UsageError: A setting of TRL's has no meaning for an objective.
    """

    scope: Literal["step", "micro_batch"] = field(
        default="step",
        metadata={"help": "Whose pairs the objective sees together: those of the whole step, or of a micro-batch."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self)
        self.preset()

    def preset(self) -> Preset:
        """The objective's settings."""
        return DPO(beta=self.beta, loss=self.pair_loss())

    def objective(self) -> Objective:
        """A fresh objective in training mode."""
        return self.preset().build(seeds=Seeds(self.seed).child("objective"))

    def pair_loss(self) -> Sigmoid | Conservative | Hinge | IPO | Robust:
        """The loss of one pair, from ``loss_type`` and ``label_smoothing``."""
        kind = self.loss_type[0]
        if kind == "sigmoid":
            return Conservative(flip_rate=self.label_smoothing) if self.label_smoothing else Sigmoid()
        if kind == "robust":
            return Robust(flip_rate=self.label_smoothing)
        return IPO(per_token=True) if kind == "ipo" else Hinge()


@dataclass
class CDPOConfig(ObjectiveConfig):
    """Conservative DPO, as TRL had it up to 0.24: the sigmoid loss that believes a label only so far.

    Args:
        label_smoothing: ε, the share of labels thought to be wrong.

    Source: Mitchell 2023, "A note on DPO with noisy preferences".
    """

    label_smoothing: float = field(default=0.1, metadata={"help": "The share of labels thought to be wrong."})


@dataclass
class BetaDPOConfig(ObjectiveConfig):
    """β-DPO. ``beta`` is β0.

    Args:
        alpha: How strongly β follows the mean gap of a step; 0 leaves only the filter.
        drop: Share of each step left out (1 - ρ of the paper).
        momentum: How slowly the running mean and spread follow.
        scale: ``raw`` is the official code; ``beta`` the paper, where α acts on β0 × gap and is weaker by β0.

    Source: Wu et al. 2024 (arXiv 2407.08639).
    """

    alpha: float = field(default=0.6, metadata={"help": "How strongly beta follows the mean gap; 0: not at all."})
    drop: float = field(default=0.2, metadata={"help": "Share of each step left out by the filter."})
    momentum: float = field(default=0.9, metadata={"help": "How slowly the running mean and spread follow."})
    scale: Literal["raw", "beta"] = field(
        default="raw", metadata={"help": "Whether alpha multiplies the gap (official code) or beta x gap (paper)."}
    )

    def preset(self) -> Preset:  # noqa: D102
        return BetaDPO(
            beta=self.beta,
            alpha=self.alpha,
            drop=self.drop,
            momentum=self.momentum,
            scale=self.scale,
            loss=self.pair_loss(),
        )


@dataclass
class DrDPOConfig(ObjectiveConfig):
    """Dr. DPO.

    Args:
        beta_prime: β': large is DPO, small listens only to the best-fitted pairs; nats.

    Source: Wu et al. 2024 (arXiv 2407.07880).
    """

    beta_prime: float = field(
        default=1.0, metadata={"help": "Large: DPO. Small: only the best-fitted pairs count. In nats."}
    )

    def preset(self) -> Preset:  # noqa: D102
        return DrDPO(beta=self.beta, beta_prime=self.beta_prime, loss=self.pair_loss())


def _check(config: ObjectiveConfig) -> None:
    kind = config.loss_type[0]
    if config.scope not in ("step", "micro_batch"):
        raise _unsupported(f"scope {config.scope!r}", "use step or micro_batch")
    if kind not in LOSSES:
        raise _unsupported(f"loss_type {kind!r} in the first place", f"choose one of {', '.join(LOSSES)}")
    if kind == "hinge" and config.label_smoothing:
        raise _unsupported("label_smoothing with the hinge loss", "use sigmoid or robust")
    if kind == "ipo" and config.label_smoothing:
        raise _unsupported("label_smoothing with the ipo loss", "use sigmoid or robust")
    if config.use_weighting:
        raise _unsupported("use_weighting", "an objective weighs pairs by itself")
    if config.f_divergence_type != "reverse_kl":
        raise _unsupported(f"f_divergence_type {config.f_divergence_type!r}", "use reverse_kl")
    if not config.disable_dropout and config.scope == "step" and config.gradient_accumulation_steps > 1:
        raise _unsupported(
            "dropout over several micro-batches, whose log-probabilities are computed twice",
            'set disable_dropout=True, or scope="micro_batch"',
        )


def _unsupported(what: str, instead: str) -> UsageError:
    return UsageError(f"an objective does not support {what}", code="align.trl-setting", hint=instead)
