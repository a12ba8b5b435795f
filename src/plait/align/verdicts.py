"""What a run's numbers mean, in plain words: each verdict with its measured value, threshold, reason and one remedy.

    found = judge(facts)
    for verdict in found:
        print(verdict.level, verdict.text())

Every check is a function of the run's curve and of held-out scores before and after; a check whose facts are absent
(no samples, no known flips) is left out, not passed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from pydantic import Field

from plait.align.evaluate import PairScores, accuracy, bootstrap, rank_correlation
from plait.core.component import Component
from plait.core.seeds import Seeds

if TYPE_CHECKING:
    from plait.align.evaluate import Numbers

Level = Literal["fine", "note", "warning", "problem"]
"""``note``: worth knowing; ``warning``: the result is worse than it could be; ``problem``: do not use it as it is."""

Curve = Sequence[Mapping[str, float]]
"""The scalars of each step, as `plait.align.PairTrainer.run` returns them."""

_FEWEST_STEPS = 8
"""Steps below which the first and the last quarter of a curve cannot be told apart."""


class Thresholds(Component):
    """Where each verdict turns."""

    displacement: float = Field(default=0.1, ge=0)
    """Nats per token that chosen texts may lose: beyond it the model writes them a tenth less likely at every token."""
    drift: float = Field(default=0.5, gt=0)
    """Mean absolute change of a held-out text's log-probability, nats per token."""
    kl: float = Field(default=0.5, gt=0)
    """KL to the reference on samples, nats per token: beyond it a sample's every token is 1.6 times likelier than under
    the reference, and quality measured by anything but the training signal tends to fall."""
    divergence: float = Field(default=0.05, gt=0)
    """Relative rise of the loss from the first to the last quarter of the run."""
    stall: float = Field(default=0.01, ge=0)
    """Relative fall of the loss below which nothing was learnt."""
    memorising: float = Field(default=0.2, gt=0, le=1)
    """Training accuracy above held-out accuracy, as a share of pairs."""
    beta_clamped: float = Field(default=0.1, gt=0, le=1)
    """Share of a dynamic rule's βs that stood at one of its bounds."""
    beta_swing: float = Field(default=4.0, gt=1)
    """Largest over smallest β in the second half of the run: the step size changes by as much."""
    effective_share: float = Field(default=0.5, gt=0, le=1)
    """Effective sample size over the pairs kept, mean of the last quarter."""
    clipped: float = Field(default=0.5, gt=0, le=1)
    """Share of steps whose gradient was scaled down to the norm allowed."""
    length_shortcut: float = Field(default=0.5, gt=0, le=1)
    """Rank correlation of a pair's gap with how much longer its chosen text is."""
    length_ratio: float = Field(default=1.25, gt=1)
    """Mean length of the policy's samples over the reference's, or the other way round."""
    flips_learnt: float = Field(default=0.5, gt=0, le=1)
    """Share of the pairs known to be flipped whose wrong order was learnt."""
    few_pairs: int = Field(default=100, ge=1)
    """Held-out pairs below which one pair moves the accuracy by more than a hundredth."""


@dataclass(frozen=True)
class Verdict:
    """One judgement.

    Args:
        name: What was looked at.
        level: How bad it is.
        measured: The number found, in ``unit``.
        threshold: Where the level changes.
        unit: Of both.
        reason: What the number means.
        try_this: One change; empty where nothing needs changing.
    """

    name: str
    level: Level
    measured: float
    threshold: float
    unit: str
    reason: str
    try_this: str = ""

    def text(self) -> str:
        """One paragraph for a person.

        Example:
            >>> Verdict("loss", "fine", -0.2, 0.01, "of itself", "The loss fell.").text()
            'loss: -0.2 of itself (threshold 0.01). The loss fell.'
        """
        remedy = f" Try: {self.try_this}." if self.try_this else ""
        return f"{self.name}: {self.measured:.3g} {self.unit} (threshold {self.threshold:.3g}). {self.reason}{remedy}"


@dataclass(frozen=True)
class RunFacts:
    """What a run is judged by.

    Args:
        curve: The scalars of each step.
        before: Held-out scores under the reference.
        after: The same after training.
        batch_size: Pairs per step.
        pooled: Whether the objective weighs the pairs of a batch against each other (Dr. DPO, β-DPO).
        dynamic_beta: Whether β follows the batch or the pair.
        max_grad_norm: Norm that gradients are scaled down to; 0 for none.
        kl_per_token: KL to the reference on samples, nats per token.
        length_ratio: Mean length of the policy's samples over the reference's.
        flips_learnt: Share of the flipped training pairs whose wrong order the policy now prefers.
    """

    curve: Curve
    before: PairScores
    after: PairScores
    batch_size: int
    pooled: bool = False
    dynamic_beta: bool = False
    max_grad_norm: float = 1.0
    kl_per_token: float | None = None
    length_ratio: float | None = None
    flips_learnt: float | None = None


