"""LoRA adapters: attached to a frozen model, saved, loaded, and moved as one flat vector.

Attaching works in place, as peft does: the `LanguageModel` that comes back and the one that went in share the
network, so use only the new one; `without_adapter` shows the base model again. peft does the work; here it becomes
deterministic.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from plait.core.component import Component
from plait.core.optional import require
from plait.errors import ModelError, UsageError
from plait.models.language_model import LanguageModel
from plait.models.quiet import quiet_adapting

if TYPE_CHECKING:
    import numpy as np
    import torch
    from peft import PeftModel

_WEIGHTS = "adapter_model.safetensors"
_CONFIG = "adapter_config.json"


class LoRA(Component):
    """Low-rank updates of chosen weight matrices: W + (alpha / rank) · B A, with A random and B zero at the start.

    Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models" (arXiv 2106.09685), section 4.1.
    """

    rank: int = Field(default=8, ge=1)
    """Rank of each update."""

    alpha: float = Field(default=16.0, gt=0)
    """Scale of the updates; each is multiplied by ``alpha / rank``."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of an update's inputs that are dropped while training."""

    targets: tuple[str, ...] = Field(default=("q_proj", "v_proj"), min_length=1)
    """Names of the linear layers that get an update, in every block."""


def attach_lora(lm: LanguageModel, lora: LoRA, *, seed: int) -> LanguageModel:
    """Add a fresh adapter to a model; only the adapter asks for gradients.

    The start does not depend on what torch drew before, nor changes what it draws after: ``seed`` alone decides.

    Args:
        lm: A model without an adapter; changed in place.
        lora: Rank, scale and places.
        seed: Decides A; B is zero, so that the model answers as before.

    Raises:
        ModelError: The model has an adapter already, or none of the targets.
    """
    peft = require("peft", extra="models", feature="adapting a language model")
    import torch

    _refuse_second(lm)
    transposed = _require_targets(lm, lora.targets)
    settings = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
        fan_in_fan_out=transposed,
        bias="none",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=_gpus(lm)), quiet_adapting():
        torch.manual_seed(seed)
        model = peft.get_peft_model(lm.model, settings)
    return _with(lm, model)


