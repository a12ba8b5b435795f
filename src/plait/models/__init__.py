"""Language models by name: found, loaded, generated from, scored, adapted.

    lm = load("smollm2-135m")
    [answer] = generate(lm, [lm.encode(lm.render(messages))], max_new_tokens=64, seeds=[7])

`resolve` finds the files, `gguf` makes them loadable, `language_model` loads them; `generate`, `constrain` and `logprobs` read
from a loaded model, `adapters` changes it. Importing this package does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plait.models.language_model import LanguageModel, load
    from plait.models.resolve import ModelSource, resolve

__all__ = ["LanguageModel", "ModelSource", "load", "resolve"]

_HOME = {
    "LanguageModel": "plait.models.language_model",
    "ModelSource": "plait.models.resolve",
    "load": "plait.models.language_model",
    "resolve": "plait.models.resolve",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
