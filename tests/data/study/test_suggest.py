"""Suggested thresholds keep what they promise and say when they should not be believed."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from plait.core.figures import StageReport
from plait.core.report import write_page
from plait.data.ops.filters.characters import AlphanumericFilter, SpecialCharactersFilter, TextLengthFilter
from plait.data.ops.filters.repetition import CharacterRepetitionFilter
from plait.data.plan import read_ops
from plait.data.study.criteria import criteria
from plait.data.study.cuts import greedy_cuts, threshold_at
from plait.data.study.report import describe_suggestions, describe_tuning
from plait.data.study.suggest import (
    applied,
    by_k_sigma,
    by_keep_rate,
    by_labels,
    by_quantiles,
    by_spread,
)
from plait.data.study.table import StatsTable
from plait.data.study.tune import tune
from plait.data.study.what_if import WhatIf
from plait.errors import DataError, UsageError

LENGTH, ALNUM = "text_length_filter", "alphanumeric_filter"
OPS = [(LENGTH, TextLengthFilter(min_len=10, max_len=100_000)), (ALNUM, AlphanumericFilter(min_ratio=0.2))]


def _frame(rows: int = 1000, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    length = np.floor(rng.lognormal(6, 1, rows))
    return pl.DataFrame(
        {
            "id": [f"r{i}" for i in range(rows)],
            "source": rng.choice(["web", "books"], rows),
            "chars": length.astype(int),
            "text_len": length,
            "alnum_ratio": rng.beta(8, 2, rows),
        }
    )


def _ask(frame: pl.DataFrame, ops=OPS) -> WhatIf:
    return WhatIf(StatsTable(frame), criteria(ops))


def test_k_sigma_by_hand():
    frame = pl.DataFrame({"text_len": [100.0, 200.0, 300.0], "alnum_ratio": [0.5, 0.6, 0.7]})
    found = by_k_sigma(_ask(frame), k=2)
    # Means 200 and 0.6; standard deviations with n - 1 below: 100 and 0.1.
    assert found.settings[LENGTH] == {"min_len": 0, "max_len": 400}
    assert found.settings[ALNUM] == pytest.approx({"min_ratio": 0.4, "max_ratio": 0.8})
    assert "text_length_filter: min_len = 0 drops nothing" in found.warnings


def test_quantiles_cut_the_share_they_say():
    frame = _frame()
    found = by_quantiles(_ask(frame), cut=0.05)
    assert found.dropped[ALNUM] == 49  # one bounded tail: the values below the 50th of 1000
    assert found.dropped[LENGTH] <= 100
    assert set(found.settings[ALNUM]) == {"min_ratio"}  # the recipe bounds it on one side only
    with pytest.raises(UsageError, match="leaves nothing"):
        by_quantiles(_ask(frame), cut=0.5)


def test_robust_spread_ignores_outliers_and_follows_skew():
    values = np.concatenate([np.linspace(100, 200, 500), np.linspace(200, 1000, 500), [1e7] * 5])
    frame = pl.DataFrame({"text_len": np.floor(values), "alnum_ratio": np.full(1005, 0.8)})
    settings = by_spread(_ask(frame), k=3).settings[LENGTH]
    assert settings["max_len"] == pytest.approx(200 + 3 * 1.4826 * 400, rel=0.02)
    assert by_k_sigma(_ask(frame), k=3).settings[LENGTH]["max_len"] > 1e6


@pytest.mark.parametrize("keep", [0.3, 0.75, 0.9, 1.0])
@pytest.mark.parametrize("of", ["rows", "chars"])
def test_a_target_keep_rate_is_met(keep, of):
    share = by_keep_rate(_ask(_frame(5000)), keep, of=of).after.overall
    rate = share.kept / share.rows if of == "rows" else share.chars_kept / share.chars
    assert keep <= rate <= keep + 0.02


def test_a_keep_rate_cuts_all_tails_at_the_same_share():
    frame = _frame(20_000).with_columns(text_len=pl.Series(np.random.default_rng(5).permutation(20_000) + 1.0))
    found = by_keep_rate(_ask(frame), 0.85)
    low, high = found.settings[LENGTH]["min_len"], found.settings[LENGTH]["max_len"]
    assert low - 1 == pytest.approx(20_000 - high, abs=1)
    assert found.dropped[ALNUM] == pytest.approx(low - 1, abs=1)


def test_an_open_interval_gets_a_threshold_outside():
    ops = [(ALNUM, AlphanumericFilter(min_ratio=0.2, min_closed_interval=False))]
    frame = pl.DataFrame({"alnum_ratio": np.arange(1, 101) / 100})
    found = by_keep_rate(_ask(frame, ops), 0.9)
    assert found.after.overall.kept == 90
    assert found.settings[ALNUM]["min_ratio"] == 0.1


def test_a_keep_rate_that_is_none_is_refused():
    with pytest.raises(UsageError, match="cannot keep"):
        by_keep_rate(_ask(_frame()), 0)
    with pytest.raises(UsageError, match="how long"):
        by_keep_rate(_ask(_frame().select("alnum_ratio"), OPS[1:]), 0.5, of="chars")


def test_labels_set_the_one_threshold_that_explains_them():
    frame = _frame()
    labels = {f"r{i}": bool(frame["alnum_ratio"][i] > 0.75) for i in range(60)}
    found = by_labels(_ask(frame), labels)
    assert set(found.settings) == {LENGTH, ALNUM}  # the bounds of the length are taken away
    bad = max(v for v in frame["alnum_ratio"][:60].to_list() if v <= 0.75)
    good = min(v for v in frame["alnum_ratio"][:60].to_list() if v > 0.75)
    assert found.settings[ALNUM]["min_ratio"] == pytest.approx((bad + good) / 2)
    assert "leave 0 of them on the wrong side" in found.warnings[0]


def test_labels_by_chance_set_no_threshold():
    cuts = greedy_cuts({"x": np.arange(8.0)}, [("x", "low"), ("x", "high")], np.tile([True, False], 4), least_gain=2)
    assert cuts == []


def test_a_second_threshold_is_set_on_what_the_first_left():
    x, y = np.array([1.0, 2, 8, 9, 8, 9, 8]), np.array([5.0, 5, 5, 5, 1, 1, 5])
    good = np.array([False, False, True, True, False, False, True])
    cuts = greedy_cuts({"x": x, "y": y}, [("x", "low"), ("y", "low")], good, least_gain=2)
    assert [(cut.name, cut.value, cut.gain) for cut in cuts] == [("x", 5.0, 2), ("y", 3.0, 2)]


def test_labels_must_be_of_both_kinds_and_of_known_rows():
    with pytest.raises(UsageError, match=r"study\.one-label"):
        by_labels(_ask(_frame()), {"r1": True, "r2": True})
    with pytest.raises(UsageError, match='no row has the id "zz"'):
        by_labels(_ask(_frame()), {"r1": True, "zz": False})


@pytest.mark.parametrize(("low", "closed", "expected"), [(True, True, 2.0), (True, False, 1.0), (False, True, 3.0)])
def test_a_threshold_parts_kept_from_dropped(low, closed, expected):
    assert threshold_at(np.array([1.0, 2.0, 3.0]), np.array([False, True, True]), low=low, closed=closed) == expected


def test_redundant_filters_and_idle_bounds_are_told():
    frame = _frame().with_columns(special_char_ratio=1 - pl.col("alnum_ratio"))
    ops = [*OPS, ("special_characters_filter", SpecialCharactersFilter(max_ratio=0.5))]
    found = by_quantiles(_ask(frame, ops), cut=0.03)
    assert any("alphanumeric_filter may be redundant" in warning for warning in found.warnings)


def test_suggested_settings_are_written_into_a_recipe():
    found = by_quantiles(_ask(_frame()), cut=0.02)
    ops = applied(OPS, found)
    assert _ask(_frame(), ops).keep() == found.after
    json.dumps(found.to_json())


def test_suggestions_become_a_page(tmp_path):
    report = StageReport()
    describe_suggestions(by_keep_rate(_ask(_frame()), 0.8), report)
    assert "would keep" in report.headline
    assert [f.title for f in report.figures] == [
        "What each filter would drop if it were alone",
        "Share kept of each source",
    ]
    write_page(tmp_path / "page.html", report, title="Suggested", meta="")
    page = (tmp_path / "page.html").read_text()
    assert page.count("<svg") == 2
    assert "Suggested thresholds" in page


def _scored(rows: int = 2000) -> pl.DataFrame:
    frame = _frame(rows)
    # Good texts have many letters, and those of books are better.
    quality = (frame["alnum_ratio"] > 0.8).cast(float) * 0.8 + (frame["source"] == "books").cast(float) * 0.2
    return frame.with_columns(quality=quality)


def test_tuning_finds_the_threshold_that_parts_good_from_bad():
    found = tune(_ask(_scored()), quality="quality", objective="quality", trials=40, filters=[ALNUM], seed=1)
    assert found.settings[ALNUM]["min_ratio"] == pytest.approx(0.8, abs=0.03)
    assert found.best.value == max(t.value for t in found.trials)
    assert found.best.value > found.start.value
    assert tune(_ask(_scored()), quality="quality", objective="quality", trials=40, filters=[ALNUM], seed=1) == found


def test_tuning_never_comes_out_below_the_recipe_as_it_is():
    # The best cut drops 80 % of the rows, more than a search may; the recipe has it already.
    score = np.repeat([0.0, 1.0], [80, 20])
    table = pl.DataFrame({"text_len": np.arange(100.0), "score": score})
    ops = [("text_length_filter", TextLengthFilter(min_len=80))]
    found = tune(WhatIf(StatsTable(table), criteria(ops)), quality="score", objective="quality", trials=15)
    assert found.start.value == found.best.value == 1.0
    assert found.settings == {}


def test_tuning_many_thresholds_finds_that_none_is_needed():
    # All rows are equally good, so keeping everything is best; a search by chance cuts a quarter off each of 12 tails.
    rng = np.random.default_rng(6)
    names = ["alnum_ratio", "special_char_ratio", "char_rep_ratio", "word_rep_ratio", "stopwords_ratio"]
    table = pl.DataFrame({name: rng.random(2000) for name in names} | {"score": np.full(2000, 0.5)})
    ops = read_ops(
        [
            {f"{name}_filter": {"min_ratio": 0.2, "max_ratio": 0.8}}
            for name in ("alphanumeric", "special_characters", "character_repetition", "word_repetition", "stopwords")
        ]
    )
    found = tune(WhatIf(StatsTable(table), criteria(ops)), quality="score", trials=20)
    assert found.start.volume < 0.1
    assert found.best.value == 1.5


def test_the_published_objective_adds_volume_to_quality():
    frame = _scored()
    found = tune(_ask(frame), quality="quality", trials=3, mixture=True)
    start = found.start
    kept = frame.filter(pl.col("text_len").is_between(10, 100_000), pl.col("alnum_ratio") >= 0.2)
    assert start.volume == kept.height / frame.height
    assert start.quality == pytest.approx(kept["quality"].mean())
    assert start.value == pytest.approx(start.volume + start.quality)
    assert set(found.mixture) == {"web", "books"}


def test_a_mixture_prefers_the_better_source():
    found = tune(_ask(_scored()), quality="quality", objective="quality", filters=[], mixture=True, trials=40)
    assert found.mixture["books"] > found.mixture["web"]


def test_a_least_volume_is_kept():
    found = tune(_ask(_scored()), quality="quality", objective="quality", least_volume=0.7, trials=30)
    assert found.best.volume >= 0.7
    report = StageReport()
    describe_tuning(found, report)
    assert [figure.title for figure in report.figures] == ["Best so far", "Volume against quality"]


def test_a_front_holds_what_nothing_beats():
    found = tune(_ask(_scored()), quality="quality", trials=25)
    for at in found.front:
        best = found.trials[at]
        assert not any(t.volume > best.volume and t.quality > best.quality for t in found.trials)


def test_tuning_without_scores_or_thresholds_is_refused():
    with pytest.raises(DataError, match="no column"):
        tune(_ask(_frame()), quality="quality")
    with pytest.raises(UsageError, match="nothing-to-tune"):
        tune(_ask(_scored()), quality="quality", filters=[])


def test_a_default_bound_that_drops_nothing_is_no_tail_to_cut():
    rng = np.random.default_rng(4)
    table = pl.DataFrame({"char_rep_ratio": rng.beta(2, 9, 500), "text_len": np.arange(500.0)})
    ops = [
        ("character_repetition_filter", CharacterRepetitionFilter(max_ratio=0.9)),
        ("text_length_filter", TextLengthFilter(min_len=0, max_len=10**6)),
    ]
    asked = WhatIf(StatsTable(table), criteria(ops))
    for found in (by_keep_rate(asked, 0.6), by_quantiles(asked, 0.1), by_spread(asked, 1.0)):
        assert set(found.settings["character_repetition_filter"]) == {"max_ratio"}
        assert set(found.settings["text_length_filter"]) == {"min_len", "max_len"}  # both are the recipe's own
    assert set(by_k_sigma(asked).settings["character_repetition_filter"]) == {"min_ratio", "max_ratio"}  # as published


def test_sources_that_lose_most_are_named_together():
    table = pl.DataFrame({"text_len": np.arange(300.0), "source": ["a", "b", "c"] * 50 + ["a"] * 150})
    asked = WhatIf(StatsTable(table), criteria([("text_length_filter", TextLengthFilter(min_len=10))]))
    found = by_keep_rate(asked, 0.4)
    assert [w for w in found.warnings if "half as much" in w] == [
        "keeps less than half as much as of the whole of b (0.0 %), c (0.0 %)"
    ]
