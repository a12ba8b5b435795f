"""Preference learning whose maths can be checked: losses, pairs, the trainer and its evaluation.

Read in this order: `losses`, `side_losses`, `beta_rules`, `selection` and `reduction` (what a method is made of),
`objectives` (how the parts act on a batch), `presets` (the published methods by name), `pairs` and `shared_prefix`
(text to log-probabilities, the prompt computed once), `trainer`, `evaluate`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plait.align.arguments import training_arguments
    from plait.align.confidence.offline import confidence_pairs
    from plait.align.confidence.online import CalibrationReward
    from plait.align.confidence.parse import parse_confidence
    from plait.align.confidence.rewards import ConfidenceReward
    from plait.align.evaluate import Interval, PairScores, accuracy, score_pairs
    from plait.align.losses import PairBatch
    from plait.align.noise.doctor import examine
    from plait.align.noise.estimate import estimate_flip_rate
    from plait.align.objectives import Objective, ObjectiveResult
    from plait.align.pairs import TokenLimits, TokenPair, tokenise_pairs
    from plait.align.presets import DPO, BetaDPO, BetaDrDPO, Custom, DrDPO
    from plait.align.reference import ReferenceCache, reference_logprobs
    from plait.align.samples import estimate_kl, sample_both
    from plait.align.sft.evaluate import score_texts
    from plait.align.sft.trainer import TextTrainer
    from plait.align.sft.training import train_texts
    from plait.align.shared_prefix import choose_layout, lay_out, pair_logprobs
    from plait.align.trainer import PairTrainer
    from plait.align.training import Trained, train_pairs
    from plait.align.verdicts import Verdict, judge
    from plait.align.winrate import win_rate

__all__ = [
    "DPO",
    "BetaDPO",
    "BetaDrDPO",
    "CalibrationReward",
    "ConfidenceReward",
    "Custom",
    "DrDPO",
    "Interval",
    "Objective",
    "ObjectiveResult",
    "PairBatch",
    "PairScores",
    "PairTrainer",
    "ReferenceCache",
    "TextTrainer",
    "TokenLimits",
    "TokenPair",
    "Trained",
    "Verdict",
    "accuracy",
    "choose_layout",
    "confidence_pairs",
    "estimate_flip_rate",
    "estimate_kl",
    "examine",
    "judge",
    "lay_out",
    "pair_logprobs",
    "parse_confidence",
    "reference_logprobs",
    "sample_both",
    "score_pairs",
    "score_texts",
    "tokenise_pairs",
    "train_pairs",
    "train_texts",
    "training_arguments",
    "win_rate",
]

_HOME = {
    "BetaDPO": "presets",
    "BetaDrDPO": "presets",
    "CalibrationReward": "confidence.online",
    "ConfidenceReward": "confidence.rewards",
    "Custom": "presets",
    "DPO": "presets",
    "DrDPO": "presets",
    "Interval": "evaluate",
    "Objective": "objectives",
    "ObjectiveResult": "objectives",
    "PairBatch": "losses",
    "PairScores": "evaluate",
    "PairTrainer": "trainer",
    "ReferenceCache": "reference",
    "TextTrainer": "sft.trainer",
    "TokenLimits": "pairs",
    "TokenPair": "pairs",
    "Trained": "training",
    "Verdict": "verdicts",
    "accuracy": "evaluate",
    "choose_layout": "shared_prefix",
    "confidence_pairs": "confidence.offline",
    "estimate_flip_rate": "noise.estimate",
    "estimate_kl": "samples",
    "examine": "noise.doctor",
    "judge": "verdicts",
    "lay_out": "shared_prefix",
    "pair_logprobs": "shared_prefix",
    "parse_confidence": "confidence.parse",
    "reference_logprobs": "reference",
    "sample_both": "samples",
    "score_pairs": "evaluate",
    "score_texts": "sft.evaluate",
    "tokenise_pairs": "pairs",
    "train_pairs": "training",
    "train_texts": "sft.training",
    "training_arguments": "arguments",
    "win_rate": "winrate",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
