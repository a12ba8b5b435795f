"""A curation from files to files: what it says of what it read."""

from __future__ import annotations

from pathlib import Path

from plait.data.curation import CurationJob, Summary, curate
from plait.data.read import Source
from plait.engines import LocalEngine


def test_files_of_a_folder_are_read_set_aside_or_counted_as_left_out(tmp_path: Path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, data in {"a.txt": b"one", "b.png": b"x", "c.png": b"x", ".d": b"x", "e.txt": b"caf\xe9"}.items():
        (folder / name).write_bytes(data)
    ops = ["whitespace_normalization_mapper"]
    job = CurationJob(ops, [Source(str(folder))], tmp_path / "clean.jsonl", max_bad_fraction=1)
    _, summary = curate(job, engine=LocalEngine())
    assert (summary.read, summary.quarantined) == (1, {"not UTF-8": 1})
    assert summary.skipped == {"binary": 2, "hidden or version control": 1}
    assert Summary.open(tmp_path / "clean.jsonl").skipped == summary.skipped


def test_where_a_model_is_asked_a_chunk_is_small_so_that_a_kill_loses_few_answers(tmp_path):
    lines = "".join(f'{{"id": "{n}", "text": "{"word " * 200}"}}\n' for n in range(300))
    (tmp_path / "in.jsonl").write_text(lines)
    source, plain = [Source(str(tmp_path / "in.jsonl"))], {"text_length_filter": {"min_len": 1}}
    model = {"use": "scripted", "rules": [{"pattern": "", "answer": '{"tag": "other"}'}]}
    asking = {"text_tagging_by_prompt_mapper": {"tag_list": ["other"], "model": model}}
    assert len(list(CurationJob([plain], source, tmp_path / "a.jsonl").blocks())) == 1
    assert len(list(CurationJob([plain, asking], source, tmp_path / "b.jsonl").blocks())) == 5
    assert len(list(CurationJob([asking], source, tmp_path / "c.jsonl", block_bytes=10_000_000).blocks())) == 1
