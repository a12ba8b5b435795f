"""From names and settings to passes and segments; mistakes are told with the nearest right name."""

from __future__ import annotations

import polars as pl
import pytest

from plait.core.catalog import find, table
from plait.data.op import Deduplicator, Filter, Mapper
from plait.data.plan import compile_plan, read_ops
from plait.errors import UsageError


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        (["text_lenght_filter"], 'did you mean "text_length_filter"'),
        ([{"text_length_filter": {"min_length": 3}}], 'did you mean "min_len"'),
        ([{"text_length_filter": {"min_len": "many"}}], "min_len: Input should be a valid integer"),
        ([{"text_length_filter": {}, "words_num_filter": {}}], "operation 1 has 2 names"),
        (["plait.core.seeds:Seeds"], "is not a data operation"),
    ],
)
def test_mistakes_are_told(ops: list, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_ops(ops)
    assert message in str(caught.value)


def test_data_juicers_shapes_are_read() -> None:
    ops = read_ops(["fix_unicode_mapper", {"text_length_filter": None}, {"words_num_filter": {"min_num": 3}}])
    assert [name for name, _ in ops] == ["fix_unicode_mapper", "text_length_filter", "words_num_filter"]
    assert ops[2][1].min_num == 3  # pyright: ignore


def test_your_own_operation_works_by_dotted_path() -> None:
    [(_, op)] = read_ops([{"plait.data.ops.words:WordsNumFilter": {"min_num": 2}}])
    assert isinstance(op, Filter)


def test_every_operation_declares_what_it_gives() -> None:
    for name in table("op"):
        kind = find("op", name)
        assert isinstance(kind, type)
        assert issubclass(kind, Mapper | Filter | Deduplicator)
        suffix = {"map": "_mapper", "keep": "_filter", "key": "_deduplicator"}[kind.gives]
        assert name.endswith(suffix)


def test_passes_end_at_deduplicators_and_segments_at_mappers() -> None:
    plan = compile_plan(
        read_ops(
            [
                "fix_unicode_mapper",
                "whitespace_normalization_mapper",
                "text_length_filter",
                "maximum_line_length_filter",
                "fix_unicode_mapper",
                "text_length_filter",
                "document_deduplicator",
                "document_minhash_deduplicator",
                "words_num_filter",
            ]
        )
    )
    shape = [
        ([([s.index for s in g.mappers], [s.stat for s in g.filters]) for g in one.segments], len(one.barriers))
        for one in plan.passes
    ]
    assert shape == [
        ([([0, 1], ["text_len", "max_line_length"]), ([4], ["text_len@5"])], 2),
        ([([], ["num_words"])], 0),
    ]
    assert plan.passes[0].segments[0].needs == ["chars", "lines"]


def test_a_pass_is_one_query_and_equals_one_operation_at_a_time() -> None:
    ops = read_ops(
        [
            {"text_length_filter": {"min_len": 4}},
            "whitespace_normalization_mapper",
            {"text_length_filter": {"min_len": 4}},
            {"words_num_filter": {"min_num": 2}},
        ]
    )
    [one] = compile_plan(ops).passes
    texts = ["  a  ", "four", "  two words ", "abc", "word    "]
    frame = pl.DataFrame({"text": texts, "dropped_by": pl.Series([None] * 5, dtype=pl.Int16)})
    query = one.apply(frame.lazy())
    assert isinstance(query, pl.LazyFrame)
    result = query.collect()
    assert result["text"].to_list() == ["a", "four", "two words", "abc", "word"]
    assert result["text_len"].to_list() == [5, 4, 12, 3, 8]
    assert result["text_len@2"].to_list() == [1, 4, 9, 3, 4]
    assert result["dropped_by"].to_list() == [2, 3, None, 0, 3]
    assert not [c for c in result.columns if c.startswith("__")]


def test_stats_are_measured_also_of_dropped_rows() -> None:
    [one] = compile_plan(read_ops([{"text_length_filter": {"min_len": 100}}, "words_num_filter"])).passes
    frame = pl.DataFrame({"text": ["two words"], "dropped_by": pl.Series([None], dtype=pl.Int16)})
    row = one.apply(frame.lazy()).collect().row(0, named=True)
    assert (row["dropped_by"], row["num_words"]) == (0, 2.0)
