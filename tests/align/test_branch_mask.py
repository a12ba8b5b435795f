"""Attention pair by pair equals attention under the dense mask, and everything else sees that dense mask."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from plait.align.branch_mask import BranchMask, Span, branch_mask, dense_mask

SPANS = [Span(3, 2, 4), Span(1, 1, 1), Span(2, 5, 1)]


def random_heads(spans: list[Span], *, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    torch.manual_seed(0)
    length = sum(map(sum, spans))
    return [torch.randn(1, 2, length, 8, dtype=dtype, requires_grad=True) for _ in range(3)]


@settings(max_examples=25, deadline=None)
@given(spans=st.lists(st.builds(Span, *[st.integers(1, 6)] * 3), min_size=1, max_size=4))
def test_equals_attention_under_the_dense_mask(spans: list[Span]) -> None:
    heads = random_heads(spans)
    dtype = torch.float64
    found = functional.scaled_dot_product_attention(*heads, attn_mask=branch_mask(spans, dtype=dtype), scale=0.3)
    expected = functional.scaled_dot_product_attention(*heads, attn_mask=dense_mask(spans, dtype=dtype), scale=0.3)
    assert type(found) is torch.Tensor
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    weight = torch.randn_like(expected)
    for mine, theirs in zip(torch.autograd.grad(found, heads, weight), torch.autograd.grad(expected, heads, weight),
                            strict=True):  # fmt: skip
        torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=0)


def test_other_operations_see_the_dense_mask() -> None:
    mask, dense = branch_mask(SPANS, dtype=torch.float32), dense_mask(SPANS, dtype=torch.float32)
    assert mask.shape == dense.shape
    assert mask.dtype == torch.float32
    assert mask.dim() == 4
    for operation in (
        lambda m: m[:, :, :, :5],
        lambda m: m + 1,
        lambda m: m.to(torch.bfloat16),
        lambda m: torch.cat([m, m]),
        lambda m: torch.where(m == 0, 1.0, 2.0),
        lambda m: m.expand(2, -1, -1, -1),
    ):
        seen = operation(mask)
        assert not isinstance(seen, BranchMask)
        assert torch.equal(seen, operation(dense))


def test_a_call_that_is_causal_by_itself_is_refused() -> None:
    heads = random_heads(SPANS)
    with pytest.raises(ValueError, match="not causal by itself"):
        functional.scaled_dot_product_attention(
            *heads, attn_mask=branch_mask(SPANS, dtype=torch.float64), is_causal=True
        )


def test_grouped_queries() -> None:
    query, key, value = random_heads(SPANS)
    mask = branch_mask(SPANS, dtype=torch.float64)
    found = functional.scaled_dot_product_attention(query, key[:, :1], value[:, :1], attn_mask=mask, enable_gqa=True)
    expected = functional.scaled_dot_product_attention(
        query, key[:, :1].expand_as(key), value[:, :1].expand_as(value), attn_mask=mask.dense()
    )
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
