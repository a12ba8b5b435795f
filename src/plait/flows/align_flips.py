"""How much training pairs with flipped labels still count for an objective, and whether they were learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plait.align.evaluate import PairScores
    from plait.align.objectives import Objective


@dataclass(frozen=True)
class Flips:
    """What flipped pairs get of one batch of all pairs measured, at the end of training.

    Args:
        pairs: Pairs measured.
        flipped: Those of them with a flipped label.
        weight: Share of the weight; equals ``flipped / pairs`` for plain DPO.
        pull: Share of the gradient's size: a badly fitted pair pulls harder than its weight says.
        learnt: Share of the flipped pairs that the policy now orders as their wrong label says.
    """

    pairs: int
    flipped: int
    weight: float
    pull: float
    learnt: float


def measure_flips(
    objective: Objective, now: PairScores, reference: PairScores, flipped: Sequence[bool]
) -> Flips | None:
    """Weigh all pairs at once, as the objective would in its next step.

    Args:
        objective: As training left it; its state moves on by one step.
        now: Scores of training pairs under the policy.
        reference: The same under the reference.
        flipped: Which labels are known to be wrong.

    Returns:
        Nothing if none of them is.
    """
    import torch

    from plait.align.losses import PairBatch

    if not any(flipped):
        return None
    # In double precision: a whole run's pairs at once, and small weights among them.
    columns = [now.chosen, now.rejected, reference.chosen, reference.rejected, now.chosen_length, now.rejected_length]
    batch = PairBatch(*(torch.tensor(column, dtype=torch.float64) for column in columns))
    result, by_chosen, _ = objective.coefficients(batch)
    wrong = torch.tensor(list(flipped))
    weight, pull = result.table["weight"], by_chosen.abs()
    return Flips(
        pairs=len(flipped),
        flipped=sum(flipped),
        weight=float(weight[wrong].sum() / weight.sum()),
        pull=float(pull[wrong].sum() / pull.sum()),
        learnt=float((result.table["gap"][wrong] > 0).double().mean()),
    )
