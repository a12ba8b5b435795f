"""Accuracy, margins and intervals by hand, and against scoring the definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from align.tiny_models import lora, random_pairs, tiny_model
from plait.align.evaluate import (
    Interval,
    PairScores,
    accuracy,
    bootstrap,
    bootstrap_ratio,
    rank_correlation,
    score_pairs,
)
from plait.align.pairs import TokenPair
from plait.align.reference import ReferenceCache, reference_logprobs
from plait.align.shared_prefix import lay_out, pair_logprobs
from plait.core.seeds import Seeds
from plait.errors import UsageError

SEEDS = Seeds(3)


def test_margins_by_hand() -> None:
    pairs = [TokenPair("a", (1,), (2,) * 4, (3,) * 2), TokenPair("b", (1,), (2,), (3,) * 5)]
    scores = PairScores.of(pairs, [(-8.0, -6.0), (-3.0, -10.0)])
    assert scores.summed().tolist() == [-2.0, 7.0]
    assert scores.per_token().tolist() == [-2.0 + 3.0, -3.0 + 2.0]  # length turns both round
    moved = PairScores.of(pairs, [(-9.0, -9.0), (-4.0, -10.0)])
    assert moved.implicit(scores).tolist() == [2.0, -1.0]


def test_accuracy_counts_a_tie_as_half() -> None:
    assert accuracy(np.array([3.0, -1.0, 0.0, 0.0])).value == 0.5
    assert accuracy(np.zeros(5)).value == 0.5


@pytest.mark.parametrize(("won", "count"), [(0, 4), (4, 4), (7, 10), (30, 48)])
def test_accuracy_has_wilsons_interval(won: int, count: int) -> None:
    from scipy.stats import binomtest

    found = accuracy(np.array([1.0] * won + [-1.0] * (count - won)))
    expected = binomtest(won, count).proportion_ci(0.95, method="wilson")
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_ratio_of_sums_and_its_interval() -> None:
    above, below = np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0])
    assert bootstrap_ratio(above, below, seeds=SEEDS) == Interval(2.0, 2.0, 2.0)
    found = bootstrap_ratio(np.array([1.0, 9.0]), np.array([1.0, 3.0]), seeds=SEEDS)
    assert (found.value, found.low, found.high) == (2.5, 1.0, 3.0)  # of the three possible draws 1, 2.5 and 3


def test_rank_correlation_is_spearmans() -> None:
    from scipy.stats import spearmanr

    draw = np.random.default_rng(0)
    for _ in range(20):
        first, second = draw.integers(0, 6, (2, 30)).astype(float)  # with ties
        assert rank_correlation(first, second) == pytest.approx(spearmanr(first, second).statistic)
    assert rank_correlation(np.ones(4), np.arange(4.0)) == 0.0


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        interval = bootstrap(draw.binomial(1, 0.7, size=60).astype(float), seeds=Seeds(trial), resamples=500)
        hits += interval.low <= 0.7 <= interval.high
    assert 180 <= hits <= 198


def test_interval_is_seeded() -> None:
    values = np.random.default_rng(1).normal(size=30)
    assert bootstrap(values, seeds=SEEDS) == bootstrap(values, seeds=SEEDS)
    assert bootstrap(values, seeds=SEEDS) != bootstrap(values, seeds=Seeds(4))
    assert Interval(0.7, -0.5, 1.95).text() == "0.70 (-0.50 to 1.95)"


def test_scores_are_those_of_the_model_with_its_adapter() -> None:
    model, pairs = lora(tiny_model(), scale=0.5), random_pairs(5)
    model.train()
    seen: list[int] = []
    scores = score_pairs(model, pairs, on_progress=lambda done, _total: seen.append(done))
    assert model.training
    assert seen == [1, 2, 3, 4, 5]
    model.eval()
    with torch.no_grad():
        chosen, rejected = pair_logprobs(model, lay_out(pairs))
    np.testing.assert_allclose(scores.chosen, chosen.numpy(), atol=1e-4)
    np.testing.assert_allclose(scores.rejected, rejected.numpy(), atol=1e-4)
    reference = PairScores.of(pairs, reference_logprobs(model, pairs, cache=ReferenceCache()))
    assert np.abs(scores.implicit(reference)).max() > 1e-2


def test_nothing_to_score() -> None:
    with pytest.raises(UsageError, match="0 pairs"):
        PairScores.of([], [])
