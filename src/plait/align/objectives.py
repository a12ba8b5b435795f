"""A preference objective: base loss × β rule × selection × reduction, with its state.

    objective = Objective(Sigmoid(), beta=FixedBeta(value=0.1), reduce=LogMeanExp(beta_prime=1.0))
    result = objective(batch)          # batch: PairBatch of [batch] tensors
    result.loss.backward()

The order of work is fixed: gaps → statistics → selection → β → base loss → reduction. Published methods by
name are in `plait.align.presets`. An objective sees a whole batch, however its log-probabilities were
computed: whoever splits the forward pass calls it once and spreads `Objective.coefficients` over the
parts, so that no statistic depends on the split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from plait.align.beta_rules import BetaRule, FixedBeta
from plait.align.losses import BaseLoss, PairBatch
from plait.align.reduction import Context, Mean, Reduction
from plait.align.selection import KeepAll, Selection
from plait.align.statistics import GapStatistics, LogNormaliser
from plait.core.seeds import Seeds
from plait.errors import ModelError, RunError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Objective", "ObjectiveResult", "PairBatch"]


@dataclass(frozen=True)
class ObjectiveResult:
    """What one batch gave.

    Args:
        loss: The number to minimise, ``[]``, with gradient.
        table: Per-pair facts, each ``[batch]`` and detached: ``loss``, ``gap``, ``kept`` (0 or 1),
            ``weight`` (the pair's share in the gradient of the reduction; sums to 1) and
            ``chosen_reward``, ``rejected_reward`` (implicit rewards β0 log π/π_ref; absent for a
            reference-free loss).
        scalars: Numbers worth a curve: ``loss``, ``gap``, ``gap_kept`` (mean over the pairs kept), ``beta``,
            ``beta_clamped`` (share of βs at a bound of their rule), ``kept``, ``effective_pairs``, ``accuracy``.
        groups: By entry of `PairBatch.group`, its ``pairs``, ``gap``, ``accuracy`` and ``weight`` (its pairs' share in
            the gradient); empty where a batch has no groups.
    """

    loss: Tensor
    table: Mapping[str, Tensor]
    scalars: Mapping[str, float]
    groups: Mapping[int, Mapping[str, float]] = field(default_factory=dict[int, Mapping[str, float]])


class Objective:
    """A composed preference objective.

    Args:
        base: The loss of one pair.
        beta: How β follows the batch.
        select: Which pairs are learnt from.
        reduce: How losses become one number.
        statistics: Where the running mean and spread start from; a fresh one if absent.
        seeds: Root of the selection's random stream.
        statistics_from: Whether β and selection see the running statistics with this batch in them (``after``, as
            published) or of the batches before it (``before``).
        official: Be called on each micro-batch by itself, and in evaluation do all that training does, as the official
            β-DPO code does: statistics move once per micro-batch, evaluation moves them too and leaves out pairs.

    Example:
        >>> import torch
        >>> from plait.align.losses import Sigmoid
        >>> one, two = torch.zeros(1), torch.full((1,), 2.0)
        >>> batch = PairBatch(two, one, one, one, two, two)
        >>> round(float(Objective(Sigmoid(), beta=FixedBeta(value=0.5))(batch).loss), 6)  # -log σ(0.5 · 2)
        0.313262
    """

    def __init__(
        self,
        base: BaseLoss,
        *,
        beta: BetaRule | None = None,
        select: Selection | None = None,
        reduce: Reduction | None = None,
        statistics: GapStatistics | None = None,
        seeds: Seeds | None = None,
        statistics_from: Literal["after", "before"] = "after",
        official: bool = False,
    ) -> None:
        self.base = base
        self.beta = beta or FixedBeta()
        self.select = select or KeepAll()
        self.reduce = reduce or Mean()
        self.statistics = statistics or GapStatistics()
        self.seeds = seeds or Seeds(0)
        self.statistics_from = statistics_from
        self.official = official
        self.normaliser = LogNormaliser()
        self.training = True
        self.steps = 0

    @property
    def needs_reference(self) -> bool:
        """Whether reference log-probabilities matter to the result."""
        return self.base.needs_reference

    @property
    def separable(self) -> bool:
        """Whether the loss of a batch is the sum of the losses of its pairs, each known by itself."""
        alone = self.base.separable and self.reduce.separable
        return alone and isinstance(self.beta, FixedBeta) and isinstance(self.select, KeepAll)

    @property
    def scope(self) -> Literal["step", "micro_batch"]:
        """What one call is meant to see: an optimiser step's whole batch, or one micro-batch of it."""
        return "micro_batch" if self.official or self.reduce.by_micro_batch else "step"

    @property
    def keeps_statistics(self) -> bool:
        """Whether a call changes what the next one gives, so that all processes must see the same batches."""
        return any(part.needs_statistics for part in (self.beta, self.select, self.reduce))

    def train(self, mode: bool = True) -> Objective:
        """Training: statistics move, β follows them, pairs may be left out."""
        self.training = mode
        return self

    def eval(self) -> Objective:
        """Evaluation: no state changes, all pairs count, β = β0 (unless ``official``)."""
        return self.train(False)

    def __call__(self, batch: PairBatch) -> ObjectiveResult:
        """The loss of a whole batch; in training mode this is one step of the objective's state.

        Raises:
            UsageError: The batch is empty, or a weight is not positive.
            ModelError: A log-probability is not finite; the state is as it was.
        """
        import torch

        _check(batch)
        gap = self.base.gap(batch)
        seen = gap.detach()
        moves = self.training or self.official
        with torch.no_grad():
            kept, beta = self._weigh(seen, moves=moves)
            prior = torch.ones_like(seen) if batch.weight is None else batch.weight.to(seen)
        losses = self.base.loss(gap, beta, batch)
        group = None if batch.group is None else batch.group[kept]
        loss, share = self.reduce.reduce(losses[kept], prior[kept], Context(group, self.normaliser, moves))
        weight = torch.zeros_like(seen)
        weight[kept] = share
        table = {"loss": losses.detach(), "gap": seen, "kept": kept.to(seen), "weight": weight}
        if self.needs_reference:
            table["chosen_reward"] = self.beta.value * (batch.policy_chosen - batch.reference_chosen).detach()
            table["rejected_reward"] = self.beta.value * (batch.policy_rejected - batch.reference_rejected).detach()
        scalars = {
            "loss": float(loss.detach()),
            "gap": float(seen.mean()),
            "gap_kept": float(seen[kept].mean()),
            "beta": float(beta.mean()),
            "beta_clamped": self.beta.clamped(beta) if moves else 0.0,
            "kept": float(kept.to(seen).mean()),
            "effective_pairs": float(1 / (weight**2).sum()),
            "accuracy": float((seen > 0).to(seen).mean()),
        }
        groups = {} if batch.group is None else _by_group(batch.group, seen, weight)
        return ObjectiveResult(loss=loss, table=table, scalars=scalars, groups=groups)

    def coefficients(self, batch: PairBatch) -> tuple[ObjectiveResult, Tensor, Tensor]:
        """The loss, and its derivatives by each policy log-probability.

        With them a batch too large for one forward pass is trained exactly: compute all log-probabilities
        without gradient, call this once, then run each part again and back-propagate ``Σ coefficient ·
        log-probability``.

        Returns:
            The result (loss detached), and ``∂loss/∂policy_chosen`` and ``∂loss/∂policy_rejected``, each
            ``[batch]``.
        """
        import torch

        chosen = batch.policy_chosen.detach().requires_grad_()
        rejected = batch.policy_rejected.detach().requires_grad_()
        with torch.enable_grad():
            result = self(replace(batch, policy_chosen=chosen, policy_rejected=rejected))
            by_chosen, by_rejected = torch.autograd.grad(result.loss, (chosen, rejected))
        return replace(result, loss=result.loss.detach()), by_chosen, by_rejected

    def settings(self) -> dict[str, Any]:
        """What it is made of, as plain JSON: equal for objectives that give equal numbers from equal state."""
        parts = {"base": self.base, "beta": self.beta, "select": self.select, "reduce": self.reduce}
        named = {name: [type(part).__name__, part.model_dump(mode="json")] for name, part in parts.items()}
        return named | {
            "statistics": [self.statistics.momentum, self.statistics.corrected, self.statistics_from],
            "official": self.official,
            "seeds": [self.seeds.seed, *self.seeds.path],
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything a checkpoint needs to continue with the same numbers; plain JSON."""
        return {
            "settings": self.settings(),
            "steps": self.steps,
            "statistics": self.statistics.state_dict(),
            "normaliser": self.normaliser.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`.

        Raises:
            RunError: The state is that of another objective.
        """
        mine, other = self.settings(), dict(state["settings"])
        differs = [name for name in mine if mine[name] != other.get(name)]
        if differs:
            name = differs[0]
            raise RunError(
                f"the state belongs to another objective: its {name} is {other.get(name)}, here it is {mine[name]}",
                code="align.other-objective",
                hint="start over, or continue with the settings it was made with",
            )
        self.steps = int(state["steps"])
        self.statistics.load_state_dict(state["statistics"])
        self.normaliser.load_state_dict(state["normaliser"])

    def _weigh(self, gaps: Tensor, *, moves: bool) -> tuple[Tensor, Tensor]:
        """Which pairs are kept, and β."""
        if not moves:
            kept = KeepAll().keep(gaps, self.statistics, seeds=self.seeds)
            return kept, gaps.new_tensor(self.beta.value)
        needed = self.beta.needs_statistics or self.select.needs_statistics
        # Before the first batch there are no statistics, so that one always sees its own.
        first = self.statistics_from == "after" or not self.statistics.mean_updates
        if needed and first:
            self.statistics.update(gaps)
        kept = self.select.keep(gaps, self.statistics, seeds=self.seeds.child("select", self.steps))
        beta = self.beta.beta(gaps, kept, self.statistics, step=self.steps)
        if needed and not first:
            self.statistics.update(gaps)
        self.steps += 1
        return kept, beta


def _by_group(group: Tensor, gaps: Tensor, weight: Tensor) -> dict[int, Mapping[str, float]]:
    found: dict[int, Mapping[str, float]] = {}
    for name in group.unique().tolist():
        mine = group == name
        found[int(name)] = {
            "pairs": float(mine.sum()),
            "gap": float(gaps[mine].mean()),
            "accuracy": float((gaps[mine] > 0).to(gaps).mean()),
            "weight": float(weight[mine].sum()),
        }
    return found


def _check(batch: PairBatch) -> None:
    if len(batch) == 0:
        raise UsageError("a batch of no pairs has no loss", code="align.empty-batch")
    sides = (batch.policy_chosen, batch.policy_rejected, batch.reference_chosen, batch.reference_rejected)
    finite = sides[0].isfinite() & sides[1].isfinite() & sides[2].isfinite() & sides[3].isfinite()
    if not bool(finite.all()):
        places = (~finite).nonzero().flatten().tolist()
        raise ModelError(
            f"the log-probabilities of {len(places)} of {len(batch)} pairs are not finite",
            code="align.logprobs-not-finite",
            where=f"positions {', '.join(map(str, places[:8]))}{' and more' if len(places) > 8 else ''} of the batch",
            hint="look at these pairs, or lower the learning rate",
        )
    if batch.weight is not None and not bool((batch.weight > 0).all()):
        raise UsageError(
            f"the weights of a batch go down to {float(batch.weight.min()):g}; each must be positive",
            code="align.weight-not-positive",
            hint="leave pairs that should not count out of the data",
        )
