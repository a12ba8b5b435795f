"""Log-probabilities under the frozen reference model: computed once per pair and kept by content.

They never change while a policy is trained, so the reference model runs once over the data instead of at each step,
and not at all in the next run of a sweep. A cache entry is keyed by the model's weights and the pair's token ids
(which hold all that a tokenizer does), never by a path or a name, so that a cache serves other runs, sweeps of β,
shuffles, subsets and machines. On a CPU each pair is computed by itself, so that its value does not depend, not even in
the last bit, on the pairs around it or on what was already in the cache.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from plait.align.pairs import TokenPair
from plait.align.shared_prefix import Layout, lay_out, pair_logprobs

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from torch import nn

_GPU_TOKENS = 16_384
_VERSION = 2  # of the computation: raise it when `pair_logprobs` may round differently

PairLogprobs = tuple[float, float]
"""Summed log-probabilities of the chosen and of the rejected completion, in nats."""


def reference_logprobs(
    model: nn.Module,
    pairs: Sequence[TokenPair],
    *,
    cache: ReferenceCache,
    layout: Layout = "shared_prefix",
    batch_tokens: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[PairLogprobs]:
    """Log-probabilities of each pair under a model with its adapter off.

    Args:
        model: The policy about to be trained (its adapter is switched off), or a separate frozen model. Under autocast
            its values are kept apart from those in full precision.
        pairs: The pairs, in any order.
        cache: Where known values are found and new ones kept.
        layout: How a pair is laid out; see `plait.align.shared_prefix.choose_layout`.
        batch_tokens: Tokens computed at once; a pair is never divided. If left out, one pair on a CPU, which is as
            fast, and 16,384 tokens on a GPU.
        on_progress: Called with (done, total) each time some pairs had to be computed; equal pairs count once.
    """
    import torch

    from plait.models.fast_linear import fast_linear, is_faster

    device = next(model.parameters()).device
    if batch_tokens is None:
        batch_tokens = 1 if device.type == "cpu" else _GPU_TOKENS
    # Everything that could change a value's last bit is part of its key, but for a GPU's batches.
    precision = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else "full"
    product = "oneDNN" if is_faster() else "torch"
    model_key = f"{weights_fingerprint(model)} {layout} {precision} {product} torch-{torch.__version__} {_VERSION}"
    keys = [_row_key(model_key, pair) for pair in pairs]
    known = cache.find(keys)
    missing = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in known}
    total = len(set(keys))
    done = total - len(missing)
    with fast_linear(model), eval_without_adapter(model), torch.no_grad():
        for batch in _batches(missing, batch_tokens):
            found = _compute(model, list(batch.values()), layout=layout, device=device)
            cache.add(new := dict(zip(batch, found, strict=True)))
            known |= new
            done += len(new)
            if on_progress is not None:
                on_progress(done, total)
    return [known[key] for key in keys]


@dataclass
class ReferenceCache:
    """An append-only ``.jsonl`` of reference log-probabilities; in memory only without a path.

    It is searched, not loaded: a few pairs among a million cost a fifth of a second. Several runs may append at once. A
    line torn by a kill is skipped; its value is computed again.

    Example:
        >>> cache = ReferenceCache()
        >>> cache.add({"key": (-1.5, -2.5)})
        >>> cache.find(["key", "other"])
        {'key': (-1.5, -2.5)}
    """

    path: Path | None = None
    _memory: dict[str, PairLogprobs] = field(default_factory=dict[str, PairLogprobs])

    def find(self, keys: Sequence[str]) -> dict[str, PairLogprobs]:
        """The values kept under some keys, those of other processes so far included."""
        if self.path is None:
            return {key: self._memory[key] for key in keys if key in self._memory}
        if not keys or not self.path.exists():
            return {}
        with self.path.open("rb") as lines:
            return dict(_entries(lines, {key.encode() for key in keys}))

    def add(self, entries: Mapping[str, PairLogprobs]) -> None:
        """Keep values, on disk when this returns."""
        if self.path is None:
            self._memory.update(entries)
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"key": key, "chosen": c, "rejected": r}) for key, (c, r) in entries.items()]
        # One write, so that other processes' lines stay whole; a newline first, so that a line torn by an earlier kill
        # does not swallow this one.
        with self.path.open("ab", buffering=0) as out:
            out.write("\n".join(["", *lines, ""]).encode())


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


def _batches(pairs: Mapping[str, TokenPair], tokens: int) -> Iterator[dict[str, TokenPair]]:
    """Pairs of about so many tokens together, at least one."""
    batch, used = dict[str, TokenPair](), 0
    for key, pair in pairs.items():
        if batch and used + pair.length > tokens:
            yield batch
            batch, used = {}, 0
        batch[key] = pair
        used += pair.length
    if batch:
        yield batch


def _compute(
    model: nn.Module, pairs: Sequence[TokenPair], *, layout: Layout, device: torch.device
) -> list[PairLogprobs]:
    chosen, rejected = pair_logprobs(model, lay_out(pairs, layout=layout).to(device))
    return list(zip(chosen.tolist(), rejected.tolist(), strict=True))


def _row_key(model_key: str, pair: TokenPair) -> str:
    row = json.dumps([model_key, pair.prompt, pair.chosen, pair.rejected])
    return hashlib.blake2b(row.encode(), digest_size=16).hexdigest()


def _entries(lines: Iterator[bytes], wanted: set[bytes]) -> Iterator[tuple[str, PairLogprobs]]:
    """Those of the wanted keys; a line's key is looked at before the line is read as JSON."""
    for line in lines:
        quoted = line.split(b'"', 4)
        if len(quoted) < 5 or quoted[3] not in wanted:
            continue
        try:
            entry = cast("dict[str, object]", json.loads(line))
            yield str(entry["key"]), (float(cast("float", entry["chosen"])), float(cast("float", entry["rejected"])))
        except (ValueError, KeyError, TypeError):
            continue  # a torn line: its value is computed again
