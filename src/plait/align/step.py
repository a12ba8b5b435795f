"""One optimiser step of an objective, over a batch in parts: the micro-batches of this process and of all ranks.

The model is run part by part; the objective must see the batch as a whole. `Step` brings the two together: it takes
the log-probabilities of each part and gives the derivatives of the step's loss by them, so that their weighted sum,
back-propagated, adds up to the exact gradient. Three cases: a plain mean needs no part but its own; one part per rank
is gathered as it comes; otherwise all parts are computed once beforehand, without gradients.

Source: Gao et al. 2021, gradient caching (arXiv 2101.06983), here for the log-probabilities of pairs.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from plait.align import ranks
from plait.align.losses import PairBatch
from plait.align.objectives import Objective, ObjectiveResult
from plait.align.pairs import TokenPair
from plait.align.reference import PairLogprobs
from plait.errors import ModelError, UsageError

_ADD_UP = ("effective_pairs",)  # numbers of pairs; all other scalars are means
_NAMED = 8  # pairs that an error lists


@dataclass(frozen=True)
class PairTable:
    """What an objective knows of each pair beside the policy's log-probabilities.

    Args:
        ids: ``[pairs]``.
        reference: Log-probabilities under the reference model, ``[pairs, 2]``, chosen first, in nats.
        lengths: Completion tokens, ``[pairs, 2]``.
        weight: How much each pair counts, ``[pairs]``; ``None`` where all count alike.
        flip_prior: Probability that each label is wrong, ``[pairs]``.
        group: The number of each pair's group, ``[pairs]``; those without one are a group too. ``None`` without any.
    """

    ids: Sequence[str]
    reference: Tensor
    lengths: Tensor
    weight: Tensor | None
    flip_prior: Tensor | None
    group: Tensor | None = None

    @classmethod
    def of(cls, pairs: Sequence[TokenPair], reference: Sequence[PairLogprobs] | None) -> PairTable:
        """From pairs and their reference log-probabilities, in the same order; zeros without any.

        Raises:
            UsageError: They do not fit together, or only some pairs have a ``flip_prior``.
            ModelError: A reference log-probability is not finite.
        """
        if reference is not None and len(reference) != len(pairs):
            raise UsageError(
                f"{len(reference)} reference log-probabilities for {len(pairs)} pairs", code="align.no-reference"
            )
        priors = [pair.flip_prior for pair in pairs if pair.flip_prior is not None]
        if priors and len(priors) != len(pairs):
            raise UsageError(
                f"{len(priors)} of {len(pairs)} pairs have a flip_prior",
                code="align.flip-prior",
                hint="give it for all pairs, 0 where the label is sure, or for none",
            )
        values = torch.tensor(reference or [(0.0, 0.0)] * len(pairs)).reshape(-1, 2)
        bad = [pair.id for pair, finite in zip(pairs, values.isfinite().all(1).tolist(), strict=True) if not finite]
        if bad:
            raise ModelError(
                f"the reference log-probabilities of {len(bad)} pairs are not finite",
                code="align.reference-not-finite",
                where=_named(bad),
                hint="look at these pairs, or run the reference model in float32",
            )
        weights = [pair.weight for pair in pairs]
        names = {name: number for number, name in enumerate(sorted({pair.group or "" for pair in pairs}))}
        return cls(
            ids=[pair.id for pair in pairs],
            reference=values,
            lengths=torch.tensor([[len(pair.chosen), len(pair.rejected)] for pair in pairs], dtype=torch.float32),
            weight=None if set(weights) <= {1.0} else torch.tensor(weights),
            flip_prior=torch.tensor(priors) if priors else None,
            group=torch.tensor([names[pair.group or ""] for pair in pairs]) if len(names) > 1 else None,
        )

    def batch(self, rows: Tensor, chosen: Tensor, rejected: Tensor) -> PairBatch:
        """Some pairs with the policy's log-probabilities of them, each ``[batch]``."""
        rows = rows.cpu()
        reference, lengths = self.reference[rows].to(chosen.device), self.lengths[rows].to(chosen)
        weight = None if self.weight is None else self.weight[rows].to(chosen.device)
        prior = None if self.flip_prior is None else self.flip_prior[rows].to(chosen.device)
        group = None if self.group is None else self.group[rows].to(chosen.device)
        return PairBatch(
            chosen,
            rejected,
            reference[:, 0],
            reference[:, 1],
            lengths[:, 0],
            lengths[:, 1],
            weight=weight,
            flip_prior=prior,
            group=group,
        )

    def share(self, rows: Tensor, of: Tensor) -> float:
        """The part that ``rows`` have in a mean over ``of``."""
        if self.weight is None:
            return len(rows) / len(of)
        return float(self.weight[rows.cpu()].sum() / self.weight[of.cpu()].sum())


