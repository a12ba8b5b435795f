"""Attention over pairs laid end to end in one row, computed pair by pair: what no token sees is not computed either.

A dense mask over a row of several pairs would cost the square of the row, and its upper half besides. `BranchMask`
stands in its place: a tensor without contents that tells `scaled_dot_product_attention` the spans. Any other use of it
sees the dense additive mask, so that models which slice, convert or add their masks are served too, only slower.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._pytree import tree_map_only


class Span(NamedTuple):
    """The tokens of one pair, in their order in the row."""

    prompt: int
    chosen: int
    rejected: int


class BranchMask(Tensor):
    """The attention mask ``[1, 1, seq, seq]`` of pairs in one row ``[prompt | chosen | rejected | prompt | …]``.

    Each token sees the tokens of its own pair up to itself; rejected tokens see no chosen ones. Made by `branch_mask`.
    The same idea as `torch.nn.attention.bias.CausalBias`.
    """

    spans: tuple[Span, ...]
    _rejected: dict[torch.dtype, list[Tensor]]

    def dense(self) -> Tensor:
        """The additive mask: 0 where a token may look, the lowest number elsewhere."""
        return dense_mask(self.spans, dtype=self.dtype, device=self.device)

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        dropout_p: float = 0.0,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """Attention, ``[1, heads, seq, head_size]``: causal over prompt and chosen, then rejected over its own past."""
        shared: dict[str, Any] = {"dropout_p": dropout_p, "scale": scale, "enable_gqa": enable_gqa}
        sizes = [size for span in self.spans for size in span]
        # One split each, so that the backward pass joins gradients once instead of padding every slice with zeros.
        queries = query.split([size for s in self.spans for size in (s.prompt + s.chosen, s.rejected)], dim=2)
        keys, values = key.split(sizes, dim=2), value.split(sizes, dim=2)
        found: list[Tensor] = []
        for n, mask in enumerate(self._rejected_masks(query.dtype)):
            k_prompt, k_chosen, k_rejected = keys[3 * n : 3 * n + 3]
            v_prompt, v_chosen, v_rejected = values[3 * n : 3 * n + 3]
            k, v = torch.cat([k_prompt, k_chosen], dim=2), torch.cat([v_prompt, v_chosen], dim=2)
            found.append(functional.scaled_dot_product_attention(queries[2 * n], k, v, is_causal=True, **shared))
            k, v = torch.cat([k_prompt, k_rejected], dim=2), torch.cat([v_prompt, v_rejected], dim=2)
            found.append(functional.scaled_dot_product_attention(queries[2 * n + 1], k, v, attn_mask=mask, **shared))
        return torch.cat(found, dim=2)

    def _rejected_masks(self, dtype: torch.dtype) -> list[Tensor]:
        """For each pair ``[rejected, prompt + rejected]``; made once for all layers."""
        if dtype not in self._rejected:
            self._rejected[dtype] = [
                torch.full((s.rejected, s.prompt + s.rejected), -torch.inf, dtype=dtype, device=self.device).triu(
                    s.prompt + 1
                )
                for s in self.spans
            ]
        return self._rejected[dtype]

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func is functional.scaled_dot_product_attention:
            mask = args[3] if len(args) > 3 else named.pop("attn_mask")
            if named.pop("is_causal", False) or not isinstance(mask, BranchMask):
                raise ValueError("a BranchMask is the mask of a call that is not causal by itself")
            return mask.attend(*args[:3], **named)
        if getattr(func, "__name__", "") in _METADATA:
            return super().__torch_function__(func, types, args, named)
        with torch._C.DisableTorchFunctionSubclass():
            args, named = tree_map_only(BranchMask, BranchMask.dense, (tuple(args), named))
            return func(*args, **named)


_METADATA = frozenset({"__get__", "dim", "size", "is_floating_point", "__len__"})


def branch_mask(spans: Sequence[Span], *, dtype: torch.dtype, device: torch.device | str = "cpu") -> BranchMask:
    """The mask of pairs in one row.

    Args:
        spans: The pairs, in their order; they fill the row.
        dtype: Of the model.
        device: Of the model.
    """
    length = sum(map(sum, spans))
    mask = torch.zeros(1, dtype=dtype, device=device).expand(1, 1, length, length).as_subclass(BranchMask)
    mask.spans = tuple(spans)
    mask._rejected = {}
    return mask


def dense_mask(spans: Sequence[Span], *, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """The same mask in full, ``[1, 1, seq, seq]``: 0 where a token may look, the lowest number elsewhere."""
    pair, branch = (
        torch.tensor(ids, device=device)
        for ids in (
            [n for n, span in enumerate(spans) for _ in range(sum(span))],
            [b for span in spans for b, size in enumerate(span) for _ in range(size)],
        )
    )
    visible = (branch[None, :] == 0) | (branch[:, None] == branch[None, :])
    allowed = visible & (pair[:, None] == pair[None, :])
    allowed = allowed.tril()
    mask = torch.zeros(allowed.shape, dtype=dtype, device=device)
    return mask.masked_fill(~allowed, torch.finfo(dtype).min)[None, None]