def judge(facts: RunFacts, *, thresholds: Thresholds | None = None, seeds: Seeds | None = None) -> list[Verdict]:
    """All verdicts on a run, the worst first.

    Args:
        facts: The run.
        thresholds: Where verdicts turn.
        seeds: Stream of the bootstrap intervals.
    """
    limits, seeds = thresholds or Thresholds(), seeds or Seeds(0)
    found = [
        judge_margin(facts.before, facts.after, seeds=seeds),
        judge_chosen(facts.before, facts.after, limits),
        judge_drift(facts.before, facts.after, limits),
        judge_memorising(facts.curve, facts.before, facts.after, limits),
        judge_length_shortcut(facts.before, facts.after, limits),
        judge_heldout_size(facts.after, limits),
        judge_loss(facts.curve, limits),
        judge_clipping(facts.curve, limits, max_grad_norm=facts.max_grad_norm),
    ]
    if facts.pooled:
        found.append(judge_effective_pairs(facts.curve, limits, batch_size=facts.batch_size))
    if facts.dynamic_beta:
        found += [judge_beta_clamp(facts.curve, limits), judge_beta_swing(facts.curve, limits)]
    if facts.kl_per_token is not None:
        found.append(judge_kl(facts.kl_per_token, limits))
    if facts.length_ratio is not None:
        found.append(judge_length_ratio(facts.length_ratio, limits))
    if facts.flips_learnt is not None:
        found.append(judge_flips(facts.flips_learnt, limits))
    order: dict[Level, int] = {"problem": 0, "warning": 1, "note": 2, "fine": 3}
    return sorted((v for v in found if v is not None), key=lambda v: order[v.level])


# --- held-out scores ----------------------------------------------------------------------------------------------


def judge_margin(before: PairScores, after: PairScores, *, seeds: Seeds) -> Verdict:
    """Whether the margin per token grew on pairs that were not trained on."""
    gain = bootstrap(after.per_token() - before.per_token(), seeds=seeds)
    shown = f"The margin changed by {gain.text()} nats per token on held-out pairs"
    name, unit = "held-out margin", "nats per token"
    if gain.high < 0:
        return Verdict(name, "problem", gain.value, 0, unit, f"{shown}: it fell, so what was learnt is wrong for them.",
                       "look at the labels with `plait align doctor`")  # fmt: skip
    if gain.low <= 0:
        return Verdict(name, "note", gain.value, 0, unit, f"{shown}: no clear change.",
                       "twice the steps")  # fmt: skip
    return Verdict(name, "fine", gain.value, 0, unit, f"{shown}.")


def judge_chosen(before: PairScores, after: PairScores, limits: Thresholds) -> Verdict:
    """Likelihood displacement, the answer to "rewards/chosen goes negative, is it broken?".

    Source: Razin et al. 2024, "Unintentional Unalignment" (arXiv 2410.08847).
    """
    chosen = float(((after.chosen - before.chosen) / after.chosen_length).mean())
    rejected = float(((after.rejected - before.rejected) / after.rejected_length).mean())
    both = f"The chosen texts changed by {chosen:+.3f} nats per token, the rejected by {rejected:+.3f}"
    name, unit, threshold = "likelihood displacement", "nats per token", -limits.displacement
    if chosen < threshold:
        return Verdict(name, "warning", chosen, threshold, unit,
                       f"{both}: the model learnt which of two is better by writing both less.",
                       "twice the β")  # fmt: skip
    if chosen < 0:
        return Verdict(name, "note", chosen, threshold, unit,
                       f"{both}. A chosen reward below 0 is not broken: the loss asks for the difference alone, "
                       "and this little is usual.")  # fmt: skip
    return Verdict(name, "fine", chosen, threshold, unit, f"{both}.")


def judge_drift(before: PairScores, after: PairScores, limits: Thresholds) -> Verdict:
    """How far held-out texts moved from their reference log-probabilities, in whatever direction."""
    import numpy as np

    moved = [
        np.abs(after.chosen - before.chosen) / after.chosen_length,
        np.abs(after.rejected - before.rejected) / after.rejected_length,
    ]
    drift = float(np.mean(moved))
    name, unit = "distance from the reference", "nats per token"
    if drift > limits.drift:
        return Verdict(name, "warning", drift, limits.drift, unit,
                       "Held-out texts became so much more or less likely that this is hardly the reference any more.",
                       "half the learning rate")  # fmt: skip
    return Verdict(name, "fine", drift, limits.drift, unit, "The model is still near its reference.")


