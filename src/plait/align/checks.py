"""Whether an objective has the reference log-probabilities it asks for, said before the first step."""

from __future__ import annotations

from collections.abc import Sequence

from plait.align.objectives import Objective
from plait.align.pairs import TokenPair
from plait.align.reference import PairLogprobs
from plait.errors import UsageError


def check_reference(
    objective: Objective,
    *,
    pairs: Sequence[TokenPair],
    reference: Sequence[PairLogprobs] | None,
    heldout: Sequence[TokenPair],
    heldout_reference: Sequence[PairLogprobs] | None,
) -> None:
    """Whether both sets of pairs have theirs.

    Raises:
        UsageError: An objective that compares with a reference model has none for some pairs.
    """
    given = {"reference": (pairs, reference, "pairs"), "heldout_reference": (heldout, heldout_reference, "heldout")}
    for argument, (some, logprobs, name) in given.items():
        if some and logprobs is None and objective.needs_reference:
            raise UsageError(
                "the objective compares with a reference model, but no reference log-probabilities were given",
                code="align.no-reference",
                hint=f"pass {argument}=reference_logprobs(model, {name}, cache=ReferenceCache())",
            )
