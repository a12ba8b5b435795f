"""Rows that are decoded together: the forward pass, the keys and values they keep, and what they share.

    columns of a row:  [ shared prefix | padding | its own rest | what it generated ]

The shared prefix is computed once and copied; padding is masked and takes no position, so a row computes the same
numbers whatever stands beside it (up to float rounding).
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from plait.models.language_model import LanguageModel

_WORTH_SHARING = 8
"""Shortest common prefix that is computed apart; below it a second forward pass costs more than it saves."""

_ROOM = 64
"""Columns a cache grows by, at least."""


class GrowingLayer(DynamicLayer):
    """Keys and values of one layer in a buffer with room to grow.

    The library's own layer copies everything for every token, which takes half the time of decoding on a CPU.
    """

    _key_room: torch.Tensor
    _value_room: torch.Tensor

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Start empty, with the shapes of the first states ``[batch, heads, seq, head_dim]``."""
        super().lazy_initialization(key_states, value_states)
        self.keys = self._key_room = key_states[:, :, :0]
        self.values = self._value_room = value_states[:, :, :0]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: object, **_kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append states ``[batch, heads, new, head_dim]``; returns all keys and values so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        self._key_room = _append(self._key_room, start, key_states)
        self._value_room = _append(self._value_room, start, value_states)
        stop = start + key_states.shape[2]
        self.keys, self.values = self._key_room[:, :, :stop], self._value_room[:, :, :stop]
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows, in this order; a row may be taken more than once."""
        used = self.get_seq_length()
        self.keys = self._key_room = self._key_room[:, :, :used][indices]
        self.values = self._value_room = self._value_room[:, :, :used][indices]


def _append(room: torch.Tensor, start: int, new: torch.Tensor) -> torch.Tensor:
    """Write ``new`` at column ``start``, in place where there is room, else into a larger copy."""
    stop = start + new.shape[2]
    if stop > room.shape[2]:
        batch, heads, _, width = new.shape
        larger = new.new_empty(batch, heads, stop + max(_ROOM, stop // 4), width)
        larger[:, :, :start] = room[:, :, :start]
        room = larger
    room[:, :, start:stop] = new
    return room


class Batch:
    """Rows of one model in the middle of decoding.

    Args:
        lm: The model.
        prompts: Token ids of each row; read at once.
        pads: Whether rows of different lengths may stand together; see `can_pad`.

    Attributes:
        logits: Scores of each row's next token ``[rows, vocabulary]``, float32.
    """

    def __init__(self, lm: LanguageModel, prompts: Sequence[Sequence[int]], *, pads: bool) -> None:
        self._model = lm.model
        self._device = lm.device
        self._takes_positions = _takes_positions(lm)
        self._cache = _new_cache(lm, growing=pads)
        self._mask = torch.ones(1, 0, dtype=torch.long, device=self._device)
        self.logits: torch.Tensor = self._read(prompts, share=pads)

    def append(self, tokens: Sequence[int]) -> None:
        """Give each row its next token and compute the scores of the one after."""
        self.logits = self._forward([[token] for token in tokens])

    def keep(self, rows: Sequence[int]) -> None:
        """Only these rows go on."""
        self._select(rows)
        self.logits = self.logits[list(rows)]

    def _read(self, prompts: Sequence[Sequence[int]], *, share: bool) -> torch.Tensor:
        distinct = list(dict.fromkeys(tuple(p) for p in prompts))
        shared = min(common_prefix(distinct), min(len(p) for p in distinct) - 1) if share else 0
        if len(distinct) == 1 or shared < _WORTH_SHARING:
            shared = 0
        else:
            self._forward([distinct[0][:shared]])
            self._select([0] * len(distinct))
        logits = self._forward([p[shared:] for p in distinct])
        if len(distinct) == len(prompts):
            return logits
        place = {p: i for i, p in enumerate(distinct)}
        rows = [place[tuple(p)] for p in prompts]
        self._select(rows)
        return logits[rows]

    def _select(self, rows: Sequence[int]) -> None:
        index = torch.tensor(rows, device=self._device)
        self._cache.batch_select_indices(index)
        self._mask = self._mask[index]

    def _forward(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Append tokens of each row (left-padded) and return the scores after the last, ``[rows, vocabulary]``."""
        width = max(len(row) for row in rows)
        ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows], device=self._device)
        real = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=self._device)
        seen = self._mask.sum(-1, keepdim=True)
        self._mask = torch.cat([self._mask.expand(len(rows), -1), real], dim=-1)
        positions = {"position_ids": (seen + real.cumsum(-1) - 1).clamp(min=0)} if self._takes_positions else {}
        output = self._model(
            input_ids=ids,
            attention_mask=self._mask,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
            **positions,
        )
        return output.logits[:, -1].float()


def common_prefix(sequences: Sequence[Sequence[int]]) -> int:
    """Length of the longest prefix that all sequences share.

    Example:
        >>> common_prefix([[1, 2, 3], [1, 2, 4, 5]])
        2
    """
    # The least and the greatest differ the earliest.
    ordered = sorted(map(tuple, sequences))
    low, high = ordered[0], ordered[-1]
    return next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))


def can_pad(lm: LanguageModel) -> bool:
    """Whether masked padding leaves a row's numbers alone in this model.

    A sliding window counts columns, padding included, and a recurrent layer reads them; rows of such models are decoded
    together only when they are equally long.
    """
    return _takes_positions(lm) and all(type(layer) is DynamicLayer for layer in _new_cache(lm, growing=False).layers)


def _takes_positions(lm: LanguageModel) -> bool:
    return "position_ids" in inspect.signature(lm.network.forward).parameters


def _new_cache(lm: LanguageModel, *, growing: bool) -> DynamicCache:
    cache = DynamicCache(config=lm.model.config)
    if growing:
        cache.layers[:] = [GrowingLayer() for _ in cache.layers]
    return cache
