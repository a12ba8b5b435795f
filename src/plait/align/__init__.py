"""Preference learning whose maths can be checked: losses, pairs, the trainer and its evaluation.

Read in this order: `losses` and `weighting` (what a method is made of), `objectives` (how the parts act on
a batch), `presets` (the published methods by name), `pairs` and `shared_prefix` (text to
log-probabilities, the prompt computed once), `trainer`, `evaluate`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plait.align.losses import PairBatch
    from plait.align.objectives import Objective, ObjectiveResult
    from plait.align.presets import DPO, BetaDPO, Custom, DrDPO

__all__ = ["DPO", "BetaDPO", "Custom", "DrDPO", "Objective", "ObjectiveResult", "PairBatch"]

_HOME = {
    "BetaDPO": "presets",
    "Custom": "presets",
    "DPO": "presets",
    "DrDPO": "presets",
    "Objective": "objectives",
    "ObjectiveResult": "objectives",
    "PairBatch": "losses",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
