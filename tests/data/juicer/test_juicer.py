"""Data-Juicer's recipes read as they are; every mistake in one is named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from plait.core.catalog import table
from plait.core.yaml import load_yaml
from plait.data.batch import Batch
from plait.data.juicer import JuicerRecipe, is_juicer_recipe, read_juicer_recipe, shipped_juicer_recipes
from plait.data.plan import read_ops
from plait.data.read.sources import Source, parse_paths
from plait.errors import RecipeError, UsageError

PUBLISHED = sorted((Path(__file__).parent / "published").glob("*.yaml"))


def read(tmp_path: Path, text: str) -> JuicerRecipe:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return read_juicer_recipe(path)


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        read(tmp_path, text)
    return [str(error).replace(str(tmp_path / "recipe.yaml"), "") for error in caught.value.problems]


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_published_recipes_read_unchanged(path):
    recipe = read_juicer_recipe(path)
    stated = load_yaml(path).data["process"]
    assert [name for op in recipe.ops for name in op] == [name for op in stated for name in op]
    for op, item in zip(recipe.ops, stated, strict=True):
        [(name, values)] = item.items()
        assert op[name] == (values or {})
    assert len(read_ops(recipe.ops)) == len(stated)
    assert recipe.sources
    assert recipe.export_path
    assert recipe.text_key == "text"


def test_everything_a_recipe_may_say(tmp_path):
    recipe = read(
        tmp_path,
        """
project_name: all
dataset_path: 0.3 a.jsonl 0.7 'b c.jsonl'
export_path: out/data.parquet
export_type: parquet
export_shard_size: 1000000
text_keys: [content, title]
np: 8
open_tracer: yes
trace_num: 3
op_list_to_trace: [text_length_filter]
trace_keys: [id]
suffixes: [txt, .md]
keep_stats_in_res_ds: true
keep_hashes_in_res_ds: false
executor_type: ray_partitioned
ray_address: head:6379
use_cache: false
turbo: true
checkpoint: {enabled: true}
checkpoint.n_ops: 5
skip_op_error: true
image_key: images
validators: [{type: required_fields, required_fields: [content, id], field_types: {content: str}}]
percentiles: [0.05, 0.95]
process:
  - text_length_filter: {min_len: 5, max_len: .inf, num_proc: 4, mem_required: 1GB}
  - words_num_filter: {text_key: title, num_proc: 2}
  - ray_repartition_pipeline: {num_blocks: 3}
  - document_deduplicator:
""",
    )
    assert recipe.sources == (Source("a.jsonl", weight=0.3), Source("b c.jsonl", weight=0.7))
    assert recipe.max_rows is None
    assert (recipe.export_path, recipe.export_format, recipe.export_shard_bytes) == (
        Path("out/data.parquet"),
        "parquet",
        1_000_000,
    )
    assert (recipe.text_key, recipe.processes) == ("content", 8)
    assert (recipe.engine, recipe.ray_address) == ("ray", "head:6379")
    assert (recipe.trace_rows, recipe.trace_ops, recipe.trace_fields) == (3, ("text_length_filter",), ("id",))
    assert recipe.suffixes == (".txt", ".md")
    assert (recipe.keep_stats, recipe.keep_hashes, recipe.with_suffix) == (True, False, False)
    assert recipe.required == ("content", "id")
    assert recipe.percentiles == (0.05, 0.95)
    length, words, copies = recipe.ops
    assert length["text_length_filter"]["min_len"] == 5
    assert length["text_length_filter"]["max_len"] == 2**63 - 1
    assert length["text_length_filter"]["text_key"] == "content"
    assert words == {"words_num_filter": {"text_key": "title"}}
    assert copies == {"document_deduplicator": {"text_key": "content"}}
    assert [line.split(":")[0] for line in recipe.ignored] == [
        "use_cache", "turbo", "checkpoint", "checkpoint.n_ops", "skip_op_error", "image_key",
        "ray_repartition_pipeline", "num_proc of text_length_filter, words_num_filter",
        "mem_required of text_length_filter", "field_types of validators",
    ]  # fmt: skip


def test_what_a_short_recipe_leaves_open(tmp_path):
    recipe = read(tmp_path, "process:\n")
    assert (recipe.sources, recipe.ops, recipe.export_path, recipe.processes) == ((), (), None, None)
    assert (recipe.project, recipe.text_key, recipe.trace_rows, recipe.ignored) == ("recipe", "text", 0, ())


def test_dataset_settings(tmp_path):
    text = """
dataset:
  max_sample_num: 100
  configs:
    - {type: local, path: a.jsonl, weight: 3}
    - {type: remote, source: huggingface, path: owner/name, split: validation, limit: 5}
