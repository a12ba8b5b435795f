"""Linear layers in float32 through oneDNN, on processors for which torch's own choice, MKL, is less than half as fast.

MKL runs its AVX2 kernels on AMD processors, also where they have AVX-512. oneDNN, which torch carries as well, does not
ask who made the processor: 2.2 times as many operations per second on an EPYC of 2024, forwards and backwards. Both
compute in float32 throughout; their results differ by rounding alone.
"""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

SWITCH = "PLAIT_FAST_LINEAR"
"""Environment variable; ``0`` leaves every linear layer as it is."""


class FastLinear(nn.Linear):
    """An `nn.Linear` that computes through oneDNN in float32 on a CPU, and as it always did elsewhere."""

    def forward(self, input: Tensor) -> Tensor:
        """``input @ weight.T + bias``; ``[..., in_features]`` to ``[..., out_features]``."""
        if not _applies(input, self.weight):
            return functional.linear(input, self.weight, self.bias)
        if torch.is_grad_enabled():
            return cast("Tensor", _Linear.apply(input, self.weight, self.bias))
        return _linear(input, self.weight, self.bias)


def use_fast_linear(model: nn.Module) -> list[nn.Linear]:
    """Let a model's linear layers compute through oneDNN where that is faster; weights and names stay as they are.

    Args:
        model: Changed in place. Only layers that are exactly `nn.Linear` are, not quantised or wrapped ones.

    Returns:
        The layers that were changed: none where torch's own choice is as fast.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 2), nn.ReLU())
        >>> len(use_fast_linear(model)) == is_faster()
        True
    """
    layers = [module for module in model.modules() if type(module) is nn.Linear] if is_faster() else []
    for layer in layers:
        layer.__class__ = FastLinear
    return layers


@contextmanager
def fast_linear(model: nn.Module) -> Generator[None]:
    """The same for a while: for a model that belongs to somebody else."""
    changed = use_fast_linear(model)
    try:
        yield
    finally:
        for layer in changed:
            layer.__class__ = nn.Linear


@functools.cache
def is_faster() -> bool:
    """Whether torch would use MKL on a processor that MKL does not know well, with AVX-512."""
    return (
        os.environ.get(SWITCH, "1") != "0"
        and torch.backends.mkl.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and _has_onednn()
        and "AuthenticAMD" in _processor()
    )


@functools.cache
def _has_onednn() -> bool:
    """Whether this torch has oneDNN; a model pickled where it has may be loaded where it has not."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _processor() -> str:
    """The processor as the system describes it, with its maker."""
    described = Path("/proc/cpuinfo")
    return described.read_text(encoding="utf-8")[:4096] if described.exists() else platform.processor()


def _applies(input: Tensor, weight: Tensor) -> bool:
    return (
        input.dtype == weight.dtype == torch.float32
        and input.device.type == weight.device.type == "cpu"
        and input.dim() > 1
        and input.numel() > 0
        and not torch.is_autocast_enabled("cpu")
        and _has_onednn()
    )


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input @ weight.T + bias``; tensors may be transposed without a copy."""
    return torch.ops.mkldnn._linear_pointwise(input, weight, bias, "none", [], "")


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(input, weight)
        return _linear(input, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        input, weight = cast("tuple[Tensor, Tensor]", ctx.saved_tensors)
        for_input, for_weight, for_bias = cast("tuple[bool, bool, bool]", ctx.needs_input_grad)
        rows = gradient.reshape(-1, gradient.shape[-1])
        return (
            _linear(gradient, weight.t()) if for_input else None,
            _linear(rows.t(), input.reshape(-1, input.shape[-1]).t()) if for_weight else None,
            rows.sum(0) if for_bias else None,
        )
