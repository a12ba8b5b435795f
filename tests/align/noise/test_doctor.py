from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.align.noise.doctor import apply_relabels, examine, read_relabels, write_relabels
from plait.align.noise.estimate import (
    Mixture,
    confident_flip_rate,
    estimate_flip_rate,
    fit_mixture,
    rate_from_contradictions,
)
from plait.align.noise.evidence import collect_evidence
from plait.align.noise.injectors import Symmetric
from plait.align.noise.margins import PairTexts, calibrated, folds_by_prompt
from plait.core.seeds import Seeds
from plait.errors import DataError

SEEDS = Seeds(5)


def mirrored(rate: float, *, mean: float = 3.0, spread: float = 1.5, count: int = 4000) -> np.ndarray:
    draw = np.random.default_rng(1)
    clean = draw.normal(mean, spread, size=count)
    return np.where(draw.random(count) < rate, -clean, clean)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3, 0.45])
def test_the_mixture_is_found(rate: float) -> None:
    found = fit_mixture(mirrored(rate))
    assert found.flip_rate == pytest.approx(rate, abs=0.02)
    assert found.mean == pytest.approx(3.0, abs=0.1)
    assert found.spread == pytest.approx(1.5, abs=0.1)


def test_the_mixture_is_at_least_as_likely_as_its_neighbours() -> None:
    from scipy.stats import norm

    margins = mirrored(0.2, mean=1.0, spread=1.0)

    def likelihood(m: Mixture) -> float:
        right, wrong = (norm.pdf(margins, loc, m.spread) for loc in (m.mean, -m.mean))
        return float(np.log((1 - m.flip_rate) * right + m.flip_rate * wrong).sum())

    best = fit_mixture(margins)
    for other in [(0.02, 0, 0), (-0.02, 0, 0), (0, 0.05, 0), (0, -0.05, 0), (0, 0, 0.05), (0, 0, -0.05)]:
        step = Mixture(best.flip_rate + other[0], best.mean + other[1], best.spread + other[2])
        assert likelihood(step) < likelihood(best)


def test_the_posterior_by_hand() -> None:
    # ε = 1/4, μ = 2, σ = 1, m = -1: odds 1/3 · exp(2·2·1) of being wrong
    odds = np.exp(4.0) / 3
    assert Mixture(0.25, 2.0, 1.0).posterior(np.array([-1.0]))[0] == pytest.approx(odds / (1 + odds))


def test_margins_that_say_nothing_are_said_to() -> None:
    found = estimate_flip_rate(np.random.default_rng(0).normal(0.05, 1.0, size=500), seeds=SEEDS, resamples=20)
    assert not found.agree
    assert any("hardly tells" in remark for remark in found.remarks())


def test_confident_learning_by_hand() -> None:
    # Probabilities .9 .9 .9 .2 .4: threshold their mean .66; three confidently right, one (1-.2=.8) wrong.
    p = np.array([0.9, 0.9, 0.9, 0.2, 0.4])
    assert confident_flip_rate(np.log(p / (1 - p))) == pytest.approx(1 / 4)


@given(st.floats(0, 0.5))
def test_contradictions(rate: float) -> None:
    share = 2 * rate * (1 - rate)
    found = rate_from_contradictions(round((1 - share) * 10**8), round(share * 10**8))
    assert found == pytest.approx(rate, abs=2e-4)


@settings(max_examples=20)
@given(st.floats(0.01, 100))
def test_calibration_does_not_mind_the_unit(unit: float) -> None:
    margins = mirrored(0.2, count=300)
    np.testing.assert_allclose(calibrated(margins * unit), calibrated(margins), rtol=1e-3)


def test_calibration_of_margins_that_mislead_is_zero() -> None:
    assert np.abs(calibrated(-mirrored(0.1))).max() < 1e-3


def test_equal_prompts_share_a_fold() -> None:
    pairs = [PairTexts(str(n), f"prompt {n % 30}", "a", "b") for n in range(90)]
    fold = folds_by_prompt(pairs, 5, seeds=SEEDS)
    assert (fold[:30] == fold[30:60]).all()
    assert sorted(np.bincount(fold[:30])) == [6] * 5
    with pytest.raises(DataError, match="different prompts"):
        folds_by_prompt(pairs[:3], 5, seeds=SEEDS)


