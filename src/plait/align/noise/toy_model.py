"""Many small transformers as one: their weights stacked, so that a step of all of them is one batched forward.

Model ``m`` reads row ``m`` of the tokens and of every weight, and nothing else; trained together, each follows the
path it would have followed alone (up to rounding).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from plait.core.component import Component
from plait.core.seeds import Seeds

Weights = dict[str, Tensor]
"""Name → the weight of all models, ``[models, …]``."""


_RESIDUAL = ("tokens", "positions")  # what the residual stream starts from


class ToySize(Component):
    """How large the models and their language are; the defaults are those of the known-reward experiment."""

    vocabulary: int = 24
    """Tokens of the language."""
    prompt: int = 4
    """Tokens of a prompt."""
    response: int = 8
    """Tokens of a response; all are of this length."""
    width: int = 64
    """Of the residual stream."""
    layers: int = 2
    """Blocks of attention and feed-forward."""
    heads: int = 2
    """Attention heads of each."""
    inner: int = 128
    """Width inside the feed-forward part."""


def fresh_weights(size: ToySize, *, seeds: Seeds) -> Weights:
    """Random weights of one model, each ``[1, …]``."""
    generator = torch.Generator().manual_seed(seeds.integer())
    width, shapes = size.width, dict[str, tuple[int, ...]]()
    shapes["tokens"] = (size.vocabulary, width)
    shapes["positions"] = (size.prompt + size.response, width)
    for layer in range(size.layers):
        shapes[f"{layer}.attend"] = (width, 3 * width)
        shapes[f"{layer}.join"] = (width, width)
        shapes[f"{layer}.up"] = (width, size.inner)
        shapes[f"{layer}.down"] = (size.inner, width)
    shapes["head"] = (width, size.vocabulary)
    return {
        name: torch.randn(1, *shape, generator=generator) * (0.5 if name in _RESIDUAL else shape[0] ** -0.5)
        for name, shape in shapes.items()
    }


def stack(models: list[Weights]) -> Weights:
    """The weights of several models as one."""
    return {name: torch.cat([weights[name] for weights in models]) for name in models[0]}


def unstack(weights: Weights, model: int) -> Weights:
    """One of them, ``[1, …]``."""
    return {name: value[model : model + 1].detach().clone() for name, value in weights.items()}


def logits(weights: Weights, tokens: Tensor, size: ToySize, *, first: int = 0) -> Tensor:
    """Next-token logits.

    Args:
        weights: Of all models.
        tokens: ``[models, batch, length]``.
        size: Of the models.
        first: Positions before this one are read, but nothing is predicted from them.

    Returns:
        ``[models, batch, length - first, vocabulary]``.
    """
    models, batch, length = tokens.shape
    offsets = torch.arange(models, device=tokens.device).view(-1, 1, 1) * size.vocabulary
    state = F.embedding(tokens + offsets, weights["tokens"].flatten(0, 1)) + weights["positions"][:, None, :length]
    state = state.flatten(1, 2)  # [models, batch · length, width]
    for layer in range(size.layers):
        mixed = torch.bmm(_normalised(state), weights[f"{layer}.attend"])
        mixed = mixed.view(models * batch, length, 3, size.heads, -1).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(mixed[0], mixed[1], mixed[2], is_causal=True)
        seen = seen.transpose(1, 2).reshape(models, batch * length, size.width)
        state = torch.baddbmm(state, seen, weights[f"{layer}.join"])
        inner = torch.relu(torch.bmm(_normalised(state), weights[f"{layer}.up"]))
        state = torch.baddbmm(state, inner, weights[f"{layer}.down"])
    kept = _normalised(state).view(models, batch, length, -1)[:, :, first:]
    found = torch.bmm(kept.reshape(models, -1, size.width), weights["head"])
    return found.view(models, batch, length - first, -1)


def response_logprobs(weights: Weights, tokens: Tensor, size: ToySize) -> Tensor:
    """Log π(response | prompt) in nats.

    Args:
        weights: Of all models.
        tokens: Prompt and response, ``[models, batch, prompt + response]``.
        size: Of the models.

    Returns:
        Sums over the response, ``[models, batch]``.
    """
    predicted = logits(weights, tokens[:, :, :-1], size, first=size.prompt - 1)
    targets = tokens[:, :, size.prompt :]
    # cross_entropy keeps less for the backward pass than a log-softmax and a gather.
    nats = F.cross_entropy(predicted.flatten(0, 2), targets.flatten(), reduction="none")
    return -nats.view(targets.shape).sum(2)


def sample(weights: Weights, prompts: Tensor, noise: Tensor, size: ToySize) -> Tensor:
    """Draw a response to each prompt.

    Args:
        weights: Of all models.
        prompts: ``[models, batch, prompt]``.
        noise: Gumbel noise that makes the draw, ``[models, batch, response, vocabulary]``.
        size: Of the models.

    Returns:
        Prompts and responses, ``[models, batch, prompt + response]``.
    """
    tokens = prompts
    with torch.no_grad():
        for step in range(size.response):
            last = logits(weights, tokens, size, first=tokens.shape[2] - 1)[:, :, 0]
            tokens = torch.cat([tokens, (last + noise[:, :, step]).argmax(2, keepdim=True)], dim=2)
    return tokens


@dataclass
class Adam:
    """AdamW without weight decay over stacked weights: elementwise, so that no model feels another."""

    weights: Weights
    learning_rate: float

    def __post_init__(self) -> None:
        for value in self.weights.values():
            value.requires_grad_()
        values = list(self.weights.values())
        self._host = torch.optim.AdamW(values, lr=self.learning_rate, weight_decay=0.0, fused=True)

    def step(self, loss: Tensor) -> None:
        """Go down the sum of all models' losses: each sees the gradient of its own."""
        cast("None", loss.backward())
        self._host.step()
        self._host.zero_grad(set_to_none=True)


def _normalised(state: Tensor) -> Tensor:
    """Root-mean-square normalisation without weights: the next matrix can hold them."""
    return F.rms_norm(state, (state.shape[-1],))
