"""`plait data` on the command line, as a person and a program use it."""

from __future__ import annotations

import csv
import json
import re
import sys

import polars as pl
import pytest
from filelock import FileLock

from page_corpus import KEPT, RECIPE, ROWS, corpus, sentences, write_lines


@pytest.mark.parametrize(
    "verb",
    [
        *("run", "explain", "ops", "why", "diff", "sample", "analyze", "suggest", "tune", "sketch", "agree", "quality"),
        "what-if",
        *("joint keys", "joint plan", "joint apply"),
        *("index", "index add", "index find", "index show"),
    ],
)
def test_every_help_ends_with_examples_of_the_verb(plait, verb):
    text = plait("data", *verb.split(), "--help").out
    assert f"plait data {verb} " in text.split("Examples")[1]


def test_the_group_shows_its_verbs_and_examples(plait):
    text = plait("data", "--help").out
    assert all(f" {verb} " in text for verb in ("run", "why", "suggest", "index"))
    assert "plait data run web" in text.split("Examples")[1]


def test_the_first_steps_of_the_help_work_in_their_order(plait):
    steps = re.findall(r"\d plait (data .+?): ", plait("data", "--help").out.split("Examples")[1])
    assert len(steps) == 7
    for step in steps:
        if step.endswith(" ID"):
            fates = pl.read_parquet("clean.run/lineage.parquet")
            step = step.removesuffix("ID") + fates.filter(~pl.col("kept"))["id"][0]
        plait(*step.split())


# run


def test_run_says_what_each_operation_did(plait, tmp_path):
    shown = plait("data", "run", "r.yaml")
    assert f"kept {KEPT} of {ROWS}" in shown.out
    rows = {row["operation"]: row for row in shown.table}
    assert rows["text_length_filter"]["keeps"] == "text_len in [50, …]"
    assert rows["text_length_filter"]["rows"] == str(ROWS)
    assert [rows[name]["dropped"] for name in rows] == ["", "1", "0", "1", "1", "1"]
    assert len((tmp_path / "clean.jsonl").read_text().splitlines()) == KEPT
    assert "plait data why clean.run ID" in shown.out


def test_run_again_reuses_and_tells_the_same_drops(plait):
    first, second = plait("data", "run", "r.yaml"), plait("data", "run", "r.yaml")
    assert {row["rows"] for row in second.table} == {"reused"}
    assert [row["dropped"] for row in second.table] == [row["dropped"] for row in first.table]


def test_run_for_a_program(plait):
    told = plait("data", "run", "r.yaml", "--json").json
    assert (told["read"], told["kept"], told["export"], told["folder"]) == (ROWS, KEPT, "clean.jsonl", "clean.run")
    assert sum(op["dropped"] or 0 for op in told["ops"]) == ROWS - KEPT
    assert told["ops"][0]["dropped"] is None


def test_rows_for_which_an_operation_has_no_result_are_counted(plait, tmp_path):
    model = "{use: scripted, rules: [{pattern: '[357]', answer: '{\"tag\": \"odd\"}'}, {pattern: '', answer: no idea}]}"
    (tmp_path / "numbers.jsonl").write_text("".join(f'{{"text": "number {n}"}}\n' for n in range(2, 8)))
    (tmp_path / "tags.yaml").write_text(
        "dataset_path: numbers.jsonl\nexport_path: tagged.jsonl\n"
        f"process: [{{text_tagging_by_prompt_mapper: {{model: {model}, tag_list: [odd, even]}}}}]\n"
    )
    shown = plait("data", "run", "tags.yaml", "--report").out
    assert "no result for 3 of 6 rows: text_tagging_by_prompt_mapper" in shown
    page = (tmp_path / "tagged.run" / "report.html").read_text()
    assert "has no result for 3 of 6 rows" in page
    assert "plait data why tagged.run ID" in page
    assert plait("data", "run", "tags.yaml", "--json").json["ops"][0]["failed"] == 3


def test_two_uses_of_a_filter_are_counted_apart(plait, tmp_path):
    (tmp_path / "twice.yaml").write_text(
        RECIPE.replace("  - words_num_filter: {min_num: 10}", "  - text_length_filter: {max_len: 300}")
    )
    plait("data", "run", "twice.yaml")
    again = plait("data", "run", "twice.yaml").table
    long = sum(len(row["text"]) > 300 for row in corpus() if row["id"] != "copy")
    assert int(again[1]["dropped"]) == 1
    assert long - 1 <= int(again[2]["dropped"]) <= long + 1


