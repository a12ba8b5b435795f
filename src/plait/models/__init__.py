"""Language models by name: found, loaded, generated from, scored, adapted.

    lm = load("smollm2-135m")
    [answer] = generate(lm, [lm.encode(lm.render(messages))], max_new_tokens=64, seeds=[7])

`source` finds the files, `gguf` makes them loadable, `language_model` loads them; `generation`, `constrain` and
`logprobs` read from a loaded model, `adapters` changes it. Importing this package does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plait.models.adapters import (
        LoRA,
        adapter_vector,
        attach_lora,
        load_adapter,
        save_adapter,
        set_adapter_vector,
        without_adapter,
    )
    from plait.models.generation import Completion, generate
    from plait.models.language_model import LanguageModel, load
    from plait.models.logprobs import sequence_logprobs
    from plait.models.ready import ModelState, get_model, list_models
    from plait.models.source import ModelSource, resolve

__all__ = [
    "Completion",
    "LanguageModel",
    "LoRA",
    "ModelSource",
    "ModelState",
    "adapter_vector",
    "attach_lora",
    "generate",
    "get_model",
    "list_models",
    "load",
    "load_adapter",
    "resolve",
    "save_adapter",
    "sequence_logprobs",
    "set_adapter_vector",
    "without_adapter",
]

_HOME = {
    "Completion": "plait.models.generation",
    "LanguageModel": "plait.models.language_model",
    "LoRA": "plait.models.adapters",
    "ModelState": "plait.models.ready",
    "get_model": "plait.models.ready",
    "list_models": "plait.models.ready",
    "ModelSource": "plait.models.source",
    "adapter_vector": "plait.models.adapters",
    "attach_lora": "plait.models.adapters",
    "generate": "plait.models.generation",
    "load": "plait.models.language_model",
    "load_adapter": "plait.models.adapters",
    "resolve": "plait.models.source",
    "save_adapter": "plait.models.adapters",
    "sequence_logprobs": "plait.models.logprobs",
    "set_adapter_vector": "plait.models.adapters",
    "without_adapter": "plait.models.adapters",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