def save_adapter(lm: LanguageModel, folder: Path) -> None:
    """Write the adapter in peft's format: ``adapter_model.safetensors`` and ``adapter_config.json``.

    Equal adapters give equal bytes: tensors and settings are sorted, and the base model is named as it was asked for.

    Raises:
        ModelError: The model has no adapter.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    model = _adapted(lm)
    settings = model.peft_config["default"].to_dict()
    settings |= {"base_model_name_or_path": lm.source.name, "inference_mode": True}
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: state[name].detach().to("cpu").contiguous() for name in sorted(state)}
    save_file(tensors, folder / _WEIGHTS, metadata={"format": "pt"})
    (folder / _CONFIG).write_text(
        json.dumps(settings, indent=2, sort_keys=True, default=_plain) + "\n", encoding="utf-8"
    )


def load_adapter(lm: LanguageModel, folder: Path, *, trainable: bool = False) -> LanguageModel:
    """Put a saved adapter on its base model; one that peft or TRL saved will do.

    Args:
        lm: A model without an adapter; changed in place.
        folder: What `save_adapter` wrote.
        trainable: Whether the adapter asks for gradients.

    Raises:
        ModelError: The folder is not an adapter, or does not fit this model.
    """
    peft = require("peft", extra="models", feature="adapting a language model")
    from safetensors import SafetensorError

    _refuse_second(lm)
    missing = [name for name in (_CONFIG, _WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            f"the folder is not an adapter: it has no {' and no '.join(missing)}",
            code="model.not-an-adapter",
            where=str(folder),
            hint="give the folder that save_adapter or save_pretrained wrote",
        )
    _check_fits(lm, folder)
    try:
        with quiet_adapting():
            model = peft.PeftModel.from_pretrained(lm.model, folder, is_trainable=trainable)
    except (ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
        raise ModelError(
            f"the adapter cannot be put on {lm.source.name}: {str(error).strip().splitlines()[0]}",
            code="model.adapter-mismatch",
            where=str(folder),
            hint="load the base model that its adapter_config.json names",
        ) from error
    return _with(lm, model)


def adapter_vector(lm: LanguageModel) -> np.ndarray:
    """All adapter weights as one float32 vector, in the order of their sorted names.

    Raises:
        ModelError: The model has no adapter.
    """
    import torch

    parts = [p.detach().reshape(-1).to("cpu", torch.float32) for p in _parameters(lm)]
    return torch.cat(parts).numpy()


def set_adapter_vector(lm: LanguageModel, vector: np.ndarray) -> None:
    """Put back what `adapter_vector` gave, in place.

    Raises:
        ModelError: The model has no adapter.
        UsageError: The vector has another length than the adapter, or holds NaN or infinity.
    """
    import numpy as np
    import torch

    parameters = _parameters(lm)
    size = sum(p.numel() for p in parameters)
    if vector.shape != (size,):
        raise UsageError(
            f"the adapter has {size} weights and the vector has shape {list(vector.shape)}",
            code="model.adapter-vector",
            hint="both sides need the same base model, rank and targets",
        )
    if not np.isfinite(vector).all():
        raise UsageError("the vector holds NaN or infinity", code="model.adapter-vector")
    values = torch.from_numpy(np.ascontiguousarray(vector, dtype=np.float32))
    with torch.no_grad():
        for parameter, part in zip(parameters, values.split([p.numel() for p in parameters]), strict=True):
            parameter.copy_(part.reshape(parameter.shape))


@contextmanager
def without_adapter(lm: LanguageModel) -> Generator[LanguageModel]:
    """Inside, the model answers without its adapter: the reference model of preference learning.

    A model without an adapter is its own reference.
    """
    from peft import PeftModel

    if not isinstance(lm.model, PeftModel):
        yield lm
        return
    with lm.model.disable_adapter():
        yield lm


def _adapted(lm: LanguageModel) -> PeftModel:
    from peft import PeftModel

    if not isinstance(lm.model, PeftModel):
        raise ModelError(
            f'"{lm.source.name}" has no adapter', code="model.no-adapter", hint="call attach_lora or load_adapter"
        )
    return lm.model


def _refuse_second(lm: LanguageModel) -> None:
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer

    if isinstance(lm.model, PeftModel) or any(isinstance(m, BaseTunerLayer) for m in lm.model.modules()):
        raise ModelError(
            f'"{lm.source.name}" has an adapter already',
            code="model.second-adapter",
            hint="load the model again; set_adapter_vector changes the adapter that is there",
        )


def _require_targets(lm: LanguageModel, targets: tuple[str, ...]) -> bool:
    """Check that all targets exist; returns whether their weights are stored transposed, as GPT-2's are."""
    import torch
    from transformers.pytorch_utils import Conv1D

    linear = {
        name.rpartition(".")[2]: isinstance(layer, Conv1D)
        for name, layer in lm.model.named_modules()
        if isinstance(layer, (torch.nn.Linear, Conv1D))
    }
    absent = [t for t in targets if t not in linear]
    if absent:
        raise ModelError(
            f'"{lm.source.name}" has no linear layer called {", ".join(absent)}',
            code="model.lora-targets",
            hint=f"it has {', '.join(sorted(linear))}",
        )
    return any(linear[t] for t in targets)


def _check_fits(lm: LanguageModel, folder: Path) -> None:
    """Every tensor must find its place: peft itself only warns about those that do not."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / _WEIGHTS, framework="pt") as weights:
            names = list(weights.keys())
    except SafetensorError as error:
        raise ModelError(
            f"the adapter's weights cannot be read: {error}", code="model.unreadable", where=str(folder / _WEIGHTS)
        ) from error
    modules = {name for name, _ in lm.model.named_modules()}
    lost = [n for n in names if n.removeprefix("base_model.model.").split(".lora_")[0] not in modules]
    if lost:
        raise ModelError(
            f'{len(lost)} of {len(names)} adapter tensors have no place in "{lm.source.name}", first {lost[0]}',
            code="model.adapter-mismatch",
            where=str(folder),
            hint="load the base model that its adapter_config.json names",
        )


def _with(lm: LanguageModel, model: PeftModel) -> LanguageModel:
    model.eval()
    adapted = replace(lm, model=model)
    # Compiled schemas depend on the tokens alone.
    if "grammars" in vars(lm):
        vars(adapted)["grammars"] = lm.grammars
    return adapted


def _parameters(lm: LanguageModel) -> list[torch.nn.Parameter]:
    named = {n: p for n, p in _adapted(lm).named_parameters() if "lora_" in n}
    return [named[name] for name in sorted(named)]


def _gpus(lm: LanguageModel) -> list[int]:
    return [lm.device.index or 0] if lm.device.type == "cuda" else []


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, (set, frozenset)) else str(getattr(value, "value", value))