process: []
"""
    recipe = read(tmp_path, text)
    assert recipe.max_rows == 100
    assert recipe.sources == (
        Source("a.jsonl", weight=3.0),
        Source("hf://datasets/owner/name", split="validation", limit=5),
    )
    everything = read(tmp_path, text.replace("  max_sample_num: 100\n", ""))
    assert [source.weight for source in everything.sources] == [1.0, 1.0]
    assert everything.ignored[0].startswith("weight of dataset: as in Data-Juicer, all rows are read where ")


def test_null_is_no_bound_and_other_settings_keep_their_types(tmp_path):
    recipe = read(
        tmp_path,
        """
process:
  - text_length_filter: {min_len: null, max_len: 5}
  - alphanumeric_filter: {max_ratio: null}
  - language_id_score_filter: {lang: null}
""",
    )
    length, letters, _ = (op for _, op in read_ops(recipe.ops))
    rows = Batch.of_texts(["", "x" * 5, "x" * 6])
    assert length.keeps(rows, length.measure(rows)).tolist() == [True, True, False]
    assert letters.keeps(rows, letters.measure(rows)).tolist() == [False, True, True]
    [problem] = problems(tmp_path, "process:\n  - words_num_filter: {lang: null}\n")
    assert "lang of words_num_filter is None" in problem


def test_operations_fused_by_hand_are_taken_one_by_one(tmp_path):
    text = """
text_keys: content
process:
  - general_fused_op:
      batch_size: 10
      fused_op_list:
        - text_length_filter: {min_len: 3}
        - words_num_filter:
  - document_deduplicator:
"""
    recipe = read(tmp_path, text)
    assert [name for op in recipe.ops for name in op] == [
        "text_length_filter", "words_num_filter", "document_deduplicator",
    ]  # fmt: skip
    assert recipe.ops[0]["text_length_filter"] == {"min_len": 3, "text_key": "content"}
    [problem] = problems(tmp_path, text.replace("min_len", "mn_len"))
    assert problem.startswith(':7: unknown key "mn_len"')
    [problem] = problems(tmp_path, "process:\n  - general_fused_op: {fused_op_list: 5}\n")
    assert "fused_op_list is not a list" in problem


def test_word_lists_where_data_juicer_would_download_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (
        "process:\n  - stopwords_filter: {stopwords_dir: ./assets}\n  - flagged_words_filter: {flagged_words_dir: my}\n"
    )
    recipe = read(tmp_path, text)
    assert recipe.ops == ({"stopwords_filter": {}}, {"flagged_words_filter": {"flagged_words_dir": "my"}})
    assert recipe.ignored == (
        "stopwords_dir of stopwords_filter: ./assets, where Data-Juicer downloads lists to, holds none; "
        "Plait's own is used",
    )
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "stopwords.json").write_text('{"en": ["the"]}')
    assert read(tmp_path, text).ops[0] == {"stopwords_filter": {"stopwords_dir": "./assets"}}


@pytest.mark.parametrize(
    ("path", "kind", "written"),
    [
        ("out/result", "jsonl", "out/result.jsonl"),
        ("out/result.json", "jsonl", "out/result.json"),
        ("out/result", "", "out/result"),
    ],
)
def test_an_export_without_a_suffix_gets_that_of_its_type(tmp_path, path, kind, written):
    recipe = read(tmp_path, f"export_path: {path}\nexport_type: '{kind}'\nprocess: []\n")
    assert recipe.export_path == Path(written)


def test_what_is_typed_takes_the_place_of_what_stands_there(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("text_keys: content\nprocess:\n  - text_length_filter:\n")
    recipe = read_juicer_recipe(path, instead={"text_keys": "body", "dataset_path": "a.jsonl"})
    assert recipe.ops[0]["text_length_filter"]["text_key"] == recipe.text_key == "body"
    assert recipe.sources == (Source("a.jsonl"),)
    with pytest.raises(RecipeError, match="np is 'x'") as caught:
        read_juicer_recipe(path, instead={"np": "x"})
    assert caught.value.where == "command line"


@pytest.mark.parametrize(
    "name", ["image_deduplicator", "video_deduplicator", "image_text_similarity_filter", "mllm_mapper", "imgdiff_x"]
)
def test_operations_on_media_are_not_taken_for_others(tmp_path, name):
    [problem] = problems(tmp_path, f"process:\n  - {name}:\n")
    assert "images, audio and video are not worked on here; leave it out" in problem


def test_a_suffix_filter_asks_for_suffixes(tmp_path):
    assert read(tmp_path, "process:\n  - suffix_filter: {suffixes: .py}\n").with_suffix
    recipe = read(tmp_path, "add_suffix: true\nprocess: []\n")
    assert recipe.with_suffix
    assert recipe.ignored[0].startswith("add_suffix: rows of files that are one text each always have theirs")


def test_every_mistake_is_named_with_its_line(tmp_path):
    found = problems(
        tmp_path,
        """np: many
