"""What `PairTrainer` checks before its first step, each with what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from plait.align.objectives import Objective
from plait.align.pairs import TokenPair
from plait.align.reference import PairLogprobs
from plait.errors import UsageError

if TYPE_CHECKING:
    from torch import nn
    from transformers import TrainingArguments


def check_training(
    model: nn.Module,
    *,
    objective: Objective,
    pairs: Sequence[TokenPair],
    reference: Sequence[PairLogprobs] | None,
) -> None:
    """Whether there is something to train, and something to train it on.

    Raises:
        UsageError: There is not.
    """
    if not pairs:
        raise UsageError("there are no pairs to train on", code="align.no-pairs")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UsageError(
            "no parameter of the model asks for a gradient",
            code="align.nothing-to-train",
            hint="attach a LoRA adapter, or call model.requires_grad_(True)",
        )
    _check_reference(objective, reference, of="pairs")


def check_heldout(
    args: TrainingArguments,
    *,
    objective: Objective,
    heldout: Sequence[TokenPair],
    reference: Sequence[PairLogprobs] | None,
) -> None:
    """Whether what is to be measured while training is there.

    Raises:
        UsageError: It is not.
    """
    if args.eval_strategy != "no" and not heldout:
        raise UsageError(
            f"eval_strategy is {str(args.to_dict()['eval_strategy'])!r}, but there are no held-out pairs",
            code="align.no-heldout",
            hint="pass heldout= and heldout_reference=",
        )
    if heldout:
        _check_reference(objective, reference, of="heldout")


def _check_reference(objective: Objective, reference: Sequence[PairLogprobs] | None, *, of: str) -> None:
    if reference is None and objective.needs_reference:
        argument = "reference" if of == "pairs" else "heldout_reference"
        raise UsageError(
            "the objective compares with a reference model, but no reference log-probabilities were given",
            code="align.no-reference",
            hint=f"pass {argument}=reference_logprobs(model, {of}, cache=ReferenceCache())",
        )
