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
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from plait.align.losses import BaseLoss, PairBatch
from plait.align.weighting import BetaRule, FixedBeta, GapStatistics, KeepAll, Mean, Reduction, Selection
from plait.core.seeds import Seeds
from plait.errors import UsageError

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
        scalars: Numbers worth a curve: ``loss``, ``gap``, ``beta``, ``kept``, ``effective_pairs``,
            ``accuracy``.
    """

    loss: Tensor
    table: Mapping[str, Tensor]
    scalars: Mapping[str, float]


class Objective:
    """A composed preference objective.

    Args:
        base: The loss of one pair.
        beta: How β follows the batch.
        select: Which pairs are learnt from.
        reduce: How losses become one number.
        statistics: Where the running mean and spread start from; a fresh one if absent.
        seeds: Root of the selection's random stream.

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
    ) -> None:
        self.base = base
        self.beta = beta or FixedBeta()
        self.select = select or KeepAll()
        self.reduce = reduce or Mean()
        self.statistics = statistics or GapStatistics()
        self.seeds = seeds or Seeds(0)
        self.training = True
        self.steps = 0

    @property
    def needs_reference(self) -> bool:
        """Whether reference log-probabilities matter to the result."""
        return self.base.needs_reference

    @property
    def separable(self) -> bool:
        """Whether the loss of a batch is the sum of the losses of its pairs, each known by itself."""
        return self.reduce.separable and isinstance(self.beta, FixedBeta) and isinstance(self.select, KeepAll)

    def train(self, mode: bool = True) -> Objective:
        """Training: statistics move, β follows them, pairs may be left out."""
        self.training = mode
        return self

    def eval(self) -> Objective:
        """Evaluation: no state changes, all pairs count, β = β0."""
        return self.train(False)

    def __call__(self, batch: PairBatch) -> ObjectiveResult:
        """The loss of a whole batch; in training mode this is one step of the objective's state.

        Raises:
            UsageError: The batch is empty, or a weight is not positive.
        """
        import torch

        _check(batch)
        gap = self.base.gap(batch)
        seen = gap.detach()
        with torch.no_grad():
            kept, beta = self._weigh(seen)
            prior = torch.ones_like(seen) if batch.weight is None else batch.weight.to(seen)
        losses = self.base.loss(gap, beta, batch)
        loss, share = self.reduce.reduce(losses[kept], prior[kept])
        weight = torch.zeros_like(seen)
        weight[kept] = share
        table = {"loss": losses.detach(), "gap": seen, "kept": kept.to(seen), "weight": weight}
        if self.needs_reference:
            table["chosen_reward"] = self.beta.value * (batch.policy_chosen - batch.reference_chosen).detach()
            table["rejected_reward"] = self.beta.value * (batch.policy_rejected - batch.reference_rejected).detach()
        scalars = {
            "loss": float(loss.detach()),
            "gap": float(seen.mean()),
            "beta": float(beta.mean()),
            "kept": float(kept.to(seen).mean()),
            "effective_pairs": float(1 / (weight**2).sum()),
            "accuracy": float((seen > 0).to(seen).mean()),
        }
        return ObjectiveResult(loss=loss, table=table, scalars=scalars)

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
            "statistics": [self.statistics.momentum, self.statistics.corrected],
            "seeds": [self.seeds.seed, *self.seeds.path],
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything a checkpoint needs to continue with the same numbers; plain JSON."""
        return {"steps": self.steps, "statistics": self.statistics.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.steps = int(state["steps"])
        self.statistics.load_state_dict(state["statistics"])

    def _weigh(self, gaps: Tensor) -> tuple[Tensor, Tensor]:
        """Which pairs are kept, and β."""
        if not self.training:
            kept = KeepAll().keep(gaps, self.statistics, seeds=self.seeds)
            return kept, gaps.new_tensor(self.beta.value)
        if self.beta.needs_statistics or self.select.needs_statistics:
            self.statistics.update(gaps)
        kept = self.select.keep(gaps, self.statistics, seeds=self.seeds.child("select", self.steps))
        self.steps += 1
        return kept, self.beta.beta(gaps, kept, self.statistics)


def _check(batch: PairBatch) -> None:
    if len(batch) == 0:
        raise UsageError("a batch of no pairs has no loss", code="align.empty-batch")
    if batch.weight is not None and not bool((batch.weight > 0).all()):
        raise UsageError(
            f"the weights of a batch go down to {float(batch.weight.min()):g}; each must be positive",
            code="align.weight-not-positive",
            hint="leave pairs that should not count out of the data",
        )
