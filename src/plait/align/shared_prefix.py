"""Log-probabilities of both completions of a pair with the prompt computed once.

A pair is laid out as one sequence ``[prompt | chosen | rejected]``. Both completions take the positions
right after the prompt, and the mask is causal with one exception: rejected tokens do not see chosen ones.
The last prompt state predicts the first token of both. With full attention and rotary or learned positions
this is exactly two separate forward passes, for fewer tokens: ``P+C+R`` instead of ``2P+C+R``. Short pairs
share a row with others, as long as the row is no longer than the longest pair, so that hardly anything is
padding; and the vocabulary head runs only on states that predict a completion token.

Where that is not exact (see `why_two_branches`), the same batch is laid out as separate rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from plait.align.pairs import TokenPair
from plait.errors import ModelError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Layout = Literal["shared_prefix", "two_branch"]

_PROMPT, _CHOSEN, _REJECTED = 0, 1, 2
_RECURRENT = ("mamba", "rwkv", "jamba", "zamba", "bamba", "recurrent", "xlstm", "falcon_h1", "lfm2")
_ALIBI = ("bloom", "mpt")


class LaidOutPairs(NamedTuple):
    """A batch of pairs as tensors. Rows hold one or more pairs; -1 marks padding.

    Args:
        input_ids: ``[rows, seq]``.
        position_ids: ``[rows, seq]``; restarts at the end of the prompt for the rejected branch.
        pair_ids: Which pair each token belongs to, ``[rows, seq]``; -1 for padding.
        branch_ids: 0 prompt, 1 chosen, 2 rejected, ``[rows, seq]``.
        head_mask: States that predict a completion token, boolean ``[rows, seq]``.
        predictors: For each completion token, the index of its predicting state among those of ``head_mask``.
        targets: The completion tokens, ``[tokens]``.
        owners: ``2 · pair`` for chosen and ``2 · pair + 1`` for rejected, ``[tokens]``.
        shares_prefix: Whether a row needs the branch mask, ``[]`` boolean.
    """

    input_ids: Tensor
    position_ids: Tensor
    pair_ids: Tensor
    branch_ids: Tensor
    head_mask: Tensor
    predictors: Tensor
    targets: Tensor
    owners: Tensor
    shares_prefix: Tensor

    def to(self, device: torch.device | str) -> LaidOutPairs:
        """The same batch on another device."""
        return LaidOutPairs(*(t.to(device) for t in self))

    @property
    def pairs(self) -> int:
        """How many pairs there are."""
        return int(self.owners.max()) // 2 + 1


def lay_out(pairs: Sequence[TokenPair], *, layout: Layout = "shared_prefix", pad_id: int = 0) -> LaidOutPairs:
    """Put pairs into rows.

    Args:
        pairs: At least one.
        layout: ``shared_prefix``, or ``two_branch`` for one row per completion.
        pad_id: The token that fills rows; it changes no result.
    """
    import torch

    segments = [s for n, pair in enumerate(pairs) for s in _segments(n, pair, layout)]
    rows = _fill_rows(segments) if layout == "shared_prefix" else [[s] for s in segments]
    width = max(sum(len(s.ids) for s in row) for row in rows)
    shape = (len(rows), width)
    input_ids = torch.full(shape, pad_id)
    position_ids = torch.zeros(shape, dtype=torch.long)
    pair_ids, branch_ids = torch.full(shape, -1), torch.zeros(shape, dtype=torch.long)
    predicts: list[tuple[int, int, int, int]] = []  # row, column of the predicting state, target, owner
    for r, row in enumerate(rows):
        start = 0
        for n, segment in enumerate(row):
            stop = start + len(segment.ids)
            input_ids[r, start:stop] = torch.tensor(segment.ids)
            position_ids[r, start:stop] = torch.tensor(segment.positions)
            pair_ids[r, start:stop] = n
            branch_ids[r, start:stop] = torch.tensor(segment.branches)
            predicts += [(r, start + column, target, owner) for column, target, owner in segment.predicts]
            start = stop
    where = torch.tensor([(r, c) for r, c, _, _ in predicts])
    head_mask = torch.zeros(shape, dtype=torch.bool)
    head_mask[where[:, 0], where[:, 1]] = True
    numbering = head_mask.flatten().cumsum(0) - 1
    return LaidOutPairs(
        input_ids=input_ids,
        position_ids=position_ids,
        pair_ids=pair_ids,
        branch_ids=branch_ids,
        head_mask=head_mask,
        predictors=numbering[where[:, 0] * width + where[:, 1]],
        targets=torch.tensor([target for _, _, target, _ in predicts]),
        owners=torch.tensor([owner for _, _, _, owner in predicts]),
        shares_prefix=torch.tensor(layout == "shared_prefix"),
    )


def pair_logprobs(model: nn.Module, batch: LaidOutPairs) -> tuple[Tensor, Tensor]:
    """Summed log-probabilities of the chosen and of the rejected completions.

    Args:
        model: A `transformers` causal language model, or a peft model around one; on the batch's device.
            Dropout must be off for the two layouts to agree.
        batch: From `lay_out`.

    Returns:
        ``(chosen, rejected)``, each ``[batch]`` float32, in nats.
    """
    import torch

    if bool(batch.shares_prefix):
        extra = {"attention_mask": branch_mask(batch, dtype=_dtype(model)), "position_ids": batch.position_ids}
    else:
        extra = {"attention_mask": (batch.pair_ids >= 0).long()}
    logits: Tensor = model(input_ids=batch.input_ids, use_cache=False, logits_to_keep=batch.head_mask, **extra).logits
    if logits.dim() == 3:  # a model class that ignores a boolean logits_to_keep
        logits = logits[batch.head_mask]
    logits = logits.float()
    per_token = logits[batch.predictors, batch.targets] - logits.logsumexp(-1)[batch.predictors]
    sums = torch.zeros(2 * batch.pairs, device=logits.device).index_add(0, batch.owners, per_token)
    return sums[0::2], sums[1::2]


def branch_mask(batch: LaidOutPairs, *, dtype: torch.dtype) -> Tensor:
    """The additive attention mask ``[rows, 1, seq, seq]``: 0 where a token may look, the lowest number elsewhere."""
    import torch

    pair, branch, seq = batch.pair_ids, batch.branch_ids, batch.input_ids.shape[1]
    causal = torch.ones(seq, seq, dtype=torch.bool, device=pair.device).tril()
    same_pair = pair[:, :, None] == pair[:, None, :]
    visible = (branch[:, None, :] == _PROMPT) | (branch[:, :, None] == branch[:, None, :])
    allowed = causal & same_pair & visible
    mask = torch.zeros(allowed.shape, dtype=dtype, device=pair.device)
    return mask.masked_fill(~allowed, torch.finfo(dtype).min)[:, None]


def choose_layout(model: nn.Module, *, longest: int) -> tuple[Layout, str]:
    """The layout for a model, and why, in words for the log.

    Args:
        model: The model; only its configuration is read.
        longest: The longest branch, in tokens, that will be laid out.
    """
    reason = why_two_branches(model, longest=longest)
    if reason:
        return "two_branch", f"each completion in a row of its own: {reason}"
    return "shared_prefix", "the prompt of each pair computed once for both completions"


def why_two_branches(model: nn.Module, *, longest: int) -> str:
    """Why the shared prefix is not exact for this model; empty if it is.

    Positions of a branch must be free to restart after the prompt, and attention must take any mask: so no
    recurrent layers, no ALiBi (its bias counts columns, not positions), and no window or chunk shorter
    than a branch.

    Raises:
        ModelError: The model has no configuration to decide from.
    """
    config = getattr(model, "config", None)
    if config is None:
        raise ModelError(
            f"{type(model).__name__} has no config, so its attention is unknown",
            code="align.unknown-architecture",
            hint='choose layout="two_branch"',
        )
    kind = str(getattr(config, "model_type", ""))
    layers = {str(layer) for layer in getattr(config, "layer_types", None) or ()}
    if any(name in kind for name in _RECURRENT) or any("linear" in x or "conv" in x for x in layers):
        return f"{kind} has recurrent layers, which carry the chosen text into the rejected"
    if any(kind.startswith(name) for name in _ALIBI) or getattr(config, "alibi", False):
        return f"{kind} biases attention by distance in the row (ALiBi)"
    if str(getattr(config, "_attn_implementation", "")) not in ("sdpa", "eager"):
        return f"attention {config._attn_implementation!r} takes no custom mask"
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    slides = not layers or any("sliding" in layer for layer in layers)
    if window and slides and longest > window:
        return f"{kind} attends to the last {window} tokens, and a branch has {longest}"
    chunk = getattr(config, "attention_chunk_size", None)
    if chunk and any("chunked" in layer for layer in layers) and longest > chunk:
        return f"{kind} attends within chunks of {chunk} tokens, and a branch has {longest}"
    return ""


def _fill_rows(segments: Sequence[_Segment]) -> list[list[_Segment]]:
    """First fit, longest first, into rows no longer than the longest segment."""
    room = max(len(s.ids) for s in segments)
    rows: list[list[_Segment]] = []
    free: list[int] = []
    for segment in sorted(segments, key=lambda s: -len(s.ids)):
        size = len(segment.ids)
        place = next((r for r, space in enumerate(free) if space >= size), None)
        if place is None:
            rows.append([segment])
            free.append(room - size)
        else:
            rows[place].append(segment)
            free[place] -= size
    return rows


def _dtype(model: nn.Module) -> torch.dtype:
    return next(p.dtype for p in model.parameters() if p.is_floating_point())


class _Segment(NamedTuple):
    """Tokens that stay together in a row. ``predicts`` holds (column of the state, target, owner)."""

    ids: tuple[int, ...]
    positions: list[int]
    branches: list[int]
    predicts: list[tuple[int, int, int]]


def _segments(n: int, pair: TokenPair, layout: Layout) -> list[_Segment]:
    prompt, chosen, rejected = pair.prompt, pair.chosen, pair.rejected
    if layout == "shared_prefix":
        return [_segment(prompt, [(chosen, _CHOSEN, 2 * n), (rejected, _REJECTED, 2 * n + 1)])]
    return [_segment(prompt, [(ids, _CHOSEN, owner)]) for ids, owner in ((chosen, 2 * n), (rejected, 2 * n + 1))]


def _segment(prompt: tuple[int, ...], branches: Sequence[tuple[tuple[int, ...], int, int]]) -> _Segment:
    ids, kinds, positions = list(prompt), [_PROMPT] * len(prompt), list(range(len(prompt)))
    predicts: list[tuple[int, int, int]] = []
    for branch, kind, owner in branches:
        states = [len(prompt) - 1, *range(len(ids), len(ids) + len(branch) - 1)]
        predicts += [(state, token, owner) for state, token in zip(states, branch, strict=True)]
        ids += branch
        kinds += [kind] * len(branch)
        positions += range(len(prompt), len(prompt) + len(branch))
    return _Segment(tuple(ids), positions, kinds, predicts)
