"""Running a plan: equal to running one operation after the other, whatever the chunks, workers and kills."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.core.quarantine import Quarantine
from plait.data.blocks import TableBlock
from plait.data.execute import Curated, execute
from plait.data.lineage import lineage
from plait.engines import LocalEngine
from plait.errors import DataError
from toy_ops import ListBlock, blocks_of

STRIP, HALVES, LONG, DIGITS = "toy_ops:Strip", "toy_ops:Halves", "toy_ops:LongEnough", "toy_ops:FewDigits"
LANGUAGE, SAME, JOINED = "toy_ops:NotLanguage", "toy_ops:Same", "toy_ops:Joined"
COMMON, MODEL = "toy_ops:CommonWord", "toy_ops:LongEnoughByModel"
TEXTS = ["abc", " abc ", "ab", "x1", "1234", "hello|hello", "", "a|", "länger", "länger ", "99|zz9|hello", "xyz"]
RECIPES = [
    [STRIP, LONG, DIGITS],
    [LONG, STRIP, DIGITS, SAME],
    [STRIP, HALVES, {LONG: {"least": 2}}, LANGUAGE, SAME, {DIGITS: {"most": 0}}],
    [SAME, STRIP, SAME, HALVES, SAME],
    [{LONG: {"reversed_range": True}}, HALVES],
    [STRIP, JOINED, DIGITS],
    [STRIP, LONG, COMMON, SAME, DIGITS],
    [STRIP, LONG, COMMON],
    [STRIP, MODEL, HALVES, MODEL, DIGITS, SAME, MODEL, SAME],
    [HALVES, {DIGITS: {"most": 0}}, HALVES, SAME],
]


def run(ops, blocks, folder: Path, *, workers: int = 1, study: bool = False) -> Curated:
    with LocalEngine(workers=workers) as engine:
        return execute(
            ops, blocks, folder=folder, engine=engine, quarantine=Quarantine(folder / "q.jsonl"), study=study
        )


def rows(curated: Curated) -> list[tuple[str, str]]:
    return [row for frame in curated.frames() for row in frame.select("id", "text").rows()]


def fates(curated: Curated) -> list[dict]:
    return pa.Table.from_batches(lineage(curated)).to_pylist()


def one_by_one(ops, texts: list[str], folder: Path) -> list[tuple[str, str]]:
    """Each operation by a run of its own, over everything at once."""
    left = [(f"d{i}", text) for i, text in enumerate(texts)]
    for number, op in enumerate(ops):
        left = rows(run([op], [ListBlock(tuple(left))], folder / str(number))) if left else left
    return left


@pytest.mark.parametrize("ops", RECIPES, ids=range(len(RECIPES)))
def test_a_plan_gives_what_its_operations_give_one_after_the_other(ops, tmp_path):
    expected = one_by_one(ops, TEXTS, tmp_path / "single")
    assert expected
    for size, workers in itertools.product((1, 5, 100), (1, 2)):
        folder = tmp_path / f"{size}-{workers}"
        assert rows(run(ops, blocks_of(TEXTS, size), folder, workers=workers)) == expected


@pytest.mark.parametrize("ops", RECIPES, ids=range(len(RECIPES)))
def test_the_fates_depend_neither_on_chunks_nor_on_workers_nor_on_study(ops, tmp_path):
    whole = fates(run(ops, blocks_of(TEXTS, 100), tmp_path / "a"))
    parts = fates(run(ops, blocks_of(TEXTS, 2), tmp_path / "b", workers=2))
    study = run(ops, blocks_of(TEXTS, 3), tmp_path / "c", study=True)
    assert whole == parts
    plain = ("id", "kept")
    assert [{k: row[k] for k in plain} for row in fates(study)] == [{k: row[k] for k in plain} for row in whole]


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.text(alphabet="ab1x| ", max_size=6), min_size=1, max_size=12), recipe=st.sampled_from(RECIPES))
def test_any_texts_give_the_same_in_any_chunks(tmp_path_factory, texts, recipe):
    folder = tmp_path_factory.mktemp("any")
    whole = run(recipe, blocks_of(texts, 100), folder / "a")
    parts = run(recipe, blocks_of(texts, 3), folder / "b")
    assert rows(whole) == rows(parts)
    assert fates(whole) == fates(parts)


def test_every_dropped_row_says_who_dropped_it_and_for_what(tmp_path):
    curated = run([STRIP, {LONG: {"least": 3}}, DIGITS, SAME], blocks_of(TEXTS, 4), tmp_path)
    by_id = {row["id"]: row for row in fates(curated)}
    assert by_id["d0"]["kept"]
    assert by_id["d0"]["changed_by"] is None
    assert (by_id["d1"]["dropped_by"], by_id["d1"]["duplicate_of"], by_id["d1"]["changed_by"]) == (SAME, "d0", STRIP)
    assert (by_id["d2"]["dropped_by"], by_id["d2"]["stat"], by_id["d2"]["value"]) == (LONG, "length", 2.0)
    assert (by_id["d4"]["dropped_by"], by_id["d4"]["stat"], by_id["d4"]["value"]) == (DIGITS, "digits", 4.0)
    assert by_id["d1"]["chars"] == 5


@pytest.mark.parametrize("study", [False, True])
def test_samples_show_what_was_dropped_and_changed_whatever_the_chunks(study, tmp_path):
    ops = [STRIP, {LONG: {"least": 3}}, DIGITS]
    found = []
    for size in (1, 100):
        curated = run(ops, blocks_of(TEXTS, size), tmp_path / str(size), study=study)
        samples = pl.concat(chunk.samples() for chunk in curated.passes[0].chunks)
        found.append(samples.sort("index", "order").group_by("index", maintain_order=True).head(5).rows())
    assert found[0] == found[1]
    assert (1, "d2", 2.0, "ab", None) in [(i, name, value, old, new) for i, _, name, value, old, new in found[0]]
    assert (0, "d1", " abc ", "abc") in [(i, name, old, new) for i, _, name, _, old, new in found[0]]
    assert {name for i, _, name, *_ in found[0] if i == 2} == {"d4", "d10"}


def test_a_study_measures_every_row(tmp_path):
    curated = run([LONG, DIGITS], blocks_of(TEXTS, 4), tmp_path, study=True)
    frame = pl.DataFrame(fates(curated))
    assert frame["length"].to_list() == [float(len(text)) for text in TEXTS]
    assert frame["digits"].to_list() == [float(sum(c.isdigit() for c in text)) for text in TEXTS]


def test_operations_may_look_at_what_earlier_filters_measured(tmp_path):
    longest = {"topk_specified_field_selector": {"field_key": "__dj__stats__.length", "topk": 2}}
    for size in (2, 100):
        curated = run([STRIP, {LONG: {"least": 1}}, longest], blocks_of(TEXTS, size), tmp_path / str(size))
        assert rows(curated) == [("d5", "hello|hello"), ("d10", "99|zz9|hello")]
        assert next(curated.frames()).columns == ["id", "text"]


def test_a_changed_file_that_a_setting_names_is_seen(tmp_path):
    word = tmp_path / "words.txt"
    for text, left in (("hello", 10), ("abc", 10)):
        word.write_text(text)
        curated = run([STRIP, {"toy_ops:WithoutWord": {"path": str(word)}}], blocks_of(TEXTS, 4), tmp_path / "run")
        assert all(text not in kept for _, kept in rows(curated))
        assert len(rows(curated)) == left


def test_a_second_run_does_no_work_and_a_changed_end_keeps_what_came_before(tmp_path):
    first = run([STRIP, SAME, DIGITS], blocks_of(TEXTS, 4), tmp_path)
    read = {index: spent.read for index, spent in first.spent.items() if spent.read}
    assert set(read) == {0, 1, 2}
    assert not any(first.reused.values())
    again = run([STRIP, SAME, DIGITS], blocks_of(TEXTS, 4), tmp_path)
    assert {index: again.reused[index] for index in (0, 2)} == {index: read[index] for index in (0, 2)}
    assert {i: (s.read, s.kept, s.seconds) for i, s in again.spent.items() if i != 1} == {
        i: (s.read, s.kept, s.seconds) for i, s in first.spent.items() if i != 1
    }
    changed = run([STRIP, SAME, {DIGITS: {"most": 0}}], blocks_of(TEXTS, 4), tmp_path)
    assert (changed.reused[0], changed.reused[2]) == (read[0], 0)


def test_what_a_model_answered_is_kept_when_something_after_it_changes(tmp_path):
    model = "toy_ops:LongEnoughByModel"
    first = run([STRIP, model, HALVES, DIGITS, SAME], blocks_of(TEXTS, 4), tmp_path)
    changed = run([STRIP, model, HALVES, {DIGITS: {"most": 0}}, SAME], blocks_of(TEXTS, 4), tmp_path)
    assert changed.reused[1] == first.spent[1].read == len(TEXTS)
    assert changed.reused[3] == 0
    study = run([STRIP, model, HALVES, DIGITS, SAME], blocks_of(TEXTS, 4), tmp_path, study=True)
    assert rows(study) == rows(first)
    [dropped] = [row for row in fates(study) if row["id"] == "d2"]
    assert (dropped["dropped_by"], dropped["digits"]) == (model, 0)


def test_bad_records_are_counted_also_when_their_chunk_was_found(tmp_path):
    blocks = [ListBlock((("a", "one"),), bad=2), ListBlock((("b", "two"),), bad=1)]
    for _ in range(2):
        with LocalEngine(workers=1) as engine:
            quarantine = Quarantine(tmp_path / "q.jsonl")
            execute([STRIP], blocks, folder=tmp_path / "c", engine=engine, quarantine=quarantine)
        assert quarantine.counts == {"bad": 3}
        assert len((tmp_path / "q.jsonl").read_text().splitlines()) == 3


def test_rows_without_ids_get_one_and_groups_go_on(tmp_path):
    block = TableBlock(pa.table({"text": ["b", "a", "b", "c"], "kind": ["x", "y", "x", "y"]}))
    curated = run([SAME], [block], tmp_path / "a")
    assert [len(frame) for frame in curated.frames()] == [3]
    assert [row["duplicate_of"] is not None for row in fates(curated)] == [False, False, True, False]
    grouped = run(
        [{"key_value_grouper": {"group_by_keys": ["kind"]}}, "naive_reverse_grouper", SAME], [block], tmp_path / "b"
    )
    assert [frame["text"].to_list() for frame in grouped.frames()]


def test_nothing_to_work_on_is_an_error(tmp_path):
    with pytest.raises(DataError, match="there is no row"):
        run([STRIP], [], tmp_path)
    with pytest.raises(DataError, match=r"no row is left to work on: all were set aside \(1 × bad\)"):
        run([STRIP], [ListBlock((), bad=1)], tmp_path)


def test_too_many_bad_records_stop_a_run_before_any_barrier(tmp_path):
    blocks = [ListBlock((("a", "one"), ("b", "one")), bad=1), ListBlock((("c", "two"),))]
    told = list[str]()
    for most, refused in ((0.25, False), (0.24, True)):
        told.clear()
        with LocalEngine(workers=1) as engine:
            run_it = partial(
                execute, [SAME], blocks, folder=tmp_path / str(most), engine=engine, max_bad_fraction=most,
                quarantine=Quarantine(tmp_path / "q.jsonl"), on_progress=lambda what, _done, _total: told.append(what),
            )  # fmt: skip
            if refused:
                with pytest.raises(DataError, match=r"1 of 4 records are bad \(1 × bad\)"):
                    run_it()
            else:
                run_it()
        assert (SAME in told) is not refused


def test_an_error_in_a_worker_arrives_and_leaves_no_half_result(tmp_path):
    for workers in (1, 2):
        with pytest.raises(DataError, match="refused"):
            run(["toy_ops:Refuses"], blocks_of(TEXTS, 4), tmp_path, workers=workers)
    assert not list(tmp_path.rglob("about.json"))


def test_a_half_written_chunk_is_done_again(tmp_path):
    first = run([STRIP, SAME], blocks_of(TEXTS, 4), tmp_path)
    before = rows(first)
    victim = first.passes[0].chunks[1].folder
    victim.rename(victim.with_suffix(".partial"))
    assert rows(run([STRIP, SAME], blocks_of(TEXTS, 4), tmp_path)) == before
