from __future__ import annotations

from collections import Counter

import pytest
import torch
from transformers import TopPLogitsWarper

from plait.models.sampling import Draws, choose, nucleus_floor


def test_tokens_come_as_often_as_their_probability() -> None:
    probabilities = torch.tensor([0.5, 0.0, 0.3, 0.2])
    n = 1000
    uniforms = (torch.arange(n) + 0.5) / n
    tokens = choose(probabilities.log().expand(n, -1), temperature=1.0, uniforms=uniforms)
    assert Counter(tokens.tolist()) == {0: 500, 2: 300, 3: 200}


def test_temperature_by_hand() -> None:
    # scores 0 and ln 3 at temperature 1/2 become odds 1 : 9
    n = 1000
    uniforms = (torch.arange(n) + 0.5) / n
    scores = torch.tensor([1.0, 3.0]).log().expand(n, -1)
    tokens = choose(scores, temperature=0.5, uniforms=uniforms)
    assert Counter(tokens.tolist()) == {0: 100, 1: 900}


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("vocabulary", [10, 257, 5000])
def test_nucleus_equals_transformers(vocabulary: int, top_p: float) -> None:
    scores = torch.randn(6, vocabulary, generator=torch.Generator().manual_seed(vocabulary)) * 2
    theirs = TopPLogitsWarper(top_p)(torch.zeros(6, 1, dtype=torch.long), scores).isfinite()
    probabilities = scores.softmax(-1)
    assert torch.equal(probabilities >= nucleus_floor(probabilities, top_p), theirs)


def test_forbidden_tokens_are_never_chosen() -> None:
    scores = torch.full((3, 50), -torch.inf)
    scores[:, 17] = -1e4
    edges = torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)
    for settings in ({"temperature": 0.0}, {"temperature": 1.0}, {"temperature": 0.01, "top_p": 0.3}):
        assert choose(scores, uniforms=edges, **settings).tolist() == [17, 17, 17]


def test_the_last_token_is_the_last_that_can_be_drawn() -> None:
    scores = torch.randn(1, 49_152, generator=torch.Generator().manual_seed(0))
    top = torch.tensor([1 - 2**-53], dtype=torch.float64)
    assert 0 <= int(choose(scores, temperature=1.0, uniforms=top)) < 49_152


def test_draws_are_uniform_and_apart() -> None:
    one, other = Draws(1), Draws(2)
    a, b = [one.next() for _ in range(4000)], [other.next() for _ in range(4000)]
    assert 0 <= min(a) < max(a) < 1
    assert sum(a) / 4000 == pytest.approx(0.5, abs=0.02)
    assert not set(a) & set(b)
