"""Several texts in a row that do not see each other, and the log-probabilities of what is learnt of them.

Positions start again with each text, and the mask is causal within a text only; so a packed row gives exactly what its
texts give one by one, for hardly any padding. Rows are as long as the longest text, filled best fit first. The
vocabulary head runs only on states that predict a learnt token. Where a mask of our own is not exact
(`plait.align.shared_prefix.why_two_branches`), each text has a row of its own.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from plait.align.sft.texts import TokenText

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class PackedTexts(NamedTuple):
    """A batch of texts as tensors. The last token of a text is a target only.

    Args:
        input_ids: ``[rows, seq]``.
        position_ids: ``[rows, seq]``; starts again with each text.
        text_ids: Which text of its row each token belongs to, ``[rows, seq]``; -1 for padding.
        head_mask: States that predict a learnt token, boolean ``[rows, seq]``.
        targets: The learnt tokens, in the order of ``head_mask``, ``[tokens]``.
        owners: The text each of them belongs to, ``[tokens]``.
        packed: Whether rows need the block mask, ``[]`` boolean.
    """

    input_ids: Tensor
    position_ids: Tensor
    text_ids: Tensor
    head_mask: Tensor
    targets: Tensor
    owners: Tensor
    packed: Tensor

    def to(self, device: torch.device | str) -> PackedTexts:
        """The same batch on another device."""
        return PackedTexts(*(t.to(device) for t in self))


def best_fit(lengths: Sequence[int], *, room: int) -> list[list[int]]:
    """Which texts share a row: longest first, each into the fullest row that still has room for it.

    Source: Johnson 1973, best fit decreasing: at most 11/9 of the fewest rows possible, plus 4.

    Args:
        lengths: Tokens of each text, none above ``room``.
        room: Tokens of a row.

    Example:
        >>> best_fit([5, 3, 4, 2, 6], room=8)
        [[4, 3], [0, 1], [2]]
    """
    rows: list[list[int]] = []
    free: list[tuple[int, int]] = []  # (room left, row), ascending
    for text in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        place = bisect_left(free, (lengths[text], -1))
        if place == len(free):
            left, row = room, len(rows)
            rows.append([])
        else:
            left, row = free.pop(place)
        rows[row].append(text)
        insort(free, (left - lengths[text], row))
    return rows


def pack(texts: Sequence[TokenText], *, packed: bool = True, pad_id: int = 0) -> PackedTexts:
    """Put texts into rows.

    Args:
        texts: At least one.
        packed: Let short texts share a row; otherwise each has its own.
        pad_id: The token that fills rows; it changes no result.
    """
    import torch

    lengths = [len(text.tokens) - 1 for text in texts]
    width = max(lengths)
    rows = best_fit(lengths, room=width) if packed else [[n] for n in range(len(texts))]
    shape = (len(rows), width)
    input_ids, targets = torch.full(shape, pad_id), torch.full(shape, pad_id)
    position_ids, owners = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    text_ids, head_mask = torch.full(shape, -1), torch.zeros(shape, dtype=torch.bool)
    for r, row in enumerate(rows):
        start = 0
        for place, n in enumerate(row):
            text, stop = texts[n], start + lengths[n]
            input_ids[r, start:stop] = torch.tensor(text.tokens[:-1])
            targets[r, start:stop] = torch.tensor(text.tokens[1:])
            head_mask[r, start:stop] = torch.tensor(text.learn[1:])
            position_ids[r, start:stop] = torch.arange(lengths[n])
            text_ids[r, start:stop] = place
            owners[r, start:stop] = n
            start = stop
    return PackedTexts(
        input_ids=input_ids,
        position_ids=position_ids,
        text_ids=text_ids,
        head_mask=head_mask,
        targets=targets[head_mask],
        owners=owners[head_mask],
        packed=torch.tensor(packed),
    )


def token_losses(model: nn.Module, batch: PackedTexts) -> Tensor:
    """The negative log-probability of every learnt token.

    Args:
        model: A `transformers` causal language model, or a peft model around one; on the batch's device.
        batch: From `pack`.

    Returns:
        ``[tokens]`` float32, in nats, in the order of ``batch.targets``.
    """
    import torch

    from plait.align.completion_head import token_logprobs

    if bool(batch.packed):
        dtype = next(p.dtype for p in model.parameters() if p.is_floating_point())
        extra = {"attention_mask": block_mask(batch, dtype=dtype), "position_ids": batch.position_ids}
    else:
        extra = {"attention_mask": (batch.text_ids >= 0).long()}
    logits: Tensor = model(input_ids=batch.input_ids, use_cache=False, logits_to_keep=batch.head_mask, **extra).logits
    if logits.dim() == 3:  # a model class that ignores a boolean logits_to_keep
        logits = logits[batch.head_mask]
    return -token_logprobs(logits, torch.arange(len(logits), device=logits.device), batch.targets)


def block_mask(batch: PackedTexts, *, dtype: torch.dtype) -> Tensor:
    """The additive attention mask ``[rows, 1, seq, seq]``: 0 where a token may look, the lowest number elsewhere."""
    import torch

    text, seq = batch.text_ids, batch.input_ids.shape[1]
    causal = torch.ones(seq, seq, dtype=torch.bool, device=text.device).tril()
    allowed = causal & (text[:, :, None] == text[:, None, :])
    mask = torch.zeros(allowed.shape, dtype=dtype, device=text.device)
    return mask.masked_fill(~allowed, torch.finfo(dtype).min)[:, None]
