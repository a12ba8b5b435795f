"""Parser, rewards and metrics, by hand and against scipy and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.align.confidence import metrics
from plait.align.confidence.counted import bin_of
from plait.align.confidence.metrics import Numbers
from plait.align.confidence.parse import Status, parse_confidence, strip_confidence
from plait.align.confidence.quality import exact_match, numeric_match
from plait.align.confidence.retrieval import sweep_thresholds
from plait.align.confidence.rewards import ConfidenceReward, brier_reward, log_reward, order_reward
from plait.align.confidence.stated import compare_stated, measure_stated
from plait.align.evaluate import Interval
from plait.core.seeds import Seeds
from plait.errors import DataError, UsageError


def sample(n: int = 400) -> tuple[Numbers, Numbers]:
    rng = np.random.default_rng(3)
    confidence = rng.integers(0, 11, n) / 10
    return confidence, (rng.random(n) < 0.2 + 0.5 * confidence).astype(float)


@pytest.mark.parametrize(
    ("said", "value", "status"),
    [
        ("0.8", 0.8, Status.OK),
        (".8", 0.8, Status.OK),
        ("1", 1.0, Status.OK),
        ("0", 0.0, Status.OK),
        ("80", 0.8, Status.OK),
        ("80.", 0.8, Status.OK),
        ("80%", 0.8, Status.OK),
        ("80 %", 0.8, Status.OK),
        ("1%", 0.01, Status.OK),
        ("1.5", 1.0, Status.CLIPPED),
        ("-0.2", 0.0, Status.CLIPPED),
        ("250", 1.0, Status.CLIPPED),
        ("high", None, Status.NO_NUMBER),
        ("8/10", None, Status.NO_NUMBER),
        ("1e-3", None, Status.NO_NUMBER),
        ("nan", None, Status.NO_NUMBER),
    ],
)
def test_parse(said: str, value: float | None, status: Status) -> None:
    found = parse_confidence(f"### Answer: 7\n### Confidence: {said}")
    assert found.status == status
    assert found.value == (None if value is None else pytest.approx(value))


def test_the_last_marker_wins_and_none_is_none() -> None:
    assert parse_confidence("### Confidence: 0.2\n### Confidence: 0.9").value == 0.9
    assert parse_confidence("### Answer: 0.9").status == Status.NO_MARKER
    assert strip_confidence("4\n### Confidence: 0.3") == "4"


def test_official_readings_of_what_is_missing_contradict_each_other() -> None:
    assert parse_confidence("4", compat="official-training").value == 1.0
    assert parse_confidence("4", compat="official-evaluation").value == 0.0
    assert parse_confidence("### Confidence: 85%", compat="official-training").value == 85.0
    assert parse_confidence("### Confidence: .8", compat="official-evaluation").value == 0.0


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0, 1)), min_size=2, max_size=20))
def test_order_reward_identity(pairs: list[tuple[float, float]]) -> None:
    q, c = np.array(pairs).T
    found = order_reward(q, c, normalise="sum", standardise=False)
    expected = len(q) * ((q - q.mean()) * (c - c.mean()) + np.mean((q - q.mean()) * (c - c.mean())))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_order_reward_by_hand() -> None:
    q, c = np.array([0.0, 2.0, 4.0]), np.array([0.5, 0.0, 1.0])
    # first: (0-2)(.5-0) + (0-4)(.5-1) = 1; second: (2-0)(0-.5) + (2-4)(0-1) = 1; third: 4*.5 + 2*1 = 4
    assert order_reward(q, c, normalise="sum", standardise=False).tolist() == [1, 1, 4]
    assert order_reward(q, c, standardise=False).tolist() == [0.5, 0.5, 2]
    assert order_reward(q, c, standardise=False, normalise="sum", rank=True).tolist() == [0, 0.5, 1.5]
    np.testing.assert_allclose(order_reward(q * 7, c), order_reward(q, c))


def test_order_reward_refuses_a_sample_alone() -> None:
    with pytest.raises(UsageError, match="only one"):
        order_reward(np.ones(1), np.ones(1))
    with pytest.raises(UsageError, match="only one"):
        order_reward(np.ones(3), np.ones(3), groups=["a", "a", "b"])


def test_order_reward_within_prompts_and_without_a_confidence() -> None:
    q, c = np.array([0.0, 1.0, 5.0, 5.0]), np.array([0.0, 1.0, np.nan, 0.3])
    found = order_reward(q, c, groups=["a", "a", "b", "b"], standardise=False)
    np.testing.assert_array_equal(found, [1, 1, np.nan, 0])


def test_proper_scores_are_largest_at_the_truth() -> None:
    grid = np.arange(0.05, 1, 0.05)
    for p in (0.1, 0.5, 0.8):
        for score in (brier_reward, log_reward):
            right, wrong = score(np.ones_like(grid), grid), score(np.zeros_like(grid), grid)
            assert grid[np.argmax(p * right + (1 - p) * wrong)] == pytest.approx(p)
    assert log_reward(np.zeros(1), np.ones(1)).tolist() == [pytest.approx(math.log(0.01))]


def test_reward_settings() -> None:
    reward = ConfidenceReward(kind="hybrid", order_weight=0.5, standardise=False)
    found = reward([1.0, 0.0, None], quality=[1, 0, 0])
    # the first two agree: each 1 of order; no Brier loss; the third has the fixed penalty
    assert found.tolist() == [0.5, 0.5, -1.0]
    with pytest.raises(UsageError, match="0 to 1"):
        ConfidenceReward()([0.5, 0.5], quality=[3.0, -1.0])
    with pytest.raises(UsageError, match="prompts"):
        ConfidenceReward(kind="order", scope="prompt")([0.5, 0.5], quality=[0, 1])


def test_metrics_against_scipy_and_sklearn() -> None:
    from scipy import stats
    from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

    c, y = sample()
    assert metrics.auroc(c, y) == pytest.approx(roc_auc_score(y, c))
    assert metrics.brier(c, y) == pytest.approx(brier_score_loss(y, c))
    assert metrics.nll(c, y) == pytest.approx(log_loss(y, np.clip(c, 0.01, 0.99)))
    assert metrics.pearson(c, y) == pytest.approx(stats.pearsonr(c, y)[0])
    assert metrics.spearman(c, y) == pytest.approx(stats.spearmanr(c, y)[0])


def test_ece_counts_silence_and_keeps_edges() -> None:
    half = np.array([1.0, 0.0] * 50)
    assert metrics.ece(np.zeros(100), half) == 0.5
    assert metrics.ece(np.zeros(100), half, count_zero=False) == 0.0
    assert metrics.ece(np.full(100, 0.9), half) == pytest.approx(0.4)
    assert bin_of(np.array([0, 0.1, 0.3, 0.6, 0.7, 1.0]), 10).tolist() == [0, 0, 2, 5, 6, 9]


def test_ece_against_a_loop() -> None:
    c, y = np.random.default_rng(0).random(200), sample(200)[1]
    loop = 0.0
    for b in range(10):
        inside = (c > b / 10) & (c <= (b + 1) / 10)
        if inside.any():
            loop += inside.mean() * abs(c[inside].mean() - y[inside].mean())
    assert metrics.ece(c, y) == pytest.approx(loop)


def test_adaptive_ece() -> None:
    c, y = np.arange(20) / 20, np.array([0.0, 1.0] * 10)
    by_hand = np.mean([abs(c[i : i + 2].mean() - 0.5) for i in range(0, 20, 2)])
    assert metrics.adaptive_ece(c, y) == pytest.approx(by_hand)
    assert metrics.adaptive_ece(np.full(20, 0.5), y) == pytest.approx(0)


def test_risk_coverage_does_not_depend_on_the_order_of_ties() -> None:
    c, y = sample()
    rows = np.random.default_rng(1).permutation(len(c))
    np.testing.assert_allclose(metrics.risk_coverage(c, y), metrics.risk_coverage(c[rows], y[rows]))
    assert metrics.aurc(np.full(4, 0.5), np.array([1.0, 0, 0, 0])) == pytest.approx(0.75)
    assert metrics.aurc(np.array([0.9, 0.1]), np.array([1.0, 0])) == pytest.approx(0.25)


def test_intervals_hold_the_value_and_pairs_are_narrower() -> None:
    c, y = sample()
    found = metrics.measure(c, y, seeds=Seeds(0), resamples=200)
    assert found["AUROC"].low < found["AUROC"].value < found["AUROC"].high
    worse = np.clip(c + 0.1, 0, 1)
    change = metrics.compare(c, worse, y, seeds=Seeds(0), resamples=200)["Brier"]
    alone = metrics.measure(worse, y, seeds=Seeds(0), resamples=200)["Brier"]
    assert change.high - change.low < alone.high - alone.low
    assert found == metrics.measure(c, y, seeds=Seeds(0), resamples=200)


def test_intervals_are_those_of_a_loop_over_the_same_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    c, y = sample(37)
    c[:5] += 0.013  # not all on the grid
    after = c**2
    draws = Seeds(4).child("bootstrap").numpy().integers(37, size=(60, 37))
    monkeypatch.setattr(metrics, "_AT_ONCE", 37 * 25)  # blocks of 25, 25 and 10
    alone = metrics.measure(c, y, seeds=Seeds(4), resamples=60)
    change = metrics.compare(c, after, y, seeds=Seeds(4), resamples=60)
    for name, metric in metrics.METRICS.items():
        values = [metric(c[rows], y[rows]) for rows in draws]
        assert_is_interval(alone[name], metric(c, y), values)
        if name in change:
            changes = [metric(after[rows], y[rows]) - value for rows, value in zip(draws, values, strict=True)]
            assert_is_interval(change[name], metric(after, y) - metric(c, y), changes)


def assert_is_interval(found: Interval, value: float, values: list[float]) -> None:
    low, high = np.nanquantile(values, [0.025, 0.975])
    np.testing.assert_allclose([found.value, found.low, found.high], [value, low, high], atol=1e-12)


def test_where_a_metric_is_not_defined_it_is_not_a_number() -> None:
    c = np.array([0.2, 0.7])
    assert math.isnan(metrics.auroc(c, np.ones(2)))
    assert math.isnan(metrics.spearman(np.full(2, 0.5), np.array([0.0, 1.0])))
    found = metrics.measure(c, np.array([0.0, 1.0]), seeds=Seeds(0), resamples=50)["AUROC"]
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)  # half of the resamples have none


def test_stated_confidences_are_those_of_many_draws() -> None:
    rng = np.random.default_rng(5)
    distribution = rng.dirichlet(np.full(11, 0.4), size=30)
    correct = (rng.random(30) < 0.6).astype(float)
    rows = np.repeat(np.arange(30), 4000)
    drawn = (distribution[rows].cumsum(1) < rng.random((len(rows), 1))).sum(1).clip(0, 10) / 10
    found = measure_stated(distribution, correct, seeds=Seeds(0), resamples=40)
    for name, interval in found.items():
        assert interval.value == pytest.approx(metrics.METRICS[name](drawn, correct[rows]), abs=0.01)
        assert interval.low < interval.high
    change = compare_stated(distribution, distribution[::-1], correct, seeds=Seeds(0), resamples=40)
    backwards = measure_stated(distribution[::-1], correct, seeds=Seeds(0), resamples=40)
    assert change["ECE"].value == pytest.approx(backwards["ECE"].value - found["ECE"].value)
    certain = np.eye(11)[[9, 2, 5]]
    marks = np.array([1.0, 0.0, 1.0])
    assert measure_stated(certain, marks, seeds=Seeds(0), resamples=9)["Brier"].value == pytest.approx(0.1)


def test_metrics_against_loops_over_samples() -> None:
    c, y = sample(61)
    pairs = [(a > b) + (a == b) / 2 for a, right in zip(c, y, strict=True) if right for b in c[y == 0]]
    assert metrics.auroc(c, y) == pytest.approx(np.mean(pairs))
    assert metrics.aurc(c, y) == pytest.approx(metrics.risk_coverage(c, y)[:, 1].mean())


def test_measure_refuses() -> None:
    with pytest.raises(DataError):
        metrics.measure(np.array([85.0]), np.ones(1), seeds=Seeds(0))
    with pytest.raises(DataError):
        metrics.measure(np.array([0.5]), np.array([0.5]), seeds=Seeds(0))
    with pytest.raises(DataError):
        metrics.measure(np.array([]), np.array([]), seeds=Seeds(0))


def test_quality() -> None:
    assert exact_match("The Nile.\n### Confidence: 0.9", "nile")
    assert not exact_match("The Amazon", "nile")
    assert numeric_match("so 1,042", "1042")
    assert not numeric_match("none", "1042")


def test_looking_up_by_confidence() -> None:
    curve = sweep_thresholds(np.array([0.9, 0.2, np.nan]), np.array([1.0, 0, 0]), np.ones(3))
    assert [one.calls for one in (curve[0], curve[-1])] == [pytest.approx(1 / 3), 1.0]
    assert curve[5].accuracy == 1.0
    assert curve[5].at_random == pytest.approx(1 / 3 * 1 / 3 + 2 / 3)