def test_run_of_a_shipped_recipe(plait, tmp_path):
    shown = plait("data", "run", "web", "-d", "pages.jsonl", "-o", "out/web.jsonl")
    assert "language_id_score_filter" in {row["operation"] for row in shown.table}
    assert (tmp_path / "out" / "web.jsonl").exists()
    assert (tmp_path / "out" / "web.run" / "summary.json").exists()


def test_run_says_what_a_recipe_asks_for_without_effect(plait, tmp_path):
    extra = "use_cache: true\nexport_type: parquet\nkeep_hashes_in_res_ds: true\nkeep_stats_in_res_ds: true\n"
    (tmp_path / "more.yaml").write_text(f"{extra}percentiles: [0.05, 0.33]\n{RECIPE}  - naive_grouper:\n")
    said = plait("data", "run", "more.yaml").err
    assert said.startswith("without effect here: use_cache: finished work is always kept")
    for key in ("export_type", "keep_hashes_in_res_ds", "keep_stats_in_res_ds", "percentiles"):
        assert f"; {key}: " in said
    assert "always shows 1, 5, 25, 50, 75, 95, 99, and not 0.33" in said


def test_a_reason_is_said_once(plait, tmp_path):
    extra = "use_cache: true\nturbo: true\ncheckpoint_dir: x\nnp: 1\n"
    recipe = RECIPE.replace("np: 1\n", extra).replace("{min_len: 50}", "{min_len: 50, num_proc: 4, batch_size: 2}")
    (tmp_path / "more.yaml").write_text(recipe.replace("{min_num: 10}", "{min_num: 10, num_proc: 4}"))
    assert plait("data", "run", "more.yaml").err == (
        "without effect here: use_cache, checkpoint_dir: finished work is always kept and used again; turbo: sizes and "
        "workers follow from the data and the machine; num_proc, batch_size: how an operation is run follows from the "
        "data and the machine\n"
    )


def test_settings_of_the_export_and_the_tracer_do_what_they_say(plait, tmp_path):
    extra = "export_shard_size: 10000\nopen_tracer: true\ntrace_num: 1\nkeep_stats_in_res_ds: true\n"
    (tmp_path / "more.yaml").write_text(extra + RECIPE)
    shown = plait("data", "run", "more.yaml")
    shards = sorted(tmp_path.glob("clean-*-of-*.jsonl"))
    assert f"kept {KEPT} of {ROWS}" in shown.out
    assert f"{len(shards)} files, clean-00-of-0{len(shards)}.jsonl to " in shown.out
    assert "Trace:  clean.run/trace" in shown.out
    rows = [json.loads(line) for path in shards for line in path.read_text().splitlines()]
    stats = [json.loads(line) for line in (tmp_path / "clean_stats.jsonl").read_text().splitlines()]
    assert [row["__dj__stats__"] for row in rows] == [line["__dj__stats__"] for line in stats]
    assert len(rows) == KEPT
    traced = (tmp_path / "clean.run" / "trace" / "sample_trace-text_length_filter.jsonl").read_text()
    assert json.loads(traced)["id"] == "short"
    told = plait("data", "run", "more.yaml", "--json").json
    assert (told["exported"], told["trace"]) == ([path.name for path in shards], "clean.run/trace")
    # What a run writes of itself runs again, to the same files.
    plait("data", "run", "clean.run/recipe.yaml", "-o", "again.jsonl")
    assert [p.read_bytes() for p in sorted(tmp_path.glob("again-*.jsonl"))] == [p.read_bytes() for p in shards]
    # Numbers and examples of an earlier run would tell of other rows.
    plait("data", "run", "r.yaml")
    assert not (tmp_path / "clean_stats.jsonl").exists()
    assert not (tmp_path / "clean.run" / "trace").exists()
    plait("data", "run", "r.yaml", "--study")
    assert len((tmp_path / "clean_stats.jsonl").read_text().splitlines()) == KEPT


