"""Log-probabilities of both completions of a pair with the prompt computed once.

Pairs are laid end to end in one row, each as ``[prompt | chosen | rejected]``. Both completions take the positions
right after their prompt, and attention is causal within a pair with one exception: rejected tokens do not see chosen
ones. The last prompt state predicts the first token of both. With full attention and rotary or learned positions this
is exactly two separate forward passes per pair, for fewer tokens: ``P+C+R`` instead of ``2P+C+R``, and no padding at
all. The vocabulary head runs only on states that predict a completion token.

Where that is not exact (see `why_two_branches`), every completion has a row of its own, padded at its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from plait.align.pairs import TokenPair
from plait.errors import ModelError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from plait.align.branch_mask import Span

Layout = Literal["shared_prefix", "two_branch"]

_RECURRENT = ("mamba", "rwkv", "jamba", "zamba", "bamba", "recurrent", "xlstm", "falcon_h1", "lfm2")
_ALIBI = ("bloom", "mpt")


class LaidOutPairs(NamedTuple):
    """A batch of pairs as tensors.

    Args:
        input_ids: ``[1, seq]``, or with two branches ``[2 · pairs, seq]``, chosen and rejected in turns.
        position_ids: As ``input_ids``; a branch goes on where its prompt ends.
        present: As ``input_ids``, boolean; false where a row is padded.
        head_mask: States that predict a completion token, boolean, as ``input_ids``.
        predictors: For each completion token, the index of its predicting state among those of ``head_mask``.
        targets: The completion tokens, ``[tokens]``.
        owners: ``2 · pair`` for chosen and ``2 · pair + 1`` for rejected, ``[tokens]``.
        spans: Tokens of prompt, chosen and rejected, for each pair of the shared row; empty with two branches.
    """

    input_ids: Tensor
    position_ids: Tensor
    present: Tensor
    head_mask: Tensor
    predictors: Tensor
    targets: Tensor
    owners: Tensor
    spans: tuple[Span, ...]

    def to(self, device: torch.device | str) -> LaidOutPairs:
        """The same batch on another device."""
        import torch

        tensors = {name: value for name, value in self._asdict().items() if isinstance(value, torch.Tensor)}
        return self._replace(**{name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()})

    @property
    def pairs(self) -> int:
        """How many pairs there are."""
        return len(self.spans) or self.input_ids.shape[0] // 2


def lay_out(pairs: Sequence[TokenPair], *, layout: Layout = "shared_prefix", pad_id: int = 0) -> LaidOutPairs:
    """Put pairs into one row, or into rows.

    Args:
        pairs: At least one.
        layout: ``shared_prefix``, or ``two_branch`` for one row per completion.
        pad_id: The token that fills rows; it changes no result.
    """
    import torch

    from plait.align.branch_mask import Span

    if layout == "shared_prefix":
        rows = [[(pair.prompt, (pair.chosen, pair.rejected)) for pair in pairs]]
        spans = tuple(Span(len(pair.prompt), len(pair.chosen), len(pair.rejected)) for pair in pairs)
    else:
        rows = [[(pair.prompt, (branch,))] for pair in pairs for branch in (pair.chosen, pair.rejected)]
        spans = ()
    filled = [_Row.of(row) for row in rows]
    width = max(len(row.ids) for row in filled)
    shape = (len(filled), width)
    input_ids, position_ids = torch.full(shape, pad_id), torch.zeros(shape, dtype=torch.long)
    present, head_mask = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
    states, targets, owners = list[int](), list[int](), list[int]()
    for r, row in enumerate(filled):
        size = len(row.ids)
        input_ids[r, :size], position_ids[r, :size] = torch.tensor(row.ids), torch.tensor(row.positions)
        present[r, :size] = True
        states += [r * width + state for state in row.states]
        targets += row.targets
        owners += [r + owner for owner in row.owners]
    flat = torch.tensor(states)
    head_mask.view(-1)[flat] = True
    return LaidOutPairs(
        input_ids=input_ids,
        position_ids=position_ids,
        present=present,
        head_mask=head_mask,
        predictors=(head_mask.view(-1).cumsum(0) - 1)[flat],
        targets=torch.tensor(targets),
        owners=torch.tensor(owners),
        spans=spans,
    )


def pair_logprobs(model: nn.Module, batch: LaidOutPairs) -> tuple[Tensor, Tensor]:
    """Summed log-probabilities of the chosen and of the rejected completions.

    Args:
        model: A `transformers` causal language model, or a peft model around one; on the batch's device.
            Dropout must be off for the two layouts to agree.
        batch: From `lay_out`.

    Returns:
        ``(chosen, rejected)``, each ``[batch]`` float32, in nats. Back-propagate through them once.
    """
    import torch

    from plait.align.completion_head import token_logprobs

    attention = {"attention_mask": _mask(model, batch), "position_ids": batch.position_ids}
    if not batch.spans:
        del attention["position_ids"]  # a plain forward; models without positions refuse them
    logits: Tensor = model(
        input_ids=batch.input_ids, use_cache=False, logits_to_keep=batch.head_mask, **attention
    ).logits
    if logits.dim() == 3:  # a model class that ignores a boolean logits_to_keep
        logits = logits[batch.head_mask]
    per_token = token_logprobs(logits, batch.predictors, batch.targets)
    sums = torch.zeros(2 * batch.pairs, dtype=per_token.dtype, device=logits.device)
    sums = sums.index_add(0, batch.owners, per_token)
    return sums[0::2], sums[1::2]


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


def _mask(model: nn.Module, batch: LaidOutPairs) -> Tensor:
    from plait.align.branch_mask import branch_mask, dense_mask

    if not batch.spans:
        return batch.present.long()
    dtype = next(p.dtype for p in model.parameters() if p.is_floating_point())
    sparse = str(getattr(getattr(model, "config", None), "_attn_implementation", "")) == "sdpa"
    return (branch_mask if sparse else dense_mask)(batch.spans, dtype=dtype, device=batch.input_ids.device)


class _Row(NamedTuple):
    """The tokens of a row and what they predict.

    ``states`` are the columns of the states that predict ``targets``; ``owners`` counts branches from 0.
    """

    ids: list[int]
    positions: list[int]
    states: list[int]
    targets: list[int]
    owners: list[int]

    @classmethod
    def of(cls, pairs: Sequence[tuple[Sequence[int], Sequence[Sequence[int]]]]) -> _Row:
        """From prompts with one or two branches each."""
        row = cls([], [], [], [], [])
        owner = 0
        for prompt, branches in pairs:
            row.ids.extend(prompt)
            row.positions.extend(range(len(prompt)))
            last = len(row.ids) - 1
            for branch in branches:
                start = len(row.ids)
                row.states.extend([last, *range(start, start + len(branch) - 1)])
                row.targets.extend(branch)
                row.owners.extend([owner] * len(branch))
                row.ids.extend(branch)
                row.positions.extend(range(len(prompt), len(prompt) + len(branch)))
                owner += 1
        return row
