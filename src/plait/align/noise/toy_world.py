"""A language with a known reward: what a policy should learn from preferences can be said exactly.

Sentences follow a random bigram language; a hidden reward r* likes certain words after certain prompts and certain
words after each other. A reference model is trained on the language, pairs are drawn from it and labelled by r*: so
every flip, every margin and the true quality of every sample are known.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from plait.align.noise.toy_model import Adam, ToySize, Weights, fresh_weights, logits, sample, stack, unstack
from plait.core.seeds import Seeds

_SFT_STEPS, _SFT_BATCH, _SFT_RATE = 400, 128, 3e-3


@dataclass(frozen=True)
class World:
    """One language, its reward and its reference model.

    Args:
        size: Of the models.
        seeds: Of everything drawn in it.
        transitions: log p(next token | token), ``[vocabulary, vocabulary]``.
        affinity: What the reward gives a response token for each prompt token, ``[vocabulary, vocabulary]``.
        bigrams: What it gives for each two tokens in a row, ``[vocabulary, vocabulary]``.
        reference: Weights of the reference model.
    """

    size: ToySize
    seeds: Seeds
    transitions: Tensor
    affinity: Tensor
    bigrams: Tensor
    reference: Weights

    def reward(self, tokens: Tensor) -> Tensor:
        """r* of prompts and responses, ``[…, prompt + response]`` → ``[…]``."""
        prompt, response = tokens[..., : self.size.prompt], tokens[..., self.size.prompt :]
        liked = self.affinity[prompt[..., :, None], response[..., None, :]].mean((-2, -1))
        joined = self.bigrams[tokens[..., self.size.prompt - 1 : -1], response].mean(-1)
        return liked + joined

    def prompts(self, count: int, name: str) -> Tensor:
        """Prompts of the language, ``[count, prompt]``."""
        return _sentences(self.transitions, count, self.size.prompt, self.generator("prompts", name))

    def samples(self, prompts: Tensor, name: str, *, each: int = 1) -> Tensor:
        """``each`` responses of the reference model to each prompt, ``[each, batch, prompt + response]``."""
        noise = gumbel((each, len(prompts), self.size.response, self.size.vocabulary), self.generator("noise", name))
        drawn = [sample(self.reference, prompts[None], row[None], self.size)[0] for row in noise]
        return torch.stack(drawn)

    def generator(self, *names: str | int) -> torch.Generator:
        """A stream of this world."""
        return torch.Generator().manual_seed(self.seeds.child(*names).integer())


def make_worlds(seeds: list[Seeds], size: ToySize) -> list[World]:
    """Languages, rewards and reference models, one per seed; the reference models are trained together."""
    rules = [_rules(size, s) for s in seeds]
    weights = stack([fresh_weights(size, seeds=s.child("weights")) for s in seeds])
    optimiser = Adam(weights, _SFT_RATE)
    streams = [torch.Generator().manual_seed(s.child("sft").integer()) for s in seeds]
    length = size.prompt + size.response
    for _ in range(_SFT_STEPS):
        text = torch.stack(
            [_sentences(r[0], _SFT_BATCH, length, stream) for r, stream in zip(rules, streams, strict=True)]
        )
        predicted = logits(weights, text[:, :, :-1], size)
        nats = F.cross_entropy(predicted.flatten(0, 2), text[:, :, 1:].flatten(), reduction="none")
        optimiser.step(nats.view(len(seeds), -1).mean(1).sum())
    return [World(size, s, *rule, unstack(weights, n)) for n, (s, rule) in enumerate(zip(seeds, rules, strict=True))]


def gumbel(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard Gumbel noise: added to log-probabilities, its largest entry is a draw from them."""
    return -torch.empty(shape).exponential_(generator=generator).clamp(min=1e-20).log()


def _rules(size: ToySize, seeds: Seeds) -> tuple[Tensor, Tensor, Tensor]:
    """Transitions, affinity and bigram rewards; the two rewards of about equal spread over responses."""
    generator = torch.Generator().manual_seed(seeds.child("rules").integer())
    words = size.vocabulary
    transitions = (1.5 * torch.randn(words, words, generator=generator)).log_softmax(1)
    hidden = torch.randn(2, words, 4, generator=generator)
    affinity = hidden[0] @ hidden[1].T / 2
    return transitions, affinity, torch.randn(words, words, generator=generator)


def _sentences(transitions: Tensor, count: int, length: int, generator: torch.Generator) -> Tensor:
    """Text of the bigram language, ``[count, length]``."""
    words = len(transitions)
    text = [torch.randint(words, (count,), generator=generator)]
    for _ in range(length - 1):
        noise = gumbel((count, words), generator)
        text.append((transitions[text[-1]] + noise).argmax(1))
    return torch.stack(text, dim=1)
