"""TRL's `DPOConfig` with the settings of an objective.

``loss_type`` names the loss of one pair, of those in `LOSSES`; more types after the first (TRL's own, such as ``sft``)
are added to it as TRL does. ``label_smoothing`` with ``sigmoid`` is conservative DPO again, which TRL itself ignores
in silence since 0.29.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from trl.trainer.dpo_config import DPOConfig

from plait.align.losses import IPO, Conservative, ExoPair, Hinge, Robust, Sigmoid
from plait.align.objectives import Objective
from plait.align.presets import DPO, BetaDPO, Compat, DrDPO, Loss, Preset, Scope
from plait.align.side_losses import BCO, NCA, SPPO, APODown, APOZero
from plait.core.seeds import Seeds
from plait.errors import UsageError

_PLAIN: dict[str, Loss] = {
    "sigmoid": Sigmoid(),
    "hinge": Hinge(),
    "ipo": IPO(per_token=True),
    "nca_pair": NCA(),
    "bco_pair": BCO(),
    "sppo_hard": SPPO(),
    "apo_zero": APOZero(),
    "apo_down": APODown(),
}
_SMOOTHED = {"sigmoid": Conservative, "robust": Robust, "exo_pair": ExoPair}

LOSSES = tuple(sorted({*_PLAIN, *_SMOOTHED}))
"""The values of TRL's ``loss_type`` that an objective can be built on; each equals TRL's."""


@dataclass
class ObjectiveConfig(DPOConfig):
    """What the configurations below share.

    An objective sees the pairs of a whole step together, those of all micro-batches and processes, exact whatever the
    split, for one forward pass more where a step has several micro-batches.

    Raises:
        UsageError: A setting of TRL's has no meaning for an objective.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self)

    def preset(self) -> Preset:
        """The objective's settings."""
        return DPO(beta=self.beta, loss=self.pair_loss())

    def objective(self) -> Objective:
        """A fresh objective in training mode."""
        return self.preset().build(seeds=Seeds(self.seed).child("objective"))

    def pair_loss(self) -> Loss:
        """The loss of one pair, from ``loss_type`` and ``label_smoothing``."""
        kind = self.loss_type[0]
        if kind in _SMOOTHED and (self.label_smoothing or kind not in _PLAIN):
            return _SMOOTHED[kind](flip_rate=self.label_smoothing)
        return _PLAIN[kind]


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
        statistics: Whether the running statistics hold this step already (``after``, as published) or not.
        compat: ``official`` does all that the authors' code does; see `plait.align.presets.BetaDPO`.

    Source: Wu et al. 2024 (arXiv 2407.08639).
    """

    alpha: float = field(default=0.6, metadata={"help": "How strongly beta follows the mean gap; 0: not at all."})
    drop: float = field(default=0.2, metadata={"help": "Share of each step left out by the filter."})
    momentum: float = field(default=0.9, metadata={"help": "How slowly the running mean and spread follow."})
    scale: Literal["raw", "beta"] = field(
        default="raw", metadata={"help": "Whether alpha multiplies the gap (official code) or beta x gap (paper)."}
    )
    statistics: Literal["after", "before"] = field(
        default="after", metadata={"help": "Whether the running statistics hold the step they are used in."}
    )
    compat: Compat = field(default="plait", metadata={"help": "official: all that the authors' code does."})

    def preset(self) -> Preset:  # noqa: D102
        return BetaDPO(
            beta=self.beta,
            alpha=self.alpha,
            drop=self.drop,
            momentum=self.momentum,
            scale=self.scale,
            statistics=self.statistics,
            compat=self.compat,
            loss=self.pair_loss(),
        )


@dataclass
class DrDPOConfig(ObjectiveConfig):
    """Dr. DPO.

    Args:
        beta_prime: β': large is DPO, small listens only to the best-fitted pairs; nats.
        scope: ``step`` is exact however a step is split; ``micro_batch`` as published, each process by itself;
            ``running`` needs no second forward pass where a step has several micro-batches.
        compat: ``official`` does all that the authors' code does; see `plait.align.presets.DrDPO`.

    Source: Wu et al. 2024 (arXiv 2407.07880).
    """

    beta_prime: float = field(
        default=1.0, metadata={"help": "Large: DPO. Small: only the best-fitted pairs count. In nats."}
    )

    scope: Scope = field(default="step", metadata={"help": "Whose pairs share a normaliser."})
    compat: Compat = field(default="plait", metadata={"help": "official: all that the authors' code does."})

    def preset(self) -> Preset:  # noqa: D102
        return DrDPO(
            beta=self.beta, beta_prime=self.beta_prime, scope=self.scope, compat=self.compat, loss=self.pair_loss()
        )


def _check(config: ObjectiveConfig) -> None:
    kind = config.loss_type[0]
    if kind not in LOSSES:
        raise _unsupported(f"loss_type {kind!r} in the first place", f"choose one of {', '.join(LOSSES)}")
    if config.label_smoothing and kind not in _SMOOTHED:
        raise _unsupported(f"label_smoothing with the {kind} loss", f"use {', '.join(_SMOOTHED)}")
    if config.use_weighting:
        raise _unsupported("use_weighting", "an objective weighs pairs by itself")
    if config.f_divergence_type != "reverse_kl":
        raise _unsupported(f"f_divergence_type {config.f_divergence_type!r}", "use reverse_kl")
    objective = config.objective()
    twice = objective.scope == "step" and not objective.separable and config.gradient_accumulation_steps > 1
    if twice and not config.disable_dropout:
        raise _unsupported(
            "dropout over several micro-batches, whose log-probabilities are computed twice",
            "set disable_dropout=True",
        )


def _unsupported(what: str, instead: str) -> UsageError:
    return UsageError(f"an objective does not support {what}", code="align.trl-setting", hint=instead)