def records(count: int = 400) -> list[dict[str, str]]:
    draw = np.random.default_rng(2)
    good, bad = (["kind", "clear", "helpful", "honest"], ["rude", "vague", "useless", "wrong"])
    filler = [f"word{n}" for n in range(50)]

    def text(words: list[str]) -> str:
        return " ".join([*draw.choice(words, 2), *draw.choice(filler, 6)])

    return [{"id": f"r{n}", "prompt": f"q {n}", "chosen": text(good), "rejected": text(bad)} for n in range(count)]


def test_flips_are_found_counted_and_put_right(tmp_path: Path) -> None:
    clean = records()
    noisy = Symmetric(rate=0.2).apply(clean, seeds=SEEDS)
    found = examine(noisy.records, seeds=SEEDS)
    wrong = {r["id"] for r in noisy.records if r["flipped"]}
    top = {d.id for d in found.diagnoses[: len(wrong)]}
    assert len(top & wrong) / len(wrong) > 0.95
    assert found.flip_rate.agree
    assert found.flip_rate.value == pytest.approx(noisy.realised, abs=0.05)
    assert found.advice.objective["name"] == "dr_dpo"
    assert any("prefers rejected" in word for word in found.diagnoses[0].evidence)
    write_relabels(found.relabels(), tmp_path / "relabel.jsonl")
    entries = read_relabels(tmp_path / "relabel.jsonl")
    mended = {r["id"]: r["chosen"] for r in apply_relabels(noisy.records, entries)}
    still_wrong = [r["id"] for r in clean if r["id"] in mended and mended[r["id"]] != r["chosen"]]
    assert len(still_wrong) < 0.05 * len(mended)
    priors = apply_relabels(noisy.records, entries, how="prior")
    assert max(r["flip_prior"] for r in priors) == 0.49
    assert [r["chosen"] for r in priors] == [r["chosen"] for r in noisy.records]


def test_clean_labels_need_no_remedy() -> None:
    assert examine(records(), seeds=SEEDS).advice.objective == {"name": "dpo"}


def test_the_same_findings_again() -> None:
    once, again = (examine(records(200), seeds=SEEDS) for _ in range(2))
    assert once.relabels() == again.relabels()


def test_a_label_outvoted_by_its_repeats_is_suspicious() -> None:
    rows = records(100)
    same = {"prompt": "q", "chosen": "kind words", "rejected": "rude words"}
    rows += [{"id": f"s{n}", **same} for n in range(3)]
    rows.append({"id": "odd", "prompt": "q", "chosen": "rude words", "rejected": "kind words"})
    found = examine(rows, seeds=SEEDS)
    odd = next(d for d in found.diagnoses if d.id == "odd")
    assert odd.probability >= 0.75  # three of four labels are against it
    assert "contradicted by 3 and confirmed by 0" in " ".join(odd.evidence)
    assert found.repeats == (3, 3)


def test_near_copies_are_named() -> None:
    text = " ".join(f"w{n}" for n in range(60))
    evidence = collect_evidence([PairTexts("1", "", text, text + "!"), PairTexts("2", "", "yes", "no")])
    assert evidence[0].near_identical
    assert not evidence[1].near_identical


def test_margins_from_elsewhere_are_used_and_gaps_counted() -> None:
    rows = records(60)
    margins = {row["id"]: -1.0 if n < 5 else 2.0 + n / 100 for n, row in enumerate(rows[:50])}
    found = examine(rows, margins=margins, seeds=SEEDS)
    assert {d.id for d in found.diagnoses[:5]} == {f"r{n}" for n in range(5)}
    assert found.set_aside == {"no margin": 10}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ('{"id": "1", "action": "flop", "probability": 1}', "flop"),
        ('{"id": "1", "action": "flip", "probability": 2}', "not a probability"),
    ],
)
def test_a_bad_relabel_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "relabel.jsonl"
    path.write_text('{"id": "0", "action": "keep", "probability": 0}\n' + line + "\n")
    with pytest.raises(DataError, match=message) as error:
        read_relabels(path)
    assert error.value.where == f"{path}:2"


def test_too_little_is_refused() -> None:
    with pytest.raises(DataError, match="no record is a pair"):
        examine([{"text": "x"}], seeds=SEEDS)
    with pytest.raises(DataError, match="give no flip rate"):
        estimate_flip_rate(np.ones(5), seeds=SEEDS)
    with pytest.raises(DataError, match="not in the relabel file"):
        apply_relabels([{"id": "1", "chosen": "a", "rejected": "b"}], {}, how="prior")
