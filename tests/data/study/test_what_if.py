"""Thresholds as predicates agree with looking at every row, and the stats table says what it does not know."""

from __future__ import annotations

import json
import time

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data.op import Filter
from plait.data.ops.filters.characters import AlphanumericFilter, TextLengthFilter
from plait.data.ops.filters.fields import SpecifiedNumericFieldFilter
from plait.data.ops.filters.language import LanguageIDScoreFilter
from plait.data.ops.filters.words import WordsNumFilter
from plait.data.plan import compile_plan, read_ops
from plait.data.study.criteria import criteria, thresholds, with_bounds
from plait.data.study.suggest import by_k_sigma, by_keep_rate
from plait.data.study.table import MOST_SOURCES, OTHER, StatsTable
from plait.data.study.what_if import WhatIf
from plait.errors import DataError, UsageError

LENGTH, ALNUM = "text_length_filter", "alphanumeric_filter"


def _table(rows: int, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    length = np.floor(rng.lognormal(6, 1.5, rows))
    return pl.DataFrame(
        {
            "id": [f"row-{i}" for i in range(rows)],
            "source": rng.choice(["web", "books", "code"], rows),
            "chars": length.astype(np.int64),
            "text_len": length,
            "alnum_ratio": rng.beta(8, 2, rows),
            "num_token": np.floor(length / 4),
        }
    )


def _what_if(frame: pl.DataFrame, **settings) -> WhatIf:
    ops = [(LENGTH, TextLengthFilter(min_len=100, max_len=5000)), (ALNUM, AlphanumericFilter(min_ratio=0.6))]
    return WhatIf(StatsTable(frame), criteria(ops))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 300), st.integers(300, 9000), st.floats(0, 1), st.integers(0, 9))
def test_figures_are_those_of_every_row_looked_at(low, high, ratio, seed):
    frame = _table(200, seed)
    what_if = _what_if(frame)
    found = what_if.keep(
        {LENGTH: TextLengthFilter(min_len=low, max_len=high), ALNUM: AlphanumericFilter(min_ratio=ratio)}
    )
    kept = frame.filter(pl.col("text_len").is_between(low, high), pl.col("alnum_ratio") >= ratio)
    assert (found.overall.kept, found.overall.chars_kept) == (kept.height, kept["chars"].sum())
    assert found.overall.tokens_kept == kept["num_token"].sum()
    for source, share in found.sources.items():
        part = kept.filter(source=source)
        assert (share.kept, share.chars_kept) == (part.height, part["chars"].sum())
        assert share.rows == frame.filter(source=source).height


def test_moving_one_threshold_leaves_the_others():
    frame = _table(500)
    found = _what_if(frame).move(LENGTH, low=1000)
    kept = frame.filter(pl.col("text_len").is_between(1000, 5000), pl.col("alnum_ratio") >= 0.6)
    assert found.overall.kept == kept.height
    assert found.overall.rate == kept.height / 500


def test_overlap_counts_rows_dropped_together():
    frame = _table(300)
    overlap = _what_if(frame).overlap()
    long, odd = ~frame["text_len"].is_between(100, 5000), frame["alnum_ratio"] < 0.6
    assert overlap.dropped == [long.sum(), odd.sum()]
    assert overlap.both[0][1] == overlap.both[1][0] == (long & odd).sum()
    assert overlap.alone == [(long & ~odd).sum(), (odd & ~long).sum()]
    assert overlap.share(LENGTH, ALNUM) == (long & odd).sum() / long.sum()


def test_border_rows_are_the_nearest_of_both_kinds():
    frame = _table(400)
    rows = _what_if(frame).border(ALNUM, count=6)
    values = frame["alnum_ratio"].to_numpy()
    nearest = {
        *np.argsort(np.where(values >= 0.6, values - 0.6, 9))[:3],
        *np.argsort(np.where(values < 0.6, 0.6 - values, 9))[:3],
    }
    assert {row.position for row in rows} == nearest
    assert [row.kept for row in rows] == [False] * 3 + [True] * 3
    assert all(row.id == f"row-{row.position}" and row.source == frame["source"][row.position] for row in rows)
    assert all(row.threshold == 0.6 for row in rows)


def test_findings_are_plain_data():
    what_if = _what_if(_table(50))
    json.dumps([what_if.keep().to_json(), what_if.overlap().to_json(), what_if.border(LENGTH)[0].to_json()])


