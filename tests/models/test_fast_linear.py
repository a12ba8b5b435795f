"""Linear layers through oneDNN: the same numbers and gradients as torch's own, and only where they apply."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from plait.models import fast_linear
from plait.models.fast_linear import FastLinear, is_faster, use_fast_linear


def layer(inputs: int, outputs: int, *, bias: bool = True) -> FastLinear:
    torch.manual_seed(3)
    return FastLinear(inputs, outputs, bias=bias)


def exact(layer: nn.Linear) -> nn.Linear:
    """The same layer in float64, by torch."""
    plain = nn.Linear(layer.in_features, layer.out_features, bias="bias" in layer.state_dict())
    plain.load_state_dict(layer.state_dict())
    return plain.double()


@given(
    shape=st.lists(st.integers(1, 5), min_size=0, max_size=2),
    inputs=st.integers(1, 40),
    outputs=st.integers(1, 40),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_values_and_gradients_are_those_of_torch(
    shape: list[int], inputs: int, outputs: int, bias: bool, seed: int
) -> None:
    ours = layer(inputs, outputs, bias=bias)
    theirs = exact(ours)
    draw = torch.Generator().manual_seed(seed)
    given_rows = torch.randn(*shape, inputs, generator=draw)
    towards = torch.randn(*shape, outputs, generator=draw)
    found: list[list[Tensor]] = []
    for one, dtype in ((ours, torch.float32), (theirs, torch.float64)):
        rows = given_rows.to(dtype, copy=True).requires_grad_()
        out = one(rows)
        out.backward(towards.to(dtype))
        assert rows.grad is not None
        found.append([out, rows.grad, *(p.grad for p in one.parameters() if p.grad is not None)])
    assert len(found[0]) == len(found[1]) == (4 if bias else 3)
    for mine, reference in zip(*found, strict=True):
        torch.testing.assert_close(mine.double(), reference, atol=1e-4, rtol=1e-4)


def test_a_frozen_layer_passes_gradients_on_and_keeps_none() -> None:
    frozen = layer(8, 4).requires_grad_(False)
    rows = torch.randn(3, 8, requires_grad=True)
    frozen(rows).sum().backward()
    assert rows.grad is not None
    torch.testing.assert_close(rows.grad, frozen.weight.sum(0).expand(3, 8))
    assert frozen.weight.grad is None


def test_rows_that_are_not_contiguous() -> None:
    ours = layer(6, 4)
    rows = torch.randn(6, 5).t()
    torch.testing.assert_close(ours(rows), ours(rows.contiguous()))


def test_what_does_not_apply_is_left_to_torch() -> None:
    ours = layer(6, 4)
    assert ours(torch.zeros(0, 6)).shape == (0, 4)
    assert ours.double()(torch.zeros(2, 6, dtype=torch.float64)).dtype == torch.float64
    ours.float()
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(torch.zeros(2, 6)).dtype == torch.bfloat16


def test_without_onednn_it_is_torchs_own_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, rows = layer(6, 4), torch.randn(5, 6)
    monkeypatch.setattr(fast_linear, "_has_onednn", lambda: False)
    assert torch.equal(ours(rows), nn.functional.linear(rows, ours.weight, ours.bias))
    monkeypatch.setattr(fast_linear, "_linear", None)
    ours(rows)


def test_a_model_keeps_its_weights_names_and_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_linear, "is_faster", lambda: True)

    class Wrapped(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), Wrapped(3, 2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with fast_linear.fast_linear(model):
        assert type(model[0]) is FastLinear
    assert type(model[0]) is nn.Linear
    assert use_fast_linear(model) == [model[0]]
    assert [type(module) for module in model] == [FastLinear, nn.ReLU, Wrapped]
    assert list(model.state_dict()) == list(before)
    rows = torch.randn(2, 4)
    for twin in (copy.deepcopy(model[0]), pickle.loads(pickle.dumps(model[0]))):
        assert type(twin) is FastLinear
        assert torch.equal(twin(rows), model[0](rows))


def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(fast_linear.SWITCH, "0")
    is_faster.cache_clear()
    try:
        model = nn.Linear(4, 3)
        assert not use_fast_linear(model)
        assert type(model) is nn.Linear
    finally:
        is_faster.cache_clear()
