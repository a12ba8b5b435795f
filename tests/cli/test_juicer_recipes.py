"""Recipes of Data-Juicer's form where recipes of stages may stand: `plait run`, `check` and `new`."""

from __future__ import annotations

import pytest

from page_corpus import KEPT, RECIPE, ROWS


def test_plait_run_does_what_data_run_does(plait, tmp_path):
    shown = plait("run", "r.yaml")
    assert shown.err == "r is a Data-Juicer recipe: done as by `plait data run`\n"
    assert f"kept {KEPT} of {ROWS}" in shown.out
    first = (tmp_path / "clean.jsonl").read_bytes()
    plait("data", "run", "r.yaml", "-o", "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == first
    assert not (tmp_path / "runs").exists()


def test_plait_run_changes_settings(plait):
    told = plait(
        "run", "r.yaml", "export_path=b.jsonl", "np=2", "process.text_length_filter.min_len=300",
        "process.words_num_filter@2.max_num=50", "--json",
    ).json  # fmt: skip
    assert (told["export"], told["ops"][1]["keeps"]) == ("b.jsonl", "text_len in [300, …]")
    assert told["ops"][2]["settings"] == {"max_num": 50}
    shipped = plait("run", "web", "dataset_path=pages.jsonl", "export_path=w.jsonl", "--json").json
    assert shipped["read"] == ROWS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("steps=3",), '"steps" cannot be set here; known: dataset_path, export_path, np, process'),
        (("np",), '"np" has no value'),
        (("np=0",), "command line: np is 0, not a whole number from 1"),
        (("export_pth=b.jsonl",), 'did you mean "export_path"?'),
        (("process.text_lenth_filter.min_len=3",), 'did you mean "text_length_filter"?'),
        (("process.text_length_filter.mn_len=3",), 'did you mean "min_len"?'),
        (("process.text_length_filter.min_len=x",), "min_len: Input should be a valid integer"),
        (("--out", "x"), "--out is for recipes of stages"),
        (("--fresh",), "--fresh is for recipes of stages"),
    ],
)
def test_wrong_overrides_stop_before_any_work(plait, tmp_path, arguments, message):
    assert message in plait("run", "r.yaml", *arguments, ok=2).err
    assert not (tmp_path / "clean.run").exists()


def test_an_operation_that_stands_twice_is_named_by_its_place(plait, tmp_path):
    (tmp_path / "twice.yaml").write_text(RECIPE + "  - text_length_filter: {max_len: 9000}\n")
    wrong = plait("check", "twice.yaml", "process.text_length_filter.max_len=1", ok=2).err
    assert "stands in the recipe 2 times; say which by its place: process.text_length_filter@1.…, " in wrong
    told = plait("run", "twice.yaml", "process.text_length_filter@6.max_len=10000", "--json").json
    assert [op["settings"] for op in told["ops"] if op["name"] == "text_length_filter"] == [
        {"min_len": 50}, {"max_len": 10000},
    ]  # fmt: skip


def test_plait_check_finds_what_is_wrong_without_work(plait, tmp_path):
    shown = plait("check", "r.yaml")
    assert shown.out.startswith("r: fine. Operations in order: whitespace_normalization_mapper, text_length_filter, ")
    assert "reads:  pages.jsonl\nwrites: clean.jsonl" in shown.out
    assert plait("check", "r.yaml", "--json").json["operations"][1] == "text_length_filter"
    assert "reads:  nothing yet" in plait("check", "web").out
    (tmp_path / "bad.yaml").write_text(RECIPE.replace("min_num", "mn_num").replace("min_len: 50", "min_len: x"))
    problems = plait("check", "bad.yaml", "--json", ok=2).json["problems"]
    assert [problem["where"] for problem in problems] == ["bad.yaml:6", "bad.yaml:7"]
    (tmp_path / "gone.yaml").write_text(RECIPE.replace("pages.jsonl", "a.jsonl b.jsonl"))
    problems = plait("check", "gone.yaml", "--json", ok=2).json["problems"]
    assert [problem["message"] for problem in problems] == [
        f"gone.yaml:1: {name}.jsonl: no such file or folder [recipe.missing-file]" for name in "ab"
    ]
    typed = plait("check", "r.yaml", "dataset_path=gone.jsonl", ok=2).err
    assert typed == "error: command line: gone.jsonl: no such file or folder [recipe.missing-file]\n"
    # Names on the hub and addresses are not asked for.
    assert plait("check", "r.yaml", "dataset_path=hf://datasets/owner/name", "--json").json["ok"]
    assert not (tmp_path / "clean.run").exists()


def test_new_copies_a_shipped_recipe_of_operations(plait, tmp_path):
    assert "plait data run mine.yaml -d DATA" in plait("new", "web", "mine.yaml").out
    assert "words_num_filter" in (tmp_path / "mine.yaml").read_text()
    assert plait("data", "run", "mine.yaml", "-d", "pages.jsonl", "--json").json["read"] == ROWS