@dataclass(frozen=True)
class Part:
    """What one part contributes: its share of the loss, and the derivatives of the whole loss, each ``[part]``."""

    loss: float
    by_chosen: Tensor
    by_rejected: Tensor


class Step:
    """The objective of one optimiser step.

    Every rank makes one with its own parts, and all ranks find the same loss, statistics and scalars.

    Args:
        objective: In training mode; one step of its state is taken, or with ``scope="micro_batch"`` one per part.
        table: Of all pairs.
        parts: The pairs of each of this rank's micro-batches, all of one size.
        number: Of the step, for messages.
        device: Where the log-probabilities will be.
    """

    def __init__(
        self,
        objective: Objective,
        table: PairTable,
        parts: Sequence[Sequence[int]],
        *,
        number: int,
        device: torch.device,
    ) -> None:
        self.objective = objective
        self.table = table
        self.number = number
        self.parts = torch.tensor(parts, device=device)
        self.all_parts = ranks.gather(self.parts)
        self.scalars: Mapping[str, float] = {}
        self._known: list[Part] = []
        self._seen: list[tuple[Tensor, Tensor]] = []
        self._by_part: list[Mapping[str, float]] = []

    @property
    def local(self) -> bool:
        """Whether the objective looks at micro-batches one by one, as some official codes do."""
        return self.objective.scope == "micro_batch"

    @property
    def looks_ahead(self) -> bool:
        """Whether `see` must be called with all log-probabilities before the first `part`."""
        return len(self.parts) > 1 and not self.local and not self.objective.separable

    def see(self, logprobs: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Evaluate the objective on the log-probabilities of all parts, each ``(chosen, rejected)`` of ``[part]``."""
        rows, chosen, rejected = self._whole(logprobs)
        self._require_finite(rows, chosen, rejected)
        result, by_chosen, by_rejected = self.objective.coefficients(self.table.batch(rows, chosen, rejected))
        self.scalars = self._finite(result, rows)
        mine = [ranks.deal(list(side.view(self.all_parts.shape))) for side in (by_chosen, by_rejected)]
        loss = float(result.loss) / len(self.parts)
        self._known = [Part(loss, *both) for both in zip(*mine, strict=True)]

    def part(self, n: int, chosen: Tensor, rejected: Tensor) -> Part:
        """The contribution of this rank's part ``n`` with these log-probabilities, ``[part]``; in order, each once."""
        chosen, rejected = chosen.detach(), rejected.detach()
        if self.local:
            return self._by_itself(n, chosen, rejected)
        if len(self.parts) > 1 and self.objective.separable:
            return self._of_a_mean(n, chosen, rejected)
        if not self._known:
            self.see([(chosen, rejected)])
        return self._known[n]

    def _of_a_mean(self, n: int, chosen: Tensor, rejected: Tensor) -> Part:
        """A mean over pairs needs no other part; the state and the scalars follow when all have been seen."""
        self._seen.append((chosen, rejected))
        if len(self._seen) == len(self.parts):
            everything = self._whole(self._seen)
            self._require_finite(*everything)  # here, where all ranks stop together
            with torch.no_grad():
                self.scalars = self._finite(self.objective(self.table.batch(*everything)), everything[0])
        if not bool((chosen + rejected).isfinite().all()):
            return Part(math.nan, torch.zeros_like(chosen), torch.zeros_like(rejected))
        rows = self.parts[n]
        with _frozen(self.objective):
            result, by_chosen, by_rejected = self.objective.coefficients(self.table.batch(rows, chosen, rejected))
        share = self.table.share(rows, self.all_parts.flatten())
        # The host takes the mean of the ranks' losses.
        return Part(ranks.count() * share * float(result.loss), share * by_chosen, share * by_rejected)

    def _by_itself(self, n: int, chosen: Tensor, rejected: Tensor) -> Part:
        """One micro-batch, with the same part of the other ranks where the objective keeps statistics.

        So do the official codes: β-DPO gathers the gaps of all ranks, Dr. DPO looks at its own pairs only.
        """
        together = self.objective.keeps_statistics
        rows = self.parts[n]
        seen = rows, chosen, rejected
        if together:
            rows = self.all_parts.view(len(self.parts), -1)[n]
            seen = rows, ranks.gather(chosen[None]).flatten(), ranks.gather(rejected[None]).flatten()
        self._require_finite(*seen)
        batch = self.table.batch(*seen)
        if together and self.objective.official:  # the β-DPO code divides by each process's own kept pairs
            process = torch.arange(ranks.count(), device=chosen.device)
            batch = replace(batch, group=process.repeat_interleave(len(chosen)))
        result, by_chosen, by_rejected = self.objective.coefficients(batch)
        scalars = self._finite(result, rows)
        self._by_part.append(scalars if together else _over_ranks(scalars, chosen.device))
        if together:
            by_chosen, by_rejected = (side.view(ranks.count(), -1)[ranks.rank()] for side in (by_chosen, by_rejected))
        if len(self._by_part) == len(self.parts):
            self.scalars = _over_parts(self._by_part)
        share = self.table.share(rows, self.all_parts.flatten())
        # The host takes the mean of the ranks' losses.
        loss = share * float(result.loss) * (1 if together else ranks.count())
        return Part(loss, share * by_chosen, share * by_rejected)

    def _require_finite(self, rows: Tensor, chosen: Tensor, rejected: Tensor) -> None:
        require_finite(self.table, rows, chosen, rejected, when=f"at step {self.number}")

    def _finite(self, result: ObjectiveResult, rows: Tensor) -> Mapping[str, float]:
        return finite_scalars(result, self.table, rows, when=f"at step {self.number}")

    def _whole(self, logprobs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
        """Rows and log-probabilities of the whole batch, each ``[batch]``, in its order."""
        chosen, rejected = (torch.stack(side) for side in zip(*logprobs, strict=True))
        return self.all_parts.flatten(), ranks.gather(chosen).flatten(), ranks.gather(rejected).flatten()


def require_finite(table: PairTable, rows: Tensor, chosen: Tensor, rejected: Tensor, *, when: str) -> None:
    """Stop where a log-probability is not a number.

    Raises:
        ModelError: Names the pairs.
    """
    bad = ~(chosen.isfinite() & rejected.isfinite())
    if bool(bad.any()):
        raise ModelError(
            f"the log-probabilities of {int(bad.sum())} of {len(bad)} pairs are not finite {when}",
            code="align.logprobs-not-finite",
            where=_named([table.ids[int(row)] for row in rows[bad.to(rows.device)]]),
            hint="look at these pairs, or lower the learning rate",
        )


def finite_scalars(result: ObjectiveResult, table: PairTable, rows: Tensor, *, when: str) -> Mapping[str, float]:
    """The scalars of a result.

    Raises:
        ModelError: Its loss is not a number, though the log-probabilities are.
    """
    if math.isfinite(result.scalars["loss"]):
        return result.scalars
    raise ModelError(
        f"the loss is {result.scalars['loss']} {when}",
        code="align.loss-not-finite",
        where=_named([table.ids[int(row)] for row in rows]),
        hint="lower the learning rate, or choose a larger β' or a stable form of the objective",
    )


@contextmanager
def _frozen(objective: Objective) -> Generator[None]:
    was_training = objective.training
    objective.eval()
    try:
        yield
    finally:
        objective.train(was_training)


def _over_parts(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    sums = {name: sum(part[name] for part in parts) for name in parts[0]}
    return {name: value if name in _ADD_UP else value / len(parts) for name, value in sums.items()}


def _over_ranks(scalars: Mapping[str, float], device: torch.device) -> Mapping[str, float]:
    values = torch.tensor([list(scalars.values())], device=device, dtype=torch.float32)
    return _over_parts([dict(zip(scalars, found, strict=True)) for found in ranks.gather(values).tolist()])


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return f"pairs {', '.join(ids[:_NAMED])}{more}"