def judge_memorising(curve: Curve, before: PairScores, after: PairScores, limits: Thresholds) -> Verdict | None:
    """Whether the last training pairs are ordered far better than held-out ones."""
    trained = [entry["accuracy"] for entry in curve[-_FEWEST_STEPS:] if "accuracy" in entry]
    if not trained:
        return None
    seen, unseen = sum(trained) / len(trained), _share(after.implicit(before))
    shown = f"The implicit reward is right in {seen:.0%} of the last training pairs and in {unseen:.0%} held out"
    name, unit = "learnt by heart", "of accuracy"
    if seen - unseen > limits.memorising:
        return Verdict(name, "warning", seen - unseen, limits.memorising, unit, f"{shown}.",
                       "half the epochs")  # fmt: skip
    return Verdict(name, "fine", seen - unseen, limits.memorising, unit, f"{shown}.")


def judge_length_shortcut(before: PairScores, after: PairScores, limits: Thresholds) -> Verdict:
    """Whether the order of the gaps is that of the lengths: then length was learnt, not preference."""
    correlation = rank_correlation(after.implicit(before), after.chosen_length - after.rejected_length)
    name, unit = "length shortcut", "rank correlation"
    if abs(correlation) > limits.length_shortcut:
        which = "longer" if correlation > 0 else "shorter"
        return Verdict(name, "warning", correlation, limits.length_shortcut, unit,
                       f"The more a chosen text is the {which} one, the larger its gap: length explains it.",
                       "curating the pairs with `pair_length_bias_filter`")  # fmt: skip
    return Verdict(name, "fine", correlation, limits.length_shortcut, unit, "Gaps do not follow the lengths.")


def judge_heldout_size(after: PairScores, limits: Thresholds) -> Verdict:
    """Whether there are enough held-out pairs to tell methods apart."""
    count = len(after.chosen)
    interval = accuracy(after.per_token())
    if count < limits.few_pairs:
        return Verdict("held-out pairs", "note", count, limits.few_pairs, "pairs",
                       f"One pair is {1 / count:.2f} of accuracy; its 95 % interval after training is "
                       f"{interval.low:.2f} to {interval.high:.2f}.",
                       "measure more held-out pairs")  # fmt: skip
    return Verdict("held-out pairs", "fine", count, limits.few_pairs, "pairs", "Enough to see hundredths.")


# --- the curve ----------------------------------------------------------------------------------------------------


def judge_loss(curve: Curve, limits: Thresholds) -> Verdict | None:
    """Whether the loss fell, stood or rose, from the first to the last quarter."""
    losses = [entry["loss"] for entry in curve]
    if len(losses) < _FEWEST_STEPS:
        return None
    quarter = len(losses) // 4
    first, last = _mean(losses[:quarter]), _mean(losses[-quarter:])
    change = (last - first) / max(abs(first), 1e-9)
    shown = f"The loss went from {first:.3f} to {last:.3f}"
    if change > limits.divergence:
        return Verdict("training loss", "problem", change, limits.divergence, "of itself", f"{shown}: it rises.",
                       "a third of the learning rate")  # fmt: skip
    if change > -limits.stall:
        return Verdict("training loss", "note", change, -limits.stall, "of itself", f"{shown}: little was learnt.",
                       "three times the learning rate")  # fmt: skip
    return Verdict("training loss", "fine", change, -limits.stall, "of itself", f"{shown}.")


def judge_clipping(curve: Curve, limits: Thresholds, *, max_grad_norm: float) -> Verdict | None:
    """How often the gradient was scaled down: then the learning rate is not what sets the step."""
    norms = [entry["grad_norm"] for entry in curve if "grad_norm" in entry]
    if not norms or max_grad_norm <= 0:
        return None
    share = _mean([float(norm > max_grad_norm) for norm in norms])
    name, unit = "clipped gradients", "of the steps"
    if share > limits.clipped:
        return Verdict(name, "note", share, limits.clipped, unit,
                       f"In most steps the gradient was above {max_grad_norm:g} and was scaled down, so that batches "
                       "with much to learn count no more than others.",
                       "max_grad_norm: 10, as the original DPO code has it")  # fmt: skip
    return Verdict(name, "fine", share, limits.clipped, unit, "Few gradients were scaled down.")