def test_settings_are_changed_on_the_command_line(plait, tmp_path):
    told = plait("data", "run", "r.yaml", "process.text_length_filter.min_len=300", "export_shard_size=9000", "--json")
    assert told.json["ops"][1]["keeps"] == "text_len in [300, …]"
    assert len(told.json["exported"]) > 1
    shown = plait("data", "analyze", "r.yaml", "process.text_length_filter.min_len=300", "--json").json
    assert shown != plait("data", "analyze", "r.yaml", "--json").json
    shown = plait("data", "explain", "r.yaml", "process.text_length_filter.min_len=99999", "--json").json
    assert [one["keeps"] for one in shown["operations"] if one["name"] == "text_length_filter"] == [0.0]
    wrong = plait("data", "run", "r.yaml", "text_keys=5", "npp=3", ok=2).err
    assert 'command line: "npp" cannot be set here; did you mean "np"?' in wrong
    wrong = plait("data", "run", "r.yaml", "text_keys=5", ok=2).err
    assert "error: command line: text_keys is 5, not a text or a list of texts" in wrong


def test_the_input_is_never_written_over(plait, tmp_path):
    before = (tmp_path / "pages.jsonl").read_bytes()
    shown = plait("data", "run", "r.yaml", "-o", "pages.jsonl", ok=2)
    assert (
        shown.err
        == "error: pages.jsonl: the file to write is the one to read; export to another file [data.export-is-input]\n"
    )
    assert (tmp_path / "pages.jsonl").read_bytes() == before
    assert not (tmp_path / "pages.run").exists()


def test_a_disk_that_refuses_is_one_line(plait, tmp_path, monkeypatch):
    import errno

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("plait.data.curation.write_rows", full)
    said = plait("data", "run", "r.yaml", ok=1).err
    assert said.startswith("error: clean.jsonl: the disk refused: No space left on device; ")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert {row["rows"] for row in plait("data", "run", "r.yaml").table} == {"reused"}


def test_exports_whose_names_hold_dots_have_folders_of_their_own(plait, tmp_path):
    plait("data", "run", "r.yaml", "-o", "wiki.en.jsonl", "export_shard_size=20000")
    plait("data", "run", "r.yaml", "-o", "wiki.de.jsonl.gz", "process.text_length_filter.min_len=0")
    assert "dropped by text_length_filter" in plait("data", "why", "wiki.en-00-of-02.jsonl", "short").out
    assert "dropped by words_num_filter" in plait("data", "why", "wiki.de.jsonl.gz", "short").out
    assert (tmp_path / "wiki.en.run").is_dir()
    assert (tmp_path / "wiki.de.run").is_dir()
    # One may well curate shard by shard.
    plait("data", "run", "r.yaml", "-o", "part-1-of-2.jsonl")
    assert (tmp_path / "part-1-of-2.run").is_dir()


def test_nothing_kept_is_a_file_without_rows(plait, tmp_path):
    for suffix in ("jsonl", "parquet", "csv"):
        plait("data", "run", "r.yaml", "-o", f"none.{suffix}", "process.text_length_filter.min_len=100000")
    assert (tmp_path / "none.jsonl").read_text() == ""
    assert pl.read_parquet(tmp_path / "none.parquet").columns == pl.read_csv(tmp_path / "none.csv").columns


@pytest.mark.parametrize(
    ("address", "running", "asked"),
    [("auto", True, ["auto"]), ("auto", False, ["auto", None]), ("head:6379", True, ["head:6379"])],
)
def test_ray_is_joined_where_the_recipe_says(plait, tmp_path, monkeypatch, address, running, asked):
    from plait import engines
    from plait.errors import EngineError

    tried = list[str | None]()

    def opened(name, *, address=None):
        tried.append(address)
        if address and not running:
            raise EngineError("nobody there", code="engine.cannot-connect")
        return engines.LocalEngine()

    monkeypatch.setattr(engines, "open_engine", opened)
    (tmp_path / "ray.yaml").write_text(f"executor_type: ray\nray_address: {address}\n{RECIPE}")
    said = plait("data", "run", "ray.yaml").err
    assert tried == asked
    assert ("no Ray runs on this machine: one is started" in said) is not running
    plait("data", "run", "ray.yaml", "--engine", "local")
    plait("data", "run", "ray.yaml", "--address", "other:1", ok=0 if running else 1)
    assert tried[-2:] == [None, "other:1"]


def test_bad_records_are_counted_and_too_many_stop(plait, tmp_path):
    with (tmp_path / "pages.jsonl").open("a") as file:
        file.write("{broken\n")
    plait("data", "run", "r.yaml", ok=1)
    shown = plait("data", "run", "r.yaml", "--max-bad", "0.05")
    assert "set aside 1: not JSON (see clean.run/quarantine.jsonl)" in shown.out


