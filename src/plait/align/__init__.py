"""Preference learning whose maths can be checked: losses, pairs, the trainer and its evaluation.

Read in this order: `losses`, `side_losses`, `beta_rules`, `selection` and `reduction` (what a method is made of),
`objectives` (how the parts act on a batch), `presets` (the published methods by name), `pairs` and `shared_prefix`
(text to log-probabilities, the prompt computed once), `trainer`, `evaluate`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plait.align.evaluate import PairScores, score_pairs
    from plait.align.losses import PairBatch
    from plait.align.objectives import Objective, ObjectiveResult
    from plait.align.pairs import TokenLimits, TokenPair, tokenise_pairs
    from plait.align.presets import DPO, BetaDPO, Custom, DrDPO
    from plait.align.reference import ReferenceCache, reference_logprobs
    from plait.align.shared_prefix import choose_layout, lay_out, pair_logprobs
    from plait.align.trainer import PairTrainer, training_arguments

__all__ = [
    "DPO",
    "BetaDPO",
    "Custom",
    "DrDPO",
    "Objective",
    "ObjectiveResult",
    "PairBatch",
    "PairScores",
    "PairTrainer",
    "ReferenceCache",
    "TokenLimits",
    "TokenPair",
    "choose_layout",
    "lay_out",
    "pair_logprobs",
    "reference_logprobs",
    "score_pairs",
    "tokenise_pairs",
    "training_arguments",
]

_HOME = {
    "BetaDPO": "presets",
    "Custom": "presets",
    "DPO": "presets",
    "DrDPO": "presets",
    "Objective": "objectives",
    "ObjectiveResult": "objectives",
    "PairBatch": "losses",
    "PairScores": "evaluate",
    "PairTrainer": "trainer",
    "ReferenceCache": "reference",
    "TokenLimits": "pairs",
    "TokenPair": "pairs",
    "choose_layout": "shared_prefix",
    "lay_out": "shared_prefix",
    "pair_logprobs": "shared_prefix",
    "reference_logprobs": "reference",
    "score_pairs": "evaluate",
    "tokenise_pairs": "pairs",
    "training_arguments": "trainer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
