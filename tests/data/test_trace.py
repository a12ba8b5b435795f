"""Examples of what operations did: the first rows changed, dropped and copied, as they were at that operation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plait.data.curation import CurationJob, Summary, curate
from plait.data.read.sources import Source
from plait.data.trace import write_trace
from plait.engines import LocalEngine

ROWS = [
    {"id": "a", "text": "  write to a@b.org  ", "n": 1},
    {"id": "b", "text": "no.", "n": 2},
    {"id": "c", "text": "this one stays as it is", "n": 3},
    {"id": "d", "text": "write to c@d.org", "n": 4},
    {"id": "e", "text": " this one stays as it is", "n": 5},
    {"id": "f", "text": "a very long one " * 20, "n": 6},
]
OPS = [
    "whitespace_normalization_mapper",
    {"text_length_filter": {"min_len": 5}},
    {"clean_email_mapper": {"repl": "somebody"}},
    {"text_length_filter": {"max_len": 100}},
    "whitespace_normalization_mapper",
    "document_deduplicator",
    {"text_chunk_mapper": {"max_len": 12}},
]


@pytest.fixture
def run(tmp_path: Path) -> Summary:
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    job = CurationJob(OPS, [Source(str(tmp_path / "in.jsonl"))], tmp_path / "out.jsonl", block_bytes=100)
    with LocalEngine(workers=1) as engine:
        return curate(job, engine=engine)[1]


def told(folder: Path | None) -> dict[str, list[dict]]:
    assert folder is not None
    return {path.name: [json.loads(line) for line in path.read_text().splitlines()] for path in folder.iterdir()}


def test_each_operation_shows_its_first_examples(run):
    assert len(run.blocks) > 1
    found = told(write_trace(run, rows=10, ops=(), fields=("n",)))
    assert found.keys() == {
        "sample_trace-whitespace_normalization_mapper.jsonl", "sample_trace-text_length_filter.jsonl",
        "sample_trace-clean_email_mapper.jsonl", "duplicate-document_deduplicator.jsonl",
        "sample_trace-text_chunk_mapper.jsonl",
    }  # fmt: skip
    assert found["sample_trace-clean_email_mapper.jsonl"] == [
        {"id": "a", "n": 1, "original_text": "write to a@b.org", "processed_text": "write to somebody"},
        {"id": "d", "n": 4, "original_text": "write to c@d.org", "processed_text": "write to somebody"},
    ]
    # It stands twice, and changes rows at its first place alone.
    changed = found["sample_trace-whitespace_normalization_mapper.jsonl"]
    assert [row["id"] for row in changed] == ["a", "e", "f"]
    short, long = found["sample_trace-text_length_filter.jsonl"]
    assert short == {**ROWS[1], "__dj__stats__": {"text_len": 3.0}}
    assert long == {**ROWS[5], "text": ROWS[5]["text"].strip(), "__dj__stats__": {"text_len": 319.0}}
    copies = found["duplicate-document_deduplicator.jsonl"]
    assert [(one["dup1"]["id"], one["dup2"]["id"]) for one in copies] == [("a", "d"), ("c", "e")]
    assert copies[1]["dup2"]["text"] == "this one stays as it is"
    assert found["sample_trace-text_chunk_mapper.jsonl"][0]["processed_text"].count("\n") == 1


def test_so_many_of_those_asked_for_and_no_old_ones(run):
    write_trace(run, rows=10, ops=(), fields=())
    found = told(write_trace(run, rows=1, ops=("text_length_filter",), fields=()))
    # One of each of its two uses.
    assert {name: len(rows) for name, rows in found.items()} == {"sample_trace-text_length_filter.jsonl": 2}
    assert write_trace(run, rows=0, ops=(), fields=()) is None
    assert not (run.folder / "trace").exists()
    assert not list(run.folder.glob("*rejects*"))


def test_rows_without_an_id_have_that_of_the_lineage(tmp_path):
    rows = [{"text": text} for text in ("one", "two", "three", "two")]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ops = ["document_deduplicator", {"text_length_filter": {"min_len": 4}}, "naive_grouper"]
    job = CurationJob(ops, [Source(str(tmp_path / "in.jsonl"))], tmp_path / "out.jsonl")
    with LocalEngine(workers=1) as engine:
        summary = curate(job, engine=engine)[1]
    found = told(write_trace(summary, rows=5, ops=(), fields=()))
    [pair] = found["duplicate-document_deduplicator.jsonl"]
    assert pair["dup1"]["id"] != pair["dup2"]["id"]
    assert [row["text"] for row in found["sample_trace-text_length_filter.jsonl"]] == ["one", "two"]
