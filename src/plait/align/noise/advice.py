"""From an estimate to settings: which objective, with which β' or ε, and how much to leave out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from plait.align.noise.estimate import FlipRate

if TYPE_CHECKING:
    import numpy as np

_CLEAN = 0.05  # below it, robust methods cost more than they save
_MANY = 0.3  # from it on, cdpo learns too little
_NARROW = 0.1  # width of an interval that rdpo can live with


@dataclass(frozen=True)
class Advice:
    """Settings to train with.

    Args:
        objective: For ``objective:`` of a recipe or `plait.align.presets`.
        alternatives: Others worth a run, with their reason.
        filter_share: Share of the pairs worth leaving out or flipping.
        filter_precision: Expected share of truly wrong labels among them.
        reasons: Why, in words.
    """

    objective: dict[str, Any]
    alternatives: list[tuple[dict[str, Any], str]]
    filter_share: float
    filter_precision: float
    reasons: list[str]


def advise(rate: FlipRate, wrong: np.ndarray, from_repeats: float | None) -> Advice:
    """Settings for an estimated flip rate.

    Thresholds come from the known-reward experiment of this package (`plait align bench-noise`): Dr. DPO pays a
    little on clean labels, gains at 20 to 40 %, and needs no rate; rdpo needs the true rate; cdpo stops learning when
    a third of the labels is wrong.

    Args:
        rate: From `estimate_flip_rate`.
        wrong: The probability of each label to be wrong, ``[pairs]``.
        from_repeats: ε as repeated pairs say, if there are any.
    """
    value = rate.value if from_repeats is None else (rate.value + from_repeats) / 2
    epsilon = round(min(0.45, value), 2)
    narrow = rate.agree and rate.mixture.high - rate.mixture.low <= _NARROW
    suspicious = wrong >= 0.5
    share = float(suspicious.mean())
    precision = float(wrong[suspicious].mean()) if share else 0.0
    low, high = sorted((rate.mixture.value, min(rate.confident.value, max(rate.bound, rate.mixture.value))))
    seen = f"about {value:.0%}" if rate.agree else f"somewhere between {low:.0%} and {high:.0%}"
    rdpo: dict[str, Any] = {"name": "dpo", "loss": {"name": "rdpo", "flip_rate": epsilon}}
    cdpo: dict[str, Any] = {"name": "dpo", "loss": {"name": "cdpo", "flip_rate": epsilon}}
    others: list[tuple[dict[str, Any], str]] = []
    reasons: list[str] = []
    if value < _CLEAN:
        objective: dict[str, Any] = {"name": "dpo"}
        reasons.append(f"{seen} of the labels look wrong: too few for a robust method to pay")
        others.append(({"name": "dr_dpo", "beta_prime": 1.0}, "if you expect more noise than the scorer can see"))
    else:
        objective = {"name": "dr_dpo", "beta_prime": 1.0}
        reasons.append(f"{seen} of the labels look wrong; Dr. DPO needs no exact rate (β' = 1 did better than 0.3)")
        if narrow:
            others.append((rdpo, "the estimates agree and are narrow, and rdpo is unbiased for a known rate"))
        else:
            reasons.append("rdpo is not advised: it needs the true rate, and the estimates are wide or differ")
        if value < _MANY:
            others.append((cdpo, "the mildest remedy, and it forgives a wrong rate"))
    if share:
        reasons.append(
            f"leaving out or flipping the {share:.1%} most suspicious pairs: about {precision:.0%} of them are wrong"
        )
    if not rate.agree:
        reasons.append("the flip rate is uncertain; see the remarks before acting on single pairs")
    return Advice(objective, others, share, precision, reasons)