dataset_pth: a.jsonl
process:
  - text_lenght_filter: {min_len: 3}
  - words_num_filter:
      min_num: 5
      max_nums: 7
  - alphanumeric_filter: {min_ratio: high}
  - {a: 1, b: 2}
  - image_shape_filter:
  - text_length_filter: 5
encrypt_before_export: true
decrypt_after_reading: false
""",
    )
    assert [line.split(": ")[0] for line in found] == [":1", ":2", ":4", ":7", ":8", ":9", ":10", ":11", ":12"]
    assert "np is 'many', not a whole number" in found[0]
    assert 'did you mean "dataset_path"' in found[1]
    assert 'no operation is called "text_lenght_filter"; did you mean "text_length_filter"?' in found[2]
    assert 'unknown key "max_nums" of words_num_filter; did you mean "max_num"?' in found[3]
    assert "min_ratio of alphanumeric_filter is 'high'" in found[4]
    assert "images, audio and video are not worked on" in found[6]
    assert "encrypt the result afterwards" in found[8]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dataset: {configs: []}", "needs a list of configs"),
        ("dataset: {configs: [{path: a, aws_access_key_id: x}]}", "put credentials in the environment"),
        ("dataset: {configs: [{path: a, data_files: b.jsonl}]}", "data_files is not supported; download these files"),
        ("dataset: {configs: [{path: a, endpoint_url: x}]}", "set AWS_ENDPOINT_URL in the environment"),
        ("export_path: s3://bucket/a.jsonl", "an address is read, but not written to; export to a file here"),
        ("dataset_path: ' '", "the path of what to read is empty"),
        ("np: 0", "np is 0, not a whole number from 1"),
        ("ray_address: 5", "ray_address is 5, not an address"),
        ("validators: [{type: required_fields, required_field: [a]}]", 'did you mean "required_fields"?'),
        ("dataset: {configs: [{path: a, type: remote, source: modelscope}]}", "source modelscope cannot be read"),
        ("dataset: {configs: [{path: a, weight: -1}]}", "not a number from 0"),
        ("dataset: {configs: [{path: a}], max_sample_num: 0}", "not a positive number"),
        ("dataset: {configs: [{weight: 1}]}", "needs a path"),
        ("dataset_path: 0.3", "has no path after it"),
        ("dataset_path: 0.3 0.4 a.jsonl", "is no path and no weight"),
        ('dataset_path: "\'a.jsonl"', "No closing quotation"),
        ("export_type: lance", "one of jsonl, json, parquet"),
        ("executor_type: spark", "one of default, ray"),
        ("validators: [{type: swift_messages}]", "known: required_fields"),
        ("percentiles: [5]", "numbers from 0 to 1"),
        ("open_tracer: perhaps", "true or false"),
        ("text_keys: 5", "a text or a list of texts"),
    ],
)
def test_values_that_cannot_be(tmp_path, text, said):
    [problem] = problems(tmp_path, f"{text}\nprocess: []\n")
    assert problem.startswith(":1: ")
    assert said in problem


def test_what_is_no_juicer_recipe(tmp_path):
    assert not is_juicer_recipe({"stages": [], "process": []})
    with pytest.raises(RecipeError, match="there is no process"):
        read(tmp_path, "stages: []\n")


def test_a_path_with_blanks_that_exists_is_one_path(tmp_path):
    path = tmp_path / "0.5 of it.jsonl"
    path.touch()
    assert parse_paths(str(path)) == (Source(str(path)),)
    with pytest.raises(UsageError):
        parse_paths("a.jsonl 0.5")


def test_published_recipes_name_operations_of_the_catalog():
    names = {name for path in PUBLISHED for op in load_yaml(path).data["process"] for name in op}
    assert len(names) >= 20
    assert names <= set(table("op"))


@pytest.mark.parametrize("name", sorted(shipped_juicer_recipes()))
def test_shipped_recipes_read_by_name_and_say_how_they_run(name):
    recipe = read_juicer_recipe(Path(name))
    assert recipe.project == name
    assert recipe.ignored == ()
    assert len(read_ops(recipe.ops)) == len(recipe.ops) > 0
    assert f"#   plait data run {name} --dataset " in recipe.path.read_text()


def test_a_name_that_is_neither_a_file_nor_shipped():
    with pytest.raises(RecipeError, match='no shipped recipe called "wep"; did you mean "web"'):
        read_juicer_recipe(Path("wep"))