def judge_effective_pairs(curve: Curve, limits: Thresholds, *, batch_size: int) -> Verdict | None:
    """Whether a weighing objective still listens to most of its batch.

    Effective pairs are 1 / Σ w² (Kish), the number of equally weighted pairs that would tell as much.
    """
    if batch_size == 1:
        return Verdict("effective sample size", "warning", 1, 1, "pairs per batch",
                       "A batch of one pair has nothing to weigh: the objective is plain DPO.",
                       "batch_size: 8, with micro_batch_size: 1 for the same memory")  # fmt: skip
    tail = [e for e in curve[-max(1, len(curve) // 4) :] if "effective_pairs" in e]
    if not tail:
        return None
    share = _mean([e["effective_pairs"] / max(1.0, e.get("kept", 1.0) * batch_size) for e in tail])
    name, unit = "effective sample size", "of the pairs kept"
    if share < limits.effective_share:
        return Verdict(name, "warning", share, limits.effective_share, unit,
                       "A few well-fitted pairs carry most of the weight; the rest of a batch is hardly learnt from.",
                       "twice the beta_prime")  # fmt: skip
    return Verdict(name, "fine", share, limits.effective_share, unit, "Most pairs of a batch count.")


def judge_beta_clamp(curve: Curve, limits: Thresholds) -> Verdict | None:
    """How often a dynamic β stood at a bound instead of where its rule would put it."""
    hits = [entry["beta_clamped"] for entry in curve if "beta_clamped" in entry]
    if not hits:
        return None
    share = _mean(hits)
    if share > limits.beta_clamped:
        return Verdict("β at a bound", "warning", share, limits.beta_clamped, "of the βs",
                       "The rule asked for less than its floor or more than its ceiling; at the floor a loss asks for "
                       "next to nothing, and those pairs were lost.", "scale: beta, the paper's reading")  # fmt: skip
    return Verdict("β at a bound", "fine", share, limits.beta_clamped, "of the βs", "β was free to move.")


def judge_beta_swing(curve: Curve, limits: Thresholds) -> Verdict | None:
    """How much a dynamic β, and with it the step size, changes from step to step."""
    betas = [entry["beta"] for entry in curve[len(curve) // 2 :]]
    if len(betas) < 2 or min(betas) <= 0:
        return None
    swing = max(betas) / min(betas)
    if swing > limits.beta_swing:
        return Verdict("β swings", "warning", swing, limits.beta_swing, "largest over smallest",
                       "β scales the gradient too, so some steps are that much longer than others.",
                       "half the alpha")  # fmt: skip
    return Verdict("β swings", "fine", swing, limits.beta_swing, "largest over smallest", "β is steady.")


# --- samples and known flips --------------------------------------------------------------------------------------


def judge_kl(kl_per_token: float, limits: Thresholds) -> Verdict:
    """KL blow-up: how far the policy's own samples are from its reference.

    Source: Gao et al. 2022, "Scaling Laws for Reward Model Overoptimization" (arXiv 2210.10760): the reward that was
    not optimised rises and then falls as the KL grows.
    """
    if kl_per_token > limits.kl:
        return Verdict("KL to the reference", "warning", kl_per_token, limits.kl, "nats per token",
                       "What the policy writes is far from what its reference would: compare methods at equal KL.",
                       "twice the β")  # fmt: skip
    return Verdict("KL to the reference", "fine", kl_per_token, limits.kl, "nats per token", "Samples stay near.")


def judge_length_ratio(ratio: float, limits: Thresholds) -> Verdict:
    """Whether the policy writes longer or shorter than its reference."""
    if ratio > limits.length_ratio or ratio < 1 / limits.length_ratio:
        which = "longer" if ratio > 1 else "shorter"
        return Verdict("length drift", "warning", ratio, limits.length_ratio, "times the reference's length",
                       f"Samples became {which}; a judge that likes length would mistake it for quality.",
                       "curating the pairs with `pair_length_bias_filter`")  # fmt: skip
    return Verdict("length drift", "fine", ratio, limits.length_ratio, "times the reference's length",
                   "Samples are as long as before.")  # fmt: skip


def judge_flips(learnt: float, limits: Thresholds) -> Verdict:
    """Whether pairs known to be flipped were learnt the wrong way round."""
    shown = f"Of the training pairs known to be flipped, {learnt:.0%} are now preferred the wrong way round"
    if learnt > limits.flips_learnt:
        return Verdict("flipped labels learnt", "warning", learnt, limits.flips_learnt, "of the flipped pairs",
                       f"{shown}.", "half the epochs: right labels are learnt before wrong ones")  # fmt: skip
    return Verdict("flipped labels learnt", "fine", learnt, limits.flips_learnt, "of the flipped pairs", f"{shown}.")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _share(gaps: Numbers) -> float:
    import numpy as np

    return float(cast("Numbers", (np.sign(gaps) + 1) / 2).mean())
