"""Log-probabilities under the frozen reference model: computed once per pair and kept by content.

They never change while a policy is trained, so the reference model runs once over the data instead of at each step,
and not at all in the next run of a sweep. A cache entry is keyed by the model's weights and the pair's token ids
(which hold all that a tokenizer does), never by a path or a name. Each pair is computed by itself, so that its value
does not depend, not even in the last bit, on the pairs around it or on what was already in the cache.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from plait.align.pairs import TokenPair
from plait.align.shared_prefix import Layout, lay_out, pair_logprobs

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import nn

_VERSION = 1  # of the computation: raise it when `pair_logprobs` may round differently

PairLogprobs = tuple[float, float]
"""Summed log-probabilities of the chosen and of the rejected completion, in nats."""


def reference_logprobs(
    model: nn.Module,
    pairs: Sequence[TokenPair],
    *,
    cache: ReferenceCache,
    layout: Layout = "shared_prefix",
    on_progress: Callable[[int, int], None] | None = None,
) -> list[PairLogprobs]:
    """Log-probabilities of each pair under a model with its adapter off.

    Args:
        model: The policy about to be trained (its adapter is switched off), or a separate frozen model.
        pairs: The pairs, in any order.
        cache: Where known values are found and new ones kept.
        layout: How a pair is laid out; see `plait.align.shared_prefix.choose_layout`.
        on_progress: Called with (done, total) after each pair that had to be computed.
    """
    import torch

    # Everything that could change a value's last bit is part of its key.
    model_key = f"{weights_fingerprint(model)} {layout} torch-{torch.__version__} {_VERSION}"
    device = next(model.parameters()).device
    found: list[PairLogprobs] = []
    with eval_without_adapter(model), torch.no_grad():
        for n, pair in enumerate(pairs):
            key = _row_key(model_key, pair)
            known = cache.get(key)
            if known is None:
                chosen, rejected = pair_logprobs(model, lay_out([pair], layout=layout).to(device))
                known = (float(chosen), float(rejected))
                cache.put(key, known)
                if on_progress is not None:
                    on_progress(n + 1, len(pairs))
            found.append(known)
    return found


@dataclass
class ReferenceCache:
    """An append-only ``.jsonl`` of reference log-probabilities; in memory only without a path.

    Several runs may append at once. A line torn by a kill is skipped; its value is computed again.

    Example:
        >>> cache = ReferenceCache()
        >>> cache.put("key", (-1.5, -2.5))
        >>> cache.get("key")
        (-1.5, -2.5)
    """

    path: Path | None = None
    known: dict[str, PairLogprobs] = field(default_factory=dict[str, PairLogprobs])

    def __post_init__(self) -> None:
        if self.path is not None and self.path.exists():
            with self.path.open("rb") as lines:
                self.known.update(_entries(lines.read()))

    def get(self, key: str) -> PairLogprobs | None:
        """The value kept under a key, if any."""
        return self.known.get(key)

    def put(self, key: str, value: PairLogprobs) -> None:
        """Keep a value, on disk when this returns."""
        self.known[key] = value
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            line = json.dumps({"key": key, "chosen": value[0], "rejected": value[1]})
            # The newline comes first too: a line torn by an earlier kill must not swallow this one.
            with self.path.open("ab", buffering=0) as out:
                out.write(f"\n{line}\n".encode())


def weights_fingerprint(model: nn.Module) -> str:
    """A hash of a model's configuration and weights, without any adapter around or inside it."""
    import torch
    import xxhash

    digest = xxhash.xxh3_128()
    config = getattr(model, "config", None)
    if config is not None:
        settings = {k: v for k, v in config.to_dict().items() if not k.startswith("_") and k != "transformers_version"}
        digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    named = {
        name.removeprefix("base_model.model.").replace(".base_layer.", "."): tensor
        for name, tensor in model.state_dict().items()
        if ".lora_" not in name
    }
    for name, tensor in sorted(named.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def eval_without_adapter(model: nn.Module) -> Generator[None]:
    """The reference model inside a policy: dropout off and, if it has a LoRA adapter, that off too."""
    was_training = model.training
    model.eval()
    try:
        with _without_adapter(model):
            yield
    finally:
        model.train(was_training)


def _without_adapter(model: nn.Module) -> AbstractContextManager[None]:
    if not hasattr(model, "peft_config"):
        return nullcontext()
    return cast("AbstractContextManager[None]", cast("PeftModel", model).disable_adapter())


def _row_key(model_key: str, pair: TokenPair) -> str:
    row = json.dumps([model_key, pair.prompt, pair.chosen, pair.rejected])
    return hashlib.blake2b(row.encode(), digest_size=16).hexdigest()


def _entries(data: bytes) -> Iterator[tuple[str, PairLogprobs]]:
    for line in data.splitlines():
        try:
            entry = cast("dict[str, object]", json.loads(line))
            yield str(entry["key"]), (float(cast("float", entry["chosen"])), float(cast("float", entry["rejected"])))
        except (ValueError, KeyError, TypeError):
            continue  # a torn line: its value is computed again
