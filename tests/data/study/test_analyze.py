"""One pass over texts finds what a table of all rows would, however the texts are cut into batches."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import polars as pl
import pytest

from plait.core.figures import HeatMap, Histogram, StageReport
from plait.core.report import write_page
from plait.data.batch import Batch
from plait.data.ops.filters.characters import AlphanumericFilter, SpecialCharactersFilter, TextLengthFilter
from plait.data.ops.filters.words import WordsNumFilter
from plait.data.study.analyze import PERCENTILES, analyze, analyze_table, histogram_edges
from plait.data.study.bins import Bins
from plait.data.study.criteria import criteria
from plait.data.study.diversity import diversity, summarize_pairs
from plait.data.study.keyed import key_of
from plait.data.study.report import describe_analysis
from plait.data.study.table import StatsTable
from plait.data.study.tally import MOST_SOURCES, OTHER, Hashing, tally, tally_batch
from plait.errors import DataError

OPS = [
    ("text_length_filter", TextLengthFilter(min_len=60, max_len=400)),
    ("words_num_filter", WordsNumFilter(min_num=12)),
    ("alphanumeric_filter", AlphanumericFilter(min_ratio=0.75)),
    ("special_characters_filter", SpecialCharactersFilter(max_ratio=0.3)),
]
STATS = ["text_len", "num_words", "alnum_ratio", "special_char_ratio"]


def _frame(rows: int = 400) -> pl.DataFrame:
    rng = np.random.default_rng(7)
    words = ["tree", "house", "1984", "— so", "Übung", "日本", "river!", "a", "of", "and", "quickly", "(maybe)"]
    texts = [" ".join(rng.choice(words, rng.integers(1, 90))) for _ in range(rows - 20)]
    texts += texts[:20]  # exact copies
    return pl.DataFrame({"text": texts, "source": rng.choice(["web", "books", "code"], rows)})


def _batches(frame: pl.DataFrame, size: int):
    return (Batch.of(frame[at : at + size]) for at in range(0, frame.height, size))


def _measured(frame: pl.DataFrame) -> pl.DataFrame:
    batch = Batch.of(frame)
    return frame.with_columns(pl.Series(op.stats[0], np.asarray(op.value(batch), np.float64)) for _, op in OPS)


def test_an_analysis_is_what_a_table_of_all_rows_says():
    frame = _frame()
    found, table = analyze(_batches(frame, 64), OPS), _measured(frame)
    assert (found.overall.rows, found.overall.chars) == (400, frame["text"].str.len_chars().sum())
    for stat in STATS:
        summary, values = found.overall.stats[stat], table[stat]
        assert summary.mean == pytest.approx(values.mean())
        assert summary.std == pytest.approx(values.std())
        assert (summary.low, summary.high) == (values.min(), values.max())
        for percent in PERCENTILES:
            exact = np.quantile(values.to_numpy(), percent / 100, method="lower")
            assert summary.percentiles[str(percent)] == pytest.approx(exact, rel=0.0011)
        assert sum(summary.counts) == 400
    at = {name: i for i, name in enumerate(found.numbers)}
    exact = np.corrcoef(table["text_len"], table["num_words"])[0, 1]
    assert found.correlations[at["text_len"]][at["num_words"]] == pytest.approx(exact)


def test_sources_add_up_to_the_whole():
    frame = _frame()
    found = analyze(_batches(frame, 50), OPS)
    counts = Counter(frame["source"].to_list())
    assert {name: s.rows for name, s in found.sources.items()} == counts
    web = _measured(frame).filter(source="web")
    assert found.sources["web"].stats["num_words"].mean == pytest.approx(web["num_words"].mean())


def test_the_cut_into_batches_and_the_threads_change_nothing():
    frame = _frame()
    one = tally(_batches(frame, 400), criteria(OPS), hashing=Hashing(key_of("")), workers=1)
    many = tally(_batches(frame, 33), criteria(OPS), hashing=Hashing(key_of("")), workers=4)
    again = tally(_batches(frame, 33), criteria(OPS), hashing=Hashing(key_of("")), workers=2)
    assert one.sample == many.sample
    assert one.drops.both.tolist() == many.drops.both.tolist()
    for name, sketch in one.sources.items():
        a, b, c = sketch.pack(), many.sources[name].pack(), again.sources[name].pack()
        assert b == c
        a.pop("moments"), b.pop("moments")  # equal up to rounding
        assert a == b


def test_kept_and_overlap_are_those_of_the_rows():
    frame = _frame()
    found, table = analyze(_batches(frame, 70), OPS), _measured(frame)
    fails = np.array([~op.inside(table[op.stats[0]].to_numpy()) for _, op in OPS])
    assert found.kept == np.count_nonzero(~fails.any(axis=0))
    assert found.overlap.dropped == fails.sum(axis=1).tolist()
    assert found.overlap.alone == [np.count_nonzero(f & (fails.sum(axis=0) == 1)) for f in fails]


def test_copies_show_in_the_number_of_different_texts():
    frame = _frame()
    found = analyze(_batches(frame, 90), OPS)
    assert found.overall.distinct_texts == frame["text"].n_unique() < 381  # below the sketch's size the count is exact
    assert 0 < found.overall.distinct_runs < 1


def test_a_stats_table_gives_the_same_numbers():
    frame = _frame()
    table = _measured(frame).with_columns(chars=pl.col("text").str.len_chars(), lang=pl.lit("en")).drop("text")
    from_table, from_texts = analyze_table(StatsTable(table), OPS), analyze(_batches(frame, 400), OPS)
    assert from_table.overall.stats["text_len"].percentiles == from_texts.overall.stats["text_len"].percentiles
    assert from_table.overlap == from_texts.overlap
    assert from_table.overall.words == {"lang": {"en": 400}}
    assert from_table.overall.distinct_texts is None


def test_many_sources_are_put_together():
    frame = pl.DataFrame({"text": ["hello there"] * 200, "source": [f"s{i:03d}" for i in range(200)]})
    found = analyze(_batches(frame, 10), OPS)
    assert len(found.sources) == MOST_SOURCES + 1
    assert found.sources[OTHER].rows == 200 - MOST_SOURCES


def test_a_source_per_row_costs_no_sketch_per_row():
    frame = pl.DataFrame({"text": ["hello there"] * 300, "source": [f"s{(i * 7) % 300}" for i in range(300)]})
    [one] = _batches(frame, 300)
    found = [tally(_batches(frame, n), criteria(OPS), hashing=Hashing(key_of("")), workers=2) for n in (300, 110, 7)]
    for whole in found:
        # The first to come have names, whatever the batches; in one batch too.
        assert set(whole.sources) == {f"s{(i * 7) % 300}" for i in range(MOST_SOURCES)} | {OTHER}
        assert {name: s.rows for name, s in whole.sources.items()} == {
            name: s.rows for name, s in found[0].sources.items()
        }
    assert len(tally_batch(one, criteria(OPS), Hashing(key_of("")), frozenset({"s0"})).sources) == 2


def test_no_rows_are_no_analysis():
    with pytest.raises(DataError, match=r"study\.no-rows"):
        analyze(iter([]), OPS)


def test_an_analysis_becomes_a_page(tmp_path):
    found, report = analyze(_batches(_frame(), 100), OPS), StageReport()
    json.dumps(found.to_json(), allow_nan=False)
    describe_analysis(found, report)
    write_page(tmp_path / "page.html", report, title="Analysis", meta="")
    page = (tmp_path / "page.html").read_text()
    assert page.count("<svg") == len(STATS) + 1
    assert "Overlap of drops" in page


def test_the_overlap_is_drawn_for_the_filters_that_drop_something():
    idle = ("text_length_filter", TextLengthFilter(min_len=0))
    found, report = analyze(_batches(_frame(), 100), [*OPS[1:], idle]), StageReport()
    describe_analysis(found, report)
    [drawn] = [figure for figure in report.figures if isinstance(figure, HeatMap)]
    assert drawn.rows == drawn.columns == [name for name, _ in OPS[1:]]
    both, dropped = found.overlap.both[0][1], found.overlap.dropped[0]
    assert drawn.values[0][:2] == [None, round(100 * both / dropped, 1)]


def test_a_histogram_shows_what_its_filter_drops():
    found, report = analyze(_batches(_frame(), 100), OPS), StageReport()
    describe_analysis(found, report)
    drawn = {figure.title: figure for figure in report.figures if isinstance(figure, Histogram)}
    assert drawn["text_len"].dropped == [(None, 60), (400, None)]
    at = found.overlap.names.index("text_length_filter")
    assert drawn["text_len"].note.startswith(f"text_length_filter drops {found.overlap.dropped[at]:,} (")
    turned = [("text_length_filter", TextLengthFilter(min_len=60, max_len=400, reversed_range=True))]
    report = StageReport()
    describe_analysis(analyze(_batches(_frame(), 100), turned), report)
    assert [f.dropped for f in report.figures if isinstance(f, Histogram)] == [[(60, 400)]]


def test_bars_of_whole_numbers_stand_for_as_many_of_them():
    values = np.repeat(np.arange(61.0), 5)
    edges = histogram_edges(Bins.of(values), whole=True)
    counts = Bins.of(values).histogram(edges)
    assert counts[:-1].tolist() == [10.0] * (len(counts) - 1)  # not 5 and 10 in turn
    assert counts.sum() == len(values)
    few = histogram_edges(Bins.of(np.array([2.0, 3, 3, 7])), whole=True)
    assert few.tolist() == [1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5]


@pytest.mark.parametrize(
    ("values", "grows"),
    [
        (np.linspace(0.2, 0.9, 500), False),
        (np.geomspace(10, 1e6, 500), True),
        (np.append(np.linspace(60, 100, 499), 60_000), True),  # equal steps would show one bar
        (np.append(np.zeros(499), 1.0), False),  # a share
        (np.ones(5), False),
    ],
)
def test_histograms_fit_the_values(values, grows):
    bins = Bins.of(values)
    edges = histogram_edges(bins)
    assert bins.histogram(edges).sum() == len(values)
    steps = np.diff(edges)
    assert (steps[-1] > 10 * steps[1]) == grows if len(steps) > 1 else not grows


def test_the_diversity_of_verbs_and_objects_by_hand():
    pairs = Counter({("write", "poem"): 2, ("write", "essay"): 1, ("give", "list"): 1})
    found = summarize_pairs(pairs, texts=6, spacy_model="en")
    assert (found.found, found.distinct, found.entropy_bits) == (4, 3, 1.5)
    assert [(v.verb, v.noun, v.count) for v in found.most] == [
        ("write", "poem", 2),
        ("write", "essay", 1),
        ("give", "list", 1),
    ]


def test_without_a_model_the_diversity_says_so():
    found, note = diversity(["Write a poem."], spacy_model="no_such_model")
    assert found is None
    assert "is not installed" in note


@pytest.mark.model
def test_verbs_and_objects_are_found_by_the_model():
    found, note = diversity(["Write a poem about rain.", "Give me a list of rivers.", ""])
    if found is None:
        pytest.skip(note)
    assert {(v.verb, v.noun) for v in found.most} == {("write", "poem"), ("give", "list")}
    assert found.texts == 3