def test_a_lineage_file_is_opened_by_file_folder_or_pattern(tmp_path):
    _table(20).write_parquet(tmp_path / "lineage.parquet")
    for where in (tmp_path, tmp_path / "lineage.parquet", tmp_path / "*.parquet"):
        assert StatsTable.open(where).rows == 20
    with pytest.raises(DataError, match=r"study\.no-table"):
        StatsTable.open(tmp_path / "none.parquet")


def test_stats_that_were_not_measured_for_all_rows_are_refused():
    frame = _table(10).with_columns(alnum_ratio=pl.Series([None, *[0.5] * 9]))
    with pytest.raises(DataError, match=r"not known for 1 of 10 rows.*study mode"):
        _what_if(frame)


def test_an_unknown_filter_or_stat_gets_the_nearest_name():
    what_if = _what_if(_table(10))
    with pytest.raises(UsageError, match=r'did you mean "text_length_filter"'):
        what_if.move("text_lenght_filter", low=3)
    with pytest.raises(DataError, match=r'did you mean "alnum_ratio"'):
        what_if.table.numbers("alnum_ration")


def test_a_table_without_rows_keeps_none():
    found = _what_if(_table(0)).keep()
    assert (found.overall.rows, found.overall.kept, found.overall.rate) == (0, 0, 0.0)


def test_a_second_use_of_a_filter_has_its_own_column():
    ops = [(LENGTH, TextLengthFilter()), (LENGTH, TextLengthFilter(min_len=50))]
    first, second = criteria(ops)
    assert (first.name, first.stats) == (LENGTH, ("text_len",))
    assert (second.name, second.stats) == (f"{LENGTH}@1", ("text_len@1",))


def test_filters_of_several_stats_decide_by_their_own_rule():
    class LanguageLike(Filter):
        stats = ("lang", "lang_score")

        def measure(self, batch):
            raise AssertionError("a study does not measure again")

        def keeps(self, batch, stats):
            return (stats["lang"] == "en").to_numpy() & (stats["lang_score"] >= 0.8)

    frame = pl.DataFrame({"lang": ["en", "de", "en"], "lang_score": [0.9, 0.9, 0.5]})
    assert WhatIf(StatsTable(frame), criteria([("language", LanguageLike())])).mask().tolist() == [True, False, False]


def test_the_range_of_a_filter_with_a_language_is_over_its_score():
    frame = pl.DataFrame({"lang": ["en", "de", "en", "en"], "lang_score": [0.9, 0.9, 0.5, 0.7]})
    language = LanguageIDScoreFilter(lang="en", min_score=0.8)
    what_if = WhatIf(StatsTable(frame), criteria([("language_id_score_filter", language)]))
    assert what_if.keep().overall.kept == 1
    assert what_if.move("language_id_score_filter", low=0.6).overall.kept == 2
    assert [row.value for row in what_if.border("language_id_score_filter", count=2)] == [0.7, 0.9]


def test_rows_without_a_number_are_left_to_the_filter():
    frame = pl.DataFrame({"stars": [1.0, float("nan"), 5.0]})
    op = SpecifiedNumericFieldFilter(field_key="stars", min_value=2)
    what_if = WhatIf(StatsTable(frame), criteria([("stars", op)]))
    assert what_if.mask().tolist() == [False, False, True]
    assert len(what_if.border("stars")) == 2
    assert by_keep_rate(what_if, 0.6).after.overall.kept == 2
    assert by_k_sigma(what_if, 1).settings == {
        "stars": pytest.approx({"min_value": 3 - 8**0.5, "max_value": 3 + 8**0.5})
    }


@pytest.mark.parametrize(
    ("op", "low", "high", "whole", "expected"),
    [
        (TextLengthFilter(), 12.3, 99.7, True, (13, 99)),
        (TextLengthFilter(min_closed_interval=False, max_closed_interval=False), 12.3, 99.7, True, (12, 100)),
        (TextLengthFilter(), 12.3, 99.7, False, (12, 100)),
        (TextLengthFilter(reversed_range=True), 12.3, 99.7, False, (13, 99)),
        (AlphanumericFilter(), 0.3, 0.7, True, (0.3, 0.7)),
    ],
)
def test_whole_thresholds_are_rounded_so_that_decisions_stay(op, low, high, whole, expected):
    assert with_bounds(op, low=low, high=high, whole=whole).bounds() == expected


def test_thresholds_are_found_by_what_moves_the_bounds():
    found = thresholds(WordsNumFilter(min_num=2))
    assert (found.low_field, found.high_field, found.low, found.high) == ("min_num", "max_num", 2, None)


