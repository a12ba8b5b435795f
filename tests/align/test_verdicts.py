"""Every verdict on hand-made runs, on both sides of its threshold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from plait.align.evaluate import PairScores
from plait.align.pairs import TokenPair
from plait.align.verdicts import RunFacts, Thresholds, Verdict, judge
from plait.core.seeds import Seeds

TOKENS = 10


def scores(chosen: float, rejected: float, *, count: int = 200, spread: float = 0.0) -> PairScores:
    """Pairs of ten tokens a side, around the log-probabilities given (nats, summed)."""
    draw = np.random.default_rng(0).normal(0, spread, (count, 2))
    pairs = [TokenPair(str(n), (1,), (2,) * TOKENS, (3,) * TOKENS) for n in range(count)]
    return PairScores.of(pairs, [(float(chosen + a), float(rejected + b)) for a, b in draw])


def step(**scalars: float) -> dict[str, float]:
    return {
        "loss": 0.5,
        "beta": 0.1,
        "accuracy": 1.0,
        "kept": 1.0,
        "effective_pairs": 8.0,
        "grad_norm": 0.5,
        "beta_clamped": 0.0,
    } | scalars


def falling(count: int = 40) -> list[dict[str, float]]:
    return [step(step=n, loss=0.7 - 0.4 * n / count) for n in range(count)]


def healthy() -> RunFacts:
    """A run with nothing to say against it."""
    return RunFacts(
        curve=falling(), before=scores(-30, -28), after=scores(-29, -33), batch_size=8, pooled=True, dynamic_beta=True,
        kl_per_token=0.1, length_ratio=1.0, flips_learnt=0.2,
    )  # fmt: skip


def verdict(name: str, facts: RunFacts, thresholds: Thresholds | None = None) -> Verdict:
    [found] = [v for v in judge(facts, thresholds=thresholds, seeds=Seeds(0)) if v.name == name]
    return found


def test_a_healthy_run_is_fine_in_every_respect() -> None:
    found = judge(healthy())
    assert {v.level for v in found} == {"fine"}
    assert len({v.name for v in found}) == len(found) == 14
    assert not any(v.try_this for v in found)


def test_what_was_not_measured_is_not_judged() -> None:
    facts = replace(
        healthy(), pooled=False, dynamic_beta=False, kl_per_token=None, length_ratio=None, flips_learnt=None
    )
    names = {v.name for v in judge(facts)}
    assert names == {v.name for v in judge(healthy())} - {
        "effective sample size", "β at a bound", "β swings", "KL to the reference", "length drift",
        "flipped labels learnt",
    }  # fmt: skip
    short = replace(facts, curve=[{"loss": 0.5, "beta": 0.1}] * 7)
    assert names - {v.name for v in judge(short)} == {"training loss", "learnt by heart", "clipped gradients"}


def test_the_worst_comes_first() -> None:
    facts = replace(healthy(), after=scores(-34, -29), kl_per_token=2.0)
    levels = [v.level for v in judge(facts)]
    assert levels == sorted(levels, key=["problem", "warning", "note", "fine"].index)
    assert levels[0] == "problem"


@pytest.mark.parametrize(
    ("name", "change", "level", "measured"),
    [
        # chosen and rejected start at -30 and -28 in sum, that is -3.0 and -2.8 nats per token
        ("held-out margin", {"after": scores(-29.9, -28)}, "fine", 0.01),
        ("held-out margin", {"after": scores(-30, -28)}, "note", 0.0),
        ("held-out margin", {"after": scores(-30.1, -28)}, "problem", -0.01),
        ("held-out margin", {"after": scores(-29.99, -28, spread=9)}, "note", None),
        ("likelihood displacement", {"after": scores(-30, -31)}, "fine", 0.0),
        ("likelihood displacement", {"after": scores(-30.9, -33)}, "note", -0.09),
        ("likelihood displacement", {"after": scores(-31.1, -33)}, "warning", -0.11),
        ("distance from the reference", {"after": scores(-29, -36.9)}, "fine", 0.495),
        ("distance from the reference", {"after": scores(-29, -37.2)}, "warning", 0.51),
        ("training loss", {"curve": [step(loss=0.7)] * 20 + [step(loss=0.734)] * 20}, "note", 0.0485714),
        ("training loss", {"curve": [step(loss=0.7)] * 20 + [step(loss=0.736)] * 20}, "problem", 0.0514286),
        ("training loss", {"curve": [step(loss=0.7)] * 20 + [step(loss=0.694)] * 20}, "note", -0.0085714),
        ("training loss", {"curve": [step(loss=0.7)] * 20 + [step(loss=0.692)] * 20}, "fine", -0.0114286),
        ("clipped gradients", {"curve": [step(grad_norm=2)] * 20 + [step()] * 20}, "fine", 0.5),
        ("clipped gradients", {"curve": [step(grad_norm=2)] * 21 + [step()] * 19}, "note", 0.525),
        ("effective sample size", {"curve": [step(effective_pairs=4.0)] * 8}, "fine", 0.5),
        ("effective sample size", {"curve": [step(effective_pairs=3.9)] * 8}, "warning", 0.4875),
        ("effective sample size", {"curve": [step(effective_pairs=3.9, kept=0.75)] * 8}, "fine", 0.65),
        ("effective sample size", {"batch_size": 1}, "warning", 1.0),
        ("β at a bound", {"curve": [step(beta_clamped=1.0)] * 4 + [step()] * 36}, "fine", 0.1),
        ("β at a bound", {"curve": [step(beta_clamped=0.5)] * 10 + [step()] * 30}, "warning", 0.125),
        ("β swings", {"curve": [step(beta=0.01)] * 20 + [step()] * 19 + [step(beta=0.4)]}, "fine", 4.0),
        ("β swings", {"curve": [step(beta=0.01)] * 20 + [step()] * 19 + [step(beta=0.41)]}, "warning", 4.1),
        ("KL to the reference", {"kl_per_token": 0.5}, "fine", 0.5),
        ("KL to the reference", {"kl_per_token": 0.51}, "warning", 0.51),
        ("length drift", {"length_ratio": 1.25}, "fine", 1.25),
        ("length drift", {"length_ratio": 1.26}, "warning", 1.26),
        ("length drift", {"length_ratio": 0.8}, "fine", 0.8),
        ("length drift", {"length_ratio": 0.79}, "warning", 0.79),
        ("flipped labels learnt", {"flips_learnt": 0.5}, "fine", 0.5),
        ("flipped labels learnt", {"flips_learnt": 0.51}, "warning", 0.51),
        ("held-out pairs", {"before": scores(-30, -28, count=100), "after": scores(-29, -33, count=100)}, "fine", 100),
        ("held-out pairs", {"before": scores(-30, -28, count=99), "after": scores(-29, -33, count=99)}, "note", 99),
    ],
)
def test_levels_turn_at_their_thresholds(name: str, change: dict[str, Any], level: str, measured: float | None) -> None:
    found = verdict(name, replace(healthy(), **change))
    assert found.level == level
    if measured is not None:
        assert found.measured == pytest.approx(measured, abs=1e-6)
    usual = (name, level) == ("likelihood displacement", "note")
    assert bool(found.try_this) == (level != "fine" and not usual)


@pytest.mark.parametrize(("right", "level"), [(160, "fine"), (159, "warning")])
def test_learnt_by_heart_compares_training_with_held_out_pairs(right: int, level: str) -> None:
    before = scores(-30, -28)
    chosen = before.chosen + np.where(np.arange(200) < right, 1.0, -1.0)
    found = verdict("learnt by heart", replace(healthy(), before=before, after=replace(before, chosen=chosen)))
    assert (found.level, found.measured) == (level, pytest.approx(1 - right / 200))


def test_length_shortcut() -> None:
    """Gaps in the order of the length differences are the shortcut; gaps in no order are not."""
    draw = np.random.default_rng(1)
    lengths = draw.integers(5, 40, (200, 2)).astype(float)
    before = replace(scores(-30, -28), chosen_length=lengths[:, 0], rejected_length=lengths[:, 1])
    longer = lengths[:, 0] - lengths[:, 1]
    for gaps, level, sign in ((longer, "warning", 1), (-longer, "warning", -1), (draw.normal(size=200), "fine", 0)):
        found = verdict(
            "length shortcut", replace(healthy(), before=before, after=replace(before, chosen=before.chosen + gaps))
        )
        assert found.level == level
        assert found.measured == pytest.approx(sign, abs=0.2)


def test_thresholds_can_be_moved() -> None:
    facts = replace(healthy(), kl_per_token=0.3)
    assert verdict("KL to the reference", facts).level == "fine"
    assert verdict("KL to the reference", facts, Thresholds(kl=0.2)).level == "warning"


def test_a_negative_chosen_reward_is_explained() -> None:
    found = verdict("likelihood displacement", replace(healthy(), after=scores(-30.5, -33)))
    assert "not broken" in found.reason
    assert found.text() == (
        "likelihood displacement: -0.05 nats per token (threshold -0.1). The chosen texts changed by -0.050 nats per "
        "token, the rejected by -0.500. A chosen reward below 0 is not broken: the loss asks for the difference alone, "
        "and this little is usual."
    )