def test_a_record_without_its_text_is_set_aside_and_one_of_other_fields_is_not(plait, tmp_path):
    rows = [{"id": 1, "text": "a text"}, {"id": 2, "text": None}, {"id": 3}, {"id": 4, "text": ""}]
    (tmp_path / "null.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "copies.yaml").write_text("process:\n  - document_deduplicator:\n")
    told = plait("data", "run", "copies.yaml", "-d", "null.jsonl", "--max-bad", "1", "--json").json
    assert told["quarantined"] == {'field "text" is null': 1, 'missing field "text"': 1}
    assert [json.loads(line)["id"] for line in (tmp_path / "copies.jsonl").read_text().splitlines()] == [1, 4]
    rows = [{"id": 1, "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}]
    (tmp_path / "chats.jsonl").write_text(json.dumps(rows[0]) + "\n")
    assert plait("data", "run", "conversations", "-d", "chats.jsonl", "--json").json["read"] == 1


def test_a_page_of_figures_is_drawn_when_asked_for_and_never_stale(plait, tmp_path):
    assert "report: clean.run/report.html" in plait("data", "run", "r.yaml", "--report").err
    assert "words_num_filter" in (tmp_path / "clean.run" / "report.html").read_text()
    plait("data", "run", "r.yaml")
    assert not (tmp_path / "clean.run" / "report.html").exists()


@pytest.mark.parametrize(
    ("change", "arguments", "code", "message"),
    [
        (("pages.jsonl", "pgs.jsonl"), (), 1, "error: pgs.jsonl: no such file or folder [data.not-found]"),
        (
            ("text_length_filter", "text_lenth_filter"),
            (),
            2,
            'bad.yaml:6: no operation is called "text_lenth_filter"; did you mean "text_length_filter"? '
            "[recipe.unknown-op]",
        ),
        (
            ("min_len", "mn_len"),
            (),
            2,
            'bad.yaml:6: unknown key "mn_len" of text_length_filter; did you mean "min_len"',
        ),
        (("dataset_path: pages.jsonl", ""), (), 2, "does not say what to read (dataset_path)"),
        (("", ""), ("--engine", "lokal"), 2, 'did you mean "local"? [engine.unknown]'),
    ],
)
def test_errors_of_a_run_are_one_line(plait, tmp_path, change, arguments, code, message):
    (tmp_path / "bad.yaml").write_text(RECIPE.replace(*change) if change[0] else RECIPE)
    shown = plait("data", "run", "bad.yaml", *arguments, ok=code)
    assert message in shown.err
    assert len(shown.err.splitlines()) == 1
    assert shown.out == ""


def test_an_unknown_recipe_names_the_shipped_ones(plait):
    assert 'did you mean "web"? [recipe.unknown]' in plait("data", "run", "webb", ok=2).err


def test_two_processes_do_not_work_in_one_folder(plait, tmp_path):
    (tmp_path / "clean.run").mkdir()
    with FileLock(tmp_path / "clean.run" / ".lock"):
        assert "another process curates into this folder" in plait("data", "run", "r.yaml", ok=1).err


def test_an_interrupt_says_how_to_go_on(plait, monkeypatch):
    def interrupted(*_given: object, **_named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("plait.data.curation.curate", interrupted)
    assert "the same command goes on where it stopped" in plait("data", "run", "r.yaml", ok=130).err


def test_on_a_terminal_numbers_stand_below_each_other(plait, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    lines = re.sub(r"\x1b\[[\d;]*m", "", plait("data", "explain", "r.yaml").out).splitlines()
    [head] = [line for line in lines if line.startswith("operation ")]
    [row] = [line for line in lines if line.startswith("words_num_filter ")]
    assert head.index("keeps") + len("keeps") == row.index(" %") + len(" %")
    assert head.index("cost") == row.index("words ")


# explain, ops


def test_explain_forecasts_and_stands_beside_the_run(plait):
    before = plait("data", "explain", "r.yaml", "-o", "other.jsonl")
    assert "then over all rows: document_deduplicator" in before.out
    rows = {row["operation"]: row for row in before.table}
    assert rows["text_length_filter"]["keeps"] == "98.5 %"
    assert "kept in the run" not in rows["text_length_filter"]
    plait("data", "run", "r.yaml", "-o", "other.jsonl")
    after = {row["operation"]: row for row in plait("data", "explain", "r.yaml", "-o", "other.jsonl").table}
    assert after["text_length_filter"]["kept in the run"] == "98.5 %"
    told = plait("data", "explain", "r.yaml", "-o", "other.jsonl", "--json").json
    assert told["operations"][1]["actual_keeps"] == pytest.approx(64 / 65)


def test_ops_lists_and_searches(plait):
    everything = plait("data", "ops", "--json").json
    found = plait("data", "ops", "repetition", "--json").json
    assert "word_repetition_filter" in {op["name"] for op in found}
    assert 0 < len(found) < len(everything)
    assert plait("data", "ops", "repetition").out.count("\n") == len(found)
    assert "no operation has" in plait("data", "ops", "no such thing", ok=2).err


# why, diff, sample


def test_why_names_the_number_the_threshold_and_the_copy(studied):
    dropped = studied("data", "why", "clean.jsonl", "short").out
    assert dropped.startswith("short: dropped by text_length_filter: text_len = 10; it keeps text_len in [50, …]")
    copy = studied("data", "why", "clean.run", "copy").out
    assert copy.startswith("copy: dropped by document_deduplicator: exact = 1, like d05")
    changed = studied("data", "why", "clean.run", "spaces").out
    assert "changed by whitespace_normalization_mapper:\n  - An\\xa0odd" in changed
    assert "\n  + An odd" in changed
    [told] = studied("data", "why", "clean.run", "near", "--json").json
    assert told["fate"]["duplicate_of"] == "d06"


def test_why_tells_of_a_chain_of_copies(plait, tmp_path):
    words = sentences(1, 6).split()
    # Each is like the next, and the last is no longer like the first.
    write_lines(
        tmp_path / "chain.jsonl", [{"id": f"c{n}", "text": " ".join(words[4 * n : 4 * n + 34])} for n in range(5)]
    )
    (tmp_path / "c.yaml").write_text("process:\n  - document_minhash_deduplicator: {jaccard_threshold: 0.7}\n")
    plait("data", "run", "c.yaml", "-d", "chain.jsonl")
    assert "like c0; it keeps one of each" in plait("data", "why", "c.run", "c1").out
    assert "like c0 through others that are like both; it keeps" in plait("data", "why", "c.run", "c4").out


def test_why_of_nothing_is_a_usage_error(studied):
    assert 'there is no row "d060"; did you mean "d' in studied("data", "why", "clean.run", "d060", ok=2).err
    assert "there is no curation at nothing.jsonl" in studied("data", "why", "nothing.jsonl", "x", ok=2).err


def test_diff_counts_changed_fates(studied, tmp_path):
    assert "every row has the same fate" in studied("data", "diff", "clean.run", "clean.jsonl").out
    (tmp_path / "s.yaml").write_text(RECIPE.replace("min_len: 50", "min_len: 300"))
    studied("data", "run", "s.yaml", "-o", "strict.jsonl")
    shown = studied("data", "diff", "clean.run", "strict.run")
    assert shown.table[0] | {"rows": "", "example": ""} == {
        "before": "kept", "after": "text_length_filter", "rows": "", "example": "",
    }  # fmt: skip
    told = studied("data", "diff", "clean.run", "strict.run", "--json").json
    assert int(shown.table[0]["rows"]) == told[0]["rows"] > 1
    assert "there is no curation" in studied("data", "diff", "clean.run", "gone.run", ok=2).err


def test_sample_of_a_file_and_of_a_run(studied):
    rows = studied("data", "sample", "pages.jsonl", "-n", "3", "--json").json
    assert len(rows) == 3
    assert rows == studied("data", "sample", "pages.jsonl", "-n", "3", "--json").json
    assert rows != studied("data", "sample", "pages.jsonl", "-n", "3", "--seed", "1", "--json").json
    assert rows[0]["text"] in studied("data", "sample", "pages.jsonl", "-n", "3").out
    shown = studied("data", "sample", "clean.run", "--dropped-by", "text_length_filter").out
    assert shown.startswith("id=short ")
    assert len(shown.splitlines()) == 1
    wrong = studied("data", "sample", "clean.run", "--dropped-by", "text_lenth_filter", ok=2).err
    assert 'did you mean "text_length_filter"' in wrong
    assert "no such file or folder" in studied("data", "sample", "gone.jsonl", ok=1).err
    wrong = studied("data", "sample", "clean.run", ok=2).err
    assert "clean.run: this is the folder of a run, which holds no rows; name the file it wrote, or --drop" in wrong


# analyze, suggest, tune


def test_analyze_measures_without_a_run(plait, tmp_path):
    shown = plait("data", "analyze", "r.yaml", "--report", "pages/a.html")
    assert shown.out.startswith(f"{ROWS} texts")
    assert {row["stat"] for row in shown.table} >= {"text_len", "num_words", "alnum_ratio"}
    assert "text_len" in (tmp_path / "pages" / "a.html").read_text()
    assert plait("data", "analyze", "r.yaml", "--json").json["overall"]["rows"] == ROWS
    assert not (tmp_path / "clean.run").exists()


@pytest.mark.parametrize(
    "rule", [(), ("--method", "k-sigma", "--k", "2"), ("--method", "quantiles", "--cut", "0.1"), ("--keep", "0.6")]
)
def test_suggest_says_what_it_would_keep(studied, rule):
    shown = studied("data", "suggest", "clean.run", *rule)
    assert {row["setting"] for row in shown.table} == {"min_len", "min_num", "min_ratio"} | (
        {"max_len", "max_num", "max_ratio"} if "k-sigma" in rule else set()
    )
    found = studied("data", "suggest", "clean.run", *rule, "--json").json
    assert f"would keep {found['after']['overall']['kept']} of {ROWS} rows" in shown.out


def test_what_if_keeps_what_a_run_with_these_settings_keeps(studied):
    arguments = ("data", "what-if", "clean.run", "text_length_filter.min_len=60", "alphanumeric_filter.min_ratio=0.8")
    shown = studied(*arguments)
    found = studied(*arguments, "--json", "--write", "what.yaml").json
    assert f"keeps {found['after']['overall']['kept']:,} of {ROWS} rows" in shown.out
    assert {row["filter"] for row in found["border"]} == {"text_length_filter", "alphanumeric_filter"}
    assert all(row["id"] in shown.out for row in found["border"])
    told = studied("data", "run", "what.yaml", "--json").json
    by_filters = sum(op["dropped"] for op in told["ops"] if op["name"].endswith("_filter"))
    assert ROWS - by_filters == found["after"]["overall"]["kept"]
    assert (
        found["before"]["overall"]["kept"]
        == studied("data", "what-if", "clean.run", "--json").json["after"]["overall"]["kept"]
    )
    for wrong, says in (
        ("text_length_filter=3", "write filter.setting=value"),
        ("text_lenght_filter.min_len=3", "text_length_filter"),
        ("text_length_filter.min_length=3", "min_len"),
        ("text_length_filter.min_len=many", "min_len"),
    ):
        assert says in studied("data", "what-if", "clean.run", wrong, ok=2).err


def test_a_written_suggestion_runs_and_keeps_what_it_promised(studied, tmp_path):
    found = studied("data", "suggest", "clean.run", "--keep", "0.6", "--write", "better.yaml", "--json")
    assert "plait data diff clean.run better.run" in found.err
    promised = found.json["after"]["overall"]["kept"]
    told = studied("data", "run", "better.yaml", "--json").json
    assert told["export"] == "better.jsonl"
    by_filters = sum(op["dropped"] for op in told["ops"] if op["name"].endswith("_filter"))
    assert ROWS - by_filters == promised < KEPT
    assert (tmp_path / "better.yaml").read_text().startswith("# keep 60 % of rows: would keep ")
    # It never takes the place of a recipe.
    again = studied("data", "suggest", "clean.run", "--keep", "0.6", "--write", "better.yaml", ok=2)
    assert "better.yaml: the file exists already" in again.err


def test_suggest_from_labels(studied, tmp_path):
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerows([("id", "good"), *((f"d{n:02}", "yes") for n in range(20)), ("short", "no"), ("symbols", "no")])
    assert "22 labels" in studied("data", "suggest", "clean.run", "--labels", "labels.csv").out
    (tmp_path / "labels.csv").write_text("id,good\nshort,maybe\n")
    wrong = studied("data", "suggest", "clean.run", "--labels", "labels.csv", ok=2).err
    assert 'labels.csv:2: "maybe" is neither true nor false' in wrong
    assert "gone.csv" in studied("data", "suggest", "clean.run", "--labels", "gone.csv", ok=2).err


def test_suggest_needs_a_study(plait):
    plait("data", "run", "r.yaml")
    assert "study" in plait("data", "suggest", "clean.run", ok=1).err
    assert "there is no curation" in plait("data", "suggest", "gone.run", ok=2).err


def test_tune_searches_and_writes_a_recipe_that_runs(studied):
    pytest.importorskip("optuna")
    arguments = ("data", "tune", "clean.run", "--quality", "alnum_ratio", "--trials", "8")
    shown = studied(*arguments, "--write", "tuned.yaml")
    assert "after 8 trials" in shown.out
    best = studied(*arguments, "--json").json
    told = studied("data", "run", "tuned.yaml", "--json").json
    by_filters = sum(op["dropped"] for op in told["ops"] if op["name"].endswith("_filter"))
    assert 1 - by_filters / ROWS == pytest.approx(best["best"]["volume"])
    assert "a recipe weighs files" in studied(*arguments, "--mixture", "--write", "m.yaml", ok=2).err
    assert 'no column "quality"' in studied("data", "tune", "clean.run", "--quality", "quality", ok=1).err


# sketch, agree, quality


def test_owners_agree_from_sketches(plait, tmp_path):
    (tmp_path / "key").write_text("a secret that both know")
    for owner in ("north", "south"):
        shown = plait("data", "sketch", "r.yaml", "--owner", owner, "--secret-file", "key", "-o", f"out/{owner}.sketch")
        assert f"about {ROWS} rows" in shown.out
    shown = plait("data", "agree", "r.yaml", "out/north.sketch", "out/south.sketch")
    assert "text_length_filter" in shown.out
    assert plait("data", "agree", "r.yaml", "out/north.sketch", "out/south.sketch", "--json").json
    told = plait(
        "data", "agree", "r.yaml", "out/north.sketch", "out/south.sketch", "--rule", "spread", "--write", "agreed.yaml",
        "--json",
    ).json  # fmt: skip
    [agreed] = [one for one in told["filters"] if one["filter"] == "alphanumeric_filter"]
    ran = plait("data", "run", "agreed.yaml", "--json").json
    assert ran["ops"][3]["settings"] == agreed["settings"]
    assert ran["export"] == "clean.jsonl"
    assert "needs two owners" in plait("data", "agree", "r.yaml", "out/north.sketch", ok=2).err
    arguments = ("data", "sketch", "r.yaml", "--owner", "x", "--out", "x.sketch", "--secret-file")
    assert "gone" in plait(*arguments, "gone", ok=2).err
    (tmp_path / "short").write_text("abc\n")
    assert "a secret of 3 bytes can be guessed" in plait(*arguments, "short", ok=2).err
    (tmp_path / "bytes").write_bytes(bytes(range(160, 192)))
    assert plait(*arguments, "bytes", "--json").json["blur"] is None
    told = plait(*arguments, "key", "--epsilon", "5", "--json").json
    assert told["bytes"] == (tmp_path / "x.sketch").stat().st_size
    assert told["epsilon"] == 5


def test_owners_drop_what_they_share(plait, tmp_path):
    (tmp_path / "key").write_text("a secret that both know")
    rows = corpus()
    shared = len({row["text"].strip() for row in rows[30:50]} & {row["text"].strip() for row in rows[:50]})
    owners = {"../north": rows[:50], "south": rows[30:]}
    for owner, own in owners.items():
        write_lines(tmp_path / f"{owner[-5:]}.jsonl", own)
        where = ("-d", f"{owner[-5:]}.jsonl", "--owner", owner, "--secret-file", "key", "-o", f"{owner[-5:]}.keys")
        assert f"{len(own)} rows" in plait("data", "joint", "keys", "r.yaml", *where).out
        assert not any(row["text"][:20].encode() in (tmp_path / f"{owner[-5:]}.keys").read_bytes() for row in own)
    told = plait("data", "joint", "plan", "north.keys", "south.keys", "-o", "plan", "--json").json
    assert told["across"] >= shared > 0
    assert {path.name for path in (tmp_path / "plan").iterdir()} == {"north.json", "south.json"}
    left = list[str]()
    for owner, own in owners.items():
        name = owner[-5:]
        arguments = (
            "data",
            "joint",
            "apply",
            "r.yaml",
            f"plan/{name}.json",
            "-d",
            f"{name}.jsonl",
            "-o",
            f"{name}2.jsonl",
        )
        assert f"kept {len(own) - told['owners'][owner]['drops']} of {len(own)}" in plait(*arguments).out
        kept = [json.loads(line) for line in (tmp_path / f"{name}2.jsonl").read_text().splitlines()]
        assert all(row in own for row in kept)
        left += [row["text"].strip() for row in kept]
    assert len(left) == len(set(left))
    wrong = plait("data", "joint", "apply", "r.yaml", "plan/north.json", "-d", "south.jsonl", "-o", "x.jsonl", ok=1)
    assert "the plan is of 50 rows" in wrong.err
    assert not (tmp_path / "x.jsonl").exists()
    (tmp_path / "no.json").write_text("[]")
    assert "no part of a plan" in plait("data", "joint", "apply", "r.yaml", "no.json", "-o", "x.jsonl", ok=1).err


def test_quality_learns_and_is_measured_on_held_out_texts(plait, tmp_path):
    write_lines(tmp_path / "good.jsonl", [{"text": row["text"]} for row in corpus()[:60]])
    write_lines(tmp_path / "bad.jsonl", [{"text": f"click here buy now {n} cheap pills casino"} for n in range(60)])
    shown = plait("data", "quality", "good.jsonl", "bad.jsonl", "-o", "models/q.npz")
    assert "precision 1.000, recall 1.000" in shown.out
    assert (tmp_path / "models" / "q.npz").exists()
    assert plait("data", "quality", "good.jsonl", "bad.jsonl", "--json").json["model"] == "quality.npz"
    assert "no such file or folder" in plait("data", "quality", "good.jsonl", "gone.jsonl", ok=1).err


# index


def test_an_index_knows_what_was_released(plait, tmp_path):
    rows = corpus()
    write_lines(tmp_path / "2026-05.jsonl", rows[:40])
    write_lines(tmp_path / "2026-06.jsonl", rows[40:])
    assert "40 documents more, 40 in all" in plait("data", "index", "add", "seen.index", "2026-05.jsonl").out
    told = plait("data", "index", "add", "seen.index", "2026-05.jsonl", "2026-06.jsonl", "--json").json
    assert (told["added"], told["documents"], told["releases"]) == (25, 65, ["2026-05", "2026-06"])
    shown = plait("data", "index", "find", "seen.index", "2026-06.jsonl", "--before", "2026-06", "-o", "m/like.parquet")
    assert [(row["id"], row["like"], row["release"]) for row in shown.table] == [
        ("copy", "d05", "2026-05"), ("near", "d06", "2026-05"),
    ]  # fmt: skip
    assert "2 of 25 rows are like a document of seen.index" in shown.out
    assert pl.read_parquet(tmp_path / "m" / "like.parquet")["id"].to_list() == ["copy", "near"]
    found = plait("data", "index", "find", "seen.index", "pages.jsonl", "-n", "1", "--json").json
    assert found["rows"] == ROWS
    assert len(found["matches"]) >= found["alike"] > 60
    cut = plait("data", "index", "find", "seen.index", "pages.jsonl", "-n", "1")
    assert f"… and {len(found['matches']) - 1} matches more" in cut.out


def test_an_index_says_how_it_compares_and_keeps_to_it(plait, tmp_path):
    plait("data", "index", "add", "i", "pages.jsonl", "--release", "one", "--threshold", "0.8", "--window", "3")
    told = plait("data", "index", "show", "i", "--json").json
    assert (told["threshold"], told["window"], told["releases"]) == (0.8, 3, ["one"])
    assert told["bytes"] > 10_000
    assert "threshold: 0.8\n" in plait("data", "index", "show", "i").out
    wrong = plait("data", "index", "add", "i", "pages.jsonl", "--window", "5", ok=2).err
    assert "the index has window 3, not 5" in wrong
    assert "there is no index in gone" in plait("data", "index", "find", "gone", "pages.jsonl", ok=1).err
    assert "there is no index in gone" in plait("data", "index", "show", "gone", ok=1).err
    plait("data", "index", "add", "new.index", "gone.jsonl", ok=1)
    assert not (tmp_path / "new.index").exists()


def test_a_recipe_drops_what_an_index_holds(plait, tmp_path):
    write_lines(tmp_path / "old.jsonl", corpus()[:10])
    plait("data", "index", "add", "seen.index", "old.jsonl")
    (tmp_path / "i.yaml").write_text("process:\n  - index_deduplicator: {path: seen.index}\n")
    told = plait("data", "run", "i.yaml", "-d", "pages.jsonl", "--json").json
    assert told["ops"][0]["dropped"] == 12
    assert told["export"] == "i.jsonl"
