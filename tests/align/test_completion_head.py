"""Token log-probabilities and their gradient equal those of a plain log-softmax, from one buffer."""

from __future__ import annotations

import pytest
import torch

from plait.align import completion_head
from plait.align.completion_head import token_logprobs

PREDICTORS, TARGETS = torch.tensor([0, 1, 0, 3, 2]), torch.tensor([4, 0, 6, 6, 2])


@pytest.mark.parametrize("tile", [1, 14, 1 << 20])  # one row a tile, two, all
def test_equals_log_softmax(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion_head, "_TILE", tile)
    torch.manual_seed(0)
    states, head = torch.randn(4, 5, dtype=torch.float64), torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, dtype=torch.float64)
    expected = (states @ head.t()).log_softmax(-1)[PREDICTORS, TARGETS]
    found = token_logprobs(states @ head.t(), PREDICTORS, TARGETS)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    [mine], [theirs] = (torch.autograd.grad(logprobs, [head], weight) for logprobs in (found, expected))
    torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=0)


def test_by_finite_differences() -> None:
    torch.manual_seed(1)
    logits, step = torch.randn(4, 7, dtype=torch.float64), 1e-6
    weight = torch.randn(5, dtype=torch.float64)

    def value(given: torch.Tensor) -> torch.Tensor:
        return (token_logprobs(given, PREDICTORS, TARGETS) * weight).sum()

    moved = step * torch.eye(28, dtype=torch.float64).view(28, 4, 7)
    expected = torch.stack([(value(logits + m) - value(logits - m)) / (2 * step) for m in moved]).view(4, 7)
    logits.requires_grad_()
    [found] = torch.autograd.grad(value(logits.clone()), [logits])
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=0)


def test_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, torch.log(torch.tensor(3.0))]])
    found = token_logprobs(logits, torch.tensor([0, 1]), torch.tensor([1, 1]))
    torch.testing.assert_close(found, torch.tensor([0.5, 0.75]).log())


def test_half_precision_is_summed_in_float32() -> None:
    torch.manual_seed(0)
    logits = (4 * torch.randn(4, 4096)).bfloat16().requires_grad_()
    targets = torch.tensor([1, 2, 3, 4, 5])
    found = token_logprobs(logits.clone(), PREDICTORS, targets)
    expected = logits.float().log_softmax(-1)[PREDICTORS, targets]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    [mine], [theirs] = (torch.autograd.grad(logprobs.sum(), [logits]) for logprobs in (found, expected))
    torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-2)


def test_a_second_backward_pass_is_refused_and_the_gradient_is_the_logits_own_memory() -> None:
    source = torch.randn(4, 7, requires_grad=True)
    logits = source * 1
    address, gradients = logits.data_ptr(), list[int]()
    logits.register_hook(lambda gradient: gradients.append(gradient.data_ptr()))
    found = token_logprobs(logits, PREDICTORS, TARGETS).sum()
    found.backward(retain_graph=True)
    assert gradients == [address]
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        found.backward()
