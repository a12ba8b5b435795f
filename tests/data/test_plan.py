"""From names and settings to passes and segments; mistakes are told with the nearest right name."""

from __future__ import annotations

import pytest

from plait.core.catalog import find, table
from plait.data.op import Barrier, Deduplicator, Filter, Mapper, Op, Reducer, Selector
from plait.data.plan import Group, Plan, compile_plan, read_ops
from plait.errors import UsageError

STRIP, HALVES, LONG, DIGITS = "toy_ops:Strip", "toy_ops:Halves", "toy_ops:LongEnough", "toy_ops:FewDigits"
SAME, JOINED = "toy_ops:Same", "toy_ops:Joined"
KINDS = {
    "mapper": Mapper,
    "filter": (Filter, Barrier),
    "deduplicator": (Deduplicator, Filter),
    "selector": Selector,
    "grouper": Reducer,
    "aggregator": Reducer,
}


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
    [(_, op)] = read_ops([{"plait.data.ops.filters.words:WordsNumFilter": {"min_num": 2}}])
    assert isinstance(op, Filter)


def test_every_operation_is_of_one_kind_and_named_for_it() -> None:
    for name in table("op"):
        kind = find("op", name)
        assert isinstance(kind, type)
        assert issubclass(kind, Op)
        last = name.removesuffix("_with_uid").rsplit("_", 1)[-1]
        assert issubclass(kind, KINDS[last]), name


def shape(plan: Plan) -> list[tuple[list[object], list[int]]]:
    return [
        (
            [[s.index for s in p.filters] if isinstance(p, Group) else p.index for p in one.parts],
            [s.index for s in one.ends],
        )
        for one in plan.passes
    ]


def test_passes_end_at_barriers_and_groups_at_mappers() -> None:
    ops = [STRIP, STRIP, DIGITS, DIGITS, STRIP, DIGITS, SAME, SAME, DIGITS]
    plan = compile_plan(read_ops(ops))
    assert shape(plan) == [([0, 1, [2, 3], 4, [5]], [6, 7]), ([[8]], [])]
    assert plan.stats == ["digits", "digits@3", "digits@5", "digits@8"]


def test_a_reducer_ends_its_pass() -> None:
    plan = compile_plan(read_ops([DIGITS, JOINED, SAME, DIGITS]))
    assert shape(plan) == [([[0]], [1]), ([], [2]), ([[3]], [])]
    assert plan.passes[0].reducer is not None


def test_cheap_filters_and_those_that_drop_much_come_first() -> None:
    # LongEnough costs words, FewDigits a scan.
    plan = compile_plan(read_ops([LONG, DIGITS, {DIGITS: {"most": 0}}]))
    assert shape(plan) == [([[1, 2, 0]], [])]
    assert shape(plan.ordered({0: 0.9, 1: 0.9, 2: 0.1})) == [([[2, 1, 0]], [])]
    assert shape(plan.ordered({0: 0.1, 1: 1.0, 2: 1.0})) == [([[0, 1, 2]], [])]


def test_a_linear_model_comes_before_a_network_even_if_it_drops_little() -> None:
    language = {"language_id_score_filter": {"min_score": 0.5}}
    plan = compile_plan(read_ops([{"perplexity_filter": {"model": "smollm2-135m"}}, language, LONG]))
    assert shape(plan.ordered({1: 0.95, 2: 0.9})) == [([[2, 1, 0]], [])]


def test_filters_on_fields_run_before_texts_are_rewritten_unless_the_field_is() -> None:
    by_size = {"toy_ops:FieldFilter": {"field_key": "size"}}
    by_text = {"toy_ops:FieldFilter": {"field_key": "text"}}
    assert shape(compile_plan(read_ops([STRIP, DIGITS, by_size]))) == [([[2], 0, [1]], [])]
    assert shape(compile_plan(read_ops([STRIP, DIGITS, by_text]))) == [([0, [1, 2]], [])]
    assert shape(compile_plan(read_ops([HALVES, by_size]))) == [([0, [1]], [])]


def test_the_plan_is_told_in_words() -> None:
    assert compile_plan(read_ops([STRIP, DIGITS, LONG, SAME])).describe().splitlines() == [
        "pass 1, over each chunk:",
        f"  rewrite: {STRIP}",
        f"  keep by: {DIGITS}, {LONG}",
        f"  then over all rows: {SAME}",
    ]


def test_what_asks_a_model_ends_its_pass_with_the_filters_it_commutes_with() -> None:
    model = "toy_ops:LongEnoughByModel"
    ops = read_ops([STRIP, model, DIGITS, STRIP, DIGITS, SAME, model, SAME])
    assert shape(compile_plan(ops)) == [([0, [2, 1]], []), ([3, [4]], [5]), ([[6]], []), ([], [7])]
    assert shape(compile_plan(ops, keep_answers=False)) == [([0, [2, 1], 3, [4]], [5]), ([[6]], [7])]
    assert shape(compile_plan(read_ops([STRIP, model]))) == [([0, [1]], [])]