@pytest.mark.slow
def test_a_million_rows_take_milliseconds():
    frame = _table(1_000_000)
    what_if = _what_if(frame)
    what_if.move(LENGTH, low=50)
    spent = list[float]()
    for low in range(100, 120):
        start = time.perf_counter()
        what_if.move(LENGTH, low=low)
        spent.append(time.perf_counter() - start)
    assert np.median(spent) < 0.1


def test_a_source_per_row_is_put_together_and_border_rows_name_their_own():
    frame = _table(1000).with_columns(source=pl.Series(["web"] * 300 + [f"page-{i}" for i in range(700)]))
    what_if = _what_if(frame)
    found = what_if.keep()
    assert len(found.sources) == MOST_SOURCES + 1
    assert found.sources["web"].rows == 300
    assert sum(s.kept for s in found.sources.values()) == found.overall.kept
    assert found.sources[OTHER].rows == 700 - (MOST_SOURCES - 1)
    assert [r.source for r in what_if.border(ALNUM)] == [frame["source"][r.position] for r in what_if.border(ALNUM)]


def test_a_stat_named_like_a_column_of_the_lineage_has_a_name_of_its_own():
    ops = [("specified_numeric_field_filter", SpecifiedNumericFieldFilter(field_key="chars", min_value=3))]
    assert criteria(ops)[0].stats == tuple(compile_plan(ops).stats) == ("chars@0",)


def test_rows_that_an_operation_without_a_number_dropped_stay_dropped():
    ops = read_ops(
        [
            {"document_deduplicator": {}},
            {"specified_field_filter": {"field_key": "source", "target_value": ["web"]}},
            {"text_length_filter": {"min_len": 10}},
            {"document_minhash_deduplicator": {}},
        ]
    )
    table = StatsTable(
        pl.DataFrame(
            {
                "kept": [True, False, False, False, False, True],
                "dropped_by": [
                    None, "document_deduplicator", "specified_field_filter", "text_length_filter",
                    "document_minhash_deduplicator", None,
                ],
                "text_len": [20.0, None, 90.0, 5.0, 70.0, 30.0],
            }
        )
    )  # fmt: skip
    what_if = WhatIf.of_recipe(table, ops)
    assert {name: np.flatnonzero(rows).tolist() for name, rows in what_if.gone.items()} == {
        "document_deduplicator": [1], "specified_field_filter": [2],
    }  # fmt: skip
    assert what_if.keep().overall.kept == 3  # near duplicates are not decided again
    assert what_if.mask({LENGTH: TextLengthFilter(min_len=1)}).tolist() == [True, False, False, True, True, True]
    assert what_if.overlap().dropped == [1]
    assert {row.position for row in what_if.border(LENGTH)} == {0, 3, 4, 5}
    found = by_keep_rate(what_if, 0.9)
    assert found.after.overall.kept == 4
    assert any("no thresholds keep more than 66.7 %" in note for note in found.warnings)
    assert any("specified_field_filter measures nothing" in note for note in found.warnings)
    [change] = by_k_sigma(what_if, 1).changes[:1]
    assert change.evidence.startswith(f"mean {np.mean([20, 5, 70, 30]):.4g}")


def test_a_stat_that_is_no_number_may_be_null():
    ops = read_ops([{"conversation_roles_filter": {}}, {"text_length_filter": {"min_len": 10}}])
    table = pl.DataFrame({"role_problem": [None, "two of one side", None], "text_len": [20.0, 30.0, 5.0]})
    what_if = WhatIf.of_recipe(StatsTable(table), ops)
    assert what_if.mask().tolist() == [True, False, False]
    assert by_keep_rate(what_if, 0.6).after.overall.kept == 2


def test_of_several_stats_thresholds_are_about_the_number():
    ops = read_ops([{"llm_quality_score_filter": {"model": "local", "min_score": 0.5}}])
    columns = {"llm_quality_score": [0.2, 0.6, 0.9], "llm_quality_record": ["{}"] * 3, "llm_quality_tags": [None] * 3}
    what_if = WhatIf.of_recipe(StatsTable(pl.DataFrame(columns, schema_overrides={"llm_quality_tags": pl.String})), ops)
    assert what_if.filters[0].number == "llm_quality_score"
    assert what_if.move("llm_quality_score_filter", low=0.7).overall.kept == 1
    [change, *_] = by_keep_rate(what_if, 0.5).changes
    assert (change.stat, change.field) == ("llm_quality_score", "min_score")
