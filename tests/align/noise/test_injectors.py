from __future__ import annotations

import math

import pytest

from plait.align.noise.injectors import Annotator, Injector, InstanceDependent, LengthBiased, Pointwise, Symmetric, Ties
from plait.core.seeds import Seeds
from plait.errors import DataError

SEEDS = Seeds(3)
PAIRS = [
    {
        "id": f"p{n}",
        "prompt": f"question {n}",
        "chosen": f"good {n} " * (1 + n % 5),
        "rejected": f"bad {n} " * (1 + n % 3),
        "margin": (n % 10) / 3,
    }
    for n in range(2000)
]
ALL: list[Injector] = [
    Symmetric(rate=0.2),
    InstanceDependent(rate=0.2),
    Annotator(rate=0.2, annotators=200),
    LengthBiased(rate=0.1),
    Ties(rate=0.4),
    Pointwise(rate=0.2),
]


@pytest.mark.parametrize("injector", ALL, ids=lambda i: i.kind)
def test_the_rate_is_realised_and_the_mask_tells_the_truth(injector: Injector) -> None:
    noisy = injector.apply(PAIRS, seeds=SEEDS)
    expected = injector.rate / 2 if isinstance(injector, Ties) else injector.rate
    assert noisy.realised == pytest.approx(expected, abs=0.03)
    for before, after in zip(PAIRS, noisy.records, strict=True):
        changed = (before["chosen"], before["rejected"]) != (after["chosen"], after["rejected"])
        assert after["flipped"] == changed
        assert after["noise"] == (injector.kind if changed else None)


@pytest.mark.parametrize("injector", ALL, ids=lambda i: i.kind)
def test_a_shuffle_changes_no_decision(injector: Injector) -> None:
    noisy = injector.apply(PAIRS, seeds=SEEDS)
    back = injector.apply(PAIRS[::-1], seeds=SEEDS).records[::-1]
    assert back == noisy.records
    assert injector.apply(PAIRS, seeds=Seeds(4)).mask != noisy.mask


@pytest.mark.parametrize("injector", [Symmetric(), Annotator(), LengthBiased(offset=-1.0)], ids=lambda i: i.kind)
def test_a_subset_has_the_same_flips(injector: Injector) -> None:
    whole = {r["id"]: r["flipped"] for r in injector.apply(PAIRS, seeds=SEEDS).records}
    assert all(whole[r["id"]] == r["flipped"] for r in injector.apply(PAIRS[::7], seeds=SEEDS).records)


def test_hard_pairs_are_confused_more_often() -> None:
    chances = InstanceDependent(rate=0.2, slope=2.0).chances(PAIRS, [str(r["id"]) for r in PAIRS], SEEDS)
    assert sum(chances) / len(chances) == pytest.approx(0.2, abs=1e-9)
    spread = math.sqrt(99 / 12) / 3  # of 0 … 9, over 3
    log_odds = [math.log(c / (1 - c)) for c in chances[:2]]
    assert log_odds[0] - log_odds[1] == pytest.approx(2 * (1 / 3) / spread)


def test_only_towards_the_longer_text() -> None:
    noisy = LengthBiased(rate=0.1).apply(PAIRS, seeds=SEEDS)
    assert all(len(r["chosen"]) > len(r["rejected"]) for r in noisy.records if r["flipped"])
    with pytest.raises(DataError, match="rejected is longer"):
        LengthBiased(rate=0.9).apply(PAIRS, seeds=SEEDS)


def test_annotators_err_at_rates_of_their_own() -> None:
    injector = Annotator(rate=0.2, spread=0.3)
    records = [{**r, "annotator": "one" if n % 2 else "two"} for n, r in enumerate(PAIRS)]
    noisy = injector.apply(records, seeds=SEEDS)
    for who in ("one", "two"):
        theirs = [r["flipped"] for r in noisy.records if r["annotator"] == who]
        assert sum(theirs) / len(theirs) == pytest.approx(injector.rate_of(who, SEEDS), abs=0.05)
    rates = [injector.rate_of(str(n), SEEDS) for n in range(2000)]
    assert sum(rates) / 2000 == pytest.approx(0.2, abs=0.02)
    # Variance of Beta(aν, (1-a)ν) is a(1-a)/(ν+1), and ν+1 = 1/spread.
    assert sum((r - 0.2) ** 2 for r in rates) / 2000 == pytest.approx(0.16 * 0.3, rel=0.15)


def test_the_closest_pairs_are_the_ties() -> None:
    noisy = Ties(rate=0.2).apply(PAIRS, seeds=SEEDS)
    assert {r["margin"] for r in noisy.records if r["flipped"]} == {0.0, 1 / 3}


@pytest.mark.parametrize(
    ("damage", "text"), [("cut", "a b"), ("repeat", "a b c a b c"), ("shuffle", None), ("swap", "other")]
)
def test_damage(damage: str, text: str | None) -> None:
    records = [{"id": "1", "completion": "a b c d e f"}, {"id": "2", "completion": "other"}]
    injector = Pointwise.model_validate({"rate": 1.0, "damage": damage, "column": "completion"})
    found = injector.apply(records, seeds=SEEDS).records[0]["completion"]
    assert found == text if text else (found != "a b c d e f" and sorted(found.split()) == list("abcdef"))


def test_what_cannot_be_is_refused() -> None:
    noisy = Symmetric(rate=0.5).apply(PAIRS, seeds=SEEDS).records
    with pytest.raises(DataError, match="already flipped"):
        Symmetric().apply(noisy, seeds=SEEDS)
    with pytest.raises(DataError, match="stands twice"):
        Symmetric().apply([PAIRS[0], PAIRS[0]], seeds=SEEDS)
    with pytest.raises(DataError, match="no id"):
        Symmetric().apply([{"chosen": "a", "rejected": "b"}], seeds=SEEDS)
    with pytest.raises(DataError, match='no "margin"'):
        Ties().apply([{"id": "1", "chosen": "a", "rejected": "b"}], seeds=SEEDS)


def test_none_and_all() -> None:
    assert Symmetric(rate=0).apply(PAIRS, seeds=SEEDS).realised == 0
    assert Symmetric(rate=1).apply(PAIRS, seeds=SEEDS).realised == 1
